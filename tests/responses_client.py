"""A client of the Responses API, and gateways that it asks."""

from typing import Any

import orjson
import pytest

from gateway.dialects.calls import Heading
from gateway.dialects.known import UPSTREAMS
from gateway.mock import Options
from tests.scripted import Scripted
from tests.stand import Answer, Stand, chat
from tests.stories import blocks


EACH = pytest.mark.parametrize("upstream", UPSTREAMS)
HEADING = Heading("id-1", "m", 1_700_000_000)
MESSAGES = chat()["messages"]
ASK = {"model": "m", "stream": True, "input": "hello there"}


def stand(upstream: str = "responses", **options: Any) -> Stand:
    return Stand(Options(**options), upstream=f'dialect = "{upstream}"')


def scripted(provider: Scripted, more: str = "") -> Stand:
    return Stand(url=provider.url, upstream='dialect = "responses"', more=more)


async def asked(it: Stand, path: str = "/v1/responses", **body: Any) -> Answer:
    return await it.answer("POST", path, {**ASK, **body})


def events(answer: Answer) -> list[dict[str, Any]]:
    return [orjson.loads(block.partition(b"data: ")[2]) for block in blocks(answer.body)]
