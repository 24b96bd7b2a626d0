"""Signs of life, by two timers: how late the loop is, and what systemd's watchdog hears."""

import asyncio
import time
from collections.abc import Callable

from gateway.systemd import Notifier


# Seconds between looks at how late the loop is.
LAG_PERIOD = 0.5


class Pulse:
    """What beats for as long as the loop turns, once started."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        notifier: Notifier,
        interval: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lag = 0.0  # seconds by which the last look was late
        self._loop = loop
        self._notifier = notifier
        self._interval = interval  # seconds between what the watchdog hears; None: nothing
        self._clock = clock  # finer than the loop's own, which stands still for a turn
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def start(self) -> None:
        """Begin both."""
        self._look(self._clock())
        self._tell()

    def close(self) -> None:
        """End both.  May be called twice."""
        for timer in self._timers.values():
            timer.cancel()

    def _look(self, due: float) -> None:
        self.lag = max(0.0, self._clock() - due)
        due = self._loop.time() + LAG_PERIOD
        self._timers["look"] = self._loop.call_at(due, self._look, due)

    def _tell(self) -> None:
        self._notifier.alive()
        if self._interval is not None:
            self._timers["tell"] = self._loop.call_later(self._interval, self._tell)
