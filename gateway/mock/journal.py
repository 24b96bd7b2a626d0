"""What a test looks at, and waits for."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from .exchange import Exchange


MAX_KEPT = 10_000  # requests; the largest test has half as many streams
MAX_KEPT_BYTES = 64 * 1024 * 1024  # of request bodies, so that a bench cannot fill memory


class Connections:
    """How many connections there are."""

    __slots__ = ("open", "total")

    def __init__(self) -> None:
        self.open = 0
        self.total = 0


class Journal:
    """All that happened at one provider, and whoever waits for it to happen."""

    def __init__(self) -> None:
        self.requests: deque[Exchange] = deque()  # the latest, oldest first
        self.connections = Connections()
        self.live: set[Exchange] = set()  # being answered
        self.waiting = False  # somebody is in `until`: tell of every token too
        self._kept_bytes = 0  # of bodies in `requests`
        self._settled_tokens = 0  # sent in exchanges no longer live
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    @property
    def tokens_sent(self) -> int:
        """Content tokens sent so far."""
        return self._settled_tokens + sum(exchange.tokens for exchange in self.live)

    def connected(self) -> int:
        """Count a connection, and return its number."""
        self.connections.open += 1
        self.connections.total += 1
        self.changed()
        return self.connections.total

    def disconnected(self) -> None:
        """Uncount a connection."""
        self.connections.open -= 1
        self.changed()

    def began(self, exchange: Exchange) -> None:
        """Note a request."""
        self.live.add(exchange)
        self.requests.append(exchange)
        self._kept_bytes += len(exchange.body)
        while len(self.requests) > MAX_KEPT or self._kept_bytes > MAX_KEPT_BYTES:
            self._kept_bytes -= len(self.requests.popleft().body)
        self.changed()

    def ended(self, exchange: Exchange, *, cancelled: bool) -> None:
        """Note that all was said, or that the client left before."""
        self.live.remove(exchange)
        self._settled_tokens += exchange.tokens
        exchange.cancelled = cancelled
        exchange.ended = not cancelled
        exchange.ended_at = time.monotonic()
        self.changed()

    def changed(self) -> None:
        """Let everyone in `until` look again."""
        for predicate, waiter in self._waiters:
            if waiter.done():
                continue
            try:
                if predicate():
                    waiter.set_result(None)
            except Exception as error:  # the test's own mistake belongs to the test
                waiter.set_exception(error)

    async def until(self, predicate: Callable[[], bool], seconds: float) -> None:
        """Return as soon as `predicate()` holds; it is asked again after every change.

        Raises:
            TimeoutError: it did not hold within `seconds`; the message has the state.
        """
        if predicate():
            return
        entry = (predicate, asyncio.get_running_loop().create_future())
        self._waiters.append(entry)
        self.waiting = True
        try:
            async with asyncio.timeout(seconds):
                await entry[1]
        except TimeoutError:
            raise TimeoutError(f"not within {seconds} s: {self!r}") from None
        finally:
            self._waiters.remove(entry)
            self.waiting = bool(self._waiters)

    def __repr__(self) -> str:
        return (
            f"<{self.connections.open} of {self.connections.total} connections open, "
            f"{len(self.live)} answers under way, {self.tokens_sent} tokens sent, "
            f"requests {list(self.requests)[-5:]}>"
        )
