"""The Responses API at the wire: a stop, silence, and coming back."""

import asyncio
import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.responses_endings import cancelled_events, error_event
from gateway.upstream_errors import StreamInterrupted
from tests.fakes import until, wind_by_hand
from tests.responses_client import ASK, EACH, HEADING, asked, events, scripted, stand
from tests.scripted import CHUNKED, LAST, Scripted, chunk
from tests.stand import Answer, Stand
from tests.stories import blocks, case, check_responses


# A stop.


LONG = {"tokens": 100_000, "interval": 2}


@EACH
@pytest.mark.parametrize("options", [{}, {"reasoning": 3}])
@pytest.mark.parametrize("after", [1, 2, 3, 5, 8, 12])
async def test_a_stopped_response_is_closed_in_order(upstream, options, after):
    await check_stopped(upstream, after, **LONG, **options)


@pytest.mark.parametrize("upstream", ["responses", "openai"])
@pytest.mark.parametrize("options", [{"tools": 2}, {"refusal": True}])
@pytest.mark.parametrize("after", [3, 5, 8])
async def test_stopped_calls_and_refusals_are_closed_in_order(upstream, options, after):
    await check_stopped(upstream, after, **LONG, **options)


async def check_stopped(upstream: str, after: int, **options: Any) -> None:
    async with stand(upstream, **options) as it:
        answer, stop = await stopped(it, after)

    assert stop.json["state"] == "cancelled"
    check_responses(blocks(answer.body), whole=True)
    last = events(answer)[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "cancelled"}
    assert last["response"]["headgate"] == {"ended": "cancelled"}
    assert last["response"]["usage"]["estimated"] is True


async def stopped(it: Stand, count: int) -> tuple[Answer, Answer]:
    """Ask, stop after so many events, and return the answers to both."""
    client, other = await it.open(), await it.open()
    client.send("POST", "/v1/responses", ASK)
    status, headers = await client.head()
    body = b""
    while body.count(b"\n\n") < count:
        body += await client.chunk()
    stop = await other.ask("POST", headers["location"] + "/cancel")
    while part := await client.chunk():
        body += part
    await client.close()
    await other.close()
    return Answer(status, headers, body), stop


@pytest.mark.parametrize("name", ["text", "tool", "parallel", "reasoning", "refusal"])
def test_a_recorded_stream_is_closed_in_order_wherever_it_is_stopped(name):
    found = case(f"responses-{name}").split(b"\n\n")
    said = [block + b"\n\n" for block in found if b"keepalive" not in block][:-1]
    for count in range(len(said)):
        before = [renumbered(block, at) for at, block in enumerate(said[:count])]
        words = cancelled_events(before, HEADING, finish="", tokens=None)
        check_responses([*before, *words], whole=True)


def renumbered(block: bytes, number: int) -> bytes:
    return re.sub(rb'"sequence_number":\d+', b'"sequence_number":%d' % number, block)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers(-9, 9) | st.sampled_from(["output_text", "function_call", "x"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["type", "content", "summary", "arguments", "id"]), inner)
    ),
    max_leaves=6,
)
STRANGE = st.fixed_dictionaries(
    {
        "type": st.sampled_from([
            *("response.created", "response.output_item.added", "response.output_item.done"),
            *("response.content_part.added", "response.content_part.done", "error"),
            *("response.output_text.delta", "response.function_call_arguments.delta"),
        ])
    },
    optional={
        "sequence_number": JSON,
        "output_index": st.integers(0, 1) | JSON,
        "item": JSON,
        "part": JSON,
        "delta": st.text(max_size=2) | JSON,
        "response": JSON,
    },
)  # fmt: skip


@given(st.lists(STRANGE, max_size=8))
def test_whatever_a_provider_said_a_stream_can_be_ended(said):
    batches = [
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event)) for event in said
    ]
    words = cancelled_events(batches, HEADING, finish="", tokens=3)
    words.append(error_event(StreamInterrupted("cut"), batches, HEADING))
    for word in words:
        assert isinstance(orjson.loads(word.partition(b"data: ")[2]), dict)


# Silence, and coming back.


async def test_the_sign_of_life_is_a_comment():
    wait = asyncio.Event()
    stream = case("responses-text")
    async with (
        Scripted(CHUNKED, wait, chunk(stream) + LAST) as provider,
        scripted(provider) as it,
    ):
        loop = wind_by_hand(it.server)
        client = await it.open()
        client.send("POST", "/v1/responses", ASK)
        await provider.asked.wait()
        await until(lambda: it.server.desk.jobs)
        loop.wind(10.5)
        await client.head()
        assert await client.chunk() == b": ping\n\n"
        wait.set()
        while await client.chunk():
            pass
        await client.close()


@EACH
async def test_a_response_can_be_read_again_from_its_log(upstream):
    async with stand(upstream, tokens=3) as it:
        client = await it.open()
        client.send("POST", "/v1/responses", ASK, {"headgate-resume": "true"})
        answer = await client.answer()
        entries = await client.ask("GET", answer.headers["location"] + "?offset=-1")
        await client.close()

    assert all(block.startswith(b"id: ") for block in blocks(answer.body))
    assert orjson.loads(entries.body) == events(answer)
    assert events(answer)[-1]["type"] == "response.completed"


async def test_a_response_made_here_is_called_after_its_log():
    async with stand("openai", tokens=3) as it:
        answer = await asked(it)
    id = answer.headers["location"].rpartition("/")[2]
    assert events(answer)[-1]["response"]["id"] == f"resp_{id}"
