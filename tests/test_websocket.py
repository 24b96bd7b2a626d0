"""A WebSocket: how it begins, what is said on it, and what clients must not send."""

import struct
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from orjson import loads
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage

from gateway._sseparse import UNTIL_CLOSE, Entries, EventParser, Tap, text_frame
from gateway.flow import WRITE_HIGH
from gateway.http1 import PIPELINE_LIMIT
from gateway.websocket import SLICE, TURN
from tests.fake_client import get
from tests.fake_websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FIELDS,
    PING,
    PONG,
    TEXT,
    UPGRADE,
    FakeSession,
    SocketClient,
    closing,
    frame,
    without,
)
from tests.oracle import canonical


# From HTTP to WebSocket.


def test_who_asks_for_another_version_is_told_ours():
    client = SocketClient()

    client.send(get("/ws", *without("Sec-WebSocket-Version"), "Sec-WebSocket-Version: 8"))

    assert client.answers == [426]
    assert b"\r\nsec-websocket-version: 13\r\n" in client.transport.written
    assert client.session.told == []


def test_the_101_has_the_fields_of_every_answer_and_none_of_a_body():
    client = SocketClient()

    client.send(get("/ws", *FIELDS, "X-Request-Id: mine", "Sec-WebSocket-Extensions: x"))

    status, *fields = client.transport.written.decode().removesuffix("\r\n\r\n").split("\r\n")
    assert status == "HTTP/1.1 101 Switching Protocols"
    assert [field.partition(":")[0] for field in fields] == [
        *("date", "upgrade", "connection", "sec-websocket-accept", "x-request-id", "request-id"),
    ]
    assert "x-request-id: mine" in fields
    assert client.route.replies[0].status == 101
    assert client.route.replies[0].ended


def test_a_websocket_is_counted_in_place_of_its_http_connection():
    client = SocketClient.open()

    assert list(client.site.host.connections) == [client.socket]
    client.reset()

    assert len(client.site.host.connections) == 0
    assert client.session.told == ["opened", "gone"]
    assert client.site.loop.timers == []


def test_the_limits_of_http_end_with_it():
    client = SocketClient.open()

    for _ in range(100):
        client.site.loop.wind(20)
        client.send(frame(PONG))

    assert client.is_open


def test_an_upgrade_that_a_route_answers_otherwise_is_an_ordinary_request():
    client = SocketClient()

    client.send(get("/plain", *FIELDS))

    assert client.answers == [200]
    assert not client.is_open  # intermediaries disagree on what would follow


def test_requests_before_the_upgrade_are_answered_first():
    client = SocketClient()

    client.send(get("/plain") + get("/plain") + UPGRADE + frame(TEXT, b"early"))

    assert client.answers == [200, 200, 101]
    assert client.session.told == ["opened", "early"]


def test_an_upgrade_may_be_decided_later():
    client = SocketClient()
    client.send(get("/later", *FIELDS), frame(TEXT, b"a"), frame(TEXT, b"b"))
    assert client.answers == []

    client.route.upgrade()

    assert client.answers == [101]
    assert client.session.told == ["opened", "a", "b"]


def test_an_upgrade_decided_when_the_client_has_left_is_harmless():
    client = SocketClient()
    client.send(get("/later", *FIELDS))
    client.reset()

    client.route.upgrade()

    assert client.session.told == []
    assert len(client.site.host.connections) == 0
    assert client.site.loop.timers == []


def test_who_sent_more_than_is_kept_before_the_decision_is_dropped():
    client = SocketClient()
    client.send(get("/later", *FIELDS), b"x" * (PIPELINE_LIMIT + 1))

    client.route.upgrade()
    client.site.loop.wind(0)

    assert client.transport.aborted
    assert client.session.told == []


def test_an_upgrade_while_the_listener_drains_closes_at_once():
    client = SocketClient()
    client.send(get("/later", *FIELDS))
    client.site.host.drain()

    client.route.upgrade()

    assert client.close_codes == [1001]
    assert client.session.told == ["opened", "gone"]


# Messages.


def test_messages_of_both_kinds_go_both_ways():
    client = SocketClient.open(session=FakeSession(echoes=True))

    client.send(frame(TEXT, "grüße".encode()), frame(BINARY, b"\x00\xff"), frame(TEXT))

    assert client.session.told == ["opened", "grüße", b"\x00\xff", ""]
    assert client.heard == [(TEXT, "grüße".encode()), (BINARY, b"\x00\xff"), (TEXT, b"")]
    assert client.socket.bytes_sent == 2 + 7 + 2 + 2 + 2


STORY = UPGRADE + b"".join((
    frame(TEXT, b"one"),
    frame(TEXT, "zw€".encode()[:4], fin=False),
    frame(PING, b"amid"),
    frame(CONTINUATION, fin=False),
    frame(CONTINUATION, "zw€".encode()[4:] + b"i", fin=False),
    frame(PONG, b"nobody asked"),
    frame(CONTINUATION, b""),
    frame(BINARY, bytes(range(200)) * 2, fin=False),
    frame(CONTINUATION, b"end"),
    frame(TEXT, b"x" * 70_000),
    closing(3000, "enough"),
))  # fmt: skip


@settings(max_examples=60)
@given(st.lists(st.integers(0, len(STORY)) | st.integers(0, 900), max_size=12))
def test_no_cut_changes_the_story(cuts):
    client = SocketClient(session=FakeSession(echoes=True))
    edges = sorted({0, *cuts, len(STORY)})

    client.send(*[STORY[a:b] for a, b in pairwise(edges)])

    binary = bytes(range(200)) * 2 + b"end"
    assert client.session.told == ["opened", "one", "zw€i", binary, "x" * 70_000, "gone"]
    assert client.heard == [
        (TEXT, b"one"),
        (PONG, b"amid"),
        (TEXT, "zw€i".encode()),
        (BINARY, binary),
        (TEXT, b"x" * 70_000),
        (CLOSE, struct.pack("!H", 3000) + b"enough"),
    ]
    assert client.transport.shut


def test_a_story_byte_by_byte_is_the_same():
    client = SocketClient(session=FakeSession(echoes=True))
    story = STORY[:900]  # to within the long text

    client.send(*[bytes([byte]) for byte in story])

    assert client.session.told[:3] == ["opened", "one", "zw€i"]
    assert len(client.heard) == 4


def test_a_large_read_of_small_frames_lets_others_go_first():
    client = SocketClient.open()
    many = frame(TEXT) * (4 * SLICE)

    client.socket.data_received(many)

    assert len(client.session.told) == 1 + TURN
    assert not client.transport.reading  # or it would heap up
    client.site.loop.wind(0)
    assert len(client.session.told) == 1 + 4 * SLICE
    assert client.transport.reading


def test_slices_that_wait_are_dropped_when_the_client_leaves():
    client = SocketClient.open()
    client.socket.data_received(frame(TEXT) * SLICE)
    told = len(client.session.told)

    client.transport.abort()
    client.socket.connection_lost(None)
    client.site.loop.wind(0)

    assert client.session.told[told:] == ["gone"]


# Frames we send.


@given(st.binary(max_size=300) | st.builds(bytes, st.integers(0, 70_000)))
@example(b"")
@example(bytes(125))
@example(bytes(126))
@example(bytes(0xFFFF))
@example(bytes(0x10000))
def test_a_text_frame_is_what_wsproto_would_send(payload):
    head = Connection(ConnectionType.SERVER).send(BytesMessage(payload))
    assert head[0] == 0x80 | BINARY

    assert text_frame(payload) == bytes([0x80 | TEXT]) + head[1:]


def test_frames_framed_elsewhere_go_out_as_they_are():
    client = SocketClient.open()
    frames = text_frame(b"one") + text_frame(b"two")

    client.socket.write(frames)

    assert client.heard == [(TEXT, b"one"), (TEXT, b"two")]
    assert client.socket.bytes_sent == len(frames)


class Endless(Tap):
    """Leaves readers behind."""

    def pump(self) -> None: ...


def test_the_entries_of_a_log_go_out_until_the_client_takes_no_more():
    client = SocketClient.open()
    client.transport.taking = False
    log, entry = Entries(), canonical(b"chunk", b'"%b"' % (b"x" * WRITE_HIGH))
    outlet = client.socket.start(b"abcdefgh")
    readers = [SimpleNamespace(outlet=outlet)]
    tap = Endless(EventParser(UNTIL_CLOSE), log, readers, 10 * WRITE_HIGH, client.site.loop.time)
    tap.flowing = True

    for _ in range(3):
        tap.data(entry)
    assert (outlet.cursor, log.tail, outlet.paused) == (1, 3, True)
    assert [opcode for opcode, _ in client.heard] == [TEXT]
    assert loads(client.heard[0][1])["id"] == "abcdefgh_0000000000000001"
    assert client.socket.start(b"ijklmnop").paused
    client.transport.take(10 * WRITE_HIGH)

    assert not client.socket.start(b"abcdefgh").paused


# What clients must not send.

WRONG = {
    "a frame that is not masked": (frame(TEXT, b"a", mask=None), 1002),
    "a reserved bit": (frame(TEXT | 0x40, b"a"), 1002),
    "a compressed message": (frame(TEXT | 0x40, b"\x4a\x04\x00"), 1002),
    "an unknown opcode": (frame(3), 1002),
    "an unknown control opcode": (frame(11), 1002),
    "a fragmented ping": (frame(PING, fin=False), 1002),
    "a ping of 126 bytes": (frame(PING, b"x" * 126), 1002),
    "a continuation of nothing": (frame(CONTINUATION, b"a"), 1002),
    "a message within a message": (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
    "a length with its highest bit": (b"\x81\xff" + b"\xff" * 8 + b"mask", 1002),
    "a length written too long": (b"\x81\xfe\x00\x05" + b"mask", 1002),
    "a close frame of one byte": (frame(CLOSE, b"\x03"), 1002),
    "a close code that is nobody's": (closing(999), 1002),
    "a close code that is never sent": (closing(1005), 1002),
    "a close reason that is no text": (frame(CLOSE, b"\x03\xe8\xff"), 1007),
    "text that is not UTF-8": (frame(TEXT, b"\xff"), 1007),
    "half a surrogate": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "a letter cut at the end": (frame(TEXT, "€".encode()[:2]), 1007),
    "a fragment that cannot go on": (frame(TEXT, b"\xf4\x90", fin=False), 1007),
    "a letter broken by fragments": (
        frame(TEXT, "€".encode()[:2], fin=False) + frame(CONTINUATION, b"a"),
        1007,
    ),
}


@pytest.mark.parametrize(("raw", "code"), WRONG.values(), ids=WRONG.keys())
def test_a_breach_of_the_protocol_is_named_and_ends_it(raw, code):
    client = SocketClient.open()

    client.send(raw, frame(TEXT, b"more"))

    assert client.close_codes == [code]
    assert client.session.told == ["opened", "gone"]
    assert client.transport.shut
    assert client.site.crashes == []


def test_a_message_is_as_large_as_the_limit_and_no_larger():
    client = SocketClient.open(message_limit=1000)

    client.send(frame(TEXT, b"x" * 1000), frame(BINARY, b"x" * 1001))

    assert client.session.told == ["opened", "x" * 1000, "gone"]
    assert client.close_codes == [1009]


def test_the_limit_is_in_bytes_and_over_all_fragments():
    client = SocketClient.open(message_limit=1000)

    client.send(frame(TEXT, "é".encode() * 300, fin=False))
    client.send(frame(CONTINUATION, "é".encode() * 201))

    assert client.close_codes == [1009]


def test_a_message_too_large_is_not_awaited_to_its_end():
    client = SocketClient.open(message_limit=1000)

    client.send(frame(TEXT, b"x" * 100_000)[:1200])

    assert client.close_codes == [1009]


def test_a_defect_of_the_session_closes_with_1011_and_tells_the_client_nothing():
    client = SocketClient.open()
    client.session.fails = True

    client.send(frame(TEXT, b"a"))

    assert client.close_codes == [1011]
    assert b"secret" not in client.transport.written
    assert [type(crash) for crash in client.site.crashes] == [ZeroDivisionError]
