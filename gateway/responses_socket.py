"""The Responses API on one WebSocket, as OpenAI has it.

    response.create {stream_id, previous_response_id, generate, model, input, …}

Of one `stream_id`, a lane, responses come one after the other; lanes go on side by side.
The events are those of the stream over HTTP.  The latest response of each lane can be
continued on any by its id, with nothing but what is new, also where no provider knows it.
With `generate: false` a request is only remembered, to be continued.
"""

from collections import OrderedDict, deque
from functools import partial
from typing import Any, NamedTuple

import orjson

from gateway._sseparse import entries, text_frame
from gateway.alarm import Alarm
from gateway.client_errors import ClientError, ConnectionTooOld
from gateway.desk import Desk
from gateway.dialects.calls import Call, Heading
from gateway.dialects.known import CLIENTS
from gateway.doors import Doors
from gateway.errors import GatewayError, Overloaded
from gateway.eventlog import State
from gateway.lane_socket import MAX_ID, MAX_LANES, LaneSocket, lane_id
from gateway.responses import DIALECT, Responses, is_stored
from gateway.sharing import Seat
from gateway.snapshots import snapshot
from gateway.targets import Target
from gateway.turns import Turn, Turns, continued, items_in, with_answer
from gateway.upgrades import Upgrades
from gateway.views.lane import Delivery
from gateway.views.response_lane import ResponseLane, error_frame, tag_of, tagged
from gateway.visits import Visit


# Seconds that a socket may be open: OpenAI's own limit, for which its clients are made.
LIFETIME = 3600.0
# Requests on one socket that wait for others of their lane; each has up to a message's size.
MAX_WAITING = 8
# Chosen if it is offered: a browser that offers a ticket must be answered something else.
PROTOCOL = "headgate.responses.v1"
# What is of the socket, and not of the request.
NOT_ASKED = frozenset(("type", "stream_id", "generate", "stream", "background"))


class ResponsesSockets:
    """The route on which responses are asked for over WebSocket."""

    def __init__(
        self, doors: Doors, responses: Responses, upgrades: Upgrades, desk: Desk
    ) -> None:
        self.turns = Turns()
        self.doors = doors
        self.responses = responses
        self.desk = desk
        self._upgrades = upgrades

    def serve(self, visit: Visit) -> None:
        """Answer requests, many at once, until the client closes."""
        if visit.request.head.get(b"idempotency-key"):
            raise ClientError("a WebSocket has many requests: one key cannot stand for them all")
        self._upgrades.upgrade(visit, PROTOCOL, partial(ResponsesSocket, visit, self))


class Asked(NamedTuple):
    """One request on its way.  An answer may last for minutes: what led to it is kept as bytes."""

    lane: str | None
    items: bytes  # what was said up to here, as a turn has it
    stored: bool


class ResponsesSocket(LaneSocket[ResponseLane]):
    """The session of a WebSocket on which somebody asks for responses."""

    __slots__ = ("_alarm", "_begun", "_latest", "_route", "_waiting")

    def __init__(self, visit: Visit, route: ResponsesSockets) -> None:
        super().__init__(visit)
        self._route = route
        self._begun = 0
        self._waiting: dict[str | None, deque[dict[str, Any]]] = {}
        # The id of each lane's latest response; the lane used longest ago first.
        self._latest: OrderedDict[str | None, str] = OrderedDict()
        loop = route.desk.loop
        self._alarm = Alarm(loop, self._expire, loop.time() + LIFETIME)

    def gone(self) -> None:
        """Leave all lanes, and forget what was said."""
        self._alarm.cancel()
        self._waiting.clear()
        super().gone()
        for id in self._latest.values():
            self._route.turns.forget(self, id)

    # What messages say.

    def _do(self, said: dict[str, Any]) -> None:
        if said.get("type") != "response.create":
            raise ClientError("type is response.create", param="type")
        lane = lane_id(said, "stream_id")
        if self._closing is not None:
            raise self._closing
        if lane in self._lanes:
            self._wait(lane, said)
        else:
            self._begin(lane, said)

    def _refusal(self, said: dict[str, Any], error: GatewayError) -> bytes:
        id = said.get("stream_id")
        return error_frame(error, id if isinstance(id, str) and len(id) <= MAX_ID else None)

    def _wait(self, lane: str | None, said: dict[str, Any]) -> None:
        if sum(map(len, self._waiting.values())) >= MAX_WAITING:
            raise Overloaded(f"at most {MAX_WAITING} requests wait on one WebSocket")
        self._waiting.setdefault(lane, deque()).append(said)

    def _begin(self, lane: str | None, said: dict[str, Any]) -> None:
        self._make_room()
        if said.get("background"):
            raise ClientError("a WebSocket has no background", param="background")
        body = {name: value for name, value in said.items() if name not in NOT_ASKED}
        turn = self._previous(body)
        call = _call(continued(turn, body) if turn is not None else body)
        asked = Asked(lane, items_in(call.body), is_stored(body))
        self._begun += 1
        if said.get("generate") is False:
            self._warm_up(asked, call.model)
        elif turn is not None and turn.upstream:
            self._generate(asked, call, _call(body), turn.upstream)
        else:
            self._generate(asked, call)

    def _previous(self, body: dict[str, Any]) -> Turn | None:
        """Return the turn that a request goes on from, None if it goes on from none of ours."""
        previous = body.get("previous_response_id")
        if previous is not None and not isinstance(previous, str):
            raise ClientError("it is the id of a response", param="previous_response_id")
        return self._route.turns.find(self, previous) if previous else None

    # Answers.

    def _generate(
        self, asked: Asked, call: Call, short: Call | None = None, upstream: str = ""
    ) -> None:
        """Begin a response; `upstream` remembers what was said, so to it the `short` is enough."""

        def fit(target: Target) -> Call:
            return short if short is not None and target.provider.name == upstream else call

        delivery = Delivery(self._id())
        stream = self._route.doors.asked(
            self._visit, call, delivery, comes_back=asked.stored, fit=fit
        )
        if asked.stored:
            self._route.responses.note(stream.live)
        lane = self._lanes[asked.lane] = ResponseLane(
            stream.live,
            self._route.desk,
            self._socket,
            delivery,
            id=asked.lane,
            detaches=asked.stored,
            subject=self._visit.caller.subject,
            left=partial(self._left, asked, stream),
        )
        lane.attach()
        stream.begin()

    def _warm_up(self, asked: Asked, model: str) -> None:
        """Answer with a response of nothing: all there is to prepare is to remember it."""
        self._route.doors.ordering.where(model, self._visit.caller)
        heading = Heading(self._id(), model, int(self._route.desk.wall()))
        blocks = CLIENTS[DIALECT].writer(heading).end()
        payloads = [payload for _, payload in entries(b"".join(blocks))]
        response = orjson.loads(payloads[-1])["response"]
        self._remember(asked, response, "")
        tag = tag_of(asked.lane)
        self._socket.write(b"".join([text_frame(tagged(p, tag)) for p in payloads]))

    def _left(self, asked: Asked, seat: Seat) -> None:
        """Go on with a lane whose response sees no more."""
        del self._lanes[asked.lane]
        seat.left()
        log = seat.live.log
        if log.state is State.FINISHED:
            knows = seat.passed_to if asked.stored else ""
            self._remember(asked, snapshot(log), knows)
        self._next(asked.lane)
        self._rest()

    def _next(self, lane: str | None) -> None:
        """Begin what waits on a lane, up to what can be begun."""
        waiting = self._waiting.pop(lane, None)
        while waiting and lane not in self._lanes:
            said = waiting.popleft()
            try:
                self._begin(lane, said)
            except GatewayError as error:
                self._socket.write(self._refusal(said, error))
        if waiting:
            self._waiting[lane] = waiting

    def _remember(self, asked: Asked, response: dict[str, Any], upstream: str) -> None:
        id, turns = response.get("id"), self._route.turns
        if not isinstance(id, str):
            return
        if asked.lane in self._latest:
            turns.forget(self, self._latest.pop(asked.lane))
        self._latest[asked.lane] = id
        turns.remember(self, Turn(id, with_answer(asked.items, response), upstream))
        if len(self._latest) > MAX_LANES:
            turns.forget(self, self._latest.popitem(last=False)[1])

    def _id(self) -> str:
        return f"{self._visit.request.id}.{self._begun}"

    def _expire(self, now: float) -> None:
        minutes = round(LIFETIME / 60)
        error = ConnectionTooOld(f"a WebSocket is open for {minutes} minutes: open another")
        self._socket.write(error_frame(error, None))
        self._close_with(error)


def _call(body: dict[str, Any]) -> Call:
    """Judge a request that came as an object, as if it had come over HTTP."""
    return CLIENTS[DIALECT].read_call(orjson.dumps(body), forced=True)
