"""Two tries of one request at once: a hedge against a provider that is slow to begin.

    first ──── says nothing ──┬──────────►  whoever speaks first has the request;
                              └─ second ─►  the other's connection drops in that moment

One that fails leaves the other alone; when both have, the race is over.
"""

import asyncio
from typing import Protocol

from gateway.desk import Desk
from gateway.tries import Try


Entrant = tuple[Try, bytes]  # and its request


class Racer(Protocol):
    """Whose tries they are."""

    def hedge(self) -> Entrant | None:
        """Make the second; None: there is nobody to ask."""


class Race:
    """A try, and the one that is sent beside it where it is slow."""

    __slots__ = ("_desk", "_model", "_racer", "_running", "_second", "_timer", "_told")

    def __init__(self, desk: Desk, model: str, racer: Racer, first: Try, delay: float) -> None:
        """Begin with a try that is about to be sent; the second follows `delay` seconds behind."""
        self._desk = desk
        self._model = model  # a label
        self._racer = racer
        self._running = [first]
        self._timer: asyncio.TimerHandle = desk.loop.call_later(delay, self._send_second)
        self._second: Try | None = None
        self._told = False  # what became of it

    def won(self, one: Try) -> None:
        """Take note that a try speaks: the other has lost."""
        self._tell("won" if one is self._second else "lost")
        self._drop_all_but(one)

    def lost(self, one: Try) -> Try | None:
        """Take note that a try failed; return the one that goes on without it."""
        self._running.remove(one)
        if one is self._second:
            self._tell("failed")
        if self._running:
            return self._running[0]
        self._timer.cancel()
        return None

    def drop(self) -> None:
        """End both: nobody wants their answer any more."""
        self._tell("lost")
        self._drop_all_but(None)

    # Inside.

    def _send_second(self) -> None:
        entrant = self._racer.hedge()
        if entrant is not None:
            self._second, request = entrant
            self._running.append(self._second)
            self._second.ask(request)

    def _drop_all_but(self, winner: Try | None) -> None:
        self._timer.cancel()
        for one in self._running:
            if one is not winner:
                one.close()
        self._running = [] if winner is None else [winner]

    def _tell(self, outcome: str) -> None:
        """Count what became of the second, if there is one; once."""
        if self._second is not None and not self._told:
            self._told = True
            self._desk.metrics.hedged(self._model, outcome)
