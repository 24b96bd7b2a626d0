"""Client libraries that are not ours, each in a process of its own: what their users see.

Those of node are installed by `make clients`.  A test holds the provider's answer where it
wants it, and waits for a client's own word before it goes on.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import pytest

from gateway.mock import Options, words
from tests import npm
from tests.clients.judge import (
    Client,
    arguments,
    entries,
    errors,
    finishes,
    lost,
    text,
)  # fmt: skip
from tests.clients.stage import (
    ASKED,
    CHAT,
    FIRST,
    REST,
    RESUMABLE,
    SECOND,
    begin,
    event,
    generation,
    half_told,
    kill,
    said,
    stop,
    write,
)  # fmt: skip
from tests.fakes import until, wind_by_hand
from tests.scripted import DONE, FINISH, LAST, chunk
from tests.stand import Stand


Job = tuple[str, str, dict[str, Any]]  # script, address, what else it must know


def posted(url: str) -> tuple[str, dict[str, Any]]:
    return url + CHAT, {"body": ASKED, "headers": RESUMABLE}


def of_a_page(url: str) -> str:
    messages = json.dumps(ASKED["messages"])
    return f"{url}{CHAT}/stream?" + urlencode({"model": ASKED["model"], "messages": messages})


def websocket(url: str) -> str:
    return url.replace("http:", "ws:")


# Who asks for a generation and reads it at once.  The address of the gateway → a job.
ASKERS: dict[str, Callable[[str], Job]] = {
    "openai": lambda url: ("openai.mjs", url + "/v1", {"body": ASKED}),
    "fetch-event-source": lambda url: ("fetch-event-source.mjs", *posted(url)),
    "EventSource of a chat": lambda url: ("eventsource.mjs", of_a_page(url), {}),
    "ws of a chat": lambda url: (
        "chat-websocket.mjs", websocket(url) + "/v1/ws/chat", {"body": ASKED}
    ),
    "httpx-sse of a chat": lambda url: ("sse_httpx.py", *posted(url)),
}  # fmt: skip
# Who reads the log of one.  The address of the log → a job.
READERS: dict[str, Callable[[str], Job]] = {
    "EventSource": lambda url: ("eventsource.mjs", url, {}),
    "Durable Streams, SSE": lambda url: ("durable.mjs", url, {"live": "sse"}),
    "Durable Streams, long poll": lambda url: ("durable.mjs", url, {"live": "long-poll"}),
    "ws": lambda url: ("websocket.mjs", websocket(url), {}),
    "httpx-sse": lambda url: ("sse_httpx.py", url, {}),
    "websockets": lambda url: ("ws_websockets.py", websocket(url), {}),
}


NODE = pytest.mark.skipif(
    not npm.installed("clients"), reason=npm.missing() or "no packages of node: make clients"
)


def of_node(name: str) -> bool:
    script, *_ = {**ASKERS, **READERS}[name]("")
    return script.endswith(".mjs")


def each(*names: str) -> pytest.MarkDecorator:
    """Run a test for each of these clients; those of node only where they are installed."""
    marked = [pytest.param(name, marks=[NODE] if of_node(name) else []) for name in names]
    return pytest.mark.parametrize("name", marked)


all_clients = each(*ASKERS, *READERS)
readers = each(*READERS)
# The SDK reads an answer once.
resuming = each(*(name for name in [*ASKERS, *READERS] if name != "openai"))


@asynccontextmanager
async def reading(stand: Stand, name: str) -> AsyncIterator[Client]:
    """Start a client on a generation: its own, or one that is asked for here."""
    job = ASKERS[name](stand.url) if name in ASKERS else READERS[name](await begin(stand))
    async with running(job) as client:
        yield client


def running(job: Job) -> Client:
    script, url, more = job
    if script.endswith(".py"):
        command = [sys.executable, "-m", "tests.clients." + script.removesuffix(".py")]
    else:
        command = ["node", str(npm.beside("clients") / script)]
    return Client([*command, url, json.dumps(more)])


# The whole answer.

UNICODE = Options(text="unicode")
TEXT = "".join(words.tokens(UNICODE))


@all_clients
async def test_every_character_arrives_and_the_end_is_the_end(name):
    async with Stand(UNICODE) as stand, reading(stand, name) as client:
        end = await client.end()

    assert text(client.lines) == TEXT
    assert finishes(client.lines) == ["stop"]
    assert end["end"] == "closed"
    assert len(stand.mock.requests) == 1


@all_clients
async def test_tool_calls_come_together_from_their_fragments(name):
    calls = Options(tools=2)
    async with Stand(calls) as stand, reading(stand, name) as client:
        await client.end()

    assert arguments(client.lines) == [words.arguments(i, calls) for i in range(2)]
    assert finishes(client.lines) == ["tool_calls"]


# An answer that stops in the middle until the test says more.


@asynccontextmanager
async def halfway(
    name: str, rest: bytes = REST, **more: Any
) -> AsyncIterator[tuple[Stand, Client, asyncio.Event]]:
    """Run a client up to the first half of an answer; the rest comes with the event."""
    async with half_told(rest, **more) as (stand, go), reading(stand, name) as client:
        await seen(client, stand)
        yield stand, client, go


async def seen(client: Client, stand: Stand, id: str = "") -> None:
    """Wait until the client has the first half, and is there for the second."""
    await client.until(FIRST)
    # The client of Durable Streams asks twice: for what there is, then for what comes.
    live = stand.server.desk.hub.find(id) or generation(stand)
    await until(lambda: live.readers)


@resuming
async def test_a_lost_connection_loses_nothing_and_doubles_nothing(name):
    async with halfway(name) as (stand, client, go):
        kill(stand)
        go.set()
        end = await client.end()

    assert text(client.lines) == FIRST + SECOND
    assert finishes(client.lines) == ["stop"]
    assert end["end"] == "closed"
    assert lost(client.lines) or name.startswith("Durable")  # which tells only of some


@each("fetch-event-source", "httpx-sse of a chat", "EventSource of a chat", "ws of a chat")
async def test_who_is_lost_before_the_first_word_does_not_ask_a_second_time(name):
    whole = event(FIRST) + REST
    async with half_told(whole, first=b"") as (stand, go), reading(stand, name) as client:
        if name in ("EventSource of a chat", "ws of a chat"):
            await client.hear("start")
        await until(lambda: stand.server.desk.jobs and generation(stand).readers)
        kill(stand)
        go.set()
        await client.end()

    assert text(client.lines) == FIRST + SECOND
    assert len([line for line in stand.log_lines if line.get("upstream")]) == 1


@resuming
async def test_who_is_lost_between_the_last_word_and_the_end_is_told_the_end(name):
    all_but_the_end = event(FIRST) + chunk(FINISH)
    async with halfway(name, chunk(DONE) + LAST, first=all_but_the_end) as (stand, client, go):
        kill(stand)
        go.set()
        end = await client.end()

    assert text(client.lines) == FIRST
    assert finishes(client.lines)[-1:] == ["stop"]
    assert end["end"] == "closed"


@all_clients
async def test_a_stop_is_an_end(name):
    async with halfway(name) as (stand, client, _):
        answer = await stop(stand)
        end = await client.end()

    assert answer["state"] == "cancelled"
    assert text(client.lines) == FIRST
    assert finishes(client.lines) == ["stop"]
    assert errors(client.lines) == []
    assert end["end"] == "closed"


@all_clients
async def test_an_answer_that_breaks_is_an_error_and_no_end(name):
    async with halfway(name, b"", closes=True) as (_, client, go):
        go.set()
        end = await client.end()

    assert text(client.lines) == FIRST
    assert finishes(client.lines) == []
    told = [end] if name == "openai" else errors(client.lines)
    assert [error["code"] for error in told] == ["stream_interrupted"]
    assert end["end"] == ("APIError" if name == "openai" else "closed")


# Silence.


@all_clients
async def test_heartbeats_are_not_seen(name):
    async with half_told() as (stand, go):
        loop = wind_by_hand(stand.server)
        async with reading(stand, name) as client:
            await seen(client, stand)
            for _ in range(50):  # past three heartbeats, short of every limit
                loop.wind(1)
            go.set()
            await client.end()

    assert text(client.lines) == FIRST + SECOND
    assert lost(client.lines) <= 1  # at the end, where an EventSource hears that it is one
    datas = [line["data"] for line in client.lines if "data" in line]
    assert all(data == "[DONE]" or isinstance(data, dict) for data in datas)


# Several readers.


@NODE
async def test_two_tabs_and_other_readers_see_the_same():
    names = ["EventSource", *READERS]
    async with half_told() as (stand, go), AsyncExitStack() as stack:
        url = await begin(stand)
        clients = [await stack.enter_async_context(running(READERS[n](url))) for n in names]
        for client in clients:
            await client.until(FIRST)
        go.set()
        for client in clients:
            await client.end()

    one, two, *others = [client.lines for client in clients]
    assert entries(one) == entries(two)
    for lines in others:
        assert [data for _, data in entries(lines)] == [data for _, data in entries(one)]


@readers
async def test_another_kind_of_client_goes_on_where_one_was(name):
    async with half_told() as (stand, go):
        url = await begin(stand)
        async with running(READERS["httpx-sse"](url)) as client:
            await client.until(FIRST)
        script, address, job = READERS[name](url)
        offset = client.lines[-1]["id"]
        # An EventSource has nothing but its URL.
        address += f"?offset={offset}" if script == "eventsource.mjs" else ""
        async with running((script, address, {**job, "offset": offset})) as other:
            go.set()
            await other.end()

    assert text(other.lines) == SECOND
    assert finishes(other.lines) == ["stop"]


# Channels.


@readers
async def test_a_channel_is_followed_over_a_lost_connection(name):
    async with Stand() as stand:
        url = await write(stand)
        await write(stand, said(FIRST))
        async with running(READERS[name](url)) as client:
            await seen(client, stand, "news")
            kill(stand)
            await write(stand, said(SECOND), stream_closed="true")
            end = await client.end()

    assert text(client.lines) == FIRST + SECOND
    assert end["end"] == "closed"


@NODE
async def test_the_client_of_durable_streams_writes_a_channel_and_reads_it():
    async with Stand() as stand:
        url = stand.url + "/v1/stream/log"
        async with running(("durable-writer.mjs", url, {"entries": 50})) as writer:
            await writer.end()

    assert writer.lines[0] == {"end": "closed", "read": [{"n": n} for n in range(50)]}


# Keys.

KEYS = """
[[keys]]
key = "sk-alice-0123456789"
subject = "alice"
"""


@NODE
async def test_a_page_whose_ticket_is_spent_comes_back_with_another():
    async with half_told(more=KEYS) as (stand, go):
        async with running(("eventsource.mjs", await ticketed(stand), {})) as client:
            await seen(client, stand)
            kill(stand)
            end = await client.end()
        last = [line["id"] for line in client.lines if "id" in line][-1]
        url = await ticketed(stand) + f"&last_event_id={last}"
        async with running(("eventsource.mjs", url, {})) as again:
            go.set()
            await again.end()

    assert end == {"end": "closed", "status": 401}
    assert text(client.lines) + text(again.lines) == FIRST + SECOND
    assert finishes(again.lines) == ["stop"]


async def ticketed(stand: Stand) -> str:
    """Return the URL for a page's EventSource, with a ticket in it."""
    client = await stand.open()
    wish = {"opens": CHAT + "/stream"}
    answer = await client.ask("POST", "/v1/tickets", wish, x_api_key="sk-alice-0123456789")
    await client.close()
    return f"{of_a_page(stand.url)}&ticket={answer.json['ticket']}"
