"""Names to addresses, off the request path.

A name is looked up once at start; later requests use what is known, however old, while
a fresh look-up runs behind them.  An answer that fails to come never takes a known one away.

Each look-up has a thread of its own, one for a name at a time.  uvloop resolves in a small
pool: some names whose server is silent would hold up all others there, and the end of the
process by half a minute.
"""

import asyncio
import contextlib
import ipaddress
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from math import inf

from gateway.upstream_errors import UpstreamUnavailable


# Seconds an answer is used before it is looked up again behind the requests: providers
# move their load balancers about once a minute.
FRESH = 30.0
# Seconds for which an answer is not doubted: many requests fail in the moment in which one does.
CERTAIN = 1.0
# Seconds a request waits for a name that was never resolved (faults row 4).
PATIENCE = 2.0

Addresses = tuple[str, ...]
Lookup = Callable[[str], Awaitable[Addresses]]


async def system_lookup(host: str) -> Addresses:
    """Ask the system for the addresses of `host`, in the order it prefers."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Addresses] = loop.create_future()
    # A daemon, since nothing can call a look-up back.
    thread = threading.Thread(target=_ask, args=(host, loop, answer), name="names", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise OSError(str(error)) from error
    return await answer


def _ask(
    host: str, loop: asyncio.AbstractEventLoop, answer: "asyncio.Future[Addresses]"
) -> None:
    found: Addresses | Exception
    try:
        infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        found = tuple(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in infos))
    except Exception as error:
        found = error
    with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits any more
        loop.call_soon_threadsafe(_tell, answer, found)


def _tell(answer: "asyncio.Future[Addresses]", found: Addresses | Exception) -> None:
    if answer.done():  # cancelled
        return
    if isinstance(found, Exception):
        answer.set_exception(found)
    else:
        answer.set_result(found)


def is_literal(host: str) -> bool:
    """Say whether `host` is an address already."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class Resolver:
    """What is known of the names of upstreams."""

    def __init__(
        self, lookup: Lookup = system_lookup, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lookup = lookup
        self._clock = clock
        # Looked up when, and the answer; an address is its own, for good.
        self._known: dict[str, tuple[float, Addresses]] = {}
        self._running: dict[str, asyncio.Task[None]] = {}

    def known(self, host: str) -> Addresses | None:
        """Return what is known of `host`, looked up anew behind it if it is old; None: nothing."""
        known = self._known.get(host)
        if known is None:
            if not is_literal(host):
                return None
            known = self._known[host] = (inf, (host,))
        if self._clock() - known[0] >= FRESH:
            self._refresh(host)
        return known[1]

    async def resolve(self, host: str) -> Addresses:
        """Return the addresses of `host`, at once if it was ever resolved.

        Raises:
            UpstreamUnavailable: the name is not known and could not be resolved.
        """
        addresses = self.known(host)
        if addresses is None:
            await asyncio.wait({self._refresh(host)}, timeout=PATIENCE)
            addresses = self.known(host)
        if addresses is None:
            raise UpstreamUnavailable(f"cannot resolve {host}", kind="dns")
        return addresses

    def doubt(self, host: str) -> None:
        """Look `host` up again: nobody answers where it was, so it may have moved."""
        known = self._known.get(host)
        if known is not None and self._clock() - known[0] >= CERTAIN:
            self._refresh(host)

    def close(self) -> None:
        """Stop every look-up that runs."""
        for task in self._running.values():
            task.cancel()

    def _refresh(self, host: str) -> "asyncio.Task[None]":
        """Look `host` up, once at a time however many ask."""
        task = self._running.get(host)
        if task is None:
            task = self._running[host] = asyncio.ensure_future(self._look_up(host))
        return task

    async def _look_up(self, host: str) -> None:
        try:
            addresses = await self._lookup(host)
            if addresses:
                self._known[host] = (self._clock(), addresses)
        except (OSError, UnicodeError):  # the latter: a label that DNS cannot hold
            pass  # the next request asks again; until then what is known holds
        finally:
            del self._running[host]
