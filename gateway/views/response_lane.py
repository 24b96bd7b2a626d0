"""One response among others on a WebSocket: its events as they are, each a frame."""

from collections.abc import Callable
from typing import Any

import orjson

from gateway._sseparse import text_frame
from gateway.client_errors import ClientError, PreviousResponseNotFound
from gateway.desk import Desk
from gateway.dialects.calls import encode
from gateway.dialects.chunks import read
from gateway.errors import GatewayError
from gateway.hub import Live
from gateway.views.lane import Delivery, Lane
from gateway.websocket import WebSocket


class ResponseLane(Lane):
    """The log's own events; one with a `stream_id` has that in each, as OpenAI does.

    A generation that failed before it said anything is an `error` event with a status.
    """

    __slots__ = ("_id", "_tag", "detaches")

    def __init__(
        self,
        live: Live,
        desk: Desk,
        socket: WebSocket,
        delivery: Delivery,
        *,
        id: str | None,
        detaches: bool = True,
        subject: str = "",
        left: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(live, desk, socket, delivery, subject=subject, left=left)
        self.detaches = detaches
        self._id = id
        self._tag = tag_of(id)

    def _shown(self, payload: bytes, number: int) -> bytes:
        return b"" if self._refused else text_frame(tagged(payload, self._tag))

    def _last(self) -> bytes:
        fault = self._live.log.fault
        return self._refusal(fault) if fault is not None and self._refused else b""

    def _refusal(self, error: GatewayError) -> bytes:
        return error_frame(error, self._id)


def tag_of(id: str | None) -> bytes:
    """Return the member that names the lane, as it stands behind others; b"" for none."""
    return b"" if id is None else b',"stream_id":' + orjson.dumps(id)


def tagged(payload: bytes, tag: bytes) -> bytes:
    """Return an event with a member more; what is no event stays as it is."""
    # Not decoded: this is done for every token.
    if not tag:
        return payload
    event = payload.rstrip()
    if not event.endswith(b"}") or b":" not in event:
        return payload
    return event[:-1] + tag + b"}"


def error_frame(error: GatewayError, id: str | None) -> bytes:
    """Return the `error` event for what failed as a whole, with the status it has over HTTP."""
    if isinstance(error, ClientError) and error.param == "previous_response_id":
        error = PreviousResponseNotFound()
    own = read(error.payload()).get("error")
    told: dict[str, Any] = {"type": "error", "status": error.status}
    told["error"] = own if isinstance(own, dict) else error.body()["error"]
    return text_frame(encode(told if id is None else {**told, "stream_id": id}))
