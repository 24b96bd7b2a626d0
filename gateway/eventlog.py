"""The log of one generation: append-only, closed once, for good.

A log is OPEN until it closes in exactly one of four states, with a reason:

    FINISHED     the dialect's terminal event came
    CANCELLED    stop, disconnect
    FAILED       upstream_error, timeout, protocol
    INTERRUPTED  truncated, shutdown

Entries are numbered 1, 2, 3 …; a cursor is the number of the last entry a reader
has, so a reader that has nothing stands at 0.  What every reader has may be
trimmed.  No clock, no socket: the hub decides when, readers decide how.
"""

from enum import Enum

from gateway._sseparse import Batch
from gateway.errors import GatewayError


class State(Enum):
    OPEN = "open"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class EventLog:
    """The entries of one generation, in batches as they came."""

    __slots__ = ("_batches", "base", "closed", "fault", "held", "id", "reason", "state", "tail")

    def __init__(self, id: str) -> None:
        self.id = id
        self.state = State.OPEN
        self.closed = False  # the state is another than OPEN; asked for every event
        self.reason = ""  # why it closed; one of the words of the module docstring
        self.fault: GatewayError | None = None  # the error it closed with
        self.tail = 0  # number of the last entry
        self.base = 0  # number of the last entry that was trimmed
        self.held = 0  # bytes not yet trimmed
        self._batches: list[Batch] = []  # oldest first, without gaps

    def append(self, batch: Batch) -> None:
        """Add the next entries.  The log must be open, the numbers must follow its tail."""
        if self.closed or batch.first != self.tail + 1:
            raise ValueError(f"log {self.id} is {self.state.value} at {self.tail}")
        self._batches.append(batch)
        self.tail += batch.count
        self.held += len(batch.data)

    def after(self, cursor: int) -> list[Batch]:
        """Return the batches after `cursor`, which is the end of a batch, oldest first."""
        return [batch for batch in self._batches if batch.first > cursor]

    def trim(self, cursor: int) -> None:
        """Forget the batches up to `cursor`, which is the end of one: every reader has them."""
        if cursor > self.base:
            self._batches = [batch for batch in self._batches if batch.first > cursor]
            self.held = sum([len(batch.data) for batch in self._batches])
            self.base = cursor

    def close(self, state: State, reason: str, fault: GatewayError | None = None) -> bool:
        """Close the log; say whether this call did it.  The first to close decides the state."""
        if self.closed:
            return False
        self.state, self.reason, self.fault = state, reason, fault
        self.closed = True
        return True
