"""Server-sent events in the log's own bytes, for the client that asked by POST."""

from gateway._sseparse import IDS
from gateway.dialects.known import CLIENTS
from gateway.eventlog import State
from gateway.views.view import COMMENT, StreamView


# Seconds of silence before the first heartbeat: it commits the 200, and a failure
# that comes sooner keeps its own status.
FIRST_HEARTBEAT = 10.0
# After these ends SDKs are told that it is one.
COMPLETE = (State.FINISHED, State.CANCELLED)


class SseView(StreamView):
    """The stream as SDKs know it.

    The 200 is held back until the first event, or the first heartbeat: a generation
    that fails before keeps its true status.
    """

    transport = "sse"
    first_silence = FIRST_HEARTBEAT
    detaches = False  # an SDK that is gone does not come back

    __slots__ = ()

    def _heartbeat(self) -> bytes:
        return CLIENTS[self._live.log.dialect].heartbeat

    def _refused(self) -> bool:
        log = self._live.log
        if log.fault is None or log.tail != 1:
            return False
        self._reply.error(log.fault, fields=self._more())
        return True

    def _ending(self) -> bytes:
        log = self._live.log
        return CLIENTS[log.dialect].done if log.state in COMPLETE else b""


class ResumableView(SseView):
    """The same with ids: each block can be resumed from."""

    style = IDS
    detaches = True

    __slots__ = ()

    def _heartbeat(self) -> bytes:
        return COMMENT

    def _ending(self) -> bytes:
        done, log = super()._ending(), self._live.log
        return b"id: " + log.cursor(log.tail).encode() + b"\n" + done if done else b""
