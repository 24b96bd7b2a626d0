"""A request's body that did not come with its head."""

from gateway._sseparse import BodyDecoder
from gateway.errors import BadChunk, BodyTooLong, MalformedRequest, RequestTooLarge


class Arriving:
    """A body on its way in.  `framing` and `limit` are as BodyDecoder has them."""

    __slots__ = ("_decoder", "_taken", "due")

    def __init__(self, framing: int, limit: int, due: float) -> None:
        self.due = due  # loop time by which all of it must be here
        self._decoder = BodyDecoder(framing, limit)
        self._taken = bytearray()  # at most `limit`

    @property
    def surplus(self) -> bytes:
        """What came behind its end."""
        return self._decoder.surplus

    def feed(self, data: bytes) -> bytes | None:
        """Return the whole body, or None if more of it must come.

        Raises:
            MalformedRequest: its chunks are not framed as RFC 9112 says.
            RequestTooLarge: it is longer than the limit.
        """
        decoder = self._decoder
        try:
            self._taken += decoder.feed(data)
        except BadChunk as error:
            raise MalformedRequest(error.message) from error
        except BodyTooLong as error:
            raise RequestTooLarge(error.message) from error
        return bytes(self._taken) if decoder.ended else None
