"""Pool: every connection is in one place, every slot comes back, whoever leaves whenever."""

from types import SimpleNamespace

import pytest

from gateway.errors import Overloaded
from gateway.pool import IDLE_LIMIT, MAX_WAITERS, Choice, Room, choose
from gateway.upstream_errors import UpstreamUnavailable
from tests.scenes import PATIENCE, PoolScene, settled


CHOICES = {
    "an idle one is used first": ((1, 0, 0), Choice.REUSE),
    "even if all slots but its own are taken": ((1, 1, 0), Choice.REUSE),
    "none idle, a slot is free": ((0, 1, 0), Choice.DIAL),
    "all slots are taken": ((0, 2, 0), Choice.WAIT),
    "there is room for one more to wait": ((0, 2, MAX_WAITERS - 1), Choice.WAIT),
    "the queue is full": ((0, 2, MAX_WAITERS), Choice.REFUSE),
}


@pytest.mark.parametrize(("figures", "choice"), CHOICES.values(), ids=CHOICES.keys())
def test_the_choice_depends_on_three_figures_and_the_limit(figures, choice):
    idle, active, waiting = figures

    assert choose(idle=idle, active=active, waiting=waiting, limit=2) is choice


async def test_a_connection_given_back_is_used_again():
    scene = PoolScene()
    first = await scene.pool.acquire()
    assert str(scene) == "1 active, 0 idle, 0 waiting"
    scene.pool.release(first, reusable=True)
    assert str(scene) == "0 active, 1 idle, 0 waiting"

    assert await scene.pool.acquire() is first
    assert str(scene) == "1 active, 0 idle, 0 waiting"


async def test_the_most_recently_used_is_taken_first():
    scene = PoolScene(limit=3)
    a, b, c = [await scene.pool.acquire() for _ in range(3)]
    for connection in (b, c, a):
        scene.pool.release(connection, reusable=True)

    assert [await scene.pool.acquire() for _ in range(3)] == [a, c, b]


# Why a connection that comes back is not kept.
WORTHLESS = {
    "its exchange did not end cleanly": (lambda c, t: None, False),
    "it is dead": (lambda c, t: c.eof_received(), True),
    "the peer has not taken the request": (lambda c, t: setattr(t, "unsent", 1), True),
}


@pytest.mark.parametrize(("spoil", "reusable"), WORTHLESS.values(), ids=WORTHLESS.keys())
async def test_a_connection_of_no_more_use_is_dropped(spoil, reusable):
    scene = PoolScene()
    connection = await scene.pool.acquire()
    connection.send(b"", SimpleNamespace(lost=lambda error: None))
    spoil(connection, scene.dial.transports[0])
    scene.pool.release(connection, reusable=reusable)

    assert scene.dial.transports[0].aborted
    assert str(scene) == "0 active, 0 idle, 0 waiting"


async def test_an_idle_connection_that_dies_is_forgotten():
    scene = PoolScene()
    connection = await scene.pool.acquire()
    scene.pool.release(connection, reusable=True)
    connection.eof_received()

    assert str(scene) == "0 active, 0 idle, 0 waiting"
    assert await scene.pool.acquire() is not connection


async def test_a_fresh_connection_is_a_new_one_and_those_that_are_older_go():
    scene = PoolScene()
    a, b = await scene.pool.acquire(), await scene.pool.acquire()
    scene.pool.release(a, reusable=True)
    scene.pool.release(b, reusable=True)
    c = await scene.pool.acquire(fresh=True)

    assert c not in (a, b)
    assert [t.aborted for t in scene.dial.transports] == [True, True, False]
    assert str(scene) == "1 active, 0 idle, 0 waiting"


async def test_who_waits_is_served_in_order():
    scene = PoolScene(limit=1)
    connection = await scene.pool.acquire()
    served = []
    tasks = [scene.ask() for _ in range(3)]
    for number, task in enumerate(tasks):
        task.add_done_callback(lambda _, number=number: served.append(number))
    await settled()
    assert str(scene) == "1 active, 0 idle, 3 waiting"
    for _ in range(3):
        scene.pool.release(connection, reusable=True)
        await settled()

    assert served == [0, 1, 2]
    assert all(task.result() is connection for task in tasks)
    assert scene.loop.timers == [], "they wait no longer"
    assert len(scene.dial.connections) == 1


async def test_a_slot_without_its_connection_is_passed_on_too():
    scene = PoolScene(limit=1)
    connection = await scene.pool.acquire()
    task = scene.ask()
    await settled()
    scene.pool.release(connection, reusable=False)

    assert await task is scene.dial.connections[1]
    assert str(scene) == "1 active, 0 idle, 0 waiting"


async def test_a_connection_that_dies_on_its_way_to_the_next_is_replaced():
    scene = PoolScene(limit=1)
    connection = await scene.pool.acquire()
    task = scene.ask()
    await settled()
    scene.pool.release(connection, reusable=True)
    connection.eof_received()

    assert await task is scene.dial.connections[1]


async def test_who_waits_for_a_fresh_one_is_not_given_a_used_one():
    scene = PoolScene(limit=1)
    connection = await scene.pool.acquire()
    task = scene.ask(fresh=True)
    await settled()
    scene.pool.release(connection, reusable=True)

    assert await task is scene.dial.connections[1]
    assert scene.dial.transports[0].aborted


async def test_waiting_ends_after_a_time():
    scene = PoolScene(limit=1)
    connection = await scene.pool.acquire()
    task = scene.ask()
    await settled()
    scene.loop.wind(PATIENCE - 0.1)
    await settled()
    assert not task.done()
    scene.loop.wind(0.1)

    with pytest.raises(Overloaded, match="upstream p: all 1 connections are in use"):
        await task
    assert str(scene) == "1 active, 0 idle, 0 waiting"
    scene.pool.release(connection, reusable=True)
    assert str(scene) == "0 active, 1 idle, 0 waiting"


async def test_who_was_served_while_the_process_stood_still_is_not_sent_away():
    scene = PoolScene(limit=1)
    first = await scene.pool.acquire()
    task = scene.ask()
    await settled()

    scene.loop.now += 10 * PATIENCE
    scene.loop.wind(0)  # alarms ring before sockets are read
    scene.pool.release(first, reusable=True)

    assert await task is first


async def test_who_waited_too_long_in_the_same_moment_does_not_take_the_slot():
    scene = PoolScene(limit=1)
    connection = await scene.pool.acquire()
    first, second = scene.ask(), scene.ask()
    await settled()
    scene.loop.wind(PATIENCE)  # not yet awake when the connection comes back
    scene.pool.release(connection, reusable=True)
    await settled()

    assert isinstance(first.exception(), Overloaded)
    assert isinstance(second.exception(), Overloaded)
    assert str(scene) == "0 active, 1 idle, 0 waiting"


async def test_who_gave_up_in_the_same_moment_does_not_take_the_slot():
    scene = PoolScene(limit=1)
    connection = await scene.pool.acquire()
    first, second = scene.ask(), scene.ask()
    await settled()
    first.cancel()  # not yet awake when the connection comes back
    scene.pool.release(connection, reusable=True)

    assert await second is connection
    assert first.cancelled()


async def test_who_is_served_and_leaves_in_the_same_moment_passes_it_on():
    scene = PoolScene(limit=1)
    connection = await scene.pool.acquire()
    first, second = scene.ask(), scene.ask()
    await settled()
    scene.pool.release(connection, reusable=True)
    first.cancel()

    assert await second is connection
    assert first.cancelled()


async def test_a_connection_nobody_takes_and_that_dies_meanwhile_is_not_kept():
    scene = PoolScene(limit=1)
    connection = await scene.pool.acquire()
    task = scene.ask()
    await settled()
    scene.pool.release(connection, reusable=True)
    connection.eof_received()
    task.cancel()
    await settled()

    assert str(scene) == "0 active, 0 idle, 0 waiting"


async def test_a_full_queue_refuses_at_once(monkeypatch):
    monkeypatch.setattr("gateway.pool.MAX_WAITERS", 1)
    scene = PoolScene(limit=1)
    await scene.pool.acquire()
    waits = scene.ask()
    await settled()

    with pytest.raises(Overloaded) as caught:
        await scene.pool.acquire()
    assert caught.value.status == 503
    waits.cancel()
    await settled()


async def test_a_dial_that_fails_frees_its_slot_for_the_next():
    scene = PoolScene(limit=1)
    scene.dial.fail, scene.dial.turns = UpstreamUnavailable("no"), 2
    first, second = scene.ask(), scene.ask()
    with pytest.raises(UpstreamUnavailable):
        await first
    scene.dial.fail = None

    assert await second is scene.dial.connections[0]
    assert str(scene) == "1 active, 0 idle, 0 waiting"


async def test_idle_connections_go_when_they_are_old():
    scene = PoolScene(limit=3)
    a, b, c = [await scene.pool.acquire() for _ in range(3)]
    scene.pool.release(a, reusable=True)
    scene.loop.wind(10)
    scene.pool.release(b, reusable=True)
    scene.pool.release(c, reusable=True)
    scene.loop.wind(IDLE_LIMIT - 10.1)
    assert str(scene) == "0 active, 3 idle, 0 waiting"
    scene.loop.wind(0.1)
    assert scene.pool.idle == [b, c], "the oldest goes, at its time"
    assert await scene.pool.acquire() is c
    scene.loop.wind(10)
    assert str(scene) == "1 active, 0 idle, 0 waiting"
    assert [t.aborted for t in scene.dial.transports] == [True, True, False]
    assert scene.loop.timers == [], "an empty pool needs no timer"


async def test_a_closed_pool_keeps_nothing():
    scene = PoolScene()
    a, b = await scene.pool.acquire(), await scene.pool.acquire()
    scene.pool.release(a, reusable=True)
    scene.pool.close()
    scene.pool.close()
    assert str(scene) == "1 active, 0 idle, 0 waiting"
    scene.pool.release(b, reusable=True)

    assert str(scene) == "0 active, 0 idle, 0 waiting"
    assert all(t.aborted for t in scene.dial.transports)
    assert scene.loop.timers == []


async def test_pools_that_share_a_room_do_not_open_more_than_it_holds():
    told = []
    room = Room(4, lambda: told.append("full"))
    one, other = (PoolScene(limit=9, room=room) for _ in range(2))
    mine = [await one.pool.acquire() for _ in range(4)]
    one.pool.release(mine.pop(0), reusable=True)

    theirs = await other.pool.acquire()
    assert one.dial.transports[0].aborted, "what is idle goes first"
    for scene in (one, other):
        with pytest.raises(Overloaded, match="no room for another connection"):
            await scene.pool.acquire()
    assert told == ["full"], "it is said once"

    one.pool.release(mine.pop(), reusable=False)
    mine.append(await one.pool.acquire())
    with pytest.raises(Overloaded):
        await other.pool.acquire()
    assert told == ["full"]

    for connection in mine:
        one.pool.release(connection, reusable=False)
    for _ in range(3):
        await one.pool.acquire()
    with pytest.raises(Overloaded):
        await other.pool.acquire()
    assert told == ["full"] * 2, "and again when it had become half empty"
    assert theirs.alive


async def test_a_pool_alone_in_its_room_lets_requests_wait_for_it():
    scene = PoolScene(limit=9, room=Room(1, lambda: None))
    first = await scene.pool.acquire()
    task = scene.ask()
    await settled()
    scene.pool.release(first, reusable=True)
    assert await task is first
