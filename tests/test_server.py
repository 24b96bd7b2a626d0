"""The life of a process: it starts, says so, serves, and closes."""

import asyncio
import socket
from types import MappingProxyType

import pytest

from gateway.addresses import Tcp
from gateway.config import parse
from gateway.errors import BindError, ConfigError
from gateway.server import Server, request_ids
from gateway.sockets import Inherited, open_listener
from gateway.systemd import Notifier
from tests.fakes import FakeNotifier, until
from tests.stand import Client, Stand, chat


# Starting.


async def test_ready_is_said_when_everything_is_open():
    async with Stand() as stand:
        listeners = {"public": stand.server.public, "admin": stand.server.admin}

    messages = [line["msg"] for line in stand.log_lines]
    assert messages[:3] == ["listening", "listening", "started"]
    shown = [(line["listener"], [line["address"]]) for line in stand.log_lines[:2]]
    assert shown == [(name, listener.addresses) for name, listener in listeners.items()]


def config(listen: str, admin: str = "127.0.0.1:0", keys: str = ""):
    text = f"""
        [server]
        listen = ["{listen}"]
        admin = "{admin}"
        [upstreams.u]
        base_url = "http://name.invalid/v1"
        [models."*"]
        targets = [{{ upstream = "u" }}]
        {keys}
    """
    return parse(text, name="t.toml", env={})


def server(
    stand: Stand,
    listen: str,
    admin: str = "127.0.0.1:0",
    keys: str = "",
    inherited: Inherited = MappingProxyType({}),
    notifier: Notifier | None = None,
    watchdog: float | None = None,
) -> Server:
    return Server(
        config(listen, admin, keys),
        log=stand._log,
        loop=asyncio.get_running_loop(),
        notifier=notifier or Notifier({}),
        watchdog=watchdog,
        inherited=inherited,
    )


async def test_the_manager_hears_ready_signs_of_life_and_stopping():
    manager = FakeNotifier()
    async with Stand() as stand:
        watched = server(stand, "127.0.0.1:0", notifier=manager, watchdog=0.001)
        await watched.start()
        await until(lambda: len(manager.said) >= 4)
        watched.leave()
        await watched.run()

    assert manager.said[:4] == ["WATCHDOG=1", "READY=1", "WATCHDOG=1", "WATCHDOG=1"]
    assert "STOPPING=1" in manager.said


async def test_an_address_that_is_taken_is_a_bind_error_and_closes_what_was_open():
    async with Stand() as stand:
        second = server(stand, "127.0.0.1:0", admin=f"127.0.0.1:{stand.port}")
        with pytest.raises(BindError, match=f"cannot listen on 127.0.0.1:{stand.port}"):
            await second.start()
        opened = second.public.addresses
        second.close()
        with pytest.raises(ConnectionRefusedError):
            await Client.to(f"http://{opened[0]}")


KEYS = """
    [[keys]]
    key = "caller-canary-0001"
    subject = "web"
"""


async def test_a_socket_of_systemd_that_others_reach_is_served_only_with_keys():
    (sock,) = open_listener(Tcp("0.0.0.0", 0), {})
    async with Stand() as stand:
        stranger = server(stand, "systemd:public", inherited={"public": [sock]})
        with pytest.raises(ConfigError, match="no caller needs a key"):
            await stranger.start()
        stranger.close()
        assert stranger.public.addresses == []

        known = server(stand, "systemd:public", keys=KEYS, inherited={"public": [sock]})
        await known.start()
        known.close()

    assert known.public.addresses[0].startswith("0.0.0.0:")


async def test_an_upstream_whose_name_is_unknown_is_a_warning_and_not_the_end(monkeypatch):
    async with Stand() as stand:
        other = server(stand, "127.0.0.1:0")

        async def lookup(host: str):
            raise socket.gaierror(-2, "Name or service not known")

        monkeypatch.setattr(other._resolver, "_lookup", lookup)
        await other.start()
        client = await Client.to("http://" + other.public.addresses[0])
        healthy = await client.ask("GET", "/healthz")
        answer = await client.chat()
        await client.close()
        other.close()
        await other.public.host.connections.empty()

    assert healthy.status == 200
    assert answer.status == 502
    warning = next(line for line in stand.log_lines if line["level"] == "warning")
    assert warning["upstream"] == "u"
    assert "name.invalid" in warning["msg"]


async def test_a_unix_socket_serves_as_any_other(tmp_path):
    path = tmp_path / "http.sock"
    async with Stand() as stand:
        other = server(stand, f"unix:{path}")
        await other.start()
        client = Client(*await asyncio.open_unix_connection(str(path)))
        answer = await client.ask("GET", "/healthz")
        await client.close()
        await other.public.host.connections.empty()
        other.close()

    assert answer.body == b"ok\n"


async def test_closing_drops_every_connection_of_both_listeners():
    async with Stand() as stand:
        idle, scraping = await stand.open(), await Client.to(stand.admin_url)
        for client in (idle, scraping):
            await client.ask("GET", "/healthz")
        stand.server.close()
        ends = [await client.reader.read() for client in (idle, scraping)]
        for client in (idle, scraping):
            await client.close()

    assert ends == [b"", b""]


async def test_closing_twice_is_closing_once():
    async with Stand() as stand:
        stand.server.close()
        stand.server.close()


# What the gauges read.


async def test_gauges_follow_connections_and_pools():
    async with Stand() as stand:
        client = await stand.open()
        client.send("POST", "/v1/chat/completions", chat(fault="stall-mid"))
        await client.head()
        during = await stand.metrics()
        await client.close()
        await until(lambda: not stand.server.desk.jobs and not stand.server.public.host.connections)
        after = await stand.metrics()

    names = [
        'headgate_connections_open{listener="public"}',
        'headgate_pool_connections{state="active",upstream="mock"}',
        'headgate_streams_active{transport="sse"}',
    ]
    assert [during[name] for name in names] == [1, 1, 1]
    assert [after[name] for name in names] == [0, 0, 0]
    assert during["headgate_loop_lag_seconds"] < 1


async def test_requests_that_reached_no_route_are_counted_and_logged():
    async with Stand() as stand:
        client = await stand.open()
        client.writer.write(b"GET / HTTP/1.1\r\nbad field\r\n\r\n")
        answer = await client.answer()
        await client.close()
        metrics = await stand.metrics()

    line = stand.log_lines[-1]
    assert answer.status == 400
    assert metrics['headgate_http_rejects_total{status="400"}'] == 1
    assert (line["status"], line["client"], line["level"]) == (400, "127.0.0.1", "info")


def test_request_ids_are_unlike_those_of_any_other_process():
    ours, theirs = request_ids(), request_ids()
    made = [next_id() for next_id in (ours, theirs) for _ in range(100)]
    assert len(set(made)) == 200
    assert all(id.startswith("req_") and id.isascii() and len(id) == 28 for id in made)
