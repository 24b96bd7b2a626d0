"""Alarm: rings when it was told, moves when it is asked to, and is silent once cancelled."""

import pytest

from gateway.alarm import LATE, MOMENT, Alarm
from tests.fakes import FakeLoop


class Owner:
    """Notes when its alarm rings; `plan` has what it answers each time."""

    def __init__(self, loop: FakeLoop, due: float, *plan: float | None) -> None:
        self.rings: list[float] = []
        self.plan = [*plan, None]
        self.alarm = Alarm(loop, self.ring, due)

    def ring(self, now: float) -> float | None:
        self.rings.append(now)
        return self.plan.pop(0)


def loop_and_owner(due: float, *plan: float | None) -> tuple[FakeLoop, Owner]:
    loop = FakeLoop(0.0)
    return loop, Owner(loop, due, *plan)


def test_it_rings_when_due_and_not_before():
    loop, owner = loop_and_owner(10)

    loop.wind(9.9)
    assert owner.rings == []
    loop.wind(0.1)

    assert owner.rings == [10]


def test_it_rings_again_when_the_ring_says_so():
    loop, owner = loop_and_owner(10, 15, 40)

    loop.wind(100)

    assert owner.rings == [10, 15, 40]
    assert loop.timers == []


def test_it_stops_when_the_ring_says_so_and_can_be_woken():
    loop, owner = loop_and_owner(10, None)
    loop.wind(50)
    assert owner.rings == [10]

    owner.alarm.sooner(60)
    loop.wind(50)

    assert owner.rings == [10, 60]


# An alarm due at 10 that is asked for other times: when it rings.
ASKED = {
    "earlier": ([5], [5]),
    "later changes nothing": ([20], [10]),
    "the same time": ([10], [10]),
    "the earliest of several": ([8, 5, 7], [5]),
}


@pytest.mark.parametrize(("asked", "rings"), ASKED.values(), ids=ASKED.keys())
def test_the_earliest_time_counts(asked, rings):
    loop, owner = loop_and_owner(10)

    for due in asked:
        owner.alarm.sooner(due)
    assert len(loop.timers) == 1
    loop.wind(100)

    assert owner.rings == rings


def test_a_thousand_later_deadlines_cost_one_timer():
    loop, owner = loop_and_owner(10)

    for due in range(11, 1011):
        owner.alarm.sooner(due)

    assert loop.timers == [10]


@pytest.mark.parametrize("times", [1, 2])
def test_a_cancelled_alarm_never_rings(times):
    loop, owner = loop_and_owner(10)

    for _ in range(times):
        owner.alarm.cancel()
    assert loop.timers == []
    owner.alarm.sooner(5)
    loop.wind(100)

    assert owner.rings == []


def test_a_ring_may_cancel_its_alarm():
    loop, owner = loop_and_owner(10, 20)
    owner.alarm._ring = lambda now: owner.alarm.cancel() or owner.ring(now)

    loop.wind(10)
    assert loop.timers == []
    loop.wind(100)

    assert owner.rings == [10]


def test_what_a_ring_asks_for_itself_counts_instead_of_what_it_returns():
    loop, owner = loop_and_owner(10, 30)
    owner.alarm._ring = lambda now: owner.alarm.sooner(now + 5) or owner.ring(now)

    loop.wind(5 + 10)

    assert owner.rings == [10, 15]
    assert len(loop.timers) == 1


def test_a_process_that_stood_still_first_reads_what_came_meanwhile():
    loop, owner = loop_and_owner(10, 100)

    loop.now = 10 + LATE
    loop.wind(0)
    assert owner.rings == []
    loop.wind(MOMENT)

    assert owner.rings == [10 + LATE + MOMENT]
    assert loop.timers == [100]


def test_a_loop_that_is_always_late_rings_all_the_same():
    loop, owner = loop_and_owner(10, 20)

    loop.now = 30
    loop.wind(0)
    loop.now = 60
    loop.wind(0)

    assert owner.rings == [60]


def test_what_is_cancelled_meanwhile_does_not_ring():
    loop, owner = loop_and_owner(10)

    loop.now = 30
    loop.wind(0)
    owner.alarm.cancel()
    loop.wind(1)

    assert owner.rings == []
    assert loop.timers == []


def test_it_can_be_asked_to_ring_sooner_meanwhile():
    loop, owner = loop_and_owner(10)

    loop.now = 30
    loop.wind(0)
    owner.alarm.sooner(40)
    loop.wind(100)

    assert owner.rings == [30 + MOMENT]
