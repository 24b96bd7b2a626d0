"""A deadline that is moved often and seldom reached.

An event must not cost a timer.  Whoever waits keeps its own time stamps, which it
writes anyway; the alarm looks at them when it rings, and is told when to ring again.

A process that stood still (stopped, or on a machine that was) wakes with all its alarms due,
and with everything unread that came meanwhile: that is to be read first.
"""

import asyncio
from collections.abc import Callable


# Seconds by which an alarm is late only where the process stood still …
LATE = 1.0
# … and those in which the loop then reads what came: any, since it reads before it looks again.
MOMENT = 0.05


class Alarm:
    """Call `ring(now)` at `due`; it returns the next time to ring, or None to stop."""

    __slots__ = ("_due", "_loop", "_ring", "handle")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, ring: Callable[[float], float | None], due: float
    ) -> None:
        self._loop = loop
        self._ring: Callable[[float], float | None] | None = ring
        self._due = due
        # None: it is stopped.
        self.handle: asyncio.TimerHandle | None = loop.call_at(due, self._fire)

    def sooner(self, due: float) -> None:
        """Ring at `due` if that is earlier than planned; also wakes a stopped alarm."""
        if self.handle is not None:
            if due >= self._due:
                return
            self.handle.cancel()
        if self._ring is not None:
            self._arm(due)

    def cancel(self) -> None:
        """Never ring again.  May be called twice."""
        self._ring = None  # breaks the cycle owner -> alarm -> bound method -> owner
        if self.handle is not None:
            self.handle.cancel()
            self.handle = None

    def _arm(self, due: float) -> None:
        self._due = due
        self.handle = self._loop.call_at(due, self._fire)

    def _fire(self) -> None:
        now = self._loop.time()
        if now - self._due < LATE:
            self._look()
        else:
            self._due = now + MOMENT
            self.handle = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        self.handle = None
        if self._ring is None:
            return
        due = self._ring(self._loop.time())
        # The ring may have cancelled this alarm, or asked for an earlier time already.
        if due is not None and self._ring is not None and self.handle is None:
            self._arm(due)
