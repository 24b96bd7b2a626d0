"""The Responses API on one WebSocket, with a client that is not ours and the mock provider."""

from typing import Any

import orjson
import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from gateway.dialects.known import UPSTREAMS
from gateway.lane_socket import MAX_ID, MAX_LANES
from gateway.mock import Options
from gateway.responses_socket import MAX_WAITING
from tests.fakes import wind_by_hand
from tests.sockets import LONG, asked, hear, hear_until, opened, say
from tests.stand import BOB, KEYS, Stand, serving


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


# Answers.


@DIALECTS
async def test_the_events_are_those_over_http_each_in_a_frame(upstream):
    async with stand(upstream, mock={"tokens": 5}) as it, opened(it, PATH) as client:
        events = await answer(client)

    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[0]["type"] == "response.created"
    assert events[-1]["type"] == "response.completed"
    assert text_of(events).split() == ["t0", "t1", "t2", "t3", "t4"]
    assert not any("stream_id" in event for event in events)


async def test_the_log_has_a_line_for_each_response_and_one_for_the_socket():
    async with stand() as it:
        async with opened(it, PATH) as client:
            await answer(client)
            await answer(client, mock={"fault": "429"})
        metrics = await it.metrics()

    lines = [line for line in it.log_lines if line.get("route") == PATH]
    assert [line["status"] for line in lines] == [200, 429, 101]
    assert (lines[0]["end"], lines[0]["model"], lines[0]["tokens_out"]) == ("finished", "m", 3)
    assert lines[0]["request_id"] == lines[2]["request_id"] + ".1"
    assert metrics['headgate_streams_active{transport="websocket"}'] == 0


async def test_lanes_go_on_side_by_side_and_each_event_names_its_own():
    async with stand() as it, opened(it, PATH) as client:
        for lane in ("a", "b", None):
            await ask(client, lane, {"tokens": 30, "interval": 2, "tag": lane or "none"})
        events = []
        while sum(event["type"] in OVER for event in events) < 3:
            events.append(await hear(client))

    order = [event.get("stream_id") for event in events]
    assert order != sorted(order, key=str)
    for lane in ("a", "b", None):
        words = text_of(events, lane).split()
        assert len(words) == 30
        assert all((lane or "none") in word for word in words)


async def test_of_one_lane_one_response_follows_the_other():
    async with stand() as it, opened(it, PATH) as client:
        for tag in ("x", "y", "z"):
            await ask(client, "a", {"tokens": 5, "tag": tag})
        await ask(client, "a", {"fault": "429"})
        await ask(client, "a", {"tokens": 1, "tag": "w"})
        heard = [await hear_until(client, *OVER) for _ in range(5)]

    words = [[word[0] for word in text_of(events, "a").split()] for events in heard]
    assert words == [["x"] * 5, ["y"] * 5, ["z"] * 5, [], ["w"]]
    assert heard[3][0]["stream_id"] == "a"
    assert [request.json["mock"].get("tag") for request in it.mock.requests][:3] == ["x", "y", "z"]


@DIALECTS
@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [("429", 429, "rate_limit_exceeded"), ("refuse", 502, "upstream_unavailable")],
)
async def test_what_fails_before_it_says_anything_is_an_error_with_its_status(
    upstream, fault, status, code
):
    async with stand(upstream, mock={"fault": fault}) as it, opened(it, PATH) as client:
        events = await answer(client, "a")
        it.mock.defaults = Options()
        good = await answer(client, "a")

    assert len(events) == 1
    assert (events[0]["type"], events[0]["status"]) == ("error", status)
    assert events[0]["stream_id"] == "a"
    assert events[0]["error"]["message"]
    assert events[0]["error"]["code"] in (code, None, "rate_limit_error", "RESOURCE_EXHAUSTED")
    assert good[-1]["type"] == "response.completed"


async def test_what_breaks_off_is_a_failed_response():
    async with stand() as it, opened(it, PATH) as client:
        events = await answer(client, "a", mock={"fault": "truncate", "at": 6, "tokens": 9})

    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["error"]["code"] == "stream_interrupted"
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("no JSON", None),
        ("[]", None),
        ("[" * 100, None),
        ('{"type":"response.steer"}', "type"),
        ('{"type":"response.create"}', "model"),
        ('{"type":"response.create","model":"m","stream_id":7}', "stream_id"),
        (
            f'{{"type":"response.create","model":"m","stream_id":"{"x" * (MAX_ID + 1)}"}}',
            "stream_id",
        ),
        ('{"type":"response.create","model":"m","background":true}', "background"),
        (
            '{"type":"response.create","model":"m","previous_response_id":7}',
            "previous_response_id",
        ),
    ],
)
async def test_a_message_that_makes_no_sense_is_answered_and_the_socket_stays(message, param):
    async with stand() as it, opened(it, PATH) as client:
        await client.send(message)
        error = await hear(client)
        good = await answer(client)

    assert (error["type"], error["status"], error["error"]["param"]) == ("error", 400, param)
    assert good[-1]["type"] == "response.completed"


async def test_a_model_that_is_not_known_is_an_error():
    more = KEYS.replace('subject = "bob"', 'subject = "bob"\nmodels = ["alias"]')
    async with stand(more=more) as it, opened(it, PATH, additional_headers=BOB) as client:
        for generate in (True, False):
            [error] = await answer(client, generate=generate)
            assert (error["status"], error["error"]["code"]) == (404, "model_not_found")


async def test_there_is_a_bound_for_what_runs_and_what_waits():
    async with stand() as it, opened(it, PATH) as client:
        for lane in range(MAX_LANES):
            await ask(client, str(lane), LONG)
        [error] = [e for e in await answer(client, "more") if e["type"] == "error"]
        assert (error["status"], error["stream_id"]) == (503, "more")
        for _ in range(MAX_WAITING + 1):
            await ask(client, "0")
        error = (await hear_until(client, "error"))[-1]
        assert (error["status"], error["stream_id"]) == (503, "0")


async def test_binary_messages_close_it():
    async with stand() as it, opened(it, PATH) as client:
        await client.send(b"{}")
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await client.recv()
    assert closed.value.rcvd.code == 1007


async def test_a_plain_get_is_told_to_upgrade_and_a_key_of_idempotency_is_refused():
    async with stand() as it:
        client = await it.open()
        assert (await client.ask("GET", PATH)).status == 426
        await client.close()
        assert (await asked(it, PATH, "idempotency-key: x"))[0] == 400


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


# Beside HTTP.


async def test_what_a_lost_socket_asked_for_is_read_over_http():
    async with stand() as it:
        async with opened(it, PATH) as client:
            await ask(client, None, {"tokens": 60, "interval": 2})
            events = await hear_until(client, "response.output_text.delta")
            client.transport.abort()
        id, number = events[0]["response"]["id"], events[-1]["sequence_number"]
        rest = await it.answer("GET", f"{PATH}/{id}?stream=true&starting_after={number}")

    assert rest.body.count(b"event: response.output_text.delta") > 50
    assert b"event: response.completed" in rest.body


async def test_what_is_not_stored_ends_with_its_socket():
    async with stand() as it:
        async with opened(it, PATH) as client:
            await ask(client, None, LONG, store=False)
            id = (await hear(client))["response"]["id"]
        await it.mock.until(lambda: it.mock.open_streams == 0)
        assert (await it.answer("GET", f"{PATH}/{id}")).status == 404

    assert it.mock.requests[0].cancelled


async def test_a_response_on_a_socket_is_stopped_over_http():
    async with stand() as it, opened(it, PATH) as client:
        await ask(client, "a", LONG)
        id = (await hear(client))["response"]["id"]
        shown = await it.answer("POST", f"{PATH}/{id}/cancel")
        events = await hear_until(client, *OVER)
        again = await answer(client, "a")

    assert shown.json["status"] == "cancelled"
    assert events[-1]["type"] == "response.incomplete"
    assert again[-1]["type"] == "response.completed"


# The end.


async def test_a_socket_that_was_open_too_long_says_so_and_closes_after_its_last_response(
    monkeypatch
):
    monkeypatch.setattr("gateway.responses_socket.LIFETIME", 20.0)  # before a ping is due
    async with stand() as it:
        loop = wind_by_hand(it.server)
        async with opened(it, PATH) as client:
            await ask(client, "a", LONG)
            id = (await hear(client))["response"]["id"]
            loop.wind(19)
            await ask(client, "b")
            assert (await hear_until(client, *OVER))[-1]["type"] == "response.completed"
            loop.wind(2)
            error = (await hear_until(client, "error"))[-1]
            await ask(client, "b")
            again = (await hear_until(client, "error"))[-1]
            await it.answer("POST", f"{PATH}/{id}/cancel")
            rest = [orjson.loads(message) async for message in client]

    assert error["error"]["code"] == "websocket_connection_limit_reached"
    assert again["error"] == error["error"]
    assert ("stream_id" in error, again["stream_id"]) == (False, "b")
    assert rest[-1]["type"] == "response.incomplete"
    assert client.close_code == 1001


async def test_a_drain_lets_responses_end_and_begins_no_more():
    async with stand(drain="20s") as it, serving(it) as run:
        async with opened(it, PATH) as idle, opened(it, PATH) as client:
            await ask(client, "a", {"tokens": 20, "interval": 5})
            await hear_until(client, "response.output_text.delta")
            it.server.leave()
            with pytest.raises(websockets.ConnectionClosedOK):
                await idle.recv()
            await ask(client, "b")
            events = [orjson.loads(message) async for message in client]
        await run

    assert idle.close_code == client.close_code == 1001
    assert [event["error"]["code"] for event in events if "error" in event] == ["overloaded"]
    assert [event["stream_id"] for event in events if event["type"] == OVER[0]] == ["a"]
