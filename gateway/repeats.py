"""Requests that were sent before: which log already answers each.

    Idempotency-Key      the same request under the same key
    Last-Event-ID        with headgate-resume: a client that was cut off posts again
"""

from gateway.channel import Channel
from gateway.client_errors import ClientError, CursorGone
from gateway.desk import Desk
from gateway.eventlog import EventLog, State, epoch_of
from gateway.hub import Live
from gateway.idempotency import IdempotencyKeys
from gateway.manner import Manner
from gateway.visits import Visit


class Repeats:
    """What was asked before, and is worth reading."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._keys = IdempotencyKeys()

    def note(self, visit: Visit, key: bytes, log: EventLog) -> None:
        """Take note that a log answers a request under a key, if it can be known again."""
        if visit.request.body:  # a GET has none, and is not held against what was asked
            now = self._desk.clock()
            self._keys.claim(visit.caller.subject, key, _asked(visit), log.id, now)

    def find(self, visit: Visit, manner: Manner) -> Live | None:
        """Return the log of the same request, or of the one that it goes on with.

        Raises:
            ClientError: `headgate-resume` says nothing.
            CursorGone: there was one, which is not kept any more.
            Unprocessable: the key is of another request.
        """
        if manner.resumes is None:
            raise ClientError("headgate-resume is true or false")
        if manner.key:
            return self.under_key(visit, manner.key)
        return self._left_before(visit, manner.seen) if manner.resumes else None

    def under_key(self, visit: Visit, key: bytes) -> Live | None:
        """Return the log of the same request under the same key; raises as `find` does."""
        now = self._desk.clock()
        id = self._keys.find(visit.caller.subject, key, _asked(visit), now)
        if id is None:
            return None
        live = self._desk.hub.find(id)
        if live is None:
            raise CursorGone("the answer to the request of this key is not kept any more")
        return live if _worth_reading(live.log) else None

    def _left_before(self, visit: Visit, seen: str) -> Live | None:
        """Return the log of which a client that posts again has seen a part.

        fetch-event-source does so by itself.  A cursor that is not ours says nothing: it may
        be of a provider that the page spoke to directly.
        """
        if not epoch_of(seen):
            return None
        live = self.generation(visit, seen)
        if live is None:
            raise CursorGone("the answer that this cursor is of is not kept any more")
        return live

    def generation(self, visit: Visit, cursor: str) -> Live | None:
        """Return the caller's own generation that a cursor belongs to; a channel is none."""
        live = self._desk.hub.of_cursor(cursor)
        if live is None or isinstance(live.log, Channel):
            return None
        return live if live.log.subject == visit.caller.subject else None


def _asked(visit: Visit) -> bytes:
    """Return what a request under a key of idempotency is known by again: where, and what."""
    return visit.request.head.path.encode() + b"\n" + visit.request.body


def _worth_reading(log: EventLog) -> bool:
    """Tell whether a log answers a repeated request; SDKs repeat what failed under its key."""
    failed = log.state in (State.FAILED, State.INTERRUPTED)
    return not (log.reason == "disconnect" or (failed and log.tail <= 1))
