"""Responses by their ids: in the background, looked up, followed, stopped and forgotten."""

from typing import Any

import orjson
import pytest

from tests.scripted import CHUNKED, LAST, Scripted, chunk
from tests.stand import ALICE, BOB, KEYS, Answer, Client, Stand
from tests.stories import case


RESPONSES = "/v1/responses"
SLOW = {"tokens": 5, "interval": 3_600_000}  # a first token, and then none for an hour


def stand(**settings: Any) -> Stand:
    return Stand(upstream='dialect = "responses"', **settings)


def asking(mock: dict[str, Any], **body: Any) -> dict[str, Any]:
    return {"model": "m", "input": "hello", "mock": mock, **body}


async def begin(it: Stand, mock: dict[str, Any], headers: Any = None, **body: Any) -> Answer:
    """Begin a response in the background."""
    body = asking(mock, background=True, **body)
    return await it.answer("POST", RESPONSES, body, **(headers or {}))


async def show(it: Stand, answer: Answer, more: str = "", **headers: str) -> Answer:
    return await it.answer("GET", f"{RESPONSES}/{answer.json['id']}{more}", **headers)


async def ended(it: Stand) -> None:
    await it.server.desk.jobs.empty()


def told(answer: Answer) -> list[dict[str, Any]]:
    """The events of an answer."""
    blocks = answer.body.decode().split("\n\n")
    assert blocks.pop() == ""
    return [orjson.loads(block.partition("data: ")[2]) for block in blocks]


async def followed(client: Client, count: int) -> list[dict[str, Any]]:
    """The first events of a stream that goes on."""
    status, _ = await client.head()
    assert status == 200
    body = b""
    while body.count(b"\n\n") < count:
        body += await client.chunk()
    return told(Answer(200, {}, body))


# In the background.


async def test_a_response_in_the_background_is_answered_as_it_begins_and_goes_on_alone():
    async with stand() as it:
        begun = await begin(it, {"tokens": 3})
        await ended(it)
        shown = await show(it, begun)

    assert (begun.status, begun.headers["content-type"]) == (200, "application/json")
    assert begun.json["background"] is True
    assert begun.headers["location"].startswith("/v1/stream/gen_")
    assert (shown.json["id"], shown.json["status"]) == (begun.json["id"], "completed")
    assert shown.json["output"][0]["content"][0]["text"] == "t0 t1 t2"
    assert shown.json["background"] is True
    asked = it.mock.requests[0].json
    assert (asked["stream"], "background" in asked) == (True, False)


async def test_a_response_is_in_progress_until_its_last_event():
    async with stand() as it:
        begun = await begin(it, SLOW)
        shown = await show(it, begun)

    assert begun.json["status"] == "in_progress"
    assert shown.json == begun.json


async def test_events_of_the_background_survive_a_client_that_leaves():
    async with stand() as it:
        client = await it.open()
        body = asking({"tokens": 40, "interval": 2}, background=True, stream=True)
        client.send("POST", RESPONSES, body)
        first = (await followed(client, 3))[0]["response"]
        await client.close()
        await ended(it)
        shown = await it.answer("GET", f"{RESPONSES}/{first['id']}")

    assert shown.json["status"] == "completed"
    assert it.mock.requests[0].cancelled is False


async def test_a_failure_before_the_first_event_keeps_its_status_in_the_background_too():
    async with stand() as it:
        answer = await begin(it, {"fault": "429"})
        mute = await begin(it, {"fault": "truncate", "at": 0})

    assert (answer.status, answer.json["error"]["code"]) == (429, "rate_limit_exceeded")
    assert mute.status == 502


async def test_a_failure_in_the_background_is_told_later():
    async with stand() as it:
        begun = await begin(it, {"fault": "truncate", "at": 5})
        await ended(it)
        shown = await show(it, begun)

    assert (begun.status, begun.json["id"]) == (200, shown.json["id"])
    assert (shown.status, shown.json["status"]) == (200, "failed")


async def test_the_background_may_be_asked_for_again_under_a_key():
    key = {"idempotency_key": "k1"}
    async with stand() as it:
        first = await begin(it, {"tokens": 3}, key)
        await ended(it)
        again = await begin(it, {"tokens": 3}, key)

    assert again.json["id"] == first.json["id"]
    assert again.json["status"] == "completed"
    assert len(it.mock.requests) == 1


async def test_respond_async_gives_the_place_of_the_log_and_the_response_is_known():
    async with stand() as it:
        answer = await begin(it, {"tokens": 3}, {"prefer": "respond-async"})
        await ended(it)
        entries = (await it.answer("GET", answer.headers["location"] + "?offset=-1")).json
        shown = await it.answer("GET", f"{RESPONSES}/{entries[0]['response']['id']}")

    assert answer.status == 202
    assert shown.json["status"] == "completed"


@pytest.mark.parametrize(
    ("body", "param"),
    [({"background": True, "store": False}, "background"), ({"background": 1}, "background")],
)
async def test_what_cannot_be_done_in_the_background_is_said(body, param):
    async with stand() as it:
        answer = await it.answer("POST", RESPONSES, asking({}, **body))

    assert (answer.status, answer.json["error"]["param"]) == (400, param)
    assert not it.mock.requests


# Looked up.


async def test_a_whole_answer_is_kept_and_has_no_events():
    async with stand() as it:
        answer = await it.answer("POST", RESPONSES, asking({"tokens": 3}))
        shown = await show(it, answer)
        streamed = await show(it, answer, "?stream=true")

    assert shown.json == answer.json
    assert (streamed.status, streamed.json["error"]["param"]) == (400, "stream")


@pytest.mark.parametrize("query", ["", "?stream=true"])
async def test_head_tells_that_it_is_there_and_reads_nothing(query):
    async with stand() as it:
        begun = await begin(it, SLOW)
        client = await it.open()
        client.send("HEAD", f"{RESPONSES}/{begun.json['id']}{query}")
        status, fields = await client.head()
        await client.close()

    assert (status, fields["content-type"]) == (200, "application/json")


async def test_an_incomplete_answer_is_kept_as_that():
    async with stand() as it:
        answer = await it.answer("POST", RESPONSES, asking({"tokens": 9}, max_output_tokens=2))
        assert (await show(it, answer)).json["status"] == "incomplete"


@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_not_to_be_stored_is_not_known(stream):
    async with stand() as it:
        body = asking({"tokens": 3}, store=False, stream=stream)
        answer = await it.answer("POST", RESPONSES, body)
        id = told(answer)[0]["response"]["id"] if stream else answer.json["id"]
        shown = await it.answer("GET", f"{RESPONSES}/{id}")

    assert (shown.status, shown.json["error"]["code"]) == (404, "response_not_found")


async def test_nobody_sees_the_responses_of_others():
    async with stand(more=KEYS) as it:
        mine = await begin(it, {"tokens": 3}, ALICE)
        assert (await show(it, mine, **ALICE)).status == 200
        for method, below in (("GET", ""), ("POST", "/cancel"), ("DELETE", "")):
            path = f"{RESPONSES}/{mine.json['id']}{below}"
            theirs = await it.answer(method, path, **BOB)
            assert (theirs.status, theirs.json["error"]["code"]) == (404, "response_not_found")
        assert (await show(it, mine)).status == 401
        await ended(it)


async def test_other_paths_below_are_none():
    async with stand() as it:
        answer = await it.answer("POST", RESPONSES, asking({"tokens": 3}))
        assert (await show(it, answer, "/input_items")).status == 404
        assert (await show(it, answer, "/")).status == 404
        assert (await it.answer("GET", RESPONSES + "/")).status == 404
        assert (await it.answer("POST", RESPONSES + "/compact", {})).status == 405


# Followed.


@pytest.mark.parametrize("name", ["text", "tool", "parallel", "reasoning", "refusal"])
async def test_events_after_a_number_are_the_tail_of_all(name):
    stream = case(f"responses-{name}")
    async with (
        Scripted(CHUNKED + chunk(stream) + LAST) as provider,
        stand(url=provider.url) as it,
    ):
        whole = await it.answer("POST", RESPONSES, asking({}, stream=True))
        path = f"{RESPONSES}/{told(whole)[0]['response']['id']}?stream=true"
        assert (await it.answer("GET", path)).body == whole.body
        for event in told(whole):
            number = event["sequence_number"]
            tail = await it.answer("GET", f"{path}&starting_after={number}")
            assert told(tail) == [e for e in told(whole) if e["sequence_number"] > number]
            assert whole.body.endswith(tail.body)


async def test_events_are_followed_live_over_a_cut_connection():
    async with stand() as it:
        begun = await begin(it, {"tokens": 60, "interval": 2})
        path = f"{RESPONSES}/{begun.json['id']}?stream=true"
        client = await it.open()
        client.send("GET", path)
        first = await followed(client, 10)
        await client.close()
        number = first[-1]["sequence_number"]
        rest = told(await it.answer("GET", f"{path}&starting_after={number}"))
        metrics = await it.metrics()

    numbers = [event["sequence_number"] for event in first + rest]
    assert numbers == list(range(len(numbers)))
    assert rest[-1]["type"] == "response.completed"
    assert metrics['headgate_resumes_total{outcome="recovered"}'] == 1


@pytest.mark.parametrize("number", ["x", "-1", "1e3", "999999", "1" * 30])
async def test_a_number_that_is_none_is_said_to_be(number):
    async with stand() as it:
        begun = await begin(it, {"tokens": 3})
        await ended(it)
        answer = await show(it, begun, f"?stream=true&starting_after={number}")

    assert (answer.status, answer.json["error"]["param"]) == (400, "starting_after")


# Stopped and forgotten.


async def test_a_stop_ends_it_at_the_provider_and_is_told_again_when_asked_again():
    async with stand() as it:
        begun = await begin(it, SLOW)
        reader = await it.open()
        reader.send("GET", f"{RESPONSES}/{begun.json['id']}?stream=true")
        await followed(reader, 1)
        path = f"{RESPONSES}/{begun.json['id']}/cancel"
        first = await it.answer("POST", path)
        again = await it.answer("POST", path)
        while await reader.chunk():
            pass  # it ends, and cleanly
        await it.mock.until(lambda: it.mock.open_streams == 0)
        await reader.close()

    assert (first.status, first.json["status"]) == (200, "cancelled")
    assert again.json == first.json
    assert it.mock.requests[0].cancelled


async def test_a_stop_of_what_has_ended_shows_how():
    async with stand() as it:
        begun = await begin(it, {"tokens": 3})
        await ended(it)
        answer = await it.answer("POST", f"{RESPONSES}/{begun.json['id']}/cancel")

    assert (answer.status, answer.json["status"]) == (200, "completed")


async def test_a_deleted_response_is_stopped_and_forgotten():
    async with stand() as it:
        begun = await begin(it, SLOW)
        path = f"{RESPONSES}/{begun.json['id']}"
        gone = await it.answer("DELETE", path)
        again = await it.answer("DELETE", path)
        place = await it.answer("GET", begun.headers["location"] + "?offset=-1")
        await it.mock.until(lambda: it.mock.open_streams == 0)

    assert gone.json == {"id": begun.json["id"], "object": "response", "deleted": True}
    assert (again.status, place.status) == (404, 404)


async def test_a_deleted_answer_is_forgotten_too():
    async with stand() as it:
        hub = it.server.desk.hub
        logs = len(hub)
        answer = await it.answer("POST", RESPONSES, asking({"tokens": 3}))
        assert len(hub) == logs + 1
        gone = await it.answer("DELETE", f"{RESPONSES}/{answer.json['id']}")

        assert gone.json["deleted"] is True
        assert len(hub) == logs
        assert (await show(it, answer)).status == 404


async def test_a_response_that_ends_amid_a_character_has_one_end():
    said = orjson.dumps({
        "type": "response.incomplete",
        "response": {
            "id": "resp_1", "object": "response", "status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens"},
            "output": [{"type": "message", "content": [{"type": "output_text", "text": "HALF"}]}],
        },
    })  # fmt: skip
    last = b"event: response.incomplete\ndata: %b\n\n" % said.replace(b"HALF", rb"\ud83d")
    async with Scripted(CHUNKED, chunk(last) + LAST) as provider, stand(url=provider.url) as it:
        body = {"model": "m", "input": "hello", "stream": True}
        answer = await it.answer("POST", RESPONSES, body)

    assert answer.body == last
    assert it.log_lines[-1]["end"] == "finished"
