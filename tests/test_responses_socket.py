"""The Responses API on one WebSocket, with a client that is not ours and the mock provider."""

import orjson
import pytest
import websockets

from gateway.lane_socket import MAX_ID, MAX_LANES
from gateway.mock import Options
from gateway.responses_socket import MAX_WAITING
from tests.fakes import wind_by_hand
from tests.responses_socket_client import DIALECTS, OVER, PATH, answer, ask, stand, text_of
from tests.sockets import LONG, asked, hear, hear_until, opened
from tests.stand import BOB, KEYS, serving


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
