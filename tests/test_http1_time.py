"""HttpConnection and time: who is waited for, how long, and what a slow client gets."""

import socket

import pytest

from gateway.flow import STALL_LOOK, STALL_TIMEOUT, WRITE_HIGH
from gateway.http1 import (
    BODY_TIMEOUT,
    BODY_TOTAL,
    HEAD_TIMEOUT,
    IDLE_TIMEOUT,
    LINGER_TIMEOUT,
)
from tests.fake_client import FakeClient, Site, get, post


# Longest time between the last progress of a stalled client and its end.
PATIENCE = STALL_TIMEOUT + STALL_LOOK
BLOCK = b"x" * 10_000


def site_and_client() -> tuple[Site, FakeClient]:
    site = Site()
    return site, FakeClient(site)


def stalled_stream(size: int = 2 * WRITE_HIGH) -> tuple[Site, FakeClient]:
    """Return a client that has taken nothing of `size` bytes of a stream."""
    site, client = site_and_client()
    client.send(get("/stream"))
    site.loop.wind(60)  # all alarms of its beginning are over
    client.transport.taking = False
    while client.transport.unsent < size:
        site.reply.write(BLOCK)
    return site, client


def test_a_client_that_says_nothing_is_closed_without_a_word():
    site, client = site_and_client()

    site.loop.wind(HEAD_TIMEOUT - 0.1)
    assert client.is_open
    site.loop.wind(0.2)

    assert client.transport.closed
    assert client.answers == []
    assert site.refused == []


def test_an_empty_line_does_not_begin_a_head():
    site, client = site_and_client()

    client.send(b"\r\n")
    site.loop.wind(HEAD_TIMEOUT + 0.1)

    assert client.transport.closed
    assert client.answers == []


@pytest.mark.parametrize("pace", [0.1, 1.0, 9.0])
def test_a_head_that_drips_in_has_ten_seconds_in_all(pace):
    site, client = site_and_client()
    site.loop.wind(5)  # of the time to begin, which is another

    began = site.loop.now
    for byte in get("/a", "X: " + "y" * 200):
        client.send(bytes([byte]))
        site.loop.wind(pace)
        if not client.is_open:
            break

    assert client.answers == [408]
    assert began + HEAD_TIMEOUT <= site.loop.now <= began + HEAD_TIMEOUT + LINGER_TIMEOUT + pace
    assert site.refused == [(408, "")]
    assert site.paths == []


def test_a_request_that_came_while_the_process_stood_still_came_in_time():
    site, client = site_and_client()
    client.send(get("/a")[:9])

    site.loop.now += 60
    site.loop.wind(0)  # alarms ring before sockets are read
    client.send(get("/a")[9:])

    assert client.answers == [200]


def test_a_head_is_not_timed_by_the_one_before():
    site, client = site_and_client()

    for _ in range(20):
        client.send(get("/a")[:9])
        site.loop.wind(HEAD_TIMEOUT - 1)
        client.send(get("/a")[9:])

    assert client.answers == [200] * 20


def test_a_body_may_be_slow_but_not_stop():
    site, client = site_and_client()
    request = post("/a", b"x" * 30)
    client.send(request[:-30])

    for byte in request[-30:-1]:
        site.loop.wind(BODY_TIMEOUT - 1)
        client.send(bytes([byte]))
    assert client.answers == []
    site.loop.wind(BODY_TIMEOUT)

    assert client.answers == [408]
    assert client.transport.shut
    assert site.refused == [(408, "/a")]
    assert site.paths == []


def test_a_body_that_drips_has_an_end():
    site, client = site_and_client()
    client.send(post("/a", b"x" * 50)[:-50])

    for _ in range(int(BODY_TOTAL / (BODY_TIMEOUT - 1))):
        site.loop.wind(BODY_TIMEOUT - 1)
        assert client.answers == []
        client.send(b"x")
    site.loop.wind(BODY_TIMEOUT - 1)

    assert client.answers == [408]


def test_a_chunked_body_that_stops_between_chunks_is_timed_too():
    site, client = site_and_client()

    client.send(get("/a", "Transfer-Encoding: chunked", method="POST") + b"1\r\nx\r\n")
    site.loop.wind(BODY_TIMEOUT)

    assert client.answers == [408]


def test_who_waits_for_a_100_and_never_sends_the_body_is_timed():
    site, client = site_and_client()

    client.send(get("/a", "Content-Length: 5", "Expect: 100-continue", method="POST"))
    site.loop.wind(BODY_TIMEOUT)

    assert client.answers == [100, 408]


def test_an_idle_connection_is_kept_for_a_while():
    site, client = site_and_client()
    client.send(get("/a"))

    site.loop.wind(IDLE_TIMEOUT - 0.1)
    assert client.is_open
    client.send(get("/b"))
    site.loop.wind(IDLE_TIMEOUT - 0.1)
    assert client.is_open
    site.loop.wind(0.2)

    assert client.transport.closed
    assert client.answers == [200, 200]
    assert len(site.host.connections) == 0


def test_an_answer_may_take_hours_and_costs_no_timer():
    site, client = site_and_client()
    client.send(get("/later"))

    site.loop.wind(3 * 3600)
    assert site.loop.timers == []
    site.reply.send(200, b"")
    site.loop.wind(IDLE_TIMEOUT - 0.1)

    assert client.answers == [200]
    assert client.is_open
    site.loop.wind(0.2)
    assert client.transport.closed


def test_a_refused_client_that_goes_on_sending_is_cut_without_being_read():
    site, client = site_and_client()

    client.send(b"nonsense\r\n")
    for _ in range(int(LINGER_TIMEOUT * 10)):
        assert not client.transport.is_closing()
        client.send(get("/a"))
        site.loop.wind(0.1)

    assert client.transport.closed
    assert client.answers == [400]
    assert site.paths == []


def test_nothing_of_a_lost_connection_is_left_in_the_loop():
    for stream in [b"", b"GET", get("/a"), get("/later"), b"nonsense\r\n", post("/a", b"xy")[:-1]]:
        site, client = site_and_client()
        client.send(*filter(None, [stream]))
        client.reset()

        assert site.loop.timers == []
        assert len(site.host.connections) == 0


# Stalled clients.


def test_a_reader_that_takes_nothing_is_cut():
    site, client = stalled_stream()
    left = []
    site.reply.on_gone = lambda: left.append(site.loop.now)
    began = site.loop.now

    site.loop.wind(STALL_TIMEOUT - 0.1)
    assert not client.transport.is_closing()
    site.loop.wind(PATIENCE - STALL_TIMEOUT + 0.2)

    assert client.transport.aborted
    assert STALL_TIMEOUT <= left[0] - began <= PATIENCE
    assert site.host.stalls == 1


def test_a_reader_that_takes_one_byte_now_and_then_is_not_cut():
    site, client = stalled_stream()

    for _ in range(100):
        site.loop.wind(STALL_TIMEOUT - 1)
        client.transport.take(1)

    assert not client.transport.is_closing()


@pytest.mark.parametrize("amid", [lambda site: None, lambda site: site.reply.end(b"")])
@pytest.mark.parametrize("after", [0.5, 14, 15.5, 28, 44])
@pytest.mark.parametrize("age", [0, 1, 9, 100])
def test_a_reader_has_its_time_from_the_last_byte_it_took(age, after, amid):
    """Whenever its last byte is: the alarm may be set for what was before."""
    site, client = site_and_client()
    client.send(get("/stream"))
    site.loop.wind(age)
    client.transport.taking = False
    while client.transport.unsent < 2 * WRITE_HIGH:
        site.reply.write(BLOCK)
    site.loop.wind(after / 2)
    client.transport.take(1)
    site.loop.wind(after / 2)
    client.transport.take(100)
    amid(site)

    site.loop.wind(STALL_TIMEOUT - 0.1)
    assert not client.transport.is_closing()
    site.loop.wind(STALL_LOOK + 0.2)

    assert client.transport.aborted
    assert site.host.stalls == 1


def test_a_reader_that_is_not_behind_is_not_cut_before_its_answer_is_over():
    site, client = stalled_stream(WRITE_HIGH // 2)
    for _ in range(100):
        site.loop.wind(STALL_TIMEOUT)
        site.reply.write(b": ping\n\n")
    assert not client.transport.is_closing()

    site.reply.end(b"")
    site.loop.wind(IDLE_TIMEOUT + PATIENCE)
    assert client.transport.aborted


def test_what_the_system_still_sends_to_a_reader_is_taken():
    """It takes more of ours only when much of what it holds is gone."""
    site, client = stalled_stream()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        client.transport.socket = ours
        for _ in range(10):
            ours.send(BLOCK)
        for _ in range(10):
            site.loop.wind(STALL_TIMEOUT - 1)
            theirs.recv(len(BLOCK))
        site.loop.wind(STALL_TIMEOUT - STALL_LOOK)
        assert not client.transport.is_closing()
        site.loop.wind(2 * STALL_LOOK)

    assert client.transport.aborted


def test_a_reader_that_stops_again_is_cut_again():
    site, client = stalled_stream()
    site.loop.wind(STALL_TIMEOUT - 1)
    client.transport.take(client.transport.unsent)
    site.loop.wind(3600)
    assert not client.transport.is_closing()

    while not site.reply.paused:
        site.reply.write(BLOCK)
    site.loop.wind(STALL_TIMEOUT - 0.1)
    assert not client.transport.is_closing()
    site.loop.wind(PATIENCE)

    assert client.transport.aborted


@pytest.mark.parametrize("path", ["/a", "/large"])
def test_a_stall_that_was_overcome_is_not_held_against_the_client(path):
    """The same amount unsent at two looks means nothing if all was sent between them."""
    site, client = site_and_client()
    client.transport.taking = False
    unsent = set()
    for _ in range(20):
        client.send(get(path, "X-Request-Id: same"))
        unsent.add(client.transport.unsent)
        site.loop.wind(STALL_TIMEOUT - 1)  # one look or none
        client.transport.take(client.transport.unsent)
        site.loop.wind(STALL_TIMEOUT + 1)

    assert client.is_open
    assert len(unsent) == 1


def finish(site: Site, client: FakeClient) -> None:
    site.reply.end(b"")


def half_close(site: Site, client: FakeClient) -> None:
    client.half_close()


def drain_and_finish(site: Site, client: FakeClient) -> None:
    site.host.drain()
    site.reply.end(b"")


@pytest.mark.parametrize("size", [1, 2 * WRITE_HIGH], ids=["a little", "much"])
@pytest.mark.parametrize("then", [finish, half_close, drain_and_finish])
def test_an_ended_stream_that_nobody_reads_does_not_keep_its_socket(then, size):
    site, client = stalled_stream(size)
    site.loop.wind(0.5 * STALL_TIMEOUT)

    then(site, client)
    site.loop.wind(IDLE_TIMEOUT + PATIENCE)

    assert client.transport.aborted
    assert site.loop.timers == []


def test_an_ended_stream_may_be_read_slowly_to_its_end():
    site, client = stalled_stream()
    site.host.drain()
    site.reply.end(b"")

    while client.transport.unsent:
        site.loop.wind(STALL_TIMEOUT - 1)
        client.transport.take(5_000)
    site.loop.wind(0)

    assert client.transport.closed
    assert not client.transport.aborted
