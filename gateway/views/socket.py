"""Logs on a WebSocket: what such views share, and the one whose frames are envelopes."""

from collections.abc import Callable
from typing import Literal

import msgspec
import orjson
from wsproto.frame_protocol import CloseReason

from gateway._sseparse import FRAMES, envelopes
from gateway.desk import Desk
from gateway.hub import Live
from gateway.views.portion import Portion
from gateway.views.view import View, beginning, end, greeting
from gateway.websocket import WebSocket


# Closing code, of the range that is free for applications (RFC 6455 §7.4.2).
CURSOR_GONE = 4410


class FramesView(View):
    """The session of a WebSocket that follows one log; close 1000 says that it has all."""

    transport = "websocket"

    __slots__ = ("_ended", "_socket")

    def __init__(
        self,
        live: Live,
        desk: Desk,
        *,
        cursor: int,
        subject: str = "",
        left: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(live, desk, cursor=cursor, subject=subject, left=left)
        self._ended = False  # the last frame is written
        self._socket: WebSocket

    # What the socket says.

    def opened(self, socket: WebSocket) -> None:
        """Begin to follow the log."""
        self._socket = socket
        self.attach()

    def text(self, message: str) -> None:
        """Do what a message says."""
        raise NotImplementedError

    def binary(self, message: bytes) -> None:
        """Close: nothing here is binary."""
        self._refuse("messages are text")

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

    def _refuse(self, reason: str) -> None:
        """Close on a message that is none of those which are taken here."""
        self._socket.close(CloseReason.INVALID_FRAME_PAYLOAD_DATA, reason)

    # What the view writes.

    def _paused(self) -> bool:
        return self._socket.paused

    def _cut(self) -> None:
        self._socket.close(CURSOR_GONE, "what follows the cursor is not kept any more")

    def _take(self, portion: Portion) -> None:
        self._write(self._framed(portion))
        self._advance(portion.end)

    def _finish(self, portion: Portion) -> None:
        self._write(self._framed(portion) + self._ending())
        self._ended = True
        if not self._socket.paused:  # or the rest would have to be read in the time for closing
            self._socket.close(CloseReason.NORMAL_CLOSURE)

    def _write(self, frames: bytes) -> None:
        if frames:
            self._socket.write(frames)

    def _framed(self, portion: Portion) -> bytes:
        raise NotImplementedError

    def _ending(self) -> bytes:
        """Return the frames that say that the log is closed, if any do."""
        return b""


class Cancel(msgspec.Struct):
    """The one message that a client has for a log."""

    type: Literal["cancel"]


class SocketView(FramesView):
    """An envelope for each entry, one to one with EventSource's blocks.

    The first frame repeats the cursor it starts from; a cursor that is gone, `recovered`
    False, is told in it, and then all that is left is read.  The last one says how the
    log was closed.
    """

    __slots__ = ("_recovered",)

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
        super().__init__(live, desk, cursor=cursor, subject=subject, left=left)
        self._recovered = recovered

    def opened(self, socket: WebSocket) -> None:
        """Begin to follow the log; the first frame goes out at once."""
        log = self._live.log
        self.outlet = socket.start(log.epoch.encode())
        self.outlet.cursor = self._cursor
        told = beginning(log, self._cursor, recovered=self._recovered)
        hello = greeting(self._live, self._desk)
        welcome = self._envelope(self._cursor, b"welcome", hello) if hello else b""
        socket.write(self._envelope(self._cursor, b"control", orjson.dumps(told)) + welcome)
        super().opened(socket)

    def text(self, message: str) -> None:
        """Stop the generation, if the message says so."""
        producer = self._live.producer
        try:
            msgspec.json.decode(message, type=Cancel)
        except (msgspec.MsgspecError, RecursionError):
            self._refuse('send {"type":"cancel"}')
            return
        if producer is not None:
            producer.cancel("stop")
        elif not self._live.log.closed:
            self._socket.close(CloseReason.POLICY_VIOLATION, "a channel is closed, not cancelled")

    def _framed(self, portion: Portion) -> bytes:
        epoch = self._live.log.epoch.encode()
        return b"".join([batch.framed(FRAMES, epoch) for batch in portion.batches])

    def _ending(self) -> bytes:
        log = self._live.log
        return self._envelope(log.tail, b"control", orjson.dumps(end(log)))

    def _envelope(self, number: int, event: bytes, data: bytes) -> bytes:
        block = b"event: %b\ndata: %b\n\n" % (event, data)
        return envelopes(block, number, self._live.log.epoch.encode())
