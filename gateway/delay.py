"""One timer for all that wait equally long, where few ever wait so long.

A timer for each costs more than what most of them wait for.  Here they stand in line, in
the order in which they came and in which they would be due.  The timer is that of the first,
or of one who was that and left: it is not cancelled for the next to make it anew.
"""

import asyncio
from itertools import takewhile
from typing import Protocol

from gateway._sseparse import Line
from gateway.alarm import LATE, MOMENT


class Sleeper(Protocol):
    """What waits."""

    def due(self, now: float) -> None:
        """Do what is to be done when the delay is over."""


class Delay(Line):
    """Tell each that was added, once, when so many seconds have passed."""

    __slots__ = ("_loop", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        super().__init__(loop.time, seconds)
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None

    def arm(self, due: float) -> None:
        """Ring at `due`."""
        self.armed = True
        self._timer = self._loop.call_at(due, self._fire, due)

    def close(self) -> None:
        """Forget all.  May be called twice."""
        self.waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
        self.armed = False

    def _fire(self, due: float) -> None:
        """Ring, but not before what came is read, if the process stood still (see `alarm`)."""
        now = self._loop.time()
        if now - due < LATE:
            self._ring()
        else:
            self._timer = self._loop.call_at(now + MOMENT, self._ring)

    def _ring(self) -> None:
        now = self._loop.time()
        late = list(takewhile(lambda sleeper: self.waiting[sleeper] <= now, self.waiting))
        try:
            for sleeper in late:
                if self.waiting.pop(sleeper, None) is not None:  # else one before it woke it
                    sleeper.due(now)
        finally:  # a defect of one is not to silence the others
            if self.waiting:
                self.arm(next(iter(self.waiting.values())))
            else:
                self.armed = False
