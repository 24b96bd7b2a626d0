import pytest

from gateway.alarm import LATE, MOMENT
from gateway.delay import Delay
from tests.fakes import FakeLoop


class Sleeper:
    """Notes when it was told, and does what the test wants then."""

    def __init__(self, then=lambda: None):
        self.told: list[float] = []
        self.then = then

    def due(self, now: float) -> None:
        self.told.append(now - 1000)
        self.then()


@pytest.fixture
def loop():
    return FakeLoop(1000)


def test_each_is_told_once_at_its_own_time(loop):
    delay, sleepers = Delay(loop, 10), [Sleeper() for _ in range(3)]
    for sleeper in sleepers:
        delay.add(sleeper)
        loop.wind(3)

    loop.wind(100)

    assert [sleeper.told for sleeper in sleepers] == [[10], [13], [16]]
    assert loop.timers == []


def test_all_have_one_timer_that_finds_nobody_when_all_have_left(loop):
    delay, sleepers = Delay(loop, 10), [Sleeper() for _ in range(3)]

    for sleeper in sleepers:
        delay.add(sleeper)
    assert (len(delay), loop.made) == (3, 1)
    for sleeper in sleepers:
        delay.discard(sleeper)
        delay.discard(sleeper)

    assert (len(delay), loop.timers) == (0, [])
    loop.wind(100)
    assert [sleeper.told for sleeper in sleepers] == [[], [], []]


def test_those_who_come_one_after_the_other_share_a_timer(loop):
    delay, last = Delay(loop, 10), Sleeper()
    for _ in range(3):
        passing = Sleeper()
        delay.add(passing)
        loop.wind(3)
        delay.discard(passing)
    delay.add(last)

    assert loop.made == 1
    loop.wind(100)

    assert last.told == [19]
    assert (loop.made, loop.timers) == (2, [])


def test_nobody_is_told_when_it_is_closed(loop):
    delay, sleeper = Delay(loop, 10), Sleeper()
    delay.add(sleeper)

    delay.close()
    delay.close()
    loop.wind(100)

    assert (sleeper.told, loop.timers) == ([], [])


def test_the_others_are_told_in_time_when_the_first_leaves(loop):
    delay, first, second = Delay(loop, 10), Sleeper(), Sleeper()
    delay.add(first)
    loop.wind(4)
    delay.add(second)

    delay.discard(first)
    loop.wind(100)

    assert (first.told, second.told) == ([], [14])


def test_one_may_come_again_when_it_was_told_and_take_others_away(loop):
    delay = Delay(loop, 10)
    other = Sleeper()

    def again() -> None:
        delay.discard(other)
        if len(sleeper.told) < 3:
            delay.add(sleeper)

    sleeper = Sleeper(again)
    delay.add(sleeper)
    delay.add(other)
    loop.wind(100)

    assert (sleeper.told, other.told) == ([10, 20, 30], [])
    assert loop.made == 3
    assert loop.timers == []


def test_a_defect_of_one_does_not_silence_the_others(loop):
    def fail() -> None:
        raise ZeroDivisionError

    delay, ill, well, later = Delay(loop, 10), Sleeper(fail), Sleeper(), Sleeper()
    for sleeper in (ill, well):
        delay.add(sleeper)
    loop.wind(1)
    delay.add(later)

    with pytest.raises(ZeroDivisionError):
        loop.wind(100)
    loop.wind(100)

    assert [len(sleeper.told) for sleeper in (ill, well, later)] == [1, 1, 1]
    assert loop.timers == []


def test_a_process_that_stood_still_first_reads_what_came_meanwhile(loop):
    delay, answered, silent = Delay(loop, 10), Sleeper(), Sleeper()
    delay.add(answered)
    delay.add(silent)

    loop.now += 10 + LATE
    loop.wind(0)
    assert silent.told == []
    delay.discard(answered)
    loop.wind(MOMENT)

    assert answered.told == []
    assert silent.told == [pytest.approx(10 + LATE + MOMENT)]
    assert loop.timers == []


def test_closing_meanwhile_forgets_all(loop):
    delay, sleeper = Delay(loop, 10), Sleeper()
    delay.add(sleeper)
    loop.now += 60
    loop.wind(0)
    delay.close()
    loop.wind(60)

    assert sleeper.told == []
    assert loop.timers == []
