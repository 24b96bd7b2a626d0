"""Clients of short streams, each with a story of its own: they leave, come back, stop it, chat."""

import asyncio
import json
import random
import re
from collections import Counter
from contextlib import suppress

from targets import Target


# Seconds for one client's whole story; none takes a hundredth of it.
PATIENCE = 30.0

TOKEN = re.compile(rb'"(s\d+):(\d+):\d{19}"')
ENVELOPE = re.compile(rb'\{"id":"[a-z2-7]{8}_\d{16}"')
WELL = re.compile(rb"HTTP/1.1 (101|20[024]) ")
CURSOR = re.compile(rb"[a-z2-7]{8}_\d{16}")
LOCATION = re.compile(rb"(?i)\r\nlocation: (/v1/stream/\w+)")


class WrongError(Exception):
    """A client did not get what it should."""


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
