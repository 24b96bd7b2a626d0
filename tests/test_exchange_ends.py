"""Exchange: when its time is over, or nobody wants it any more, nothing is left behind."""

import asyncio

import pytest
import uvloop

from gateway.errors import Overloaded
from gateway.exchange import STALE_TIME
from gateway.upstream_errors import UpstreamTimeout
from tests.scenes import ANSWER, HEAD, ExchangeScene, settled


# Time limits: what happened at which second, when it fails, and the kind of failure.
LIMITS = {
    "no head": ([], {}, 20.0, "first_event_timeout"),
    "a head alone is no event": ([(15, HEAD)], {}, 20.0, "first_event_timeout"),
    "it halts after its first byte": ([(1, HEAD + b"h")], {}, 11.0, "idle_timeout"),
    "it halts soon, though its first byte came late": (
        [(6, HEAD + b"h")], {"idle": 5.0}, 11.0, "idle_timeout",
    ),
    "it halts later": ([(1, HEAD + b"h"), (9, b"e"), (18, b"l")], {}, 28.0, "idle_timeout"),
    "each byte is new time": (
        [(9, HEAD + b"h"), (18, b"e"), (27, b"l")], {}, 37.0, "idle_timeout",
    ),
    "too long in all": ([(1, HEAD + b"h")], {"total": 8.0}, 8.0, "total_timeout"),
    "too long in all, before the head": ([], {"total": 8.0}, 8.0, "total_timeout"),
    "a short wait for the first, long ones after": (
        [(1, HEAD + b"h")], {"first_event": 2.0, "idle": 30.0}, 31.0, "idle_timeout",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("said", "limits", "due", "kind"), LIMITS.values(), ids=LIMITS.keys())
async def test_a_time_limit_strikes_when_it_is_due(said, limits, due, kind):
    scene = ExchangeScene(**limits)
    began = scene.loop.now
    task = asyncio.ensure_future(scene.story())
    await scene.connected(1)
    for second, data in said:
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
    scene = ExchangeScene()
    exchange = scene.exchange()
    task = asyncio.ensure_future(scene.story(exchange))
    await scene.connected(1)
    scene.peer.data_received(HEAD + b"h")
    await settled()
    exchange.pause()
    assert not scene.dial.transports[0].reading
    scene.loop.wind(63.0)
    exchange.resume()
    assert scene.dial.transports[0].reading
    scene.loop.wind(9.9)
    await settled()
    assert not task.done(), "the peer could not be heard, so it was not silent"
    scene.loop.wind(0.1)

    with pytest.raises(UpstreamTimeout):
        await task


async def test_a_pause_does_not_stop_the_clock_of_the_whole():
    scene = ExchangeScene()
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


async def test_a_released_exchange_can_be_released_paused_and_resumed_again():
    scene = ExchangeScene()
    exchange = scene.exchange()
    task = asyncio.ensure_future(scene.story(exchange))
    await scene.connected(1)
    scene.peer.data_received(ANSWER)
    await task
    for call in (exchange.release, exchange.pause, exchange.resume, exchange.release):
        call()

    assert str(scene) == "0 active, 1 idle, 0 waiting"
    assert scene.dial.transports[0].reading


async def test_the_wait_is_the_queue_and_the_connect():
    scene = ExchangeScene(limit=1)
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
    scene = ExchangeScene(limit=1)
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
        scene, strays = ExchangeScene(limit=1), []
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


async def test_the_repeated_request_has_time_limits_of_its_own():
    """Opening its connection takes longer than the first event may."""
    scene = ExchangeScene()
    await scene.used()
    scene.dial.turns = 10
    task = asyncio.ensure_future(scene.story())
    await scene.connected(1)
    scene.loop.wind(STALE_TIME / 2)
    scene.peer.eof_received()
    await settled()
    scene.loop.wind(20.0)
    await scene.connected(2)
    scene.loop.wind(19.9)
    await settled()
    assert not task.done()
    scene.loop.wind(0.1)

    with pytest.raises(UpstreamTimeout) as caught:
        await task
    assert caught.value.kind == "first_event_timeout"
