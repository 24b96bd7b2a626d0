"""The session of a WebSocket on which several things are asked for at once.

Each has a lane.  What cannot be done is answered with an error, and the socket stays: other
lanes go on.  While the process drains nothing begins, and the socket closes after the last.
"""

from typing import Any, Generic, TypeVar

import orjson
from wsproto.frame_protocol import CloseReason

from gateway._sseparse import depth
from gateway.client_errors import ClientError
from gateway.dialects.calls import MAX_DEPTH
from gateway.errors import GatewayError, Overloaded
from gateway.views.lane import Lane
from gateway.visits import Visit
from gateway.websocket import WebSocket


# Lanes at once on one socket: a page of many panes; a service opens more sockets.
MAX_LANES = 32
# Characters of a client's id of a lane, which stands in every frame.
MAX_ID = 128

_L = TypeVar("_L", bound=Lane)


class LaneSocket(Generic[_L]):
    """What such sessions have in common."""

    __slots__ = ("_closing", "_lanes", "_socket", "_visit")

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        # By the client's id; whose turn is first, first.
        self._lanes: dict[str | None, _L] = {}
        self._closing: GatewayError | None = None  # why nothing begins any more
        self._socket: WebSocket

    # What the socket says.

    def opened(self, socket: WebSocket) -> None:
        """Begin: nothing is said before the client has."""
        self._socket = socket

    def text(self, message: str) -> None:
        """Do what a message says."""
        said: dict[str, Any] = {}
        try:
            said = _read(message)
            self._do(said)
        except GatewayError as error:
            self._socket.write(self._refusal(said, error))

    def binary(self, message: bytes) -> None:
        """Close: nothing here is binary."""
        self._socket.close(CloseReason.INVALID_FRAME_PAYLOAD_DATA, "messages are text")

    def writable(self) -> None:
        """Go on with the lanes in turn, until the client takes no more."""
        for id in tuple(self._lanes):
            if self._socket.paused:
                return
            if id in self._lanes:  # one that ends may let another begin
                lane = self._lanes[id] = self._lanes.pop(id)  # last, the next time
                lane.wake()

    def retire(self) -> None:
        """Begin nothing new, and close once the last lane has ended."""
        self._close_with(Overloaded("the gateway is shutting down; connect again"))

    def gone(self) -> None:
        """Leave all lanes: what is asked for may be come back to elsewhere."""
        for lane in tuple(self._lanes.values()):
            lane.leave()
        self._visit.account()

    # What each kind does in its own manner.

    def _do(self, said: dict[str, Any]) -> None:
        """Do what a message says; a GatewayError is its answer."""
        raise NotImplementedError

    def _refusal(self, said: dict[str, Any], error: GatewayError) -> bytes:
        """Return the frame that answers a message which cannot be done."""
        raise NotImplementedError

    # Inside.

    def _make_room(self) -> None:
        """Return if another lane can be opened."""
        if self._closing is not None:
            raise self._closing
        if len(self._lanes) >= MAX_LANES:
            raise Overloaded(f"one WebSocket has at most {MAX_LANES} lanes at once")

    def _close_with(self, error: GatewayError) -> None:
        self._closing = error
        self._rest()

    def _rest(self) -> None:
        if self._closing is not None and not self._lanes:
            self._socket.go_away()


def lane_id(said: dict[str, Any], member: str) -> str | None:
    """Return the client's id of the lane that a message is about, None if it names none.

    Raises:
        ClientError: it is no id.
    """
    id = said.get(member)
    if id is not None and (not isinstance(id, str) or len(id) > MAX_ID):
        raise ClientError(f"an id is a string of at most {MAX_ID} characters", param=member)
    return id


def _read(message: str) -> dict[str, Any]:
    raw = message.encode()
    if depth(raw) > MAX_DEPTH:
        raise ClientError(f"the message nests deeper than {MAX_DEPTH} levels")
    try:
        said = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ClientError(f"the message is not JSON: {error}") from error
    if not isinstance(said, dict):
        raise ClientError("a message is a JSON object")
    return said
