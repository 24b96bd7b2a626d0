"""The ledger: who is over is counted soon, in order, some at a time."""

from gateway.ledger import GATHER_TIME, PAGE, Ledger
from tests.fakes import FakeLoop


class Scene:
    """A ledger, and what was counted."""

    def __init__(self):
        self.loop = FakeLoop()
        self.crashes = []
        self.counted = []
        self.ledger = Ledger(self.loop, self.crashes.append)

    def enter(self, *names):
        for name in names:
            self.ledger.enter(Account(self, name))


class Account:
    """A request that is over; one called `bad` has a defect."""

    def __init__(self, scene, name):
        self.scene, self.name = scene, name

    def account(self):
        if self.name == "bad":
            raise RuntimeError
        self.scene.counted.append(self.name)


def test_who_is_over_is_counted_in_order_when_others_had_the_time_to_join():
    scene = Scene()
    scene.enter("a")
    scene.loop.wind(GATHER_TIME * 0.9)
    scene.enter("b")
    assert scene.counted == []

    scene.loop.wind(GATHER_TIME * 0.1)
    assert scene.counted == ["a", "b"]
    assert scene.loop.timers == []


def test_who_comes_later_waits_anew():
    scene = Scene()
    scene.enter("a")
    scene.loop.wind(10)
    scene.enter("b")
    assert scene.counted == ["a"]

    scene.loop.wind(GATHER_TIME)
    assert scene.counted == ["a", "b"]


def test_never_do_more_wait_than_are_counted_in_one_turn():
    scene = Scene()
    scene.enter(*range(2 * PAGE + 1))
    assert scene.counted == [*range(2 * PAGE)]

    scene.loop.wind(GATHER_TIME)
    assert scene.counted == [*range(2 * PAGE + 1)]


def test_whoever_cannot_wait_has_all_counted_at_once_and_nobody_twice():
    scene = Scene()
    scene.enter("a", "b")
    scene.ledger.settle()
    assert scene.counted == ["a", "b"]

    scene.loop.wind(10)
    assert scene.counted == ["a", "b"]


def test_a_defect_in_one_costs_no_other():
    scene = Scene()
    scene.enter("a", "bad", "b")
    scene.loop.wind(GATHER_TIME)

    assert scene.counted == ["a", "b"]
    assert [type(crash) for crash in scene.crashes] == [RuntimeError]


def test_one_that_enters_another_has_it_counted_too():
    scene = Scene()

    class Twice(Account):
        def account(self):
            super().account()
            scene.enter("again")

    scene.ledger.enter(Twice(scene, "first"))
    scene.loop.wind(2 * GATHER_TIME)
    assert scene.counted == ["first", "again"]


def test_a_closed_ledger_has_counted_all_and_rings_no_more():
    scene = Scene()
    scene.enter("a")
    scene.ledger.close()
    scene.ledger.close()

    assert scene.counted == ["a"]
    assert scene.loop.timers == []
