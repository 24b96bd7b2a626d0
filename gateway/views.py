"""Views: how one client sees a log.

A view is a cursor with a way of framing.  It has no queue: it takes from the log what
its client can take, and when the client's transport drains, it takes the rest in one
piece.
"""

import asyncio
from collections.abc import Callable

from gateway._sseparse import Batch
from gateway.alarm import Alarm
from gateway.dialects import openai
from gateway.eventlog import State
from gateway.hub import Live
from gateway.reply import Reply


# Seconds of silence before the first heartbeat: it commits the 200, and a failure
# that comes sooner keeps its own status.
FIRST_HEARTBEAT = 10.0
# Seconds of silence between heartbeats: well under the 60 s of nginx and load balancers.
HEARTBEAT = 15.0

SSE_FIELDS = (
    b"content-type: text/event-stream; charset=utf-8\r\n"
    # no-transform: a proxy that compresses an event stream holds it back.
    b"cache-control: no-cache, no-transform, no-store\r\n"
    b"x-accel-buffering: no\r\n"
    b"x-content-type-options: nosniff\r\n"
    b"cross-origin-resource-policy: same-origin\r\n"
)


class SseView:
    """Server-sent events in the log's own bytes, for the client that asked by POST.

    The 200 is held back until the first event, or the first heartbeat: a generation
    that fails before keeps its true status.
    """

    __slots__ = ("_alarm", "_beat", "_fields", "_live", "_open", "_reply", "cursor")

    def __init__(
        self,
        live: Live,
        reply: Reply,
        loop: asyncio.AbstractEventLoop,
        fields: Callable[[], bytes],
    ) -> None:
        self.cursor = 0
        self._live = live
        self._reply = reply
        self._fields = fields  # asked once, when the head is written
        self._open = False  # the head is out
        self._beat = loop.time()  # when we last wrote of our own accord, or began
        self._alarm = Alarm(loop, self._ring, self._beat + FIRST_HEARTBEAT)
        reply.on_gone = self.leave
        reply.on_writable = self.wake
        live.follow(self)

    def offer(self, batch: Batch) -> None:
        """Write the newest entries, if all before them are written."""
        reply = self._reply
        if self._open and not reply.paused and batch.first == self.cursor + 1:
            reply.write(batch.data)
            self.cursor += batch.count
        else:
            self.wake()

    def wake(self) -> None:
        """Write what is new in the log, and its end."""
        reply = self._reply
        if reply.paused:
            return
        live = self._live
        log = live.log
        batches = log.after(self.cursor)
        data = b"".join([batch.data for batch in batches])
        if log.closed:
            self._finish(data)
        elif data:
            if not self._open:
                self._start()
            reply.write(data)
            self.cursor = log.tail
            live.advanced()

    def leave(self) -> None:
        """Stop following: the client is gone, or has everything."""
        self._alarm.cancel()
        self._reply.on_gone = self._reply.on_writable = None
        self._live.leave(self)

    def _start(self) -> None:
        self._open = True
        self._reply.start(200, SSE_FIELDS + self._fields())

    def _finish(self, rest: bytes) -> None:
        """Write the log's last entries and its end, in one piece."""
        log, reply = self._live.log, self._reply
        self.leave()
        self.cursor = log.tail
        if log.fault is not None:
            if not self._open and not rest:
                reply.error(log.fault, fields=self._fields())
                return
            rest += openai.error_event(log.fault)
        elif log.state is State.FINISHED or log.state is State.CANCELLED:
            rest += openai.DONE
        if not self._open:
            self._start()
        reply.end(rest)

    def _ring(self, now: float) -> float:
        """Write a heartbeat after a silence."""
        # Asked here and not noted for each event: the log's last entry is what we wrote last.
        due = max(self._beat, self._live.last) + (HEARTBEAT if self._open else FIRST_HEARTBEAT)
        if now < due:
            return due
        if not self._reply.paused:
            if not self._open:
                self._start()
            self._reply.write(openai.HEARTBEAT)
        self._beat = now
        return now + HEARTBEAT
