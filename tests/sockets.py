"""A WebSocket client that is not ours, and what is said on it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect

from tests.fake_websocket import FIELDS
from tests.fakes import until
from tests.stand import Stand, chat


CHATS = "/v1/ws/chat"
LONG = {"tokens": 10_000, "interval": 20}  # minutes of it, and something at once


@asynccontextmanager
async def opened(stand: Stand, path: str, **settings: object) -> AsyncIterator[ClientConnection]:
    """A WebSocket that must be gone from the gateway at the end."""
    connections = stand.server.public.host.connections
    others = set(connections)
    async with connect(stand.url.replace("http", "ws") + path, **settings) as client:
        mine = set(connections) - others
        yield client
    await until(lambda: mine.isdisjoint(connections))


async def asked(stand: Stand, path: str, *fields: str) -> tuple[int, dict[str, str]]:
    """Ask for an upgrade with these fields; return status and fields of the answer."""
    client = await stand.open()
    headers = dict(field.split(": ", 1) for field in [*FIELDS, *fields])
    client.send("GET", path, None, headers)
    answer = await client.head()
    await client.close()
    return answer


async def say(client: ClientConnection, type: str, **members: Any) -> None:
    """Send a frame of this type."""
    await client.send(orjson.dumps({"type": type, **members}).decode())


async def ask_chat(client: ClientConnection, id: str | None = "a", **mock: object) -> None:
    """Ask for a chat; the options are the mock provider's."""
    body = chat(**mock)
    del body["stream"]
    await say(client, "chat", **({} if id is None else {"id": id}), **body)


async def hear(client: ClientConnection) -> dict[str, Any]:
    """Return the next frame."""
    return orjson.loads(await client.recv())


async def hear_until(client: ClientConnection, *types: str) -> list[dict[str, Any]]:
    """Return the frames up to one of these types, that one included."""
    heard = [await hear(client)]
    while heard[-1]["type"] not in types:
        heard.append(await hear(client))
    return heard


def text_of(frames: list[dict[str, object]], id: str | None = "a") -> str:
    """Return the content of the chunks of one chat."""
    return "".join(f["content"] for f in frames if f["type"] == "chunk" and f.get("id") == id)


def words(count: int) -> list[str]:
    """Return the words of the mock provider, so many."""
    return [f"t{i}" for i in range(count)]


def said(text: str) -> list[str]:
    """Return the words of a text."""
    return [word.rstrip(".") for word in text.split()]
