"""Views: how one client sees a log.

A view is a cursor with a way of framing.  It has no queue: it takes from the log what
its client can take, and when the client's transport drains, it takes the rest in one
piece.
"""

import asyncio
from collections.abc import Callable

from gateway._sseparse import Outlet
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

    __slots__ = ("_alarm", "_beat", "_fields", "_live", "_reply", "outlet")

    def __init__(
        self,
        live: Live,
        reply: Reply,
        loop: asyncio.AbstractEventLoop,
        fields: Callable[[], bytes],
    ) -> None:
        self.outlet: Outlet | None = None  # once the head is on its way
        self._live = live
        self._reply = reply
        self._fields = fields  # asked once, when the head is written
        self._beat = loop.time()  # when we last wrote of our own accord, or began
        self._alarm = Alarm(loop, self._ring, self._beat + FIRST_HEARTBEAT)
        reply.on_gone = self.leave
        reply.on_writable = self.wake
        live.follow(self)

    @property
    def cursor(self) -> int:
        """Number of the last entry written."""
        return self.outlet.cursor if self.outlet is not None else 0

    def wake(self) -> None:
        """Write what is new in the log, and its end."""
        if self._reply.paused:
            return
        log = self._live.log
        data = b"".join([batch.data for batch in log.after(self.cursor)])
        if log.closed:
            self._finish(data)
        elif data:
            outlet = self.outlet or self._start()
            self._reply.write(data)
            outlet.cursor = log.tail
            self._live.advanced()

    def leave(self) -> None:
        """Stop following: the client is gone, or has everything."""
        self._alarm.cancel()
        self._reply.on_gone = self._reply.on_writable = None
        self._live.leave(self)

    def _start(self) -> Outlet:
        self.outlet = self._reply.start(200, SSE_FIELDS + self._fields())
        return self.outlet

    def _finish(self, rest: bytes) -> None:
        """Write the log's last entries and its end, in one piece."""
        log, reply = self._live.log, self._reply
        if log.fault is not None and self.outlet is None and not rest:
            reply.error(log.fault, fields=self._fields())
        else:
            outlet = self.outlet or self._start()
            outlet.cursor = log.tail
            reply.end(rest + self._ending())
        self.leave()

    def _ending(self) -> bytes:
        log = self._live.log
        if log.fault is not None:
            return openai.error_event(log.fault)
        whole = log.state is State.FINISHED or log.state is State.CANCELLED
        return openai.DONE if whole else b""

    def _ring(self, now: float) -> float:
        """Write a heartbeat after a silence."""
        # Asked here and not noted for each event: the log's last entry is what we wrote last.
        silence = FIRST_HEARTBEAT if self.outlet is None else HEARTBEAT
        due = max(self._beat, self._live.last) + silence
        if now < due:
            return due
        if not self._reply.paused:
            if self.outlet is None:
                self._start()
            self._reply.write(openai.HEARTBEAT)
        self._beat = now
        return now + HEARTBEAT
