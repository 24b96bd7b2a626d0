"""Serve many short streams whose clients come and go at random, and look for what stays behind.

    python bench/soak.py [--streams 20000] [--at-once 50] [--seed 1]

README.md beside this file says what is done and how to read the figures.
Exit status: 0 all is as it was, 1 something stayed or an answer was wrong, 2 usage or
something is missing.
"""

import argparse
import asyncio
import gc
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from contextlib import suppress
from pathlib import Path

import targets
import uvloop
from programs import BuildError
from targets import ROOT, StartError, Target


# Looks at the memory after the warm-up, which is a round like the others: it fills pools and
# caches, and takes from the kernel what the logs of a second need at this pace.
ROUNDS = 4
# Seconds for one client's whole story; none takes a hundredth of it.
PATIENCE = 30.0
# Seconds after the last client in which all must be gone: logs stay one, heads linger two.
QUIET = 15.0
# Objects of one type that may be more after thousands of streams: caches, and the look itself.
SLACK = 100
# Bytes that may be more: what the allocators keep in another order.  A leak of one object
# for each stream is several times this.
GROWTH = 2 << 20
KEPT = ("streams_active", "logs_kept", "log_bytes", 'connections_open{listener="public"}')
POOLED = 'pool_connections{state="idle",upstream="mock"}'
LOGS = '\n[logs]\nretain = "1s"\n'

TOKEN = re.compile(rb'"(s\d+):(\d+):\d{19}"')
ENVELOPE = re.compile(rb'\{"id":"[a-z2-7]{8}_\d{16}"')
WELL = re.compile(rb"HTTP/1.1 (101|20[024]) ")
CURSOR = re.compile(rb"[a-z2-7]{8}_\d{16}")
LOCATION = re.compile(rb"(?i)\r\nlocation: (/v1/stream/\w+)")


class WrongError(Exception):
    """A client did not get what it should."""


# --- the gateway, with a spy ---------------------------------------------------------------------


def serve(report: Path, arguments: list[str]) -> int:
    """Run the gateway; on SIGUSR1 write down which objects it has."""
    from gateway.cli import main

    def spy(*_: object) -> None:
        garbage = gc.collect()
        names = Counter(f"{type(o).__module__}.{type(o).__qualname__}" for o in gc.get_objects())
        part = report.with_suffix(".part")
        part.write_text(json.dumps({"garbage": garbage, "types": names}))
        part.replace(report)

    signal.signal(signal.SIGUSR1, spy)
    return main(arguments)


class Look:
    """How the gateway stands: memory, descriptors, objects, and what its metrics say."""

    def __init__(self, target: Target, report: Path) -> None:
        assert target.pid is not None
        report.unlink(missing_ok=True)
        os.kill(target.pid, signal.SIGUSR1)
        deadline = time.monotonic() + QUIET
        while not report.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        told = json.loads(report.read_text())
        self.types: Counter[str] = Counter(told["types"])
        self.garbage: int = told["garbage"]
        self.bytes = target.resident_bytes()
        self.kept = kept(target)
        pooled = int(self.kept.pop(POOLED))  # they are to stay, and how many is chance
        self.descriptors = len(os.listdir(f"/proc/{target.pid}/fd")) - pooled

    def __str__(self) -> str:
        told = ", ".join(f"{name} {value:g}" for name, value in self.kept.items())
        return (
            f"{self.bytes / 1024:,.0f} KB resident, {self.descriptors} descriptors, "
            f"{self.types['_asyncio.Task']} tasks, {self.types['uvloop.loop.TimerHandle']} timers, "
            f"{sum(self.types.values()):,} objects, {self.garbage} in cycles; {told}"
        )

    def grown(self, before: "Look") -> dict[str, int]:
        """Return the types of which there are notably more than before."""
        more = self.types - before.types
        return {name: count for name, count in more.most_common() if count > SLACK}


def kept(target: Target) -> dict[str, float]:
    """Scrape what goes when all have gone, and what the pool holds."""
    with urllib.request.urlopen(f"http://127.0.0.1:{target.admin}/metrics") as answer:
        text: str = answer.read().decode()
    found = dict.fromkeys((*KEPT, POOLED), 0.0)
    for line in text.splitlines():
        name, _, value = line.removeprefix("headgate_").rpartition(" ")
        for key in found:
            if name == key or name.startswith(key + "{"):
                found[key] += float(value)
    return found


def quiet(target: Target, idle: dict[str, float]) -> None:
    """Wait until no more is served or kept than at first; what does not go will be seen."""
    deadline = time.monotonic() + QUIET
    while _more(kept(target), idle) and time.monotonic() < deadline:
        time.sleep(0.2)


def _more(now: dict[str, float], before: dict[str, float]) -> list[str]:
    return [name for name in KEPT if now[name] > before[name]]


# --- the clients ---------------------------------------------------------------------------------


class Client:
    """One who asks for a stream, and may lose it, come back for it, or stop it."""

    def __init__(self, target: Target, number: int, dice: random.Random) -> None:
        self._port = target.port
        self._dice = dice
        self._tag = f"s{number}"
        self._tokens = dice.randint(1, 12)
        self._interval = dice.choice([0, 0, 0.5, 2])
        self._got: list[int] = []  # the indices of its tokens
        self._cursor = ""
        self._place = ""  # of the log

    async def live(self) -> str:
        """Go through one of the stories and return its name."""
        stories = [self.plain, self.leaver, self.returner, self.elsewhere, self.stopper, self.chat]
        story = self._dice.choice(stories)
        try:
            async with asyncio.timeout(PATIENCE):
                await story()
        except TimeoutError:
            raise WrongError(f"{self._tag}, {story.__name__}: it took too long") from None
        return story.__name__

    async def plain(self) -> None:
        """Read to the end."""
        self._all(await self._talk(self._ask()))

    async def leaver(self) -> None:
        """Leave before the head, amid the stream, or with it."""
        await self._talk(self._ask(), leave=self._dice.choice([0, 1, 400, 1000, 3000]))

    async def returner(self) -> None:
        """Lose the connection, and come back over one way or another until all is there."""
        ask = self._ask("headgate-resume: true")
        self._hear(await self._talk(ask, leave=self._dice.randint(1, 3000)))
        if self._place:
            await self._read_on()

    async def elsewhere(self) -> None:
        """Ask, do not wait, and read the log."""
        self._hear(await self._talk(self._ask("prefer: respond-async")))
        await self._read_on()

    async def stopper(self) -> None:
        """Stop it amid, and see that nothing comes after that."""
        self._hear(await self._talk(self._ask("headgate-resume: true"), leave=1))
        if self._place:
            stop = self._request("POST", self._place + "/cancel")
            answer = await self._talk(stop)
            if b" 200 OK" not in answer[:20]:
                raise WrongError(f"{self._tag}: it could not be stopped: {answer!r}")
            self._hear(await self._talk(self._request("GET", self._since("offset"))))
            self._in_order()

    async def chat(self) -> None:
        """Chat over a WebSocket, and perhaps leave."""
        text = json.dumps({"type": "chat", "id": "a", **self._body()}).encode()
        frame = b"\x81\xfe" + len(text).to_bytes(2) + bytes(4) + text  # masked with zeros
        leave = self._dice.choice([None, None, 1, 300])
        raw = await self._talk(
            self._upgrade("/v1/ws/chat") + frame, end=b'"type":"done"', leave=leave
        )
        if leave is None:
            self._all(raw)

    # How it reads on.

    async def _read_on(self) -> None:
        for _ in range(50):
            ways = [self._eventsource, self._durable, self._long_poll, self._socket]
            if await self._dice.choice(ways)():
                break
            self._in_order()
        if self._got != list(range(self._tokens)):
            raise WrongError(f"{self._tag}: of {self._tokens} tokens it got {self._got}")

    async def _eventsource(self) -> bool:
        ask = self._request("GET", self._since("offset"), "accept: text/event-stream")
        return await self._blocks(ask)

    async def _durable(self) -> bool:
        return await self._blocks(self._request("GET", self._since("live=sse&offset")))

    async def _blocks(self, ask: bytes) -> bool:
        raw = await self._talk(ask, leave=self._perhaps())
        if raw.startswith(b"HTTP/1.1 204"):
            return True
        self._hear(raw)
        return b"streamClosed" in raw

    async def _long_poll(self) -> bool:
        raw = await self._talk(self._request("GET", self._since("live=long-poll&offset")))
        self._hear(raw)
        return b"stream-closed: true" in raw

    async def _socket(self) -> bool:
        ask = self._upgrade(self._since("live=websocket&offset"))
        raw = await self._talk(ask, end=b"streamClosed", leave=self._perhaps())
        over = b"streamClosed" in raw
        starts = [match.start() for match in ENVELOPE.finditer(raw)]
        # The last envelope may not be whole.
        self._hear(raw if over or not starts else raw[: starts[-1]])
        return over

    def _perhaps(self) -> int | None:
        return self._dice.choice([None, None, 500, 1500])

    # What it says and hears.

    def _body(self) -> dict[str, object]:
        mock = {
            "stamp": True, "tag": self._tag, "tokens": self._tokens, "interval": self._interval
        }  # fmt: skip
        return {"model": "m", "messages": [{"role": "user", "content": "soak"}], "mock": mock}

    def _ask(self, *fields: str) -> bytes:
        body = json.dumps({**self._body(), "stream": True})
        return self._request("POST", "/v1/chat/completions", *fields, body=body)

    def _request(self, method: str, path: str, *fields: str, body: str = "") -> bytes:
        more = "".join(f"{field}\r\n" for field in fields)
        return (
            f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{more}"
            f"content-length: {len(body)}\r\n\r\n{body}"
        ).encode()

    def _upgrade(self, path: str) -> bytes:
        return (
            f"GET {path} HTTP/1.1\r\nhost: localhost\r\n"
            "upgrade: websocket\r\nconnection: upgrade\r\n"
            "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ).encode()

    def _since(self, offset: str) -> str:
        return f"{self._place}?{offset}={self._cursor or -1}"

    async def _talk(self, request: bytes, *, end: bytes = b"", leave: int | None = None) -> bytes:
        """Return what came until the server closed, or said `end`, or so much had come."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(request)
        data = bytearray()
        with suppress(ConnectionError):
            while leave is None or len(data) < leave:
                piece = await reader.read(65536)
                data += piece
                if not piece or (end and end in data):
                    break
        if self._dice.random() < 0.5:
            writer.transport.abort()
        else:
            writer.close()
        if data and not WELL.match(data):
            raise WrongError(f"{self._tag}: {data[:500]!r}")
        return bytes(data)

    def _hear(self, raw: bytes) -> None:
        """Keep what is whole: tokens up to the last cursor, and where the log is."""
        place = LOCATION.search(raw)
        if place:
            self._place = place[1].decode()
        whole = raw if b"stream-next-offset" in raw else raw[: raw.rfind(b"\n\n") + 2]
        whole = raw if raw.startswith(b"HTTP/1.1 101") else whole
        cursors = CURSOR.findall(whole)
        if cursors:
            self._cursor = max(cursors).decode()
            self._got += self._indices(whole)

    def _indices(self, raw: bytes) -> list[int]:
        found = TOKEN.findall(raw)
        if any(tag.decode() != self._tag for tag, _ in found):
            raise WrongError(f"{self._tag}: it got tokens of others: {found}")
        return [int(index) for _, index in found]

    def _all(self, raw: bytes) -> None:
        self._got = self._indices(raw)
        if self._got != list(range(self._tokens)):
            raise WrongError(f"{self._tag}: of {self._tokens} tokens it got {self._got}")

    def _in_order(self) -> None:
        if self._got != list(range(len(self._got))):
            raise WrongError(f"{self._tag}: its tokens are {self._got}")


async def crowd(target: Target, numbers: range, at_once: int, dice: random.Random) -> Counter[str]:
    """Let so many clients live, some at once; return how many had which story."""
    stories: Counter[str] = Counter()
    waiting = iter(numbers)

    async def one_after_another() -> None:
        for number in waiting:
            client = Client(target, number, random.Random(dice.random()))
            stories[await client.live()] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(one_after_another())
    return stories


# --- the command ---------------------------------------------------------------------------------


def soak(target: Target, report: Path, options: argparse.Namespace) -> bool:
    """Put all clients on the gateway and tell how it stands; return whether it is as before."""
    dice = random.Random(options.seed)
    size = options.streams // ROUNDS
    looks: list[Look] = []
    idle = kept(target)
    for number in range(1 + ROUNDS):
        began = time.monotonic()
        numbers = range(number * size, (number + 1) * size)
        stories = uvloop.run(crowd(target, numbers, options.at_once, dice))
        quiet(target, idle)
        looks.append(Look(target, report))
        lasted = time.monotonic() - began
        told = ", ".join(f"{count} {name}" for name, count in sorted(stories.items()))
        print(f"\n{size} streams in {lasted:.0f} s: {told}\n  {looks[-1]}", flush=True)
    return judge(looks[0], looks[-1], idle)


def judge(before: Look, after: Look, idle: dict[str, float]) -> bool:
    """Tell what is more than before; return whether that is nothing."""
    grown = after.grown(before)
    bytes_more = after.bytes - before.bytes
    print(f"\nsince the warm-up: {bytes_more / 1024:+,.0f} KB, objects {grown or 'as before'}")
    left = _more(after.kept, idle)
    for name in left:
        print(f"left: {name}")
    stayed = left or grown or after.descriptors > before.descriptors
    return not stayed and bytes_more < GROWTH


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--streams", type=int, default=20_000, help="after the warm-up")
    parser.add_argument("--at-once", type=int, default=50, help="how many clients there are")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main() -> int:
    """Run the soak and return the exit status."""
    if sys.argv[1:2] == ["--gateway"]:
        return serve(Path(sys.argv[2]), sys.argv[3:])
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"{time.strftime('%Y-%m-%d')}  {' '.join(sys.argv)}")
    try:
        near, far, load = targets.cores()
        with tempfile.TemporaryDirectory(prefix="headgate-soak-") as folder:
            report = Path(folder) / "report"
            program = [sys.executable, str(ROOT / "bench/soak.py"), "--gateway", str(report)]
            with (
                targets.provider(far) as upstream,
                targets.headgate(upstream.port, near, more=LOGS, program=program) as target,
                targets.pinned(load),
            ):
                return 0 if soak(target, report, options) else 1
    except KeyboardInterrupt:
        return 130
    except (BuildError, StartError) as error:
        print(f"soak.py: {error}", file=sys.stderr)
        return 2
    except ExceptionGroup as group:  # of the clients
        print(f"soak.py: {group.exceptions[0]!r}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
