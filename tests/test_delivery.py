"""The books of a stream close when its client has everything, not when its provider is done."""

import asyncio
import socket

from gateway import server
from gateway.eventlog import State
from tests.fakes import until
from tests.stand import Client, Stand, chat


# Events that a provider can say at once, and a client's kernel cannot hold.
MANY = 18_000


async def slow(stand: Stand) -> Client:
    """Return a client whose kernel takes little: else it would grow to take all, some day."""
    client = await stand.open()
    taken = client.writer.get_extra_info("socket")
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    return client


async def test_a_slow_client_that_leaves_before_it_has_everything_is_a_disconnect():
    async with Stand() as stand:
        client = await slow(stand)
        client.send("POST", "/v1/chat/completions", chat(tokens=MANY, text="tokens"))
        await stand.mock.until(lambda: stand.mock.requests and not stand.mock.open_streams, 20)
        await until(lambda: not stand.server.desk.jobs)
        amid = await stand.metrics()
        client.writer.transport.abort()
        await stand.server.public.host.connections.empty()
        after = await stand.metrics()

    lines = [line for line in stand.log_lines if line["msg"] == "request"]
    assert [(line["end"], line["status"]) for line in lines] == [("disconnect", 200)]
    active = 'headgate_streams_active{transport="sse"}'
    assert (amid[active], after[active]) == (1, 0)
    assert after['headgate_client_disconnects_total{phase="streaming"}'] == 1
    assert after[f'headgate_streams_ended_total{{reason="{State.FINISHED.value}"}}'] == 0


async def test_a_slow_client_that_reads_on_gets_everything_and_is_counted_once():
    async with Stand() as stand:
        client = await stand.open()
        client.send("POST", "/v1/chat/completions", chat(tokens=MANY, text="tokens"))
        await stand.mock.until(lambda: stand.mock.requests and not stand.mock.open_streams, 20)
        answer = await client.answer()
        await until(lambda: not stand.server.desk.jobs)
        await client.close()
        metrics = await stand.metrics()

    assert answer.events[-1] == "[DONE]"
    assert len(answer.events) == MANY + 3  # the role, the finish, [DONE]
    lines = [line for line in stand.log_lines if line["msg"] == "request"]
    assert [line["end"] for line in lines] == ["finished"]
    assert metrics['headgate_streams_active{transport="sse"}'] == 0


async def test_a_slow_client_that_the_end_of_the_process_cuts_has_its_line_before_that(monkeypatch):
    monkeypatch.setattr(server, "FLUSH_TIME", 0.05)
    async with Stand(drain="0s") as stand:
        running = asyncio.ensure_future(stand.server.run())
        client = await slow(stand)
        client.send("POST", "/v1/chat/completions", chat(tokens=MANY, text="tokens"))
        await stand.mock.until(lambda: stand.mock.requests and not stand.mock.open_streams, 20)
        await until(lambda: not stand.server.desk.jobs)
        stand.server.leave()
        await running
        left = len(stand.server.public.host.connections)
        client.writer.transport.abort()

    assert left == 0
    lines = [line["msg"] for line in stand.log_lines]
    assert lines.index("request") < lines.index("stopped")


async def test_what_a_client_took_its_time_for_is_in_the_duration_of_its_request():
    async with Stand() as stand:
        desk = stand.server.desk
        client = await slow(stand)
        client.send("POST", "/v1/chat/completions", chat(tokens=MANY, text="tokens"))
        await stand.mock.until(lambda: stand.mock.requests and not stand.mock.open_streams, 20)
        await until(lambda: not desk.jobs)
        clock = desk.clock
        desk.clock = lambda: clock() + 1000
        client.writer.transport.abort()
        await stand.server.public.host.connections.empty()
        desk.ledger.settle()

    (line,) = [line for line in stand.log_lines if line["msg"] == "request"]
    assert 1_000_000 <= line["duration_ms"] < 1_100_000


async def test_lines_stand_in_the_order_in_which_requests_ended():
    async with Stand() as stand:
        client = await stand.open()
        await client.chat(stream=True, tokens=2)
        await client.ask("GET", "/v1/models")
        await client.chat(stream=False, tokens=2)
        client.writer.write(b"GET / / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert (await client.answer()).status == 400
        await client.close()

    lines = [line for line in stand.log_lines if line["msg"] == "request"]
    assert [line["status"] for line in lines] == [200, 200, 200, 400]
    assert [line["method"] for line in lines[:3]] == ["POST", "GET", "POST"]


async def test_a_web_page_is_not_an_answer():
    async with Stand() as stand:
        answer = await stand.chat(stream=False, fault="html")

    assert answer.status == 502
    assert answer.json["error"]["code"] == "upstream_protocol_error"
