"""One request to one provider, from the queue to the last byte of the answer.

The exchange owns its connection: whoever makes one must `release` it, whatever becomes of it.
That gives the connection back to the pool, for reuse only if `clean` was set.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from gateway._sseparse import BodyDecoder
from gateway.alarm import Alarm
from gateway.errors import BadChunk, BodyTooLong, GatewayError
from gateway.guard import ResponseHead
from gateway.provider import Provider
from gateway.upstream import Sink, UpstreamConnection
from gateway.upstream_errors import UpstreamProtocolError, UpstreamTimeout, UpstreamUnavailable


# Seconds in which a connection that had died lets us know: some round trips.  One that ends
# later had taken the request, and who has it may be at work: it is not sent again.
STALE_TIME = 1.0

T = TypeVar("T")
# Is told what a body came to.
Told = Callable[[bytes | GatewayError], None]


class Taker(Protocol):
    """Who takes the body of an answer."""

    @property
    def last(self) -> float: ...


class Exchange:
    """A request on its way, and its time limits."""

    # No Struct: that has a `__setattr__` of its own, and Python 3.11 no short way to write to it.
    __slots__ = (
        "_alarm", "_asked", "_clock", "_connection", "_keep_alive", "_loop", "_opening", "_paused",
        "_request", "_resumed", "began", "clean", "provider", "retried", "sent", "taker", "waited",
    )  # fmt: skip

    def __init__(
        self,
        provider: Provider,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
        began: float,
    ) -> None:
        self.provider = provider
        # What the total limit counts from: an earlier exchange, if this takes its place.
        self.began = began
        self.clean = False  # the answer ended as HTTP says; nothing is left on the wire
        self.retried = False
        self.waited = 0.0  # seconds in the queue and connecting
        self.sent = 0.0  # when the request was written; 0 before
        # Whoever takes the answer: its `last` says when that last got on, 0 if not yet.
        self.taker: Taker | None = None
        self._loop = loop
        self._clock = clock
        self._connection: UpstreamConnection | None = None
        self._alarm: Alarm | None = None  # once it is no longer young
        self._request = b""  # until its answer has begun; it may be 20 MB
        self._opening: asyncio.Task[None] | None = None  # while a connection is waited for
        self._asked = 0.0  # when it was asked for
        self._keep_alive = False
        self._paused = False
        self._resumed = 0.0  # when we last read on after a pause

    def ask(self, request: bytes) -> None:
        """Send a request; what becomes of it is told by `_answered` or `_unanswered`.

        A kept-alive connection may have died unnoticed; if it gave not one byte, the
        request goes out once more on a fresh one.
        """
        self._request = request
        connection = self.provider.pool.take()
        if connection is not None:
            self._send(connection)
        else:
            self._open(fresh=False)

    # What a subclass is told, if it has not released the exchange before.

    def _answered(self, head: ResponseHead) -> None:
        """Take the head of the answer, final and judged."""
        raise NotImplementedError

    def _unanswered(self, error: Exception) -> None:
        """Take Overloaded, UpstreamUnavailable, UpstreamTimeout or UpstreamProtocolError."""
        raise NotImplementedError

    # What the connection says.

    def headed(self, head: ResponseHead) -> None:
        """Take the head of the answer."""
        self._request = b""
        self._keep_alive = head.keep_alive
        self._answered(head)

    def lost(self, error: GatewayError) -> None:
        """Take note that no answer is to come; of a stale connection that is no failure."""
        connection = self._connection
        kept = connection is not None and connection.used > 1 and not connection.answered
        soon = self._clock() - self.sent < STALE_TIME
        if kept and soon and isinstance(error, UpstreamUnavailable):
            self._ask_again()
        else:
            self._unanswered(error)

    def _ask_again(self) -> None:
        request = self._request
        self.release()
        self.retried = True
        self.waited += self._clock() - self.sent  # for an answer that could not come
        self._request = request
        self._open(fresh=True)

    # The body.

    def deliver(self, sink: Sink) -> None:
        """Give the body, as it comes off the wire, to `sink`."""
        if self._connection is not None:
            self._connection.deliver(sink)

    def collect(self, head: ResponseHead, limit: int, told: Told) -> None:
        """Call `told` with the whole body, once.

        Or with UpstreamProtocolError: it is longer than `limit`, badly framed, or cut; or
        with UpstreamTimeout: it came to a halt.
        """
        collector = self.taker = Collector(self, head.framing, limit, self._clock, told)
        self.deliver(collector)
        if head.framing == 0:  # nothing comes that it would look at
            collector.look()

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

    def release(self) -> None:
        """Give the connection back, or drop it.  May be called twice."""
        self.taker = None  # it may know us, and hold a whole answer: no cycle is to keep that
        self._request = b""
        if self._opening is not None:
            self._opening.cancel()
            self._opened()
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self.provider.young.discard(self)
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self.provider.pool.release(connection, reusable=self.clean and self._keep_alive)

    def _send(self, connection: UpstreamConnection) -> None:
        clock = self._clock
        self._connection = connection
        self.sent = now = clock()
        self._watch(now)
        connection.send(self._request, self)

    def _watch(self, now: float) -> None:
        """Have the time limits looked at, first when the nearest may be over."""
        young = self.provider.young
        end = self.began + self.provider.timeouts.total
        if end < now + young.seconds:  # an earlier exchange has used most of it
            self._alarm = Alarm(self._loop, self._ring, end)
        else:
            young.add(self)

    def due(self, now: float) -> None:
        """Have an alarm of its own from now on: most exchanges are over by then."""
        again = self._ring(now)
        if again is not None:
            self._alarm = Alarm(self._loop, self._ring, again)

    def _open(self, *, fresh: bool) -> None:
        """Have a connection waited for."""
        self._asked = self._clock()
        self._opening = self._loop.create_task(self._acquire(fresh=fresh))

    def _opened(self) -> None:
        self.waited += self._clock() - self._asked
        self._opening = None

    async def _acquire(self, *, fresh: bool) -> None:
        # A request and a connection for it in one turn held everybody else up for half a
        # millisecond.  The turn between them is ours, not the pool's.
        await asyncio.sleep(0)
        self._asked = self._clock()
        try:
            connection = await self.provider.pool.acquire(fresh=fresh)
        except Exception as error:
            self._opened()
            self._unanswered(error)
        else:
            self._opened()
            self._send(connection)

    def _ring(self, now: float) -> float | None:
        """Fail the exchange at a time limit, or say when to look again."""
        limits = self.provider.timeouts
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
            name = self.provider.name
            message = f"upstream {name}: {what} timeout after {getattr(limits, what):g} s"
            self._connection.fail(UpstreamTimeout(message, kind=f"{what}_timeout"))
        return None


class Awaited(Exchange):
    """An exchange of one who waits for the head, and then for the body."""

    __slots__ = ("_head",)

    _head: asyncio.Future[ResponseHead]  # once something was sent: nothing is answered before

    def head(self, request: bytes) -> asyncio.Future[ResponseHead]:
        """Send a request and return the future of its answer's head."""
        self._head = head = asyncio.get_running_loop().create_future()
        self.ask(request)
        return head

    def body(self, head: ResponseHead, limit: int) -> asyncio.Future[bytes]:
        """Return the future of the whole body; it fails as `collect` tells."""
        body: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.collect(head, limit, partial(_settle, body))
        return body

    def _answered(self, head: ResponseHead) -> None:
        _settle(self._head, head)

    def _unanswered(self, error: Exception) -> None:
        _settle(self._head, error)


def _settle(future: asyncio.Future[T], outcome: T | Exception) -> None:
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


class Collector:
    """The sink of a body that is wanted whole."""

    __slots__ = ("_clock", "_decoder", "_exchange", "_parts", "_told", "last")

    def __init__(
        self,
        exchange: Exchange,
        framing: int,
        limit: int,
        clock: Callable[[], float],
        told: Told,
    ) -> None:
        self.last = 0.0  # when bytes came
        self._clock = clock
        self._exchange = exchange
        self._told: Told | None = told  # until it is told
        self._decoder = BodyDecoder(framing, limit)
        self._parts: list[bytes] = []

    def data(self, data: bytes) -> None:
        """Take bytes; those after the end make the connection worthless."""
        if self._told is None:
            self._exchange.clean = False
            return
        self.last = self._clock()
        try:
            self._parts.append(self._decoder.feed(data))
        except BodyTooLong as error:
            self._tell(UpstreamProtocolError(error.message, kind="body_too_long"))
        except BadChunk as error:
            self._tell(UpstreamProtocolError(error.message, kind="framing"))
        else:
            self.look()

    def lost(self, error: GatewayError | None) -> None:
        """End a body that lasts until the connection closes; any other was cut."""
        if error is not None:
            self._tell(error)
            return
        try:
            self._decoder.eof()
        except BadChunk:
            self._tell(UpstreamProtocolError("the upstream's answer was cut", kind="truncated"))
        else:
            self.look()

    def look(self) -> None:
        """Tell of the body if it is whole."""
        if self._decoder.ended and self._told is not None:
            self._exchange.clean = not self._decoder.surplus
            self._tell(b"".join(self._parts))

    def _tell(self, outcome: bytes | GatewayError) -> None:
        told, self._told = self._told, None
        if told is not None:
            told(outcome)
