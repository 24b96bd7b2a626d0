"""The mock provider: how it misbehaves when it is asked to."""

import zlib

import orjson
import pytest

from gateway.mock import MockProvider, Options, faults
from gateway.mock.routes import reply_to
from tests.mock_client import (
    answer,
    ask,
    chunks,
    connected,
    deltas,
    exchange_of,
    one_answer,
    parsed,
    read_all,
    request_bytes,
)


# --- faults: another answer


STATUSES = {
    "400": (400, None),
    "401": (401, "invalid_api_key"),
    "429": (429, "rate_limit_exceeded"),
    "500": (500, None),
    "503": (503, "overloaded"),
    "status-418": (418, None),
    "status-529": (529, None),
}


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "document"])
@pytest.mark.parametrize(("fault", "expected"), STATUSES.items(), ids=STATUSES.keys())
def test_a_fault_that_is_a_status_is_an_error_of_openais_shape(run, fault, expected, stream):
    status, fields, body = answer(run, stream=stream, mock={"fault": fault, "interval": 1000})
    error = orjson.loads(body)["error"]

    assert (status, error["code"]) == expected
    assert set(error) == {"message", "type", "param", "code"}
    assert fields.get("retry-after") == ("1" if status == 429 else None)


def test_retry_after_may_be_anything(run):
    headers = {"mock-fault": "429", "mock-retry-after": "Never, ever"}
    _, fields, _ = answer(run, headers=headers, model="m")

    assert fields["retry-after"] == "Never, ever"


def test_html_and_redirect_are_not_what_was_asked_for(run):
    status, fields, body = answer(run, stream=True, mock={"fault": "html"})
    assert (status, fields["content-type"], body[:9]) == (200, "text/html", b"<!doctype")

    status, fields, body = answer(run, stream=True, mock={"fault": "redirect"})
    assert (status, fields["location"], body) == (302, "http://169.254.169.254/", b"")


# --- faults: the connection


def spoilt(run, fault, **mock):
    """Return the bytes that a stream of six events with this fault has, and how it ended."""

    async def story():
        async with MockProvider() as provider:
            return await ask(
                provider, stream=True, mock={"fault": fault, "tokens": 3, "at": 2} | mock
            )

    return run(story())


ENDS = {
    "refuse": ("reset", lambda got: got == b""),
    "close": ("fin", lambda got: got == b""),
    "garbage": ("fin", lambda got: got.startswith(b"\x16\x03") and b"HTTP/1.1" not in got),
    "hangup": ("fin", lambda got: got.count(b"data: ") == 2 and got.endswith(b"}\n\n\r\n")),
    "cut": ("reset", lambda got: got.count(b"data: ") == 3 and not got.endswith(b"\n")),
    "bad-chunk": ("fin", lambda got: got.count(b"data: ") == 3 and b"0x1g;" in got),
    "extra": ("fin", lambda got: got.endswith(b"0\r\n\r\n" + faults._SURPLUS)),
}


@pytest.mark.parametrize("interval", [0, 1])
@pytest.mark.parametrize(("fault", "expected"), ENDS.items(), ids=ENDS.keys())
def test_a_fault_of_the_connection(run, fault, expected, interval):
    how, shows = expected
    received, end = spoilt(run, fault, interval=interval)

    assert end == how
    assert shows(received), received


def test_a_document_is_cut_in_its_middle(run):
    async def story():
        async with MockProvider() as mock:
            return await ask(mock, mock={"fault": "cut"})

    received, end = run(story())
    head, _, body = received.partition(b"\r\n\r\n")
    assert end == "reset"
    assert b"content-length: " in head
    assert body[:1] == b"{"
    assert body[-1:] != b"}"


SILENCES = {
    "stall-first": lambda got: got == b"",
    "stall-head": lambda got: got.endswith(b"chunked\r\n\r\n"),
    "stall-mid": lambda got: got.count(b"data: ") == 2 and got.endswith(b"\n\n\r\n"),
    "drip-mid": lambda got: 0 < len(got.rpartition(b"data: ")[2]) < 400 and got[-2:] != b"\n\n",
}


@pytest.mark.parametrize(("fault", "shows"), SILENCES.items(), ids=SILENCES.keys())
def test_a_stall_lasts_until_the_client_leaves(run, fault, shows):
    async def story():
        async with MockProvider() as mock:
            wanted = request_bytes(stream=True, mock={"fault": fault, "tokens": 3, "at": 2})
            async with connected(mock, wanted) as (reader, writer):
                await mock.until(lambda: mock.open_streams == 1)
                # Half closing tells the mock that we leave, and lets us read what it had sent.
                writer.write_eof()
                received, _ = await read_all(reader)
            await mock.until(lambda: not mock.open_streams)
            return received, mock.requests[0]

    received, exchange = run(story())
    assert shows(received), received
    assert exchange.cancelled
    assert not exchange.ended


def test_interim_responses_come_first(run):
    received, _ = spoilt(run, "100-continue", count=3)

    assert received.startswith(b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + b"HTTP/1.1 200 OK\r\n")
    assert len(chunks(parsed(received[3 * len(faults._INTERIM) :])[2])) == 5


@pytest.mark.parametrize(("fault", "end"), [("stale", "fin"), ("stale-reset", "reset")])
def test_a_stale_connection_ends_at_its_second_request(run, fault, end):
    async def story():
        async with MockProvider(Options(fault=fault)) as mock:
            wanted = request_bytes("/healthz")
            async with connected(mock, wanted) as (reader, writer):
                assert (await one_answer(reader)).endswith(b"ok\n")
                # An hour for each token, of an answer that nobody thinks about.
                writer.write(request_bytes(mock={"tokens": 2, "interval": 3_600_000}))
                assert await read_all(reader) == (b"", end)
            async with connected(mock, wanted) as (reader, _):
                assert (await one_answer(reader)).endswith(b"ok\n")

    run(story())


@pytest.mark.parametrize(
    ("fault", "told"), [("early-close", True), ("close-idle", False)], ids=["told", "untold"]
)
def test_a_connection_that_closes_after_its_answer(run, fault, told):
    async def story():
        async with MockProvider() as mock:
            wanted = request_bytes(stream=True, mock={"tokens": 1, "fault": fault})
            async with connected(mock, wanted) as (reader, _):
                received, end = await read_all(reader)
            return parsed(received), end, mock.requests[0]

    (_, fields, body), end, exchange = run(story())
    assert (deltas(body), end) == (["t0"], "fin")
    assert fields.get("connection") == ("close" if told else None)
    assert exchange.ended


def test_a_connection_that_is_told_it_is_too_late_after_its_answer(run):
    received, end = spoilt(run, "idle-408")
    answer, _, late = received.partition(b"0\r\n\r\n")

    assert len(deltas(parsed(answer + b"0\r\n\r\n")[2])) == 3
    assert late.startswith(b"HTTP/1.1 408 ")
    assert end == "fin"


# --- faults: the events


def stream_of(run, fault, **mock):
    received, end = spoilt(run, fault, **mock)
    assert end == "fin"
    return parsed(received)[2]


EVENTS = {
    "truncate": lambda body: body.count(b"data: ") == 2 and body.endswith(b"}\n\n"),
    "no-done": lambda body: b"[DONE]" not in body and b'"stop"' in body,
    "no-finish": lambda body: body.endswith(b"data: [DONE]\n\n") and b'"stop"' not in body,
    "error-first": lambda body: body.startswith(b'data: {"error":{') and body.count(b"data:") == 1,
    "error-mid": lambda body: body.count(b"data: ") == 3 and b"mock_failure" in body[-140:],
    "garbage-mid": lambda body: body.split(b"\n\n")[2].startswith(b"<html>"),
    "bad-json": lambda body: body.split(b"\n\n")[2] == b'data: {"choices": [oops',
    "bad-utf8": lambda body: b"\xc3\x28" in body.split(b"\n\n")[2],
    "crlf": lambda body: body.count(b"\r\n\r\n") == body.count(b"\n") // 2 == 6,
    "cr": lambda body: body.count(b"\r\r") == 6 and b"\n" not in body,
    "bom": lambda body: body.startswith(b"\xef\xbb\xbfdata: ") and body.count(b"\xef\xbb\xbf") == 1,
    "comments": lambda body: body.count(b": keep-alive\n\n\ndata: ") == 6,
    "event-names": lambda body: body.count(b"event: message\ndata: ") == 6,
    "ids": lambda body: [f"id: {i}\ndata: ".encode() in body for i in range(6)] == [True] * 6,
    "split-utf8": lambda body: len(chunks(body)) == 5,
    "onebyte": lambda body: len(chunks(body)) == 5,
    "drip": lambda body: len(chunks(body)) == 5,
    "deaf": lambda body: len(chunks(body)) == 5,
}


@pytest.mark.parametrize(("fault", "shows"), EVENTS.items(), ids=EVENTS.keys())
def test_a_fault_of_the_events(run, fault, shows):
    body = stream_of(run, fault)

    assert shows(body), body


def test_a_big_line_never_ends(run):
    body = stream_of(run, "big-line")

    line = body.rpartition(b"\n")[2]
    assert body.count(b"data: ") == 3
    assert len(line) == len(b"data: ") + 10_000_000


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "document"])
def test_gzip_is_named_and_real(run, stream):
    _, fields, body = answer(run, stream=stream, mock={"fault": "gzip", "tokens": 3})
    plain = zlib.decompress(body, wbits=31)

    assert fields["content-encoding"] == "gzip"
    assert b"t2" in plain


def test_a_truncated_document_is_half_of_its_json(run):
    _, _, body = answer(run, mock={"fault": "truncate"})

    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(body)


@pytest.mark.parametrize("fault", ["onebyte", "drip"])
def test_every_byte_is_a_write_of_its_own(fault):
    reply = reply_to(exchange_of(stream=True, mock={"fault": fault}), Options(interval=9), 1)

    assert {len(piece) for piece in reply.pieces()} == {1}
    assert (reply.burst, reply.interval) == (1, 9 if fault == "drip" else 0)


def test_the_end_of_the_body_rides_with_done():
    *_, last = reply_to(exchange_of(stream=True), Options(), 1).pieces()

    assert last == b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


def test_characters_are_split_between_writes():
    mock = {"fault": "split-utf8", "text": "unicode", "framing": "close", "tokens": 10}
    reply = reply_to(exchange_of(stream=True, mock=mock), Options(), 1)
    _, *pieces = reply.pieces()

    def whole(piece):
        try:
            return bool(piece.decode())
        except UnicodeDecodeError:
            return False

    assert sum(not whole(piece) for piece in pieces) >= 2 * 8
    assert reply.burst == 1


def test_every_fault_is_tried_by_some_test():
    tried = {*STATUSES, *ENDS, *SILENCES, *EVENTS}
    alone = {"html", "redirect", "100-continue", "stale", "stale-reset"}
    alone |= {"early-close", "close-idle", "idle-408"}

    assert set(faults.FAULTS) == {
        name for name in tried | alone | {"big-line", "gzip"} if not name.startswith("status-")
    }
