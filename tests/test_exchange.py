"""Exchange: one request, repeated at most once, within its time limits, and nothing left behind."""

import asyncio
import socket
from types import SimpleNamespace

import pytest
import uvloop

from gateway.config import Timeouts
from gateway.errors import (
    Overloaded,
    UpstreamProtocolError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from gateway.exchange import Exchange
from gateway.pool import Pool
from tests.fakes import FakeLoop, FakeProvider
from tests.stand import Stand


HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n"
ANSWER = HEAD + b"hello"
LIMIT = 100


class Scene:
    """A provider made of fakes, and whoever speaks for its peer."""

    def __init__(self, *, limit=2, first_event=20.0, idle=10.0, total=100.0):
        self.loop = FakeLoop()
        self.dial = FakeProvider(self.loop)
        self.pool = Pool("p", self.dial, limit=limit, patience=5.0, loop=self.loop)
        timeouts = Timeouts(connect=5.0, first_event=first_event, idle=idle, total=total)
        self.provider = SimpleNamespace(name="p", timeouts=timeouts, pool=self.pool)

    def exchange(self):
        return Exchange(self.provider, self.loop, self.loop.time)

    @property
    def peer(self):
        """The connection opened last, as its peer speaks on it."""
        return self.dial.connections[-1]

    async def connected(self, number):
        """Return when this many connections were opened and carry a request."""
        while len(self.dial.connections) < number or not self.dial.transports[-1].written:
            await asyncio.sleep(0)

    async def used(self):
        """Leave one connection idle that has carried a request."""
        task = asyncio.ensure_future(self.story())
        await self.connected(1)
        self.peer.data_received(ANSWER)
        assert await task == b"hello"
        self.dial.transports[-1].written = b""

    async def story(self, exchange=None):
        """Ask, take the whole answer, and clean up, as the relay does."""
        exchange = exchange or self.exchange()
        try:
            return await exchange.collect(await exchange.ask(b"request"), LIMIT)
        finally:
            exchange.close()

    def __str__(self):
        return repr(self.pool).partition(": ")[2][:-1]


async def settled():
    for _ in range(5):
        await asyncio.sleep(0)


# What the peer says, and what is left of its connection.
GOOD = {
    "a length": (ANSWER, "0 active, 1 idle, 0 waiting"),
    "no body at all": (HEAD.replace(b"5", b"0"), "0 active, 1 idle, 0 waiting"),
    "chunks": (CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", "0 active, 1 idle, 0 waiting"),
    "until the end": (UNTIL_CLOSE + b"hello", "0 active, 0 idle, 0 waiting"),
    "it wants to close": (
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello",
        "0 active, 0 idle, 0 waiting",
    ),
    "a byte too many": (ANSWER + b"!", "0 active, 0 idle, 0 waiting"),
    "an old one": (b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", "0 active, 0 idle, 0 waiting"),
}  # fmt: skip


@pytest.mark.parametrize(("answer", "left"), GOOD.values(), ids=GOOD.keys())
async def test_a_whole_answer_comes_back_and_its_connection_is_kept_if_it_is_clean(answer, left):
    scene = Scene()
    task = asyncio.ensure_future(scene.story())
    await scene.connected(1)
    scene.peer.data_received(answer)
    await settled()
    if answer.startswith(UNTIL_CLOSE):
        scene.peer.eof_received()
    body = await task

    assert body == (b"" if b"-length: 0" in answer else b"hello")
    assert str(scene) == left
    assert scene.loop.timers == [due for due in scene.loop.timers if due >= scene.loop.now + 50]


async def test_surplus_that_comes_before_we_wake_makes_the_connection_worthless():
    scene = Scene()
    task = asyncio.ensure_future(scene.story())
    await scene.connected(1)
    scene.peer.data_received(HEAD)
    await settled()
    scene.peer.data_received(b"hello")
    scene.peer.data_received(b"HTTP/1.1 200 OK\r\n\r\n")
    await task

    assert str(scene) == "0 active, 0 idle, 0 waiting"


# What the peer does with the body, and the kind of error it makes.
BAD = {
    "cut": (CHUNKED + b"5\r\nhel", "truncated"),
    "short of its length": (HEAD + b"hel", "truncated"),
    "no chunk": (CHUNKED + b"five\r\nhello", "framing"),
    "too long": (HEAD.replace(b"5", b"101") + b"x" * 101, "body_too_long"),
    "endless": (UNTIL_CLOSE + b"x" * 101, "body_too_long"),
}


@pytest.mark.parametrize(("answer", "kind"), BAD.values(), ids=BAD.keys())
async def test_a_bad_body_fails_the_exchange(answer, kind):
    scene = Scene()
    task = asyncio.ensure_future(scene.story())
    await scene.connected(1)
    scene.peer.data_received(answer)
    await settled()
    scene.peer.eof_received()

    with pytest.raises(UpstreamProtocolError) as caught:
        await task
    assert caught.value.kind == kind
    assert str(scene) == "0 active, 0 idle, 0 waiting"


async def test_a_reset_amid_a_body_is_not_its_end():
    scene = Scene()
    task = asyncio.ensure_future(scene.story())
    await scene.connected(1)
    scene.peer.data_received(UNTIL_CLOSE + b"hello")
    await settled()
    scene.peer.connection_lost(ConnectionResetError())

    with pytest.raises(UpstreamUnavailable):
        await task


# Repeating.

STALE = {
    "closed": lambda c: c.eof_received(),
    "reset": lambda c: c.connection_lost(ConnectionResetError()),
}


@pytest.mark.parametrize("go", STALE.values(), ids=STALE.keys())
async def test_a_kept_connection_that_proves_stale_is_replaced_unnoticed(go):
    scene = Scene()
    await scene.used()
    exchange = scene.exchange()
    task = asyncio.ensure_future(scene.story(exchange))
    await scene.connected(1)
    go(scene.peer)
    await scene.connected(2)
    scene.peer.data_received(ANSWER)

    assert await task == b"hello"
    assert exchange.retried
    assert scene.dial.transports[1].written == b"request"


async def test_a_request_is_repeated_once_only():
    scene = Scene()
    await scene.used()
    task = asyncio.ensure_future(scene.story())
    await scene.connected(1)
    scene.peer.eof_received()
    await scene.connected(2)
    scene.peer.eof_received()

    with pytest.raises(UpstreamUnavailable):
        await task
    assert len(scene.dial.connections) == 2
    assert str(scene) == "0 active, 0 idle, 0 waiting"


async def test_a_request_is_not_repeated_once_a_byte_was_answered():
    scene = Scene()
    await scene.used()
    task = asyncio.ensure_future(scene.story())
    await scene.connected(1)
    scene.peer.data_received(b"H")
    scene.peer.eof_received()

    with pytest.raises(UpstreamUnavailable):
        await task
    assert len(scene.dial.connections) == 1


async def test_a_request_is_not_repeated_if_its_connection_was_fresh():
    scene = Scene()
    task = asyncio.ensure_future(scene.story())
    await scene.connected(1)
    scene.peer.eof_received()

    with pytest.raises(UpstreamUnavailable):
        await task
    assert len(scene.dial.connections) == 1


async def test_a_request_is_not_repeated_after_a_time_limit():
    scene = Scene()
    await scene.used()
    task = asyncio.ensure_future(scene.story())
    await scene.connected(1)
    scene.loop.wind(20.0)

    with pytest.raises(UpstreamTimeout):
        await task
    assert len(scene.dial.connections) == 1


async def test_the_repeated_request_has_time_limits_of_its_own():
    """Opening its connection takes longer than the first event may."""
    scene = Scene()
    await scene.used()
    scene.dial.turns = 10
    task = asyncio.ensure_future(scene.story())
    await scene.connected(1)
    scene.loop.wind(19.0)
    scene.peer.eof_received()
    await settled()
    scene.loop.wind(2.0)
    await scene.connected(2)
    scene.loop.wind(19.9)
    await settled()
    assert not task.done()
    scene.loop.wind(0.1)

    with pytest.raises(UpstreamTimeout) as caught:
        await task
    assert caught.value.kind == "first_event_timeout"


# Time limits: what happened at which second, when it fails, and the kind of failure.
LIMITS = {
    "no head": ([], {}, 20.0, "first_event_timeout"),
    "a head alone is no event": ([(15, HEAD)], {}, 20.0, "first_event_timeout"),
    "it halts after its first byte": ([(1, HEAD + b"h")], {}, 11.0, "idle_timeout"),
    "it halts later": ([(1, HEAD + b"h"), (9, b"e"), (18, b"l")], {}, 28.0, "idle_timeout"),
    "each byte is new time": ([(9 * n, b"hel"[n - 1 : n]) for n in (1, 2, 3)], {}, 37.0, "idle_timeout"),
    "too long in all": ([(1, HEAD + b"h")], {"total": 8.0}, 8.0, "total_timeout"),
    "too long in all, before the head": ([], {"total": 8.0}, 8.0, "total_timeout"),
    "a short wait for the first, long ones after": (
        [(1, HEAD + b"h")], {"first_event": 2.0, "idle": 30.0}, 31.0, "idle_timeout",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("said", "limits", "due", "kind"), LIMITS.values(), ids=LIMITS.keys())
async def test_a_time_limit_strikes_when_it_is_due(said, limits, due, kind):
    scene = Scene(**limits)
    began = scene.loop.now
    task = asyncio.ensure_future(scene.story())
    await scene.connected(1)
    for second, data in said:
        if (second, data) == said[0] and not data.startswith(HEAD):
            data = HEAD + data
        scene.loop.wind(began + second - scene.loop.now)
        scene.peer.data_received(data)
        await settled()
    scene.loop.wind(began + due - 0.1 - scene.loop.now)
    await settled()
    assert not task.done()
    scene.loop.wind(0.1)
    await settled()

    with pytest.raises(UpstreamTimeout, match=r"upstream p: \w+ timeout after \d+ s") as caught:
        await task
    assert caught.value.kind == kind
    assert scene.dial.transports[0].aborted
    assert str(scene) == "0 active, 0 idle, 0 waiting"


async def test_a_pause_stops_reading_and_the_clock_of_the_answer():
    scene = Scene()
    exchange = scene.exchange()
    task = asyncio.ensure_future(scene.story(exchange))
    await scene.connected(1)
    scene.peer.data_received(HEAD + b"h")
    await settled()
    exchange.pause()
    assert not scene.dial.transports[0].reading
    scene.loop.wind(60.0)
    exchange.resume()
    assert scene.dial.transports[0].reading
    scene.loop.wind(9.9)
    await settled()
    assert not task.done(), "the peer could not be heard, so it was not silent"
    scene.loop.wind(0.1)

    with pytest.raises(UpstreamTimeout):
        await task


async def test_a_pause_does_not_stop_the_clock_of_the_whole():
    scene = Scene()
    exchange = scene.exchange()
    task = asyncio.ensure_future(scene.story(exchange))
    await scene.connected(1)
    scene.peer.data_received(HEAD + b"h")
    await settled()
    exchange.pause()
    scene.loop.wind(100.0)

    with pytest.raises(UpstreamTimeout) as caught:
        await task
    assert caught.value.kind == "total_timeout"


async def test_a_closed_exchange_can_be_closed_paused_and_resumed_again():
    scene = Scene()
    exchange = scene.exchange()
    task = asyncio.ensure_future(scene.story(exchange))
    await scene.connected(1)
    scene.peer.data_received(ANSWER)
    await task
    for call in (exchange.close, exchange.pause, exchange.resume, exchange.close):
        call()

    assert str(scene) == "0 active, 1 idle, 0 waiting"
    assert scene.dial.transports[0].reading


async def test_the_wait_is_the_queue_and_the_connect():
    scene = Scene(limit=1)
    held = await scene.pool.acquire()
    exchange = scene.exchange()
    task = asyncio.ensure_future(scene.story(exchange))
    await settled()
    assert exchange.sent == 0
    scene.loop.wind(3.0)
    scene.pool.release(held, reusable=False)
    await scene.connected(2)
    assert exchange.waited == 3.0
    assert exchange.sent == scene.loop.now
    scene.peer.data_received(ANSWER)
    await task


async def test_no_free_connection_in_time_is_no_upstream_error():
    scene = Scene(limit=1)
    await scene.pool.acquire()
    task = asyncio.ensure_future(scene.story())
    await settled()
    scene.loop.wind(5.0)

    with pytest.raises(Overloaded):
        await task


# Cancelling: where the connection comes from, and how its peer behaves.
PEERS = {
    "fresh, and it answers": ("fresh", False),
    "kept, and it answers": ("kept", False),
    "kept, and it is stale": ("kept", True),
    "waited for, and it answers": ("queued", False),
}


@pytest.mark.parametrize(("origin", "stale"), PEERS.values(), ids=PEERS.keys())
@pytest.mark.parametrize("pieces", [1, 3], ids=["in one piece", "in three"])
def test_a_request_cancelled_at_any_moment_leaves_the_pool_clean(origin, stale, pieces):
    async def cancelled_at(k):
        """Cancel after k turns of the loop; say whether it had ended before."""
        scene, strays = Scene(limit=1), []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: strays.append(what))
        if origin == "kept":
            await scene.used()
        held = await scene.pool.acquire() if origin == "queued" else None
        scene.dial.turns = 2
        task = asyncio.ensure_future(scene.story())
        peer = asyncio.ensure_future(speak(scene, held))
        for _ in range(k):
            await asyncio.sleep(0)
        ended = task.done()
        task.cancel()
        peer.cancel()
        await asyncio.gather(task, peer, return_exceptions=True)
        scene.pool.close()
        assert str(scene) == "0 active, 0 idle, 0 waiting"
        assert all(transport.aborted for transport in scene.dial.transports)
        assert all(due > scene.loop.now + 40 for due in scene.loop.timers), "no timer is left"
        assert not strays
        return ended

    async def speak(scene, held):
        if held is not None:
            try:
                await settled()
            finally:
                scene.pool.release(held, reusable=True)
        first = len(scene.dial.connections) or 1
        await scene.connected(first)
        if stale:
            scene.peer.eof_received()
            await scene.connected(first + 1)
        size = -(-len(ANSWER) // pieces)
        for at in range(0, len(ANSWER), size):
            await asyncio.sleep(0)
            scene.peer.data_received(ANSWER[at : at + size])

    k = 1  # both tasks have had their first step
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        while not runner.run(cancelled_at(k)):
            k += 1
            assert k < 100
    assert k >= 3


# Over real sockets.


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "unary"])
async def test_a_provider_that_closes_idle_connections_is_not_noticed(stream):
    async with Stand() as stand:
        client = await stand.open()
        statuses = [
            (await client.chat(stream=stream, tokens=2, fault="close-idle")).status
            for _ in range(5)
        ]
        await client.close()

    assert statuses == [200] * 5


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "unary"])
async def test_a_connection_that_proves_stale_over_a_real_socket_is_replaced(stream):
    async with Stand() as stand:
        client = await stand.open()
        await client.chat(tokens=1)
        answer = await client.chat(stream=stream, tokens=2, fault="stale")
        await client.close()
        metrics = await stand.metrics()

    assert answer.status == 200
    assert [request.reused for request in stand.mock.requests] == [False, True, False]
    assert metrics["headgate_retries_total"] == 1


async def test_a_peer_that_hangs_up_as_soon_as_it_is_connected_is_unavailable():
    """Two addresses of one name, so that a task or two lie between its end and its use."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        loop = asyncio.get_running_loop()

        async def hang_up():
            while True:
                peer, _ = await loop.sock_accept(listener)
                peer.close()

        rude = asyncio.ensure_future(hang_up())
        async with Stand(url=f"http://localhost:{listener.getsockname()[1]}") as stand:
            client = await stand.open()
            statuses = {(await client.chat()).status for _ in range(20)}
            await client.close()
        rude.cancel()

    assert statuses == {502}
