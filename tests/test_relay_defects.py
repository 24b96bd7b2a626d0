"""Defects of ours within a job: they are logged, whoever waits is told or cut, nothing is left."""

import asyncio
from contextlib import asynccontextmanager

import pytest

import gateway.relay
from gateway.errors import GatewayError
from gateway.filling import Filler
from gateway.relay import Job
from gateway.unary import Unary
from gateway.views.sse import SseView
from tests.fakes import until
from tests.scripted import CHUNKED, GOOD, NOTHING, TEXT, Scripted, chunk
from tests.stand import Stand, chat


STREAM = pytest.mark.parametrize("stream", [True, False], ids=["stream", "unary"])


class Defect(Exception):
    pass


def broken(*_: object, **__: object) -> None:
    raise Defect


@asynccontextmanager
async def crashing(monkeypatch, **settings):
    """A stand, and what it logs as defects; it is left without a job."""
    async with Stand(**settings) as stand:
        crashes = []
        monkeypatch.setattr(stand.server.desk.log, "crash", crashes.append)
        stand.server.desk.hub.on_crash = crashes.append
        yield stand, crashes
        await until(lambda: not len(stand.server.desk.jobs))


async def told(stand: Stand, **mock: object) -> int | str:
    """Ask on a connection of its own; return the status, or that it was cut."""
    client = await stand.open()
    try:
        return (await client.chat(**mock)).status
    except asyncio.IncompleteReadError:
        return "cut"
    finally:
        await client.close()


@STREAM
@pytest.mark.parametrize("fault", [{"tokens": 1}, {"fault": "500"}], ids=["good", "500"])
async def test_a_defect_before_the_answer_is_looked_at_ends_the_request(
    stream, fault, monkeypatch
):
    monkeypatch.setattr(gateway.relay, "passed_back", broken)
    async with crashing(monkeypatch) as (stand, crashes):
        answer = await stand.chat(stream=stream, **fault)

    assert answer.status == 500
    assert answer.headers["headgate-error-source"] == "gateway"
    assert [type(crash) for crash in crashes] == [Defect]


@STREAM
async def test_a_defect_in_the_account_of_a_request_is_logged_and_costs_nobody_else(
    stream, monkeypatch
):
    monkeypatch.setattr(Job, "account", broken)
    async with crashing(monkeypatch) as (stand, crashes):
        good = await told(stand, stream=stream)
        bad = [await told(stand, stream=stream, fault=fault) for fault in ("500", "refuse")]

    assert [good, *bad] == [200, 500, 502]
    assert [type(crash) for crash in crashes] == [Defect] * 3


@pytest.mark.parametrize("owner", [Unary, Job], ids=["telling", "failing"])
async def test_a_client_that_a_defect_keeps_from_being_told_is_cut(owner, monkeypatch):
    monkeypatch.setattr(owner, "_failed" if owner is Unary else "_fail", broken)
    async with crashing(monkeypatch) as (stand, crashes):
        assert await told(stand, stream=False, fault="500") == "cut"

    assert [type(crash) for crash in crashes] == [Defect]


@pytest.mark.parametrize("owner", [Filler, Job], ids=["telling", "failing"])
async def test_a_stream_that_failed_is_no_good_one_whatever_happens_then(owner, monkeypatch):
    monkeypatch.setattr(owner, "_failed" if owner is Filler else "_fail", broken)
    async with crashing(monkeypatch) as (stand, crashes):
        assert await told(stand, fault="429") == GatewayError.status

    assert [type(crash) for crash in crashes] == [Defect]


@STREAM
async def test_a_defect_in_what_a_job_lets_go_of_is_logged_once(stream, monkeypatch):
    monkeypatch.setattr(gateway.relay.Attempts, "end", broken)
    async with crashing(monkeypatch) as (stand, crashes):
        assert await told(stand, stream=stream, fault="429") == (500 if stream else "cut")

    assert [type(crash) for crash in crashes] == [Defect]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("script", [(CHUNKED + chunk(TEXT), NOTHING), (GOOD[True],)])
async def test_a_defect_in_the_only_reader_ends_the_stream_and_is_one(path, script, monkeypatch):
    monkeypatch.setattr(SseView, "ready", broken)
    async with Scripted(*script) as provider, crashing(monkeypatch, url=provider.url) as scene:
        stand, crashes = scene
        client = await stand.open()
        client.send("POST", path, {**chat(), "max_tokens": 9})
        assert await client.reader.read() == b""
        await client.close()

    assert [type(crash) for crash in crashes] == [Defect]
