"""The real OpenAI SDK as the client, sync and async: what an application sees."""

import asyncio
from collections.abc import Callable
from typing import Any

import openai
import pytest

from gateway.mock import Options
from tests.stand import Stand


MESSAGES: Any = [{"role": "user", "content": "hello"}]
WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}


def sync(stand: Stand, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=stand.url + "/v1", api_key="sk-any", **options)


def mocked(**options: object) -> dict[str, object]:
    return {"mock": {name.replace("_", "-"): value for name, value in options.items()}}


async def in_thread(stand: Stand, use: Callable[[openai.OpenAI], Any], **options: Any) -> Any:
    def call() -> Any:
        with sync(stand, **options) as client:
            return use(client)

    return await asyncio.to_thread(call)


async def test_the_sync_client_streams():
    def use(client: openai.OpenAI) -> str:
        stream = client.chat.completions.create(
            model="demo", messages=MESSAGES, stream=True, extra_body=mocked(tokens=5)
        )
        return "".join(c.choices[0].delta.content or "" for c in stream)

    async with Stand() as stand:
        assert await in_thread(stand, use) == "t0 t1 t2 t3 t4"


async def test_the_async_client_streams_many_at_once_without_mixing_them():
    async def one(client: openai.AsyncOpenAI, tag: str) -> str:
        stream = await client.chat.completions.create(
            model="demo",
            messages=MESSAGES,
            stream=True,
            extra_body=mocked(tokens=20, tag=tag, interval=1),
        )
        return "".join([c.choices[0].delta.content or "" async for c in stream])

    async with (
        Stand() as stand,
        openai.AsyncOpenAI(base_url=stand.url + "/v1", api_key="x") as client,
    ):
        texts = await asyncio.gather(*(one(client, f"s{i}") for i in range(50)))

    for i, text in enumerate(texts):
        assert text == " ".join(f"s{i}t{n}" for n in range(20))


async def test_a_whole_answer_has_its_usage():
    def use(client: openai.OpenAI) -> Any:
        return client.chat.completions.create(
            model="demo", messages=MESSAGES, extra_body=mocked(tokens=5)
        )

    async with Stand() as stand:
        answer = await in_thread(stand, use)

    assert answer.choices[0].message.content == "t0 t1 t2 t3 t4"
    assert answer.usage.completion_tokens == 5


async def test_the_usage_chunk_comes_last_when_it_was_asked_for():
    def use(client: openai.OpenAI) -> Any:
        return list(
            client.chat.completions.create(
                model="demo",
                messages=MESSAGES,
                stream=True,
                stream_options={"include_usage": True},
                extra_body=mocked(tokens=5),
            )
        )

    async with Stand() as stand:
        chunks = await in_thread(stand, use)

    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 5


async def test_tool_calls_come_together_from_their_fragments():
    def use(client: openai.OpenAI) -> Any:
        with client.chat.completions.stream(
            model="demo", messages=MESSAGES, tools=[WEATHER], extra_body=mocked(tools=2)
        ) as stream:
            return stream.get_final_completion()

    async with Stand() as stand:
        final = await in_thread(stand, use)

    assert final.choices[0].finish_reason == "tool_calls"
    assert len(final.choices[0].message.tool_calls) == 2


async def test_embeddings_completions_and_models():
    def use(client: openai.OpenAI) -> Any:
        vector = client.embeddings.create(model="demo", input="a river").data[0].embedding
        old = client.completions.create(model="demo", prompt="a", extra_body=mocked(tokens=2))
        names = [model.id for model in client.models.list()]
        return vector, old.choices[0].text, names, client.models.retrieve("alias").id

    async with Stand() as stand:
        vector, text, names, name = await in_thread(stand, use)

    assert len(vector) > 0
    assert text == "t0 t1"
    assert names == ["alias"]
    assert name == "alias"


ERRORS = {
    "400": openai.BadRequestError,
    "401": openai.InternalServerError,  # our key, not the client's
    "429": openai.RateLimitError,
    "500": openai.InternalServerError,
    "refuse": openai.InternalServerError,
    "error-first": openai.APIStatusError,
    "error-mid": openai.APIError,
    "cut": openai.APIError,
    "truncate": openai.APIError,
    "no-done": openai.APIError,
}


@pytest.mark.parametrize("fault", ERRORS)
async def test_a_failure_raises_the_sdks_own_error(fault):
    def use(client: openai.OpenAI) -> None:
        stream = client.chat.completions.create(
            model="demo", messages=MESSAGES, stream=True, extra_body=mocked(fault=fault)
        )
        for _ in stream:
            pass

    async with Stand() as stand:
        with pytest.raises(ERRORS[fault]):
            await in_thread(stand, use, max_retries=0)


async def test_the_sdk_retries_as_the_provider_asked():
    def use(client: openai.OpenAI) -> None:
        client.chat.completions.create(
            model="demo", messages=MESSAGES, extra_body=mocked(fault="429", retry_after="0")
        )

    async with Stand() as stand:
        with pytest.raises(openai.RateLimitError):
            await in_thread(stand, use, max_retries=1)
        assert len(stand.mock.requests) == 2


async def test_a_model_that_is_not_there_is_not_found():
    async with Stand() as stand:
        with pytest.raises(openai.NotFoundError):
            await in_thread(stand, lambda client: client.models.retrieve("nope"), max_retries=0)


async def test_an_abandoned_stream_ends_the_providers():
    def use(client: openai.OpenAI) -> None:
        stream = client.chat.completions.create(
            model="demo",
            messages=MESSAGES,
            stream=True,
            extra_body=mocked(tokens=100_000, interval=5),
        )
        next(iter(stream))
        stream.close()

    async with Stand(Options()) as stand:
        await in_thread(stand, use)
        await stand.mock.until(lambda: stand.mock.open_streams == 0)
        assert stand.mock.requests[-1].cancelled
