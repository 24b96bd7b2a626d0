"""The admin listener: figures for Prometheus, health for operators, nothing for browsers."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.stand import Client, Stand


# Path, status, body.
ANSWERS = {
    "/livez": (200, b"ok\n"),
    "/healthz": (200, b"ok\n"),
    "/readyz": (200, b"ok\n"),
    "/readyz?verbose": (200, b'{"serving":true}'),
    "/readyz?exclude=a&verbose=1": (200, b'{"serving":true}'),
}


@pytest.mark.parametrize("path", ANSWERS)
async def test_a_server_that_serves_says_so(path):
    status, body = ANSWERS[path]
    async with Stand() as stand:
        client = await Client.to(stand.admin_url)
        answer = await client.ask("GET", path)
        await client.close()

    assert (answer.status, answer.body) == (status, body)
    assert answer.headers["cache-control"] == "no-store"


async def test_a_server_that_drains_lives_but_is_not_ready():
    async with Stand() as stand:
        client = await Client.to(stand.admin_url)
        stand.server._ready = False
        answers = [await client.ask("GET", path) for path in ("/livez", "/readyz")]
        verbose = await client.ask("GET", "/readyz?verbose")
        await client.close()

    assert [(a.status, a.body) for a in answers] == [(200, b"ok\n"), (503, b"not ready\n")]
    assert (verbose.status, verbose.json) == (503, {"serving": False})


async def test_the_metrics_are_what_prometheus_reads():
    async with Stand() as stand:
        await stand.chat(tokens=2)
        scrape = await Client.to(stand.admin_url)
        answer = await scrape.ask("GET", "/metrics")
        await scrape.close()

    families = {family.name for family in text_string_to_metric_families(answer.body.decode())}
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "headgate_requests" in families
    assert all(name.startswith(("headgate_", "process_")) for name in families)


@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS"])
async def test_nothing_here_can_be_written(method):
    async with Stand() as stand:
        client = await Client.to(stand.admin_url)
        answer = await client.ask(method, "/metrics")
        await client.close()

    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/", "/metrics/", "/v1/models", "/v1/chat/completions"])
async def test_other_paths_are_not_here(path):
    async with Stand() as stand:
        client = await Client.to(stand.admin_url)
        answer = await client.ask("GET", path)
        await client.close()

    assert (answer.status, answer.json["error"]["code"]) == (404, "not_found")


async def test_head_is_get_without_its_body():
    async with Stand() as stand:
        client = await Client.to(stand.admin_url)
        client.send("HEAD", "/metrics")
        status, headers = await client.head()
        answer = await client.ask("GET", "/livez")
        await client.close()

    assert status == 200
    assert int(headers["content-length"]) > 1000
    assert answer.body == b"ok\n"


# Names by which a browser can be led here when its attacker rebinds his name to loopback.
HOSTS = {
    "localhost": 200,
    "localhost:9090": 200,
    "LocalHost:9090": 200,
    "127.0.0.1": 200,
    "127.0.0.1:9090": 200,
    "[::1]": 200,
    "[::1]:9090": 200,
    "10.1.2.3:9090": 200,
    "evil.example": 421,
    "evil.example:9090": 421,
    "localhost.evil.example": 421,
    "127.0.0.1.evil.example": 421,
    "metrics:9090": 421,
}


@pytest.mark.parametrize("host", HOSTS)
async def test_only_an_address_or_our_own_name_is_answered(host):
    async with Stand() as stand:
        client = await Client.to(stand.admin_url)
        answer = await client.ask("GET", "/metrics", host=host)
        await client.close()

    assert answer.status == HOSTS[host]
    assert (b"headgate_" in answer.body) is (answer.status == 200)
