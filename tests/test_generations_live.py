"""One generation on real sockets: its readers are lost and come back over any transport."""

import asyncio
import json
import random
from collections.abc import Mapping

import pytest
from websockets.asyncio.client import connect

from gateway.eventlog import START
from tests.fakes import until
from tests.stand import Client, Stand, chat
from tests.walkers import Walker


CHAT = "/v1/chat/completions"
SAID = {"tokens": 30, "interval": 2, "text": "unicode"}
KEY = {"idempotency-key": "k1"}
READERS = 6


class Arrived:
    """What came of one answer, as `Walker` wants it."""

    def __init__(self, headers: Mapping[str, str], body: bytes, whole: bool) -> None:
        self.headers = headers
        self.body = body
        self.whole = whole


class Visitor:
    """A walker on the network."""

    def __init__(self, stand: Stand, place: str, dice: random.Random) -> None:
        self.walker = Walker()
        self._stand = stand
        self._place = place
        self._dice = dice

    async def read(self) -> Walker:
        """Read on, over one way after another, until that was all."""
        ways = [
            self.resumable, self.eventsource, self.durable, self.poll, self.long_poll,
            self.socket, self.chat,
        ]  # fmt: skip
        while not self.walker.over:
            await self._dice.choice(ways)()
        return self.walker

    async def resumable(self) -> None:
        fields = KEY | {"headgate-resume": "true", **self._last()}
        arrived = await self._ask("POST", CHAT, chat(**SAID), fields)
        self.walker.resumable(arrived.body, arrived, arrived.whole)

    async def eventsource(self) -> None:
        fields = {"accept": "text/event-stream", **self._last()}
        arrived = await self._ask("GET", self._place, None, fields)
        self.walker.eventsource(arrived.body, arrived, arrived.whole)
        self.walker.over |= not arrived.headers.get("transfer-encoding")  # a 204

    async def durable(self) -> None:
        arrived = await self._ask("GET", self._since("live=sse&"))
        self.walker.durable(arrived.body, arrived, arrived.whole)

    async def poll(self) -> None:
        arrived = await self._ask("GET", self._since(""))
        self.walker.poll(arrived.body, arrived, arrived.whole)

    async def long_poll(self) -> None:
        arrived = await self._ask("GET", self._since("live=long-poll&"))
        self.walker.poll(arrived.body, arrived, arrived.whole)

    async def socket(self) -> None:
        url = self._stand.url.replace("http", "ws") + self._since("live=websocket&")
        async with connect(url, compression=None) as socket:
            for _ in range(self._patience()):
                if not self.walker.over:
                    self.walker.envelope(json.loads(await socket.recv()))
            socket.transport.abort()

    async def chat(self) -> None:
        url = self._stand.url.replace("http", "ws") + "/v1/ws/chat"
        ask = {"type": "resume", "stream": self._place, "after": self.walker.cursor}
        async with connect(url, compression=None) as socket:
            await socket.send(json.dumps(ask))
            for _ in range(self._patience()):
                if not self.walker.over:
                    self.walker.chat(json.loads(await socket.recv()))
            socket.transport.abort()

    def _patience(self) -> int:
        """Draw how many pieces it takes before it is lost."""
        return self._dice.randint(1, 12)

    def _last(self) -> dict[str, str]:
        return {} if self.walker.cursor == START else {"last-event-id": self.walker.cursor}

    def _since(self, query: str) -> str:
        return f"{self._place}?{query}offset={self.walker.cursor}"

    async def _ask(
        self, method: str, path: str, body: object = None, fields: dict[str, str] | None = None
    ) -> Arrived:
        client = await self._stand.open()
        client.send(method, path, body, fields)
        _, headers = await client.head()
        whole = headers.get("transfer-encoding") != "chunked"
        size = int(headers.get("content-length", 0))
        pieces = [await client.reader.readexactly(size)] if whole else []
        for _ in range(self._patience()):
            if not whole:
                pieces.append(await client.chunk())
                whole = not pieces[-1]
        client.writer.transport.abort()
        return Arrived(headers, b"".join(pieces), whole)


async def begun(client: Client) -> str:
    """Begin a generation that needs no reader; return the place of its log."""
    answer = await client.ask(
        "POST", CHAT, chat(**SAID), prefer="respond-async", idempotency_key="k1"
    )
    return answer.headers["location"]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("stops", [False, True], ids=["to its end", "stopped"])
async def test_readers_that_are_lost_and_come_back_have_the_whole_generation(seed, stops):
    dice = random.Random(seed)
    async with Stand() as stand:
        client = await stand.open()
        place = await begun(client)
        visitors = [Visitor(stand, place, random.Random(dice.random())) for _ in range(READERS)]
        reading = [asyncio.ensure_future(visitor.read()) for visitor in visitors]
        if stops:
            seen = dice.randint(1, 20)
            first = visitors[0].walker
            await until(lambda: len(first.got) >= seen or first.over)
            stopped = (await client.ask("POST", place + "/cancel")).json
        walkers = await asyncio.gather(*reading)
        told = await client.ask("GET", place + "?offset=-1")
        await client.close()

    log = Walker()
    log.poll(told.body, Arrived(told.headers, told.body, whole=True), whole=True)
    assert [walker.got for walker in walkers] == [log.got] * READERS
    if stops:
        assert stopped["cursor"] == told.headers["stream-next-offset"]
        assert stand.mock.requests[-1].cancelled == (stopped["state"] == "cancelled")
    else:
        assert len(log.got) == SAID["tokens"]
