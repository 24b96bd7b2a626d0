"""A streamed generation and time: heartbeats in a silence, limits to it; the clock is wound."""

import asyncio

import orjson
import pytest

from gateway.views.sse import FIRST_HEARTBEAT
from gateway.views.view import HEARTBEAT
from tests.fakes import wind_by_hand
from tests.scripted import CHUNKED, TEXT, Scripted, chunk
from tests.stand import Stand


PING = b": ping\n\n"


# Silence.


async def test_a_failure_within_the_first_ten_seconds_keeps_its_own_status():
    go = asyncio.Event()
    refusal = b"HTTP/1.1 429 Too Many\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\n{}"
    async with Scripted(go, refusal) as provider, Stand(url=provider.url) as stand:
        loop = wind_by_hand(stand.server)
        client = await stand.ask()
        await provider.asked.wait()
        loop.wind(FIRST_HEARTBEAT - 0.01)
        go.set()
        answer = await client.answer()
        await client.close()

    assert answer.status == 429
    assert answer.headers["retry-after"] == "7"


async def test_heartbeats_begin_after_ten_seconds_and_come_every_fifteen():
    async with Stand() as stand:
        loop = wind_by_hand(stand.server)
        client = await stand.ask(fault="stall-first")
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
    go = [asyncio.Event() for _ in range(2)]
    steps = [CHUNKED + chunk(TEXT), *(step for event in go for step in (event, chunk(TEXT)))]
    async with Scripted(*steps) as provider, Stand(url=provider.url) as stand:
        loop = wind_by_hand(stand.server)
        client = await stand.ask()
        await client.head()
        chunks = [await client.chunk()]
        for event in go:
            loop.wind(HEARTBEAT - 1)  # behind the latest event; more behind the one before
            event.set()
            chunks.append(await client.chunk())
        loop.wind(HEARTBEAT)
        chunks.append(await client.chunk())
        await client.close()

    assert chunks == [TEXT, TEXT, TEXT, PING]


async def test_a_failure_after_the_first_heartbeat_is_told_in_the_stream():
    go = asyncio.Event()
    async with Scripted(go, closes=True) as provider, Stand(url=provider.url) as stand:
        loop = wind_by_hand(stand.server)
        client = await stand.ask()
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
        loop = wind_by_hand(stand.server)
        client = await stand.ask()
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
        loop = wind_by_hand(stand.server)
        client = await stand.ask()
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
