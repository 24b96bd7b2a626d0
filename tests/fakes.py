"""A transport without a socket, and a loop whose time the test winds by hand."""

import asyncio
import heapq
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from gateway.delay import Delay
from gateway.server import Server
from gateway.systemd import Notifier
from gateway.upstream import UpstreamConnection


class FakeTransport:
    """What a protocol writes to: `written` has the bytes, `aborted` and `closed` its end."""

    def __init__(self) -> None:
        self.written = b""
        self.unsent = 0  # bytes a test lets the peer not take
        self.socket: socket.socket | None = None  # a real one, where that is asked about
        self.reading = True
        self.aborted = False
        self.closed = False  # gracefully

    def write(self, data: bytes) -> None:
        if not self.is_closing():
            self.written += data

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def get_extra_info(self, name: str) -> Any:
        return {"socket": self.socket}[name]

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.aborted or self.closed

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.closed = True


class FakeHandle:
    """A timer that has not rung, of its `owner` if that is known."""

    def __init__(self, due: float, call: Callable[[], object], owner: object) -> None:
        self.due = due
        self.call = call
        self.cancelled = False
        self._owner = owner

    @property
    def idle(self) -> bool:
        """Whether it will do nothing: it is cancelled, or of a line that all have left."""
        return self.cancelled or (isinstance(self._owner, Delay) and not self._owner)

    def cancel(self) -> None:
        self.cancelled = True


class FakeLoop:
    """A clock and its timers; nothing happens until `wind`.  All else is of the running loop."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self._timers: list[tuple[float, int, FakeHandle]] = []
        self.made = 0  # timers so far

    def time(self) -> float:
        return self.now

    def call_at(self, due: float, call: Callable[..., object], *args: Any) -> FakeHandle:
        handle = FakeHandle(due, lambda: call(*args), getattr(call, "__self__", None))
        self.made += 1
        heapq.heappush(self._timers, (due, self.made, handle))
        return handle

    def call_later(self, delay: float, call: Callable[..., object], *args: Any) -> FakeHandle:
        return self.call_at(self.now + delay, call, *args)

    def call_soon(self, call: Callable[..., object], *args: Any) -> FakeHandle:
        return self.call_at(self.now, call, *args)

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.get_running_loop().create_future()

    def create_task(self, story: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        return asyncio.get_running_loop().create_task(story)

    @property
    def timers(self) -> list[float]:
        """When the timers are due that somebody waits for."""
        return sorted(due for due, _, handle in self._timers if not handle.idle)

    def wind(self, seconds: float) -> None:
        """Let time pass, and ring what falls due, at its own time."""
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            due, _, handle = heapq.heappop(self._timers)
            if not handle.cancelled:
                self.now = max(self.now, due)
                handle.call()
        self.now = end


class FakeNotifier(Notifier):
    """Remembers what systemd would have heard: the first line of each message."""

    __slots__ = ("said",)

    def __init__(self) -> None:
        super().__init__({})
        self.said: list[str] = []

    def _send(self, *lines: str) -> None:
        self.said.append(lines[0])


class FakeProvider:
    """Opens connections to nowhere; the test speaks for the peer through `transports`."""

    def __init__(self, loop: Any) -> None:
        self.loop = loop
        self.transports: list[FakeTransport] = []
        self.connections: list[UpstreamConnection] = []
        self.fail: BaseException | None = None  # what the next attempts come to
        self.turns = 0  # of the loop that an attempt takes

    async def __call__(self, on_lost: Callable[[UpstreamConnection], None]) -> UpstreamConnection:
        for _ in range(self.turns):
            await asyncio.sleep(0)
        if self.fail is not None:
            raise self.fail
        connection = UpstreamConnection(on_lost)
        transport = FakeTransport()
        connection.connection_made(transport)  # type: ignore[arg-type]
        self.transports.append(transport)
        self.connections.append(connection)
        return connection


class WoundLoop(FakeLoop):
    """The running loop, but for its clock and timers: those are wound by hand."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio.get_running_loop(), name)


def wind_by_hand(server: Server) -> WoundLoop:
    """Give a server's jobs and exchanges a clock that only the test moves."""
    desk, loop = server.desk, WoundLoop()
    desk.loop = loop  # type: ignore[assignment]
    desk.clock = server.public.host.clock = loop.time
    for waiting in (desk, *server.providers.values()):
        waiting.young = Delay(loop, waiting.young.seconds)  # type: ignore[arg-type]
    return loop


async def until(holds: Callable[[], object]) -> None:
    """Let the running loop turn until `holds()`; a test that waits in vain runs out of patience."""
    while not holds():  # noqa: ASYNC110 - for what tells nobody when it happens
        await asyncio.sleep(0)


class FakeWire:
    """A client's connection that keeps what a reply writes."""

    def __init__(self, *, keep_alive: bool = True) -> None:
        self.keep_alive = keep_alive
        self.writes: list[bytes] = []
        self.told: list[str] = []

    @property
    def written(self) -> bytes:
        """All writes put together."""
        return b"".join(self.writes)

    @property
    def parts(self) -> tuple[bytes, list[bytes], bytes]:
        """Status line, fields and body of what was written."""
        head, _, body = self.written.partition(b"\r\n\r\n")
        status, *fields = head.split(b"\r\n")
        return status, fields, body

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def answered(self) -> None:
        self.told.append("answered")

    def upgrade(self, head: bytes, successor: object) -> None:
        self.write(head)
        self.told.append(f"upgrade: {successor}")

    def abort(self) -> None:
        self.told.append("abort")

    def date(self) -> bytes:
        return b"date: now\r\n"


class FakeProducer:
    """Fills a log; notes what the hub wants of it."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.last = 0.0

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")

    def cancel(self, reason: str) -> None:
        self.told.append(f"cancel: {reason}")
