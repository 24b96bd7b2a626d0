"""HealthCheck: an upstream is asked without a user's request, and its breaker knows at once."""

import asyncio

import pytest

from gateway.addresses import UrlPath
from gateway.breaker import FIRST_REST, LIMIT, State
from gateway.health import HealthCheck
from gateway.mock import Options
from gateway.settings import Health
from gateway.units import Timeout
from tests.scripted import Scripted
from tests.stand import Stand, serving


BROKEN = Options(fault="status-500")
# In these tests nothing is checked but by `check()`.
HOURLY = 'health = { interval = "1h" }'


def check_of(stand, **settings):
    provider = stand.server.providers["mock"]
    return HealthCheck(provider, Health(**settings), stand.server.desk), provider


def figure(metrics, outcome):
    return metrics[f'headgate_health_checks_total{{outcome="{outcome}",upstream="mock"}}']


def changes(stand):
    return [line["msg"] for line in stand.log_lines if "health" in line["msg"]]


async def test_a_check_is_a_get_under_our_key_and_its_connection_is_kept():
    async with Stand() as stand:
        check, provider = check_of(stand)
        await check.check()
        await check.check()
        asked = stand.mock.requests[-1]
        idle = len(provider.pool.idle)
        metrics = await stand.metrics()

    assert (asked.method, asked.path) == ("GET", "/v1/models")
    assert asked.headers["authorization"] == "Bearer sk-upstream-canary"
    assert idle == 1
    assert stand.mock.connections.total == 1
    assert figure(metrics, "alive") == 2
    assert changes(stand) == []


async def test_checks_that_fail_open_the_breaker_as_requests_do_and_are_told_once():
    async with Stand() as stand:
        check, provider = check_of(stand)
        stand.mock.defaults = BROKEN
        for _ in range(LIMIT):
            assert provider.breaker.state is State.CLOSED
            await check.check()
        state = provider.breaker.state
        metrics = await stand.metrics()

    assert state is State.OPEN
    assert figure(metrics, "failed") == LIMIT
    assert changes(stand) == ["upstream fails its health check"]
    (left,) = [line for line in stand.log_lines if line["msg"] == "upstream is failing, left alone"]
    assert left["why"] == "status 500"


async def test_a_check_that_passes_closes_an_open_breaker_before_its_rest_is_over():
    async with Stand() as stand:
        check, provider = check_of(stand)
        stand.mock.defaults = BROKEN
        for _ in range(LIMIT):
            await check.check()
        stand.mock.defaults = Options()
        assert provider.wait(stand.server.desk.clock()) > 0
        await check.check()
        wait = provider.wait(stand.server.desk.clock())

    assert wait == 0
    assert changes(stand)[1:] == ["upstream passes its health check again"]
    assert "upstream is alive, used again" in [line["msg"] for line in stand.log_lines]


async def test_a_check_after_the_rest_is_the_probe_and_no_request_is_risked():
    async with Stand(Options(fault="status-500")) as stand:
        check, provider = check_of(stand)
        long_ago = stand.server.desk.clock() - FIRST_REST
        for _ in range(LIMIT):
            provider.breaker.failed(long_ago)
        assert provider.breaker.wait(stand.server.desk.clock()) == 0
        await check.check()
        wait = provider.breaker.wait(stand.server.desk.clock())

    assert FIRST_REST < wait <= 2 * FIRST_REST


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 429])
async def test_whatever_is_below_500_is_alive_and_no_key_is_judged_by_it(status):
    async with Stand(Options(fault=f"status-{status}")) as stand:
        check, provider = check_of(stand)
        await check.check()

    assert provider.breaker.failures == 0
    assert provider.keys.out == 0


async def test_a_list_too_long_to_be_read_is_alive_all_the_same():
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n"
    async with Scripted(head + b"x") as provider, Stand(url=provider.url) as stand:
        check, mock = check_of(stand)
        await check.check()

    assert mock.breaker.failures == 0


async def test_silence_fails_a_check_when_its_time_is_over():
    async with Stand(Options(first_delay=60)) as stand:
        check, provider = check_of(stand, timeout=Timeout(0.01))
        await check.check()

    assert provider.breaker.failures == 1
    (line,) = [line for line in stand.log_lines if "health" in line["msg"]]
    assert line["why"] == "no whole answer in 0.01 s"


async def test_no_connection_fails_a_check():
    async with Stand(url="http://127.0.0.1:1") as stand:
        check, provider = check_of(stand)
        await check.check()

    assert provider.breaker.failures == 1


async def test_full_of_our_own_requests_says_nothing_of_an_upstream():
    more = 'max_connections = 1\ntimeouts.connect = "10ms"'
    async with Stand(Options(interval=60), upstream=more) as stand:
        client = await stand.ask()
        await stand.mock.until(lambda: stand.mock.open_streams == 1)
        check, provider = check_of(stand)
        for _ in range(LIMIT):
            provider.breaker.failed(stand.server.desk.clock() - FIRST_REST)
        await check.check()
        state = provider.breaker.state
        metrics = await stand.metrics()
        await client.close()
        await stand.mock.until(lambda: stand.mock.open_streams == 0)

    assert figure(metrics, "busy") == 1
    assert state is State.OPEN  # the next request may be the probe


async def test_checks_go_on_until_the_process_drains():
    often = 'health = { path = "/models?often", interval = "1ms" }'
    async with Stand(upstream=often) as stand:
        await stand.mock.until(lambda: len(stand.mock.requests) >= 3)
        async with serving(stand) as run:
            stand.server.leave()
            await run
        tasks = [check._task for check in stand.server._health]

    assert stand.mock.requests[0].path == "/v1/models?often"
    assert [task.cancelled() for task in tasks] == [True]


async def test_a_probe_that_is_dropped_leaves_the_next_request_to_be_it():
    async with Stand(Options(first_delay=60)) as stand:
        check, provider = check_of(stand)
        for _ in range(LIMIT):
            provider.breaker.failed(stand.server.desk.clock() - FIRST_REST)
        task = asyncio.ensure_future(check.check())
        await stand.mock.until(lambda: len(stand.mock.requests) == 1)
        assert provider.breaker.state is State.HALF_OPEN
        task.cancel()
        await asyncio.wait([task])

    assert provider.breaker.state is State.OPEN


async def test_without_the_table_nothing_is_asked_and_no_figure_shown():
    async with Stand() as stand:
        metrics = await stand.metrics()

    assert not stand.mock.requests
    assert not [name for name in metrics if "health_checks" in name]


async def test_with_it_the_figures_begin_at_zero():
    async with Stand(upstream=HOURLY) as stand:
        metrics = await stand.metrics()

    assert [figure(metrics, outcome) for outcome in ("alive", "failed", "busy")] == [0, 0, 0]
    assert UrlPath("/models") == Health().path


async def test_a_defect_in_a_check_is_logged_and_the_next_one_goes(monkeypatch):
    checked, crashes = asyncio.Event(), []
    defect = RuntimeError("a defect")

    async def check(self):
        if not crashes:
            raise defect
        checked.set()

    monkeypatch.setattr(HealthCheck, "check", check)
    async with Stand() as stand:
        monkeypatch.setattr(stand.server.desk.log, "crash", crashes.append)
        health, _ = check_of(stand, interval=Timeout(0.001))
        health.start()
        await asyncio.wait_for(checked.wait(), 20)
        health.close()

    assert crashes == [defect]
