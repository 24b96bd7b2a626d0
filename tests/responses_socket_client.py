"""A client of the Responses API on one WebSocket, and what its provider was asked."""

from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from gateway.dialects.known import UPSTREAMS
from gateway.mock import Options
from tests.sockets import hear_until, say
from tests.stand import Stand


PATH = "/v1/responses"
OVER = ("response.completed", "response.incomplete", "response.failed", "error")
TURNS = {"responses": "input", "gemini": "contents"}
ROLES = {"model": "assistant"}  # Gemini's word
DIALECTS = pytest.mark.parametrize("upstream", sorted(UPSTREAMS))


def stand(upstream: str = "responses", *, mock: Any = None, **settings: Any) -> Stand:
    """What a `mock` is told; only of its own dialect it can be told by a request, too."""
    options = Options(**(mock or {"tokens": 3}))
    return Stand(options, upstream=f'dialect = "{upstream}"', **settings)


async def ask(
    client: ClientConnection, lane: str | None = None, mock: Any = None, **members: Any
) -> None:
    members = {"model": "m", "input": "hello", **({"mock": mock} if mock else {}), **members}
    await say(client, "response.create", **({} if lane is None else {"stream_id": lane}), **members)


async def answer(client: ClientConnection, *lane: str, **members: Any) -> list[dict[str, Any]]:
    """All events of one response."""
    await ask(client, *lane, **members)
    return await hear_until(client, *OVER)


def text_of(events: list[dict[str, Any]], lane: str | None = None) -> str:
    mine = [event for event in events if event.get("stream_id") == lane]
    deltas = [e for e in mine if e["type"] == "response.output_text.delta"]
    return "".join(event["delta"] for event in deltas)


def last(events: list[dict[str, Any]]) -> str:
    """The id of the response that these ended."""
    return events[-1]["response"]["id"]


def asked_of(it: Stand, number: int = -1) -> dict[str, Any]:
    """What the provider was asked."""
    return it.mock.requests[number].json


def told_to(it: Stand, upstream: str) -> list[tuple[str, str]]:
    """Who said what, as the provider was told last."""
    turns = asked_of(it)[TURNS.get(upstream, "messages")]
    return [(ROLES.get(turn["role"], turn["role"]), _text(turn)) for turn in turns]


def _text(turn: dict[str, Any]) -> str:
    said = turn.get("content") or turn["parts"]
    return said if isinstance(said, str) else "".join(part["text"] for part in said)
