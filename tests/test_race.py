"""Two tries at once, in whatever order they speak, fail, end, or are not wanted any more."""

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from gateway.race import Race
from tests.fakes import FakeLoop


class FakeTry:
    """A try; the test says what becomes of it."""

    def __init__(self, name):
        self.name = name
        self.closed = False
        self.asked = b""

    def ask(self, request):
        self.asked = request

    def close(self):
        self.closed = True


class Scene:
    """A race of `a` and `b`; also its racer."""

    def __init__(self, *, alone=False):
        self.loop = FakeLoop()
        self.a, self.b = FakeTry("a"), FakeTry("b")
        self.alone = alone
        self.counted = []
        metrics = SimpleNamespace(hedged=lambda model, outcome: self.counted.append(outcome))
        desk = SimpleNamespace(loop=self.loop, metrics=metrics)
        self.race = Race(desk, "m", self, self.a, 1.0)

    def hedge(self):
        return None if self.alone else (self.b, b"again")


def test_the_second_comes_when_its_time_has_come():
    scene = Scene()
    scene.loop.wind(0.9)
    assert not scene.b.asked
    scene.loop.wind(0.2)
    assert scene.b.asked == b"again"

    scene.race.won(scene.b)
    assert scene.a.closed, "in that moment"
    assert not scene.b.closed
    assert scene.counted == ["won"]


def test_the_first_may_run_alone():
    scene = Scene(alone=True)
    scene.loop.wind(2)
    scene.race.won(scene.a)

    assert scene.race.lost(scene.a) is None
    assert scene.counted == []


def test_the_one_that_fails_leaves_the_other_alone():
    scene = Scene()
    scene.loop.wind(1)

    assert scene.race.lost(scene.b) is scene.a
    assert scene.race.lost(scene.a) is None
    assert scene.counted == ["failed"]
    assert (scene.a.closed, scene.b.closed) == (False, False), "whose they are closes them"


def test_there_is_no_second_once_the_first_has_spoken_or_failed():
    for end in (Race.won, Race.lost):
        scene = Scene()
        end(scene.race, scene.a)
        scene.loop.wind(1)

        assert not scene.b.asked
        assert not scene.loop.timers


MOVES = ("wind", "speak a", "speak b", "fail a", "fail b", "leave")


@given(st.lists(st.sampled_from(MOVES), max_size=12))
def test_in_any_order_one_answers_at_most_and_all_is_given_back(moves):
    scene = Scene()
    winner = None
    for move in (*moves, "leave"):
        one = {"a": scene.a, "b": scene.b}.get(move[-1])
        if move == "wind":
            scene.loop.wind(1)
        elif move == "leave":
            scene.race.drop()
        elif one not in scene.race._running:
            continue
        elif move.startswith("speak"):
            winner = one
            scene.race.won(one)
        else:
            scene.race.lost(one)
            one.close()

    assert scene.a.closed
    assert scene.b.closed == bool(scene.b.asked)
    assert len(scene.counted) == bool(scene.b.asked)
    assert ("won" in scene.counted) == (winner is scene.b)
    assert not scene.race._running
    assert not scene.loop.timers
