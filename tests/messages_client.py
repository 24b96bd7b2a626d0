"""A client of Anthropic's dialect, and gateways that it asks."""

from typing import Any

import pytest

from gateway.mock import Options
from tests.scripted import Scripted
from tests.stand import Answer, Stand, chat


BOTH = pytest.mark.parametrize("upstream", ["openai", "anthropic"])
ASK = {"model": "m", "max_tokens": 9, "stream": True, "messages": chat()["messages"]}
PING = b'event: ping\ndata: {"type": "ping"}\n\n'


def stand(upstream: str = "anthropic", **options: Any) -> Stand:
    return Stand(Options(**options), upstream=f'dialect = "{upstream}"')


def scripted(provider: Scripted, more: str = "") -> Stand:
    return Stand(url=provider.url, upstream='dialect = "anthropic"', more=more)


async def asked(it: Stand, path: str = "/v1/messages", **body: Any) -> Answer:
    return await it.answer("POST", path, {**ASK, **body})
