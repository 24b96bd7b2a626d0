"""Measure what one event costs for each reader of a log that has many.

    python bench/fanout.py [--readers 1000] [--rate 50] [--seconds 5] [--rounds 3]
                           [--styles kernel,transport,raw,ids,frames]

One log, its readers on loopback sockets that another process drains and checks.  README.md
beside this file says how to read the figures.
Exit status: 0 measured, 1 a reader got something wrong or was left behind.
"""

import argparse
import asyncio
import multiprocessing
import os
import resource
import select
import socket
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from statistics import median
from typing import cast

import targets
import uvloop

from gateway._sseparse import (
    CHUNKED,
    FRAMES,
    IDS,
    RAW,
    EventParser,
    Outlet,
    Tap,
    chunk,
    envelopes,
    with_ids,
)
from gateway.eventlog import EventLog


# What design.md §7 wants of one event for one reader.
MUST_US = 6.0
EPOCH = b"abcd2345"
# Bytes of the log above which those that every reader has are forgotten.
ROOM = 16 * 1024
# Bytes read at once by the draining side: more than one reader ever waits for.
READ = 64 * 1024
# Events before the clock runs: enough to fill caches and grow windows.
WARM_UP = 10

EVENT = (
    b'data: {"id":"chatcmpl-AbCdEf0123456789","object":"chat.completion.chunk",'
    b'"created":1700000000,"model":"gpt-4.1-2025-04-14","system_fingerprint":"fp_0123456789",'
    b'"choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}]}\n\n'
)

# How an event, the n-th, stands on the wire.
WIRE: dict[str, Callable[[int], bytes]] = {
    "kernel": lambda n: chunk(EVENT),
    "transport": lambda n: chunk(EVENT),
    "raw": lambda n: chunk(EVENT),
    "ids": lambda n: chunk(with_ids(EVENT, n, EPOCH)),
    "frames": lambda n: envelopes(EVENT, n, EPOCH),
}
STYLES = {"raw": RAW, "ids": IDS, "frames": FRAMES}


class WrongError(Exception):
    """A reader did not get what it should; what was measured means nothing."""


@dataclass(frozen=True)
class Load:
    """How many readers, events, and events per second."""

    readers: int
    rate: float
    events: int


# --- the far side ------------------------------------------------------------------------------


def drain(port: int, readers: int, core: int, answer: Connection) -> None:
    """Read from so many connections until they end; answer with the checksums met."""
    os.sched_setaffinity(0, {core})
    socks = [socket.create_connection(("127.0.0.1", port)) for _ in range(readers)]
    sums = {sock.fileno(): 0 for sock in socks}
    poll = select.epoll()
    for fd in sums:
        poll.register(fd, select.EPOLLIN)
    left = readers
    while left:
        for fd, _ in poll.poll():
            data = os.read(fd, READ)
            sums[fd] = zlib.crc32(data, sums[fd])
            if not data:
                poll.unregister(fd)
                left -= 1
    answer.send(set(sums.values()))


# --- the near side -----------------------------------------------------------------------------


class Reader(asyncio.Protocol):
    """One client's connection, and what the tap asks of a reader."""

    def __init__(self, side: "Side", style: int | None) -> None:
        self._side = side
        self._style = style
        self.outlet: Outlet | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the others."""
        self.transport = cast(asyncio.Transport, transport)
        if self._style is not None:
            chunked = self._style != FRAMES
            self.outlet = Outlet(self.transport.write, b"", chunked, self._style, EPOCH)
        self._side.readers.append(self)
        if len(self._side.readers) == self._side.load.readers:
            self._side.complete.set()

    def pause_writing(self) -> None:
        """Say that this reader cannot keep up."""
        self._side.behind = True


class Flow(Tap):
    """Events of a provider on their short way."""

    def __init__(self, log: EventLog, readers: list[Reader], pump: Callable[[], None]) -> None:
        super().__init__(EventParser(CHUNKED), log, readers, ROOM, time.monotonic)
        self.pump = pump


class Side:
    """The serving side: a log with its readers."""

    def __init__(self, style: str, load: Load) -> None:
        self.load = load
        self.complete = asyncio.Event()
        self.behind = False
        self.readers: list[Reader] = []
        self._style = style
        self._log = EventLog("gen_1")

    async def run(self, core: int) -> tuple[float, float]:
        """Serve all events; return CPU and system time for each delivery, in µs.

        Raises:
            WrongError: see there.
        """
        loop = asyncio.get_running_loop()
        near, far = multiprocessing.Pipe()
        style = STYLES.get(self._style)
        server = await loop.create_server(lambda: Reader(self, style), "127.0.0.1", 0, backlog=4096)
        port = server.sockets[0].getsockname()[1]
        drainer = multiprocessing.get_context("fork").Process(
            target=drain, args=(port, self.load.readers, core, far), daemon=True
        )
        drainer.start()
        far.close()
        await self.complete.wait()
        cost = await self._serve(self._publisher())
        for reader in self.readers:
            reader.transport.close()
        server.close()
        sums = await loop.run_in_executor(None, near.recv)
        drainer.join()
        self._check(sums)
        return cost

    def _publisher(self) -> Callable[[], None]:
        """Return what gives one event to every reader."""
        piece = chunk(EVENT)
        if self._style == "kernel":
            fds = [reader.transport.get_extra_info("socket").fileno() for reader in self.readers]
            return lambda: [os.write(fd, piece) for fd in fds] and None
        if self._style == "transport":
            writes = [reader.transport.write for reader in self.readers]
            return lambda: [write(piece) for write in writes] and None
        tap = Flow(self._log, self.readers, self._pump)
        tap.flowing = True
        return lambda: tap.data(piece)

    def _pump(self) -> None:
        """Forget what all have; a reader that has not is left behind, which must not be."""
        cursor = min(reader.outlet.cursor for reader in self.readers if reader.outlet)
        self.behind = self.behind or cursor < self._log.tail
        self._log.trim(cursor)

    async def _serve(self, publish: Callable[[], None]) -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        due = loop.time()
        for n in range(WARM_UP + self.load.events):
            if n == WARM_UP:
                cpu, system = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_stime
            publish()
            due += 1 / self.load.rate
            await asyncio.sleep(due - loop.time())  # uvloop writes when the turn is over
        cpu = time.process_time() - cpu
        system = resource.getrusage(resource.RUSAGE_SELF).ru_stime - system
        deliveries = self.load.events * self.load.readers / 1e6
        return cpu / deliveries, system / deliveries

    def _check(self, sums: set[int]) -> None:
        expected = 0
        for n in range(1, 1 + WARM_UP + self.load.events):
            expected = zlib.crc32(WIRE[self._style](n), expected)
        if sums != {expected}:
            raise WrongError(f"{self._style}: not every reader got every byte")
        if self.behind:
            raise WrongError(f"{self._style}: a reader could not keep up, so this is no fan-out")


# --- the command -------------------------------------------------------------------------------


def measure(style: str, load: Load, near: int, far: int) -> tuple[float, float]:
    """Return what `Side.run` does, each time on a fresh loop."""
    with targets.pinned(near), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:

        async def run() -> tuple[float, float]:
            return await Side(style, load).run(far)

        return runner.run(run())


def verdict(style: str, cpu: float) -> str:
    """Say whether a style costs what it may; the first two are what it is held against."""
    if style not in STYLES:
        return ""
    return f"must ≤ {MUST_US:g} {'pass' if cpu <= MUST_US else 'FAIL'}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--readers", default=1000, type=int)
    parser.add_argument("--rate", default=50.0, type=float, help="events per second")
    parser.add_argument("--seconds", default=5.0, type=float, help="for each style")
    parser.add_argument("--rounds", default=3, type=int, help="take the median of so many")
    parser.add_argument("--styles", default=",".join(WIRE), type=str)
    options = parser.parse_args()
    options.styles = options.styles.split(",")
    if unknown := set(options.styles) - WIRE.keys():
        parser.error(f"no style {', '.join(unknown)}; known are {', '.join(WIRE)}")
    if min(options.readers, options.rate, options.seconds, options.rounds) <= 0:
        parser.error("readers, rate, seconds and rounds must be positive")
    return options


def main() -> int:
    """Run the bench and return the exit status."""
    options = _options()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    near, far, _ = targets.cores()
    load = Load(options.readers, options.rate, max(1, int(options.rate * options.seconds)))
    try:
        # In turn within a round, so that what changes on the machine changes for all.
        rounds = [
            [measure(style, load, near, far) for style in options.styles]
            for _ in range(options.rounds)
        ]
    except WrongError as error:
        print(f"fanout.py: {error}", file=sys.stderr)
        return 1
    print(f"{time.strftime('%Y-%m-%d')}  {' '.join(sys.argv)}\n")
    print("| | CPU µs | of it system | |\n|---|---|---|---|")
    for style, costs in zip(options.styles, zip(*rounds, strict=True), strict=True):
        cpu, system = (median(column) for column in zip(*costs, strict=True))
        print(f"| {style} | {cpu:.2f} | {system:.2f} | {verdict(style, cpu)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
