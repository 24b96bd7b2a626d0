"""A streamed generation: what holds it up, what ends it, and what becomes of its connection."""

import asyncio
import gc
import tracemalloc
from collections.abc import Iterator

import orjson
import pytest

from gateway.hub import LOG_CAP
from gateway.source import TAIL_TIMEOUT, Source
from gateway.stream import Stream
from tests.fakes import until, wind_by_hand
from tests.scripted import CHUNKED, DONE, FINISH, LAST, TEXT, Scripted, chunk
from tests.stand import Answer, Client, Stand, chat


WHOLE = CHUNKED + chunk(TEXT + FINISH + DONE) + LAST


def idle(stand: Stand) -> int:
    return len(stand.server.providers["mock"].pool.idle)


# A client that does not read.


async def test_a_client_that_stops_reading_pauses_the_provider_and_loses_nothing():
    tokens = 25_000  # 25 MB: more than all the kernel's buffers
    async with Stand() as stand:
        client = await stand.ask(tokens=tokens, size=1000)
        await stand.mock.until(lambda: paused(stand))
        held = next(iter(stand.server.desk.jobs)).live.log.held
        sent = stand.mock.tokens_sent
        _, headers = await client.head()
        parts = []
        while part := await client.chunk():  # not += on 25 MB
            parts.append(part)
        await client.close()

    assert sent < tokens
    assert held < LOG_CAP + 1024 * 1024
    answer = Answer(200, headers, b"".join(parts))
    words = [word.rstrip(".") for word in answer.text.split()]
    assert words == [f"t{i}" for i in range(tokens)]
    assert answer.events[-1] == "[DONE]"


def paused(stand: Stand) -> bool:
    return any(job.live.log.held > LOG_CAP for job in stand.server.desk.jobs)


async def test_no_time_limit_but_the_total_runs_while_the_client_is_what_holds_it_up():
    async with Stand(upstream="timeouts = { idle = '3s', total = '60s' }") as stand:
        loop = wind_by_hand(stand.server)
        client = await stand.ask(tokens=100_000, size=1000)
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
        client = await stand.ask(tokens=100_000, size=1000)
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


# An error of the provider's that only its event's type says.

NAMED = b'event: error\ndata: {"message":"too many of you","code":429}\n\n'
PATHS = ["/v1/chat/completions", "/v1/messages", "/v1/responses"]


def asks(path: str) -> dict[str, object]:
    if path == "/v1/responses":
        return {"model": "m", "stream": True, "input": "hello"}
    return chat() | {"max_tokens": 9}


@pytest.mark.parametrize("path", PATHS)
async def test_an_error_by_its_type_alone_has_its_status_as_the_first_event(path):
    told = CHUNKED + chunk(NAMED) + LAST
    async with Scripted(told) as provider, Stand(url=provider.url) as stand:
        client = await stand.open()
        answer = await client.ask("POST", path, asks(path))
        await client.close()

    assert answer.status == 429
    assert answer.json["error"]["message"] == "too many of you"


@pytest.mark.parametrize("path", PATHS)
async def test_an_error_by_its_type_alone_ends_a_stream_in_any_dialect(path):
    told = CHUNKED + chunk(TEXT) + chunk(NAMED + FINISH + DONE) + LAST
    async with Scripted(told) as provider, Stand(url=provider.url) as stand:
        client = await stand.open()
        answer = await client.ask("POST", path, asks(path))
        await client.close()

    assert "too many of you" in answer.events[-1]
    line = stand.log_lines[-1]
    assert (line["end"], line["error"]) == ("upstream_error", "too many of you")


# The end of the body, and the connection.


async def test_a_stream_ends_for_the_client_with_done_however_slow_the_rest_is():
    rest = asyncio.Event()
    steps = (CHUNKED + chunk(TEXT + FINISH + DONE), rest, LAST)
    async with Scripted(*steps) as provider, Stand(url=provider.url) as stand:
        client = await stand.ask()
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
        loop = wind_by_hand(stand.server)
        client = await stand.ask()
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
        client = await stand.ask()
        await client.answer()
        (job,) = stand.server.desk.jobs
        job._try._connection.connection_lost(ConnectionResetError("reset by peer"))
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


async def test_a_stream_that_is_over_leaves_no_cycle():
    async with Stand() as stand:
        client = await stand.open()
        gc.collect()
        gc.disable()
        try:
            await client.chat()
            await stand.server.desk.jobs.empty()
            await until(lambda: not any(alive()))
        finally:
            gc.enable()
        await client.close()


def alive() -> Iterator[bool]:
    return (isinstance(one, Stream | Source) for one in gc.get_objects())


ENDLESS = {
    "[DONE] without a finish reason": CHUNKED + chunk(TEXT + DONE) + LAST,
    "a finish reason without [DONE]": CHUNKED + chunk(TEXT + FINISH) + LAST,
    "no event at all": CHUNKED + LAST,
}


@pytest.mark.parametrize("answer", ENDLESS.values(), ids=ENDLESS.keys())
async def test_only_a_finish_reason_and_done_together_are_an_end(answer):
    async with Scripted(answer) as provider, Stand(url=provider.url) as stand:
        client = await stand.ask()
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
            clients.append(await stand.ask())
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
        first = await stand.ask(fault="stall-mid")
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
