"""HTTP/1.1 towards a provider: one exchange at a time on one connection.

    IDLE     in the pool; whatever comes now makes it worthless
    HEAD     a request is out, its answer's head is awaited
    BODY     the body goes to a sink
    DEAD     gone, or about to be

The guard judges answers as strictly as requests.  Cancelling is `abort()`, never
`close()`: with TLS on uvloop a closed provider kept generating for 30 s.
"""

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import Protocol, cast

from gateway._sseparse import Intake
from gateway.errors import GatewayError
from gateway.flow import Valve
from gateway.guard import MAX_INTERIM, ResponseHead, read_response
from gateway.heads import ResponseReader
from gateway.upstream_errors import UpstreamProtocolError, UpstreamUnavailable


class Phase(Enum):
    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    DEAD = "dead"


# In Python 3.11 a member costs fifty times the steps of a global: EnumType has a __getattr__.
IDLE, HEAD, BODY, DEAD = Phase


class Sink(Protocol):
    """Who takes the body of an answer."""

    def data(self, data: bytes) -> None:
        """Take bytes of the body, framing and all."""

    def lost(self, error: GatewayError | None) -> None:
        """The connection is gone: None after a clean end of file, else why."""


class UpstreamConnection(Intake, asyncio.Protocol):
    """One connection to a provider."""

    __slots__ = (
        "_answered", "_early", "_fate", "_head", "_interim", "_loop", "_method", "_on_idle_lost",
        "_phase", "_reader", "_transport", "idle_since", "used", "valve",
    )  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_idle_lost: "Callable[[UpstreamConnection], None]",
    ) -> None:
        self.used = 0  # exchanges begun on it
        self.idle_since = 0.0  # kept by the pool
        self.valve: Valve | None = None  # pauses its reading, while there is a transport
        self._loop = loop
        self._on_idle_lost = on_idle_lost
        self._transport: asyncio.Transport | None = None
        self._phase = IDLE
        # The exchange.
        self._reader = ResponseReader()
        self._method = ""
        self._head: asyncio.Future[ResponseHead] | None = None
        self._answered = False  # at least one byte came back
        self._interim = 0
        self._early = b""  # body bytes that came before the sink
        self._fate: GatewayError | None = None  # how the connection ended

    @property
    def alive(self) -> bool:
        """Whether an exchange may begin or go on."""
        return self._phase is not DEAD

    @property
    def answered(self) -> bool:
        """Whether the provider sent a byte in this exchange: then it must not be repeated."""
        return self._answered

    # What the exchange's owner calls.

    def send(self, request: bytes, method: str) -> asyncio.Future[ResponseHead]:
        """Write a whole request and return the future of its answer's head.

        The future fails with UpstreamUnavailable or UpstreamProtocolError.
        """
        self.used += 1
        self._head = head = self._loop.create_future()
        self._method = method
        self._answered = False
        self._interim = 0
        if self._phase is DEAD or self._transport is None:
            # It was opened, and closed again before its owner woke up.
            head.set_exception(UpstreamUnavailable(CLOSED_EARLY, kind="reset"))
            return head
        assert self._phase is IDLE
        self._phase = HEAD
        self._transport.write(request)
        return head

    def deliver(self, sink: Sink) -> None:
        """Give the body to `sink` from now on, beginning with what has come already."""
        self.sink = sink
        early, self._early = self._early, b""
        if early:
            sink.data(early)
        if self._phase is DEAD and self.sink is sink:
            self.sink = None
            sink.lost(self._fate)

    def fail(self, error: GatewayError) -> None:
        """End the exchange from our side with `error`, and the connection with it."""
        self._end(error)
        self.abort()

    def finish(self) -> bool:
        """Make the connection ready for another exchange: this one ended cleanly.

        False: it is gone, or has not sent the whole request yet.
        """
        transport = self._transport
        if self._phase is DEAD or transport is None or transport.get_write_buffer_size():
            return False
        self._phase = IDLE
        self.sink = self._head = None
        if self.valve is not None:
            # The last bytes may have come while its reader was full; the next exchange reads.
            self.valve.resume()
        return True

    def abort(self) -> None:
        """Drop the connection at once.  May be called twice."""
        self._phase = DEAD
        self.sink = None
        if self._transport is not None:
            self._transport.abort()

    # What the transport says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, since uvloop's transports do not derive from asyncio's.
        self._transport = transport = cast(asyncio.Transport, transport)
        self.valve = Valve(transport)

    def take(self, data: bytes) -> None:
        """Take what comes while nobody wants a body; all else goes past here, to the sink."""
        if self._phase is HEAD:
            self._answered = True
            self._read_head(data)
        elif self._phase is BODY:
            self._early += data
        else:
            self._unasked()

    def eof_received(self) -> None:
        # Not left to the transport: it would first wait to flush a request nobody reads.
        self._end(None)
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = self.valve = None
        self._end(UpstreamUnavailable("the upstream reset the connection", kind="reset"))

    # Inside.

    def _read_head(self, data: bytes) -> None:
        """Take heads out of `data` up to the final one; interim answers are skipped."""
        try:
            while (found := self._reader.feed(data)) is not None:
                raw, data = found
                head = read_response(raw, method=self._method)
                if head.status >= 200:
                    self._phase = BODY
                    self._early = data
                    future, self._head = self._head, None
                    if future is not None and not future.done():
                        future.set_result(head)
                    return
                self._interim += 1
                if self._interim > MAX_INTERIM:
                    raise UpstreamProtocolError("too many interim answers", kind="interim")
        except UpstreamProtocolError as error:
            text = f"the upstream's answer: {error.message}"
            self.fail(UpstreamProtocolError(text, kind=error.kind))

    def _unasked(self) -> None:
        """Drop an idle connection that spoke: a 408, or the answer to nobody's request."""
        self._end(None)
        self.abort()

    def _end(self, error: GatewayError | None) -> None:
        """Tell whoever waits, once, that nothing more will come."""
        phase, self._phase = self._phase, DEAD
        if phase is DEAD:
            return
        self._fate = error
        if phase is IDLE:
            self._on_idle_lost(self)
        elif phase is HEAD:
            future, self._head = self._head, None
            if future is not None and not future.done():
                future.set_exception(error or UpstreamUnavailable(CLOSED_EARLY, kind="reset"))
        elif self.sink is not None:
            sink, self.sink = self.sink, None
            sink.lost(error)


CLOSED_EARLY = "the upstream closed the connection before it answered"
