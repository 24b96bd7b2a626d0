"""Requests that are over, until they are counted and logged: some at a time.

One alone finds neither the code nor the data of counting in any cache, which makes it more
than twice as dear as one of many.  Nobody waits for it: the client has its answer.  Who reads
the figures has all of them counted first.
"""

import asyncio
from collections.abc import Callable
from math import inf
from typing import Protocol


# Requests that are counted in one turn of the loop, in which everybody else waits: some tenths of
# a millisecond.  More never wait here.
PAGE = 16
# Seconds that one waits for others.
GATHER_TIME = 0.05


class Account(Protocol):
    """A request that is over."""

    def account(self) -> None:
        """Count and log it."""


class Ledger:
    """What is not counted yet, in the order in which it ended."""

    __slots__ = ("_counted", "_loop", "_on_crash", "_open", "_timer")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_crash: Callable[[Exception], None]
    ) -> None:
        """Tell `on_crash` of a defect in counting one, which is not to cost the others."""
        self._loop = loop
        self._on_crash = on_crash
        self._counted = -inf  # when some were last
        self._open: list[Account] = []
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, account: Account) -> None:
        """Have a request counted before long; at once, if nobody was lately."""
        self._open.append(account)
        # For one that comes alone a timer would cost more than to count it.
        if len(self._open) >= PAGE or self._loop.time() - self._counted > GATHER_TIME:
            self.settle()
        elif self._timer is None:
            self._timer = self._loop.call_later(GATHER_TIME, self._ring)

    def settle(self) -> None:
        """Count all there are."""
        if not self._open:
            return
        accounts, self._open = self._open, []
        self._counted = self._loop.time()
        for account in accounts:
            try:
                account.account()
            except Exception as defect:
                self._on_crash(defect)

    def close(self) -> None:
        """Count all there are; nothing rings any more.  May be called twice."""
        self.settle()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        self.settle()
