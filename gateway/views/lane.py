"""One log among others on a WebSocket: its frames, and how it ends."""

from collections.abc import Callable

from gateway._sseparse import entries
from gateway.client_errors import LogNotFound
from gateway.desk import Desk
from gateway.errors import GatewayError
from gateway.hub import Live
from gateway.views import portion
from gateway.views.view import View
from gateway.websocket import WebSocket


class Delivery:
    """What a job is told of the answer that a lane gives: its `relay.Receipt`."""

    __slots__ = ("bytes_sent", "ended", "request_id", "status")

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.status = 0  # what an answer over HTTP would have; once there is one
        self.ended = False
        self.bytes_sent = 0


class Lane(View):
    """A frame for each entry that has one, and then what says how the log ended.

    Frames are made of the log's entries and of nothing else: a lane that goes on amid gets
    what one that never left gets.  All lanes of a socket wait while it is paused.
    """

    transport = "websocket"

    __slots__ = ("_delivery", "_socket")

    def __init__(
        self,
        live: Live,
        desk: Desk,
        socket: WebSocket,
        delivery: Delivery,
        *,
        cursor: int = 0,
        subject: str = "",
        left: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(live, desk, cursor=cursor, subject=subject, left=left)
        self._socket = socket
        self._delivery = delivery

    def stop(self) -> None:
        """End the generation, if it has not ended."""
        if self._live.producer is not None:
            self._live.producer.cancel("stop")

    def wake(self) -> None:
        """Take a portion, if the socket has room for one, and after the last the end."""
        log = self._live.log
        if self._attached and not self._paused() and self.cursor < log.tail:
            self._take_portion()
        if not self._attached or self._paused():
            return
        if self.cursor < log.tail:
            self._desk.loop.call_soon(self.wake)  # others are served in between
        elif log.closed:
            self._end()
            self.leave()

    # What each kind frames in its own manner.

    def _shown(self, payload: bytes, number: int) -> bytes:
        """Return the frame of an entry, b"" if it has none."""
        raise NotImplementedError

    def _last(self) -> bytes:
        """Return the frame that says how the log ended, b"" if its entries did."""
        raise NotImplementedError

    def _refusal(self, error: GatewayError) -> bytes:
        """Return the frame of an error that is not in the log."""
        raise NotImplementedError

    # Inside.

    @property
    def _refused(self) -> bool:
        """Whether the log failed before it said anything."""
        return self._live.log.fault is not None and self._live.log.tail == 1

    def _paused(self) -> bool:
        return self._socket.paused

    def _cut(self) -> None:
        self._write(self._refusal(LogNotFound()))

    def _take_portion(self) -> None:
        number, frames = self.cursor, []
        taken = portion.read(self._live.log, number, self.subject)
        for batch in taken.batches:
            for _, payload in entries(batch.data):
                number += 1
                frames.append(self._shown(payload, number))
        self._cursor = taken.end
        if any(frames):
            self._delivery.status = 200
            self._write(b"".join(frames))
        self._live.advanced()

    def _end(self) -> None:
        log, delivery = self._live.log, self._delivery
        # As over HTTP: what failed before it said anything has a status of its own.
        delivery.status = log.fault.status if log.fault is not None and self._refused else 200
        delivery.ended = True
        last = self._last()
        if last:
            self._write(last)

    def _write(self, frames: bytes) -> None:
        self._delivery.bytes_sent += len(frames)
        self._socket.write(frames)
