"""WebSocket (RFC 6455) towards clients: what an HTTP connection becomes when it is asked to.

    OPEN     messages go both ways
    CLOSING  our close frame is out, the client's is awaited; its messages are dropped
    ENDING   the last word is said and the write side shut; what still comes is dropped,
             so that a reset cannot overtake our close frame
    CLOSED   the transport is gone

`handshake.py` judges the request, wsproto every frame that comes.  What goes out is framed
by the compiled module, since it is the path of every token; close, ping and pong are
wsproto's.  No extension is ever taken: inflating what a client deflated has no bound.

The socket is never paused because its client is slow: a paused transport does not see it
leave.  It is paused only while the rest of one read waits its turn.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from enum import Enum
from math import inf
from typing import Protocol

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason

from gateway._sseparse import FRAMES, Outlet, text_frame
from gateway.alarm import Alarm
from gateway.flow import STALL_LOOK, STALL_TIMEOUT, Valve, unsent
from gateway.reply import Successor


# Bytes of one message from a client: a long conversation, not a file (design §8).
MESSAGE_LIMIT = 1024 * 1024
# Bytes given to wsproto at once: a read of tiny frames would keep all other clients
# waiting for half a second, a slice of it for some milliseconds.
SLICE = 4096
# Messages taken in one turn of the loop: each may be written to a thousand readers, and a
# slice has room for hundreds.
TURN = 4
# Bytes unsent above which a session that goes on answering a client that takes nothing
# costs it the connection.  Readers of logs never come here: they wait for `writable`.
UNSENT_LIMIT = 4 * MESSAGE_LIMIT
# Seconds of silence before a ping: well under the 60 s of nginx and load balancers.
PING_AFTER = 25.0
# Seconds for the answer; anything that comes counts, for a pong waits behind a long frame.
PONG_TIMEOUT = 10.0
# Seconds for the client's close frame, and then for its end of the connection.
CLOSE_TIMEOUT = 5.0


class Session(Protocol):
    """What a WebSocket is for.  An exception from here is a defect: the socket closes with 1011."""

    def opened(self, socket: "WebSocket") -> None:
        """Begin: the handshake is written."""

    def text(self, message: str) -> None:
        """Take one text message."""

    def binary(self, message: bytes) -> None:
        """Take one binary message."""

    def writable(self) -> None:
        """Go on writing: the client, for which `paused` stood, takes more again."""

    def retire(self) -> None:
        """End soon, by `go_away`: the listener drains, and waits for what is under way."""

    def gone(self) -> None:
        """Stop: nothing can be said any more.  Called once, also from within our own `close`."""


class Phase(Enum):
    OPEN = "open"
    CLOSING = "closing"
    ENDING = "ending"
    CLOSED = "closed"


class WebSocket(asyncio.Protocol):
    """One client's WebSocket.  Its calls are harmless once it is closing."""

    __slots__ = (
        "_alarm", "_asked", "_deadline", "_events", "_heard", "_judge", "_limit", "_loop",
        "_message", "_moved", "_on_crash", "_on_lost", "_on_stalled", "_outlet", "_phase",
        "_pinged", "_session", "_taken", "_transport", "_unread", "_valve", "bytes_sent", "paused",
    )  # fmt: skip

    def __init__(
        self,
        session: Session,
        loop: asyncio.AbstractEventLoop,
        *,
        message_limit: int = MESSAGE_LIMIT,
    ) -> None:
        self.paused = False  # the client takes nothing more for now
        self.bytes_sent = 0  # of frames, headers included
        self._session: Session | None = session  # until it is told that all is over
        self._outlet: Outlet | None = None  # of the log that is followed
        self._loop = loop
        self._limit = message_limit
        self._phase = Phase.OPEN
        self._judge = Connection(ConnectionType.SERVER)
        # Slices of what was read, the next one last; an idle deque would take 760 bytes.
        self._unread: list[bytes] = []
        self._events: Iterator[Event] | None = None  # what is left of the one being judged
        self._message = bytearray()  # what is here of one that is not complete
        self._asked: bytes | None = None  # the last ping that could not be answered yet
        self._heard = 0.0  # loop time of the last read
        self._pinged = 0.0  # loop time of our last ping
        self._deadline = inf  # loop time by which this phase must be over
        # What the client had taken when something was last seen unsent; only a difference counts.
        self._taken: float = inf
        self._moved = 0.0  # loop time of the last look that saw one
        # What `take_over` brings.
        self._transport: asyncio.Transport
        self._valve: Valve
        self._alarm: Alarm
        self._on_lost: Callable[[Successor], None]
        self._on_stalled: Callable[[], None]
        self._on_crash: Callable[[Exception], None]

    # For the session, and for whoever keeps the connections.

    def start(self, epoch: bytes) -> Outlet:
        """Return where the entries of one log go as they come; it pauses as the socket does.

        `epoch` is the log's.  A socket follows one log in this way: the latest.
        """
        self._outlet = Outlet(self.write, b"", False, FRAMES, epoch)
        self._outlet.paused = self.paused
        return self._outlet

    def write(self, frames: bytes) -> None:
        """Write whole frames."""
        if self._phase is not Phase.OPEN:
            return
        if self.paused and self._transport.get_write_buffer_size() > UNSENT_LIMIT:
            # Not now: who writes may be amid a beginning, and must not hear `gone` before it.
            self._loop.call_soon(self.abort)
        else:
            self._emit(frames)

    def send(self, text: bytes) -> None:
        """Send one text message; it is UTF-8, which is not checked."""
        self.write(text_frame(text))

    def send_binary(self, data: bytes) -> None:
        """Send one binary message."""
        if self._phase is Phase.OPEN:
            self.write(self._judge.send(BytesMessage(data)))

    def close(self, code: int, reason: str = "") -> None:
        """Close with a code of RFC 6455 §7.4; of the reason 123 bytes are sent."""
        if self._phase is Phase.OPEN:
            self._say_close(code, reason)
            self._enter(Phase.CLOSING)

    def go_away(self) -> None:
        """Close, and tell the client that it is not its fault."""
        self.close(CloseReason.GOING_AWAY, "the server is going away")

    def retire(self) -> None:
        """End soon: the listener drains."""
        if self._session is not None:
            self._tell(self._session.retire)

    def abort(self) -> None:
        """Drop the connection and what is unsent."""
        if self._phase is not Phase.CLOSED:
            self._enter(Phase.ENDING)
            self._transport.abort()

    # What the connection before us and the transport say.

    def take_over(
        self,
        transport: asyncio.Transport,
        head: bytes,
        early: bytes,
        *,
        on_lost: Callable[[Successor], None],
        on_stalled: Callable[[], None],
        on_crash: Callable[[Exception], None],
    ) -> None:
        """Begin where the handshake ended, as `reply.Successor` says."""
        self._transport = transport
        self._valve = Valve(transport)
        self._on_lost = on_lost
        self._on_stalled = on_stalled
        self._on_crash = on_crash
        self._heard = self._loop.time()
        self._alarm = Alarm(self._loop, self._ring, self._heard + PING_AFTER)
        transport.set_protocol(self)
        transport.write(head)
        if self._session is not None:
            self._tell(self._session.opened, self)
        self.data_received(early)

    def data_received(self, data: bytes) -> None:
        if self._phase is Phase.ENDING:
            return
        self._heard = self._loop.time()
        slices = [data[at : at + SLICE] for at in range(0, len(data), SLICE)]
        self._unread[:0] = reversed(slices)
        if not self._valve.shut:
            self._read()

    def eof_received(self) -> None:
        # A half-closed client cannot be told from one that left; the transport closes now.
        self._enter(Phase.ENDING)

    def connection_lost(self, exc: Exception | None) -> None:
        self._enter(Phase.CLOSED)
        self._alarm.cancel()
        self._on_lost(self)

    def pause_writing(self) -> None:
        self._pause(True)
        self._alarm.sooner(self._loop.time() + STALL_LOOK)

    def resume_writing(self) -> None:
        self._pause(False)
        asked, self._asked = self._asked, None
        if asked is not None:
            self._answer(asked)
        if self._session is not None:
            self._tell(self._session.writable)

    def _pause(self, paused: bool) -> None:
        self.paused = paused
        if self._outlet is not None:
            self._outlet.paused = paused

    # Reading.

    def _read(self) -> None:
        """Judge one slice, or what is left of it; all that follows waits a turn of the loop."""
        if self._events is None and self._unread:
            self._judge.receive_data(self._unread.pop())
            self._events = self._judge.events()
        if self._events is not None and self._take_some(self._events):
            self._events = None
        if self._events is not None or self._unread:
            self._valve.pause()
            self._loop.call_soon(self._read)
        else:
            self._valve.resume()

    def _take_some(self, events: Iterator[Event]) -> bool:
        """Take the messages of a turn; say whether these were all."""
        messages = 0
        for event in events:
            self._take(event)
            messages += isinstance(event, TextMessage | BytesMessage) and event.message_finished
            if self._phase is Phase.ENDING:
                break
            if messages == TURN:
                return False
        return True

    def _take(self, event: Event) -> None:
        if isinstance(event, TextMessage | BytesMessage):
            self._collect(event)
        elif isinstance(event, Ping):
            self._answer(bytes(event.payload))
        elif isinstance(event, CloseConnection):
            # The client's close frame, which is echoed, or what wsproto cannot let pass.
            if self._phase is Phase.OPEN:
                self._say_close(event.code, event.reason or "")
            self._end()

    def _collect(self, event: TextMessage | BytesMessage) -> None:
        """Put messages together, in bytes: strings of few letters each would take far more."""
        session, message, data = self._session, self._message, event.data
        if session is None:
            return
        message += data.encode() if isinstance(data, str) else data
        if len(message) > self._limit:
            self.close(CloseReason.MESSAGE_TOO_BIG, f"a message has at most {self._limit} bytes")
        elif event.message_finished:
            self._message = bytearray()
            if isinstance(data, str):
                self._tell(session.text, message.decode())
            else:
                self._tell(session.binary, bytes(message))

    def _answer(self, ping: bytes) -> None:
        if self.paused:
            # Nobody may fill our memory with questions: the last one stands for all (§5.5.3).
            self._asked = ping
        elif self._phase is Phase.OPEN:
            self._emit(self._judge.send(Pong(ping)))

    # Writing and ending.

    def _emit(self, frames: bytes) -> None:
        self.bytes_sent += len(frames)
        self._transport.write(frames)

    def _say_close(self, code: int, reason: str) -> None:
        self._emit(self._judge.send(CloseConnection(code, reason)))

    def _end(self) -> None:
        """Say no more, and leave it to the client to close."""
        self._enter(Phase.ENDING)
        with contextlib.suppress(OSError, RuntimeError):  # it may be closing already
            self._transport.write_eof()

    def _tell(self, call: Callable[..., None], *arguments: object) -> None:
        try:
            call(*arguments)
        except Exception as error:
            self._on_crash(error)
            self.close(CloseReason.INTERNAL_ERROR, "internal error")

    def _enter(self, phase: Phase) -> None:
        """Go on to a later phase; once we are not open, the session is over."""
        self._phase = phase
        self._deadline = self._loop.time() + CLOSE_TIMEOUT
        self._alarm.sooner(self._deadline)
        if phase is not Phase.CLOSING:
            self._unread.clear()
            self._events = None
        self._outlet = None  # breaks the cycle socket -> outlet -> bound method -> socket
        session, self._session = self._session, None
        if session is not None:
            self._tell(session.gone)

    # Time.

    def _ring(self, now: float) -> float | None:
        if now >= self._deadline:
            self.abort()
            return None
        if self._transport.get_write_buffer_size():
            return min(self._ring_unsent(now, unsent(self._transport)), self._deadline)
        return self._ring_silent(now) if self._phase is Phase.OPEN else self._deadline

    def _ring_unsent(self, now: float, waiting: int) -> float:
        """Close on a client that took nothing for STALL_TIMEOUT."""
        taken = self.bytes_sent - waiting
        if taken != self._taken:
            self._taken, self._moved = taken, now
        due = self._moved + STALL_TIMEOUT
        if now < due:
            return min(now + STALL_LOOK, due)
        if self._phase is Phase.OPEN:
            self._on_stalled()
            self.close(CloseReason.TRY_AGAIN_LATER, "too slow: nothing was read for a long time")
        return inf

    def _ring_silent(self, now: float) -> float | None:
        """Ask a silent client whether it is there, and drop it if it is not."""
        if self._heard < self._pinged:
            if now < self._pinged + PONG_TIMEOUT:
                return self._pinged + PONG_TIMEOUT
            self.abort()
            return None
        if now < self._heard + PING_AFTER:
            return self._heard + PING_AFTER
        if waiting := unsent(self._transport):  # a ping would have to wait behind it
            return self._ring_unsent(now, waiting)
        self._pinged = now
        self._emit(self._judge.send(Ping()))
        return now + PONG_TIMEOUT
