"""Pool: any order of events, with a cancel at any moment of any of them, and it still adds up."""

import asyncio

import uvloop
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream_errors import UpstreamUnavailable
from tests.scenes import PoolScene, settled


# What may happen next; a number says to whom.  Twice means twice as often.
EVENTS = (
    "ask", "ask", "ask", "ask fresh", "cancel", "give back", "give back", "drop",
    "dies", "dies idle", "turn", "turn", "wind", "dials fail", "dials succeed",
)  # fmt: skip
STEPS = st.lists(
    st.tuples(st.sampled_from(EVENTS), st.integers(0, 9)),
    max_size=60,
)


@given(STEPS, st.integers(1, 3), st.integers(0, 2))
def test_whatever_happens_the_pool_adds_up(steps, limit, turns):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Story(limit, turns).play(steps))


class Story:
    """Any order of events, and what must hold after each."""

    def __init__(self, limit, turns):
        self.scene = PoolScene(limit)
        self.scene.dial.turns = turns
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
        assert pool.active >= 0
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
        assert all(transport.aborted for transport in self.scene.dial.transports)

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
        self.scene.dial.fail = UpstreamUnavailable("no")

    async def _dials_succeed(self, number):
        self.scene.dial.fail = None


@given(st.integers(1, 3), st.lists(st.booleans(), max_size=12))
def test_whoever_waits_longest_is_served_next_whoever_leaves(limit, leavers):
    async def queue():
        scene = PoolScene(limit)
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
