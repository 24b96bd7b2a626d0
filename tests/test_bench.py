"""The load generator believes nothing: each way an answer can be wrong is seen and named."""

import asyncio
import json
import re
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


TOKENS = 6
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

Events = list[bytes]
Answer = Callable[[str], list[bytes]]  # tag → what the socket is given, piece by piece
CLOSE = b""  # as a piece: the connection ends here


# --- a provider that can be made to err ----------------------------------------------------------


def event_of(choice: dict[str, Any]) -> bytes:
    """Return a stream event with this choice."""
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice]}
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def token_of(tag: str, index: int, *, age: int = 0) -> bytes:
    """Return the event with one token, stamped `age` nanoseconds ago."""
    text = f"{tag}:{index}:{time.monotonic_ns() - age}"
    return event_of({"index": 0, "delta": {"content": text}, "finish_reason": None})


ROLE = event_of({"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None})
FINISH = event_of({"index": 0, "delta": {}, "finish_reason": "stop"})
DONE = b"data: [DONE]\n\n"


def events_of(tag: str) -> Events:
    """Return a right stream: role, six tokens, finish reason, end."""
    return [ROLE, *(token_of(tag, index) for index in range(TOKENS)), FINISH, DONE]


def chunked(events: Events) -> bytes:
    """Return the events as an HTTP response, a chunk each."""
    return SSE + b"".join(b"%x\r\n%b\r\n" % (len(e), e) for e in events) + b"0\r\n\r\n"


def stream_of(tag: str) -> bytes:
    """Return a right stream as an HTTP response."""
    return chunked(events_of(tag))


def document_of(tag: str, indexes: Sequence[int] = range(TOKENS)) -> bytes:
    """Return the same answer in one piece, as an HTTP response."""
    text = " ".join(f"{tag}:{index}:{time.monotonic_ns()}" for index in indexes)
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice]}, separators=(",", ":")).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
    """Give every request on a connection the answer to its tag."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = re.search(rb"Content-Length: (\d+)", head)
            assert length is not None
            request = json.loads(await reader.readexactly(int(length[1])))
            for piece in answer(request["mock"]["tag"]):
                if piece == CLOSE:
                    return
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the load generator has left
    finally:
        writer.close()


@dataclass
class Result:
    """What the load generator said about such a provider."""

    status: int
    report: dict[str, Any]
    complaints: str


async def run(program: Path, port: int, *options: str) -> Result:
    """Run the load generator to its end; its stdin is at its end from the beginning."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        program,
        *("--port", str(port), "--tokens", str(TOKENS), *options),
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
    )
    out, err = await process.communicate(b"")
    assert process.returncode is not None
    return Result(process.returncode, json.loads(out.splitlines()[-1]), err.decode())


def load(program: Path, answer: Answer, *options: str) -> Result:
    """Run the load generator against a provider that answers so."""

    async def both() -> Result:
        server = await asyncio.start_server(lambda r, w: serve(r, w, answer), "127.0.0.1", 0)
        async with server:
            return await run(program, server.sockets[0].getsockname()[1], *options)

    return asyncio.run(both())


# --- right answers -------------------------------------------------------------------------------


def pieces(whole: bytes, size: int) -> list[bytes]:
    """Cut into pieces of this size."""
    return [whole[i : i + size] for i in range(0, len(whole), size)]


def sized(tag: str) -> list[bytes]:
    """Return a stream framed by its length."""
    body = b"".join(events_of(tag))
    length = b"Content-Length: %d" % len(body)
    return [SSE.replace(b"Transfer-Encoding: chunked", length) + body]


RIGHT: dict[str, Answer] = {
    "whole": lambda tag: [stream_of(tag)],
    "byte by byte": lambda tag: pieces(stream_of(tag), 1),
    "in chunks that end amid events": lambda tag: [chunked(pieces(b"".join(events_of(tag)), 100))],
    "with heartbeats": lambda tag: [chunked([b": ping\n\n:\n" + e for e in events_of(tag)])],
    "framed by length": sized,
}


@pytest.mark.parametrize("answer", RIGHT.values(), ids=RIGHT.keys())
def test_a_right_stream_passes(program: Path, answer: Answer) -> None:
    result = load(program, answer, "--connections", "3")

    assert (result.status, result.complaints) == (0, "")
    assert result.report["answers"] == 3
    assert result.report["events"] == 3 * TOKENS
    assert result.report["faults"] == []


def test_a_right_document_passes(program: Path) -> None:
    result = load(program, lambda tag: [document_of(tag)], "--mode", "unary")

    assert (result.status, result.report["answers"]) == (0, 1)


def test_connections_are_used_again_with_other_tags(program: Path) -> None:
    tags: list[str] = []

    def answer(tag: str) -> list[bytes]:
        tags.append(tag)
        return [stream_of(tag)]

    result = load(program, answer, "--connections", "4", "--seconds", "0.1")

    assert result.status == 0
    assert result.report["answers"] == len(tags) == len(set(tags)) > 4


def test_a_connection_that_says_close_is_made_anew(program: Path) -> None:
    close = SSE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    result = load(
        program, lambda tag: [stream_of(tag).replace(SSE, close), CLOSE], "--seconds", "0.1"
    )

    assert result.status == 0
    assert result.report["answers"] > 1


def test_latency_runs_from_the_stamp(program: Path) -> None:
    second = 10**9

    def answer(tag: str) -> list[bytes]:
        late = [token_of(tag, index, age=second) for index in range(TOKENS)]
        return [chunked([ROLE, *late, FINISH, DONE])]

    latency = load(program, answer).report["event_us"]

    # The quantiles are the middles of buckets, which are 1/128 wide; the maximum is exact.
    assert min(latency["p50"], latency["p99"]) * 1000 > 0.99 * second
    assert latency["max"] * 1000 >= second


def test_open_streams_stay_until_stdin_ends(program: Path) -> None:
    def answer(tag: str) -> list[bytes]:
        return [chunked([ROLE, token_of(tag, 0)])[:-20]]  # the token is not complete

    result = load(program, answer, "--mode", "open", "--connections", "5")

    assert (result.status, result.report["answers"], result.report["faults"]) == (0, 0, [])


# --- wrong answers -------------------------------------------------------------------------------


SPOILED: dict[str, tuple[Callable[[str, Events], Events], set[str]]] = {
    "a token is missing": (lambda _, e: e[:3] + e[4:], {"missing"}),
    "the first token is missing": (lambda _, e: e[:1] + e[2:], {"missing"}),
    "the last token is missing": (lambda _, e: e[:6] + e[7:], {"missing"}),
    "all tokens are missing": (lambda _, e: e[:1] + e[7:], {"missing"}),
    "the role is missing": (lambda _, e: e[1:], {"missing"}),
    "a token comes twice": (lambda _, e: e[:3] + e[2:], {"doubled"}),
    "a token comes again later": (lambda _, e: e[:6] + e[2:3] + e[6:], {"doubled"}),
    "the role comes twice": (lambda _, e: e[:1] + e, {"doubled"}),
    "the role comes late": (lambda _, e: [e[1], e[0], *e[2:]], {"text", "missing"}),
    "two tokens are swapped": (lambda _, e: [*e[:3], e[4], e[3], *e[5:]], {"order"}),
    "a token comes after the finish": (lambda _, e: [*e[:6], e[7], e[6], e[8]], {"order"}),
    "one token more": (lambda tag, e: [*e[:7], token_of(tag, 6), *e[7:]], {"surplus"}),
    "another stream's token": (
        lambda _, e: [*e[:3], token_of("s9.9", 2), *e[3:]],
        {"crosstalk"},
    ),
    "another request's token on the same connection": (
        lambda _, e: [*e[:3], token_of("s0.1", 2), *e[3:]],
        {"crosstalk"},
    ),
    "another stream's token instead": (
        lambda _, e: [*e[:3], token_of("s0.00", 2), *e[4:]],
        {"crosstalk", "missing"},
    ),
    "a token with other text": (
        lambda tag, e: [*e[:3], e[3].replace(tag.encode(), b"river"), *e[4:]],
        {"text", "missing"},
    ),
    "a token from the future": (
        lambda tag, e: [*e[:3], token_of(tag, 2, age=-(10**12)), *e[4:]],
        {"text", "missing"},
    ),
    "something after the token": (
        lambda _, e: [*e[:3], e[3].replace(b'"},', b' "},'), *e[4:]],
        {"text"},
    ),
    "a changed byte before the token": (
        lambda _, e: [*e[:3], e[3].replace(b"chatcmpl-1", b"chatcmpl-2"), *e[4:]],
        {"text"},
    ),
    "a changed byte after the token": (
        lambda _, e: [*e[:3], e[3].replace(b"null", b"nulL"), *e[4:]],
        {"text"},
    ),
    "an event line": (
        lambda _, e: [*e[:3], b"event: message\n" + e[3], *e[4:]],
        {"text", "missing"},
    ),
    "an empty block": (lambda _, e: [*e[:3], b"\n\n", *e[3:]], {"text"}),
    "no space after the colon": (
        lambda _, e: [*e[:3], e[3].replace(b"data: ", b"data:"), *e[4:]],
        {"text", "missing"},
    ),
    "an event without end": (lambda _, e: [*e[:3], b"x" * 20_000], {"text"}),
    "an unasked usage chunk": (
        lambda _, e: [*e[:8], b'data: {"choices":[],"usage":{"total_tokens":1}}\n\n', e[8]],
        {"usage"},
    ),
    "an error event": (
        lambda _, e: [*e[:3], b'data: {"error":{"message":"upstream broke"}}\n\n'],
        {"error_event", "missing", "no_finish", "no_done"},
    ),
    "no finish reason": (lambda _, e: e[:7] + e[8:], {"no_finish"}),
    "two finish reasons": (lambda _, e: e[:8] + e[7:], {"doubled"}),
    "no [DONE]": (lambda _, e: e[:8], {"no_done"}),
    "two [DONE]": (lambda _, e: e + e[8:], {"after_done"}),
    "a token after [DONE]": (lambda _, e: e[:6] + e[7:] + e[6:7], {"after_done", "order"}),
    "bytes after [DONE]": (lambda _, e: [*e, b"x"], {"cut"}),
    "a clean end amid the stream": (lambda _, e: e[:4], {"missing", "no_finish", "no_done"}),
    "half an event at the end": (lambda _, e: [*e[:8], e[8][:-1]], {"cut", "no_done"}),
}


@pytest.mark.parametrize(("spoil", "kinds"), SPOILED.values(), ids=SPOILED.keys())
def test_a_spoiled_stream_is_named(
    program: Path, spoil: Callable[[str, Events], Events], kinds: set[str]
) -> None:
    result = load(program, lambda tag: [chunked(spoil(tag, events_of(tag)))])

    assert (result.status, set(result.report["faults"])) == (1, kinds)
    assert all(kind in result.complaints for kind in kinds)


MISFRAMED: dict[str, tuple[Callable[[bytes], list[bytes]], set[str]]] = {
    "another status": (lambda w: [w.replace(b"200 OK", b"502 Bad Gateway")], {"status"}),
    "another type": (lambda w: [w.replace(b"event-stream", b"event-streams")], {"content_type"}),
    "no type": (lambda w: [w.replace(b"Content-Type", b"X-Type")], {"content_type"}),
    "HTTP/1.0": (lambda w: [w.replace(b"HTTP/1.1", b"HTTP/1.0")], {"framing"}),
    "no HTTP": (lambda w: [w[9:]], {"framing"}),
    "a head with a NUL": (lambda w: [w.replace(b"200 OK", b"200 \0K")], {"framing"}),
    "a head without end": (lambda _: [b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 5000], {"framing"}),
    "no framing": (lambda w: [w.replace(b"Transfer-Encoding", b"X-Framing")], {"framing"}),
    "two framings": (
        lambda w: [w.replace(b"chunked", b"chunked\r\nContent-Length: 9")],
        {"framing"},
    ),
    "no chunk size": (lambda w: [w.replace(SSE, SSE + b"\r\n")], {"framing"}),
    "a chunk size in words": (lambda w: [w.replace(SSE, SSE + b"size")], {"framing"}),
    "a chunk longer than it says": (lambda w: [w.replace(DONE, DONE + b"\n")], {"framing"}),
    "cut before the head": (lambda _: [CLOSE], {"cut"}),
    "cut amid the head": (lambda w: [w[:30], CLOSE], {"cut"}),
    "cut amid an event": (lambda w: [w[:500], CLOSE], {"cut"}),
    "cut before the last chunk": (lambda w: [w[:-5], CLOSE], {"cut"}),
    "bytes after the answer": (lambda w: [w + b"x"], {"surplus"}),
    "a second answer": (lambda w: [w + w], {"surplus"}),
    "silence amid the answer": (lambda w: [w[:500]], {"stalled"}),
}


@pytest.mark.parametrize(("spoil", "kinds"), MISFRAMED.values(), ids=MISFRAMED.keys())
def test_a_misframed_stream_is_named(
    program: Path, spoil: Callable[[bytes], list[bytes]], kinds: set[str]
) -> None:
    result = load(program, lambda tag: spoil(stream_of(tag)), "--patience", "0.3")

    assert (result.status, set(result.report["faults"])) == (1, kinds)


WRONG_DOCUMENTS: dict[str, tuple[Answer, set[str]]] = {
    "a token is missing": (lambda tag: [document_of(tag, [0, 1, 2, 4, 5])], {"missing"}),
    "two tokens are swapped": (lambda tag: [document_of(tag, [0, 1, 3, 2, 4, 5])], {"order"}),
    "another request's answer": (lambda _: [document_of("s7.7")], {"crosstalk", "missing", "text"}),
    "no finish reason": (lambda tag: [document_of(tag).replace(b"stop", b"none")], {"no_finish"}),
    "no end": (lambda tag: [document_of(tag)[:-1] + b" "], {"text"}),
    "a stream": (lambda tag: [stream_of(tag)], {"content_type"}),
}


@pytest.mark.parametrize(("answer", "kinds"), WRONG_DOCUMENTS.values(), ids=WRONG_DOCUMENTS.keys())
def test_a_wrong_document_is_named(program: Path, answer: Answer, kinds: set[str]) -> None:
    result = load(program, answer, "--mode", "unary")

    assert (result.status, set(result.report["faults"])) == (1, kinds)


def test_one_wrong_stream_among_many_is_seen(program: Path) -> None:
    def answer(tag: str) -> list[bytes]:
        events = events_of(tag)
        return [chunked(events[:3] + events[4:] if tag == "s7.0" else events)]

    result = load(program, answer, "--connections", "20")

    assert (result.status, result.report["faults"]) == (1, ["missing"])
    assert "s7.0" in result.complaints


def test_an_open_stream_that_does_not_open_is_seen(program: Path) -> None:
    def answer(tag: str) -> list[bytes]:
        return [CLOSE] if tag == "s3.0" else [stream_of(tag).partition(b":1:")[0]]

    result = load(program, answer, "--mode", "open", "--connections", "5")

    assert (result.status, result.report["faults"]) == (1, ["cut"])


def test_nobody_listening_is_seen(program: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]

    result = asyncio.run(run(program, port))

    assert (result.status, result.report["faults"]) == (1, ["connect"])
