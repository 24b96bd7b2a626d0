"""One configured upstream at work: its pool, and how its requests and answers look.

Request heads are written from bytes prepared at start; of a client's fields only those
on a short list go through, of an answer's fields likewise (facts §2.8).  Never a
client's credentials, never the limits of our own key.
"""

import asyncio
import contextlib
import re
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

from gateway._sseparse import Names
from gateway.addresses import Url
from gateway.breaker import Breaker
from gateway.delay import Delay
from gateway.dial import Dialer, tls_context
from gateway.dialects.dialect import Wire
from gateway.dialects.known import UPSTREAMS
from gateway.guard import RequestHead, ResponseHead
from gateway.keyring import Key, Keyring
from gateway.metrics import Metrics
from gateway.pool import Pool, Room
from gateway.reply import field
from gateway.resolver import Resolver
from gateway.retry import Budget
from gateway.settings import Timeouts, Upstream


TO_CLIENT = Names({
    b"openai-organization",
    b"openai-project",
    b"openai-version",
    b"openai-processing-ms",
    b"x-generation-id",
    b"x-should-retry",
})  # fmt: skip
# Seconds: above this, SDKs do not wait but give up (design §8).
MAX_RETRY_AFTER = 60
# Seconds until a full pool is taken to have room again: another upstream is asked meanwhile.
QUEUE_WAIT = 1.0
DELAY = re.compile(rb"[0-9]{1,18}(\.[0-9]{1,3})?")
# How base URLs end that name the version of an API.
VERSION = re.compile(r"/v[0-9]+[a-z0-9]*$")
DEFAULT_PORTS = {"http": 80, "https": 443}
EVENTS = b"accept: text/event-stream\r\n"
JSON = b"accept: application/json\r\n"


class Provider:
    """What the relay knows of one upstream."""

    def __init__(
        self,
        config: Upstream,
        *,
        resolver: Resolver,
        metrics: Metrics,
        room: Room,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        url = config.base_url
        self.name = config.name
        self.host = url.host
        self.timeouts = config.timeouts
        self.metrics = metrics.upstream(config.name)
        self.dialect = UPSTREAMS[config.dialect]
        # Whether what it sends takes no more memory than it has bytes.  What TLS gives was read
        # into 256 KB, of which 4 KB stay for as long as it is kept.
        self.tight = url.scheme == "http"
        self.young = _young(config.timeouts, loop)
        self.pool = _pool(config, resolver, room, loop, self.metrics.connect.observe)
        self.breaker = Breaker()
        self.budget = Budget()
        secrets = [key.reveal().encode() for key in config.keys]
        self.keys = Keyring(secrets)
        # A key that is the beginning of another must not hide it.
        self._secrets = sorted(secrets, key=len, reverse=True)
        self.named = field(b"headgate-upstream", config.name.encode())  # for the client
        wire = self.dialect.wire
        self._prefix = _prefix(url, wire)
        self._passed = Names(wire.passed)
        self._needed = [(name, field(name, value)) for name, value in wire.fields]
        self._fixed = {key: _fixed_fields(url, wire, key) for key in secrets or [b""]}
        self._of_streams = {key: fields + EVENTS for key, fields in self._fixed.items()}
        self._of_others = {key: fields + JSON for key, fields in self._fixed.items()}

    @property
    def load(self) -> int:
        """How many requests are on their way there, or wait to be."""
        return self.pool.active + len(self.pool.waiters)

    def wait(self, now: float) -> float:
        """Return the seconds until a request should go there: 0 is now, infinity never."""
        busy = QUEUE_WAIT if self.pool.full else 0.0
        return max(busy, self.breaker.wait(now), self.keys.wait(now))

    def redacted(self, data: bytes) -> bytes:
        """Return what a provider said without our keys: some quote one when they refuse it."""
        for key in self._secrets:
            data = data.replace(key, b"***")
        return data

    def redacted_error(self, error: dict[str, Any]) -> dict[str, Any]:
        """Return an error object without our keys."""
        return {
            name: self.redacted(value.encode()).decode() if isinstance(value, str) else value
            for name, value in error.items()
        }

    def request(
        self, path: bytes, head: RequestHead, body: bytes, *, stream: bool, key: Key
    ) -> bytes:
        """Return a whole POST request to `path`, below the base URL's own path, under `key`."""
        fixed = self._of_streams if stream else self._of_others
        # Written as they are: the guard has let no control byte into any value.
        passed = head.lines(self._passed)
        for name, line in self._needed:
            if not head.has(name):
                passed += line
        return b"".join((
            b"POST ", self._prefix, path, b" HTTP/1.1\r\n",
            fixed[key.value],
            passed,
            b"content-type: application/json\r\n"
            b"content-length: ", str(len(body)).encode(), b"\r\n\r\n",
            body,
        ))  # fmt: skip

    def look(self, path: bytes, key: Key) -> bytes:
        """Return a whole GET request to `path`, below the base URL's own path, under `key`."""
        needed = b"".join(line for _, line in self._needed)
        start = b"GET " + self._prefix + path + b" HTTP/1.1\r\n"
        return start + self._fixed[key.value] + needed + b"accept: */*\r\n\r\n"


def _young(limits: Timeouts, loop: asyncio.AbstractEventLoop) -> Delay:
    """Return the line of requests that are out, until the nearest of all limits.

    An answer may begin, and halt, before its first event is due.
    """
    return Delay(loop, min(limits.first_event, limits.idle, limits.total))


def _pool(
    config: Upstream,
    resolver: Resolver,
    room: Room,
    loop: asyncio.AbstractEventLoop,
    on_connected: Callable[[float], None],
) -> Pool:
    url, limits = config.base_url, config.timeouts
    dialer = Dialer(
        config.name,
        url.host,
        url.port,
        tls=tls_context(config.name, config.ca_file) if url.scheme == "https" else None,
        timeout=limits.connect,
        tls_timeout=limits.tls,
        resolver=resolver,
        loop=loop,
        on_connected=on_connected,
    )
    return Pool(
        config.name,
        dialer,
        limit=config.max_connections,
        room=room,
        patience=limits.connect,
        loop=loop,
    )


def _prefix(url: Url, wire: Wire) -> bytes:
    """Return what stands before every path: a base URL may name the version of the API."""
    root = "" if VERSION.search(url.path) else wire.root
    return (url.path + root).encode()


def _fixed_fields(url: Url, wire: Wire, key: bytes) -> bytes:
    """Return the fields that are the same in every request to this upstream under `key`."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    if url.port != DEFAULT_PORTS[url.scheme]:
        host += f":{url.port}"
    fields = field(b"host", host.encode())
    if key:
        fields += field(*wire.credentials(key))
    # identity: a compressed event stream could not be relayed event by event.
    return fields + b"accept-encoding: identity\r\n"


def passed_back(head: ResponseHead) -> bytes:
    """Return the field lines of an answer that are the client's business."""
    # Written as they are: the guard has let no control byte into any value.
    lines = head.lines(TO_CLIENT)
    upstream_id = head.get(b"x-request-id") or head.get(b"request-id")
    if upstream_id:
        lines += b"headgate-upstream-request-id: " + upstream_id + b"\r\n"
    return lines


def retry_after(head: ResponseHead, wall: float) -> int | None:
    """Return how long a client is told to wait: whole seconds, 1 to MAX_RETRY_AFTER."""
    seconds = asked_delay(head, wall)
    return None if seconds is None else min(MAX_RETRY_AFTER, max(1, round(seconds)))


def asked_delay(head: ResponseHead, wall: float) -> float | None:
    """Return how many seconds the provider asks to wait; below 0 if that is over.

    All three forms are read: retry-after-ms, seconds, and a date against `wall`.
    """
    seconds = None
    milliseconds, delay = head.get(b"retry-after-ms"), head.get(b"retry-after")
    if DELAY.fullmatch(milliseconds):
        seconds = float(milliseconds) / 1000
    elif DELAY.fullmatch(delay):
        seconds = float(delay)
    elif delay:
        with contextlib.suppress(ValueError, OverflowError):
            seconds = parsedate_to_datetime(delay.decode("latin-1")).timestamp() - wall
    return seconds
