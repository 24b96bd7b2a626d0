"""WebSocket: what a client may say, what it hears, and how it ends."""

import asyncio
import contextlib
import struct
from itertools import pairwise
from types import SimpleNamespace

import pytest
import websockets
from hypothesis import example, given, settings
from hypothesis import strategies as st
from orjson import loads
from websockets.asyncio.client import connect
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage

from gateway._sseparse import UNTIL_CLOSE, Entries, EventParser, Tap, text_frame
from gateway.flow import WRITE_HIGH
from gateway.http1 import PIPELINE_LIMIT
from gateway.websocket import CLOSE_TIMEOUT, SLICE, TURN, UNSENT_LIMIT
from tests.fake_client import Site, get
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
from tests.ws_echo import echo_server


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


@settings(deadline=None, max_examples=60)
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


# Closing.


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999, None])
def test_a_client_that_closes_gets_its_code_back(code):
    client = SocketClient.open()

    client.send(closing(code, "bye") if code else frame(CLOSE))

    assert client.close_codes == [code or 1005]
    assert client.transport.shut
    assert client.session.told == ["opened", "gone"]
    client.half_close()
    client.site.loop.wind(0)
    assert len(client.site.host.connections) == 0
    assert client.site.loop.timers == []


def test_our_close_waits_for_the_clients():
    client = SocketClient.open()

    client.socket.close(1000, "done")
    client.send(frame(TEXT, b"crossing"), frame(PING), closing(1000))

    assert client.heard == [(CLOSE, b"\x03\xe8done")]
    assert client.session.told == ["opened", "gone"]
    assert client.transport.shut


@pytest.mark.parametrize("last", [closing(1000), frame(TEXT, mask=None)])
def test_what_comes_after_the_end_is_dropped(last):
    client = SocketClient.open()

    client.send(last + frame(TEXT, b"x" * 2 * SLICE), frame(TEXT, b"more"))

    assert client.transport.shut
    assert client.transport.reading  # to see it leave
    assert len(client.heard) == 1
    assert client.session.told == ["opened", "gone"]


def test_close_frames_that_cross_end_it_once():
    client = SocketClient.open()

    client.socket.close(1000)
    client.socket.close(1011)
    client.send(closing(3000) + closing(3000))
    client.socket.close(1011)

    assert client.close_codes == [1000]
    assert client.session.told == ["opened", "gone"]


def test_a_breach_while_we_close_ends_it():
    client = SocketClient.open()

    client.socket.close(1000)
    client.send(frame(TEXT, mask=None))

    assert client.close_codes == [1000]
    assert client.transport.shut


@pytest.mark.parametrize("answer", [b"", closing(1000)], ids=["silent", "never hangs up"])
def test_a_client_that_does_not_close_is_dropped(answer):
    client = SocketClient.open()

    client.socket.close(1000)
    client.send(answer)
    client.site.loop.wind(CLOSE_TIMEOUT - 0.1)
    assert not client.transport.aborted
    client.site.loop.wind(0.1)

    assert client.transport.aborted
    assert client.site.loop.timers == []


def test_a_client_that_talks_on_while_we_close_is_dropped_in_time():
    client = SocketClient.open()
    client.socket.close(1000)

    for _ in range(20):
        client.site.loop.wind(CLOSE_TIMEOUT / 10)
        client.send(frame(TEXT, b"more"))

    assert client.transport.aborted
    assert client.session.told == ["opened", "gone"]


def test_a_reason_is_cut_between_letters():
    client = SocketClient.open()

    client.socket.close(1008, "ä" * 100)

    assert client.heard == [(CLOSE, struct.pack("!H", 1008) + "ä".encode() * 61)]


def test_a_draining_host_closes_with_1001():
    client = SocketClient.open()

    client.site.host.drain()

    assert client.close_codes == [1001]


@pytest.mark.parametrize("leave", [SocketClient.reset, SocketClient.half_close])
def test_who_leaves_without_a_word_is_noticed_and_writing_is_harmless(leave):
    client = SocketClient.open()

    leave(client)
    assert client.session.told == ["opened", "gone"]
    client.socket.send(b"a")
    client.socket.send_binary(b"a")
    client.socket.close(1000)
    client.socket.retire()
    client.site.loop.wind(0)
    client.socket.abort()

    assert client.heard == []
    assert client.session.told == ["opened", "gone"]


def test_what_is_lost_is_not_aborted():
    client = SocketClient.open()
    client.half_close()
    client.site.loop.wind(0)

    client.socket.abort()

    assert not client.transport.aborted


def test_a_half_closed_client_that_reads_nothing_is_dropped():
    client = SocketClient.open()
    client.transport.taking = False
    client.socket.send(b"x" * 1000)

    client.half_close()
    client.site.loop.wind(CLOSE_TIMEOUT)

    assert client.transport.aborted
    assert client.site.loop.timers == []


def test_a_session_that_closes_amid_a_read_hears_no_more_of_it():
    client = SocketClient.open()
    told = client.session.told
    client.session.text = lambda message: (told.append(message), client.socket.close(1008))

    client.send(frame(TEXT, b"a") + frame(TEXT, b"b") + frame(PING))

    assert told == ["opened", "a", "gone"]
    assert client.close_codes == [1008]
    assert client.heard[1:] == []


def test_a_session_that_aborts_amid_a_read_hears_no_more_of_it():
    client = SocketClient.open()
    told = client.session.told
    client.session.text = lambda message: (told.append(message), client.socket.abort())

    client.send(frame(TEXT, b"a") + frame(TEXT, b"b") + frame(PING) + closing(1000))

    assert told == ["opened", "a", "gone"]
    assert client.transport.aborted
    assert not client.transport.shut
    assert client.heard == []


# Clients that read slowly.


def clogged() -> SocketClient:
    """Return a client that takes nothing, and has more unsent than the high-water mark."""
    client = SocketClient.open()
    client.transport.taking = False
    client.socket.send(b"x" * (WRITE_HIGH + 1))
    assert client.socket.paused
    return client


def test_the_session_hears_when_the_client_takes_more_again():
    client = clogged()
    assert client.session.told == ["opened"]

    client.transport.take(WRITE_HIGH + 20)

    assert not client.socket.paused
    assert client.session.told == ["opened", "writable"]


def test_pings_of_a_client_that_reads_nothing_are_answered_once():
    client = clogged()

    client.send(*[frame(PING, b"%d" % n) for n in range(1000)])
    assert len(client.heard) == 1
    client.transport.take(10 * WRITE_HIGH)

    assert client.heard[1:] == [(PONG, b"999")]


def test_a_slow_client_is_still_heard_and_seen_to_leave():
    client = clogged()

    client.send(frame(TEXT, b"stop"))
    assert client.transport.reading
    client.reset()

    assert client.session.told == ["opened", "stop", "gone"]


def test_questions_whose_answers_nobody_reads_do_not_fill_our_memory():
    client = clogged()
    client.session.echoes = True
    question = frame(TEXT, b"x" * 100_000)

    for _ in range(UNSENT_LIMIT // 50_000):
        client.send(question)

    assert client.transport.aborted
    assert client.transport.unsent < UNSENT_LIMIT + 2 * len(question)
    assert client.session.told[-1] == "gone"


def test_a_session_is_not_told_of_the_end_amid_what_it_writes():
    client = clogged()
    socket, told = client.socket, client.session.told
    client.transport.unsent = UNSENT_LIMIT + 1

    socket.send(b"one word too many")
    socket.send(b"another")
    assert told[-1] != "gone"
    client.site.loop.wind(0)

    assert client.transport.aborted
    assert told[-1] == "gone"
    assert b"one word too many" not in client.transport.written


# On real sockets, with a client that is not ours.


async def test_a_client_that_is_not_ours_talks_to_it():
    long = "ü" * 100_000
    async with echo_server(0, "headgate.v1") as echo:
        async with connect(echo.url, subprotocols=["ticket.t", "headgate.v1"]) as client:
            assert client.subprotocol == "headgate.v1"
            assert client.protocol.extensions == []  # it offers to compress
            for message in ("hello", b"\x00\x01", long, [b"in ", b"parts"], ""):
                await client.send(message)
            heard = [await client.recv() for _ in range(5)]
            await (await client.ping())
        assert heard == ["hello", b"\x00\x01", long, b"in parts", ""]
        assert client.close_code == 1000


async def test_a_real_client_hears_why_it_ends():
    async with echo_server() as echo, connect(echo.url) as client:
        await client.send("a")
        await client.recv()

        echo.route.sockets[0].close(4410, "cursor gone")

        with pytest.raises(websockets.ConnectionClosedError) as closed:
            await client.recv()
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4410, "cursor gone")


async def test_a_drain_closes_real_clients():
    async with echo_server() as echo:
        async with connect(echo.url) as client:
            echo.host.drain()
            with pytest.raises(websockets.ConnectionClosedOK):
                await client.recv()
        assert client.close_code == 1001
        await echo.host.connections.empty()


async def test_a_real_client_that_sends_while_it_does_not_read_is_cut_without_harm():
    async with echo_server() as echo:
        host, _, port = echo.url.removeprefix("ws://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        message = frame(BINARY, b"x" * 60_000)
        with contextlib.suppress(ConnectionError):
            while True:  # until we are cut
                writer.write(message)
                await writer.drain()
        await echo.host.connections.empty()
        writer.close()


def test_a_site_without_websockets_does_not_upgrade():
    site = Site()
    client = SocketClient(site=site)
    site.host.route = lambda head: site.route

    client.send(UPGRADE)

    assert client.answers == [200]
