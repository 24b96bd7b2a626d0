"""UpstreamConnection: what it tells its owner of what its peer does, whatever that is."""

import asyncio

import pytest

from gateway.guard import MAX_INTERIM
from gateway.upstream import CLOSED_EARLY, UpstreamConnection
from gateway.upstream_errors import UpstreamProtocolError, UpstreamTimeout, UpstreamUnavailable
from tests.fakes import FakeTransport


REQUEST = b"POST / HTTP/1.1\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
INTERIM = b"HTTP/1.1 103 Early Hints\r\n\r\n"


class Body:
    """A sink that keeps what it was given."""

    def __init__(self):
        self.taken = b""
        self.ends = []  # what `lost` was called with

    def data(self, data):
        self.taken += data

    def lost(self, error):
        self.ends.append(error)


class Scene:
    """A connection, its transport, and those of it that the pool was told are lost."""

    def __init__(self):
        self.lost = []
        self.transport = FakeTransport()
        self.connection = UpstreamConnection(asyncio.get_running_loop(), self.lost.append)
        self.connection.connection_made(self.transport)

    def __iter__(self):
        return iter((self.connection, self.transport))


async def in_body():
    """A scene whose answer's head has come, and a sink for its body."""
    scene, body = Scene(), Body()
    head = scene.connection.send(REQUEST, "POST")
    scene.connection.data_received(OK)
    await head
    scene.connection.deliver(body)
    return scene, body


async def test_a_request_is_written_in_one_piece_and_its_head_comes_back():
    connection, transport = Scene()
    head = connection.send(REQUEST, "POST")
    assert transport.written == REQUEST
    assert not connection.answered

    connection.data_received(OK)
    assert (await head).status == 200
    assert connection.answered
    assert connection.used == 1


async def test_head_and_body_arrive_the_same_however_they_are_cut():
    answer = INTERIM + OK + b"hello"
    for cut in range(1, len(answer)):
        connection, _ = Scene()
        body = Body()
        head = connection.send(REQUEST, "POST")
        connection.data_received(answer[:cut])
        connection.data_received(answer[cut:])
        assert (await head).status == 200
        connection.deliver(body)
        assert body.taken == b"hello"
        assert body.ends == []


async def test_a_body_goes_straight_to_its_sink():
    scene, body = await in_body()
    scene.connection.data_received(b"he")
    scene.connection.data_received(b"llo")

    assert body.taken == b"hello"


async def test_interim_answers_are_skipped_up_to_a_bound():
    connection, transport = Scene()
    head = connection.send(REQUEST, "POST")
    connection.data_received(INTERIM * MAX_INTERIM)
    assert not head.done()
    assert not transport.aborted

    connection.data_received(INTERIM)
    assert transport.aborted
    with pytest.raises(UpstreamProtocolError) as caught:
        await head
    assert caught.value.kind == "interim"


async def test_interim_answers_are_counted_for_each_exchange():
    connection, transport = Scene()
    for _ in range(3):
        head = connection.send(REQUEST, "POST")
        connection.data_received(INTERIM * MAX_INTERIM + OK + b"hello")
        await head
        connection.deliver(Body())
        connection.finish()

    assert not transport.aborted


BAD_HEADS = {
    "not http": b"SSH-2.0-OpenSSH_9.2\r\n",
    "a bare line feed": b"HTTP/1.1 200 OK\ncontent-length: 5\n\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
    "length and chunks": OK[:-2] + b"transfer-encoding: chunked\r\n\r\n",
    "switched protocols": b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\n\r\n",
    "compressed": OK[:-2] + b"content-encoding: gzip\r\n\r\n",
    "an endless head": OK[:-2] + b"x: " + b"y" * 40_000,
    "bad after interim": INTERIM + b"nonsense\r\n",
}


@pytest.mark.parametrize("raw", BAD_HEADS.values(), ids=BAD_HEADS.keys())
async def test_a_bad_head_fails_the_exchange_and_ends_the_connection(raw):
    connection, transport = Scene()
    head = connection.send(REQUEST, "POST")
    connection.data_received(raw)

    assert transport.aborted
    assert not connection.alive
    with pytest.raises(UpstreamProtocolError):
        await head


# How a peer goes, and the error it makes of an exchange whose head has not come.
GOING = {
    "end of file": lambda c: c.eof_received(),
    "reset": lambda c: c.connection_lost(ConnectionResetError(104, "Connection reset by peer")),
    "gone without a word": lambda c: c.connection_lost(None),
}


@pytest.mark.parametrize("go", GOING.values(), ids=GOING.keys())
async def test_a_peer_that_goes_before_its_head_is_unavailable(go):
    connection, _ = Scene()
    head = connection.send(REQUEST, "POST")
    go(connection)

    with pytest.raises(UpstreamUnavailable) as caught:
        await head
    assert caught.value.kind == "reset"
    assert caught.value.message in (CLOSED_EARLY, "the upstream reset the connection")
    assert not connection.answered
    assert not connection.alive


async def test_half_a_head_counts_as_an_answer():
    connection, _ = Scene()
    head = connection.send(REQUEST, "POST")
    connection.data_received(b"H")
    connection.eof_received()

    with pytest.raises(UpstreamUnavailable):
        await head
    assert connection.answered, "so it must not be repeated"


async def test_a_sink_is_told_once_that_the_body_was_cut():
    scene, body = await in_body()
    scene.connection.connection_lost(ConnectionResetError())
    scene.connection.connection_lost(None)

    assert [type(end) for end in body.ends] == [UpstreamUnavailable]


async def test_a_clean_end_of_file_is_no_error_of_itself():
    scene, body = await in_body()
    scene.connection.data_received(b"hello")
    scene.connection.eof_received()
    scene.connection.connection_lost(None)

    assert body.ends == [None]
    assert scene.transport.aborted, "and not kept open to write"


@pytest.mark.parametrize("go", GOING.values(), ids=GOING.keys())
async def test_a_connection_that_dies_before_its_first_request_is_unavailable(go):
    connection, transport = Scene()
    go(connection)

    with pytest.raises(UpstreamUnavailable, match=CLOSED_EARLY):
        await connection.send(REQUEST, "POST")
    assert transport.written == b""
    assert connection.used == 1, "a fresh one: there is nothing to repeat"


@pytest.mark.parametrize("go", GOING.values(), ids=GOING.keys())
async def test_a_sink_that_comes_late_gets_the_body_and_its_end(go):
    connection, _ = Scene()
    head = connection.send(REQUEST, "POST")
    connection.data_received(OK + b"he")
    connection.data_received(b"llo")
    go(connection)
    await head
    body = Body()
    connection.deliver(body)

    assert body.taken == b"hello"
    assert len(body.ends) == 1


async def test_a_sink_that_comes_late_hears_of_a_clean_end_as_one():
    connection, _ = Scene()
    head = connection.send(REQUEST, "POST")
    connection.data_received(OK + b"hello")
    connection.eof_received()
    connection.connection_lost(None)  # as the transport says once we dropped it
    await head
    body = Body()
    connection.deliver(body)

    assert body.ends == [None]


async def test_a_sink_that_has_enough_is_told_nothing_more():
    """It ends the exchange from within the first bytes it is given."""
    connection, _ = Scene()
    connection.send(REQUEST, "POST")
    connection.data_received(OK + b"hello")
    body = Body()
    body.data = lambda data: connection.abort()
    connection.deliver(body)
    connection.connection_lost(None)

    assert body.ends == []


async def test_failing_tells_the_sink_why_and_drops_the_connection():
    scene, body = await in_body()
    error = UpstreamTimeout("too slow")
    scene.connection.fail(error)
    scene.connection.connection_lost(None)

    assert body.ends == [error]
    assert scene.transport.aborted


async def test_failing_before_the_head_fails_its_future():
    connection, transport = Scene()
    head = connection.send(REQUEST, "POST")
    connection.fail(UpstreamTimeout("too slow"))

    assert transport.aborted
    with pytest.raises(UpstreamTimeout):
        await head


async def test_aborting_is_abrupt_and_silent_and_may_be_repeated():
    scene, body = await in_body()
    scene.connection.abort()
    scene.connection.abort()
    scene.connection.connection_lost(None)
    scene.connection.abort()

    assert scene.transport.aborted
    assert not scene.transport.closed, "over TLS a graceful close lets it generate for 30 s"
    assert body.ends == []
    assert scene.lost == []


async def test_an_ended_exchange_makes_room_for_another():
    scene, _ = await in_body()
    connection = scene.connection
    connection.data_received(b"hello")
    connection.finish()
    head = connection.send(REQUEST, "POST")
    assert not connection.answered
    connection.data_received(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")

    assert (await head).status == 503
    assert connection.used == 2


async def test_a_connection_that_was_paused_at_the_end_reads_on():
    """Its last bytes came while the client could take no more."""
    scene, _ = await in_body()
    scene.connection.valve.pause()
    assert not scene.transport.reading
    scene.connection.finish()

    assert scene.transport.reading
    assert not scene.connection.valve.shut


async def test_a_dead_connection_cannot_be_made_ready():
    scene, _ = await in_body()
    scene.connection.abort()
    scene.connection.finish()

    assert not scene.connection.alive


SPEAKING = GOING | {"a word nobody asked for": lambda c: c.data_received(b"HTTP/1.1 408 \r\n\r\n")}


@pytest.mark.parametrize("go", SPEAKING.values(), ids=SPEAKING.keys())
async def test_an_idle_connection_that_goes_or_speaks_is_lost_to_the_pool(go):
    scene, _ = await in_body()
    scene.connection.finish()
    go(scene.connection)
    scene.connection.connection_lost(None)

    assert scene.lost == [scene.connection]
    assert not scene.connection.alive


async def test_a_connection_is_ready_for_another_once_the_peer_has_the_whole_request():
    connection, transport = Scene()
    transport.unsent = 1
    assert not connection.finish()
    transport.unsent = 0
    assert connection.finish()
    connection.connection_lost(None)
    assert not connection.finish()
