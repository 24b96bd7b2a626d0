"""A streamed generation: what holds it back, what ends it, and what becomes of its connection."""

import asyncio
import tracemalloc

import orjson
import pytest

from gateway.hub import LOG_HIGH
from gateway.stream import TAIL_TIMEOUT
from gateway.views import FIRST_HEARTBEAT, HEARTBEAT
from tests.fakes import WoundLoop, until
from tests.scripted import CHUNKED, DONE, FINISH, LAST, TEXT, Scripted, chunk
from tests.stand import Answer, Client, Stand, chat


PING = b": ping\n\n"
WHOLE = CHUNKED + chunk(TEXT + FINISH + DONE) + LAST


def wind_by_hand(stand: Stand) -> WoundLoop:
    """Give the jobs of a stand a clock that only the test moves."""
    loop = WoundLoop()
    stand.server.desk.loop = loop
    stand.server.desk.clock = loop.time
    return loop


async def ask(stand: Stand, **mock: object) -> Client:
    """Send a request for a stream, and do not wait for its answer."""
    client = await stand.open()
    client.send("POST", "/v1/chat/completions", chat(**mock))
    return client


def idle(stand: Stand) -> int:
    return len(stand.server.providers["mock"].pool.idle)


# Silence.


async def test_a_failure_within_the_first_ten_seconds_keeps_its_own_status():
    go = asyncio.Event()
    refusal = b"HTTP/1.1 429 Too Many\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\n{}"
    async with Scripted(go, refusal) as provider, Stand(url=provider.url) as stand:
        loop = wind_by_hand(stand)
        client = await ask(stand)
        await provider.asked.wait()
        loop.wind(FIRST_HEARTBEAT - 0.01)
        go.set()
        answer = await client.answer()
        await client.close()

    assert answer.status == 429
    assert answer.headers["retry-after"] == "7"


async def test_heartbeats_begin_after_ten_seconds_and_come_every_fifteen():
    async with Stand() as stand:
        loop = wind_by_hand(stand)
        client = await ask(stand, fault="stall-first")
        await stand.mock.until(lambda: stand.mock.open_streams == 1)
        loop.wind(FIRST_HEARTBEAT)
        status, headers = await client.head()
        beats = [await client.chunk()]
        for _ in range(3):
            loop.wind(HEARTBEAT)
            beats.append(await client.chunk())
        await client.close()

    assert status == 200
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert beats == [PING] * 4


async def test_an_event_puts_the_next_heartbeat_off():
    go = asyncio.Event()
    steps = (CHUNKED + chunk(TEXT), go, chunk(TEXT))
    async with Scripted(*steps) as provider, Stand(url=provider.url) as stand:
        loop = wind_by_hand(stand)
        client = await ask(stand)
        await client.head()
        await client.chunk()
        loop.wind(HEARTBEAT - 1)
        go.set()
        second = await client.chunk()
        loop.wind(HEARTBEAT - 1)  # 15 s after the first event and more, not after the second
        loop.wind(1)
        third = await client.chunk()
        loop.wind(HEARTBEAT)
        fourth = await client.chunk()
        await client.close()

    assert [second, third, fourth] == [TEXT, PING, PING]


async def test_a_failure_after_the_first_heartbeat_is_told_in_the_stream():
    go = asyncio.Event()
    async with Scripted(go, closes=True) as provider, Stand(url=provider.url) as stand:
        loop = wind_by_hand(stand)
        client = await ask(stand)
        await provider.asked.wait()
        loop.wind(FIRST_HEARTBEAT)
        await client.head()
        await client.chunk()
        go.set()
        event = await client.chunk()
        end = await client.chunk()
        await client.close()

    assert orjson.loads(event.removeprefix(b"data: "))["error"]["code"] == "upstream_unavailable"
    assert end == b""


# Time limits: what was configured, what had come, seconds, and how the client is told.
LIMITS = {
    "no head": ("first_event = '3s'", (), 3.0, "first_event timeout after 3 s"),
    "a head and no event": ("first_event = '3s'", (CHUNKED,), 3.0, "first_event timeout"),
    "half an event": ("first_event = '3s'", (CHUNKED + chunk(TEXT[:9]),), 3.0, "first_event"),
    "one event": ("idle = '3s'", (CHUNKED + chunk(TEXT),), 3.0, "idle timeout after 3 s"),
    "comments": ("idle = '3s'", (CHUNKED + chunk(TEXT + b": hm\n\n"),), 3.0, "idle timeout"),
    "in all": ("total = '9s'", (CHUNKED + chunk(TEXT),), 9.0, "total timeout after 9 s"),
}


@pytest.mark.parametrize(("limit", "steps", "after", "what"), LIMITS.values(), ids=LIMITS.keys())
async def test_a_provider_that_comes_to_a_halt_is_given_up(limit, steps, after, what):
    async with (
        Scripted(*steps) as provider,
        Stand(url=provider.url, upstream=f"timeouts = {{ {limit} }}") as stand,
    ):
        loop = wind_by_hand(stand)
        client = await ask(stand)
        if any(TEXT in step for step in steps):
            await client.head()
            await client.chunk()
            loop.wind(after - 0.01)
            assert len(stand.server.desk.jobs) == 1
            loop.wind(0.02)
            body = await client.chunk()
        else:
            await provider.asked.wait()
            loop.wind(after - 0.01)
            assert len(stand.server.desk.jobs) == 1
            loop.wind(0.02)
            answer = await client.answer()
            assert answer.status == 504
            body = b"data: " + answer.body
        await client.close()

    error = orjson.loads(body.removeprefix(b"data: "))["error"]
    assert error["code"] == "upstream_timeout"
    assert what in error["message"]
    assert stand.log_lines[-1]["end"] == "timeout"


async def test_events_put_the_idle_limit_off_but_not_the_total():
    go = [asyncio.Event() for _ in range(3)]
    steps = [CHUNKED + chunk(TEXT), *(step for event in go for step in (event, chunk(TEXT)))]
    limits = "timeouts = { idle = '3s', total = '10s' }"
    async with Scripted(*steps) as provider, Stand(url=provider.url, upstream=limits) as stand:
        loop = wind_by_hand(stand)
        client = await ask(stand)
        await client.head()
        await client.chunk()
        for event in go:
            loop.wind(2.5)
            event.set()
            assert await client.chunk() == TEXT
        loop.wind(2.49)
        assert len(stand.server.desk.jobs) == 1
        loop.wind(0.02)
        last = await client.chunk()
        await client.close()

    assert b"total timeout" in last


# A client that does not read.


async def test_a_client_that_stops_reading_pauses_the_provider_and_loses_nothing():
    tokens = 25_000  # 25 MB: more than all the kernel's buffers
    async with Stand() as stand:
        client = await ask(stand, tokens=tokens, size=1000)
        await stand.mock.until(lambda: paused(stand))
        held = next(iter(stand.server.desk.jobs)).live.log.held
        sent = stand.mock.tokens_sent
        _, headers = await client.head()
        parts = []
        while part := await client.chunk():  # not += on 25 MB
            parts.append(part)
        await client.close()

    assert sent < tokens
    assert held < 2 * LOG_HIGH
    answer = Answer(200, headers, b"".join(parts))
    words = [word.rstrip(".") for word in answer.text.split()]
    assert words == [f"t{i}" for i in range(tokens)]
    assert answer.events[-1] == "[DONE]"


def paused(stand: Stand) -> bool:
    return any(job.live.log.held > LOG_HIGH for job in stand.server.desk.jobs)


async def test_no_time_limit_but_the_total_runs_while_the_client_is_what_holds_it_up():
    async with Stand(upstream="timeouts = { idle = '3s', total = '60s' }") as stand:
        loop = wind_by_hand(stand)
        client = await ask(stand, tokens=100_000, size=1000)
        await stand.mock.until(lambda: paused(stand))
        loop.wind(59)
        assert len(stand.server.desk.jobs) == 1
        loop.wind(1.1)
        await stand.server.desk.jobs.empty()
        await client.close()

    assert stand.log_lines[-1]["end"] == "timeout"
    assert "total" in stand.log_lines[-1]["error"]


async def test_a_client_that_stopped_reading_and_leaves_ends_the_upstream():
    async with Stand() as stand:
        client = await ask(stand, tokens=100_000, size=1000)
        await stand.mock.until(lambda: paused(stand))
        client.writer.transport.abort()
        await stand.mock.until(lambda: stand.mock.open_streams == 0)
        await client.close()

    assert stand.mock.requests[-1].cancelled
    assert stand.log_lines[-1]["end"] == "disconnect"


async def test_a_request_is_not_kept_in_memory_while_its_answer_streams():
    size = 8 * 1024 * 1024
    async with Scripted(CHUNKED + chunk(TEXT)) as provider, Stand(url=provider.url) as stand:
        client = await stand.open()
        body = chat(padding="") | {"messages": [{"role": "user", "content": "x" * size}]}
        raw = orjson.dumps(body)
        del body
        tracemalloc.start()
        try:
            client.send("POST", "/v1/chat/completions", raw)
            await client.head()
            await client.chunk()
            held, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        await client.close()

    assert peak > size, "or nothing was measured"
    assert held < size / 4


# The end of the body, and the connection.


async def test_a_stream_ends_for_the_client_with_done_however_slow_the_rest_is():
    rest = asyncio.Event()
    steps = (CHUNKED + chunk(TEXT + FINISH + DONE), rest, LAST)
    async with Scripted(*steps) as provider, Stand(url=provider.url) as stand:
        client = await ask(stand)
        answer = await client.answer()
        waiting = len(stand.server.desk.jobs)
        rest.set()
        await stand.server.desk.jobs.empty()
        again = await client.chat()
        await client.close()
        connections = provider.connections

    assert answer.events[-1] == "[DONE]"
    assert waiting == 1
    assert again.events == answer.events
    assert connections == 1, "the rest came, so the connection was good for another request"


LATE = {
    "it never comes": lambda stand, loop, rest: loop.wind(TAIL_TIMEOUT),
    "the provider hangs up": lambda stand, loop, rest: rest.set(),
    "the gateway ends": lambda stand, loop, rest: next(iter(stand.server.desk.jobs)).shut_down(),
}


@pytest.mark.parametrize("happens", LATE.values(), ids=LATE.keys())
async def test_what_happens_after_done_makes_no_good_stream_a_bad_one(happens):
    rest = asyncio.Event()
    steps = (CHUNKED + chunk(TEXT + FINISH + DONE), rest)
    async with Scripted(*steps, closes=True) as provider, Stand(url=provider.url) as stand:
        loop = wind_by_hand(stand)
        client = await ask(stand)
        await client.answer()
        happens(stand, loop, rest)
        await stand.server.desk.jobs.empty()
        left = idle(stand)
        await client.close()
        metrics = await stand.metrics()

    line = stand.log_lines[-1]
    assert (line["end"], line["level"], line.get("error")) == ("finished", "info", None)
    assert not [name for name in metrics if "upstream_errors" in name and metrics[name]]
    assert left == 0


async def test_a_connection_lost_after_done_is_no_error():
    steps = CHUNKED + chunk(TEXT + FINISH + DONE)
    async with Scripted(steps) as provider, Stand(url=provider.url) as stand:
        client = await ask(stand)
        await client.answer()
        (job,) = stand.server.desk.jobs
        job._exchange._connection.connection_lost(ConnectionResetError("reset by peer"))
        await stand.server.desk.jobs.empty()
        await client.close()

    assert "error" not in stand.log_lines[-1]


SURPLUS = {
    "in the same packet": (WHOLE + b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",),
    "without end": (WHOLE + b"\x00" * 100_000,),
}


@pytest.mark.parametrize("steps", SURPLUS.values(), ids=SURPLUS.keys())
async def test_bytes_after_the_answer_cost_the_connection(steps):
    async with Scripted(*steps) as provider, Stand(url=provider.url) as stand:
        client = await stand.open()
        answers = [await client.chat() for _ in range(2)]
        await client.close()
        connections = provider.connections

    assert [answer.events[-1] for answer in answers] == ["[DONE]"] * 2
    assert connections == 2


async def test_bytes_that_come_before_the_job_has_woken_cost_the_connection_too():
    async with Scripted(CHUNKED + chunk(TEXT)) as provider, Stand(url=provider.url) as stand:
        client = await ask(stand)
        await client.head()
        await client.chunk()
        (job,) = stand.server.desk.jobs
        job.data(chunk(FINISH + DONE) + LAST)
        job.data(b"HTTP/1.1 200 OK\r\n")
        await stand.server.desk.jobs.empty()
        left = idle(stand)
        await client.close()

    assert left == 0


ENDLESS = {
    "[DONE] without a finish reason": CHUNKED + chunk(TEXT + DONE) + LAST,
    "a finish reason without [DONE]": CHUNKED + chunk(TEXT + FINISH) + LAST,
    "no event at all": CHUNKED + LAST,
}


@pytest.mark.parametrize("answer", ENDLESS.values(), ids=ENDLESS.keys())
async def test_only_a_finish_reason_and_done_together_are_an_end(answer):
    async with Scripted(answer) as provider, Stand(url=provider.url) as stand:
        client = await ask(stand)
        got = await client.answer()
        await client.close()

    assert b"[DONE]" not in got.body
    assert b'"error"' in got.body
    assert got.status == (200 if TEXT in answer else 502)
    assert stand.log_lines[-1]["end"] == ("truncated" if TEXT in answer else "upstream_error")


# The queue.


async def test_requests_above_the_limit_of_connections_are_served_in_order():
    go = asyncio.Event()
    steps = (go, WHOLE)
    served = []

    async def one(number: int, stand: Stand, client: Client) -> None:
        assert (await client.answer()).events[-1] == "[DONE]"
        served.append(number)

    limit = "max_connections = 1"
    async with Scripted(*steps) as provider, Stand(url=provider.url, upstream=limit) as stand:
        pool = stand.server.providers["mock"].pool
        clients = []
        for _ in range(4):
            clients.append(await ask(stand))
            # Each is in the queue before the next is sent.
            await until(lambda: pool.active + len(pool.waiters) == len(clients))
        go.set()
        await asyncio.gather(*(one(n, stand, c) for n, c in enumerate(clients)))
        for client in clients:
            await client.close()
        assert provider.connections == 1

    assert served == [0, 1, 2, 3]
    waits = [line for line in stand.log_lines if line["msg"] == "request"]
    assert [line["end"] for line in waits] == ["finished"] * 4


async def test_a_request_that_waited_too_long_for_a_connection_is_told_to_come_again():
    limit = "max_connections = 1\ntimeouts = { connect = '50ms' }"
    async with Stand(upstream=limit) as stand:
        first = await ask(stand, fault="stall-mid")
        await first.head()
        second = await stand.open()
        answer = await second.chat()
        await second.close()
        await first.close()
        metrics = await stand.metrics()

    assert answer.status == 503
    assert answer.json["error"]["code"] == "overloaded"
    assert answer.headers["retry-after"] == "1"
    assert metrics['headgate_streams_ended_total{reason="overloaded"}'] == 1
    assert metrics['headgate_streams_ended_total{reason="shutdown"}'] == 0
