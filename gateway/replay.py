"""A finished log said again in another one, at the pace it had.

The other log has an id, cursors and an end of its own, so every view reads it as it reads
any generation: live, left and come back to, stopped.
"""

import asyncio

from gateway._sseparse import Batch
from gateway.desk import Desk
from gateway.dialects.calls import Heading
from gateway.errors import GatewayError, ShuttingDown
from gateway.eventlog import EventLog, State
from gateway.order import Order
from gateway.pace import Pace, Stretch


# Before all entries.
START = Stretch(0.0, 0, 0)


class Replay:
    """The producer of a log that says what another has said; it asks no provider."""

    __slots__ = (
        "_began", "_data", "_desk", "_dialect", "_functions", "_model", "_pace", "_paused",
        "_place", "_timer", "last", "live",
    )  # fmt: skip

    def __init__(self, desk: Desk, order: Order, said: EventLog, pace: Pace) -> None:
        self.last = 0.0  # when its last entry came
        self.live = desk.hub.open(
            self, subject=said.subject, dialect=said.dialect,
            grace=order.grace, patience=order.patience,
        )  # fmt: skip
        self.live.log.fields, self.live.log.dropped = said.fields, said.dropped
        self._desk = desk
        self._dialect = order.dialect
        self._model = order.call.model
        self._functions = order.call.functions
        self._pace = pace
        self._place = 0  # of the stretch that comes next
        self._data = b"".join([batch.data for batch in said.after(0)])
        self._began = desk.clock()
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False

    def begin(self) -> None:
        """Start; from here on it looks after itself.  The first entry does not wait."""
        self._desk.jobs.add(self)
        self._step()

    def pause(self) -> None:
        """Say nothing until `resume`."""
        self._paused = True
        self._rest()

    def resume(self) -> None:
        """Go on; what is late by now comes at once."""
        self._paused = False
        self._wait(self._desk.clock() - self._began)

    def cancel(self, reason: str) -> None:
        """End it now; whoever reads is told so."""
        said, heading = self._said()
        words = self._dialect.cancelled_events(said, heading, finish="", tokens=None)
        self._end(words, State.CANCELLED, reason)

    def shut_down(self) -> None:
        """End because the process ends; whoever reads is told so."""
        fault = ShuttingDown("the gateway is shutting down; this answer is not complete")
        said, heading = self._said()
        words = [self._dialect.error_event(fault, said, heading)]
        self._end(words, State.INTERRUPTED, "shutdown", fault)

    def _said(self) -> tuple[list[bytes], Heading]:
        """Return what was said so far, and what stands over it."""
        log = self.live.log
        said = [batch.data for batch in log.after(log.base)]
        now = int(self._desk.wall())
        return said, Heading(log.id, self._model, now, functions=self._functions)

    def _step(self) -> None:
        """Say all that is due, and wait for the rest."""
        self._timer = None
        self.last = self._desk.clock()
        passed, place = self.last - self._began, self._place
        while place < len(self._pace) and self._pace[place].after <= passed:
            place += 1
        batch, self._place = self._between(self._place, place), place
        if place == len(self._pace):
            self.live.log.append(batch)  # closing wakes the readers: it goes with the end
            self._end([], State.FINISHED, "finished")
        elif batch.count:
            self.live.publish(batch)
        self._wait(passed)

    def _between(self, begin: int, end: int) -> Batch:
        """Return the entries of some stretches."""
        first, last = (self._pace[place - 1] if place else START for place in (begin, end))
        data = self._data[first.end : last.end]
        return Batch(data, first.tail + 1, last.tail - first.tail)

    def _wait(self, passed: float) -> None:
        # Whoever read what was just said may have left, or take no more.
        if not self.live.log.closed and not self._paused and self._timer is None:
            delay = self._pace[self._place].after - passed
            self._timer = self._desk.loop.call_later(delay, self._step)

    def _end(
        self, words: list[bytes], state: State, reason: str, fault: GatewayError | None = None
    ) -> None:
        self._rest()
        self._desk.jobs.discard(self)
        log = self.live.log
        if words:
            log.append(Batch(b"".join(words), log.tail + 1, len(words)))
        self.live.close(state, reason, fault)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
