"""A job whose answer goes into a log: two are waited for, the provider and who asked.

    stream.py   its events, as they come
    kept.py     its body, when it is complete
"""

from gateway.desk import Desk
from gateway.errors import GatewayError, ShuttingDown
from gateway.eventlog import FINISHED, EventLog, State
from gateway.host import Request
from gateway.order import Left, Order, Receipt
from gateway.relay import Job
from gateway.upstream_errors import StreamInterrupted


class Filler(Job):
    """The producer of a log.

    Whoever makes one gives the asker its view of `live`, calls `begin`, and calls `left`
    when the asker sees no more.
    """

    __slots__ = ("_left", "_settled", "live")

    def __init__(
        self,
        desk: Desk,
        order: Order,
        request: Request,
        reply: Receipt,
        kind: type[EventLog] = EventLog,
    ) -> None:
        Job.__init__(self, desk, order, request, reply)
        self._settled = False  # the provider's part is over
        self._left = False  # the asker's is
        self.live = desk.hub.open(
            self, subject=order.subject, dialect=order.dialect.name,
            grace=order.grace, patience=order.patience, kind=kind,
        )  # fmt: skip
        self._record.generation = self.live.log.id

    @property
    def passed_to(self) -> str:
        """The upstream whose own words the log has; "" if they are translated."""
        one = self._try
        return "" if self._translates(one) else one.provider.name

    @property
    def last(self) -> float:
        """When the last entry came, 0 before the first."""
        return 0.0

    def left(self) -> None:
        """Take note that the asker sees no more: it has its answer, or is gone."""
        self._left = True
        reply = self._reply
        if not self.live.log.closed:
            # It leads to a connection that may be gone long before the generation ends.
            self._reply = Left(reply.request_id, reply.status, reply.ended, reply.bytes_sent)
        record = self._record
        if not reply.ended and record.end in ("", "finished", "disconnect"):
            # It is gone: the generation goes on without it, or not, or it was too slow for the end.
            self._desk.metrics.disconnect(self.stage.value)
            record.end = record.end and "disconnect"
        if self._over:
            self._ended = self._desk.clock()
        if self._settled:
            self._desk.ledger.enter(self)

    def cancel(self, reason: str) -> None:
        """End the generation now; whoever reads is told so, and nothing comes after it."""
        self._close(State.CANCELLED, reason)
        super().cancel(reason)

    def pause(self) -> None:
        """Stop reading the upstream."""
        self._try.pause()

    def resume(self) -> None:
        """Go on reading the upstream."""
        self._try.resume()

    def fields(self) -> bytes:
        """Return the fields of the answer's head; to be asked for when it is written."""
        return self._answer_fields()

    def _tell(self) -> None:
        """Let the log have what holds for whoever else is answered from it."""
        log = self.live.log
        log.fields, log.dropped = self._try.provider.named, self.dropped or log.dropped

    def finished(self) -> None:
        """Close the log: all was said."""
        self._record.end = self._record.end or "finished"
        self.live.close(FINISHED, "finished")

    def _close(self, state: State, reason: str, fault: GatewayError | None = None) -> None:
        self._record.end = self._record.end or reason
        if not self.live.log.closed:
            self._say_last(state, fault)
            self.live.close(state, reason, fault)

    def _say_last(self, state: State, fault: GatewayError | None) -> None:
        """Let the log have what its provider did not say at its end."""

    def _failed(self, error: GatewayError) -> None:
        self._tell()
        one = self._try
        named = b"" if one.overhead is None else one.provider.named
        self.live.log.fields = one.fields + named
        broken = isinstance(error, StreamInterrupted | ShuttingDown)
        self._close(State.INTERRUPTED if broken else State.FAILED, self._record.end, error)

    def _break_off(self) -> None:
        self._close(State.FAILED, "failed", GatewayError("internal error"))

    def account(self) -> None:
        """Count and log once both are over: the provider's part, and the client's."""
        if not self.live.log.closed:  # no way leads here; if one did, readers would wait for ever
            self._close(State.CANCELLED, "disconnect")
        self._settled = True
        if self._left:
            Job.account(self)
