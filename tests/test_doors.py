"""Doors: asked again, read elsewhere, left and come back to, stopped."""

import asyncio
from urllib.parse import urlencode

import orjson
import pytest

from tests.fakes import wind_by_hand
from tests.scripted import CHUNKED, DONE, FINISH, LAST, TEXT, Scripted, chunk
from tests.stand import ALICE, BOB, KEYS, Answer, Client, Stand, chat


CHAT = "/v1/chat/completions"
SLOW = {"tokens": 5, "interval": 3_600_000}  # a first token, and then none for an hour
WHOLE = CHUNKED + chunk(TEXT + FINISH + DONE) + LAST
KEY = {"idempotency-key": "k1"}
RESUME = {"headgate-resume": "true"}


def blocks(body: bytes) -> list[dict[str, str]]:
    """The fields of each block of a stream with ids."""
    return [
        dict(line.split(": ", 1) for line in block.split("\n") if line != ":")
        for block in body.decode().split("\n\n")
        if block
    ]


def said(events: list[str]) -> str:
    """The content of the chunks among these events."""
    chunks = [orjson.loads(event) for event in events if event != "[DONE]"]
    return "".join(c["delta"].get("content") or "" for e in chunks for c in e["choices"])


async def left_after_one_event(stand: Stand, headers: dict[str, str]) -> tuple[bytes, str]:
    """Ask, take the first event, and go; return it, and the place of the log."""
    client = await stand.ask(headers=headers, **SLOW)
    _, fields = await client.head()
    first = await client.chunk()
    await client.close()
    await stand.server.public.host.connections.empty()
    return first, fields["location"]


async def stop(stand: Stand, location: str) -> Answer:
    client = await stand.open()
    answer = await client.ask("POST", location + "/cancel")
    await client.close()
    return answer


# Read elsewhere.


async def test_respond_async_makes_a_log_of_what_was_not_to_be_a_stream():
    async with Stand() as stand:
        client = await stand.open()
        answer = await client.ask(
            "POST", CHAT, chat(stream=False, tokens=2), prefer="respond-async"
        )
        place = answer.headers["location"]
        entries = await client.ask("GET", place + "?offset=-1&live=long-poll")
        await client.close()

    assert answer.status == 202
    assert entries.json[0]["object"] == "chat.completion.chunk"


async def test_respond_async_is_answered_at_once_and_goes_on_without_a_reader():
    async with Stand() as stand:
        loop = wind_by_hand(stand.server)
        client = await stand.open()
        answer = await client.ask("POST", CHAT, chat(**SLOW), prefer="respond-async")
        await stand.mock.until(lambda: stand.mock.open_streams == 1)
        loop.wind(100)  # longer than any grace, and shorter than the idle limit
        going = stand.mock.open_streams
        stopped = await stop(stand, answer.headers["location"])
        await stand.mock.until(lambda: stand.mock.open_streams == 0)
        await client.close()

    assert answer.status == 202
    assert answer.headers["preference-applied"] == "respond-async"
    assert answer.json == {
        "id": answer.headers["location"].removeprefix("/v1/stream/"),
        "stream": answer.headers["location"],
        "state": "open",
    }
    assert going == 1
    assert stopped.json["state"] == "cancelled"
    line = next(line for line in stand.log_lines if line.get("route") == CHAT)
    assert (line["status"], line["end"]) == (202, "stop")


# Left.


async def test_a_plain_client_that_leaves_ends_its_generation():
    async with Stand() as stand:
        await left_after_one_event(stand, {})
        await stand.mock.until(lambda: stand.mock.open_streams == 0)

    assert stand.mock.requests[-1].cancelled


@pytest.mark.parametrize("headers", [RESUME, {"headgate-on-disconnect": "detach"}])
async def test_who_wants_to_come_back_is_waited_for_a_minute(headers):
    async with Stand() as stand:
        loop = wind_by_hand(stand.server)
        stand.server.desk.hub.loop = loop
        await left_after_one_event(stand, headers)
        loop.wind(59)
        going = stand.mock.open_streams
        loop.wind(1)
        await stand.mock.until(lambda: stand.mock.open_streams == 0)
        metrics = await stand.metrics()

    assert going == 1
    assert stand.log_lines[-1]["end"] == "disconnect"
    assert metrics['headgate_client_disconnects_total{phase="streaming"}'] == 1


@pytest.mark.parametrize(
    ("model", "headers", "goes_on"),
    [
        ('on_disconnect = "detach:60s"', {}, True),
        ('on_disconnect = "detach:60s"', {"headgate-on-disconnect": "cancel"}, False),
        ('on_disconnect = "cancel"', {"headgate-on-disconnect": "detach"}, False),
        ('on_disconnect = "cancel"', RESUME, False),
    ],
)
async def test_the_model_sets_the_bounds_of_detaching(model, headers, goes_on):
    async with Stand(model=model) as stand:
        _, location = await left_after_one_event(stand, headers)
        if goes_on:
            assert stand.mock.open_streams == 1
            await stop(stand, location)
        await stand.mock.until(lambda: stand.mock.open_streams == 0)

    ends = [line["end"] for line in stand.log_lines if line.get("route") == CHAT]
    assert ends == ["stop" if goes_on else "disconnect"]


@pytest.mark.parametrize(
    ("field", "word", "known"),
    [
        ("headgate_on_disconnect", "explode", b"cancel or detach"),
        ("headgate_resume", "yes", b"true or false"),
    ],
)
async def test_an_unknown_wish_is_refused(field, word, known):
    async with Stand() as stand:
        client = await stand.open()
        answer = await client.ask("POST", CHAT, chat(), **{field: word})
        await client.close()

    assert answer.status == 400
    assert known in answer.body


# Asked again.


async def test_the_same_request_under_the_same_key_reads_the_same_log():
    async with Stand() as stand:
        client = await stand.open()
        first = await client.ask("POST", CHAT, chat(), **{"idempotency_key": "k1"})
        again = await client.ask("POST", CHAT, chat(), **{"idempotency_key": "k1"})
        await client.close()

    assert again.body == first.body
    assert again.headers["location"] == first.headers["location"]
    assert len(stand.mock.requests) == 1


async def test_another_request_under_the_key_is_refused():
    async with Stand() as stand:
        client = await stand.open()
        await client.ask("POST", CHAT, chat(), idempotency_key="k1")
        other = await client.ask("POST", CHAT, chat(tokens=3), idempotency_key="k1")
        await client.close()

    assert other.status == 422
    assert other.json["error"]["code"] == "idempotency_key_reused"


async def test_what_failed_before_it_said_anything_is_tried_again_under_its_key():
    async with Stand() as stand:
        client = await stand.open()
        body = chat(fault="500")
        statuses = [
            (await client.ask("POST", CHAT, body, idempotency_key="k1")).status for _ in range(2)
        ]
        await client.close()

    assert statuses == [500, 500]
    assert len(stand.mock.requests) == 2


async def test_a_client_that_was_cut_off_resumes_where_it_was():
    async with Stand() as stand:
        whole = await stand.ask(headers=KEY | RESUME, tokens=4)
        everything = blocks((await whole.answer()).body)
        await whole.close()
        seen = everything[1]["id"]
        again = await stand.ask(headers=KEY | RESUME | {"last-event-id": seen}, tokens=4)
        rest = blocks((await again.answer()).body)
        await again.close()
        metrics = await stand.metrics()

    assert rest == everything[2:]
    assert everything[-1]["data"] == "[DONE]"
    assert metrics['headgate_resumes_total{outcome="recovered"}'] == 1


async def test_two_clients_read_one_live_generation():
    async with Stand() as stand:
        one = await stand.ask(headers=KEY | RESUME, **SLOW)
        await one.head()
        first = await one.chunk()
        two = await stand.ask(headers=KEY | RESUME, **SLOW)
        _, fields = await two.head()
        assert await two.chunk() == first
        await stop(stand, fields["location"])
        ends = [await rest_of(client) for client in (one, two)]
        for client in (one, two):
            await client.close()

    assert ends[0] == ends[1]
    assert b'"ended":"cancelled"' in ends[0]
    assert ends[0].endswith(b"data: [DONE]\n\n")


async def rest_of(client: Client) -> bytes:
    body = b""
    while part := await client.chunk():
        body += part
    return body


# Stopped.


async def test_a_stopped_generation_ends_for_reader_and_provider_and_twice_is_once():
    async with Stand() as stand:
        client = await stand.ask(**SLOW)
        _, fields = await client.head()
        first = await client.chunk()
        stopped = await stop(stand, fields["location"])
        await stand.mock.until(lambda: stand.mock.open_streams == 0)
        rest = await rest_of(client)
        again = await stop(stand, fields["location"])
        await client.close()

    events = Answer(200, {}, first + rest).events
    assert orjson.loads(events[-2])["headgate"] == {"ended": "cancelled"}
    assert orjson.loads(events[-2])["id"] == orjson.loads(events[0])["id"]
    assert events[-1] == "[DONE]"
    assert stopped.json == again.json
    assert (stopped.json["state"], stopped.json["reason"]) == ("cancelled", "stop")
    assert stopped.json["entries"] == len(events) - 1
    assert stand.mock.requests[-1].cancelled


@pytest.mark.parametrize(
    "path", ["/stop-generation", "/v1/stop-generation", "/api/stop-generation"]
)
async def test_the_aliases_stop_too(path):
    async with Stand() as stand:
        client = await stand.ask(**SLOW)
        _, fields = await client.head()
        other = await stand.open()
        answer = await other.ask("POST", path, {"id": fields["location"]})
        await rest_of(client)
        for one in (client, other):
            await one.close()

    assert answer.json["reason"] == "stop"


async def test_usage_that_was_asked_for_is_estimated_after_a_stop():
    async with Stand() as stand:
        client = await stand.open()
        body = chat(**SLOW) | {"stream_options": {"include_usage": True}}
        client.send("POST", CHAT, body)
        _, fields = await client.head()
        first = await client.chunk()
        await stop(stand, fields["location"])
        events = Answer(200, {}, first + await rest_of(client)).events
        await client.close()

    usage = orjson.loads(events[-2])["usage"]
    assert usage["estimated"] is True
    assert usage["completion_tokens"] > 0


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/stream/gen_unknown/cancel", None, 404),
        ("/stop-generation", {"id": "gen_unknown"}, 404),
        ("/stop-generation", {}, 400),
        ("/stop-generation", b"{", 400),
    ],
)
async def test_what_cannot_be_stopped_is_said(path, body, status):
    async with Stand() as stand:
        client = await stand.open()
        answer = await client.ask("POST", path, body)
        await client.close()

    assert answer.status == status


# Who may.


# The second may use one model only.
TABLES = KEYS + 'models = ["alias"]\n'


async def test_without_a_known_key_nothing_is_served():
    async with Stand(more=TABLES) as stand:
        client = await stand.open()
        answers = [
            await client.ask("POST", CHAT, chat()),
            await client.ask("POST", CHAT, chat(), authorization="Bearer nonsense"),
            await client.ask("GET", "/v1/models"),
        ]
        known = await client.ask("POST", CHAT, chat(), **ALICE)
        await client.close()

    assert [answer.status for answer in answers] == [401, 401, 401]
    assert answers[0].json["error"]["code"] == "invalid_api_key"
    assert known.status == 200
    assert len(stand.mock.requests) == 1


async def test_a_caller_has_its_models_and_no_others():
    async with Stand(more=TABLES) as stand:
        client = await stand.open()
        allowed = await client.ask("POST", CHAT, chat(model="alias"), **BOB)
        refused = await client.ask("POST", CHAT, chat(model="m"), **BOB)
        await client.close()

    assert (allowed.status, refused.status) == (200, 404)


async def test_nobody_stops_the_generation_of_another():
    async with Stand(more=TABLES) as stand:
        client = await stand.open()
        begun = await client.ask("POST", CHAT, chat(**SLOW), prefer="respond-async", **ALICE)
        place = begun.headers["location"]
        answers = [await client.ask("POST", place + "/cancel", **caller) for caller in (BOB, ALICE)]
        await client.close()

    assert [answer.status for answer in answers] == [404, 200]


# EventSource.


def asked(**mock: object) -> str:
    """The path by which an EventSource asks for a generation."""
    body = chat(**mock)
    query = {"model": body["model"], "messages": body["messages"], "mock": body["mock"]}
    parts = {name: orjson.dumps(v).decode() if name != "model" else v for name, v in query.items()}
    return f"{CHAT}/stream?{urlencode(parts)}"


async def test_an_event_source_asks_by_its_url_and_is_told_the_end():
    async with Stand() as stand:
        client = await stand.open()
        answer = await client.ask("GET", asked(tokens=3))
        again = await client.ask("GET", asked(tokens=3), last_event_id=last_id(answer.body))
        await client.close()

    assert answer.headers["location"].startswith("/v1/stream/gen_")
    seen = [block for block in blocks(answer.body) if "data" in block]
    contents = [orjson.loads(b["data"])["content"] for b in seen if b.get("event") == "chunk"]
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert "".join(contents) == "t0 t1 t2"
    assert seen[-2]["event"] == "done"
    done = orjson.loads(seen[-2]["data"])
    assert done["finish_reason"] == "stop"
    assert done["usage"]["completion_tokens"] > 0
    assert seen[-1]["data"] == "[DONE]"
    assert again.status == 204
    assert len(stand.mock.requests) == 1


def last_id(body: bytes) -> str:
    return [block["id"] for block in blocks(body) if "id" in block][-1]


async def test_an_event_source_that_lost_its_connection_goes_on_with_its_generation():
    async with Stand() as stand:
        client = await stand.open()
        client.send("GET", asked(**SLOW))
        await client.head()
        seen = b""
        while b"event: chunk" not in seen:
            seen += await client.chunk()
        await client.close()
        await stand.server.public.host.connections.empty()
        assert stand.mock.open_streams == 1
        back = await stand.open()
        back.send("GET", asked(**SLOW), None, {"last-event-id": last_id(seen)})
        _, fields = await back.head()
        await stop(stand, "/v1/stream/" + next(iter(stand.server.desk.jobs)).live.log.id)
        rest = blocks(await rest_of(back))
        await back.close()

    assert len(stand.mock.requests) == 1
    assert fields["content-type"].startswith("text/event-stream")
    assert [block["event"] for block in rest if "event" in block][-1] == "done"


async def test_a_cursor_of_no_generation_begins_none():
    async with Stand() as stand:
        client = await stand.open()
        answer = await client.ask("GET", asked(), last_event_id="abcdefg2_0000000000000001")
        await client.close()

    assert answer.status == 204
    assert len(stand.mock.requests) == 0


async def test_a_cursor_of_a_channel_is_of_no_generation():
    async with Stand() as stand:
        client = await stand.open()
        made = await client.ask("PUT", "/v1/stream/notes", b"words", content_type="text/plain")
        seen = made.headers["stream-next-offset"][:-1] + "0"
        page = await client.ask("GET", asked(), last_event_id=seen)
        client.send("POST", CHAT, chat(tokens=4), RESUME | {"last-event-id": seen})
        post = await client.answer()
        await client.close()

    assert page.status == 204
    assert post.json["error"]["code"] == "cursor_gone"
    assert len(stand.mock.requests) == 0


async def test_nobody_goes_on_with_the_generation_of_another():
    async with Stand(more=TABLES) as stand:
        client = await stand.open()
        mine = await client.ask("GET", asked(tokens=3), **ALICE)
        foreign = await client.ask(
            "GET", asked(), last_event_id=last_id(mine.body)[:-1] + "1", **BOB
        )
        await client.close()

    assert mine.status == 200
    assert foreign.status == 204


async def test_a_cursor_of_a_channel_is_none_of_a_chat():
    # Such entries may be no events at all; a chat's view of them broke, and stayed attached.
    async with Stand() as stand:
        client = await stand.open()
        made = await client.ask("PUT", "/v1/stream/notes", b"hello", content_type="text/plain")
        seen = made.headers["stream-next-offset"][:-1] + "0"
        by_event_source = await client.ask("GET", asked(), last_event_id=seen)
        client.send("POST", CHAT, chat(), RESUME | {"last-event-id": seen})
        posted = await client.answer()
        active = await stand.metrics()
        await client.close()

    assert (made.status, by_event_source.status, posted.status) == (201, 204, 410)
    assert sum(v for k, v in active.items() if k.startswith("headgate_streams_active")) == 0


async def test_a_ticket_opens_one_event_source_once():
    async with Stand(more=TABLES) as stand:
        client = await stand.open()
        ticket = await client.ask("POST", "/v1/tickets", {"opens": f"{CHAT}/stream"}, **ALICE)
        path = asked(tokens=3) + "&ticket=" + ticket.json["ticket"]
        answers = [await client.ask("GET", path) for _ in range(2)]
        await client.close()

    assert [answer.status for answer in answers] == [200, 401]
    assert ticket.json["ticket"] not in str(stand.log_lines)
    assert answers[0].body.endswith(b"data: [DONE]\n\n")


async def test_a_ticket_opens_no_path_longer_than_any_there_is():
    async with Stand(more=TABLES) as stand:
        client = await stand.open()
        longest = await client.ask("POST", "/v1/tickets", {"opens": "/" + "a" * 255}, **ALICE)
        longer = await client.ask("POST", "/v1/tickets", {"opens": "/" + "a" * 256}, **ALICE)
        await client.close()

    assert (longest.status, longer.status) == (200, 400)
    assert longer.json["error"]["param"] == "opens"


async def test_a_forced_stream_needs_no_stream_in_its_body():
    async with Stand() as stand:
        client = await stand.open()
        answer = await client.ask("POST", CHAT + "/stream", chat(stream=False))
        await client.close()

    assert answer.events[-1] == "[DONE]"


async def test_a_stop_after_the_last_word_keeps_its_reason():
    rest = asyncio.Event()
    finish = FINISH.replace(b'"stop"', b'"length"')
    steps = CHUNKED + chunk(TEXT + finish)
    async with Scripted(steps, rest) as provider, Stand(url=provider.url) as stand:
        client = await stand.ask()
        _, fields = await client.head()
        first = await client.chunk()
        await stop(stand, fields["location"])
        events = Answer(200, {}, first + await rest_of(client)).events
        rest.set()
        await client.close()

    last = orjson.loads(events[-2])
    assert last["headgate"] == {"ended": "cancelled"}
    assert last["choices"][0]["finish_reason"] == "length"


async def test_a_page_that_is_cut_before_the_first_token_asks_for_nothing_new():
    go = asyncio.Event()
    async with Scripted(go, WHOLE) as provider, Stand(url=provider.url) as stand:
        client = await stand.open()
        client.send("GET", asked())
        await client.head()
        start = blocks(await client.chunk())[0]
        await client.close()
        await stand.server.public.host.connections.empty()
        go.set()
        back = await stand.open()
        answer = await back.ask("GET", asked(), last_event_id=start["id"])
        await back.close()
        requests = provider.requests

    assert start["event"] == "start"
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert requests == 1


async def test_a_page_that_is_cut_before_the_end_is_told_it_once():
    async with Stand() as stand:
        client = await stand.open()
        whole = blocks((await client.ask("GET", asked(tokens=3))).body)
        last_chunk = [block for block in whole if block.get("event") == "chunk"][-1]
        back = await client.ask("GET", asked(), last_event_id=last_chunk["id"])
        again = await client.ask("GET", asked(), last_event_id=last_id(back.body))
        await client.close()

    assert [block.get("event") for block in blocks(back.body)] == ["start", "done", None]
    assert again.status == 204


async def test_a_page_is_told_of_an_error_that_says_nothing():
    steps = CHUNKED + chunk(b'data: {"error":{"message":[]}}\n\n')
    async with Scripted(steps) as provider, Stand(url=provider.url) as stand:
        client = await stand.open()
        answer = await client.ask("GET", asked())
        await client.close()

    [failed] = [block for block in blocks(answer.body) if block.get("event") == "failed"]
    error = orjson.loads(failed["data"])["error"]
    assert error["message"] == "the upstream reported an error"


async def test_a_page_that_saw_the_failure_is_not_told_again():
    async with Stand() as stand:
        client = await stand.open()
        broken = await client.ask("GET", asked(fault="cut", at=2))
        again = await client.ask("GET", asked(), last_event_id=last_id(broken.body))
        await client.close()

    assert blocks(broken.body)[-1]["event"] == "failed"
    assert again.status == 204


async def test_a_page_stops_its_generation_by_the_id_it_saw_last():
    async with Stand() as stand:
        client = await stand.open()
        client.send("GET", asked(**SLOW))
        await client.head()
        start = blocks(await client.chunk())[0]
        other = await stand.open()
        stopped = await other.ask("POST", "/stop-generation", {"id": start["id"]})
        await rest_of(client)
        for one in (client, other):
            await one.close()

    assert stopped.json["reason"] == "stop"
    assert orjson.loads(start["data"])["stream"].endswith(stopped.json["id"])


async def test_a_post_that_comes_back_by_itself_goes_on_by_its_cursor():
    async with Stand() as stand:
        client = await stand.open()
        client.send("POST", CHAT, chat(tokens=4), RESUME)
        everything = blocks((await client.answer()).body)
        seen = {"last-event-id": everything[1]["id"]}
        client.send("POST", CHAT, chat(tokens=4), RESUME | seen)
        rest = blocks((await client.answer()).body)
        gone = {"last-event-id": "abcdefg2_0000000000000001"}
        client.send("POST", CHAT, chat(tokens=4), RESUME | gone)
        lost = await client.answer()
        foreign = {"last-event-id": "evt_17"}
        client.send("POST", CHAT, chat(tokens=4), RESUME | foreign)
        anew = await client.answer()
        await client.close()

    assert rest == everything[2:]
    assert lost.json["error"]["code"] == "cursor_gone"
    assert anew.status == 200
    assert len(stand.mock.requests) == 2


async def test_head_begins_no_generation():
    async with Stand() as stand:
        client = await stand.open()
        client.send("HEAD", asked())
        status, headers = await client.head()
        await client.close()

    assert status == 405
    assert headers["allow"] == "GET, POST"
    assert len(stand.mock.requests) == 0


async def test_a_key_belongs_to_its_path():
    async with Stand() as stand:
        client = await stand.open()
        await client.ask("POST", CHAT, chat(), idempotency_key="k1")
        other = await client.ask("POST", "/v1/completions", chat(), idempotency_key="k1")
        await client.close()

    assert other.status == 422


async def test_a_stop_after_an_odd_chunk_closes_the_log_all_the_same():
    deep = b'{"id":' + b"[" * 300 + b"]" * 300 + b',"choices":[]}'
    rest = asyncio.Event()
    steps = CHUNKED + chunk(b"data: " + deep + b"\n\n")
    async with Scripted(steps, rest) as provider, Stand(url=provider.url) as stand:
        client = await stand.ask()
        _, fields = await client.head()
        await client.chunk()
        stopped = await stop(stand, fields["location"])
        ended = await rest_of(client)
        rest.set()
        await client.close()

    assert stopped.json["state"] == "cancelled"
    assert b'"ended":"cancelled"' in ended


async def test_a_page_that_leaves_frees_its_connection_while_the_generation_goes_on():
    async with Stand() as stand:
        await left_after_one_event(stand, RESUME)
        job = next(iter(stand.server.desk.jobs))
        held = job._reply
        await stop(stand, "/v1/stream/" + job.live.log.id)

    assert held.status == 200
    assert not hasattr(held, "_wire")


async def test_the_line_of_a_request_has_its_method():
    async with Stand() as stand:
        client = await stand.open()
        await client.ask("GET", asked(tokens=1))
        await client.close()

    assert [line["method"] for line in stand.log_lines if "ttft_ms" in line and line["end"]] == [
        "GET"
    ]


# Answers that begin before a provider of another dialect is asked.

ANTHROPIC = 'dialect = "anthropic"'


async def test_202_says_what_was_left_out():
    async with Stand(upstream=ANTHROPIC) as stand:
        client = await stand.open()
        body = chat() | {"seed": 1}
        answer = await client.ask("POST", CHAT, body, prefer="respond-async")
        log = await client.ask("GET", answer.headers["location"], accept="text/event-stream")
        await client.close()

    assert answer.status == 202
    assert answer.headers["headgate-dropped-params"] == "mock, seed"
    assert "headgate-upstream" not in answer.headers
    assert "headgate-dropped-params" not in log.headers


async def test_the_first_block_of_an_event_source_says_what_was_left_out():
    async with Stand(upstream=ANTHROPIC) as stand:
        client = await stand.open()
        answer = await client.ask("GET", asked() + "&seed=1")
        await client.close()

    start = next(line for line in answer.body.splitlines() if line.startswith(b"data: "))
    assert orjson.loads(start[6:])["dropped_params"] == ["mock", "seed"]


@pytest.mark.parametrize("way", ["POST", "GET"])
async def test_what_has_no_word_there_is_a_400_and_leaves_no_log(way):
    async with Stand(upstream=ANTHROPIC) as stand:
        before = len(stand.server.desk.hub)
        client = await stand.open()
        if way == "POST":
            body = chat() | {"logprobs": True}
            answer = await client.ask(way, CHAT, body, prefer="respond-async")
        else:
            answer = await client.ask(way, asked() + "&logprobs=true")
        await client.close()
        assert len(stand.server.desk.hub) == before
        assert not stand.mock.requests

    assert answer.status == 400
    assert answer.json["error"]["param"] == "logprobs"
