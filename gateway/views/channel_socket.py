"""A channel on a plain WebSocket: JSON out, JSON in, and nothing around it."""

from collections.abc import Callable

import orjson
from wsproto.frame_protocol import CloseReason

from gateway._sseparse import depth, entries, text_frame
from gateway.channel import MAX_DEPTH
from gateway.client_errors import ClientError, RequestTooLarge
from gateway.desk import Desk
from gateway.hub import Live
from gateway.views.portion import Portion
from gateway.views.socket import FramesView
from gateway.views.view import greeting
from gateway.websocket import WebSocket


class ChannelSocket(FramesView):
    """Each entry from now on is a frame, each JSON object from the client an entry.

    `publish` appends one; a ClientError from it closes the socket, as does all else that
    a client may say.
    """

    __slots__ = ("_publish",)

    def __init__(
        self,
        live: Live,
        desk: Desk,
        publish: Callable[[bytes], object],
        *,
        subject: str = "",
        left: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(live, desk, cursor=live.log.tail, subject=subject, left=left)
        self._publish = publish

    def opened(self, socket: WebSocket) -> None:
        """Begin to follow the channel, which may greet."""
        hello = greeting(self._live, self._desk)
        if hello:
            socket.send(hello)
        super().opened(socket)

    def text(self, message: str) -> None:
        """Publish an object."""
        raw = message.encode()
        try:
            _check_object(raw)
            self._publish(raw)
        except RequestTooLarge as error:
            self._socket.close(CloseReason.MESSAGE_TOO_BIG, error.message)
        except ClientError as error:
            self._refuse(error.message)

    def _framed(self, portion: Portion) -> bytes:
        payloads = [payload for batch in portion.batches for _, payload in entries(batch.data)]
        return b"".join(map(text_frame, payloads))


def _check_object(raw: bytes) -> None:
    """Return if it is one: an array would be published as its elements."""
    if depth(raw) > MAX_DEPTH:
        raise ClientError(f"a message nests at most {MAX_DEPTH} levels")
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ClientError("a message is JSON") from error
    if not isinstance(value, dict):
        raise ClientError("a message is a JSON object")
