"""What all views have in common.

A view is a cursor with a way of framing.  It has no queue: it takes from the log what
its client can take, and when the client's transport drains, it goes on from there, a
portion at a time.
"""

import random
from typing import ClassVar

import orjson

from gateway._sseparse import RAW, Follower, Streamed
from gateway.alarm import Alarm
from gateway.desk import STREAMS, Desk
from gateway.eventlog import EventLog
from gateway.hub import Live
from gateway.reply import Reply
from gateway.views.portion import PORTION, Portion, read


# Seconds of silence between heartbeats: well under the 60 s of nginx and load balancers.
HEARTBEAT = 15.0

# Milliseconds after which a client is told to come back when the process ends: a restart
# takes a second, and a thousand readers spread over some more.
COMEBACK = (1000, 5000)

TYPE = b"content-type: text/event-stream; charset=utf-8\r\n"
SSE_FIELDS = (
    # no-transform: a proxy that compresses an event stream holds it back.
    b"cache-control: no-cache, no-transform, no-store\r\n"
    b"x-accel-buffering: no\r\n"
    b"x-content-type-options: nosniff\r\n"
    b"cross-origin-resource-policy: same-origin\r\n"
)
HEAD = TYPE + SSE_FIELDS
# A heartbeat.  No blank line: that would erase a client's last id (facts §2.7).
COMMENT = b":\n"


def block(id: str, event: bytes, data: bytes) -> bytes:
    """Return one SSE event; `data` is one line."""
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (id.encode(), event, data)


def beginning(log: EventLog, cursor: int, *, recovered: bool) -> dict[str, object]:
    """Return what a reader is told first: where it starts, and whether it missed something."""
    told = {"streamNextOffset": log.cursor(cursor), "upToDate": cursor == log.tail}
    return told if recovered else {"recovered": False, **told}


def end(log: EventLog) -> dict[str, object]:
    """Return what a reader of a closed log is told last."""
    return {"streamClosed": True, "state": log.state.value, "reason": log.reason}


def greeting(live: Live, desk: Desk) -> bytes:
    """Return what a new reader is greeted with, as JSON; b"" if its log greets nobody.

    It is shaped like an entry, and is none: it is told under the cursor one starts from.
    """
    if not live.log.welcome:
        return b""
    readers = len(live.readers) + 1  # with the new one
    return orjson.dumps({
        "type": "welcome",
        "channel": live.log.id,
        "readers": readers,
        "timestamp": desk.timestamp(),
    })  # fmt: skip


def location(log: EventLog) -> bytes:
    """Return the field that says where else a log can be read."""
    return f"location: {STREAMS}{log.id}\r\n".encode()


class View(Follower):
    """One client's sight of a log, whatever it is sent over."""

    transport: ClassVar[str]  # a label
    detaches = True  # its client may come back, so the log waits for it

    __slots__ = ()

    _live: Live
    _desk: Desk

    def _catch_up(self) -> None:
        """Take what is new in the log, and its end, a portion at a time."""
        log, cursor = self._live.log, self.cursor
        if cursor < log.base:
            self.cut()  # a channel does not wait for its readers
            return
        if self._paused():
            return
        portion = read(log, cursor, self.subject)
        if log.closed and portion.end == log.tail:
            self._finish(portion)
            self.leave()
        elif portion.end > cursor:
            self._take(portion)
            self._live.advanced()
            if self._attached and portion.end < log.tail:
                self._desk.loop.call_soon(self.wake)  # others are served in between

    def cut(self) -> None:
        """Break off without an end, and leave: who comes back learns what became of the log."""
        self._cut()
        self.leave()

    def retire(self) -> None:
        """Leave a log that has no end; its client comes back, to another process."""
        self.leave()

    def _advance(self, end: int) -> None:
        """Note that all up to the cursor `end` was taken."""
        if self.outlet is None:
            self._cursor = end
        else:
            self.outlet.cursor = end

    # What each way of framing does in its own manner.

    def _paused(self) -> bool:
        """Say whether the client takes nothing more for now."""
        raise NotImplementedError

    def _cut(self) -> None:
        """Break off: the client misses something, which it learns when it comes back."""
        raise NotImplementedError

    def _take(self, portion: Portion) -> None:
        """Write what is new, and advance; there may be nothing for this client in it."""
        raise NotImplementedError

    def _finish(self, portion: Portion) -> None:
        """Write the last of a closed log, and its end."""
        raise NotImplementedError


class StreamView(View, Streamed):
    """A view that is the body of one streamed answer, with heartbeats in its silences.

    With no `style` it frames each batch itself.
    """

    style: ClassVar[int | None] = RAW
    room: ClassVar[int] = PORTION  # of the end of a log, for the compiled part
    # Seconds without a word after which the first heartbeat is due, and with it the head.
    first_silence: ClassVar[float] = HEARTBEAT

    __slots__ = ("_beat",)

    _reply: Reply
    _alarm: Alarm | None
    _beat: float  # since it has an alarm: when we last wrote of our own accord, or began

    def retire(self) -> None:
        """End the answer; whoever reads on comes back, not all in the same moment."""
        if self._attached:
            self._say(b"retry: %d\n\n" % random.randrange(*COMEBACK))
            self._reply.end(b"")
            self.leave()

    def _fields(self) -> bytes:
        more = self._more
        return HEAD + more()

    def _say(self, data: bytes) -> None:
        """Write a piece, after the head."""
        if not self._reply.status:
            self._start()
        self._reply.write(data)

    def _paused(self) -> bool:
        return self._reply.paused

    def _cut(self) -> None:
        self._reply.abort()

    def _take(self, portion: Portion) -> None:
        data = self._framed(portion)
        if data:
            self._say(data)
        self._advance(portion.end)

    def _framed(self, portion: Portion) -> bytes:
        if not portion.batches:
            return b""
        assert self.style is not None
        epoch = self._live.log.epoch.encode()
        return b"".join([batch.framed(self.style, epoch) for batch in portion.batches])

    def _finish(self, portion: Portion) -> None:
        if not self._reply.status:
            if self._refused():
                return
            self._start()
        self._reply.end(self._framed(portion) + self._ending())

    def _refused(self) -> bool:
        """Answer with a status, if the log has nothing but an error; say whether it was so."""
        return False

    def _heartbeat(self) -> bytes:
        return COMMENT

    def due(self, now: float) -> None:
        """Have an alarm from now on."""
        self._beat = now - self._desk.young.seconds
        self._alarm = Alarm(self._desk.loop, self._ring, now)

    def _ring(self, now: float) -> float:
        """Write a heartbeat after a silence."""
        # Asked here and not noted for each event: the log's last entry is what we wrote last.
        silence = HEARTBEAT if self._reply.status else self.first_silence
        due = max(self._beat, self._live.last) + silence
        if now < due:
            return due
        if not self._reply.paused:
            self._say(self._heartbeat())
        self._beat = now
        return now + HEARTBEAT
