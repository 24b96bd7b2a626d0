"""A generation whose answer is a stream of events: the log, and how it ends.

What its provider says comes from a `source`.
"""

import re

import msgspec

from gateway._sseparse import Batch
from gateway.desk import Desk
from gateway.dialects.calls import Heading
from gateway.dialects.translation import Translation
from gateway.errors import GatewayError
from gateway.eventlog import State
from gateway.filling import Filler
from gateway.guard import ResponseHead
from gateway.host import Request
from gateway.order import Order, Receipt
from gateway.pace import Pace
from gateway.source import Source
from gateway.tries import Try
from gateway.upstream_errors import (
    StreamInterrupted,
    UpstreamProtocolError,
    UpstreamRefused,
    UpstreamUnavailable,
)


# The content type of a stream, with whatever parameters.
EVENTS = re.compile(rb"[ \t]*text/event-stream[ \t]*(;|\Z)", re.IGNORECASE)


class Stream(Filler):
    """The producer of a log of events."""

    __slots__ = ("_events", "_shared", "_source")

    def __init__(self, desk: Desk, order: Order, request: Request, reply: Receipt) -> None:
        Filler.__init__(self, desk, order, request, reply)
        self._source: Source | None = None  # once there is a good head, until it is settled
        self._events = 0
        coalesce = order.coalesce
        self._shared = coalesce is not None  # others may be answered by it
        if coalesce is not None and coalesce.pace == "original":
            self.live.log.pace = Pace()

    # The producer's side, called by the hub.

    @property
    def last(self) -> float:
        """When the last event came, 0 before the first."""
        return self._source.parser.last if self._source is not None else 0.0

    @property
    def _heading(self) -> Heading:
        # Nobody can guess the id of a log, nor ask for one of his own.
        return msgspec.structs.replace(super()._heading, id=self.live.log.id)

    # Called by the source.

    def begins(self, source: Source, now: float) -> None:
        """Take note of the first event: from here on the answer cannot be taken back."""
        self._first = now
        self._source = source
        self._chosen(source.of)
        if self._shared:
            self._tell()
        source.of.target.metrics.ttft.observe(now - self._received)

    def refused(self, one: Try, error: UpstreamRefused) -> None:
        """Close the log behind the provider's own error, which stands in it."""
        self._record.error = error.message
        one.failed(error)
        self._desk.metrics.upstream_error(one.provider.name, error.kind)
        self._close(State.FAILED, "upstream_error")

    # Inside.

    def _receive(self, one: Try, head: ResponseHead) -> None:
        if not EVENTS.match(head.get(b"content-type")):
            raise UpstreamProtocolError("the upstream did not answer with events", kind="media")
        translation = None
        if self._translates(one):
            translation = Translation(one.provider.dialect, self._dialect, self._heading)
        # Whoever translates is told of usage, and tells who wants it.
        strip = not self._wants_usage and translation is None
        source = Source(self._desk, self, one, head, strip, translation)
        self._source = source
        one.deliver(source)

    def _renew(self, delay: float) -> None:
        self._source = None
        super()._renew(delay)

    def _say_last(self, state: State, fault: GatewayError | None) -> None:
        log = self.live.log
        try:
            words = self._last_words(state, fault)
        except Exception as error:  # a defect: the log must close all the same
            self._desk.log.crash(error)
            words = []
        if words:
            log.append(Batch(b"".join(words), log.tail + 1, len(words)))

    def _last_words(self, state: State, fault: GatewayError | None) -> list[bytes]:
        """Return the events that end a log whose provider did not end it."""
        if fault is None and state is not State.CANCELLED:
            return []
        log = self.live.log
        said = [batch.data for batch in log.after(log.base)]
        if fault is not None:
            return [self._dialect.error_event(fault, said, self._heading)]
        return self._dialect.cancelled_events(
            said,
            self._heading,
            finish=self._source.finish if self._source else "",
            tokens=self._estimate(),
        )

    def _estimate(self) -> int | None:
        """Return how many tokens came, if the client asked and the provider has not said."""
        parser = self._source.parser if self._source else None
        if not self._wants_usage or parser is None or (parser.usage and parser.finish):
            return None
        return parser.events  # providers send a token, or a few, in each

    def _fail(self, error: Exception) -> None:
        # A connection that is lost amid a stream is no longer one that could not be had.
        if self._first and isinstance(error, UpstreamUnavailable):
            error = StreamInterrupted("the upstream's stream was cut")
        super()._fail(error)

    def account(self) -> None:
        """Count and log the request, and what the provider said of it."""
        source, self._source = self._source, None  # it leads back here: a cycle
        if source is not None:
            self._usage = source.usage
            # An error in place of the first event is told by its status.
            self._events = source.parser.events if source.began else 0
        Filler.account(self)

    def _delivered(self) -> tuple[int, int]:
        return self._events, self._reply.bytes_sent

    def fields(self) -> bytes:
        """Return the fields of the answer's head; to be asked for when it is written."""
        desk, one, log = self._desk, self._try, self.live.log
        if self._first:
            clock = desk.clock
            added = clock() - self._first
            one.overhead = (one.overhead or 0.0) + added
            desk.metrics.overhead_first.observe(added)
        fields = self._answer_fields()
        if log.fault is not None:
            return fields
        one.fields = b""  # a stream lives for minutes
        return b"location: /v1/stream/" + log.id.encode() + b"\r\n" + fields
