"""What real clients are shown: an answer that stops in the middle, a lost connection, a stop."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from gateway.hub import Live
from tests.scripted import CHUNKED, DONE, FINISH, LAST, Scripted, chunk
from tests.stand import Stand, chat


CHAT = "/v1/chat/completions"
ASKED = chat()
# A page that may lose its connection says so, and names its request.
RESUMABLE = {"headgate-resume": "true", "idempotency-key": "k1"}

FIRST, SECOND = "Grüße, 日本", "語 👩‍👩‍👧 und mehr"


def said(words: str) -> dict[str, Any]:
    """Return a chunk of the OpenAI dialect; as good an entry of a channel as any."""
    return {"choices": [{"index": 0, "delta": {"content": words}, "finish_reason": None}]}


def event(words: str) -> bytes:
    """Return what a provider writes to say these words."""
    return chunk(b"data: " + json.dumps(said(words)).encode() + b"\n\n")


REST = event(SECOND) + chunk(FINISH + DONE) + LAST


@asynccontextmanager
async def half_told(
    rest: bytes = REST, *, first: bytes = event(FIRST), closes: bool = False, more: str = ""
) -> AsyncIterator[tuple[Stand, asyncio.Event]]:
    """Start a gateway whose provider says the first half; with the event it says the rest.

    `more` is configuration.
    """
    go = asyncio.Event()
    async with (
        Scripted(CHUNKED + first, go, rest, closes=closes) as provider,
        Stand(url=provider.url, more=more) as stand,
    ):
        yield stand, go


async def begin(stand: Stand) -> str:
    """Ask for a generation that nobody reads yet; return the URL of its log."""
    client = await stand.open()
    answer = await client.ask("POST", CHAT, ASKED, prefer="respond-async")
    await client.close()
    return stand.url + answer.headers["location"]


def generation(stand: Stand) -> Live:
    """Return the log of the generation that is under way."""
    [job] = stand.server.desk.jobs
    return job.live


def kill(stand: Stand) -> None:
    """Drop all connections of clients, as a network does."""
    for connection in stand.server.public.host.connections:
        connection.abort()


async def stop(stand: Stand) -> dict[str, Any]:
    """Stop the generation that is under way; return what is said of it."""
    client = await stand.open()
    answer = await client.ask("POST", f"/v1/stream/{generation(stand).log.id}/cancel")
    await client.close()
    return answer.json


async def write(stand: Stand, *entries: object, **headers: str) -> str:
    """Append to the channel `news`, or make it if there is nothing to append; return its URL."""
    path = "/v1/stream/news"
    client = await stand.open()
    headers["content_type"] = "application/json"
    answer = await client.ask("POST" if entries else "PUT", path, [*entries] or None, **headers)
    await client.close()
    assert answer.status in (201, 204), answer.body
    return stand.url + path
