"""A pulse: it tells how late the loop is, and the watchdog that it turns."""

import pytest

from gateway.pulse import LAG_PERIOD, Pulse
from gateway.systemd import Notifier
from tests.fakes import FakeLoop, FakeNotifier


@pytest.mark.parametrize("late", [0.0, 0.25])
def test_the_loop_is_as_late_as_the_last_look_was(late):
    loop = FakeLoop()
    pulse = Pulse(loop, Notifier({}), None, clock=lambda: loop.now + late)
    pulse.start()
    assert pulse.lag == 0.0, "nothing was due yet"
    loop.wind(LAG_PERIOD)
    pulse.close()

    assert pulse.lag == late


def test_the_watchdog_hears_at_once_and_then_once_in_an_interval():
    loop, manager = FakeLoop(), FakeNotifier()
    pulse = Pulse(loop, manager, 15.0, clock=loop.time)
    pulse.start()
    loop.wind(45.0)
    pulse.close()

    assert manager.said == ["WATCHDOG=1"] * 4


def test_nothing_is_due_after_it_was_closed_even_twice():
    loop = FakeLoop()
    pulse = Pulse(loop, Notifier({}), 15.0, clock=loop.time)
    pulse.start()
    pulse.close()
    pulse.close()

    assert loop.timers == []


def test_without_a_watchdog_one_sign_of_life_is_all():
    loop, manager = FakeLoop(), FakeNotifier()
    pulse = Pulse(loop, manager, None, clock=loop.time)
    pulse.start()
    loop.wind(60.0)
    pulse.close()

    assert manager.said == ["WATCHDOG=1"]
