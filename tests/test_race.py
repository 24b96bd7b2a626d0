"""Two tries at once, in whatever order they speak, fail, end, or are not wanted any more."""

import asyncio
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.race import Race
from gateway.upstream_errors import UpstreamUnavailable
from tests.fakes import FakeLoop
from tests.scenes import settled


class FakeTry:
    """A try; the test says what becomes of it by `end`."""

    def __init__(self, name):
        self.name = name
        self.closed = False
        self.end = asyncio.get_running_loop().create_future()

    def close(self):
        self.closed = True

    def fail(self):
        if not self.end.done():
            self.end.set_exception(UpstreamUnavailable(self.name))

    def finish(self):
        if not self.end.done():
            self.end.set_result(None)


class Scene:
    """A race of `a` and `b`; also its racer."""

    def __init__(self, *, alone=False):
        self.loop = FakeLoop()
        self.loop.create_task = asyncio.get_running_loop().create_task
        self.tries = {"a": FakeTry("a"), "b": FakeTry("b")}
        self.alone = alone
        self.counted = []
        self.outlived_by = []
        self.winner = None
        metrics = SimpleNamespace(hedged=lambda model, outcome: self.counted.append(outcome))
        desk = SimpleNamespace(loop=self.loop, metrics=metrics)
        self.race = Race(desk, "m", self)
        self.task = asyncio.ensure_future(self.race.run((self.tries["a"], b""), 1.0))

    async def follow(self, one, request):
        await one.end

    def hedge(self):
        return None if self.alone else (self.tries["b"], b"")

    def outlived(self, one, error, other):
        self.outlived_by.append((one.name, other.name))

    def speak(self, name):
        """Let a try have its first event, as the job does; one that is closed has none."""
        one = self.tries[name]
        if self.winner is None and not one.closed and not one.end.done():
            self.winner = name
            self.race.won(one)

    async def over(self):
        """Return what the race came to."""
        await settled()
        (outcome,) = await asyncio.gather(self.task, return_exceptions=True)
        for one in self.tries.values():
            one.end.cancel() or one.end.cancelled() or one.end.exception()  # it was seen
        return outcome.message if isinstance(outcome, UpstreamUnavailable) else outcome


async def test_the_second_comes_when_its_time_has_come():
    scene = Scene()
    await settled()
    scene.loop.wind(0.9)
    assert len(scene.race._running) == 1
    scene.loop.wind(0.2)
    assert len(scene.race._running) == 2

    scene.speak("b")
    assert scene.tries["a"].closed, "in that moment"
    scene.tries["b"].finish()
    assert await scene.over() is None
    assert scene.counted == ["won"]


async def test_the_first_may_run_alone():
    scene = Scene(alone=True)
    await settled()
    scene.loop.wind(2)
    scene.speak("a")
    scene.tries["a"].fail()

    assert await scene.over() == "a"
    assert scene.counted == []


async def test_when_both_have_failed_the_last_one_says_why():
    scene = Scene()
    await settled()
    scene.loop.wind(1)
    scene.tries["b"].fail()
    await settled()
    assert not scene.task.done()
    scene.tries["a"].fail()

    assert await scene.over() == "a"
    assert scene.outlived_by == [("b", "a")]
    assert scene.counted == ["failed"]


@pytest.mark.parametrize("name", ["a", "b"])
async def test_a_defect_ends_it_at_once(name):
    scene = Scene()
    await settled()
    scene.loop.wind(1)
    scene.tries[name].end.set_exception(ZeroDivisionError())

    assert isinstance(await scene.over(), ZeroDivisionError)
    assert [one.closed for one in scene.tries.values()] == [True, True]


async def test_the_time_of_the_second_may_come_as_the_first_has_just_failed():
    scene = Scene()
    await settled()
    scene.tries["a"].fail()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    scene.loop.wind(1)

    assert await scene.over() == "a"
    assert scene.race._second is None


MOVES = ("wind", "turn", "speak a", "speak b", "fail a", "fail b", "finish a", "finish b", "leave")


@pytest.mark.filterwarnings("error")
@given(st.lists(st.sampled_from(MOVES), max_size=12))
def test_in_any_order_one_answers_at_most_and_all_is_given_back(moves):
    asyncio.run(_in_order(moves))


async def _in_order(moves):
    scene = Scene()
    await settled()
    for move in moves:
        name, one = move[-1], scene.tries.get(move[-1])
        if move == "wind":
            scene.loop.wind(1)
        elif move == "turn":
            await asyncio.sleep(0)
        elif move == "leave":
            scene.race.drop()
            scene.task.cancel()
        elif move.startswith("speak") and one in scene.race._running.values():
            scene.speak(name)
        elif move.startswith("fail"):
            one.fail()
        elif move.startswith("finish") and scene.winner == name:
            one.finish()
    scene.race.drop()
    scene.task.cancel()
    await scene.over()

    losers = [one for one in scene.tries.values() if one.name != scene.winner]
    sent = scene.race._second is not None
    assert all(one.closed or one.end.done() or (one.name == "b" and not sent) for one in losers)
    assert len(scene.counted) == sent
    assert ("won" in scene.counted) == (scene.winner == "b")
    assert not scene.race._running
    assert not scene.race._leaving
    assert not scene.loop.timers
    assert asyncio.all_tasks() == {asyncio.current_task()}
