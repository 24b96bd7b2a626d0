"""The ways to ask for a generation: posted or by EventSource, waited for or not, once or again.

POST, stream: false     the whole answer (`unary.py`, or where others may share it `kept.py`)
POST, stream: true      its events, as they come (`views/sse.py`)
  headgate-resume       … with ids, and the generation waits for a client that is lost
  Idempotency-Key       … or those of the same request, asked before
  Prefer: respond-async … read elsewhere: 202, with the log's place
GET …/stream            for a browser's EventSource (`views/chat_events.py`)
a message               on a WebSocket (`chat_socket.py`)
"""

from collections.abc import Callable, Mapping
from functools import partial
from urllib.parse import parse_qsl

import orjson

from gateway.client_errors import Unprocessable
from gateway.desk import STREAMS, Desk
from gateway.dialects import openai
from gateway.dialects.calls import Call
from gateway.dialects.known import CLIENTS
from gateway.eventlog import EventLog, Whole
from gateway.host import Request
from gateway.hub import Live
from gateway.manner import USUAL, Manner, read_manner
from gateway.order import Order, Receipt, dropped_field
from gateway.ordering import Ordering
from gateway.provider import Provider
from gateway.repeats import Repeats
from gateway.settings import Config
from gateway.sharing import Hit, Seat, Sharing, answer_fields
from gateway.unary import Unary
from gateway.views.chat_events import ChatEventsView, has_ending
from gateway.views.response import ResponseView
from gateway.views.sse import ResumableView, SseView
from gateway.views.view import location
from gateway.views.whole import WholeView
from gateway.visits import Serve, Visit
from gateway.wording import Fit


CHAT = "/v1/chat/completions"
# Whether another's answer answers a request.
HIT_FIELD = b"headgate-coalesced: hit\r\n"
MISS_FIELD = b"headgate-coalesced: miss\r\n"
# Names in a query that say how to read, or who reads, and nothing of what is asked.
NOT_ASKED = frozenset(("last_event_id", "ticket", "api_key", "key"))


class Doors:
    """Whoever asks for a generation comes in here."""

    def __init__(self, config: Config, providers: Mapping[str, Provider], desk: Desk) -> None:
        self._desk = desk
        self.ordering = Ordering(config, providers, desk)
        self._repeats = Repeats(desk)
        shared = [model.name for model in config.models.values() if model.coalesce is not None]
        self._sharing = Sharing(desk, shared)

    def posted(
        self, path: str, *, dialect: str = "openai", streams: bool = True, forced: bool = False
    ) -> Serve:
        """Return what serves POSTs that are relayed to `path` below an upstream's base URL.

        `streams` says whether such an answer can be a stream, `forced` that it always is.
        """
        read_call = CLIENTS[dialect].read_call

        def serve(visit: Visit) -> None:
            manner = read_manner(visit.request.head)
            # Who does not wait reads events: there is no log of a whole answer.
            events = forced or (streams and manner.elsewhere)
            call = read_call(visit.request.body, streams=streams, forced=events)
            if call.stream:
                self.stream(visit, call, path, manner)
            else:
                self.whole(visit, call, path, manner)

        return serve

    def whole(
        self,
        visit: Visit,
        call: Call,
        path: str,
        manner: Manner,
        told: Callable[[bytes], None] | None = None,
    ) -> None:
        """Answer a visit with one body; `told` is called with it once it is sent."""
        order = self.ordering.order(visit, call, path, manner)
        if order.coalesce is not None or manner.key:
            self._kept(visit, order, manner, told)
            return
        visit.accounted = True
        Unary(self._desk, order, visit.request, visit.reply, told)

    def event_source(self, visit: Visit) -> None:
        """Serve `GET …/stream`: begin a generation, or go on with one that was begun."""
        head = visit.request.head
        query = dict(parse_qsl(head.query, keep_blank_values=True))
        seen = head.get(b"last-event-id").decode("latin-1") or query.get("last_event_id", "")
        if seen:
            self._go_on(visit, seen)
            return
        call = openai.read_asked({k: v for k, v in query.items() if k not in NOT_ASKED})
        manner = read_manner(head)
        order = self.ordering.order(
            visit, call, openai.CLIENT.path, manner, comes_back=True, early=True
        )
        stream = self._seat(visit, order, manner)
        view = ChatEventsView(stream.live, visit.reply, self._desk, left=stream.left)
        view.attach(stream.dropped)
        stream.begin()

    def asked(
        self, visit: Visit, call: Call, receipt: Receipt,
        *, comes_back: bool = True, fit: Fit | None = None,
    ) -> Seat:  # fmt: skip
        """Prepare a generation that a message asks for, over the connection of this visit.

        What `fit` returns for a target is asked of it in place of `call`.
        """
        head, client = visit.request.head, visit.request.client
        path = CLIENTS[call.dialect].path
        order = self.ordering.order(
            visit, call, path, read_manner(head), comes_back=comes_back, early=True, fit=fit
        )
        request = Request(head, b"", receipt.request_id, client, self._desk.clock())
        return self._sharing.seat(order, request, receipt)

    # Whole answers that more than one may get.

    def _kept(
        self, visit: Visit, order: Order, manner: Manner, told: Callable[[bytes], None] | None
    ) -> None:
        again = self._repeats.under_key(visit, manner.key) if manner.key else None
        if again is not None and not isinstance(again.log, Whole):
            raise Unprocessable("the answer that this key is of is a stream")
        if again is not None:
            log, left = again.log, partial(_left, again.log, visit.ending(again.log), told)
            WholeView(again, visit.reply, fields=lambda: answer_fields(log), left=left).attach()
            return
        seat = self._seat(visit, order, manner)
        left = partial(_left, seat.live.log, seat.left, told)
        WholeView(seat.live, visit.reply, fields=seat.fields, left=left).attach()
        seat.begin()

    # Streams.

    def stream(
        self,
        visit: Visit,
        call: Call,
        path: str,
        manner: Manner,
        *,
        endless: bool = False,
        first: bool = False,
    ) -> Live:
        """Answer a visit from a log, and return that: a new one, or of the same request before.

        With `endless` it goes on to its end without readers.  With `first` the answer is the
        response after its first event, else all events.
        """
        again = None if manner is USUAL else self._repeats.find(visit, manner)
        if again is not None:
            self._repeat(visit, again, call, manner, first=first)
            return again
        kind, elsewhere = ResumableView if manner.resumes else SseView, manner.elsewhere
        order = self.ordering.order(
            visit, call, path, manner,
            comes_back=kind.detaches, endless=endless or elsewhere, early=elsewhere,
        )  # fmt: skip
        stream = self._seat(visit, order, manner)
        if elsewhere:
            _accept(visit, stream.live, stream.dropped)
            stream.left()
        elif first:
            ResponseView(
                stream.live, visit.reply, self._desk, fields=stream.fields, left=stream.left
            ).attach()
        else:
            kind(stream.live, visit.reply, self._desk, stream.fields, stream.left).attach()
        stream.begin()
        return stream.live

    def _seat(self, visit: Visit, order: Order, manner: Manner) -> Seat:
        """Return what answers a visit, which accounts for it from now on."""
        seat = self._sharing.seat(order, visit.request, visit.reply)
        visit.accounted = True
        if order.coalesce is not None:
            visit.reply.fields += HIT_FIELD if isinstance(seat, Hit) else MISS_FIELD
        if manner.key:
            self._repeats.note(visit, manner.key, seat.live.log)
        return seat

    def _repeat(
        self, visit: Visit, live: Live, call: Call, manner: Manner, *, first: bool
    ) -> None:
        """Answer a repeated request from the log of the first."""
        desk, log = self._desk, live.log
        if isinstance(log, Whole):
            raise Unprocessable("the answer that this key is of is no stream")
        if log.dialect != call.dialect:
            raise Unprocessable("the answer that this key or cursor is of is in another dialect")
        if manner.elsewhere:
            _accept(visit, live, [])
            return
        if first:
            ResponseView(
                live, visit.reply, desk, fields=lambda: location(log), left=visit.ending(log)
            ).attach()
            return
        cursor = log.locate(manner.seen or log.cursor(0))  # from the beginning, or not at all
        desk.metrics.resumed("recovered")
        kind = ResumableView if manner.resumes or manner.seen else SseView
        kind(
            live, visit.reply, desk,
            fields=lambda: location(log), cursor=cursor, left=visit.ending(log),
        ).attach()  # fmt: skip

    def _go_on(self, visit: Visit, seen: str) -> None:
        """Let an EventSource that was cut off go on with its generation, or tell it to stop."""
        live = self._repeats.generation(visit, seen)
        if live is None or live.log.dialect != "openai":
            # Nothing but a 204 ends its attempts; a new generation would be a second bill.
            self._desk.metrics.resumed("gone")
            visit.reply.send(204, b"")
            return
        log = live.log
        cursor = log.locate(seen)
        if log.closed and (seen == log.end() or (cursor == log.tail and not has_ending(log))):
            self._desk.metrics.resumed("ended")
            visit.reply.send(204, b"")
            return
        self._desk.metrics.resumed("recovered")
        ChatEventsView(
            live, visit.reply, self._desk, cursor=cursor, left=visit.ending(log)
        ).attach()


def _left(
    log: EventLog, left: Callable[[], None], told: Callable[[bytes], None] | None
) -> None:
    """Say what a whole answer was, when one who asked for it sees no more of it."""
    left()
    if told is not None and log.tail:
        told(log.after(0)[0].data)


def _accept(visit: Visit, live: Live, dropped: list[str]) -> None:
    """Answer 202: the generation goes on, and is read elsewhere."""
    log = live.log
    body = {"id": log.id, "stream": STREAMS + log.id, "state": log.state.value}
    fields = location(live.log) + b"preference-applied: respond-async\r\n" + dropped_field(dropped)
    visit.reply.send(202, orjson.dumps(body), fields=fields)
