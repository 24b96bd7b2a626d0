"""One timer for all that wait equally long, where few ever wait so long.

A timer for each costs more than what most of them wait for.  Here they stand in line, in
the order in which they came and in which they would be due.  The timer is that of the first,
or of one who was that and left: it is not cancelled for the next to make it anew.
"""

import asyncio
from collections import OrderedDict
from typing import Protocol


class Sleeper(Protocol):
    """What waits."""

    def due(self, now: float) -> None:
        """Do what is to be done when the delay is over."""


class Delay:
    """Tell each that was added, once, when so many seconds have passed."""

    __slots__ = ("_due", "_loop", "_timer", "seconds")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self.seconds = seconds
        self._loop = loop
        self._due: OrderedDict[Sleeper, float] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._due)

    def add(self, sleeper: Sleeper) -> None:
        """Begin the delay of one that is not in line."""
        self._due[sleeper] = due = self._loop.time() + self.seconds
        if self._timer is None:
            self._timer = self._loop.call_at(due, self._ring)

    def discard(self, sleeper: Sleeper) -> None:
        """Forget one, if it still waits."""
        self._due.pop(sleeper, None)

    def close(self) -> None:
        """Forget all.  May be called twice."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        now = self._loop.time()
        self._timer = None
        try:
            while self._due:
                sleeper, due = next(iter(self._due.items()))
                if due > now:
                    break
                del self._due[sleeper]
                sleeper.due(now)
        finally:  # a defect of one is not to silence the others
            if self._due:
                due = next(iter(self._due.values()))
                self._timer = self._loop.call_at(due, self._ring)
