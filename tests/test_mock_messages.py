"""The mock as a provider of the Anthropic dialect, judged by that provider's own SDK."""

import asyncio
from collections.abc import Callable
from typing import Any

import anthropic
import orjson
import pytest

from gateway.mock import MockProvider, Options, words
from gateway.mock.messages import STOP


HELLO: Any = [{"role": "user", "content": "hello there"}]
TOOLS: Any = [{"name": "f", "input_schema": {"type": "object"}}, {"name": "g", "input_schema": {}}]


async def asked(use: Callable[[anthropic.Anthropic], Any], **options: Any) -> Any:
    def call(url: str) -> Any:
        with anthropic.Anthropic(base_url=url, api_key="any", max_retries=0) as client:
            return use(client)

    async with MockProvider(Options(**options)) as mock:
        return await asyncio.to_thread(call, mock.url)


def whole(client: anthropic.Anthropic, **params: Any) -> anthropic.types.Message:
    return client.messages.create(**{"model": "m", "max_tokens": 99, "messages": HELLO, **params})


def streamed(client: anthropic.Anthropic, **params: Any) -> anthropic.types.Message:
    params = {"model": "m", "max_tokens": 99, "messages": HELLO, **params}
    with client.messages.stream(**params) as stream:
        return stream.get_final_message()


WAYS = pytest.mark.parametrize("ask", [whole, streamed])


@WAYS
async def test_the_text_is_a_function_of_the_options(ask):
    said = await asked(ask, text="unicode")
    assert said.content[0].text == "".join(words.tokens(Options(text="unicode")))
    assert (said.stop_reason, said.usage.output_tokens) == ("end_turn", 40)


@WAYS
async def test_a_bound_is_kept(ask):
    said = await asked(lambda client: ask(client, max_tokens=2), tokens=3)
    assert (said.content[0].text, said.stop_reason) == ("t0 t1", "max_tokens")


@WAYS
async def test_thinking_has_a_signature(ask):
    said = await asked(ask, reasoning=2, tokens=1)
    assert said.content[0].thinking == "r0 r1"
    assert said.content[0].signature
    assert said.content[1].text == "t0"


@WAYS
@pytest.mark.parametrize(
    ("options", "params", "names"),
    [
        ({"tools": 3}, {"tools": TOOLS}, ["f", "g", "f"]),
        ({"tools": 1}, {}, ["mock_tool"]),
        ({}, {"tools": TOOLS, "tool_choice": {"type": "any"}}, ["f"]),
        ({}, {"tools": TOOLS, "tool_choice": {"type": "tool", "name": "g"}}, ["g"]),
    ],
)
async def test_tools_are_called(ask, options, params, names):
    said = await asked(lambda client: ask(client, **params), **options)
    assert [block.name for block in said.content] == names
    for number, block in enumerate(said.content):
        assert block.input == orjson.loads(words.arguments(number, Options()))


async def test_faults_speak_the_dialect():
    with pytest.raises(anthropic.RateLimitError) as caught:
        await asked(whole, fault="429")
    body: Any = caught.value.body
    assert body["error"]["type"] == "rate_limit_error"
    for fault in ("error-first", "error-mid"):
        with pytest.raises(anthropic.APIStatusError, match="the model has failed"):
            await asked(streamed, fault=fault)


@pytest.mark.parametrize(
    ("fault", "missing"), [("no-done", STOP), ("no-finish", b"event: message_delta")]
)
async def test_an_end_can_be_left_out(fault, missing):
    def use(client: anthropic.Anthropic) -> bytes:
        raw = client.messages.with_raw_response
        asks: Any = {"model": "m", "max_tokens": 9, "messages": HELLO, "stream": True}
        return b"".join(raw.create(**asks).http_response.iter_bytes())

    assert missing in await asked(use)
    assert missing not in await asked(use, fault=fault)
