"""Pool: every connection is in one place, every slot comes back, whoever leaves whenever."""

import asyncio

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import Overloaded, UpstreamUnavailable
from gateway.pool import IDLE_LIMIT, MAX_WAITERS, Choice, Pool, choose
from tests.fakes import FakeLoop, FakeProvider


PATIENCE = 5.0

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


class Scene:
    """A pool of FakeProvider's connections, and its hand-wound clock."""

    def __init__(self, limit=2):
        self.loop = FakeLoop()
        self.provider = FakeProvider(self.loop)
        self.pool = Pool("p", self.provider, limit=limit, patience=PATIENCE, loop=self.loop)

    def ask(self, **options):
        return asyncio.ensure_future(self.pool.acquire(**options))

    def __str__(self):
        return repr(self.pool).partition(": ")[2][:-1]


async def settled():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_connection_given_back_is_used_again():
    scene = Scene()
    first = await scene.pool.acquire()
    assert str(scene) == "1 active, 0 idle, 0 waiting"
    scene.pool.release(first, reusable=True)
    assert str(scene) == "0 active, 1 idle, 0 waiting"

    assert await scene.pool.acquire() is first
    assert str(scene) == "1 active, 0 idle, 0 waiting"


async def test_the_most_recently_used_is_taken_first():
    scene = Scene(limit=3)
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
    scene = Scene()
    connection = await scene.pool.acquire()
    connection.send(b"", "POST")
    spoil(connection, scene.provider.transports[0])
    scene.pool.release(connection, reusable=reusable)

    assert scene.provider.transports[0].aborted
    assert str(scene) == "0 active, 0 idle, 0 waiting"


async def test_an_idle_connection_that_dies_is_forgotten():
    scene = Scene()
    connection = await scene.pool.acquire()
    scene.pool.release(connection, reusable=True)
    connection.eof_received()

    assert str(scene) == "0 active, 0 idle, 0 waiting"
    assert await scene.pool.acquire() is not connection


async def test_a_fresh_connection_is_a_new_one_and_those_that_are_older_go():
    scene = Scene()
    a, b = await scene.pool.acquire(), await scene.pool.acquire()
    scene.pool.release(a, reusable=True)
    scene.pool.release(b, reusable=True)
    c = await scene.pool.acquire(fresh=True)

    assert c not in (a, b)
    assert [t.aborted for t in scene.provider.transports] == [True, True, False]
    assert str(scene) == "1 active, 0 idle, 0 waiting"


async def test_who_waits_is_served_in_order():
    scene = Scene(limit=1)
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
    assert len(scene.provider.connections) == 1


async def test_a_slot_without_its_connection_is_passed_on_too():
    scene = Scene(limit=1)
    connection = await scene.pool.acquire()
    task = scene.ask()
    await settled()
    scene.pool.release(connection, reusable=False)

    assert await task is scene.provider.connections[1]
    assert str(scene) == "1 active, 0 idle, 0 waiting"


async def test_a_connection_that_dies_on_its_way_to_the_next_is_replaced():
    scene = Scene(limit=1)
    connection = await scene.pool.acquire()
    task = scene.ask()
    await settled()
    scene.pool.release(connection, reusable=True)
    connection.eof_received()

    assert await task is scene.provider.connections[1]


async def test_who_waits_for_a_fresh_one_is_not_given_a_used_one():
    scene = Scene(limit=1)
    connection = await scene.pool.acquire()
    task = scene.ask(fresh=True)
    await settled()
    scene.pool.release(connection, reusable=True)

    assert await task is scene.provider.connections[1]
    assert scene.provider.transports[0].aborted


async def test_waiting_ends_after_a_time():
    scene = Scene(limit=1)
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


async def test_who_gave_up_in_the_same_moment_does_not_take_the_slot():
    scene = Scene(limit=1)
    connection = await scene.pool.acquire()
    first, second = scene.ask(), scene.ask()
    await settled()
    first.cancel()  # not yet awake when the connection comes back
    scene.pool.release(connection, reusable=True)

    assert await second is connection
    assert first.cancelled()


async def test_who_is_served_and_leaves_in_the_same_moment_passes_it_on():
    scene = Scene(limit=1)
    connection = await scene.pool.acquire()
    first, second = scene.ask(), scene.ask()
    await settled()
    scene.pool.release(connection, reusable=True)
    first.cancel()

    assert await second is connection
    assert first.cancelled()


async def test_a_connection_nobody_takes_and_that_dies_meanwhile_is_not_kept():
    scene = Scene(limit=1)
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
    scene = Scene(limit=1)
    await scene.pool.acquire()
    waits = scene.ask()
    await settled()

    with pytest.raises(Overloaded) as caught:
        await scene.pool.acquire()
    assert caught.value.status == 503
    waits.cancel()
    await settled()


async def test_a_dial_that_fails_frees_its_slot_for_the_next():
    scene = Scene(limit=1)
    scene.provider.fail, scene.provider.turns = UpstreamUnavailable("no"), 2
    first, second = scene.ask(), scene.ask()
    with pytest.raises(UpstreamUnavailable):
        await first
    scene.provider.fail = None

    assert await second is scene.provider.connections[0]
    assert str(scene) == "1 active, 0 idle, 0 waiting"


async def test_idle_connections_go_when_they_are_old():
    scene = Scene(limit=3)
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
    assert [t.aborted for t in scene.provider.transports] == [True, True, False]
    assert scene.loop.timers == [], "an empty pool needs no timer"


async def test_a_closed_pool_keeps_nothing():
    scene = Scene()
    a, b = await scene.pool.acquire(), await scene.pool.acquire()
    scene.pool.release(a, reusable=True)
    scene.pool.close()
    scene.pool.close()
    assert str(scene) == "1 active, 0 idle, 0 waiting"
    scene.pool.release(b, reusable=True)

    assert str(scene) == "0 active, 0 idle, 0 waiting"
    assert all(t.aborted for t in scene.provider.transports)
    assert scene.loop.timers == []


# What may happen next; the number says to whom.
STEPS = st.lists(
    st.tuples(
        st.sampled_from([
            "ask", "ask", "ask", "ask fresh", "cancel", "give back", "give back", "drop",
            "dies", "dies idle", "turn", "turn", "wind", "dials fail", "dials succeed",
        ]),  # fmt: skip
        st.integers(0, 9),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(STEPS, st.integers(1, 3), st.integers(0, 2))
def test_whatever_happens_the_pool_adds_up(steps, limit, turns):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Story(limit, turns).play(steps))


class Story:
    """Any order of events, and what must hold after each."""

    def __init__(self, limit, turns):
        self.scene = Scene(limit)
        self.scene.provider.turns = turns
        self.asking = []  # tasks, in the order in which they asked
        self.holding = []  # connections that exchanges have

    async def play(self, steps):
        for step, number in steps:
            await getattr(self, "_" + step.replace(" ", "_"))(number)
            self._collect()
            self._check()
        await self._end()

    def _collect(self):
        """Take what the tasks got."""
        for task in [task for task in self.asking if task.done()]:
            self.asking.remove(task)
            if not task.cancelled() and task.exception() is None:
                assert task.result() not in self.holding, "two have the same connection"
                assert task.result() not in self.scene.pool.idle
                self.holding.append(task.result())

    def _check(self):
        pool = self.scene.pool
        assert 0 <= pool.active
        assert pool.active + len(pool.idle) <= pool.limit
        assert len(self.holding) <= pool.active <= len(self.holding) + len(self.asking)
        assert all(connection.alive for connection in pool.idle)
        times = [connection.idle_since for connection in pool.idle]
        assert times == sorted(times), "the most recently used lies last"
        assert not (pool.idle and any(not w.done() for w in pool.waiters)), "nobody waits for idle"

    async def _end(self):
        """All leave: nothing may be left."""
        for task in self.asking:
            task.cancel()
        await asyncio.gather(*self.asking, return_exceptions=True)
        self._collect()
        for connection in self.holding:
            self.scene.pool.release(connection, reusable=False)
        self.scene.pool.close()
        assert str(self.scene) == "0 active, 0 idle, 0 waiting"
        assert all(transport.aborted for transport in self.scene.provider.transports)

    def _pick(self, number, things):
        return things.pop(number % len(things)) if things else None

    async def _ask(self, number):
        self.asking.append(self.scene.ask())

    async def _ask_fresh(self, number):
        self.asking.append(self.scene.ask(fresh=True))

    async def _cancel(self, number):
        if self.asking:
            self.asking[number % len(self.asking)].cancel()

    async def _give_back(self, number):
        if connection := self._pick(number, self.holding):
            self.scene.pool.release(connection, reusable=True)

    async def _drop(self, number):
        if connection := self._pick(number, self.holding):
            self.scene.pool.release(connection, reusable=False)

    async def _dies(self, number):
        if self.holding:
            self.holding[number % len(self.holding)].eof_received()

    async def _dies_idle(self, number):
        if idle := self.scene.pool.idle:
            idle[number % len(idle)].eof_received()

    async def _turn(self, number):
        for _ in range(number):
            await asyncio.sleep(0)

    async def _wind(self, number):
        self.scene.loop.wind(number * 6)

    async def _dials_fail(self, number):
        self.scene.provider.fail = UpstreamUnavailable("no")

    async def _dials_succeed(self, number):
        self.scene.provider.fail = None


@settings(deadline=None)
@given(st.integers(1, 3), st.lists(st.booleans(), max_size=12))
def test_whoever_waits_longest_is_served_next_whoever_leaves(limit, leavers):
    async def queue():
        scene = Scene(limit)
        held = [await scene.pool.acquire() for _ in range(limit)]
        served = []
        tasks = [scene.ask() for _ in leavers]
        for number, task in enumerate(tasks):
            task.add_done_callback(
                lambda task, number=number: task.cancelled() or served.append(number)
            )
        await settled()
        for task, leaves in zip(tasks, leavers, strict=True):
            if leaves:
                task.cancel()
        stayers = [number for number, leaves in enumerate(leavers) if not leaves]
        for _ in stayers:
            scene.pool.release(held[0], reusable=True)
            await settled()
        assert served == stayers

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(queue())
