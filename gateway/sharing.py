"""Identical requests of a model that coalesces them: the first asks, the others share.

    nothing there      a job of its own             miss
    under way          the same log, from its beginning, live     hit
    finished           the same log again: at once, or (`replay.py`) at its pace     hit

A reader of a log is a reader, whoever began it: the last one out ends the generation.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

from gateway.answers import Answers, identify
from gateway.desk import Desk
from gateway.eventlog import EventLog, State, Whole
from gateway.filling import Filler
from gateway.host import Request
from gateway.hub import Live
from gateway.kept import Kept
from gateway.order import Order, Receipt, dropped_field
from gateway.relay import CLIENT_LEFT, Stage, begin_record
from gateway.replay import Replay
from gateway.series import HIT, MISS, OUTCOMES
from gateway.stream import Stream
from gateway.views.view import location


class Seat(Protocol):
    """What answers one request: a job of its own, or a place before the log of another.

    Whoever takes one gives the asker its view of `live`, calls `begin`, and calls `left`
    when the asker sees no more.
    """

    @property
    def live(self) -> Live: ...

    @property
    def dropped(self) -> list[str]: ...

    @property
    def passed_to(self) -> str: ...

    def begin(self) -> None: ...

    def left(self) -> None: ...

    def fields(self) -> bytes: ...


class Hit:
    """A place before a log that answers this request, too."""

    __slots__ = (
        "_desk", "_model", "_received", "_record", "_reply", "_start", "live",
    )  # fmt: skip

    def __init__(
        self,
        desk: Desk,
        order: Order,
        request: Request,
        reply: Receipt,
        live: Live,
        start: Callable[[], None] | None = None,
    ) -> None:
        self.live = live
        self._desk = desk
        self._model = order.targets.model.name
        self._received = request.received
        self._record = begin_record(order, request, reply)
        self._record.generation = live.log.id
        self._reply = reply
        self._start = start

    def begin(self) -> None:
        """Let the log be filled, if nobody does so yet."""
        if self._start is not None:
            self._start()

    @property
    def dropped(self) -> list[str]:
        """Parameters that the answer leaves out, as far as that is known."""
        return self.live.log.dropped

    @property
    def passed_to(self) -> str:
        """The upstream that knows of this request: none does."""
        return ""

    def fields(self) -> bytes:
        """Return the fields of the answer's head; to be asked for when it is written."""
        log = self.live.log
        place = b"" if isinstance(log, Whole) or log.fault is not None else location(log)
        return place + answer_fields(log)

    def left(self) -> None:
        """Have the request counted and logged: the asker sees no more."""
        desk, record, reply, log = self._desk, self._record, self._reply, self.live.log
        if not reply.ended:
            stage = Stage.STREAMING if log.tail else Stage.WAITING
            desk.metrics.disconnect(stage.value)
        record.status = reply.status or CLIENT_LEFT
        record.end = log.reason if reply.ended else "disconnect"
        record.duration = desk.clock() - self._received
        record.bytes = reply.bytes_sent
        record.error = log.fault.message if log.fault is not None else ""
        desk.ledger.enter(self)

    def account(self) -> None:
        """Count and log the request; called by the ledger."""
        desk, record = self._desk, self._record
        desk.metrics.request(record.route, self._model, "", record.status, record.duration)
        desk.log.request(record, desk.clock() - self._received - record.duration)


class Sharing:
    """The answers that are shared, and who gets which."""

    def __init__(self, desk: Desk, models: Iterable[str]) -> None:
        """Share among requests for these; they are labels."""
        self._desk = desk
        self._answers = Answers()
        for model in models:
            for outcome in OUTCOMES:
                desk.metrics.coalesced(model, outcome, 0)

    def seat(self, order: Order, request: Request, reply: Receipt) -> Seat:
        """Return what answers a request: a job, or another's log."""
        if order.coalesce is None:
            return self._ask(order, request, reply)
        identity = identify(
            subject=order.subject, path=order.path, stream=order.call.stream, sticky=order.sticky,
            fields=_passed(order), body=order.call.body,
        )  # fmt: skip
        live = self._find(identity)
        self._desk.metrics.coalesced(order.targets.model.name, MISS if live is None else HIT)
        if live is None:
            job = self._ask(order, request, reply)
            self._answers.begin(identity, job.live.log.id)
            job.live.log.dropped = job.dropped
            job.live.on_closed = partial(self._closed, identity, order.coalesce.ttl)
            return job
        if live.log.closed and live.log.pace is not None:
            replay = Replay(self._desk, order, live.log, live.log.pace)
            return Hit(self._desk, order, request, reply, replay.live, replay.begin)
        _join(live, order)
        return Hit(self._desk, order, request, reply, live)

    def _find(self, identity: bytes) -> Live | None:
        id = self._answers.find(identity, self._desk.clock())
        live = self._desk.hub.find(id) if id is not None else None
        # One so large that its beginning is gone answers nobody who comes new.
        return None if live is None or live.log.base else live

    def _ask(self, order: Order, request: Request, reply: Receipt) -> Filler:
        return (Stream if order.call.stream else Kept)(self._desk, order, request, reply)

    def _closed(self, identity: bytes, ttl: float, live: Live) -> None:
        if live.log.state is State.FINISHED:
            self._answers.finished(identity, live.log.id, self._desk.clock(), ttl)
        else:
            self._answers.forget(identity, live.log.id)


def answer_fields(log: EventLog) -> bytes:
    """Return the fields that whoever is answered by what is kept is told besides."""
    return log.fields + dropped_field(log.dropped)


def _passed(order: Order) -> list[tuple[bytes, bytes]]:
    """Return the fields that some target of the model would be sent."""
    targets = [order.targets[place] for place in range(len(order.targets))]
    names = {name for target in targets for name in target.provider.dialect.wire.passed}
    return [field for field in order.head.headers if field[0] in names]


def _join(live: Live, order: Order) -> None:
    """Let a log outlive its readers for as long as the most patient of them may ask."""
    live.patience = max(live.patience, order.patience)
    if live.grace is not None:
        live.grace = None if order.grace is None else max(live.grace, order.grace)
