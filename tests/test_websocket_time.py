"""WebSocket and time: who is asked whether it is there, and who is cut."""

import socket

import pytest

from gateway.flow import STALL_LOOK, STALL_TIMEOUT, WRITE_HIGH
from gateway.websocket import CLOSE_TIMEOUT, PING_AFTER, PONG_TIMEOUT
from tests.fake_websocket import CLOSE, PING, PONG, TEXT, SocketClient, frame


def test_a_silent_client_is_asked_and_stays_if_it_answers():
    client = SocketClient.open()

    for asked in range(1, 20):
        client.site.loop.wind(PING_AFTER - 0.1)
        assert len(client.heard) == asked - 1
        client.site.loop.wind(0.1)
        assert client.heard == [(PING, b"")] * asked
        client.send(frame(PONG))

    assert client.is_open


@pytest.mark.parametrize("delay", [0.1, 5.0, PONG_TIMEOUT - 0.1])
def test_the_next_silence_begins_with_the_answer(delay):
    client = SocketClient.open()
    client.site.loop.wind(PING_AFTER + delay)
    client.send(frame(PONG))

    client.site.loop.wind(PING_AFTER - 0.1)
    assert client.heard == [(PING, b"")]
    client.site.loop.wind(0.1)

    assert client.heard == [(PING, b"")] * 2


def test_a_client_that_does_not_answer_is_dropped():
    client = SocketClient.open()

    client.site.loop.wind(PING_AFTER + PONG_TIMEOUT - 0.1)
    assert not client.transport.aborted
    client.site.loop.wind(0.1)

    assert client.transport.aborted
    assert client.session.told == ["opened", "gone"]
    assert client.site.loop.timers == []


def test_a_client_that_says_anything_is_not_asked():
    client = SocketClient.open()

    for byte in frame(TEXT, b"x" * 100):
        client.site.loop.wind(PING_AFTER - 0.1)
        client.send(bytes([byte]))

    assert client.heard == []
    assert client.session.told == ["opened", "x" * 100]


def test_a_client_that_only_listens_is_asked_too():
    client = SocketClient.open()

    for _ in range(int(PING_AFTER + PONG_TIMEOUT)):
        client.site.loop.wind(1)
        client.socket.send(b"event")

    assert (PING, b"") in client.heard
    assert client.transport.aborted


def clogged() -> SocketClient:
    """Return a client that takes nothing, and has more unsent than the high-water mark."""
    client = SocketClient.open()
    client.site.loop.wind(1)
    client.transport.taking = False
    client.socket.send(b"x" * (WRITE_HIGH + 1))
    return client


def test_a_client_to_which_the_system_still_sends_is_not_cut_and_asked_only_when_all_is_there():
    client = SocketClient.open()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        client.transport.socket = ours
        for _ in range(10):
            ours.send(b"x" * 10_000)
        for _ in range(10):
            client.site.loop.wind(STALL_TIMEOUT - 1)
            assert client.heard == []
            theirs.recv(10_000)
        client.site.loop.wind(STALL_LOOK)

    assert client.heard == [(PING, b"")]


def test_a_client_that_takes_nothing_is_cut():
    client = clogged()

    client.site.loop.wind(STALL_TIMEOUT - 0.1)
    assert client.session.told == ["opened"]
    client.site.loop.wind(STALL_LOOK + 0.1)
    assert client.close_codes == [1013]
    assert client.session.told == ["opened", "gone"]
    client.site.loop.wind(CLOSE_TIMEOUT)

    assert client.transport.aborted
    assert client.site.loop.timers == []


def test_a_cut_client_that_reads_at_last_learns_why():
    client = clogged()
    client.site.loop.wind(STALL_TIMEOUT + STALL_LOOK)

    client.transport.take(10 * WRITE_HIGH)
    client.send(frame(CLOSE, b"\x03\xf5"))

    assert client.close_codes == [1013]
    assert client.transport.shut
    assert not client.transport.aborted


def test_a_few_bytes_that_nobody_takes_are_a_stall_too():
    client = SocketClient.open()
    client.transport.taking = False
    client.socket.send(b"x")

    client.site.loop.wind(PING_AFTER + STALL_TIMEOUT + CLOSE_TIMEOUT)

    assert client.transport.aborted


def test_a_slow_client_is_neither_cut_nor_asked():
    client = clogged()

    for _ in range(20):
        client.site.loop.wind(STALL_TIMEOUT - 1)
        client.transport.take(1)

    assert len(client.heard) == 1
    assert client.session.told == ["opened"]


def test_a_client_that_keeps_its_buffer_full_but_takes_is_not_cut():
    client = clogged()

    for _ in range(20):
        client.site.loop.wind(STALL_TIMEOUT / 2)
        client.transport.take(1000)
        client.socket.send(b"x" * 996)  # and four bytes of header

    assert client.session.told == ["opened"]


def test_a_client_that_sends_and_does_not_read_is_cut_all_the_same():
    client = clogged()

    for _ in range(int(STALL_TIMEOUT + STALL_LOOK)):
        client.site.loop.wind(1)
        client.send(frame(PING))

    assert client.close_codes == [1013]


def test_a_stall_that_begins_just_after_a_look_has_its_full_time():
    client = SocketClient.open()
    client.transport.taking = False
    client.site.loop.wind(PING_AFTER - 0.1)
    client.socket.send(b"seen by the look")
    client.site.loop.wind(0.2)
    client.transport.take(1000)
    client.socket.send(b"x" * (WRITE_HIGH + 1))

    client.site.loop.wind(STALL_TIMEOUT - 0.1)
    assert client.close_codes == []
    client.site.loop.wind(STALL_LOOK + 0.1)

    assert client.close_codes == [1013]


@pytest.mark.parametrize("after", [0.5, 14, 15.5, 28, 44])
def test_a_client_has_its_time_from_the_last_byte_it_took(after):
    client = clogged()
    client.site.loop.wind(after / 2)
    client.transport.take(1)
    client.site.loop.wind(after / 2)
    client.transport.take(1)

    client.site.loop.wind(STALL_TIMEOUT - 0.1)
    assert client.close_codes == []
    client.site.loop.wind(STALL_LOOK + 0.2)

    assert client.close_codes == [1013]
    assert client.site.host.stalls == 1


def test_the_time_to_close_is_short_though_bytes_are_unsent():
    client = SocketClient.open()
    client.transport.taking = False
    client.site.loop.wind(PING_AFTER - 2)
    client.socket.send(b"unsent when the alarm rings")
    client.socket.close(1000)

    client.site.loop.wind(CLOSE_TIMEOUT - 0.1)
    assert not client.transport.aborted
    client.site.loop.wind(0.1)

    assert client.transport.aborted
