"""The connections to one upstream: who gets one, who waits, which is given up.

Deciding is `choose`, which does no I/O; the rest does as it says.  A connection is in
exactly one place: the idle stack (most recently used last, taken first: the others
grow old and go), or with one exchange, which must give it back by `release`, whatever
happened.  Waiters are served in the order they came.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from functools import partial

from gateway.alarm import Alarm
from gateway.errors import GatewayError, Overloaded
from gateway.upstream import UpstreamConnection


# Seconds an idle connection is trusted: under the 60 s after which many providers and
# load balancers close theirs.
IDLE_LIMIT = 50.0
# Requests that may wait for a connection, per upstream; more are refused at once, since
# they would only wait to be refused.
MAX_WAITERS = 10_000

Dial = Callable[[Callable[[UpstreamConnection], None]], Awaitable[UpstreamConnection]]


class Choice(Enum):
    REUSE = auto()
    DIAL = auto()
    WAIT = auto()
    REFUSE = auto()


def choose(*, idle: int, active: int, waiting: int, limit: int) -> Choice:
    """Say how a request gets its connection."""
    if idle:
        return Choice.REUSE
    if active < limit:
        return Choice.DIAL
    return Choice.WAIT if waiting < MAX_WAITERS else Choice.REFUSE


class Room:
    """At most `limit` connections to all upstreams together.

    A client may have many under way there, and who takes the last file descriptor leaves
    none for the clients that come.
    """

    def __init__(self, limit: int, on_full: Callable[[], None]) -> None:
        self.limit = limit
        self.pools: list[Pool] = []  # of this room
        self._on_full = on_full
        self._told = False  # that it is full; until half of it is free

    def found(self) -> bool:
        """Say whether one more may be opened; those that are idle go first."""
        active = sum(pool.active for pool in self.pools)
        if active + sum(len(pool.idle) for pool in self.pools) < self.limit:
            self._told &= active > self.limit // 2
            return True
        for pool in self.pools:
            pool.drop_idle()
        if active >= self.limit and not self._told:
            self._told = True
            self._on_full()
        return active < self.limit


class Pool:
    """At most `limit` connections to one upstream."""

    def __init__(
        self,
        name: str,
        dial: Dial,
        *,
        limit: int,
        room: Room,
        patience: float,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.name = name
        self.limit = min(limit, room.limit)
        self.active = 0  # connections with an exchange, and those being opened
        self.idle: list[UpstreamConnection] = []
        # In the order they came; a dict, since one that gives up leaves from the middle.
        self.waiters: OrderedDict[asyncio.Future[UpstreamConnection | None], None] = OrderedDict()
        self._dial = dial
        self._room = room
        room.pools.append(self)
        self._patience = patience  # seconds in the queue
        self._loop = loop
        self._reaper: asyncio.TimerHandle | None = None
        self._closed = False

    def __repr__(self) -> str:
        return (
            f"<Pool {self.name}: {self.active} active, {len(self.idle)} idle, "
            f"{len(self.waiters)} waiting>"
        )

    @property
    def full(self) -> bool:
        """Whether a request would have to wait for a connection."""
        return self.active >= self.limit and not self.idle

    def take(self) -> UpstreamConnection | None:
        """Return the idle connection that `acquire` would give, the caller's now; None: no such."""
        if not self.idle:
            return None
        self.active += 1
        return self.idle.pop()

    async def acquire(self, *, fresh: bool = False) -> UpstreamConnection:
        """Return a connection that is now the caller's; `fresh` refuses a used one.

        Raises:
            Overloaded: no connection came free in time, or there is no room for one more.
            UpstreamUnavailable: a new connection could not be opened.
        """
        if fresh:
            # The one that proved stale was the most recently used: the others are older.
            self.drop_idle()
        choice = choose(
            idle=len(self.idle), active=self.active, waiting=len(self.waiters), limit=self.limit
        )
        if choice is Choice.REUSE:
            self.active += 1
            return self.idle.pop()
        if choice is Choice.REFUSE:
            raise self._overloaded()
        if choice is Choice.WAIT:
            connection = await self._wait()
            if connection is not None:
                if connection.alive and not fresh:
                    return connection
                connection.abort()
        elif self._room.found():
            self.active += 1
        else:
            raise Overloaded(f"upstream {self.name}: there is no room for another connection")
        # From here on a slot is ours, whatever becomes of the attempt.
        try:
            return await self._dial(self._lost)
        except BaseException:
            self._free(None)
            raise

    def release(self, connection: UpstreamConnection, *, reusable: bool) -> None:
        """Take a connection back; unless `reusable` it is dropped."""
        if not reusable or self._closed or not connection.finish():
            connection.abort()
            self._free(None)
        elif self.waiters:
            self._free(connection)
        else:
            self._keep(connection)

    def close(self) -> None:
        """Drop what is idle now and what comes back later."""
        self._closed = True
        self.drop_idle()
        if self._reaper is not None:
            self._reaper.cancel()

    def drop_idle(self) -> None:
        """Drop what is idle now."""
        idle, self.idle = self.idle, []
        for connection in idle:
            connection.abort()

    # Inside.

    async def _wait(self) -> UpstreamConnection | None:
        """Return a connection given back by another exchange, or None: its slot only."""
        waiter: asyncio.Future[UpstreamConnection | None] = self._loop.create_future()
        self.waiters[waiter] = None
        due = self._loop.time() + self._patience
        alarm = Alarm(self._loop, partial(self._give_up, waiter), due)
        try:
            return await waiter
        except asyncio.CancelledError:
            # Cancelled in the moment between being served and waking up.
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._free(waiter.result())
            raise
        finally:
            alarm.cancel()
            self.waiters.pop(waiter, None)

    def _give_up(
        self, waiter: "asyncio.Future[UpstreamConnection | None]", now: float
    ) -> None:
        if not waiter.done():
            waiter.set_exception(self._overloaded())

    def _overloaded(self) -> GatewayError:
        return Overloaded(f"upstream {self.name}: all {self.limit} connections are in use")

    def _free(self, connection: UpstreamConnection | None) -> None:
        """Pass a slot, and the connection in it if it is good, to the next in line."""
        while self.waiters:
            waiter, _ = self.waiters.popitem(last=False)
            if not waiter.done():
                waiter.set_result(connection)
                return
        # It may have died since it was given back, on its way to one who no longer waits.
        if connection is not None and connection.alive and not self._closed:
            self._keep(connection)
        else:
            self.active -= 1

    def _keep(self, connection: UpstreamConnection) -> None:
        """Have a connection idle until somebody wants it."""
        self.active -= 1
        connection.idle_since = self._loop.time()
        self.idle.append(connection)
        if self._reaper is None:
            self._reaper = self._loop.call_later(IDLE_LIMIT, self._reap)

    def _lost(self, connection: UpstreamConnection) -> None:
        if connection in self.idle:
            self.idle.remove(connection)

    def _reap(self) -> None:
        """Drop what has been idle for too long; look again when the next one will have."""
        now = self._loop.time()
        old = [c for c in self.idle if now - c.idle_since >= IDLE_LIMIT]
        self.idle = self.idle[len(old) :]  # oldest first
        for connection in old:
            connection.abort()
        self._reaper = None
        if self.idle:
            due = self.idle[0].idle_since + IDLE_LIMIT
            self._reaper = self._loop.call_at(due, self._reap)
