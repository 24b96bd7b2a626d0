"""A request's body that did not come with its head."""

from gateway._sseparse import BodyDecoder
from gateway.client_errors import MalformedRequest, RequestTooLarge
from gateway.errors import BadChunk, BodyTooLong
from gateway.guard import RequestHead
from gateway.host import Route


class Arriving:
    """A request whose head is here, and whose body is on its way in."""

    __slots__ = ("_decoder", "_taken", "due", "head", "route")

    def __init__(self, head: RequestHead, route: Route, due: float) -> None:
        self.head = head
        self.route = route
        self.due = due  # loop time by which all of it must be here
        self._decoder = BodyDecoder(head.framing, route.max_body)
        self._taken = bytearray()  # at most what the route takes

    @property
    def surplus(self) -> bytes:
        """What came behind its end."""
        return self._decoder.surplus

    def feed(self, data: bytes) -> bytes | None:
        """Return the whole body, or None if more of it must come.

        Raises:
            MalformedRequest: its chunks are not framed as RFC 9112 says.
            RequestTooLarge: it is longer than the route takes.
        """
        decoder = self._decoder
        try:
            self._taken += decoder.feed(data)
        except BadChunk as error:
            raise MalformedRequest(error.message) from error
        except BodyTooLong as error:
            raise RequestTooLarge(error.message) from error
        return bytes(self._taken) if decoder.ended else None
