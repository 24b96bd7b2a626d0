"""The life of a process: it starts, serves, drains and stops, and leaves nothing behind."""

import asyncio
import socket
from contextlib import asynccontextmanager

import orjson
import pytest

from gateway.config import parse
from gateway.errors import BindError
from gateway.server import Server, request_ids
from gateway.systemd import Notifier
from tests.fakes import until
from tests.scripted import CHUNKED, DONE, FINISH, LAST, TEXT, Scripted, chunk
from tests.stand import Client, Stand, chat


REST = chunk(FINISH + DONE) + LAST


@asynccontextmanager
async def serving(stand: Stand):
    """Run a stand's server as `headgate serve` does; at the end it must have stopped."""
    loop = asyncio.get_running_loop()
    run = loop.create_task(stand.server.run())
    await asyncio.sleep(0)  # its signal handlers are in place
    try:
        yield run
    finally:
        stand.server.leave()
        stand.server.leave()
        await run


async def stream(stand: Stand) -> Client:
    """Return a client whose stream has begun."""
    client = await stand.open()
    client.send("POST", "/v1/chat/completions", chat())
    await client.head()
    await client.chunk()
    return client


async def rest_of(client: Client) -> bytes:
    """Return what is left of a chunked body."""
    parts = []
    while part := await client.chunk():
        parts.append(part)
    return b"".join(parts)


async def drained(stand: Stand) -> None:
    """Return when the server has begun to drain."""
    await until(lambda: stand.server.public.draining)


# Draining.


async def test_a_live_stream_finishes_while_the_server_drains():
    go = asyncio.Event()
    async with (
        Scripted(CHUNKED + chunk(TEXT), go, REST) as provider,
        Stand(url=provider.url, drain="60s") as stand,
        serving(stand) as run,
    ):
        client = await stream(stand)
        stand.server.leave()
        await drained(stand)
        go.set()
        rest = await rest_of(client)
        after = await client.reader.read()
        await run
        await client.close()

    assert rest == FINISH + DONE
    assert after == b"", "and its connection is closed"
    assert [line["msg"] for line in stand.log_lines][-3:] == ["draining", "request", "stopped"]
    assert stand.log_lines[-2]["end"] == "finished"


async def test_new_connections_are_refused_and_idle_ones_closed_while_it_drains():
    go = asyncio.Event()
    async with (
        Scripted(CHUNKED + chunk(TEXT), go, REST) as provider,
        Stand(url=provider.url, drain="60s") as stand,
        serving(stand) as run,
    ):
        fresh = await stand.open()
        kept = await stand.open()
        await kept.ask("GET", "/healthz")
        client = await stream(stand)
        stand.server.leave()
        closed = [await c.reader.read() for c in (fresh, kept)]
        with pytest.raises(ConnectionRefusedError):
            await stand.open()
        admin = await Client.to(stand.admin_url)
        health = [(await admin.ask("GET", path)).status for path in ("/readyz", "/livez")]
        go.set()
        await run
        for each in (fresh, kept, client, admin):
            await each.close()

    assert closed == [b"", b""]
    assert health == [503, 200], "whoever watches sees it drain"


async def test_every_socket_of_a_listener_closes_when_it_drains(monkeypatch):
    """A name may stand for several addresses, one socket each."""

    def two_addresses(host, port, **options):
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{n}", 0)) for n in (1, 2)
        ]

    go = asyncio.Event()
    async with Scripted(CHUNKED + chunk(TEXT), go, REST) as provider:
        stand = Stand(url=provider.url, drain="60s")
        monkeypatch.setattr("gateway.sockets.socket.getaddrinfo", two_addresses)
        async with stand, serving(stand) as run:
            monkeypatch.undo()
            addresses = stand.server.addresses["public"]
            client = await stream(stand)
            stand.server.leave()
            await drained(stand)
            for address in addresses:
                with pytest.raises(ConnectionRefusedError):
                    await Client.to(f"http://{address}")
            go.set()
            await run
            await client.close()

    assert len(addresses) == 2


async def test_an_answer_given_while_it_drains_ends_its_connection():
    go = asyncio.Event()
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
    async with (
        Scripted(go, answer) as provider,
        Stand(url=provider.url, drain="60s") as stand,
        serving(stand) as run,
    ):
        client = await stand.open()
        client.send("POST", "/v1/chat/completions", chat(stream=False))
        await provider.asked.wait()
        stand.server.leave()
        await drained(stand)
        go.set()
        got = await client.answer()
        end = await client.reader.read()
        await run
        await client.close()

    assert (got.status, got.body) == (200, b"{}")
    assert got.headers["connection"] == "close"
    assert end == b""


# The drain time is over, or a second signal came.
HURRIES = {"the time is over": "50ms", "a second signal": "600s", "no time at all": "0s"}


@pytest.mark.parametrize("drain", HURRIES.values(), ids=HURRIES.keys())
async def test_what_is_left_then_ends_honestly(drain):
    async with Stand(drain=drain) as stand, serving(stand) as run:
        streaming, waiting, whole = [await stand.open() for _ in range(3)]
        streaming.send("POST", "/v1/chat/completions", chat(fault="stall-mid", at=1))
        await streaming.head()
        await streaming.chunk()
        waiting.send("POST", "/v1/chat/completions", chat(fault="stall-first"))
        whole.send("POST", "/v1/chat/completions", chat(stream=False, fault="stall-first"))
        await stand.mock.until(lambda: stand.mock.open_streams == 3)
        stand.server.leave()
        if drain == "600s":
            await drained(stand)
            stand.server.leave()
        refusals = [await client.answer() for client in (waiting, whole)]
        event = await streaming.chunk()
        last = await streaming.chunk()
        ends = [await client.reader.read() for client in (streaming, waiting, whole)]
        await run
        for client in (streaming, waiting, whole):
            await client.close()
        await stand.mock.until(lambda: stand.mock.open_streams == 0)
        metrics = stand.server.desk.metrics.render().decode()

    for answer in refusals:
        assert answer.status == 503
        assert answer.json["error"]["code"] == "overloaded"
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["connection"] == "close"
    error = orjson.loads(event.removeprefix(b"data: "))["error"]
    assert error["code"] == "stream_interrupted"
    assert "shutting down" in error["message"]
    assert last == b"", "the chunked body is whole, and has no [DONE]"
    assert ends == [b""] * 3
    requests = [line for line in stand.log_lines if line["msg"] == "request"]
    assert sorted((line["status"], line["end"]) for line in requests) == [
        (200, "shutdown"),
        (503, "shutdown"),
        (503, "shutdown"),
    ]
    assert 'streams_ended_total{reason="shutdown"} 3.0' in metrics
    counted = [line for line in metrics.splitlines() if "upstream_errors_total{" in line]
    assert not [line for line in counted if not line.endswith(" 0.0")], "none of theirs"


async def test_a_slow_reader_gets_the_rest_of_a_stream_that_its_provider_has_ended(monkeypatch):
    monkeypatch.setattr("gateway.server.FLUSH_TIME", 0.0)
    tokens = 3_000  # 1.2 MB: more than small buffers take, less than pauses the provider
    async with Stand(drain="60s") as stand, serving(stand) as run:
        for listener in stand.server._servers["public"][0].sockets:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client = await stand.open()
        client.send("POST", "/v1/chat/completions", chat(tokens=tokens, size=200))
        await client.head()
        await until(lambda: not stand.server.desk.jobs)
        unsent = any(c._transport.get_write_buffer_size() for c in stand.server.public.connections)
        stand.server.leave()
        await drained(stand)
        rest = await rest_of(client)
        await run
        await client.close()

    assert unsent, "or nothing was tested"
    assert rest.endswith(DONE)


async def test_nothing_is_left_when_it_has_stopped():
    async with Stand() as stand, serving(stand) as run:
        client = await stand.open()
        await client.chat(tokens=1)
        stand.server.leave()
        await run
        await client.close()
        server = stand.server
        left = [
            len(server.desk.jobs),
            len(server.desk.hub),
            len(server.public.connections),
            *(len(provider.pool.idle) for provider in server.providers.values()),
        ]
        await stand.mock.until(lambda: stand.mock.connections.open == 0)

    assert left == [0, 0, 0, 0]


# Starting.


async def test_ready_is_said_when_everything_is_open():
    async with Stand() as stand:
        addresses = stand.server.addresses

    messages = [line["msg"] for line in stand.log_lines]
    assert messages[:3] == ["listening", "listening", "started"]
    shown = [(line["listener"], [line["address"]]) for line in stand.log_lines[:2]]
    assert shown == list(addresses.items())


class Manager(Notifier):
    """A notifier that remembers what systemd would have heard."""

    __slots__ = ("said",)

    def __init__(self) -> None:
        super().__init__({})
        self.said: list[str] = []

    def _send(self, *lines: str) -> None:
        self.said.append(lines[0])


async def test_the_manager_hears_ready_signs_of_life_and_stopping():
    async with Stand() as stand:
        manager = stand.server._notifier = Manager()
        stand.server._watchdog = 0.001
        stand.server._tick_watchdog()
        await until(lambda: len(manager.said) >= 3)
        async with serving(stand) as run:
            stand.server.leave()
            await run
        said = manager.said

    assert said[:3] == ["WATCHDOG=1"] * 3
    assert "STOPPING=1" in said


def config(listen: str, admin: str = "127.0.0.1:0"):
    text = f"""
        [server]
        listen = ["{listen}"]
        admin = "{admin}"
        [upstreams.u]
        base_url = "http://name.invalid/v1"
        [models."*"]
        targets = [{{ upstream = "u" }}]
    """
    return parse(text, name="t.toml", env={})


def server(stand: Stand, listen: str, admin: str = "127.0.0.1:0") -> Server:
    return Server(
        config(listen, admin),
        log=stand._log,
        loop=asyncio.get_running_loop(),
        notifier=Notifier({}),
        watchdog=None,
        inherited={},
    )


async def test_an_address_that_is_taken_is_a_bind_error_and_closes_what_was_open():
    async with Stand() as stand:
        second = server(stand, "127.0.0.1:0", admin=f"127.0.0.1:{stand.port}")
        with pytest.raises(BindError, match=f"cannot listen on 127.0.0.1:{stand.port}"):
            await second.start()
        opened = second.addresses["public"]
        second.close()
        with pytest.raises(ConnectionRefusedError):
            await Client.to(f"http://{opened[0]}")


async def test_an_upstream_whose_name_is_unknown_is_a_warning_and_not_the_end(monkeypatch):
    async with Stand() as stand:
        other = server(stand, "127.0.0.1:0")

        async def lookup(host: str):
            raise socket.gaierror(-2, "Name or service not known")

        monkeypatch.setattr(other._resolver, "_lookup", lookup)
        await other.start()
        client = await Client.to("http://" + other.addresses["public"][0])
        healthy = await client.ask("GET", "/healthz")
        answer = await client.chat()
        await client.close()
        other.close()
        await other.public.connections.empty()

    assert healthy.status == 200
    assert answer.status == 502
    warnings = [line for line in stand.log_lines if line["level"] == "warning"]
    assert warnings[0]["upstream"] == "u"


async def test_a_unix_socket_serves_as_any_other(tmp_path):
    path = tmp_path / "http.sock"
    async with Stand() as stand:
        other = server(stand, f"unix:{path}")
        await other.start()
        client = Client(*await asyncio.open_unix_connection(str(path)))
        answer = await client.ask("GET", "/healthz")
        await client.close()
        await other.public.connections.empty()
        other.close()

    assert answer.body == b"ok\n"


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
        await until(lambda: not stand.server.desk.jobs and not stand.server.public.connections)
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
