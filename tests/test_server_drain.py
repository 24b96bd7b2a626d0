"""The end of a process: what is live finishes, or ends honestly, and nothing is left."""

import asyncio
import re
import socket

import orjson
import pytest

from tests.fakes import until
from tests.scripted import CHUNKED, DONE, FINISH, LAST, TEXT, Scripted, chunk
from tests.stand import Client, Stand, chat, serving


REST = chunk(FINISH + DONE) + LAST


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
    await until(lambda: stand.server.public.host.draining)


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


async def test_the_readers_of_a_channel_are_sent_away_before_the_drain_is_over():
    async with Stand(drain="60s") as stand, serving(stand) as run:
        client = await stand.open()
        json = {"content_type": "application/json"}
        await client.ask("PUT", "/v1/stream/news", None, **json)
        await client.ask("POST", "/v1/stream/news", {"n": 1}, **json)
        await client.close()
        page, polling = await stand.open(), await stand.open()
        page.send("GET", "/v1/stream/news", None, {"accept": "text/event-stream"})
        await page.head()
        polling.send("GET", "/v1/stream/news?live=long-poll&offset=now")
        live = stand.server.desk.hub.find("news")
        await until(lambda: len(live.readers) == 2)
        stand.server.leave()
        seen = b""
        while part := await page.chunk():
            seen += part
        polled = await polling.answer()
        await run
        for one in (page, polling):
            await one.close()

    assert re.fullmatch(rb"retry: [1-5][0-9]{3}", seen.strip().split(b"\n")[-1])
    assert b"streamClosed" not in seen
    assert polled.status == 204


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
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{n}", 0)) for n in (1, 2)]

    go = asyncio.Event()
    async with Scripted(CHUNKED + chunk(TEXT), go, REST) as provider:
        stand = Stand(url=provider.url, drain="60s")
        monkeypatch.setattr("gateway.sockets.socket.getaddrinfo", two_addresses)
        async with stand, serving(stand) as run:
            monkeypatch.undo()
            addresses = stand.server.public.addresses
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
        for listener in stand.server.public._servers[0].sockets:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client = await stand.open()
        client.send("POST", "/v1/chat/completions", chat(tokens=tokens, size=200))
        await client.head()
        await until(lambda: not stand.server.desk.jobs)
        connections = stand.server.public.host.connections
        unsent = any(c._transport.get_write_buffer_size() for c in connections)
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
            len(server.public.host.connections),
            *(len(provider.pool.idle) for provider in server.providers.values()),
        ]
        await stand.mock.until(lambda: stand.mock.connections.open == 0)

    assert left == [0, 0, 0, 0]
