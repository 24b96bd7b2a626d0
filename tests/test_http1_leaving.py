"""HttpConnection and clients that leave, do not read, or are asked to go."""

import pytest

from gateway.flow import WRITE_HIGH, WRITE_LOW
from gateway.http1 import PIPELINE_LIMIT
from tests.fake_client import FakeClient, Site, get, post


def site_and_client() -> tuple[Site, FakeClient]:
    site = Site()
    return site, FakeClient(site)


# Ways to leave.
LEAVING = {
    "a reset": FakeClient.reset,
    "a half close": FakeClient.half_close,
}


@pytest.mark.parametrize("leave", LEAVING.values(), ids=LEAVING.keys())
@pytest.mark.parametrize("path", ["/later", "/stream"])
def test_who_answers_is_told_once_that_nobody_listens(leave, path):
    site, client = site_and_client()
    left = []
    client.send(get(path))
    site.reply.on_gone = lambda: left.append(client)

    leave(client)
    assert left == [client]
    site.loop.wind(1000)

    assert left == [client]
    assert len(site.host.connections) == 0


@pytest.mark.parametrize("leave", LEAVING.values(), ids=LEAVING.keys())
def test_an_answer_to_nobody_is_harmless(leave):
    site, client = site_and_client()
    client.send(get("/stream"))
    leave(client)
    written = client.transport.written
    site.loop.wind(0)

    site.reply.write(b"more")
    site.reply.end(b"")

    assert site.loop.timers == []
    assert client.transport.written == written


def test_who_has_answered_is_told_nothing():
    site, client = site_and_client()
    left = []
    client.send(get("/later"))
    site.reply.on_gone = lambda: left.append(client)
    site.reply.send(200, b"")

    client.reset()

    assert left == []


# Streams that end too early, and what the client may still read.
UNFINISHED = {
    "nothing": (b"", []),
    "an empty line": (b"\r\n", []),
    "half a head": (get("/a")[:9], [400]),
    "half a body": (post("/a", b"hello")[:-1], [400]),
    "half a chunk": (
        get("/a", "Transfer-Encoding: chunked", method="POST") + b"5\r\nhel",
        [400],
    ),
    "chunks without a last": (
        get("/a", "Transfer-Encoding: chunked", method="POST") + b"1\r\nx\r\n",
        [400],
    ),
    "half a second head": (get("/a") + b"GET", [200, 400]),
    "whole requests": (get("/a") * 2, [200, 200]),
}


@pytest.mark.parametrize(("stream", "answers"), UNFINISHED.values(), ids=UNFINISHED.keys())
def test_the_end_of_input_ends_the_connection(stream, answers):
    site, client = site_and_client()
    if stream:
        client.send(stream)

    client.half_close()
    site.loop.wind(0)

    assert client.answers == answers
    assert [status for status, _ in site.refused] == [s for s in answers if s != 200]
    assert len(site.host.connections) == 0


def test_requests_behind_one_whose_client_left_are_not_begun():
    site, client = site_and_client()
    client.send(get("/later") + get("/b"))

    client.half_close()
    site.reply.send(200, b"")
    site.loop.wind(1000)

    assert site.paths == ["/later"]


def test_a_request_whose_turn_has_come_is_not_begun_if_its_client_leaves_just_then():
    site, client = site_and_client()
    client.send(get("/later") + get("/b"))

    site.reply.send(200, b"")
    client.half_close()
    site.loop.wind(1000)

    assert site.paths == ["/later"]


def test_the_socket_is_read_while_a_stream_is_live():
    """A paused transport would see neither FIN nor RST."""
    site, client = site_and_client()

    client.send(get("/stream"), *[get("/b") * 1000] * 10)
    while not site.reply.paused:
        site.reply.write(b"x" * 1000)
        client.transport.taking = False

    assert client.transport.reading


# Clients that do not read.


def test_a_stream_is_told_to_pause_and_when_to_go_on():
    site, client = site_and_client()
    client.transport.taking = False
    client.send(get("/stream"))
    reply, woken = site.reply, []
    reply.on_writable = lambda: woken.append(reply.paused)

    reply.write(b"x" * (WRITE_HIGH - client.transport.unsent - 10))
    assert not reply.paused
    reply.write(b"x")
    assert reply.paused

    client.transport.take(client.transport.unsent - WRITE_LOW - 1)
    assert woken == []
    client.transport.take(1)

    assert woken == [False]


@pytest.mark.parametrize("behind", [get("/large"), get("/stream")])
def test_the_next_request_waits_until_the_last_answer_is_mostly_taken(behind):
    """Or answers nobody reads would pile up: a new stream would not know that it must pause."""
    site, client = site_and_client()
    client.transport.taking = False

    client.send(get("/large") + behind, get("/b"))
    assert site.paths == ["/large"]
    client.transport.take(client.transport.unsent - WRITE_LOW)
    site.loop.wind(0)

    assert site.paths[:2] == ["/large", behind.split()[1].decode()]
    assert not site.route.replies[1].paused or behind != get("/stream")


def test_pipelined_requests_whose_answers_nobody_reads_do_not_fill_memory():
    _, client = site_and_client()
    client.transport.taking = False

    for _ in range(100):
        client.send(get("/a") * 1000)

    assert client.transport.unsent < WRITE_HIGH + 1000
    assert len(client.connection._early) <= max(PIPELINE_LIMIT, 1000 * len(get("/a")))


def test_who_sent_too_much_while_not_reading_gets_what_was_answered():
    _, client = site_and_client()
    client.transport.taking = False
    client.send(get("/large"), b"x" * (PIPELINE_LIMIT + 1))

    client.transport.take(client.transport.unsent)

    assert client.answers == [200]
    assert client.transport.shut


# Draining.


def test_a_drain_closes_idle_connections_at_once():
    site = Site()
    fresh, idle = FakeClient(site), FakeClient(site)
    idle.send(get("/a"))

    site.host.drain()
    site.loop.wind(0)

    assert fresh.transport.closed
    assert idle.transport.closed
    assert len(site.host.connections) == 0


# Requests that have begun when the drain begins.
BEGUN = {
    "half a head": (get("/a")[:9], get("/a")[9:], 200),
    "half a body": (post("/a", b"hello")[:-1], b"o", 200),
    "half a head that turns out bad": (get("/a")[:9], b"\n\n", 400),
}


@pytest.mark.parametrize(("before", "after", "status"), BEGUN.values(), ids=BEGUN.keys())
def test_a_drain_lets_a_request_that_has_begun_be_answered(before, after, status):
    site, client = site_and_client()
    client.send(before)

    site.host.drain()
    client.send(after)

    assert client.answers == [status]
    assert b"\r\nconnection: close\r\n" in client.transport.written
    assert not client.is_open


def test_a_drain_lets_an_answer_end_and_then_closes():
    site, client = site_and_client()
    client.send(get("/stream"))

    site.host.drain()
    assert client.is_open
    site.reply.end(b"rest")

    assert client.transport.closed
    assert client.transport.written.endswith(b"4\r\nrest\r\n0\r\n\r\n")


def test_a_drain_answers_no_pipelined_request_behind_a_last_answer():
    site, client = site_and_client()
    client.send(get("/later") + get("/b"))

    site.host.drain()
    site.reply.send(200, b"")
    site.loop.wind(1)

    assert client.answers == [200]
    assert b"\r\nconnection: close\r\n" in client.transport.written
    assert site.paths == ["/later"]
