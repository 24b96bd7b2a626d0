"""One request as it came in, and what became of it; and the reader that makes them of bytes."""

import re
import time
from typing import Any


HEAD_LIMIT = 64 * 1024  # twice what the gateway lets through
BODY_LIMIT = 64 * 1024 * 1024  # three times the gateway's largest body
_CHUNK_LINE_LIMIT = 256  # a size and a short extension
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?")
_END_OF_HEAD = b"\r\n\r\n"
# What is spoken at paths that begin like this; elsewhere it is OpenAI's chat completions.
_DIALECTS = {
    "/v1/messages": "anthropic",
    "/v1/responses": "responses",
    "/v1/models/": "gemini",
    "/v1beta/": "gemini",
}


class BadRequest(Exception):
    """The bytes are not a request; the connection is of no more use."""


class Exchange:
    """A request, and how answering it went.  Times are `time.monotonic()` seconds."""

    __slots__ = (
        "answered",
        "body",
        "cancelled",
        "connection",
        "ended",
        "ended_at",
        "fault",
        "head",
        "headers",
        "json",
        "method",
        "path",
        "received",
        "reused",
        "tokens",
        "version",
    )

    def __init__(self, head: bytes) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        self.method, self.path, self.version = _request_line(first)
        self.head = head  # as it came, for who counts repeated fields
        self.headers = dict(map(_field, lines))  # names in lower case, the last of a name
        self.body = b""
        self.json: Any = None  # the body, once a route has decoded it
        self.fault = ""  # what spoils its answer
        self.connection = 0  # the number of its connection, from 1
        self.reused = False  # whether that connection had carried a request before
        self.tokens = 0  # content tokens sent
        self.received = time.monotonic()
        self.answered: float | None = None  # when the first byte of the answer went out
        self.ended_at: float | None = None  # when the answer ended, or the client left
        self.ended = False  # all was said that was to be said
        self.cancelled = False  # the client left before that

    @property
    def dialect(self) -> str:
        """What the client speaks."""
        found = (name for path, name in _DIALECTS.items() if self.path.startswith(path))
        return next(found, "openai")

    def __repr__(self) -> str:
        fate = "cancelled" if self.cancelled else "ended" if self.ended else "open"
        return f"<{self.method} {self.path} {fate}, {self.tokens} tokens>"


def _request_line(line: str) -> tuple[str, str, str]:
    try:
        method, path, version = line.split(" ")
    except ValueError:
        raise BadRequest(f"not a request line: {line[:80]!r}") from None
    return method, path, version


def _field(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise BadRequest(f"not a field line: {line[:80]!r}")
    return name.lower(), value.strip()


class RequestReader:
    """Make requests of the bytes of one connection."""

    __slots__ = ("_buffer", "_chunks", "_exchange", "_left", "_searched", "_size")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0  # how much of _buffer holds no end of the head
        self._exchange: Exchange | None = None  # its head is complete, its body is not
        self._left: int | None = None  # bytes its body has; None: it is chunked
        self._chunks: list[bytes] = []  # the chunks it has so far
        self._size = 0  # and what they amount to

    @property
    def held(self) -> int:
        """How many bytes wait to be made a request of."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take what the socket gave."""
        self._buffer += data

    def next(self) -> Exchange | None:
        """Return the next complete request, or None if more bytes are needed.

        Raises:
            BadRequest: no request begins like this.
        """
        if self._exchange is None and not self._read_head():
            return None
        body = self._chunked_body() if self._left is None else self._sized_body(self._left)
        if body is None:
            return None
        exchange, self._exchange = self._exchange, None
        assert exchange is not None
        exchange.body = body
        return exchange

    def waits_for_continue(self) -> bool:
        """Tell whether the client holds its body back, once per request (RFC 9110 §10.1.1)."""
        if self._exchange is None or self._buffer:
            return False
        return self._exchange.headers.pop("expect", "").lower() == "100-continue"

    def _read_head(self) -> bool:
        end = self._buffer.find(_END_OF_HEAD, max(0, self._searched - 3))
        self._searched = len(self._buffer)
        if max(end, 0) > HEAD_LIMIT or (end < 0 and self._searched > HEAD_LIMIT):
            raise BadRequest("the head is too long")
        if end < 0:
            return False
        self._exchange = Exchange(bytes(self._buffer[:end]))
        del self._buffer[: end + 4]
        self._searched = 0
        self._left = self._body_length(self._exchange.headers)
        self._chunks, self._size = [], 0
        return True

    def _body_length(self, headers: dict[str, str]) -> int | None:
        if "transfer-encoding" in headers:
            return None
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdecimal()) or len(length) > 18:
            raise BadRequest(f"not a content length: {length[:80]!r}")
        return self._checked(int(length))

    def _sized_body(self, length: int) -> bytes | None:
        if len(self._buffer) < length:
            return None
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        return body

    def _chunked_body(self) -> bytes | None:
        while (eol := self._buffer.find(b"\r\n", 0, _CHUNK_LINE_LIMIT)) >= 0:
            match = _CHUNK_SIZE.fullmatch(self._buffer, 0, eol)
            if match is None:
                raise BadRequest(f"not a chunk size: {bytes(self._buffer[:eol])!r}")
            size = int(match[1], 16)
            if size == 0:
                return self._last_chunk(eol)
            if len(self._buffer) < eol + 2 + size + 2:
                self._checked(self._size + size)
                return None
            self._size = self._checked(self._size + size)
            self._chunks.append(bytes(self._buffer[eol + 2 : eol + 2 + size]))
            del self._buffer[: eol + 2 + size + 2]
        if len(self._buffer) >= _CHUNK_LINE_LIMIT:
            raise BadRequest("not a chunk size")
        return None

    def _last_chunk(self, eol: int) -> bytes | None:
        # Searched from the line's own CRLF on, this finds the end with and without trailers.
        end = self._buffer.find(_END_OF_HEAD, eol)
        if end < 0:
            return None
        del self._buffer[: end + 4]
        return b"".join(self._chunks)

    def _checked(self, size: int) -> int:
        if size > BODY_LIMIT:
            raise BadRequest("the body is too long")
        return size
