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

from gateway._sseparse import Entries
from gateway.errors import GatewayError


class State(Enum):
    OPEN = "open"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class EventLog(Entries):
    """The entries of one generation, in batches as they came."""

    __slots__ = ("fault", "id", "reason", "state")

    def __init__(self, id: str) -> None:
        self.id = id
        self.state = State.OPEN
        self.reason = ""  # why it closed; one of the words of the module docstring
        self.fault: GatewayError | None = None  # the error it closed with

    def close(self, state: State, reason: str, fault: GatewayError | None = None) -> bool:
        """Close the log; say whether this call did it.  The first to close decides the state."""
        if self.closed:
            return False
        self.state, self.reason, self.fault = state, reason, fault
        self.closed = True
        return True
