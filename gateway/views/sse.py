"""Server-sent events in the log's own bytes, for the client that asked by POST."""

from collections.abc import Callable

from gateway._sseparse import IDS, RAW
from gateway.desk import Desk
from gateway.dialects.known import CLIENTS
from gateway.eventlog import State
from gateway.hub import Live
from gateway.reply import Reply
from gateway.views.view import SSE_FIELDS, TYPE, StreamView


# Seconds of silence before the first heartbeat: it commits the 200, and a failure
# that comes sooner keeps its own status.
FIRST_HEARTBEAT = 10.0
# After these ends SDKs are told that it is one.
COMPLETE = (State.FINISHED, State.CANCELLED)


class SseView(StreamView):
    """The stream as SDKs know it; with `ids` each block can be resumed from.

    The 200 is held back until the first event, or the first heartbeat: a generation
    that fails before keeps its true status.
    """

    transport = "sse"
    first_silence = FIRST_HEARTBEAT

    __slots__ = ("_dialect", "_more", "detaches")

    def __init__(
        self,
        live: Live,
        reply: Reply,
        desk: Desk,
        *,
        fields: Callable[[], bytes],
        ids: bool = False,
        cursor: int = 0,
        subject: str = "",
        left: Callable[[], None] | None = None,
    ) -> None:
        style = IDS if ids else RAW
        super().__init__(
            live, reply, desk, cursor=cursor, subject=subject, left=left, style=style
        )
        self.detaches = ids  # an SDK that is gone does not come back
        self._dialect = CLIENTS[live.log.dialect]
        self._more = fields  # asked once, when the head is written

    def _fields(self) -> bytes:
        return TYPE + SSE_FIELDS + self._more()

    def _heartbeat(self) -> bytes:
        return self._dialect.heartbeat if self._style == RAW else super()._heartbeat()

    def _refused(self) -> bool:
        log = self._live.log
        if log.fault is None or log.tail != 1:
            return False
        self._reply.error(log.fault, fields=self._more())
        return True

    def _ending(self) -> bytes:
        log = self._live.log
        if log.state not in COMPLETE:
            return b""
        done = self._dialect.done
        if self._style == RAW or not done:
            return done
        return b"id: " + log.cursor(log.tail).encode() + b"\n" + done
