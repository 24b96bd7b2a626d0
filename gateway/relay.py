"""The one story: ask the provider, pass on what it says, settle.

A job is one request on its way.  It has no task: it is told of the head of an answer
(`headed`), of its end (`ended`), and of a try that failed (`failed`); every way out
closes its try and then settles, once, whatever happened.  A try that fails before a
reader has an event of its answer may be followed by another (`attempts.py`).

    tries.py    one request to one target; a job has one after the other
    race.py     two at once, where the first is slow
    unary.py    the whole answer is collected, so a broken one is a 502, not half an answer
    kept.py     … and kept in a log, from which more than one client may be answered
    stream.py   the answer's events go into a log, whose readers answer the client
"""

import asyncio
from collections.abc import Callable
from enum import Enum
from functools import partial

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
from gateway.tries import Try
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
        "_attempts", "_desk", "_dialect", "_ended", "_first", "_functions", "_model", "_over",
        "_pause", "_race", "_received", "_record", "_reply", "_stopped", "_try", "_usage",
        "_wants_usage",
    )  # fmt: skip

    def __init__(self, desk: Desk, order: Order, request: Request, reply: Receipt) -> None:
        call, received, targets = order.call, request.received, order.targets
        self._desk = desk
        self._reply = reply
        self._dialect = order.dialect
        self._model = targets.model
        self._received = received
        target = targets.only or targets.first(desk, order.sticky)
        self._attempts = Attempts(desk, order, target)
        # Its `end` says in a word how the job ended, once that is certain.
        self._record = begin_record(order, request, reply)
        dropped = self._attempts.rehearse() if order.early else ()
        # The latest, or of two at once the one that spoke; its provider is the one that is named.
        self._try = Try(desk, self, self._attempts.target, received, received)
        self._try.dropped = dropped
        self._race: Race | None = None
        self._pause: asyncio.TimerHandle | None = None  # before the next try
        self._ended = 0.0  # when it was over, for its client too
        self._first = 0.0  # when the answer, or its first event, was here
        self._usage: Usage | None = None
        self._stopped: GatewayError | None = None  # why we ended it ourselves
        self._over = False
        self._wants_usage = call.wants_usage
        self._functions = call.functions

    def begin(self) -> None:
        """Start; from here on the job looks after itself."""
        self._desk.jobs.add(self)
        self._ask()

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
        record = self._record
        return Heading(record.request_id, record.model, now, self._wants_usage, self._functions)

    @property
    def stage(self) -> Stage:
        """Where the job stands."""
        if self._first:
            return Stage.STREAMING
        return Stage.WAITING if self._try.sent else Stage.QUEUED

    def cancel(self, reason: str) -> None:
        """End the job: nobody wants its answer.  The provider's connection drops now."""
        self._record.end = self._record.end or reason
        self._conclude(self._stopped)

    def shut_down(self) -> None:
        """End the job because the process ends; its client is told so."""
        if not self._record.end:  # else only the rest of the provider's body is awaited
            self._record.end = "shutdown"
            self._stopped = self._shutdown_error()
        self._conclude(self._stopped)

    def _shutdown_error(self) -> GatewayError:
        if self._first:
            return ShuttingDown("the gateway is shutting down; this answer is not complete")
        return Overloaded("the gateway is shutting down; send the request again")

    # What the two kinds do in their own way.

    def _receive(self, one: Try, head: ResponseHead) -> None:
        """Begin to take a good answer; `ended` or `failed` is called when it is over."""
        raise NotImplementedError

    def _failed(self, error: GatewayError) -> None:
        """Tell the client that there is no good answer, or no more of it."""
        raise NotImplementedError

    def _break_off(self) -> None:
        """Let nobody wait any longer: a defect of ours kept `_failed` from telling."""
        raise NotImplementedError

    def _delivered(self) -> tuple[int, int]:
        """Return how many events and bytes the client was given."""
        raise NotImplementedError

    # The story.

    def _ask(self) -> None:
        """Ask a provider."""
        one, model = self._try, self._model
        try:
            request = self._attempts.begin(one)
            if model.hedge is not None and not self._record.hedged:
                self._race = Race(self._desk, model.name, self, one, model.hedge)
            one.ask(request)
        except Exception as error:
            self.failed(one, error)

    def headed(self, one: Try, head: ResponseHead) -> None:
        """Take the head of an answer, and then the answer."""
        try:
            one.overhead = one.sent - one.since - one.waited
            self._desk.metrics.overhead_request.observe(one.overhead)
            one.fields = passed_back(head)
            if head.status == 200:
                self._receive(one, head)
            else:
                self._refuse(one, head)
        except Exception as error:
            self.failed(one, error)

    def ended(self, one: Try) -> None:
        """Take note that all of an answer is here."""
        one.succeeded()
        self._conclude(None)

    def resent(self) -> None:
        """Take note that a try sent its request once more: its connection had died."""
        self._attempts.retries += 1

    def failed(self, one: Try, error: Exception) -> None:
        """Go on with another try, or end with this one's failure."""
        if self._over:
            if not isinstance(error, GatewayError):
                self._desk.log.crash(error)
            return
        try:
            if not isinstance(error, GatewayError):
                raise error
            if not self._goes_on(one, error):
                self._renew(self._again(one, error))
        except Exception as last:
            self._conclude(last)

    def _goes_on(self, one: Try, error: GatewayError) -> bool:
        """Tell whether there is another try beside one that failed."""
        race, other = self._race, None
        if race is not None:
            other = race.lost(one)
            self._race = race if other is not None else None
        if other is None:
            return False
        self._try = other
        self._attempts.outlived(one, error)
        self._count(one, error)
        one.close()
        return True

    def _again(self, one: Try, error: GatewayError) -> float:
        """Return the seconds until another try, which is the next; raise if there is none."""
        attempts = self._attempts
        delay = attempts.failed(one, error, self._received)
        if delay is None:
            raise attempts.last_word(one, error)
        self._count(one, error)
        return delay

    def _count(self, one: Try, error: Exception) -> None:
        if isinstance(error, UpstreamError):
            self._desk.metrics.upstream_error(one.provider.name, error.kind)

    def _chosen(self, one: Try) -> None:
        """Note that a reader has, or is about to have, an event of a try: there is no other."""
        if self._race is not None:
            self._race.won(one)
            self._try = one
        self._attempts.end()
        one.answered()

    def hedge(self) -> Entrant | None:
        """Make a try that is to run beside the present one; there is no third beside them."""
        entrant = self._attempts.hedge(self._try)
        self._record.hedged = entrant is not None
        return entrant

    def _renew(self, delay: float) -> None:
        """Forget a try that failed; when the time of the next has come, begin that."""
        desk, began = self._desk, self._try.began
        self._try.close()
        self._try = Try(desk, self, self._attempts.target, desk.clock(), began)
        if delay:
            self._pause = desk.loop.call_later(delay, self._resume)
        else:
            self._resume()

    def _resume(self) -> None:
        self._pause = None
        self._try.since = self._desk.clock()
        if self._attempts.failures:
            self._desk.metrics.retried(self._attempts.cause)
        self._ask()

    def _refuse(self, one: Try, head: ResponseHead) -> None:
        """Take the body of the provider's own error; then the try has failed with that."""
        if head.status < 400:
            # A redirect is never followed: it would carry our key to another host.
            raise UpstreamProtocolError(f"the upstream answered {head.status}", kind="status")
        self._collect(one, head, MAX_ERROR, partial(self._refused, one, head))

    def _refused(self, one: Try, head: ResponseHead, body: bytes) -> None:
        body = one.provider.redacted(body)
        error = UpstreamAnswer(head.status, head.get(b"content-type") or b"text/plain", body)
        if self._translates(one):
            error.translate(self._dialect.error_body, self._record.request_id)
        wall = self._desk.wall()
        error.retry_after, error.delay = retry_after(head, wall), asked_delay(head, wall)
        error.final = head.get(b"x-should-retry") == b"false"
        self.failed(one, error)

    def _collect(
        self, one: Try, head: ResponseHead, limit: int, then: Callable[[bytes], None]
    ) -> None:
        """Do something with the body of an answer, once all of it is here."""
        one.collect(head, limit, partial(self._collected, one, then))

    def _collected(
        self, one: Try, then: Callable[[bytes], None], body: bytes | GatewayError
    ) -> None:
        if isinstance(body, GatewayError):
            self.failed(one, body)
            return
        try:
            then(body)
        except Exception as error:
            self.failed(one, error)

    def _conclude(self, error: Exception | None) -> None:
        """Close all, tell the client of a failure, count and log the request; once."""
        if self._over:
            return
        self._over = True
        if isinstance(error, GatewayError):
            # Its frames hold the request, perhaps 20 MB, and the last of them holds it: a cycle.
            error.__traceback__ = error.__cause__ = error.__context__ = None
        self._desk.jobs.discard(self)
        try:
            if self._pause is not None:
                self._pause.cancel()
                self._pause = None
            if self._race is not None:
                self._race.drop()
                self._race = None  # it knows us
            self._try.close()
            self._attempts.end()
            if error is not None:
                self._fail(error)
        except Exception as defect:  # whoever waits is not to wait for ever
            self._desk.log.crash(defect)
            self._break_off()
        clock, ledger = self._desk.clock, self._desk.ledger
        self._ended = clock()
        ledger.enter(self)

    def _fail(self, error: Exception) -> None:
        if error is not self._stopped:
            self._count(self._try, error)
        if not isinstance(error, GatewayError):
            self._desk.log.crash(error)
            error = GatewayError("internal error")
        record = self._record
        record.end = record.end or reason_of(error)
        stale = self._try.retried and not isinstance(error, UpstreamAnswer)
        if self._attempts.spent or stale:
            self._try.fields = _last(self._try.fields)
        record.error = error.message
        self._failed(error)

    def account(self) -> None:
        """Count and log the request; called by the ledger."""
        desk, record, one, model = self._desk, self._record, self._try, self._model.name
        clock = desk.clock
        record.upstream = one.provider.name
        record.status = self._reply.status or CLIENT_LEFT
        record.duration = self._ended - self._received
        record.events, record.bytes = self._delivered()
        if record.events:
            record.ttft = self._first - self._received
        record.overhead = one.overhead
        record.retries = self._attempts.retries
        desk.metrics.request(record.route, model, record.upstream, record.status, record.duration)
        desk.metrics.ended(record.end)
        if self._usage is not None:
            record.tokens_in, record.tokens_out = self._usage.input, self._usage.output
            desk.metrics.tokens(model, self._usage)
        desk.log.request(record, clock() - self._ended)

    def _answer_fields(self) -> bytes:
        """Return the fields that an answer to a generation carries besides its own."""
        one = self._try
        if one.dropped:
            one.fields += dropped_field(self.dropped)
            one.dropped = ()
        if one.overhead is None:  # there is nothing to tell it apart from
            return one.fields
        theirs = (self._first or self._desk.clock()) - one.sent
        # A heartbeat may begin an answer before it is sure whose it will be.
        named = one.provider.named if self._first or self._record.error else b""
        return one.fields + named + timing(one.overhead, theirs)


def begin_record(order: Order, request: Request, reply: Receipt) -> RequestRecord:
    """Return the record of a request for a generation, as far as it is known at once."""
    return RequestRecord(
        request_id=reply.request_id,
        client=request.client,
        route=order.route,
        method=request.head.method,
        path=request.head.path,
        model=order.call.model,
        subject=order.subject,
    )


def _last(fields: bytes) -> bytes:
    """Return the fields of an answer with the word that there is no use in repeating: we did."""
    ours = b"x-should-retry: "
    kept = [line for line in fields.splitlines(keepends=True) if not line.startswith(ours)]
    return b"".join(kept) + ours + b"false\r\n"


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
