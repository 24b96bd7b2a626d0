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


def busy():
    """Return a scene in which one was counted just now."""
    scene = Scene()
    scene.enter("before")
    scene.counted.clear()
    return scene


def test_one_that_comes_alone_is_counted_at_once_and_makes_no_timer():
    scene = Scene()
    for name in "abc":
        scene.enter(name)
        assert scene.counted[-1] == name
        scene.loop.wind(2 * GATHER_TIME)

    assert scene.loop.made == 0


def test_others_wait_for_more_and_are_counted_in_order():
    scene = busy()
    scene.enter("a")
    scene.loop.wind(GATHER_TIME * 0.9)
    scene.enter("b")
    assert scene.counted == []

    scene.loop.wind(GATHER_TIME * 0.1)
    assert scene.counted == ["a", "b"]
    assert scene.loop.timers == []


def test_who_comes_soon_after_waits_anew():
    scene = busy()
    scene.enter("a")
    scene.loop.wind(1.5 * GATHER_TIME)
    scene.enter("b")
    assert scene.counted == ["a"]

    scene.loop.wind(GATHER_TIME)
    assert scene.counted == ["a", "b"]


def test_never_do_more_wait_than_are_counted_in_one_turn():
    scene = busy()
    scene.enter(*range(2 * PAGE + 1))
    assert scene.counted == [*range(2 * PAGE)]

    scene.loop.wind(GATHER_TIME)
    assert scene.counted == [*range(2 * PAGE + 1)]


def test_whoever_cannot_wait_has_all_counted_at_once_and_nobody_twice():
    scene = busy()
    scene.enter("a", "b")
    scene.ledger.settle()
    assert scene.counted == ["a", "b"]

    scene.loop.wind(10)
    assert scene.counted == ["a", "b"]


def test_a_defect_in_one_costs_no_other():
    scene = busy()
    scene.enter("a", "bad", "b")
    scene.loop.wind(GATHER_TIME)

    assert scene.counted == ["a", "b"]
    assert [type(crash) for crash in scene.crashes] == [RuntimeError]


def test_one_that_enters_another_has_it_counted_too():
    scene = busy()

    class Twice(Account):
        def account(self):
            super().account()
            scene.enter("again")

    scene.ledger.enter(Twice(scene, "first"))
    scene.loop.wind(2 * GATHER_TIME)
    assert scene.counted == ["first", "again"]


def test_a_closed_ledger_has_counted_all_and_rings_no_more():
    scene = busy()
    scene.enter("a")
    scene.ledger.close()
    scene.ledger.close()

    assert scene.counted == ["a"]
    assert scene.loop.timers == []
