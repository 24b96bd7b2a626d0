"""A finished answer, said again at the pace it had."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest

from gateway.desk import STREAMS
from gateway.eventlog import EventLog
from gateway.mock import Options
from tests.coalescing import CHAT, asked, outcomes
from tests.fakes import WoundLoop, until, wind_by_hand
from tests.scripted import CHUNKED, DONE, FINISH, LAST, TEXT, Scripted, chunk
from tests.stand import Client, Stand, chat


PACED = 'coalesce = { ttl = "5m", pace = "original" }'
GAPS = (0.0, 2.0, 5.0)  # seconds before each; short of a heartbeat
PARTS = (TEXT, TEXT + TEXT, FINISH + DONE)


class Paced(NamedTuple):
    """A gateway that has heard PARTS with GAPS between them, with a clock wound by hand."""

    stand: Stand
    provider: Scripted
    loop: WoundLoop
    location: str

    async def again(self, **fields: str) -> tuple[Client, dict[str, str]]:
        """Ask the same; return the client, and the head of its answer."""
        client = await self.stand.ask(
            headers={name.replace("_", "-"): value for name, value in fields.items()}
        )
        _, head = await client.head()
        return client, head

    def log(self, fields: dict[str, str]) -> EventLog:
        """Return the log that the head of an answer names."""
        return self.stand.server.desk.hub.find(fields["location"].removeprefix(STREAMS)).log


@asynccontextmanager
async def paced() -> AsyncIterator[Paced]:
    due = [asyncio.Event() for _ in PARTS]
    parts = zip(due, map(chunk, PARTS), strict=True)
    async with (
        Scripted(CHUNKED, *itertools.chain(*parts), LAST) as provider,
        Stand(url=provider.url, model=PACED) as stand,
    ):
        loop = wind_by_hand(stand.server)
        client = await stand.ask()
        due[0].set()
        _, fields = await client.head()
        for gap, event, part in zip(GAPS, due, PARTS, strict=True):
            loop.wind(gap)
            event.set()
            assert await client.chunk() == part
        assert await client.chunk() == b""
        await client.close()
        yield Paced(stand, provider, loop, fields["location"])


async def test_the_gaps_are_as_they_were():
    async with paced() as scene:
        client, fields = await scene.again()
        log = scene.log(fields)
        said = [await client.chunk()]
        for gap, part in list(zip(GAPS, PARTS, strict=True))[1:]:
            tail = log.tail
            scene.loop.wind(gap - 0.1)
            assert log.tail == tail
            scene.loop.wind(0.1)
            said.append(await client.chunk())
            assert said[-1] == part
        assert await client.chunk() == b""
        await client.close()
        metrics = await scene.stand.metrics()

    assert b"".join(said) == b"".join(PARTS)
    assert fields["headgate-coalesced"] == "hit"
    assert fields["headgate-upstream"] == "mock"
    assert fields["location"] != scene.location
    assert scene.provider.requests == 1
    assert metrics['headgate_streams_ended_total{reason="finished"}'] == 1


async def test_each_who_asks_hears_it_from_the_beginning():
    async with paced() as scene:
        first, _ = await scene.again()
        assert await first.chunk() == PARTS[0]
        scene.loop.wind(GAPS[1])
        assert await first.chunk() == PARTS[1]
        second, _ = await scene.again()
        assert await second.chunk() == PARTS[0]
        scene.loop.wind(GAPS[2])
        assert await first.chunk() == PARTS[2]
        assert await second.chunk() == PARTS[1]
        for client in (first, second):
            await client.close()
        await scene.stand.server.desk.jobs.empty()


async def test_who_leaves_a_replay_ends_it():
    async with paced() as scene:
        client, _ = await scene.again()
        await client.chunk()
        await client.close()
        await scene.stand.server.desk.jobs.empty()
        timers = scene.loop.timers
        scene.loop.wind(100)

    assert not [due for due in timers if due < scene.loop.now - 60]
    line = scene.stand.log_lines[-1]
    assert (line["route"], line["status"], line["end"]) == (CHAT, 200, "disconnect")


async def test_a_replay_can_be_left_and_come_back_to():
    async with paced() as scene:
        client, _ = await scene.again(headgate_resume="true")
        block = (await client.chunk()).decode()
        await client.close()
        await until(lambda: not scene.stand.server.public.host.connections)
        scene.loop.wind(GAPS[1])
        seen = block.removeprefix("id: ").partition("\n")[0]
        client, _ = await scene.again(headgate_resume="true", last_event_id=seen)
        assert (await client.chunk()).decode().count("data: ") == 2
        scene.loop.wind(GAPS[2])
        assert b"[DONE]" in await client.chunk()
        await client.close()

    assert scene.provider.requests == 1


async def test_a_replay_can_be_stopped_like_any_other():
    async with paced() as scene:
        client, fields = await scene.again()
        await client.chunk()
        await asked(scene.stand, None, path=fields["location"] + "/cancel")
        last = await client.chunk()
        await client.close()
        again, fields = await scene.again()
        await again.close()

    assert b'"headgate":{"ended":"cancelled"}' in last
    assert fields["headgate-coalesced"] == "hit"  # what it says again is whole
    assert scene.provider.requests == 1


async def test_the_end_of_the_process_breaks_a_replay_off():
    async with paced() as scene:
        client, _ = await scene.again()
        await client.chunk()
        for job in scene.stand.server.desk.jobs:
            job.shut_down()
        last = await client.chunk()
        await client.close()

    assert b'"error"' in last
    assert b"[DONE]" not in last


async def test_a_replay_waits_while_its_log_is_full():
    async with paced() as scene:
        client, fields = await scene.again()
        await client.chunk()
        log = scene.log(fields)
        [replay] = scene.stand.server.desk.jobs
        replay.pause()
        scene.loop.wind(GAPS[1] + 1)
        tail = log.tail
        replay.resume()
        scene.loop.wind(0)
        assert (await client.chunk()) == PARTS[1]
        await client.close()
        await scene.stand.server.desk.jobs.empty()

    assert tail == 1


@pytest.mark.parametrize("upstream", ["openai", "anthropic"])
async def test_what_is_translated_has_its_pace_too(upstream):
    said = Options(tokens=5, interval=2)
    async with Stand(said, upstream=f'dialect = "{upstream}"', model=PACED) as stand:
        body = {**chat(), "max_tokens": 9}
        found = await asked(stand, body, body, path="/v1/messages")
        paces = [len(live.log.pace) for live in stand.server.desk.hub._kept if live.log.pace]

    assert found[0].body == found[1].body
    assert outcomes(*found) == ["miss", "hit"]
    assert paces[0] > 3
    assert len(stand.mock.requests) == 1
