"""One request to one provider, from the queue to the last byte of the answer.

The exchange owns its connection: whoever makes one must `close` it in a `finally`.
Closing gives the connection back to the pool, for reuse only if `clean` was set.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from gateway._sseparse import BodyDecoder
from gateway.alarm import Alarm
from gateway.errors import BadChunk, BodyTooLong, GatewayError
from gateway.guard import ResponseHead
from gateway.provider import Provider
from gateway.upstream import Sink, UpstreamConnection
from gateway.upstream_errors import UpstreamProtocolError, UpstreamTimeout, UpstreamUnavailable


class Taker(Protocol):
    """Who takes the body of an answer."""

    @property
    def last(self) -> float: ...


class Exchange(msgspec.Struct, eq=False):
    """A request on its way, and its time limits."""

    _provider: Provider
    _loop: asyncio.AbstractEventLoop
    _clock: Callable[[], float]
    # What the total limit counts from: an earlier exchange, if this takes its place.
    began: float
    clean: bool = False  # the answer ended as HTTP says; nothing is left on the wire
    retried: bool = False
    waited: float = 0.0  # seconds in the queue and connecting
    sent: float = 0.0  # when the request was written; 0 before
    # Whoever takes the answer: its `last` says when that last got on, 0 if not yet.
    taker: Taker | None = None
    _connection: UpstreamConnection | None = None
    _alarm: Alarm | None = None  # once it is no longer young
    _keep_alive: bool = False
    _paused: bool = False
    _resumed: float = 0.0  # when we last read on after a pause

    async def ask(self, request: bytes, method: str = "POST") -> ResponseHead:
        """Send a request of this method and return its answer's head, final and judged.

        A kept-alive connection may have died unnoticed; if it gave not one byte, the
        request goes out once more on a fresh one.

        Raises:
            Overloaded, UpstreamUnavailable, UpstreamTimeout, UpstreamProtocolError.
        """
        connection = self._provider.pool.take() or await self._acquire(fresh=False)
        try:
            head = await self._send(connection, request, method)
        except UpstreamUnavailable:
            if connection.used == 1 or connection.answered:
                raise
            self.close()
            self.retried = True
            self.waited += self._clock() - self.sent  # for an answer that could not come
            head = await self._send(await self._acquire(fresh=True), request, method)
        self._keep_alive = head.keep_alive
        return head

    def deliver(self, sink: Sink) -> None:
        """Give the body, as it comes off the wire, to `sink`."""
        if self._connection is not None:
            self._connection.deliver(sink)

    async def collect(self, head: ResponseHead, limit: int) -> bytes:
        """Return the whole body.

        Raises:
            UpstreamProtocolError: it is longer than `limit`, badly framed, or cut.
            UpstreamTimeout: it came to a halt.
        """
        collector = self.taker = Collector(self, head.framing, limit, self._clock)
        self.deliver(collector)
        return await collector.whole

    def pause(self) -> None:
        """Stop reading the answer; its time limits wait, but for the total."""
        self._paused = True
        if self._connection is not None and self._connection.valve is not None:
            self._connection.valve.pause()

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        self._resumed = self._clock()
        if self._connection is not None and self._connection.valve is not None:
            self._connection.valve.resume()

    def close(self) -> None:
        """Give the connection back, or drop it.  May be called twice."""
        self.taker = None  # it may know us, and hold a whole answer: no cycle is to keep that
        if self.sent:
            self._provider.young.discard(self)
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        connection, self._connection = self._connection, None
        if connection is not None:
            reusable = self.clean and self._keep_alive
            self._provider.pool.release(connection, reusable=reusable)

    def _send(
        self, connection: UpstreamConnection, request: bytes, method: str
    ) -> asyncio.Future[ResponseHead]:
        self._connection = connection
        self.sent = now = self._clock()
        self._watch(now)
        return connection.send(request, method)

    def _watch(self, now: float) -> None:
        """Have the time limits looked at, first when the nearest may be over."""
        young = self._provider.young
        end = self.began + self._provider.timeouts.total
        if end < now + young.seconds:  # an earlier exchange has used most of it
            self._alarm = Alarm(self._loop, self._ring, end)
        else:
            young.add(self)

    def due(self, now: float) -> None:
        """Have an alarm of its own from now on: most exchanges are over by then."""
        again = self._ring(now)
        if again is not None:
            self._alarm = Alarm(self._loop, self._ring, again)

    async def _acquire(self, *, fresh: bool) -> UpstreamConnection:
        asked = self._clock()
        try:
            return await self._provider.pool.acquire(fresh=fresh)
        finally:
            self.waited += self._clock() - asked

    def _ring(self, now: float) -> float | None:
        """Fail the exchange at a time limit, or say when to look again."""
        limits = self._provider.timeouts
        total = self.began + limits.total
        if self._paused:
            due, what = now + limits.idle, "idle"
        elif self.taker is not None and self.taker.last:
            due, what = max(self.taker.last, self._resumed) + limits.idle, "idle"
        else:
            due, what = self.sent + limits.first_event, "first_event"
        if total < due:
            due, what = total, "total"
        if now < due:
            return min(due, now + limits.idle)
        if self._connection is not None:
            name = self._provider.name
            message = f"upstream {name}: {what} timeout after {getattr(limits, what):g} s"
            self._connection.fail(UpstreamTimeout(message, kind=f"{what}_timeout"))
        return None


class Collector:
    """The sink of a body that is wanted whole."""

    __slots__ = ("_clock", "_decoder", "_exchange", "_parts", "last", "whole")

    def __init__(
        self, exchange: Exchange, framing: int, limit: int, clock: Callable[[], float]
    ) -> None:
        self.last = 0.0  # when bytes came
        self._clock = clock
        self.whole: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._exchange = exchange
        self._decoder = BodyDecoder(framing, limit)
        self._parts: list[bytes] = []
        if self._decoder.ended:
            self._complete()

    def data(self, data: bytes) -> None:
        """Take bytes; those after the end make the connection worthless."""
        if self.whole.done():
            self._exchange.clean = False
            return
        self.last = self._clock()
        try:
            self._parts.append(self._decoder.feed(data))
        except BodyTooLong as error:
            self._break(UpstreamProtocolError(error.message, kind="body_too_long"))
        except BadChunk as error:
            self._break(UpstreamProtocolError(error.message, kind="framing"))
        else:
            if self._decoder.ended:
                self._complete()

    def lost(self, error: GatewayError | None) -> None:
        """End a body that lasts until the connection closes; any other was cut."""
        if error is not None:
            self._break(error)
            return
        try:
            self._decoder.eof()
        except BadChunk:
            self._break(UpstreamProtocolError("the upstream's answer was cut", kind="truncated"))
        else:
            self._complete()

    def _complete(self) -> None:
        if not self.whole.done():
            self._exchange.clean = not self._decoder.surplus
            self.whole.set_result(b"".join(self._parts))

    def _break(self, error: GatewayError) -> None:
        if not self.whole.done():
            self.whole.set_exception(error)
