"""Durable Streams' own server-sent events: `event: data`, then `event: control`, and again.

The wire of PROTOCOL.md §5.8 as its conformance suite reads it: no space behind `data:`.
Each block has an id besides.
"""

import base64
import re
from collections.abc import Callable

import orjson

from gateway.desk import Desk
from gateway.hub import Live
from gateway.reply import Reply
from gateway.views.portion import Portion
from gateway.views.view import SSE_FIELDS, StreamView


# Seconds after which the answer ends and the client comes back, so that clients behind one
# cache can share a connection (§10.2).
ROTATE = 60.0

# Durable Streams §10.1: cursors count intervals of so many seconds, since 2024-10-09T00:00Z.
INTERVAL = 20
INTERVALS_SINCE = 1728432000
# How far at most a cursor runs ahead of the time, in intervals: an hour of them.
MAX_JITTER = 3600 // INTERVAL

# 15 digits are counted exactly everywhere, and none of ours will have more.
_STREAM_CURSOR = re.compile(r"[0-9]{1,15}", re.ASCII)

# Exactly so, without a charset.
TYPE = b"content-type: text/event-stream\r\n"
BASE64 = b"stream-sse-data-encoding: base64\r\n"

# What ends a line of an event stream; in a payload any of them begins a new line of data.
LINE_END = re.compile(rb"\r\n|\r|\n")


class DurableView(StreamView):
    """The log in portions, each followed by how it stands.

    What is not JSON is sent as text if its type is, else in base64.  Text loses which kind
    of line end it had, as the protocol has it.
    """

    transport = "durable"
    style = None

    __slots__ = ("_coded", "_stream_cursor", "_until")

    def __init__(
        self,
        live: Live,
        reply: Reply,
        desk: Desk,
        *,
        cursor: int,
        given_cursor: str = "",
        subject: str = "",
        left: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(live, reply, desk, cursor=cursor, subject=subject, left=left)
        log = live.log
        # Of this answer, which is over before it could go backwards.
        self._stream_cursor = stream_cursor(desk.wall(), given_cursor)
        self._until = desk.loop.time() + ROTATE
        self._coded = not log.json and not log.media.lower().startswith("text/")

    def attach(self) -> None:
        """Begin to follow the log; the head and what there is go out at once."""
        super().attach()
        if not self._reply.status:
            self._say(self._control(self.cursor))

    def _fields(self) -> bytes:
        return TYPE + SSE_FIELDS + (BASE64 if self._coded else b"")

    def _framed(self, portion: Portion) -> bytes:
        """Return a portion and how the log stands; of a closed log even if there is nothing."""
        if portion.batches:
            return self._data(portion) + self._control(portion.end)
        return self._control(portion.end) if self._live.log.closed else b""

    def _ending(self) -> bytes:
        return b""  # the last control says it

    def _data(self, portion: Portion) -> bytes:
        body = portion.body(self._live.log)
        return self._event(b"data", portion.end, base64.b64encode(body) if self._coded else body)

    def _control(self, end: int) -> bytes:
        """Return the event that says how the log stands, for a reader that is at `end`."""
        log = self._live.log
        told: dict[str, object] = {"streamNextOffset": log.cursor(end)}
        closed = log.closed and end == log.tail
        if not closed:
            told["streamCursor"] = self._stream_cursor
        if end == log.tail:
            told["upToDate"] = True
        if closed:
            told["streamClosed"] = True
        return self._event(b"control", end, orjson.dumps(told))

    def _event(self, type: bytes, end: int, text: bytes) -> bytes:
        id = self._live.log.cursor(end).encode()
        # A client takes one space away, so a line that begins with one needs another.
        lines = b"".join(
            b"data:%b%b\n" % (b" " if line.startswith(b" ") else b"", line)
            for line in LINE_END.split(text)
        )
        return b"id: %b\nevent: %b\n%b\n" % (id, type, lines)

    def _ring(self, now: float) -> float:
        """Write a heartbeat after a silence; end the answer when it is time."""
        if now < self._until:
            return min(super()._ring(now), self._until)
        self._reply.end(b"")
        self.leave()
        return now  # not heard any more


def stream_cursor(now_wall: float, given: str) -> str:
    """Return the number of the current interval, or one beyond the `given`.

    A client sends it back with its next request, so that no cache answers that one with the
    last (Durable Streams §10.1).  What is no number counts as not given.
    """
    current = int(now_wall - INTERVALS_SINCE) // INTERVAL
    if not _STREAM_CURSOR.fullmatch(given) or int(given) < current:
        return str(current)
    jitter = 1 + int(now_wall * 1e6) % MAX_JITTER  # microseconds are random enough
    return str(int(given) + jitter)
