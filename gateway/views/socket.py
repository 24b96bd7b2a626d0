"""A log on a WebSocket: an envelope for each entry, one to one with EventSource's blocks."""

from collections.abc import Callable
from typing import Literal

import msgspec
import orjson
from wsproto.frame_protocol import CloseReason

from gateway._sseparse import FRAMES, Batch, envelopes
from gateway.desk import Desk
from gateway.hub import Live
from gateway.views.view import View, beginning, end, greeting
from gateway.websocket import WebSocket


# Closing code, of the range that is free for applications (RFC 6455 §7.4.2).
CURSOR_GONE = 4410


class Cancel(msgspec.Struct):
    """The one message that a client has for a log."""

    type: Literal["cancel"]


class SocketView(View):
    """The session of a WebSocket that follows one log.

    The first frame repeats the cursor it starts from; a cursor that is gone, `recovered`
    False, is told in it, and then all that is left is read.  The last one says how the
    log was closed; close 1000 follows.
    """

    transport = "websocket"

    __slots__ = ("_ended", "_recovered", "_socket")

    def __init__(
        self,
        live: Live,
        desk: Desk,
        *,
        cursor: int,
        recovered: bool = True,
        subject: str = "",
        left: Callable[[], None] | None = None,
    ) -> None:
        cursor = cursor if recovered else live.log.base
        super().__init__(live, desk, cursor=cursor, subject=subject, left=left)
        self._recovered = recovered
        self._ended = False  # the last frame is written
        self._socket: WebSocket

    # What the socket says.

    def opened(self, socket: WebSocket) -> None:
        """Begin to follow the log; the first frame goes out at once."""
        self._socket = socket
        self.outlet = socket.start(self._live.log.epoch.encode())
        self.outlet.cursor = self._cursor
        self.outlet.write(self._opening())
        self.attach()

    def text(self, message: str) -> None:
        """Stop the generation, if the message says so."""
        producer = self._live.producer
        try:
            msgspec.json.decode(message, type=Cancel)
        except (msgspec.MsgspecError, RecursionError):
            self._socket.close(CloseReason.INVALID_FRAME_PAYLOAD_DATA, 'send {"type":"cancel"}')
            return
        if producer is not None:
            producer.cancel("stop")
        elif not self._live.log.closed:
            self._socket.close(CloseReason.POLICY_VIOLATION, "a channel is closed, not cancelled")

    def binary(self, message: bytes) -> None:
        """Close: nothing here is binary."""
        self._socket.close(CloseReason.UNSUPPORTED_DATA, "messages are text")

    def writable(self) -> None:
        """Go on from the log, or close if all of it is out."""
        if self._ended:
            self._socket.close(CloseReason.NORMAL_CLOSURE)
        else:
            self.wake()

    def retire(self) -> None:
        """Close, unless the log itself ends soon: a generation is waited for."""
        if self._live.producer is None and not self._live.log.closed:
            self._socket.go_away()

    def gone(self) -> None:
        """Stop following."""
        self.leave()

    # What the view writes.

    def _opening(self) -> bytes:
        told = beginning(self._live.log, self.cursor, recovered=self._recovered)
        hello = greeting(self._live, self._desk)
        welcome = self._envelope(self.cursor, b"welcome", hello) if hello else b""
        return self._envelope(self.cursor, b"control", orjson.dumps(told)) + welcome

    def _envelope(self, number: int, event: bytes, data: bytes) -> bytes:
        block = b"event: %b\ndata: %b\n\n" % (event, data)
        return envelopes(block, number, self._live.log.epoch.encode())

    def _paused(self) -> bool:
        return self._socket.paused

    def _cut(self) -> None:
        self._socket.close(CURSOR_GONE, "what follows the cursor is not kept any more")

    def _take(self, batches: list[Batch]) -> None:
        if batches and self.outlet is not None:
            self.outlet.write(self._framed(batches))
        self._advance()

    def _finish(self, batches: list[Batch]) -> None:
        log, outlet = self._live.log, self.outlet
        assert outlet is not None
        last = self._envelope(log.tail, b"control", orjson.dumps(end(log)))
        outlet.write(self._framed(batches) + last)
        self._ended = True
        if not self._socket.paused:  # or the rest would have to be read in the time for closing
            self._socket.close(CloseReason.NORMAL_CLOSURE)

    def _framed(self, batches: list[Batch]) -> bytes:
        epoch = self._live.log.epoch.encode()
        return b"".join([batch.framed(FRAMES, epoch) for batch in batches])
