"""The one story: ask the provider, pass on what it says, settle.

A job is one request on its way.  It runs in a task whose every way out closes its
exchange and then settles, once, whatever happened.  A try that fails before a reader
has an event of its answer may be followed by another (`attempts.py`).

    tries.py    one request to one target; a job has one after the other
    race.py     two at once, where the first is slow
    unary.py    the whole answer is collected, so a broken one is a 502, not half an answer
    kept.py     … and kept in a log, from which more than one client may be answered
    stream.py   the answer's events go into a log, whose readers answer the client
"""

import asyncio
from collections.abc import Awaitable
from enum import Enum

from gateway._sseparse import timing
from gateway.attempts import Attempts
from gateway.chat import Usage
from gateway.desk import Desk
from gateway.dialects.calls import Heading, shown
from gateway.errors import GatewayError, Overloaded, ShuttingDown
from gateway.guard import ResponseHead
from gateway.host import Request
from gateway.logs import RequestRecord
from gateway.order import Order, Receipt, dropped_field
from gateway.provider import asked_delay, passed_back, retry_after
from gateway.race import Entrant, Race
from gateway.tries import Try, prepare
from gateway.upstream_errors import (
    StreamInterrupted,
    UpstreamAnswer,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeout,
)


# Bytes of a provider's error page; nobody reads more of it.
MAX_ERROR = 1024 * 1024
# Counted and logged when the client left before any status was sent; nginx's number.
CLIENT_LEFT = 499


class Stage(Enum):
    """Where a job stands; also the `phase` in which a client leaves."""

    QUEUED = "queued"  # no connection yet
    WAITING = "waiting"  # the request is out, nothing of the answer is
    STREAMING = "streaming"


class Job:
    """One request on its way to a provider and back."""

    __slots__ = (
        "_asked", "_attempts", "_desk", "_dialect", "_end", "_error", "_first", "_functions",
        "_hedge_after", "_hedged", "_method", "_model", "_path", "_race", "_received", "_reply",
        "_route", "_running", "_stopped", "_task", "_try", "_usage", "_wants_usage", "client",
    )  # fmt: skip

    def __init__(self, desk: Desk, order: Order, request: Request, reply: Receipt) -> None:
        self.client = request.client
        self._desk = desk
        self._route = order.route
        self._asked = order.call.model
        self._dialect = order.dialect
        self._model = order.targets.model.name
        self._path = request.head.path
        self._method = request.head.method
        self._reply = reply
        self._received = request.received
        self._attempts = Attempts(desk, order)
        dropped = self._attempts.rehearse() if order.early else ()
        # The latest, or of two at once the one that spoke; its provider is the one that is named.
        self._try = prepare(desk, self._attempts.target, request.received)
        self._try.dropped = dropped
        self._hedge_after = order.targets.model.hedge
        self._hedged = False  # a second was sent: there is no third beside them
        self._race: Race | None = None
        self._first = 0.0  # when the answer, or its first event, was here
        self._usage: Usage | None = None
        self._end = ""  # how it ended, in a word
        self._error = ""  # what went wrong, for the log line
        self._stopped: GatewayError | None = None  # why we ended it ourselves
        self._running = False  # its task has begun
        self._wants_usage = order.call.wants_usage
        self._functions = order.call.functions

    def begin(self) -> None:
        """Start; from here on the job looks after itself."""
        self._desk.jobs.add(self)
        self._task = self._desk.loop.create_task(self._run())

    @property
    def dropped(self) -> list[str]:
        """Parameters that are not in the request, as far as it was written for anybody yet."""
        return shown(self._try.dropped)

    def _translates(self, one: Try) -> bool:
        """Tell whether the client and the provider speak different dialects."""
        return self._dialect.name != one.provider.dialect.name

    @property
    def _heading(self) -> Heading:
        """What stands over the answer where the provider says nothing."""
        now = int(self._desk.wall())
        return Heading(
            self._reply.request_id, self._asked, now, self._wants_usage, self._functions
        )

    @property
    def stage(self) -> Stage:
        """Where the job stands."""
        if self._first:
            return Stage.STREAMING
        return Stage.WAITING if self._try.exchange.sent else Stage.QUEUED

    def cancel(self, reason: str) -> None:
        """End the job: nobody wants its answer.  The provider's connection drops now."""
        self._end = self._end or reason
        self._interrupt()

    def shut_down(self) -> None:
        """End the job because the process ends; its client is told so."""
        if not self._end:  # if it has one, only the rest of the provider's body is awaited
            self._end = "shutdown"
            self._stopped = self._shutdown_error()
        self._interrupt()

    def _shutdown_error(self) -> GatewayError:
        if self._first:
            return ShuttingDown("the gateway is shutting down; this answer is not complete")
        return Overloaded("the gateway is shutting down; send the request again")

    # What the two kinds do in their own way.

    def _receive(self, one: Try, head: ResponseHead) -> Awaitable[None]:
        """Begin to take a good answer; done when it is over."""
        raise NotImplementedError

    def _failed(self, error: GatewayError) -> None:
        """Tell the client that there is no good answer, or no more of it."""
        raise NotImplementedError

    def _delivered(self) -> tuple[int, int]:
        """Return how many events and bytes the client was given."""
        raise NotImplementedError

    # The story.

    async def _run(self) -> None:
        self._running = True
        error: Exception | None = None
        try:
            while True:
                try:
                    await self._round()
                    break
                except GatewayError as failure:
                    delay = self._again(failure)
                await self._renew(delay)
        except asyncio.CancelledError:
            error = self._stopped
        except GatewayError as caught:
            error = caught
            # Its frames hold the request, perhaps 20 MB, and the last of them holds it: a cycle.
            error.__traceback__ = error.__cause__ = error.__context__ = None
        except Exception as caught:
            error = caught
        finally:
            self._try.close()
        self._settle(error)

    def _round(self) -> Awaitable[None]:
        """Ask one provider; done once all is received."""
        request = self._attempts.begin(self._try)
        if self._hedge_after is None or self._hedged:
            return self.follow(self._try, request)
        self._race = Race(self._desk, self._model, self)
        return self._race.run((self._try, request), self._hedge_after)

    def _again(self, error: GatewayError) -> float:
        """Return the seconds until another try, which is the next; raise if there is none."""
        one, attempts = self._try, self._attempts
        delay = attempts.failed(one, error, self._received)
        if delay is None:
            raise attempts.last_word(one, error) from None
        if isinstance(error, UpstreamError):
            self._desk.metrics.upstream_error(one.provider.name, error.kind)
        return delay

    async def follow(self, one: Try, request: bytes) -> None:
        """Take a try to its end."""
        exchange = one.exchange
        asking = exchange.ask(request)
        del request  # it may be 20 MB
        head = await asking
        one.overhead = exchange.sent - one.since - exchange.waited
        self._desk.metrics.overhead_request.observe(one.overhead)
        one.fields = passed_back(head)
        if head.status != 200:
            await self._refused(one, head)
        receiving = self._receive(one, head)
        del head  # some KB of fields; a stream lives for minutes
        await receiving
        one.succeeded()

    def _chosen(self, one: Try) -> None:
        """Note that a reader has, or is about to have, an event of a try: there is no other."""
        if self._race is not None:
            self._race.won(one)
            self._try = one
        self._attempts.end()
        one.answered()

    def hedge(self) -> Entrant | None:
        """Make a try that runs beside the present one."""
        entrant = self._attempts.hedge(self._try)
        self._hedged = entrant is not None
        return entrant

    def outlived(self, one: Try, error: GatewayError, other: Try) -> None:
        """Take note that one of two tries failed."""
        self._try = other
        self._attempts.outlived(one, error)
        if isinstance(error, UpstreamError):
            self._desk.metrics.upstream_error(one.provider.name, error.kind)

    async def _renew(self, delay: float) -> None:
        """Forget a try that failed; when the time of the next has come, be ready for it."""
        desk, began, history = self._desk, self._try.exchange.began, self._attempts.history
        self._try.close()
        self._try = prepare(desk, self._attempts.target, desk.clock(), began)
        if delay:
            await self._pause(delay)
            self._try.since = desk.clock()
        if history is not None and history.failures:
            desk.metrics.retried(history.cause)

    async def _pause(self, delay: float) -> None:
        # Not asyncio.sleep: the desk has the clock that counts.
        over: asyncio.Future[None] = self._desk.loop.create_future()
        timer = self._desk.loop.call_later(delay, _come, over)
        try:
            await over
        finally:
            timer.cancel()

    def _interrupt(self) -> None:
        self._try.exchange.close()
        if self._race is not None:
            self._race.drop()
        self._task.cancel()
        # A task that is cancelled before its first step never runs; what must be done
        # at the end is done here then.
        if not self._running:
            self._running = True
            self._try.close()
            self._settle(self._stopped)

    async def _refused(self, one: Try, head: ResponseHead) -> None:
        """Raise the provider's own error, with its body."""
        if head.status < 400:
            # A redirect is never followed: it would carry our key to another host.
            raise UpstreamProtocolError(f"the upstream answered {head.status}", kind="status")
        body = one.provider.redacted(await one.exchange.collect(head, MAX_ERROR))
        error = UpstreamAnswer(head.status, head.get(b"content-type") or b"text/plain", body)
        if self._translates(one):
            error.translate(self._dialect.error_body, self._reply.request_id)
        wall = self._desk.wall()
        error.retry_after, error.delay = retry_after(head, wall), asked_delay(head, wall)
        error.final = head.get(b"x-should-retry") == b"false"
        raise error

    def _settle(self, error: Exception | None) -> None:
        """Tell the client of a failure; count and log the request.  Runs once."""
        self._desk.jobs.discard(self)
        self._attempts.end()
        try:
            if error is not None:
                self._fail(error)
        finally:
            self._account()

    def _fail(self, error: Exception) -> None:
        if isinstance(error, UpstreamError) and error is not self._stopped:
            self._desk.metrics.upstream_error(self._try.provider.name, error.kind)
        if not isinstance(error, GatewayError):
            self._desk.log.crash(error)
            error = GatewayError("internal error")
        self._end = self._end or reason_of(error)
        stale = self._try.exchange.retried and not isinstance(error, UpstreamAnswer)
        if self._attempts.spent or stale:
            self._try.fields = _last(self._try.fields)
        self._error = error.message
        self._failed(error)

    def _account(self) -> None:
        desk, name = self._desk, self._try.provider.name
        duration = desk.clock() - self._received
        status = self._reply.status or CLIENT_LEFT
        desk.metrics.request(self._route, self._model, name, status, duration)
        desk.metrics.ended(self._end)
        if self._usage is not None:
            desk.metrics.tokens(self._model, self._usage)
        desk.log.request(self._record(name, status, duration))

    def _record(self, upstream: str, status: int, duration: float) -> RequestRecord:
        events, size = self._delivered()
        record = RequestRecord(  # of more than 15 keywords Python makes a dictionary
            request_id=self._reply.request_id,
            route=self._route,
            method=self._method,
            path=self._path,
            model=self._asked,
            upstream=upstream,
            status=status,
            end=self._end,
            ttft=self._first - self._received if events else None,
            duration=duration,
            events=events,
            bytes=size,
            overhead=self._try.overhead,
            client=self.client,
            error=self._error,
        )
        if self._usage is not None:
            record.tokens_in, record.tokens_out = self._usage.input, self._usage.output
        if self._attempts.history is not None:
            record.retries = self._attempts.history.retries
        if self._hedged:
            record.hedged = True
        return record

    def _answer_fields(self) -> bytes:
        """Return the fields that an answer to a generation carries besides its own."""
        one = self._try
        if one.dropped:
            one.fields += dropped_field(self.dropped)
            one.dropped = ()
        if one.overhead is None:  # there is nothing to tell it apart from
            return one.fields
        theirs = (self._first or self._desk.clock()) - one.exchange.sent
        # A heartbeat may begin an answer before it is sure whose it will be.
        named = one.provider.named if self._first or self._error else b""
        return one.fields + named + timing(one.overhead, theirs)


def _last(fields: bytes) -> bytes:
    """Return the fields of an answer with the word that there is no use in repeating: we did."""
    ours = b"x-should-retry: "
    kept = [line for line in fields.splitlines(keepends=True) if not line.startswith(ours)]
    return b"".join(kept) + ours + b"false\r\n"


def _come(over: "asyncio.Future[None]") -> None:
    # Its task may have been cancelled, and not be awake yet.
    if not over.done():
        over.set_result(None)


def reason_of(error: GatewayError) -> str:
    """Return the word for an end by `error`: the reason of a log, a metric and a log line."""
    if isinstance(error, StreamInterrupted):
        return "truncated"
    if isinstance(error, UpstreamTimeout):
        return "timeout"
    if isinstance(error, UpstreamProtocolError):
        return "protocol"
    if isinstance(error, UpstreamError):
        return "upstream_error"
    return "overloaded" if isinstance(error, Overloaded) else "failed"
