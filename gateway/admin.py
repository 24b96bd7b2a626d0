"""The admin listener: what an operator and Prometheus read.  Never public.

A browser on the operator's machine could be led here by a name that its attacker
rebinds to loopback, so the Host must be an address, `localhost`, or our own name.
"""

from collections.abc import Callable, Mapping

import orjson

from gateway import metrics
from gateway.client_errors import MethodNotAllowed, Misdirected, RouteNotFound
from gateway.guard import RequestHead
from gateway.host import MAX_UNWANTED, Request
from gateway.reply import Reply
from gateway.resolver import is_literal


TEXT = b"text/plain; charset=utf-8"

Checks = Callable[[], Mapping[str, bool]]


class Admin:
    """The routes of the admin listener."""

    max_body = MAX_UNWANTED  # nothing here takes one
    refusal = None  # judged with the whole request

    def __init__(self, figures: metrics.Metrics, checks: Checks, host: str) -> None:
        self._metrics = figures
        self._checks = checks  # what readiness consists of
        self._hosts = {"localhost", host.lower()}
        self._table: dict[str, Callable[[Request, Reply], None]] = {
            "/metrics": self._render,
            "/livez": self._live,
            "/healthz": self._live,
            "/readyz": self._ready,
        }

    def route(self, head: RequestHead) -> "Admin":
        """Send every request to `handle`, with one limit for its body."""
        return self

    def handle(self, request: Request, reply: Reply) -> None:
        """Serve a request."""
        head = request.head
        host = head.get(b"host").decode("latin-1").lower().rpartition(":")
        name = (host[0] if host[1] and host[2].isdigit() else "".join(host)).strip("[]")
        if name and name not in self._hosts and not is_literal(name):
            raise Misdirected(f"this listener does not answer for {name}")
        serve = self._table.get(head.path)
        if serve is None:
            raise RouteNotFound("no such path")
        if head.method not in ("GET", "HEAD"):
            raise MethodNotAllowed("this path takes GET, HEAD", allow="GET, HEAD")
        serve(request, reply)

    def _render(self, request: Request, reply: Reply) -> None:
        reply.send(200, self._metrics.render(), type=metrics.CONTENT_TYPE)

    def _live(self, request: Request, reply: Reply) -> None:
        reply.send(200, b"ok\n", type=TEXT)

    def _ready(self, request: Request, reply: Reply) -> None:
        checks = self._checks()
        status = 200 if all(checks.values()) else 503
        if "verbose" in request.head.query:
            reply.send(status, orjson.dumps(checks))
        else:
            reply.send(status, b"ok\n" if status == 200 else b"not ready\n", type=TEXT)
