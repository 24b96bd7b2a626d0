"""A request outlives the bad days of its providers, over real sockets."""

import asyncio

import orjson
import pytest
from websockets.asyncio.client import connect

from gateway.breaker import LIMIT
from gateway.retry import RESERVE
from tests.fakes import until, wind_by_hand
from tests.scripted import (
    ANSWER,
    CHUNKED,
    DOCUMENT,
    DONE,
    FINISH,
    GOOD,
    LAST,
    NOTHING,
    TEXT,
    Scripted,
    chunk,
)
from tests.sockets import hear_until
from tests.stand import Stand, chat, pair


STREAM, WHOLE = GOOD[True], GOOD[False]


def refusal(status, *fields, body=b"{}"):
    """Return an error answer."""
    lines = b"".join(b"%b\r\n" % field for field in fields)
    return b"HTTP/1.1 %d No\r\n%bcontent-length: %d\r\n\r\n%b" % (status, lines, len(body), body)


def asked(stand, model="pair", *, stream=True, **fields):
    """Return a coroutine that asks once."""
    body = chat(model=model, stream=stream)
    return stand.answer("POST", "/v1/chat/completions", body, **fields)


def counted(metrics, name):
    """Return the samples of a metric that are not 0, by their labels."""
    full = f"headgate_{name}{{"
    return {key.removeprefix(full)[:-1]: n for key, n in metrics.items() if n and full in key}


ERROR_FIRST = chunk(b'data: {"error":{"message":"busy","type":"overloaded_error"}}\n\n')
# An error to some of OpenAI's SDKs, by its type alone.
ERROR_NAMED = chunk(b"event: error\ndata: busy\n\n")
# What the first provider does: its steps, whether it closes then, the kind and the cause counted.
BEFORE = {
    "500": ((refusal(500),), False, "status_5xx", "status"),
    "503": ((refusal(503),), False, "status_5xx", "status"),
    "408": ((refusal(408),), False, "status_4xx", "status"),
    "409": ((refusal(409),), False, "status_4xx", "status"),
    "429": ((refusal(429, b"retry-after: 30"),), False, "status_429", "status"),
    "401": ((refusal(401),), False, "status_4xx", "key"),
    "closes": ((), True, "reset", "cut"),
    "half a head": ((b"HTTP/1.1 200",), True, "reset", "cut"),
}
STREAMED = {
    "cut behind the head": ((CHUNKED,), True, "truncated", "cut"),
    "cut amid the first event": ((CHUNKED, chunk(TEXT[:20])), True, "truncated", "cut"),
    "a heartbeat and the end": ((CHUNKED, chunk(b": hi\n\n"), LAST), False, "truncated", "cut"),
    "an error first": ((CHUNKED, ERROR_FIRST, LAST), False, "inband_error", "status"),
    "one by its type": ((CHUNKED, ERROR_NAMED, LAST), False, "inband_error", "status"),
}
UNARY = {
    "half an answer": ((DOCUMENT + b"content-length: 99\r\n\r\n{",), True, "truncated", "cut"),
}
ROWS = [
    *(((stream, *row), f"{name}-{stream}") for name, row in BEFORE.items() for stream in GOOD),
    *(((True, *row), name) for name, row in STREAMED.items()),
    *(((False, *row), name) for name, row in UNARY.items()),
]


@pytest.mark.parametrize(
    ("stream", "steps", "closes", "kind", "cause"), [r for r, _ in ROWS], ids=[n for _, n in ROWS]
)
async def test_what_fails_before_the_first_event_moves_on(stream, steps, closes, kind, cause):
    async with (
        Scripted(*steps, closes=closes) as first,
        Scripted(GOOD[stream]) as second,
        Stand(url=first.url, more=pair(second.url)) as stand,
    ):
        answer = await asked(stand, stream=stream)
        metrics = await stand.metrics()

    assert answer.status == 200
    assert answer.events[-1] == "[DONE]" if stream else answer.body == ANSWER
    assert answer.headers["headgate-upstream"] == "backup"
    assert "x-should-retry" not in answer.headers
    assert (first.requests, second.requests) == (1, 1)
    assert (stand.log_lines[-1]["upstream"], stand.log_lines[-1]["retries"]) == ("backup", 1)
    assert counted(metrics, "upstream_errors_total") == {f'kind="{kind}",upstream="mock"': 1}
    assert counted(metrics, "retries_total") == {f'cause="{cause}"': 1}
    assert list(counted(metrics, "requests_total")) == [
        'code="200",model="pair",route="/v1/chat/completions",upstream="backup"'
    ]


@pytest.mark.parametrize("stream", GOOD, ids=["stream", "unary"])
async def test_a_provider_that_cannot_be_reached_is_passed_by(stream):
    async with (
        Scripted(GOOD[stream]) as second,
        Stand(url="http://127.0.0.1:9", more=pair(second.url)) as stand,
    ):
        answer = await asked(stand, stream=stream)
        metrics = await stand.metrics()

    assert answer.status == 200
    assert counted(metrics, "retries_total") == {'cause="connect"': 1}


# What the slow provider has said by its time: nothing, or a head, or a heartbeat.
SLOW = {
    "nothing": (NOTHING,),
    "a head": (CHUNKED, NOTHING),
    "a heartbeat": (CHUNKED, chunk(b": hi\n\n"), NOTHING),
}


@pytest.mark.parametrize("steps", SLOW.values(), ids=SLOW.keys())
async def test_a_provider_that_is_slow_to_begin_loses_the_request_to_the_next(steps):
    limit = "timeouts = { first_event = '5s' }"
    async with (
        Scripted(*steps) as first,
        Scripted(STREAM) as second,
        Stand(url=first.url, upstream=limit, more=pair(second.url)) as stand,
    ):
        loop = wind_by_hand(stand.server)
        asking = asyncio.ensure_future(asked(stand))
        await first.asked.wait()
        await until(lambda: stand.server.desk.jobs)
        loop.wind(4.9)
        assert second.requests == 0
        loop.wind(0.2)
        answer = await asking
        metrics = await stand.metrics()

    assert (answer.status, stand.log_lines[-1]["upstream"]) == (200, "backup")
    assert counted(metrics, "retries_total") == {'cause="timeout"': 1}


async def test_a_heartbeat_does_not_end_the_time_in_which_another_may_answer():
    limit = "timeouts = { first_event = '15s' }"
    async with (
        Scripted(NOTHING) as first,
        Scripted(STREAM) as second,
        Stand(url=first.url, upstream=limit, more=pair(second.url)) as stand,
    ):
        loop = wind_by_hand(stand.server)
        client = await stand.open()
        client.send("POST", "/v1/chat/completions", chat(model="pair"))
        await first.asked.wait()
        loop.wind(10.1)
        status, fields = await client.head()
        beat = await client.chunk()
        loop.wind(5)
        rest = [part async for part in chunks(client)]
        await client.close()

    assert (status, beat) == (200, b": ping\n\n")
    assert "headgate-upstream" not in fields, "it was not known"
    assert b"".join(rest) == TEXT + FINISH + DONE


async def chunks(client):
    while part := await client.chunk():
        yield part


async def test_the_next_provider_gets_its_own_model_name_and_key():
    async with (
        Stand(url="http://127.0.0.1:9") as nowhere,
        Stand(url=nowhere._provider_url, more=pair(nowhere.mock.url)) as stand,
    ):
        answer = await asked(stand)
        (request,) = nowhere.mock.requests

    assert answer.status == 200
    assert orjson.loads(request.body)["model"] == "its-name"
    assert request.headers["authorization"] == "Bearer sk-backup-canary"


@pytest.mark.parametrize("fault", [refusal(500), b"HTTP/1.1 200"], ids=["500", "half a head"])
async def test_a_page_that_asks_by_eventsource_sees_nothing_of_it(fault):
    async with (
        Scripted(fault, closes=True) as first,
        Scripted(STREAM) as second,
        Stand(url=first.url, more=pair(second.url)) as stand,
    ):
        client = await stand.open()
        answer = await client.ask("GET", "/v1/chat/completions/stream?model=pair&messages=[]")
        await client.close()

    assert answer.status == 200
    names = [line for line in answer.body.split(b"\n") if line.startswith(b"event: ")]
    assert names == [b"event: start", *[b"event: chunk"] * 2, b"event: done"]
    assert (first.requests, second.requests) == (1, 1)


@pytest.mark.parametrize("fault", [refusal(500), b"HTTP/1.1 200"], ids=["500", "half a head"])
async def test_a_chat_over_a_websocket_sees_nothing_of_it(fault):
    async with (
        Scripted(fault, closes=True) as first,
        Scripted(STREAM) as second,
        Stand(url=first.url, more=pair(second.url)) as stand,
        connect(f"ws://127.0.0.1:{stand.port}/v1/ws/chat") as client,
    ):
        await client.send('{"type":"chat","model":"pair","messages":[]}')
        frames = await hear_until(client, "done", "error")

    assert [frame["type"] for frame in frames] == ["start", "chunk", "done"]
    assert (first.requests, second.requests) == (1, 1)


# What comes after the first event, and how it is told.
AMID = {
    "cut": ((CHUNKED, chunk(TEXT)), True, "stream_interrupted"),
    "an error": ((CHUNKED, chunk(TEXT), ERROR_FIRST, LAST), False, None),
    "one by its type": ((CHUNKED, chunk(TEXT), ERROR_NAMED, LAST), False, None),
    "no end": ((CHUNKED, chunk(TEXT), LAST), False, "stream_interrupted"),
}


@pytest.mark.parametrize(("steps", "closes", "code"), AMID.values(), ids=AMID.keys())
async def test_what_breaks_after_the_first_event_ends_honestly_and_is_not_repeated(
    steps, closes, code
):
    async with (
        Scripted(*steps, closes=closes) as first,
        Scripted(STREAM) as second,
        Stand(url=first.url, more=pair(second.url)) as stand,
    ):
        answer = await asked(stand)
        metrics = await stand.metrics()

    assert answer.status == 200
    assert "[DONE]" not in answer.events
    assert orjson.loads(answer.events[-1])["error"].get("code") == code
    assert second.requests == 0
    assert counted(metrics, "retries_total") == {}


@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_what_is_the_requests_own_fault_is_told_at_once(status):
    async with (
        Scripted(refusal(status)) as first,
        Scripted(STREAM) as second,
        Stand(url=first.url, more=pair(second.url)) as stand,
    ):
        answer = await asked(stand)

    assert answer.status == status
    assert second.requests == 0
    assert "x-should-retry" not in answer.headers


async def test_when_all_fail_the_last_says_why_and_the_client_need_not_try_again():
    busy = refusal(503, b"x-should-retry: true")
    async with Scripted(refusal(500)) as first, Scripted(busy) as second:
        more = pair(second.url, "retry.attempts = 2")
        async with Stand(url=first.url, more=more) as stand:
            answer = await asked(stand)

    assert answer.status == 503
    assert answer.headers["headgate-upstream"] == "backup"
    assert answer.headers["x-should-retry"] == "false"
    assert (first.requests, second.requests) == (1, 1)


# The same provider again.

AGAIN = '[models.again]\ntargets = [{ upstream = "mock" }]\n'


async def resting(stand):
    """Return when the only job waits for its next try."""
    await until(lambda: stand.server.desk.jobs)
    (job,) = stand.server.desk.jobs
    await until(lambda: job._attempts.spent)


async def test_the_only_provider_is_asked_again_after_a_back_off():
    async with (
        Scripted(refusal(500), then=(STREAM,)) as provider,
        Stand(url=provider.url, more=AGAIN) as stand,
    ):
        stand.server.desk.draw = lambda: 0.5
        loop = wind_by_hand(stand.server)
        asking = asyncio.ensure_future(asked(stand, "again"))
        await resting(stand)
        loop.wind(0.24)
        assert provider.requests == 1
        loop.wind(0.02)
        answer = await asking

    assert (answer.status, provider.requests) == (200, 2)


@pytest.mark.parametrize("status", [429, 503])
async def test_a_provider_is_not_asked_again_before_it_wants_to_be(status):
    busy = refusal(status, b"retry-after: 7")
    async with (
        Scripted(busy, then=(STREAM,)) as provider,
        Stand(url=provider.url, more=AGAIN) as stand,
    ):
        loop = wind_by_hand(stand.server)
        asking = asyncio.ensure_future(asked(stand, "again"))
        await resting(stand)
        loop.wind(6.9)
        assert provider.requests == 1
        loop.wind(0.2)
        answer = await asking

    assert (answer.status, provider.requests) == (200, 2)


# What makes us not wait: what the provider says, what the client says.
NOT_WAITED = {
    "more than a minute": ((b"retry-after: 61",), {}),
    "longer than the client": ((b"retry-after: 30",), {"x_stainless_read_timeout": "20.5"}),
    "of no use": ((b"x-should-retry: false",), {}),
}


@pytest.mark.parametrize(("said", "fields"), NOT_WAITED.values(), ids=NOT_WAITED.keys())
async def test_where_waiting_is_of_no_use_the_answer_comes_at_once(said, fields):
    async with (
        Scripted(refusal(429, *said)) as provider,
        Stand(url=provider.url, more=AGAIN) as stand,
    ):
        answer = await asked(stand, "again", **fields)

    assert (answer.status, provider.requests) == (429, 1)
    assert answer.headers.get("x-should-retry") != "true"


async def test_the_total_limit_holds_over_all_tries():
    limits = "timeouts = { total = '10s' }"
    steps = (refusal(503, b"retry-after: 7"),)
    async with (
        Scripted(*steps, then=(NOTHING,)) as provider,
        Stand(url=provider.url, upstream=limits, more=AGAIN) as stand,
    ):
        loop = wind_by_hand(stand.server)
        asking = asyncio.ensure_future(asked(stand, "again", stream=False))
        await resting(stand)
        loop.wind(7.1)
        await until(lambda: provider.requests == 2)
        loop.wind(2.8)
        assert not asking.done()
        loop.wind(0.2)
        answer = await asking

    assert answer.status == 504
    assert "total timeout" in answer.json["error"]["message"]


@pytest.mark.parametrize("stream", GOOD, ids=["stream", "unary"])
async def test_a_client_that_leaves_while_we_wait_ends_it_at_once(stream):
    async with (
        Scripted(refusal(503, b"retry-after: 50")) as provider,
        Stand(url=provider.url, more=AGAIN) as stand,
    ):
        client = await stand.open()
        client.send("POST", "/v1/chat/completions", chat(model="again", stream=stream))
        await resting(stand)
        assert stand.server.providers["mock"].pool.active == 0
        await client.close()
        await stand.server.desk.jobs.empty()
        metrics = await stand.metrics()

    assert provider.requests == 1
    assert counted(metrics, "client_disconnects_total") == {'phase="queued"': 1}
    assert stand.log_lines[-1]["end"] == "disconnect"


async def test_the_time_of_a_try_may_come_in_the_moment_in_which_nobody_wants_it_any_more():
    async with (
        Scripted(refusal(503, b"retry-after: 50")) as provider,
        Stand(url=provider.url, more=AGAIN) as stand,
    ):
        loop = wind_by_hand(stand.server)
        client = await stand.open()
        client.send("POST", "/v1/chat/completions", chat(model="again"))
        await resting(stand)
        await until(lambda: any(due >= loop.now + 50 for due in loop.timers))
        (job,) = stand.server.desk.jobs
        job.cancel("disconnect")
        loop.wind(60)
        await stand.server.desk.jobs.empty()
        await client.close()

    assert provider.requests == 1


async def test_a_budget_keeps_repeats_from_making_an_outage_worse():
    quick = AGAIN + "retry = { attempts = 2, backoff = '1s' }"
    async with Scripted(refusal(409)) as provider, Stand(url=provider.url, more=quick) as stand:
        stand.server.desk.draw = lambda: 0.0
        answers = [await asked(stand, "again") for _ in range(30)]

    assert {answer.status for answer in answers} == {409}
    assert {answer.headers["x-should-retry"] for answer in answers} == {"false"}
    assert provider.requests - 30 <= RESERVE + 0.2 * 30


# Keys.

KEYS = '\n[models.keyed]\ntargets = [{ upstream = "keyed" }]\n'


def keyed(url):
    """Return tables with an upstream of two keys, and a model there."""
    return f'[upstreams.keyed]\nbase_url = "{url}/v1"\nkeys = ["sk-one", "sk-two"]\n{KEYS}'


def keys_of(provider):
    """Return the key of each request."""
    return [head.partition(b"Bearer ")[2].partition(b"\r\n")[0].decode() for head in provider.heads]


async def test_keys_take_turns():
    async with Scripted(STREAM) as provider, Stand(more=keyed(provider.url)) as stand:
        for _ in range(4):
            assert (await asked(stand, "keyed")).status == 200

    assert sorted(keys_of(provider)) == ["sk-one", "sk-one", "sk-two", "sk-two"]


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_a_key_that_is_refused_is_taken_out_and_the_request_goes_on_with_another(status):
    body = b'{"error":{"message":"Incorrect API key: sk-two"}}'
    async with (
        Scripted(refusal(status, body=body), then=(STREAM,)) as provider,
        Stand(more=keyed(provider.url)) as stand,
    ):
        answers = [await asked(stand, "keyed") for _ in range(3)]
        metrics = await stand.metrics()

    assert [answer.status for answer in answers] == [200] * 3
    bad, *good = keys_of(provider)
    assert bad not in good
    assert len(good) == 3
    assert counted(metrics, "upstream_keys_out") == {'upstream="keyed"': 1}
    assert counted(metrics, "breaker_state") == {}
    (line,) = [line for line in stand.log_lines if line["level"] == "warning"]
    assert (line["upstream"], line["key"]) == ("keyed", "keys[0]")
    assert (line["status"], line["out"]) == (status, 1)
    assert "sk-" not in str(stand.log_lines)


async def test_a_key_that_is_limited_rests_and_the_request_goes_on_with_another_at_once():
    busy = refusal(429, b"retry-after: 30")
    async with Scripted(busy, then=(STREAM,)) as provider, Stand(more=keyed(provider.url)) as stand:
        answers = [await asked(stand, "keyed") for _ in range(3)]

    assert [answer.status for answer in answers] == [200] * 3
    tired, *others = keys_of(provider)
    assert tired not in others


async def test_when_no_key_is_left_the_client_is_told_so_and_nothing_of_what_was_said():
    body = b'{"error":{"message":"Incorrect API key: sk-one, also sk-two"}}'
    async with (
        Scripted(refusal(401, body=body)) as provider,
        Stand(more=keyed(provider.url)) as stand,
    ):
        first, second = await asked(stand, "keyed"), await asked(stand, "keyed", stream=False)
        metrics = await stand.metrics()

    for answer in (first, second):
        assert answer.status == 502
        assert answer.json["error"]["code"] == "upstream_keys_out"
        assert "2 of 2" in answer.json["error"]["message"]
        assert answer.headers["headgate-error-source"] == "gateway"
        assert answer.headers["x-should-retry"] == "false"
        assert "sk-" not in answer.body.decode()
    assert provider.requests == 2, "the second request was not sent"
    assert counted(metrics, "upstream_keys_out") == {'upstream="keyed"': 2}
    assert "sk-" not in str(stand.log_lines)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("status", [401, 403])
async def test_a_provider_that_wants_a_key_where_we_have_none_is_the_operators_affair(
    status, stream
):
    """The client's own is for us, and not passed on: it may be as good as can be."""
    config = '[upstreams.open]\nbase_url = "{url}/v1"\n'
    config += '[models.open]\ntargets = [{{ upstream = "open" }}]'
    body = b'{"error":{"message":"you sent no key","code":"invalid_api_key"}}'
    async with (
        Scripted(refusal(status, body=body)) as provider,
        Stand(more=config.format(url=provider.url)) as stand,
    ):
        keys = {"authorization": "Bearer sk-client", "x_api_key": "sk-client"}
        first = await asked(stand, "open", stream=stream, **keys)
        once = provider.requests
        second = await asked(stand, "open", stream=stream, **keys)

    for answer in (first, second):
        assert (answer.status, answer.json["error"]["code"]) == (502, "upstream_keys_out")
        assert "none is configured" in answer.json["error"]["message"]
        assert answer.headers["headgate-error-source"] == "gateway"
        assert answer.headers["x-should-retry"] == "false"
    assert once == 1, "there is no other key to ask with"
    assert provider.requests == 2, "but it may be about this one request"
    assert b"sk-client" not in b"".join(provider.heads)


# The breaker.


async def test_an_upstream_that_keeps_failing_is_left_alone_until_a_probe_succeeds():
    async with (
        Scripted(refusal(500)) as first,
        Scripted(STREAM) as second,
        Stand(url=first.url, more=pair(second.url)) as stand,
    ):
        loop = wind_by_hand(stand.server)
        statuses = {(await asked(stand)).status for _ in range(LIMIT + 5)}
        open_now = counted(await stand.metrics(), "breaker_state")
        asked_first = first.requests
        first._steps = (STREAM,)
        loop.wind(5.1)
        probe, after = await asked(stand), await asked(stand)
        closed = counted(await stand.metrics(), "breaker_state")

    assert statuses == {200}
    assert asked_first == LIMIT
    assert open_now == {'upstream="mock"': 1}
    assert probe.headers["headgate-upstream"] == after.headers["headgate-upstream"] == "mock"
    assert closed == {}


async def test_when_every_upstream_is_left_alone_the_least_bad_is_tried_once():
    async with Scripted(refusal(500)) as provider, Stand(url=provider.url, more=AGAIN) as stand:
        stand.server.desk.draw = lambda: 0.0
        while stand.server.providers["mock"].breaker.wait(stand.server.desk.clock()) == 0:
            await asked(stand, "again")
        before = provider.requests
        answer = await asked(stand, "again")

    assert answer.status == 500
    assert provider.requests == before + 1


async def test_clients_that_leave_never_open_a_breaker():
    async with (
        Scripted(CHUNKED, chunk(TEXT), NOTHING) as provider,
        Stand(url=provider.url) as stand,
    ):
        for _ in range(LIMIT + 1):
            client = await stand.ask()
            await client.head()
            await client.close()
            await stand.server.desk.jobs.empty()
        state = stand.server.providers["mock"].breaker.state.name

    assert state == "CLOSED"


# Room.


async def test_who_finds_no_free_connection_goes_elsewhere_at_once():
    async with (
        Scripted(CHUNKED, chunk(TEXT), NOTHING) as first,
        Scripted(STREAM) as second,
        Stand(url=first.url, upstream="max_connections = 1", more=pair(second.url)) as stand,
    ):
        holder = await stand.open()
        holder.send("POST", "/v1/chat/completions", chat(model="pair"))
        status, fields = await holder.head()
        answers = [await asked(stand) for _ in range(3)]
        await holder.close()

    assert (status, fields["headgate-upstream"]) == (200, "mock")
    assert {answer.headers["headgate-upstream"] for answer in answers} == {"backup"}


async def test_who_waits_for_a_connection_in_vain_goes_elsewhere():
    """With nobody to go to at first: the other's pool is full too, and has room later."""
    limits = "max_connections = 1\ntimeouts = { connect = '100ms' }"
    async with (
        Scripted(CHUNKED, chunk(TEXT), NOTHING) as first,
        Scripted(STREAM) as second,
        Stand(url=first.url, upstream=limits, more=pair(second.url)) as stand,
    ):
        backup = stand.server.providers["backup"].pool
        holder = await stand.open()
        holder.send("POST", "/v1/chat/completions", chat(model="pair"))
        await holder.head()
        backup.limit = 0
        asking = asyncio.ensure_future(asked(stand))
        await until(lambda: stand.server.providers["mock"].pool.waiters)
        backup.limit = 10
        answer = await asking
        metrics = await stand.metrics()
        await holder.close()

    assert (answer.status, answer.headers["headgate-upstream"]) == (200, "backup")
    assert counted(metrics, "retries_total") == {'cause="full"': 1}
    assert counted(metrics, "upstream_errors_total") == {}


# Shares.


async def test_who_is_sticky_stays_with_one_upstream():
    async with Scripted(STREAM) as first, Scripted(STREAM) as second:
        more = pair(second.url, 'sticky = "header:X-Session"').replace(", priority = 2", "")
        async with Stand(url=first.url, more=more) as stand:
            names = [
                {(await asked(stand, x_session=f"s{n}")).headers["headgate-upstream"] for _ in "ab"}
                for n in range(12)
            ]

    assert all(len(name) == 1 for name in names)
    assert set.union(*names) == {"mock", "backup"}


async def test_a_user_is_sticky_by_the_parameter_of_that_name():
    async with Scripted(STREAM) as first, Scripted(STREAM) as second:
        more = pair(second.url, 'sticky = "user"').replace(", priority = 2", "")
        async with Stand(url=first.url, more=more) as stand:
            client = await stand.open()
            body = chat(model="pair") | {"user": "u1"}
            for _ in range(6):
                await client.ask("POST", "/v1/chat/completions", body)
            await client.close()

    assert {first.requests, second.requests} == {0, 6}
