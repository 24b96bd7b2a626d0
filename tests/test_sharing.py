"""Identical requests of a model that coalesces: one is asked, all are answered."""

import asyncio
import re
from urllib.parse import urlencode

import orjson
import pytest

from gateway.series import HIT, MISS
from tests.coalescing import CHAT, asked, outcomes
from tests.fakes import until, wind_by_hand
from tests.scripted import CHUNKED, DONE, FINISH, LAST, TEXT, Scripted, chunk, document
from tests.sockets import CHATS, ask_chat, hear_until, opened
from tests.stand import ALICE, BOB, KEYS, Answer, Client, Stand, chat, pair


SHARED = 'coalesce.ttl = "1m"'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/json; charset=utf-8\r\n"
BODY = b'{"choices":[],\r\n\r\n "usage":{"prompt_tokens":2,"completion_tokens":3}}'
WHOLE = document(BODY, HEAD)
FAILURE = b"HTTP/1.1 500 \r\ncontent-length: 0\r\n\r\n"
SLOW = {"tokens": 5, "interval": 3_600_000}  # a first token, and then none for an hour
BOTH = pytest.mark.parametrize("stream", [True, False])


async def crowd(stand: Stand, body: object, size: int, path: str = CHAT) -> list[Client]:
    """Ask so many times, and read no answer yet; the first is the first to be served."""

    def served() -> float:
        return sum(stand.server.desk.metrics.counts("coalesced_total").values())

    clients, before = [], served()
    for number in range(1, size + 1):
        clients.append(await stand.open())
        clients[-1].send("POST", path, body)
        await until(lambda due=before + number: served() >= due)
    return clients


async def answers(clients: list[Client]) -> list[Answer]:
    found = await asyncio.gather(*[client.answer() for client in clients])
    for client in clients:
        await client.close()
    return found


# Under way.


@BOTH
async def test_of_fifty_identical_requests_at_once_one_is_asked(stream):
    async with Stand(model=SHARED) as stand:
        clients = [await stand.open() for _ in range(50)]
        for client in clients:
            client.send("POST", CHAT, chat(stream=stream, tokens=20, interval=1))
        found = await answers(clients)
        metrics = await stand.metrics()

    assert len(stand.mock.requests) == 1
    assert {answer.status for answer in found} == {200}
    assert len({answer.body for answer in found}) == 1
    assert sorted(outcomes(*found)) == [HIT] * 49 + [MISS]
    assert metrics['headgate_coalesced_total{model="other",outcome="hit"}'] == 49
    assert metrics['headgate_coalesced_total{model="other",outcome="miss"}'] == 1
    # Each is counted, and the answer once.
    requests = [n for name, n in metrics.items() if "requests_total{" in name and CHAT in name]
    assert sum(requests) == 50
    assert metrics['headgate_tokens_total{model="other",type="output"}'] == 20
    assert metrics['headgate_streams_ended_total{reason="finished"}'] == 1
    lines = [line for line in stand.log_lines if line.get("route") == CHAT]
    assert [line["model"] for line in lines] == ["m"] * 50
    assert len({line["request_id"] for line in lines}) == 50
    assert len({line["generation"] for line in lines}) == 1


async def test_who_comes_late_reads_from_the_beginning_and_on():
    go_on = asyncio.Event()
    steps = (CHUNKED + chunk(TEXT), go_on, chunk(TEXT + FINISH + DONE) + LAST)
    async with Scripted(*steps) as provider, Stand(url=provider.url, model=SHARED) as stand:
        first, second = await crowd(stand, chat(), 2)
        for client in (first, second):
            _, fields = await client.head()
            assert await client.chunk() == TEXT
        go_on.set()
        rest = [await client.chunk() + await client.chunk() for client in (first, second)]
        for client in (first, second):
            await client.close()

    assert fields["headgate-coalesced"] == "hit"
    assert fields["headgate-upstream"] == "mock"
    assert fields["location"].startswith("/v1/stream/gen_")
    assert rest == [TEXT + FINISH + DONE] * 2
    assert provider.requests == 1


@BOTH
async def test_a_failure_is_the_same_for_all_who_wait_and_is_not_kept(stream):
    go_on = asyncio.Event()
    refusal = b'{"error":{"message":"no"}}'
    head = b"HTTP/1.1 418 \r\nretry-after: 7\r\ncontent-type: application/json\r\n"
    steps = (go_on, head + b"content-length: %d\r\n\r\n%b" % (len(refusal), refusal))
    async with (
        Scripted(*steps, closes=True) as provider,
        Stand(url=provider.url, model=SHARED) as stand,
    ):
        clients = await crowd(stand, chat(stream=stream), 3)
        go_on.set()
        found = await answers(clients)
        again = await asked(stand, chat(stream=stream))

    assert [(answer.status, answer.body) for answer in found] == [(418, refusal)] * 3
    for name in ("retry-after", "headgate-error-source", "headgate-upstream", "content-type"):
        assert len({answer.headers[name] for answer in found}) == 1
    assert outcomes(*found, *again) == [MISS, HIT, HIT, MISS]
    assert "location" not in found[1].headers
    assert provider.requests == 2


@BOTH
async def test_all_are_told_that_there_is_no_use_in_repeating(stream):
    more = pair("http://127.0.0.1:9/v1", SHARED)
    async with Scripted(FAILURE) as provider, Stand(url=provider.url, more=more) as stand:
        found = await answers(await crowd(stand, chat(model="pair", stream=stream), 2))

    assert [answer.headers["x-should-retry"] for answer in found] == ["false"] * 2
    assert outcomes(*found) == [MISS, HIT]


async def test_a_stream_that_breaks_ends_in_the_same_error_for_all():
    go_on = asyncio.Event()
    steps = (CHUNKED + chunk(TEXT), go_on)
    async with (
        Scripted(*steps, closes=True) as provider,
        Stand(url=provider.url, model=SHARED) as stand,
    ):
        clients = await crowd(stand, chat(), 3)
        go_on.set()
        found = await answers(clients)
        again = await asked(stand, chat())

    assert len({answer.body for answer in found}) == 1
    assert "[DONE]" not in found[0].events
    assert orjson.loads(found[0].events[-1])["error"]["code"] == "stream_interrupted"
    assert outcomes(*again) == [MISS]
    assert provider.requests == 2


# Leaving.


@BOTH
async def test_who_asked_first_may_leave_and_the_others_have_their_answer(stream):
    go_on = asyncio.Event()
    good = CHUNKED + chunk(TEXT + FINISH + DONE) + LAST if stream else WHOLE
    async with (
        Scripted(go_on, good) as provider,
        Stand(url=provider.url, model=SHARED) as stand,
    ):
        first, *others = await crowd(stand, chat(stream=stream), 3)
        await first.close()
        await until(lambda: len(stand.server.public.host.connections) == 2)
        go_on.set()
        found = await answers(others)
        metrics = await stand.metrics()

    assert {answer.body for answer in found} == {TEXT + FINISH + DONE if stream else BODY}
    assert provider.requests == 1
    assert metrics['headgate_client_disconnects_total{phase="waiting"}'] == 1
    statuses = [line["status"] for line in stand.log_lines if line.get("route") == CHAT]
    assert sorted(statuses) == [200, 200, 499]


@BOTH
async def test_the_last_who_leaves_ends_what_is_under_way(stream):
    async with Stand(model=SHARED) as stand:
        clients = await crowd(stand, chat(stream=stream, **SLOW), 3)
        open_streams = stand.mock.requests[-1]
        for number, client in enumerate(clients):
            assert not open_streams.cancelled
            await client.close()
            await until(lambda left=2 - number: len(stand.server.public.host.connections) == left)
        await stand.mock.until(lambda: open_streams.cancelled)
        again = await stand.open()
        again.send("POST", CHAT, chat(stream=stream, **SLOW))
        await stand.mock.until(lambda: len(stand.mock.requests) == 2)
        await again.close()
        await stand.server.desk.jobs.empty()
        metrics = await stand.metrics()

    lines = [line for line in stand.log_lines if line.get("route") == CHAT]
    assert [line["end"] for line in lines] == ["disconnect"] * 4
    left = [value for name, value in metrics.items() if "client_disconnects_total" in name]
    assert sum(left) == 4


async def test_who_may_come_back_is_waited_for_whoever_began():
    async with Stand(model=SHARED) as stand:
        loop = wind_by_hand(stand.server)
        stand.server.desk.hub.loop = loop
        (first,) = await crowd(stand, chat(**SLOW), 1)
        other = await stand.open()
        other.send("POST", CHAT, chat(**SLOW), {"headgate-resume": "true"})
        for client in (first, other):
            await client.head()
            await client.chunk()
            await client.close()
        await until(lambda: not stand.server.public.host.connections)
        loop.wind(59)
        going = stand.mock.open_streams
        loop.wind(1)
        await stand.mock.until(lambda: stand.mock.open_streams == 0)

    assert going == 1
    assert len(stand.mock.requests) == 1


async def test_a_log_goes_on_to_its_end_once_somebody_reads_it_elsewhere():
    async with Stand(model=SHARED) as stand:
        loop = wind_by_hand(stand.server)
        stand.server.desk.hub.loop = loop
        first = await stand.ask(headers={"headgate-on-disconnect": "detach"}, **SLOW)
        _, fields = await first.head()
        await first.chunk()
        await first.close()
        await until(lambda: not stand.server.public.host.connections)
        (later,) = await asked(stand, chat(**SLOW), prefer="respond-async")
        loop.wind(100)
        going = stand.mock.open_streams
        stopped = await asked(stand, None, path=later.headers["location"] + "/cancel")

    assert going == 1
    assert later.status == 202
    assert later.headers["location"] == fields["location"]
    assert outcomes(later) == [HIT]
    assert stopped[0].json["reason"] == "stop"


async def test_a_stop_is_for_all_and_what_was_stopped_is_asked_anew():
    async with Stand(model=SHARED) as stand:
        first, *others = await crowd(stand, chat(**SLOW), 3)
        _, fields = await first.head()
        await first.chunk()
        await asked(stand, None, path=fields["location"] + "/cancel")
        found = await answers(others)
        await first.close()
        (again,) = await crowd(stand, chat(**SLOW), 1)
        await stand.mock.until(lambda: len(stand.mock.requests) == 2)
        await again.close()
        await stand.server.desk.jobs.empty()

    assert found[0].body == found[1].body
    assert b'"headgate":{"ended":"cancelled"}' in found[0].body
    assert len(stand.mock.requests) == 2


@BOTH
async def test_the_end_of_the_process_is_told_to_all(stream):
    async with (
        Scripted(asyncio.Event()) as provider,
        Stand(url=provider.url, model=SHARED) as stand,
    ):
        clients = await crowd(stand, chat(stream=stream), 3)
        for job in stand.server.desk.jobs:
            job.shut_down()
        found = await answers(clients)

    assert [answer.status for answer in found] == [503] * 3


# Finished.


@BOTH
async def test_a_good_answer_is_given_again_for_its_time(stream):
    async with Stand(model=SHARED) as stand:
        loop = wind_by_hand(stand.server)
        body = chat(stream=stream, tokens=3)
        found = await asked(stand, body, body)
        loop.wind(59)
        found += await asked(stand, body)
        loop.wind(1)
        found += await asked(stand, body)

    assert outcomes(*found) == [MISS, HIT, HIT, MISS]
    assert len({answer.body for answer in found[:3]}) == 1
    assert len(stand.mock.requests) == 2
    if stream:
        assert found[0].headers["location"] == found[1].headers["location"]
    for name in ("content-type", "headgate-upstream"):
        assert found[0].headers[name] == found[1].headers[name]


async def test_a_whole_answer_is_the_same_to_the_byte_and_in_its_type():
    async with Scripted(WHOLE) as provider, Stand(url=provider.url, model=SHARED) as stand:
        found = await asked(stand, *[{"model": "m", "input": "a"}] * 2, path="/v1/embeddings")

    assert [answer.body for answer in found] == [BODY] * 2
    assert found[1].headers["content-type"] == "text/json; charset=utf-8"
    assert "location" not in found[1].headers
    assert provider.requests == 1


async def test_an_answer_that_is_dropped_before_its_time_is_asked_anew():
    async with Stand(model=SHARED) as stand:
        hub = stand.server.desk.hub
        first = await asked(stand, chat())
        for live in tuple(hub._kept):
            hub.forget(live)
        again = await asked(stand, chat())

    assert outcomes(*first, *again) == [MISS, MISS]


async def test_a_body_too_large_for_a_log_is_for_those_who_wait_and_kept_for_nobody():
    size = 9 << 20
    large = HEAD + b"content-length: %d\r\n\r\n" % size + b'"%b"' % (b"x" * (size - 2))
    async with Scripted(large) as provider, Stand(url=provider.url, model=SHARED) as stand:
        first = await asked(stand, chat(stream=False))
        held = stand.server.desk.hub.held
        again = await asked(stand, chat(stream=False))

    assert {len(answer.body) for answer in first + again} == {size}
    assert held == 0
    assert provider.requests == 2


async def test_a_stream_whose_beginning_is_not_kept_answers_nobody_who_comes_new():
    async with Stand(model=SHARED) as stand:
        first = await stand.ask(**SLOW)
        _, fields = await first.head()
        await first.chunk()
        live = stand.server.desk.hub.find(fields["location"].removeprefix("/v1/stream/"))
        live.bound(8)
        (other,) = await crowd(stand, chat(**SLOW), 1)
        _, fields = await other.head()
        for client in (first, other):
            await client.close()
        await stand.server.desk.jobs.empty()

    assert live.log.base > 0
    assert fields["headgate-coalesced"] == MISS


async def test_what_was_left_out_is_told_to_all():
    async with Stand(upstream='dialect = "anthropic"', model=SHARED) as stand:
        body = {**chat(stream=False), "seed": 7}
        found = await asked(stand, body, body)

    assert [answer.headers["headgate-dropped-params"] for answer in found] == ["mock, seed"] * 2
    assert outcomes(*found) == [MISS, HIT]


# Who shares with whom.


async def test_a_model_that_does_not_coalesce_says_nothing_of_it():
    async with Stand() as stand:
        found = await asked(stand, chat(), chat(), chat(stream=False), chat(stream=False))

    assert outcomes(*found) == [None] * 4
    assert len(stand.mock.requests) == 4


async def test_no_caller_is_answered_from_the_log_of_another():
    async with Stand(model=SHARED, more=KEYS) as stand:
        found = [
            *await asked(stand, chat(), chat(), **ALICE),
            *await asked(stand, chat(), chat(), **BOB),
        ]

    assert outcomes(*found) == [MISS, HIT, MISS, HIT]
    assert len(stand.mock.requests) == 2


async def test_a_key_of_idempotency_says_itself_which_requests_are_the_same():
    async with Stand(model=SHARED) as stand:
        first = await asked(stand, chat())
        keyed = await asked(stand, chat(), chat(), idempotency_key="k1")
        again = await asked(stand, chat())

    assert outcomes(*first, *keyed, *again) == [MISS, None, None, HIT]
    assert keyed[0].headers["location"] == keyed[1].headers["location"]
    assert len(stand.mock.requests) == 2


async def test_who_comes_back_with_a_cursor_gets_what_follows_it():
    async with Stand(model=SHARED) as stand:
        (first,) = await asked(stand, chat(tokens=3), headgate_resume="true")
        ids = [line[4:] for line in first.body.decode().split("\n") if line[:3] == "id:"]
        (rest,) = await asked(
            stand, chat(tokens=3), headgate_resume="true", last_event_id=ids[1]
        )
        (again,) = await asked(stand, chat(tokens=3), headgate_resume="true")

    assert first.body.endswith(rest.body)
    assert len(rest.body) < len(first.body)
    assert again.body == first.body
    assert outcomes(first, again) == [MISS, HIT]
    assert len(stand.mock.requests) == 1


# Every door.


async def test_a_page_and_a_client_that_ask_the_same_share_the_answer():
    async with Stand(model=SHARED) as stand:
        body = {key: value for key, value in chat(tokens=3).items() if key != "stream"}
        said = {key: orjson.dumps(value).decode() for key, value in body.items()}
        query = urlencode({**said, "model": "m"})
        client = await stand.open()
        pages = [await client.ask("GET", f"{CHAT}/stream?{query}") for _ in range(2)]
        await client.close()
        whole = {**body, "stream": True, "stream_options": {"include_usage": True}}
        (posted,) = await asked(stand, whole)

    assert outcomes(*pages, posted) == [MISS, HIT, HIT]
    assert pages[0].body == pages[1].body
    assert pages[0].headers["location"] == posted.headers["location"]
    assert len(stand.mock.requests) == 1


async def test_chats_of_two_sockets_share_an_answer_and_are_counted_each():
    async with Stand(model=SHARED) as stand:
        heard = []
        for _ in range(2):
            async with opened(stand, CHATS) as client:
                await ask_chat(client, tokens=3)
                heard.append(await hear_until(client, "done"))
        metrics = await stand.metrics()

    assert heard[0] == heard[1]
    assert len(stand.mock.requests) == 1
    assert metrics['headgate_coalesced_total{model="other",outcome="hit"}'] == 1
    chats = [line for line in stand.log_lines if line.get("model")]
    assert [(line["route"], line["status"]) for line in chats] == [("/v1/ws/chat", 200)] * 2
    assert chats[0]["request_id"] != chats[1]["request_id"]


@BOTH
@pytest.mark.parametrize("upstream", ["openai", "anthropic"])
async def test_messages_of_the_other_dialect_are_shared_too(upstream, stream):
    body = {**chat(tokens=3, stream=stream), "max_tokens": 9}
    async with Stand(upstream=f'dialect = "{upstream}"', model=SHARED) as stand:
        found = await asked(stand, body, body, path="/v1/messages")
        other = await asked(stand, body)

    assert found[0].body == found[1].body
    assert outcomes(*found, *other) == [MISS, HIT, MISS]


@BOTH
async def test_a_response_is_shared_and_found_by_its_id_whoever_asked_for_it(stream):
    body = {"model": "m", "input": "hello", "stream": stream}
    async with Stand(model=SHARED) as stand:
        found = await asked(stand, body, body, path="/v1/responses")
        id = re.search(rb'"id":"(resp_[a-z0-9_]+)"', found[1].body)
        kept = await stand.answer("GET", "/v1/responses/" + id[1].decode())

    assert found[0].body == found[1].body
    assert outcomes(*found) == [MISS, HIT]
    assert kept.json["status"] == "completed"
    assert len(stand.mock.requests) == 1


async def test_a_response_is_found_by_its_id_though_who_asked_first_has_left():
    body = {"model": "m", "input": "hello"}
    go_on = asyncio.Event()
    said = HEAD + b'content-length: 15\r\n\r\n{"id":"resp_1"}'
    async with (
        Scripted(go_on, said) as provider,
        Stand(url=provider.url, upstream='dialect = "responses"', model=SHARED) as stand,
    ):
        first, second = await crowd(stand, body, 2, "/v1/responses")
        await first.close()
        await until(lambda: len(stand.server.public.host.connections) == 1)
        go_on.set()
        answer = await second.answer()
        logs = len(stand.server.desk.hub)
        kept = await second.ask("GET", "/v1/responses/resp_1")
        again = await second.ask("POST", "/v1/responses", body)
        more = len(stand.server.desk.hub)
        await second.close()

    assert outcomes(answer, again) == [HIT, HIT]
    assert kept.json["id"] == "resp_1"
    assert more == logs  # it is kept once


async def test_an_answer_of_either_provider_answers_all():
    more = pair("http://127.0.0.1:9/v1", SHARED)
    async with Stand(more=more) as stand:
        found = await asked(stand, *[chat(model="pair")] * 2)

    assert outcomes(*found) == [MISS, HIT]
    assert found[1].headers["headgate-upstream"] == "mock"
