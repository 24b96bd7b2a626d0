"""curl as the client: what a person at a terminal sees."""

import asyncio
import re

import orjson
import pytest

from gateway.routes import MAX_BODY
from tests.stand import Stand, chat


CHAT = "/v1/chat/completions"


class Done:
    """What one run of curl gave."""

    def __init__(self, status: int | None, out: bytes, err: bytes) -> None:
        self.status = status  # of the process
        self.out = out
        self.err = err.decode()


async def curl(*arguments: str) -> Done:
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "-q", "--noproxy", "*", "--max-time", "20", *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    return Done(process.returncode, out, err)


def body(**mock: object) -> list[str]:
    return ["-d", orjson.dumps(chat(**mock)).decode(), "-H", "content-type: application/json"]


async def test_a_stream_comes_event_by_event():
    async with Stand() as stand:
        process = await asyncio.create_subprocess_exec(
            "curl", "-sN", stand.url + CHAT, *body(tokens=3, fault="stall-mid", at=2),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        lines = [await process.stdout.readline() for _ in range(4)]
        # The provider is silent now: these two were not held back for a third.
        process.terminate()
        await process.wait()
        await stand.mock.until(lambda: stand.mock.open_streams == 0)
        assert stand.mock.requests[-1].cancelled

    assert [line[:7] for line in lines] == [b"data: {", b"\n", b"data: {", b"\n"]


async def test_a_whole_stream_ends_well():
    async with Stand() as stand:
        done = await curl("-Ni", stand.url + CHAT, *body(tokens=5))

    assert done.status == 0
    head, _, events = done.out.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-type: text/event-stream; charset=utf-8" in head
    assert b"cache-control: no-cache, no-transform" in head
    assert b"x-accel-buffering: no" in head
    assert b"content-length" not in head
    assert events.endswith(b"data: [DONE]\n\n")


async def test_compression_is_not_offered_even_when_it_is_asked_for():
    async with Stand() as stand:
        done = await curl("-i", "--compressed", stand.url + CHAT, *body(tokens=5))

    assert b"content-encoding" not in done.out.lower()
    assert done.out.endswith(b"data: [DONE]\n\n")


async def test_a_broken_stream_is_whole_http_with_an_error_in_it():
    async with Stand() as stand:
        done = await curl("-N", stand.url + CHAT, *body(tokens=9, fault="cut"))

    assert done.status == 0, "the body ended as HTTP wants; what it says is that it broke"
    assert b"stream_interrupted" in done.out.splitlines()[-2]
    assert b"[DONE]" not in done.out


async def test_a_whole_answer():
    async with Stand() as stand:
        done = await curl("-f", stand.url + CHAT, *body(stream=False, tokens=2))

    assert done.status == 0
    assert orjson.loads(done.out)["choices"][0]["message"]["content"] == "t0 t1"


async def test_one_connection_serves_urls_one_after_another():
    async with Stand() as stand:
        urls = [stand.url + path for path in ("/healthz", "/v1/models", "/healthz")]
        done = await curl("-w", "%{num_connects} ", *urls)

    assert re.findall(rb"(\d) ", done.out) == [b"1", b"0", b"0"]


async def test_head_has_the_fields_and_no_body():
    async with Stand() as stand:
        done = await curl("-I", stand.url + "/v1/models")

    assert done.status == 0
    assert done.out.startswith(b"HTTP/1.1 200 OK\r\n")
    assert done.out.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "unary"])
async def test_http_1_0_gets_its_answer_unchunked_and_the_end_is_the_connections(stream):
    async with Stand() as stand:
        done = await curl("-i0", stand.url + CHAT, *body(stream=stream, tokens=2))

    head, _, answer = done.out.partition(b"\r\n\r\n")
    assert done.status == 0
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert answer.endswith(b"data: [DONE]\n\n" if stream else b"}")


async def test_a_body_of_more_than_20_megabytes_is_refused_with_413(tmp_path):
    large = tmp_path / "large.json"
    large.write_bytes(b'{"x":"' + b"x" * MAX_BODY + b'"}')
    async with Stand() as stand:
        url = stand.url + CHAT
        # With Expect curl asks first; without, it is still sending when the answer comes.
        asked = await curl("-w", "\n%{http_code}", url, "--data-binary", f"@{large}")
        told = await curl(
            "-w", "\n%{http_code}", url, "--data-binary", f"@{large}", "-H", "Expect:"
        )
        chunked = await curl(
            "-w", "\n%{http_code}", url, "-T", str(large), "-X", "POST", "-H", "Expect:",
            "-H", "Transfer-Encoding: chunked",
        )  # fmt: skip
        reached = len(stand.mock.requests)

    for done in (asked, told, chunked):
        answer, _, status = done.out.rpartition(b"\n")
        assert status == b"413", done.err
        assert orjson.loads(answer)["error"]["code"] == "request_too_large"
    assert reached == 0


async def test_a_body_just_below_the_limit_is_taken(tmp_path):
    large = tmp_path / "large.json"
    request = orjson.dumps(chat(stream=False, tokens=1))[:-1] + b',"x":"'
    large.write_bytes(request + b"x" * (MAX_BODY - len(request) - 2) + b'"}')
    async with Stand() as stand:
        done = await curl("-f", stand.url + CHAT, "--data-binary", f"@{large}")

    assert done.status == 0, done.err
    assert b'"t0"' in done.out


async def test_a_client_that_expects_100_continue_hears_it_and_sends_its_body():
    async with Stand() as stand:
        done = await curl(
            "-v", stand.url + CHAT, *body(stream=False, tokens=1),
            "-H", "Expect: 100-continue", "--expect100-timeout", "15",
        )  # fmt: skip

    assert done.status == 0
    assert "< HTTP/1.1 100 Continue" in done.err
    assert "< HTTP/1.1 200 OK" in done.err


async def test_an_expectation_is_not_continued_when_the_answer_is_known_to_be_no():
    async with Stand() as stand:
        done = await curl(
            "-v", stand.url + CHAT, *body(), "-H", "Expect: 100-continue",
            "-H", f"Content-Length: {MAX_BODY + 1}",
        )  # fmt: skip

    assert "100 Continue" not in done.err
    assert "< HTTP/1.1 413" in done.err


async def test_an_error_says_what_to_do():
    async with Stand() as stand:
        done = await curl("-i", stand.url + CHAT, "-d", '{"messages":[]}')

    assert b"HTTP/1.1 400 Bad Request" in done.out
    assert b"you must provide a model parameter" in done.out
