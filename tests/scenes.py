"""A pool, and an exchange, among fakes: the test speaks for the peer, and winds the clock."""

import asyncio
from types import SimpleNamespace

from gateway._sseparse import Batch
from gateway.delay import Delay
from gateway.desk import Desk
from gateway.exchange import Awaited
from gateway.hub import Hub
from gateway.metrics import Metrics
from gateway.pool import Pool, Room
from gateway.settings import Timeouts
from gateway.upstream import UpstreamConnection
from tests.fakes import FakeLoop, FakeProducer, FakeProvider, until


PATIENCE = 5.0  # seconds in the queue
HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
ANSWER = HEAD + b"hello"
LIMIT = 100  # bytes of an answer


class LogScene:
    """A generation's log and its producer; the clock is wound by hand."""

    def __init__(self, *, grace: float | None = 0.0, patience: float = 0.0) -> None:
        self.loop = FakeLoop()
        # A clock of its own: what rings on the other is of the views.
        self.hub = Hub(FakeLoop())  # type: ignore[arg-type]
        self.metrics = Metrics([], [])
        self.desk: Desk = Desk(
            hub=self.hub, metrics=self.metrics, log=None, loop=self.loop, clock=self.loop.time
        )
        self.producer = FakeProducer()
        self.live = self.hub.open(self.producer, grace=grace, patience=patience)

    def publish(self, *data: bytes) -> None:
        """Append these events and wake the readers."""
        self.producer.last = self.loop.now
        self.live.publish(self._batch(*data))

    def publish_quietly(self, *data: bytes) -> None:
        """Append these events; who closes the log wakes the readers."""
        self.live.log.append(self._batch(*data))

    def _batch(self, *data: bytes) -> Batch:
        return Batch(b"".join(data), self.live.log.tail + 1, len(data))


class PoolScene:
    """A pool of connections to nowhere; `str` says how it stands."""

    def __init__(self, limit: int = 2, room: Room | None = None) -> None:
        self.loop = FakeLoop()
        self.dial = FakeProvider(self.loop)
        room = room or Room(1000, lambda: None)
        self.pool = Pool(
            "p", self.dial, limit=limit, room=room, patience=PATIENCE, loop=self.loop
        )

    def ask(self, *, fresh: bool = False) -> "asyncio.Task[UpstreamConnection]":
        return asyncio.ensure_future(self.pool.acquire(fresh=fresh))

    def __str__(self) -> str:
        return repr(self.pool).partition(": ")[2][:-1]


class ExchangeScene(PoolScene):
    """A provider with such a pool, and exchanges with it."""

    def __init__(
        self,
        limit: int = 2,
        *,
        first_event: float = 20.0,
        idle: float = 10.0,
        total: float = 100.0,
    ) -> None:
        super().__init__(limit)
        timeouts = Timeouts(connect=PATIENCE, first_event=first_event, idle=idle, total=total)
        young = Delay(self.loop, min(first_event, idle, total))
        self.provider = SimpleNamespace(name="p", timeouts=timeouts, young=young, pool=self.pool)

    def exchange(self) -> Awaited:
        return Awaited(self.provider, self.loop, self.loop.time, self.loop.time())

    @property
    def peer(self) -> UpstreamConnection:
        """The connection opened last, as its peer speaks on it."""
        return self.dial.connections[-1]

    async def connected(self, number: int) -> None:
        """Return when this many connections were opened and the last carries a request."""
        await until(
            lambda: len(self.dial.connections) >= number and self.dial.transports[-1].written
        )

    async def used(self) -> None:
        """Leave one connection idle that has carried a request."""
        task = asyncio.ensure_future(self.story())
        await self.connected(1)
        self.peer.data_received(ANSWER)
        assert await task == b"hello"
        self.dial.transports[-1].written = b""

    async def story(self, exchange: Awaited | None = None) -> bytes:
        """Ask, take the whole answer, and clean up, as the relay does."""
        exchange = exchange or self.exchange()
        try:
            return await exchange.body(await exchange.head(b"request"), LIMIT)
        finally:
            exchange.release()


async def settled() -> None:
    """Let every task that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)
