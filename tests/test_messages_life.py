"""Anthropic's messages: a stop, silence, coming back, and another dialect at the next try."""

import asyncio

import orjson
import pytest

from gateway.dialects import anthropic
from gateway.hub import LOG_CAP
from gateway.mock import MockProvider, Options
from tests.fakes import until, wind_by_hand
from tests.messages_client import ASK, BOTH, PING, asked, scripted, stand
from tests.scripted import CHUNKED, LAST, Scripted, chunk
from tests.stand import Answer, Stand, pair
from tests.stories import blocks, case, check_messages, put_together, read


# A stop.


async def stopped(it: Stand, path: str, events: int) -> tuple[Answer, Answer]:
    """Ask, stop after so many events, and return the answers to both."""
    client, other = await it.open(), await it.open()
    client.send("POST", path, ASK)
    status, headers = await client.head()
    body = b""
    while body.count(b"\n\n") < events:
        body += await client.chunk()
    stop = await other.ask("POST", headers["location"] + "/cancel")
    while part := await client.chunk():
        body += part
    await client.close()
    await other.close()
    return Answer(status, headers, body), stop


@BOTH
@pytest.mark.parametrize("events", [1, 2, 3, 4])
async def test_a_stopped_message_is_closed_in_order(upstream, events):
    async with stand(upstream, tokens=100_000, interval=5, reasoning=1) as it:
        answer, stop = await stopped(it, "/v1/messages", events)

    assert stop.json["state"] == "cancelled"
    check_messages(blocks(answer.body), whole=True)
    end = orjson.loads(blocks(answer.body)[-2].partition(b"data: ")[2])
    assert end["delta"]["stop_reason"] == "end_turn"
    assert end["headgate"] == {"ended": "cancelled"}
    assert it.mock.requests[-1].cancelled


async def test_a_stopped_completion_ends_as_openais_do_whoever_is_upstream():
    async with stand(tokens=100_000, interval=5) as it:
        answer, _ = await stopped(it, "/v1/chat/completions", 3)

    assert blocks(answer.body)[-1] == b"data: [DONE]\n\n"
    assert b'"finish_reason":"stop"' in blocks(answer.body)[-2]


def test_a_message_that_is_stopped_before_it_began_is_a_whole_one():
    heading = anthropic.Heading("gen_1", "m", 0)
    said = anthropic.cancelled_events([], heading, finish="", tokens=None)
    check_messages(said, whole=True)


def test_a_message_whose_reason_was_told_gets_no_other():
    last = b'event: message_delta\ndata: {"type":"message_delta"}\n\n'
    heading = anthropic.Heading("gen_1", "m", 0)
    said = anthropic.cancelled_events([last], heading, finish="stop", tokens=None)
    assert said == [b'event: message_stop\ndata: {"type":"message_stop"}\n\n']


# Silence, and coming back.


async def test_the_sign_of_life_is_a_ping():
    wait = asyncio.Event()
    stream = case("anthropic-text")
    async with (
        Scripted(CHUNKED, wait, chunk(stream) + LAST) as provider,
        scripted(provider) as it,
    ):
        loop = wind_by_hand(it.server)
        client = await it.open()
        client.send("POST", "/v1/messages", ASK)
        await provider.asked.wait()
        await until(lambda: it.server.desk.jobs)
        loop.wind(10.5)
        await client.head()
        assert await client.chunk() == PING
        wait.set()
        while await client.chunk():
            pass
        await client.close()


@BOTH
async def test_a_message_can_be_read_again_from_its_log(upstream):
    async with stand(upstream, tokens=3) as it:
        client = await it.open()
        client.send("POST", "/v1/messages", ASK, {"headgate-resume": "true"})
        answer = await client.answer()
        entries = await client.ask("GET", answer.headers["location"] + "?offset=-1")
        await client.close()

    events = [orjson.loads(block.partition(b"data: ")[2]) for block in blocks(answer.body)]
    assert all(block.startswith(b"id: ") for block in blocks(answer.body))
    assert orjson.loads(entries.body) == events
    assert events[-1] == {"type": "message_stop"}


async def test_a_key_of_idempotency_belongs_to_one_dialect():
    async with stand(tokens=3) as it:
        client = await it.open()
        answers = []
        for path in ("/v1/messages", "/v1/messages", "/v1/chat/completions"):
            client.send("POST", path, ASK, {"idempotency-key": "k"})
            answers.append(await client.answer())
        await client.close()

    assert [answer.status for answer in answers] == [200, 200, 422]
    assert answers[0].body == answers[1].body
    assert len(it.mock.requests) == 1


async def test_an_event_source_reads_a_chat_whoever_is_upstream():
    async with stand(tokens=2) as it:
        client = await it.open()
        query = "model=m&messages=%5B%7B%22role%22%3A%22user%22%2C%22content%22%3A%22x%22%7D%5D"
        answer = await client.ask("GET", f"/v1/chat/completions/stream?{query}")
        await client.close()

    assert answer.body.count(b"event: chunk") == 4
    assert b'"content":"t0"' in answer.body
    assert b"event: done" in answer.body


async def test_a_connection_is_used_again_after_a_translated_stream():
    async with stand(tokens=3) as it:
        for _ in range(3):
            await asked(it, "/v1/chat/completions")
        assert it.mock.connections.total == 1


async def test_a_client_that_leaves_ends_a_translated_stream_too():
    async with stand(tokens=100_000, interval=5) as it:
        client = await it.open()
        client.send("POST", "/v1/chat/completions", ASK)
        await client.head()
        await client.chunk()
        client.writer.transport.abort()
        await it.mock.until(lambda: it.mock.open_streams == 0)
        await client.close()
    assert it.mock.requests[-1].cancelled
    assert it.log_lines[-1]["end"] == "disconnect"


async def test_a_client_that_does_not_read_pauses_a_translated_stream_and_loses_nothing():
    tokens = 12_000
    async with stand(tokens=tokens, size=1000) as it:
        client = await it.open()
        client.send("POST", "/v1/chat/completions", {**ASK, "max_tokens": tokens})
        jobs = it.server.desk.jobs
        await it.mock.until(lambda: any(job.live.log.held > LOG_CAP for job in jobs))
        status, headers = await client.head()
        parts = []
        while part := await client.chunk():
            parts.append(part)
        await client.close()

    answer = Answer(status, headers, b"".join(parts))
    assert [word.rstrip(".") for word in answer.text.split()] == [f"t{i}" for i in range(tokens)]


# One target speaks one dialect, the next another.


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("first", "second"),
    [("openai", "anthropic"), ("anthropic", "openai"), ("gemini", "openai"), ("openai", "gemini")],
)
async def test_a_request_falls_back_on_a_provider_of_another_dialect(first, second, stream, path):
    refusal = b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"
    async with MockProvider(Options(tokens=3)) as backup, Scripted(refusal) as provider:
        more = pair(backup.url).replace("backup]\n", f'backup]\ndialect = "{second}"\n')
        async with Stand(url=provider.url, upstream=f'dialect = "{first}"', more=more) as it:
            answer = await asked(it, path, model="pair", stream=stream, seed=1)

    assert answer.status == 200
    assert answer.headers["headgate-upstream"] == "backup"
    # Anthropic has no word for it, nor has the route of messages for others.
    dropped = (second == "anthropic") == (path == "/v1/chat/completions")
    assert ("headgate-dropped-params" in answer.headers) == dropped
    if stream:
        said = read("anthropic" if path == "/v1/messages" else "openai", answer.body)
        assert put_together(said)["parts"] == [("content", "t0 t1 t2")]
    else:
        assert b'"t0 t1 t2"' in answer.body
    assert it.log_lines[-1]["retries"] == 1


async def test_a_model_of_no_target_that_can_say_it_is_a_client_error():
    async with stand() as it:
        answer = await asked(it, "/v1/chat/completions", n=2)

    assert answer.status == 400
    assert answer.headers["headgate-error-source"] == "gateway"
    assert answer.json["error"]["param"] == "n"
    assert not it.mock.requests


async def test_a_target_that_cannot_say_it_is_passed_over_for_one_that_can():
    async with MockProvider(Options(tokens=3)) as backup:
        more = pair(backup.url, "retry.attempts = 1")
        async with Stand(upstream='dialect = "anthropic"', more=more) as it:
            answer = await asked(it, "/v1/chat/completions", model="pair", n=2)
            metrics = await it.metrics()
            assert not it.mock.requests

    assert answer.status == 200
    assert answer.headers["headgate-upstream"] == "backup"
    assert "retries" not in it.log_lines[-1]
    assert metrics['headgate_upstream_errors_total{kind="reset",upstream="mock"}'] == 0
