"""A client of the HTTP server without a socket: it sends, takes or refuses to take, and leaves."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

from gateway.client_errors import RouteNotFound
from gateway.errors import GatewayError, Overloaded
from gateway.guard import RequestHead
from gateway.host import Host, Request
from gateway.http1 import HttpConnection
from gateway.reply import Reply
from tests.fakes import FakeLoop, FakeTransport


MAX_BODY = 1000
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


class ClientTransport(FakeTransport):
    """A server's end of a client's socket.

    As uvloop: `write` takes nothing after `write_eof`, `connection_lost` comes in a later
    turn of the loop, after a `close` only when everything is sent.
    """

    def __init__(self, loop: FakeLoop, peer: object = ("192.0.2.1", 5555)) -> None:
        super().__init__()
        self.protocol: asyncio.Protocol | None = None
        self.taking = True  # the peer takes what is written
        self.shut = False  # write_eof was called
        self._loop = loop
        self._peer = peer
        self._limits = (0, 0)
        self._paused = False

    def set_write_buffer_limits(self, *, high: int, low: int) -> None:
        self._limits = (high, low)

    def get_extra_info(self, name: str) -> Any:
        return {"peername": self._peer, "socket": self.socket}[name]

    def set_protocol(self, protocol: asyncio.Protocol) -> None:
        self.protocol = protocol

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.shut = True

    def write(self, data: bytes) -> None:
        assert not self.shut, "write() after write_eof()"
        super().write(data)
        if not self.taking:
            self.unsent += len(data)
        if self.unsent > self._limits[0] and not self._paused:
            self._paused = True
            self.protocol.pause_writing()

    def take(self, size: int) -> None:
        """Let the peer take some of what is unsent."""
        self.unsent -= min(size, self.unsent)
        if self._paused and self.unsent <= self._limits[1]:
            self._paused = False
            self.protocol.resume_writing()
        if self.closed and not self.unsent:
            self._lose()

    def abort(self) -> None:
        if not self.aborted:
            super().abort()
            self._lose()

    def close(self) -> None:
        if not self.is_closing():
            super().close()
            if not self.unsent:
                self._lose()

    def _lose(self) -> None:
        self._loop.call_soon(self.protocol.connection_lost, None)


class FakeRoute:
    """Does what the path says, and remembers what it saw."""

    max_body = MAX_BODY
    refusal = None

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.replies: list[Reply] = []
        self.left = 0  # how many answers nobody waits for any more
        self._ways: dict[str, Callable[[Reply], None]] = {
            "/later": lambda reply: None,
            "/stream": _begin,
            "/refusal": _refuse,
            "/bug": _break,
            "/bug-later": lambda reply: (self._wait(reply), _break(reply)),
            "/bug-after-answer": lambda reply: (reply.send(200, b"ok"), _break(reply)),
            "/bug-amid-answer": lambda reply: (_begin(reply), _break(reply)),
            "/refusal-amid-answer": lambda reply: (_begin(reply), _refuse(reply)),
            "/empty": lambda reply: reply.send(204, b""),
            "/large": lambda reply: reply.send(200, b"x" * 200_000),
        }

    def handle(self, request: Request, reply: Reply) -> None:
        self.requests.append(request)
        self.replies.append(reply)
        answer = self._ways.get(request.head.path)
        if answer is None:
            reply.send(200, request.head.path.encode())
        else:
            answer(reply)

    def _wait(self, reply: Reply) -> None:
        def leave() -> None:
            self.left += 1

        reply.on_gone = leave


def _begin(reply: Reply) -> None:
    reply.start(200, b"")
    reply.write(b"begin")


def _refuse(reply: Reply) -> None:
    raise Overloaded("not now", retry_after=7)


def _break(reply: Reply) -> None:
    raise ZeroDivisionError("secret detail")


class Site:
    """A host, its only route, and what it was told."""

    def __init__(self, limit: int = 100) -> None:
        self.loop = FakeLoop()
        self.route = FakeRoute()
        self.refused: list[tuple[int, str]] = []  # status, path
        self.crashes: list[Exception] = []
        self._ids = iter(range(1, 1_000_000))
        self.host = Host(
            self._choose,
            limit=limit,
            request_id=lambda: f"made-{next(self._ids)}",
            on_refused=self._on_refused,
            on_crash=self.crashes.append,
            clock=self.loop.time,
            wall=lambda: 784111777.0 + self.loop.now - 1000.0,
        )

    @property
    def paths(self) -> list[str]:
        """The paths of the requests the route has seen."""
        return [request.head.path for request in self.route.requests]

    @property
    def reply(self) -> Reply:
        """The reply of the last request."""
        return self.route.replies[-1]

    def _choose(self, head: RequestHead) -> FakeRoute:
        if head.path == "/nowhere":
            raise RouteNotFound("no such path")
        return self.route

    def _on_refused(
        self, error: GatewayError, head: RequestHead, id: str, client: str
    ) -> None:
        self.refused.append((error.status, head.path))


class FakeClient:
    """One connection to a site."""

    def __init__(self, site: Site, peer: object = ("192.0.2.1", 5555)) -> None:
        self.site = site
        self.transport = ClientTransport(site.loop, peer)
        self.connection = HttpConnection(site.host, site.loop)
        self.transport.protocol = self.connection
        self.connection.connection_made(self.transport)

    def send(self, *pieces: bytes) -> None:
        """Send each piece in a turn of its own; a closing server reads no more."""
        for piece in pieces:
            if not self.transport.is_closing():
                self.transport.protocol.data_received(piece)
            self.site.loop.wind(0)

    def half_close(self) -> None:
        """Send FIN.  The transport closes, as it does when `eof_received` returns nothing."""
        assert not self.transport.protocol.eof_received()
        self.transport.close()

    def reset(self) -> None:
        """Leave without a word."""
        self.transport.abort()
        self.site.loop.wind(0)

    @property
    def answers(self) -> list[int]:
        """The statuses that were written, interim ones too."""
        return [int(status) for status in STATUS.findall(self.transport.written)]

    @property
    def is_open(self) -> bool:
        """Whether more requests may come."""
        return not (self.transport.is_closing() or self.transport.shut)


def get(path: str, *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    """Return a request without a body."""
    lines = "".join(f"{field}\r\n" for field in fields)
    return f"{method} {path} HTTP/{version}\r\nHost: a\r\n{lines}\r\n".encode("latin-1")


def post(path: str, body: bytes, *fields: str) -> bytes:
    """Return a request with a body and its length."""
    return get(path, f"Content-Length: {len(body)}", *fields, method="POST") + body
