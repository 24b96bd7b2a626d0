"""What all connections of one listener share, and what they hand to the routes."""

import time
from collections.abc import Callable
from typing import Final, Protocol
from wsgiref.handlers import format_date_time

import msgspec

from gateway._sseparse import Fields
from gateway.client_errors import ClientError
from gateway.errors import GatewayError
from gateway.guard import RequestHead
from gateway.reply import ErrorBody, Reply
from gateway.roster import Roster


# Bytes of a body that nobody wants, read only to keep the connection.
MAX_UNWANTED = 64 * 1024
# Connections above the limit that are told why, where there are descriptors enough.
OVERLOAD_ANSWERS = 256
# Of a request whose head is not here, or is lost.
NO_HEAD: Final = RequestHead("", "", "", Fields(), http10=False)


class Request(msgspec.Struct, eq=False):
    """One complete request."""

    head: RequestHead
    body: bytes
    id: str
    client: str  # address, for the log
    received: float  # when its last byte was here; seconds of Host.clock

    __repr__ = object.__repr__  # what is asked goes into no log


class Route(Protocol):
    """What a head leads to, known before its body is read."""

    @property
    def max_body(self) -> int:
        """Bytes of body this route takes."""

    @property
    def refusal(self) -> ClientError | None:
        """What it will answer whatever the body is, if that is certain already."""

    def handle(self, request: Request, reply: Reply) -> None:
        """Answer, now or later, through `reply`; a GatewayError raised here is its answer."""


class Connection(Protocol):
    """What a host asks of each of its connections."""

    def retire(self) -> None:
        """Close now if no request is under way, else after the answer."""

    def abort(self) -> None:
        """Drop the connection and what is unsent."""


def _usual(path: str) -> None:
    """Let errors look as OpenAI's do."""


class Host:
    """What all connections of one listener share."""

    def __init__(
        self,
        route: Callable[[RequestHead], Route],
        *,
        limit: int,
        spare: int = OVERLOAD_ANSWERS,
        request_id: Callable[[], str],
        on_refused: Callable[[GatewayError, RequestHead, str, str], None],
        on_crash: Callable[[Exception], None],
        error_body: Callable[[str], ErrorBody | None] = _usual,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.route = route  # raises ClientError
        self.limit = limit  # connections above which new ones are told 503
        self.spare = spare  # of these, so many at once; any more are dropped
        self.request_id = request_id
        # A request never reached its route: why, its head or NO_HEAD, id, client.
        self.on_refused = on_refused
        self.on_crash = on_crash  # a defect of ours: the client gets a bare 500
        self.error_body = error_body  # by the path of a request that reached no route
        self.clock = clock
        self.draining = False
        self.stalls = 0  # clients that were cut because they took nothing any more
        self.connections: Roster[Connection] = Roster()
        self._wall = wall
        self._second = 0.0  # of the date
        self._date = b""

    def date(self) -> bytes:
        """Return the Date field (RFC 9110 §6.6.1), rendered once a second."""
        wall = self._wall
        second = wall() // 1
        if second != self._second:
            self._second = second
            self._date = b"date: " + format_date_time(second).encode() + b"\r\n"
        return self._date

    def stalled(self) -> None:
        """Count a client that was cut."""
        self.stalls += 1

    def drain(self) -> None:
        """Give up keep-alive: idle connections close now, busy ones after their answer."""
        self.draining = True
        for connection in self.connections:
            connection.retire()
