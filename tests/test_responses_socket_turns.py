"""The Responses API on one WebSocket: how a client goes on from a response."""

import orjson
import pytest

from gateway.mock import Options
from tests.responses_socket_client import (
    DIALECTS,
    OVER,
    PATH,
    answer,
    ask,
    asked_of,
    last,
    stand,
    told_to,
)
from tests.sockets import LONG, hear_until, opened


# Going on.


async def test_a_provider_that_stores_is_told_where_to_go_on():
    async with stand() as it, opened(it, PATH) as client:
        first = last(await answer(client))
        await answer(client, input="more", previous_response_id=first)

    assert asked_of(it)["previous_response_id"] == first
    assert asked_of(it)["input"] == "more"


@pytest.mark.parametrize(
    ("upstream", "stored"),
    [("responses", False), ("openai", True), ("anthropic", None), ("gemini", None)],
)
async def test_a_provider_that_cannot_know_is_told_all_that_was_said(upstream, stored):
    async with stand(upstream) as it, opened(it, PATH) as client:
        more = {"store": stored}
        first = last(await answer(client, "a", **more))
        second = last(await answer(client, "a", input="more", previous_response_id=first, **more))
        items = [{"type": "message", "role": "user", "content": "and more"}]
        third = await answer(client, "b", input=items, previous_response_id=second, **more)

    assert third[-1]["type"] == "response.completed"
    assert "previous_response_id" not in asked_of(it)
    assert told_to(it, upstream) == [
        ("user", "hello"), ("assistant", "t0 t1 t2"), ("user", "more"),
        ("assistant", "t0 t1 t2"), ("user", "and more"),
    ]  # fmt: skip


@pytest.mark.parametrize("upstream", ["openai", "anthropic"])
async def test_results_of_tools_go_on_from_their_calls(upstream):
    tool = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
    async with stand(upstream, mock={"tools": 1}) as it, opened(it, PATH) as client:
        events = await answer(client, tools=[tool])
        [call] = events[-1]["response"]["output"]
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}
        more = {"input": [result], "previous_response_id": last(events), "tools": [tool]}
        events = await answer(client, **more)

    assert events[-1]["type"] == "response.completed"
    assert call["call_id"] in orjson.dumps(asked_of(it)["messages"][1]).decode()
    assert "rain" in orjson.dumps(asked_of(it)["messages"][2]).decode()


async def test_a_lane_goes_on_beside_another_that_is_long():
    async with stand("openai") as it, opened(it, PATH) as client:
        first = last(await answer(client, "a", input="one"))
        it.mock.defaults = Options(**LONG)
        await ask(client, "b")
        await hear_until(client, "response.output_text.delta")
        it.mock.defaults = Options(tokens=3)
        await ask(client, "a", input="two", previous_response_id=first)
        events = await hear_until(client, *OVER)
        while events[-1].get("stream_id") != "a":
            events = await hear_until(client, *OVER)

    assert [text for _, text in told_to(it, "openai")] == ["one", "t0 t1 t2", "two"]


@pytest.mark.parametrize("upstream", ["openai", "anthropic"])
async def test_a_response_that_nobody_knows_is_said_to_be_unknown(upstream):
    async with stand(upstream) as it:
        async with opened(it, PATH) as client:
            first = last(await answer(client, "a"))
            second = last(await answer(client, "a"))
            [forgotten] = await answer(client, "a", previous_response_id=first)
            [unknown] = await answer(client, "a", previous_response_id="resp_none")
            assert last(await answer(client, "a", previous_response_id=second))
        async with opened(it, PATH) as client:
            [elsewhere] = await answer(client, "a", previous_response_id=second)

    for error in (forgotten, unknown, elsewhere):
        assert (error["type"], error["status"]) == ("error", 400)
        assert error["error"]["code"] == "previous_response_not_found"
        assert error["error"]["param"] == "previous_response_id"


@DIALECTS
async def test_a_request_may_be_only_remembered_and_be_continued(upstream):
    async with stand(upstream) as it, opened(it, PATH) as client:
        warm = await answer(client, "a", input="long ago", generate=False)
        assert not it.mock.requests
        events = await answer(client, "a", input="now", previous_response_id=last(warm))

    assert [event["type"] for event in warm] == [
        "response.created", "response.in_progress", "response.completed",
    ]  # fmt: skip
    assert all(event["stream_id"] == "a" for event in warm)
    assert warm[-1]["response"]["output"] == []
    assert events[-1]["type"] == "response.completed"
    assert "".join(text for _, text in told_to(it, upstream)) == "long agonow"
