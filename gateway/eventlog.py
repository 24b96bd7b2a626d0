"""A log: append-only, closed once, for good.

A log is OPEN until it closes in exactly one of four states, with a reason:

    FINISHED     the dialect's terminal event came; a channel's writer closed it
    CANCELLED    stop, disconnect
    FAILED       upstream_error, timeout, protocol
    INTERRUPTED  truncated, shutdown

Entries are numbered 1, 2, 3 …; a cursor is the number of the last entry a reader
has, so a reader that has nothing stands at 0.  Outside it is written with the log's
epoch, so that a log which was lost and made anew is never taken for the old one.  No
clock, no socket: the hub decides when, readers decide how.
"""

import re
from enum import Enum
from typing import Final

from gateway._sseparse import Batch, Entries
from gateway.client_errors import ClientError, CursorGone
from gateway.pace import Pace


# What a reader may say in place of a cursor (Durable Streams): all there is, only what comes.
START: Final = "-1"
NOW: Final = "now"

TOO_OLD: Final = "what follows this cursor is not kept any more"

_CURSOR = re.compile(r"([a-z2-7]{8})_([0-9]{16})")


class State(Enum):
    OPEN = "open"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


# In Python 3.11 a member costs fifty times the steps of a global: EnumType has a __getattr__.
OPEN, FINISHED, CANCELLED, FAILED, INTERRUPTED = State


class EventLog(Entries):
    """The entries of one log."""

    __slots__ = ()

    pace: Pace | None
    _state: State | None

    # What a generation's log is; a channel says its own.
    media = "application/json"  # the content type of its entries
    json = True  # batches are events with JSON; else each is one message's bytes
    shared = False  # all callers may read it
    welcome = False  # whoever begins to read it is greeted
    maker = ""  # the subject that made it by a request

    @property
    def state(self) -> State:
        """Whether it is closed, and how."""
        return self._state or OPEN

    def cursor(self, number: int) -> str:
        """Return how entry `number` is called outside: "everything strictly after this"."""
        return f"{self.epoch}_{number:016d}"

    def end(self) -> str:
        """Return the cursor behind the end of a closed log: who has it was told how it ended."""
        return self.cursor(self.tail + 1)

    def locate(self, cursor: str) -> int:
        """Return the number of the entry that `cursor` stands for; `end` is as the tail.

        Raises:
            CursorGone: entries after it were trimmed, or it is of another log.
            ClientError: it is no cursor.
        """
        if cursor == START:
            return self.base
        if cursor == NOW:
            return self.tail
        match = _CURSOR.fullmatch(cursor)
        if match is None or (match[1] == self.epoch and int(match[2]) > self.tail + self.closed):
            raise ClientError("this is no cursor of this log", param="offset")
        if match[1] != self.epoch or int(match[2]) < self.base:
            raise CursorGone(TOO_OLD)
        return min(int(match[2]), self.tail)

    def visible(self, cursor: int, subject: str) -> list[Batch]:
        """Return the batches after `cursor` that `subject` may see, oldest first."""
        return self.after(cursor)

    @property
    def cost(self) -> int:
        """Bytes of memory it takes, about."""
        return self.held if self.pace is None else self.held + self.pace.cost

    def touch(self, now: float) -> None:
        """Begin the time to live anew, if there is one: somebody reads."""

    def expired(self, now: float, wall: float) -> bool:
        """Tell whether its time is over, by either clock: nobody may find it any more."""
        return False

    def tidy(self, now: float) -> None:
        """Forget what is not to be kept any longer."""


class Whole(EventLog):
    """A log with one entry, which is the body of a whole answer, of whatever type."""

    __slots__ = ("media",)
    json = False


def epoch_of(cursor: str) -> str:
    """Return the epoch in a cursor, "" if it is none: which log it belongs to."""
    match = _CURSOR.fullmatch(cursor)
    return match[1] if match else ""
