"""Chats on one WebSocket: messages in, a lane for each chat out.

    chat    {id, model, messages, …}    begin a generation
    resume  {id, stream, after}         go on with one that was begun anywhere
    stop    {id}                        end one
    ping

An `id` is the client's, and belongs to one chat until that has ended; without it there is
one lane more, which has no name.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import orjson

from gateway._sseparse import text_frame
from gateway.client_errors import ClientError, Conflict
from gateway.desk import STREAMS, Desk
from gateway.dialects import openai
from gateway.doors import Doors
from gateway.errors import GatewayError
from gateway.hub import Live
from gateway.lane_socket import MAX_ID, LaneSocket, lane_id
from gateway.upgrades import Upgrades
from gateway.views.chat_lane import ChatLane
from gateway.views.lane import Delivery
from gateway.visits import Visit


PROTOCOL = "headgate.chat.v1"


class ChatSockets:
    """The route on which people chat over WebSocket."""

    def __init__(self, doors: Doors, upgrades: Upgrades, desk: Desk) -> None:
        self._doors = doors
        self._upgrades = upgrades
        self._desk = desk

    def serve(self, visit: Visit) -> None:
        """Hold chats, many at once, until the client closes."""
        if visit.request.head.get(b"idempotency-key"):
            raise ClientError("a WebSocket has many chats: one key cannot stand for them all")
        session = partial(ChatSocket, visit, self._doors, self._desk)
        self._upgrades.upgrade(visit, PROTOCOL, session)


class ChatSocket(LaneSocket[ChatLane]):
    """The session of a WebSocket on which somebody chats."""

    __slots__ = ("_chats", "_desk", "_doors")

    def __init__(self, visit: Visit, doors: Doors, desk: Desk) -> None:
        super().__init__(visit)
        self._doors = doors
        self._desk = desk
        self._chats = 0  # begun so far

    # What messages say.

    def _do(self, said: dict[str, Any]) -> None:
        id = lane_id(said, "id")
        match said.get("type"):
            case "chat":
                self._chat(id, said)
            case "resume":
                self._resume(id, said)
            case "stop":
                # None of that id has ended meanwhile: that is what was wanted.
                if id in self._lanes:
                    self._lanes[id].stop()
            case "ping":
                self._socket.send(orjson.dumps({"type": "pong"}))
            case _:
                raise ClientError("type is chat, resume, stop or ping", param="type")

    def _refusal(self, said: dict[str, Any], error: GatewayError) -> bytes:
        id = said.get("id")
        tag = {"id": id} if isinstance(id, str) and len(id) <= MAX_ID else {}
        return text_frame(orjson.dumps({"type": "error", **tag, **error.body()}))

    def _chat(self, id: str | None, said: dict[str, Any]) -> None:
        self._make_room_for(id)
        body = {name: value for name, value in said.items() if name not in ("type", "id")}
        if body.get("n") not in (None, 1):
            raise ClientError("a chat has one answer here; open several chats", param="n")
        self._chats += 1
        delivery = Delivery(f"{self._visit.request.id}.{self._chats}")
        stream = self._doors.asked(self._visit, openai.judge(body), delivery)
        lane = self._lane(id, stream.live, delivery, left=stream.left)
        lane.start(dropped=stream.dropped)
        stream.begin()

    def _resume(self, id: str | None, said: dict[str, Any]) -> None:
        self._make_room_for(id)
        place, after = said.get("stream"), said.get("after", "")
        if not isinstance(place, str) or not isinstance(after, str):
            raise ClientError("a resume has a stream, and perhaps a cursor as after")
        live = self._visit.log(place.removeprefix(STREAMS))
        if live.log.dialect != "openai":
            raise ClientError("this stream is no chat completion", param="stream")
        cursor, recovered = self._visit.begin_at(live.log, after)
        self._lane(id, live, Delivery(""), cursor=cursor).start(recovered=recovered)

    def _make_room_for(self, id: str | None) -> None:
        """Return if a lane can be opened under this id."""
        if id in self._lanes:
            raise Conflict("a chat of this id has not ended yet", param="id")
        self._make_room()

    def _lane(
        self,
        id: str | None,
        live: Live,
        delivery: Delivery,
        *,
        cursor: int = 0,
        left: Callable[[], None] | None = None,
    ) -> ChatLane:
        self._lanes[id] = lane = ChatLane(
            live,
            self._desk,
            self._socket,
            delivery,
            id=id,
            cursor=cursor,
            subject=self._visit.caller.subject,
            left=partial(self._left, id, left),
        )
        return lane

    def _left(self, id: str | None, then: Callable[[], None] | None) -> None:
        """Forget a lane that sees no more."""
        del self._lanes[id]
        if then is not None:
            then()
        self._rest()
