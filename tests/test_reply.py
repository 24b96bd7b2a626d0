"""Reply: the exact bytes of an answer, and what its connection is told."""

import weakref
from types import SimpleNamespace

import orjson
import pytest

from gateway.client_errors import MethodNotAllowed, RouteNotFound
from gateway.errors import GatewayError, Overloaded
from gateway.reply import SHARED, STATUS_LINES, Reply, field
from gateway.upstream_errors import UpstreamAnswer, UpstreamTimeout
from tests.fakes import FakeWire


def wire_and_reply(
    method: str = "GET", *, http10: bool = False, keep_alive: bool = True
) -> tuple[FakeWire, Reply]:
    wire = FakeWire(keep_alive=keep_alive)
    return wire, Reply(wire, "id-1", method, http10=http10)


# Whole answers.


def test_a_whole_answer_is_one_write():
    wire, reply = wire_and_reply()

    reply.send(200, b'{"a":1}', fields=b"x-more: 1\r\n")

    assert wire.writes == [
        b"HTTP/1.1 200 OK\r\n"
        b"date: now\r\n"
        b"content-type: application/json\r\n"
        b"content-length: 7\r\n"
        b"cache-control: no-store\r\n"
        b"x-content-type-options: nosniff\r\n"
        b"x-more: 1\r\n"
        b"x-request-id: id-1\r\n"
        b"request-id: id-1\r\n"
        b"\r\n"
        b'{"a":1}'
    ]
    assert (reply.status, reply.bytes_sent, reply.ended) == (200, 7, True)
    assert wire.told == ["answered"]


def test_a_large_body_is_not_copied_for_each_who_gets_it():
    body = b"x" * SHARED
    for _ in range(2):
        wire, reply = wire_and_reply()
        reply.send(200, body)
        head, sent = wire.writes
        assert b"content-length: %d\r\n" % len(body) in head
        assert sent is body
        assert reply.bytes_sent == len(body)


def test_who_answers_may_say_what_caches_do_and_name_the_type_among_the_fields():
    wire, reply = wire_and_reply()

    kind, caching = b"content-type: a/b\r\n", b"cache-control: private\r\n"
    reply.send(200, b"x", type=b"", fields=kind, caching=caching)

    fields = wire.parts[1]
    assert [line for line in fields if line.startswith(b"content-type")] == [kind.strip()]
    assert [line for line in fields if line.startswith(b"cache-control")] == [caching.strip()]


# Method, status, body: the length that is told, whether a type is, and the body that is sent.
BODIES = {
    "a body": ("GET", 200, b"hi", b"2", True, b"hi"),
    "no body": ("GET", 200, b"", b"0", False, b""),
    "HEAD": ("HEAD", 200, b"hi", b"2", True, b""),
    "HEAD of an error": ("HEAD", 404, b"{}", b"2", True, b""),
    "HEAD of a body that was not made": ("HEAD", 200, b"", None, False, b""),
    "204": ("OPTIONS", 204, b"", None, False, b""),
    "304": ("GET", 304, b"", None, False, b""),
    "304 with what must not be sent": ("GET", 304, b"hi", None, True, b""),
}


@pytest.mark.parametrize(
    ("method", "status", "body", "length", "typed", "sent"), BODIES.values(), ids=BODIES.keys()
)
def test_a_body_is_framed_as_its_status_and_method_want(method, status, body, length, typed, sent):
    wire, reply = wire_and_reply(method)

    reply.send(status, body, type=b"text/x")
    line, fields, found = wire.parts

    assert line.split()[1] == b"%d" % status
    lengths = [f.partition(b": ")[2] for f in fields if f.startswith(b"content-length")]
    assert lengths == ([] if length is None else [length])
    assert (b"content-type: text/x" in fields) is typed
    assert found == sent
    assert reply.bytes_sent == len(sent)


@pytest.mark.parametrize("status", [200, 204, 304, 404])
@pytest.mark.parametrize("keep_alive", [True, False])
def test_an_answer_says_close_exactly_when_the_connection_does(status, keep_alive):
    wire, reply = wire_and_reply(keep_alive=keep_alive)

    reply.send(status, b"")

    assert (b"connection: close" in wire.parts[1]) is not keep_alive


# Streams: how each version frames the pieces "ab", "" and "c".
STREAMS = {
    "HTTP/1.1": (False, b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", True),
    "HTTP/1.0": (True, b"abc", False),
}


@pytest.mark.parametrize(("http10", "body", "chunked"), STREAMS.values(), ids=STREAMS.keys())
@pytest.mark.parametrize("last", [b"c", b""], ids=["a last piece", "a bare end"])
def test_a_stream_is_framed_by_hand(http10, body, chunked, last):
    wire, reply = wire_and_reply("POST", http10=http10, keep_alive=not http10)

    reply.start(200, b"content-type: text/event-stream\r\n")
    reply.write(b"ab")
    if not last:
        reply.write(b"c")
    reply.end(last)
    line, fields, found = wire.parts

    assert line == b"HTTP/1.1 200 OK"
    assert (b"transfer-encoding: chunked" in fields) is chunked
    assert (b"connection: close" in fields) is http10
    assert not [f for f in fields if f.startswith(b"content-length")]
    assert found == body
    assert (reply.bytes_sent, reply.ended) == (3, True)
    assert wire.told == ["answered"]


def test_a_head_goes_out_with_its_first_piece_and_an_end_with_its_last():
    wire, reply = wire_and_reply("POST")

    reply.start(200, b"")
    assert wire.writes == []
    reply.write(b"a")
    reply.write(b"b")
    reply.end(b"c")

    assert [write[-13:] for write in wire.writes[1:]] == [b"1\r\nb\r\n", b"1\r\nc\r\n0\r\n\r\n"]
    assert wire.writes[0].endswith(b"\r\n\r\n1\r\na\r\n")


def test_a_stream_without_a_piece_still_has_a_head_and_an_end():
    wire, reply = wire_and_reply("POST")

    reply.start(200, b"")
    reply.end(b"")

    assert wire.parts[2] == b"0\r\n\r\n"
    assert len(wire.writes) == 1


def test_an_aborted_stream_has_no_end():
    wire, reply = wire_and_reply("POST")
    reply.start(200, b"")
    reply.write(b"ab")

    reply.abort()

    assert wire.written.endswith(b"2\r\nab\r\n")
    assert wire.told == ["abort"]
    assert reply.ended


# Errors: status, the fields they add, the code in their body.
ERRORS = {
    "our own": (
        RouteNotFound("no such path"),
        404,
        [b"headgate-error-source: gateway"],
        "not_found",
    ),
    "where waiting helps": (
        Overloaded("full", retry_after=7),
        503,
        [b"headgate-error-source: gateway", b"retry-after: 7", b"retry-after-ms: 7000"],
        "overloaded",
    ),
    "another method": (
        MethodNotAllowed("no", allow="GET, HEAD"),
        405,
        [b"headgate-error-source: gateway", b"allow: GET, HEAD"],
        "method_not_allowed",
    ),
    "the way to the provider": (
        UpstreamTimeout("slow"),
        504,
        [b"headgate-error-source: gateway"],
        "upstream_timeout",
    ),
    "a defect": (GatewayError("internal error"), 500, [], "internal_error"),
}


@pytest.mark.parametrize(("error", "status", "added", "code"), ERRORS.values(), ids=ERRORS.keys())
def test_an_error_says_what_and_whose_it_is(error, status, added, code):
    wire, reply = wire_and_reply()

    reply.error(error, fields=b"x-more: 1\r\n")
    _, fields, body = wire.parts

    assert reply.status == status
    assert set(added) <= set(fields)
    assert b"x-more: 1" in fields
    assert orjson.loads(body)["error"]["code"] == code
    waits = any(f.startswith(b"retry-after") for f in fields)
    assert waits is (error.retry_after is not None)


def test_the_providers_own_error_comes_through_byte_for_byte():
    wire, reply = wire_and_reply()

    reply.error(UpstreamAnswer(418, b"text/odd; x=1", b"\xff not json"))
    line, fields, body = wire.parts

    assert line == b"HTTP/1.1 418 I'm a Teapot"
    assert b"content-type: text/odd; x=1" in fields
    assert b"headgate-error-source: upstream" in fields
    assert body == b"\xff not json"


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (200, b"HTTP/1.1 200 OK\r\n"),
        (404, b"HTTP/1.1 404 Not Found\r\n"),
        (529, b"HTTP/1.1 529 \r\n"),  # Anthropic's
        (999, b"HTTP/1.1 999 \r\n"),
    ],
)
def test_any_status_has_a_line(status, line):
    assert STATUS_LINES[status] == line


@pytest.mark.parametrize("value", [b"", b"a b", b"a\tb", b"caf\xe9", b'"quoted"; x=1'])
def test_a_field_takes_what_rfc_9110_allows(value):
    assert field(b"x", value) == b"x: " + value + b"\r\n"


FORBIDDEN = [bytes([n]) for n in (*range(9), *range(10, 32), 127)]


@pytest.mark.parametrize("byte", FORBIDDEN, ids=[f"{b[0]:#04x}" for b in FORBIDDEN])
def test_no_control_byte_gets_into_a_field(byte):
    for value in (byte, b"a" + byte, byte + b"a", b"a" + byte + b"b: c"):
        with pytest.raises(ValueError, match="control byte in the value of x"):
            field(b"x", value)


def test_a_type_from_outside_cannot_forge_a_field():
    wire, reply = wire_and_reply()

    with pytest.raises(ValueError, match="content-type"):
        reply.send(200, b"x", type=b"a/b\r\nset-cookie: c=1")

    assert wire.writes == []
    assert not reply.ended


# Upgrades.


@pytest.mark.parametrize("keep_alive", [True, False])
def test_an_upgrade_is_a_head_and_leaves_the_connection_to_another(keep_alive):
    wire, reply = wire_and_reply(keep_alive=keep_alive)

    successor = SimpleNamespace(bytes_sent=7)
    reply.upgrade(b"upgrade: x\r\nconnection: upgrade\r\n", successor)

    assert wire.writes == [
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"date: now\r\n"
        b"upgrade: x\r\n"
        b"connection: upgrade\r\n"
        b"x-request-id: id-1\r\n"
        b"request-id: id-1\r\n"
        b"\r\n"
    ]
    assert (reply.status, reply.bytes_sent, reply.ended) == (101, 7, True)
    assert wire.told == [f"upgrade: {successor}"]


@pytest.mark.parametrize(
    "end",
    [lambda reply: reply.send(202, b"later"), lambda reply: reply.upgrade(b"", object())],
    ids=["answered", "upgraded"],
)
def test_a_reply_that_has_ended_keeps_no_connection(end):
    wire, reply = wire_and_reply()
    connection = weakref.ref(wire)

    end(reply)
    del wire

    assert connection() is None
    reply.abort()  # which is harmless
