"""One answer to one client request: heads from prebuilt bytes, bodies framed by hand.

A reply goes one of three ways, once:

    send(status, type, body)                    a whole answer with Content-Length
    start(status, fields), write(data)…, end(data)  a stream, chunked for HTTP/1.1
    upgrade(fields, successor)  another protocol, which has the connection from then on

h11 could write both; it costs 30 µs a head and 1.3 µs a chunk, and what is written
here is made of constants and validated values only: `field` refuses control bytes.
"""

import asyncio
import re
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Protocol

import orjson

from gateway._sseparse import RAW, Outlet
from gateway.errors import GatewayError
from gateway.upstream_errors import UpstreamAnswer


class StatusLines(dict[int, bytes]):
    """Status lines, of any three-digit status: a provider may answer with one that is new."""

    def __missing__(self, status: int) -> bytes:
        return b"HTTP/1.1 %d \r\n" % status  # the phrase is optional (RFC 9112 §4)


STATUS_LINES = StatusLines(
    (s.value, f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode()) for s in HTTPStatus
)
BODYLESS = frozenset({204, 304})
JSON = b"application/json"
# On every answer that is one body and does not say otherwise: a cached answer is somebody
# else's answer, and so is one whose type was guessed.
NO_STORE = b"cache-control: no-store\r\n"
NOSNIFF = b"x-content-type-options: nosniff\r\n"
# Bytes from which a body is not copied behind its head: many may wait for the same one, of up
# to 64 MB (`kept.py`), and a connection that takes nothing keeps what it was given.
SHARED = 64 * 1024
CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

# Makes what a client is sent of an error, with the id of its request.
ErrorBody = Callable[[GatewayError, str], dict[str, Any]]


def field(name: bytes, value: bytes) -> bytes:
    """Return one field line.

    Raises:
        ValueError: the value holds a control byte, so it could forge another field.
    """
    if CONTROL.search(value):
        raise ValueError(f"control byte in the value of {name.decode()}")
    return b"%b: %b\r\n" % (name, value)


# Types of answers whose line is remembered: a provider has one or two.
@lru_cache(64)
def type_field(type: bytes) -> bytes:
    """Return the field line of a body's type; raise as `field` does."""
    return field(b"content-type", type)


class Successor(Protocol):
    """What has a connection after an upgrade."""

    @property
    def bytes_sent(self) -> int:
        """Bytes written after the head."""

    def take_over(
        self,
        transport: asyncio.Transport,
        head: bytes,
        early: bytes,
        *,
        on_lost: Callable[["Successor"], None],
        on_stalled: Callable[[], None],
        on_crash: Callable[[Exception], None],
    ) -> None:
        """Become the transport's protocol, write the answer's head, read what came early.

        `on_lost(self)` is called when the transport is gone, `on_stalled` when the client is
        cut because it takes nothing, `on_crash` for defects of ours.
        """

    def retire(self) -> None:
        """End soon: the listener drains."""

    def abort(self) -> None:
        """Drop the connection and what is unsent."""


class Wire(Protocol):
    """What a reply asks of its connection."""

    @property
    def keep_alive(self) -> bool: ...

    @property
    def write(self) -> Callable[[bytes], object]: ...

    def answered(self) -> None: ...

    def upgrade(self, head: bytes, successor: Successor) -> None: ...

    def abort(self) -> None: ...

    @property
    def date(self) -> Callable[[], bytes]:
        """What returns the Date field."""


class Reply:
    """The answer to one client request.  Its calls are harmless once the client is gone."""

    # No Struct, for the same reason as `Exchange`: it is written to often.
    __slots__ = (
        "_outlet", "_paused", "_sent", "_successor", "_wire",
        "ended", "error_body", "fields", "http10", "method", "on_gone", "on_writable",
        "request_id", "status",
    )  # fmt: skip

    def __init__(self, wire: Wire, request_id: str, method: str, http10: bool) -> None:
        self.request_id = request_id
        self.method = method
        self.http10 = http10
        self.status = 0  # once a head was written
        self.ended = False
        self.fields = b""  # field lines that whatever is answered carries
        # How an error looks in the client's dialect, with the request's id; None: as OpenAI's.
        self.error_body: ErrorBody | None = None
        # Set by whoever answers: the client left; the client takes more again.
        self.on_gone: Callable[[], None] | None = None
        self.on_writable: Callable[[], None] | None = None
        self._wire = wire
        self._outlet: Outlet | None = None  # once a stream has begun
        self._successor: Successor | None = None  # who has the connection after an upgrade
        self._paused = False
        self._sent = 0  # bytes of a whole answer's body

    def send(
        self,
        status: int,
        body: bytes,
        *,
        type: bytes = JSON,
        fields: bytes = b"",
        caching: bytes = NO_STORE,
    ) -> None:
        """Write a whole answer and end the reply.

        `type` b"": the `fields` say it.  `caching` is the field line for caches.
        """
        size = len(body)
        fields = caching + NOSNIFF + fields
        # To HEAD the length is that of the answer to GET (RFC 9110 §8.6), if there is one here.
        if status not in BODYLESS and (size or self.method != "HEAD"):
            fields = b"content-length: %d\r\n%b" % (size, fields)
        if size and type:
            fields = type_field(type) + fields
        head = self._head(status, fields)
        if self.method == "HEAD" or status in BODYLESS:
            size, body = 0, b""
        self._sent = size
        if size < SHARED:
            self._wire.write(head + body)
        else:
            self._wire.write(head)
            self._wire.write(body)
        self._finish()

    def error(self, error: GatewayError, *, fields: bytes = b"") -> None:
        """Write an error and end the reply."""
        fields += b"headgate-error-source: " + error.source.encode() + b"\r\n"
        if error.retry_after is not None:
            fields += b"retry-after: %d\r\nretry-after-ms: %d\r\n" % (
                error.retry_after,
                error.retry_after * 1000,
            )
        payload, fields = self._payload(error), fields + error.fields
        self.send(error.status, payload, type=error.media, fields=fields)

    def _payload(self, error: GatewayError) -> bytes:
        if self.error_body is None or isinstance(error, UpstreamAnswer):
            return error.payload()
        return orjson.dumps(self.error_body(error, self.request_id))

    def start(self, status: int, fields: bytes, style: int = RAW, epoch: bytes = b"") -> Outlet:
        """Begin a stream and return where to write it; its head goes out with its first piece.

        `style` and `epoch` say how the outlet is to frame batches.
        """
        chunked = not self.http10
        if chunked:
            fields = b"transfer-encoding: chunked\r\n" + fields
        head = self._head(status, fields)
        outlet = self._outlet = Outlet(self._wire.write, head, chunked, style, epoch)
        outlet.paused = self._paused
        return outlet

    def upgrade(self, fields: bytes, successor: Successor) -> None:
        """Answer 101 and end the reply: the connection is the successor's from now on."""
        head = self._head(101, fields)
        self.ended = True
        self._successor = successor
        wire, self._wire = self._wire, OVER
        wire.upgrade(head, successor)

    def write(self, data: bytes) -> None:
        """Write one piece of a started stream; `data` is not empty."""
        assert self._outlet is not None
        self._outlet.write(data)

    def end(self, data: bytes) -> None:
        """Write the last piece of a started stream, which may be empty, and end it."""
        assert self._outlet is not None
        self._outlet.end(data)
        self._finish()

    @property
    def bytes_sent(self) -> int:
        """Bytes of the body so far, before framing, or of whatever follows an upgrade."""
        if self._successor is not None:
            return self._successor.bytes_sent
        return self._sent if self._outlet is None else self._outlet.sent

    @property
    def paused(self) -> bool:
        """Whether the client takes nothing more for now; its connection says so."""
        return self._paused

    @paused.setter
    def paused(self, paused: bool) -> None:
        self._paused = paused
        if self._outlet is not None:
            self._outlet.paused = paused

    def abort(self) -> None:
        """Break the connection: no client may take what it has for a whole answer."""
        self.ended = True
        self._wire.abort()

    def _head(self, status: int, fields: bytes) -> bytes:
        self.status = status
        wire = self._wire
        date = wire.date
        # HTTP/1.0 never gets keep-alive, so the end of a connection can end its streams.
        # After a switch of protocols there is no HTTP left to end.
        stays = wire.keep_alive or status == 101
        end = b"\r\n" if stays else b"connection: close\r\n\r\n"
        id = self.request_id.encode()
        return b"".join((
            STATUS_LINES[status], date(),
            self.fields, fields,
            b"x-request-id: ", id, b"\r\nrequest-id: ", id, b"\r\n", end,
        ))  # fmt: skip

    def _finish(self) -> None:
        self.ended = True
        wire, self._wire = self._wire, OVER
        wire.answered()


class _Over:
    """The wire of a reply that has ended: a job may keep it for long, but no connection by it."""

    keep_alive = False

    def write(self, data: bytes) -> None: ...

    def answered(self) -> None: ...

    def upgrade(self, head: bytes, successor: Successor) -> None: ...

    def abort(self) -> None: ...

    def date(self) -> bytes:
        return b""


OVER: Wire = _Over()
