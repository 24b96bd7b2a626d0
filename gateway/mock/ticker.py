"""One clock for all streams.

A timer per event costs more than the event.  Here everything due in the same
millisecond lies in one list, and a single timer walks the lists.
"""

import asyncio
from typing import Protocol


TICK = 0.001  # seconds; libuv's own timers are no finer


class Steps(Protocol):
    """What a ticker drives."""

    def step(self) -> None:
        """Do what is due."""


class Ticker:
    """Call `step` of many things, each at its own time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: dict[int, list[Steps]] = {}  # by millisecond
        self._reached = 0  # the millisecond up to which all is done
        self._timer: asyncio.TimerHandle | None = None  # armed while anything is due

    def now(self) -> float:
        """Return the loop's time in milliseconds."""
        return self._loop.time() * 1000

    def at(self, due: float, thing: Steps) -> None:
        """Step `thing` at `due` milliseconds, or on the next tick if that has passed."""
        if self._timer is None:
            self._reached = int(self.now())
            self._timer = self._loop.call_later(TICK, self._tick)
        tick = int(due)
        if tick <= self._reached:
            # Never in the tick under way: who lags catches up, but cannot hold the loop.
            tick = self._reached + 1
        things = self._due.get(tick)
        if things is None:
            self._due[tick] = [thing]
        else:
            things.append(thing)

    def soon(self, thing: Steps) -> None:
        """Step `thing` on the loop's next turn, after the others have had theirs."""
        self._loop.call_soon(thing.step)

    def close(self) -> None:
        """Forget everything that is due."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = self._loop.call_later(TICK, self._tick)
        first, self._reached = self._reached + 1, int(self.now())
        for tick in range(first, self._reached + 1):
            for thing in self._due.pop(tick, ()):
                thing.step()
        if not self._due:
            self.close()
