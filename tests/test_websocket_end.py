"""A WebSocket: how it closes, clients that read slowly, and one that is not ours."""

import asyncio
import contextlib
import struct

import pytest
import websockets
from websockets.asyncio.client import connect

from gateway.flow import WRITE_HIGH
from gateway.websocket import CLOSE_TIMEOUT, SLICE, UNSENT_LIMIT
from tests.fake_client import Site
from tests.fake_websocket import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    UPGRADE,
    SocketClient,
    closing,
    frame,
)
from tests.ws_echo import echo_server


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
