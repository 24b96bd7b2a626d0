"""A slow provider gets company: the first to speak has the request.  Over real sockets."""

import asyncio
import tracemalloc

import orjson
import pytest
from websockets.asyncio.client import connect

from gateway.breaker import LIMIT, State
from gateway.mock import MockProvider, Options
from gateway.retry import RESERVE, SHARE
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
BUSY = b"HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\n{}"
PATH = "/v1/chat/completions"
BOTH = pytest.mark.parametrize("stream", GOOD, ids=["stream", "unary"])
# Seconds until the second is asked.
DELAY = 0.8


def hedged(url, more=""):
    """Return tables of a model `pair` whose second target is asked when the first is slow."""
    return pair(url, f'hedge = "800ms"\nretry = {{ attempts = 2, backoff = "1s" }}\n{more}')


class Request:
    """One request for `pair`, and its answer when it is `answered`."""

    def __init__(self, stand, *, stream=True, **fields):
        self.stand = stand
        self._asking = asyncio.ensure_future(self._ask(chat(model="pair", stream=stream), fields))

    async def _ask(self, body, fields):
        return await self.stand.answer("POST", PATH, body, **fields)

    async def answered(self):
        answer = await self._asking
        await self.stand.server.desk.jobs.empty()
        return answer


async def first_asked(first, stand, **asked):
    """Return a request that the first provider has, and the gateway's clock."""
    loop = wind_by_hand(stand.server)
    request = Request(stand, **asked)
    await first.asked.wait()
    await until(lambda: stand.server.desk.jobs)
    return request, loop


def outcomes(metrics):
    """Return how often a hedge ended how, where one did."""
    name = "headgate_hedges_total{"
    found = {key: n for key, n in metrics.items() if key.startswith(name) and n}
    assert all('model="pair"' in key for key in found)
    return {key.partition('outcome="')[2][:-2]: n for key, n in found.items()}


def total(metrics, name):
    """Return the sum of a metric over all its labels."""
    return sum(n for key, n in metrics.items() if key.startswith(f"headgate_{name}"))


# What a slow one has said by then.
SLOW = {
    "nothing": (NOTHING,),
    "a head": (CHUNKED, NOTHING),
    "a heartbeat": (CHUNKED, chunk(b": hi\n\n"), NOTHING),
    "half an event": (CHUNKED, chunk(TEXT[:20]), NOTHING),
}
SLOW_ROWS = [
    *((True, steps) for steps in SLOW.values()),
    (False, (NOTHING,)),
    (False, (DOCUMENT + b"content-length: 99\r\n\r\n{", NOTHING)),
]


@pytest.mark.parametrize(
    ("stream", "steps"), SLOW_ROWS, ids=[*SLOW, "unary, nothing", "unary, half an answer"]
)
async def test_a_second_is_asked_when_the_first_is_slow_and_has_the_request(stream, steps):
    async with (
        Scripted(*steps) as first,
        Scripted(GOOD[stream]) as second,
        Stand(url=first.url, more=hedged(second.url)) as stand,
    ):
        request, loop = await first_asked(first, stand, stream=stream)
        loop.wind(DELAY - 0.1)
        await asyncio.sleep(0)
        assert second.requests == 0
        loop.wind(0.2)
        answer = await request.answered()
        metrics = await stand.metrics()
        assert stand.server.providers["mock"].breaker.failures == 0

    assert answer.status == 200
    assert answer.events[-1] == "[DONE]" if stream else answer.body == ANSWER
    assert answer.headers["headgate-upstream"] == "backup"
    assert (first.requests, second.requests) == (1, 1)
    (line,) = [line for line in stand.log_lines if line["msg"] == "request"]
    assert (line["upstream"], line["hedged"], line["end"]) == ("backup", True, "finished")
    assert "retries" not in line
    assert outcomes(metrics) == {"won": 1}
    assert total(metrics, "upstream_errors_total") == total(metrics, "retries_total") == 0


@BOTH
async def test_the_first_has_it_if_it_speaks_before_the_second(stream):
    slow = asyncio.Event()
    async with (
        Scripted(slow, GOOD[stream]) as first,
        Scripted(NOTHING) as second,
        Stand(url=first.url, more=hedged(second.url)) as stand,
    ):
        request, loop = await first_asked(first, stand, stream=stream)
        loop.wind(DELAY)
        await second.asked.wait()
        slow.set()
        answer = await request.answered()
        metrics = await stand.metrics()
        assert stand.server.providers["backup"].pool.active == 0

    assert answer.headers["headgate-upstream"] == "mock"
    assert (stand.log_lines[-1]["upstream"], stand.log_lines[-1]["hedged"]) == ("mock", True)
    assert outcomes(metrics) == {"lost": 1}
    assert total(metrics, "upstream_errors_total") == 0


async def test_one_that_begins_in_time_stays_alone():
    async with (
        Scripted(CHUNKED, chunk(TEXT), NOTHING) as first,
        Scripted(STREAM) as second,
        Stand(url=first.url, more=hedged(second.url)) as stand,
    ):
        loop = wind_by_hand(stand.server)
        client = await stand.open()
        client.send("POST", PATH, chat(model="pair"))
        await client.head()
        loop.wind(10 * DELAY)
        await client.close()
        await stand.server.desk.jobs.empty()

    assert second.requests == 0
    assert "hedged" not in stand.log_lines[-1]


@BOTH
async def test_the_loser_sees_that_it_is_not_wanted_any_more(stream):
    async with (
        MockProvider(Options(tokens=3)) as second,
        Stand(Options(fault="stall-head"), more=hedged(second.url)) as stand,
    ):
        loop = wind_by_hand(stand.server)
        request = Request(stand, stream=stream)
        await stand.mock.until(lambda: stand.mock.open_streams == 1)
        loop.wind(DELAY)
        answer = await request.answered()
        assert not stand.server.providers["mock"].pool.idle, "it was dropped, not given back"
        await stand.mock.until(lambda: stand.mock.open_streams == 0, 1.0)
        (lost,) = stand.mock.requests

    assert lost.cancelled
    assert answer.status == 200
    assert answer.headers["headgate-upstream"] == "backup"


async def test_a_client_hears_a_heartbeat_while_both_are_silent_and_then_the_winner():
    speaks = asyncio.Event()
    async with (
        Scripted(NOTHING) as first,
        Scripted(speaks, STREAM) as second,
        Stand(url=first.url, more=hedged(second.url)) as stand,
    ):
        loop = wind_by_hand(stand.server)
        client = await stand.open()
        client.send("POST", PATH, chat(model="pair"))
        await first.asked.wait()
        await until(lambda: stand.server.desk.jobs)
        loop.wind(DELAY)
        await second.asked.wait()
        loop.wind(10.0)
        _, fields = await client.head()
        parts = [await client.chunk()]
        speaks.set()
        while parts[-1]:
            parts.append(await client.chunk())
        await client.close()

    assert "headgate-upstream" not in fields, "it was not known"
    assert b"".join(parts) == b": ping\n\n" + TEXT + FINISH + DONE
    assert stand.log_lines[-1]["upstream"] == "backup"


async def test_a_request_is_not_kept_in_memory_while_the_answer_of_a_winner_streams():
    size = 8 * 1024 * 1024
    async with (
        Scripted(NOTHING) as first,
        Scripted(CHUNKED, chunk(TEXT), NOTHING) as second,
        Stand(url=first.url, more=hedged(second.url)) as stand,
    ):
        loop = wind_by_hand(stand.server)
        client = await stand.open()
        body = chat(model="pair") | {"messages": [{"role": "user", "content": "x" * size}]}
        raw = orjson.dumps(body)
        del body
        tracemalloc.start()
        try:
            client.send("POST", PATH, raw)
            await first.asked.wait()
            loop.wind(DELAY)
            await client.head()
            await client.chunk()
            (job,) = stand.server.desk.jobs
            await until(lambda: not job._race._leaving)
            held, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        await client.close()

    assert peak > size, "or nothing was measured"
    assert held < size / 4


# Failures.


@BOTH
@pytest.mark.parametrize("fails", ["mock", "backup"])
async def test_one_that_fails_leaves_the_other_alone(fails, stream):
    failing, going_on = asyncio.Event(), asyncio.Event()
    steps = {"mock": (going_on, GOOD[stream]), "backup": (going_on, GOOD[stream])}
    steps[fails] = (failing, BUSY)
    async with (
        Scripted(*steps["mock"]) as first,
        Scripted(*steps["backup"]) as second,
        Stand(url=first.url, more=hedged(second.url)) as stand,
    ):
        request, loop = await first_asked(first, stand, stream=stream)
        loop.wind(DELAY)
        await second.asked.wait()
        failing.set()
        await until(lambda: stand.server.providers[fails].breaker.failures)
        going_on.set()
        answer = await request.answered()
        metrics = await stand.metrics()

    other = {"mock": "backup", "backup": "mock"}[fails]
    assert (answer.status, answer.headers["headgate-upstream"]) == (200, other)
    assert outcomes(metrics) == {"won" if fails == "mock" else "failed": 1}
    assert total(metrics, "upstream_errors_total") == 1
    assert total(metrics, "retries_total") == 0
    assert (first.requests, second.requests) == (1, 1)


@BOTH
async def test_only_when_both_have_failed_is_it_sent_once_more(stream):
    late = asyncio.Event()
    async with (
        Scripted(late, BUSY, then=(GOOD[stream],)) as first,
        Scripted(BUSY, then=(NOTHING,)) as second,
        Stand(url=first.url, more=hedged(second.url)) as stand,
    ):
        stand.server.desk.draw = lambda: 0.5
        request, loop = await first_asked(first, stand, stream=stream)
        loop.wind(DELAY)
        await until(lambda: stand.server.providers["backup"].breaker.failures)
        late.set()
        (job,) = stand.server.desk.jobs
        await until(lambda: job._attempts.spent)
        loop.wind(0.6)
        answer = await request.answered()
        metrics = await stand.metrics()

    assert (answer.status, stand.log_lines[-1]["retries"]) == (200, 1)
    assert first.requests + second.requests == 3
    assert outcomes(metrics) == {"failed": 1}
    assert total(metrics, "upstream_errors_total") == 2


async def test_when_both_have_failed_and_that_was_all_the_last_says_why():
    late = asyncio.Event()
    async with (
        Scripted(late, b"HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\n{}") as first,
        Scripted(BUSY) as second,
    ):
        more = hedged(second.url).replace("attempts = 2", "attempts = 1")
        async with Stand(url=first.url, more=more) as stand:
            loop = wind_by_hand(stand.server)
            request = Request(stand)
            await first.asked.wait()
            await until(lambda: stand.server.desk.jobs)
            loop.wind(DELAY)
            await until(lambda: stand.server.providers["backup"].breaker.failures)
            late.set()
            answer = await request.answered()
            metrics = await stand.metrics()

    assert (answer.status, answer.headers["headgate-upstream"]) == (500, "mock")
    assert total(metrics, "upstream_errors_total") == 2


async def test_one_that_fails_soon_is_followed_at_once_and_then_waits_for_nobody():
    async with (
        Scripted(BUSY) as first,
        Scripted(STREAM) as second,
        Stand(url=first.url, more=hedged(second.url)) as stand,
    ):
        loop = wind_by_hand(stand.server)
        answer = await Request(stand).answered()
        assert not [due for due in loop.timers if due <= loop.now + DELAY]
        metrics = await stand.metrics()

    assert answer.status == 200
    assert outcomes(metrics) == {}
    assert stand.log_lines[-1]["retries"] == 1
    assert "hedged" not in stand.log_lines[-1]


async def test_a_stream_that_breaks_after_it_has_won_is_told_and_nobody_is_asked_again():
    async with (
        Scripted(NOTHING) as first,
        Scripted(CHUNKED, chunk(TEXT), LAST) as second,
        Stand(url=first.url, more=hedged(second.url)) as stand,
    ):
        request, loop = await first_asked(first, stand)
        loop.wind(DELAY)
        answer = await request.answered()
        metrics = await stand.metrics()

    assert orjson.loads(answer.events[-1])["error"]["code"] == "stream_interrupted"
    assert stand.log_lines[-1]["upstream"] == "backup"
    assert outcomes(metrics) == {"won": 1}
    assert total(metrics, 'upstream_errors_total{kind="truncated",upstream="backup"}') == 1


async def test_the_total_limit_counts_from_the_beginning_of_the_first():
    limits = "timeouts = { total = '2s' }"
    async with Scripted(NOTHING) as first, Scripted(NOTHING) as second:
        more = hedged(second.url, "\n").replace("[models", f"{limits}\n[models")
        async with Stand(url=first.url, upstream=limits, more=more) as stand:
            loop = wind_by_hand(stand.server)
            request = Request(stand)
            await first.asked.wait()
            await until(lambda: stand.server.desk.jobs)
            loop.wind(DELAY)
            await second.asked.wait()
            loop.wind(2.0 - DELAY)
            answer = await request.answered()

    assert answer.status == 504
    assert "total timeout" in answer.json["error"]["message"]


# When there is no second.


def fill(stand):
    stand.server.providers["backup"].pool.limit = 0


def leave_alone(stand):
    for _ in range(LIMIT):
        stand.server.providers["backup"].breaker.failed(stand.server.desk.clock())


def spend(stand):
    while stand.server.providers["mock"].budget.spend():
        pass


@pytest.mark.parametrize("prevent", [fill, leave_alone, spend])
async def test_no_second_is_asked_where_it_would_do_harm(prevent):
    slow = asyncio.Event()
    async with (
        Scripted(slow, STREAM) as first,
        Scripted(STREAM) as second,
        Stand(url=first.url, more=hedged(second.url)) as stand,
    ):
        loop = wind_by_hand(stand.server)
        prevent(stand)
        request = Request(stand)
        await first.asked.wait()
        await until(lambda: stand.server.desk.jobs)
        loop.wind(2 * DELAY)
        slow.set()
        answer = await request.answered()
        metrics = await stand.metrics()

    assert answer.headers["headgate-upstream"] == "mock"
    assert second.requests == 0
    assert outcomes(metrics) == {}
    assert "hedged" not in stand.log_lines[-1]


async def test_when_all_are_slow_hedges_are_a_share_of_the_load():
    count = 40
    async with (
        Scripted(NOTHING) as first,
        Scripted(NOTHING) as second,
        Stand(url=first.url, more=hedged(second.url)) as stand,
    ):
        loop = wind_by_hand(stand.server)
        requests = [Request(stand) for _ in range(count)]
        await until(lambda: first.requests == count)
        loop.wind(DELAY)
        await until(lambda: second.requests >= RESERVE)
        for job in stand.server.desk.jobs:
            job.cancel("stop")
        for request in requests:
            await request.answered()
        metrics = await stand.metrics()

    assert second.requests == RESERVE + SHARE * count
    assert outcomes(metrics) == {"lost": second.requests}


async def test_a_probe_that_loses_has_taught_nothing():
    slow = asyncio.Event()
    async with (
        Scripted(slow, STREAM) as first,
        Scripted(NOTHING) as second,
        Stand(url=first.url, more=hedged(second.url)) as stand,
    ):
        loop = wind_by_hand(stand.server)
        leave_alone(stand)
        loop.wind(6.0)
        breaker = stand.server.providers["backup"].breaker
        request = Request(stand)
        await first.asked.wait()
        await until(lambda: stand.server.desk.jobs)
        loop.wind(DELAY)
        await second.asked.wait()
        assert breaker.state is State.HALF_OPEN
        slow.set()
        await request.answered()

    assert breaker.state is State.OPEN
    assert breaker.failures == LIMIT


# Every way to ask.


async def test_a_page_that_asks_by_eventsource_gets_one_answer():
    async with (
        Scripted(NOTHING) as first,
        Scripted(STREAM) as second,
        Stand(url=first.url, more=hedged(second.url)) as stand,
    ):
        loop = wind_by_hand(stand.server)
        client = await stand.open()
        client.send("GET", f"{PATH}/stream?model=pair&messages=[]")
        await first.asked.wait()
        loop.wind(DELAY)
        answer = await client.answer()
        await client.close()

    names = [line for line in answer.body.split(b"\n") if line.startswith(b"event: ")]
    assert names == [b"event: start", *[b"event: chunk"] * 2, b"event: done"]


async def test_a_chat_over_a_websocket_gets_one_answer():
    async with (
        Scripted(NOTHING) as first,
        Scripted(STREAM) as second,
        Stand(url=first.url, more=hedged(second.url)) as stand,
        connect(f"ws://127.0.0.1:{stand.port}/v1/ws/chat") as client,
    ):
        loop = wind_by_hand(stand.server)
        await client.send('{"type":"chat","model":"pair","messages":[]}')
        await first.asked.wait()
        loop.wind(DELAY)
        frames = await hear_until(client, "done", "error")

    assert [frame["type"] for frame in frames] == ["start", "chunk", "done"]


async def test_a_generation_that_nobody_waits_for_is_hedged_too():
    async with (
        Scripted(NOTHING) as first,
        Scripted(STREAM) as second,
        Stand(url=first.url, more=hedged(second.url)) as stand,
    ):
        loop = wind_by_hand(stand.server)
        answer = await Request(stand, prefer="respond-async")._asking
        await first.asked.wait()
        loop.wind(DELAY)
        await stand.server.desk.jobs.empty()

    assert answer.status == 202
    assert (stand.log_lines[-1]["upstream"], stand.log_lines[-1]["end"]) == ("backup", "finished")


@BOTH
async def test_the_two_may_speak_different_dialects(stream):
    async with MockProvider(Options(tokens=3)) as second:
        more = hedged(second.url).replace("backup]\n", 'backup]\ndialect = "anthropic"\n')
        async with Stand(Options(fault="stall-head"), more=more) as stand:
            loop = wind_by_hand(stand.server)
            client = await stand.open()
            body = chat(model="pair", stream=stream) | {"seed": 1}
            client.send("POST", PATH, body)
            await stand.mock.until(lambda: stand.mock.open_streams == 1)
            loop.wind(DELAY)
            answer = await client.answer()
            await client.close()

    assert answer.status == 200
    assert b"t0" in answer.body
    assert answer.headers["headgate-dropped-params"] == "mock, seed", "as the winner was asked"


async def test_one_that_cannot_say_what_is_asked_is_no_second():
    async with MockProvider(Options()) as second:
        more = hedged(second.url).replace("backup]\n", 'backup]\ndialect = "anthropic"\n')
        async with Stand(Options(first_delay=50, tokens=2), more=more) as stand:
            loop = wind_by_hand(stand.server)
            client = await stand.open()
            client.send("POST", PATH, chat(model="pair") | {"n": 2})
            await stand.mock.until(lambda: stand.mock.open_streams == 1)
            loop.wind(DELAY)
            answer = await client.answer()
            await client.close()

        assert not second.requests

    assert answer.headers["headgate-upstream"] == "mock"


# Leaving.

ENDS = ("disconnect", "stop", "shutdown")


@BOTH
@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("turns", range(10))
async def test_at_whatever_moment_it_ends_nothing_is_left(turns, how, stream):
    """Both are asked and answer at once: in some turn of the loop each step is cut in two."""
    async with (
        Scripted(NOTHING) as first,
        Scripted(GOOD[stream]) as second,
        Stand(url=first.url, more=hedged(second.url)) as stand,
    ):
        desk = stand.server.desk
        loop = wind_by_hand(stand.server)
        before = asyncio.all_tasks()
        client = await stand.open()
        client.send("POST", PATH, chat(model="pair", stream=stream))
        await first.asked.wait()
        await until(lambda: desk.jobs)
        (job,) = desk.jobs
        loop.wind(DELAY)
        for _ in range(turns):
            await asyncio.sleep(0)
        if how == "shutdown":
            job.shut_down()
        else:
            job.cancel(how)
        await desk.jobs.empty()
        assert [provider.pool.active for provider in stand.server.providers.values()] == [0, 0]
        assert not stand.server.providers["mock"].pool.idle
        left = [task.get_coro().__qualname__ for task in asyncio.all_tasks() - before]
        assert not [name for name in left if not name.startswith("Scripted.")]
        metrics = await stand.metrics()
        await client.close()

    lines = [line for line in stand.log_lines if line["msg"] == "request"]
    assert len(lines) == 1
    assert lines[0]["end"] in (how, "finished")
    assert sum(outcomes(metrics).values()) == 1
    assert total(metrics, "upstream_errors_total") == 0
