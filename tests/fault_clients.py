"""What each kind of client sees of one answer, told in the same words.

A client reads to the end of what it is given, believes nothing, and never repeats.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlencode

import orjson
from websockets.asyncio.client import connect

from tests.stand import Answer, Client


CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
TAIL = "/v1/stream/{id}"  # as metrics have it


class Wish(NamedTuple):
    """What is asked for."""

    model: str
    said: str = "hello"
    limit: int = 99  # of tokens

    def body(self, **more: object) -> dict[str, object]:
        """Return the request, which in two dialects is the same."""
        messages = [{"role": "user", "content": self.said}]
        return {"model": self.model, "max_tokens": self.limit, "messages": messages, **more}


class Where(Protocol):
    """A gateway on this machine."""

    @property
    def port(self) -> int: ...

    async def open(self) -> Client:
        """Connect."""


class Seen(NamedTuple):
    """What came of one request."""

    status: int  # of the answer; 0 where there was none, since the stream itself says it
    text: str
    error: dict[str, Any] | None = None  # the error object, if one was told
    finished: bool = False  # it was said that the answer is complete


Ask = Callable[[Where, Wish], Awaitable[Seen]]


class Kind(NamedTuple):
    """One kind of client, and how the gateway accounts for it."""

    ask: Ask
    dialect: str = "openai"  # of what it speaks
    streams: bool = True
    route: str = CHAT  # of its request, in log and metrics
    # What is logged where the request failed before its first event; None: the true status.
    status: int | None = None
    # Statuses of its further requests, those that read the log; None: as it takes; their route.
    reads: tuple[int, ...] | None = ()
    reading: str = TAIL


# By POST.


async def posted(gateway: Where, wish: Wish) -> Seen:
    """OpenAI's SDK."""
    answer = await _post(gateway, CHAT, wish)
    if answer.status != 200:
        return Seen(answer.status, "", answer.json["error"])
    return told(answer.status, (event for _, event in blocks(answer.body)))


async def messages(gateway: Where, wish: Wish) -> Seen:
    """Anthropic's SDK."""
    answer = await _post(gateway, "/v1/messages", wish)
    if answer.status != 200:
        return Seen(answer.status, "", answer.json["error"])
    text, error, names = "", None, []
    for name, event in blocks(answer.body):
        if not name:
            continue  # as SDKs do
        said = read(event)
        assert said["type"] == name, "or SDKs would not know it"
        names.append(name)
        text += said.get("delta", {}).get("text", "")
        error = said.get("error", error)
    assert "error" not in names[:-1], "it is the last"
    return Seen(200, text, error, names[-1] == "message_stop")


async def responses(gateway: Where, wish: Wish) -> Seen:
    """OpenAI's SDK, of the Responses API."""
    answer = await _post(gateway, RESPONSES, wish)
    if answer.status != 200:
        return Seen(answer.status, "", answer.json["error"])
    text, said = "", {}
    for number, (name, event) in enumerate(found for found in blocks(answer.body) if found[0]):
        said = read(event)
        assert (said["type"], said["sequence_number"]) == (name, number)
        text += said["delta"] if name == "response.output_text.delta" else ""
    error = said["response"]["error"] if said["type"] == "response.failed" else None
    error = said if said["type"] == "error" else error
    return Seen(200, text, error, said["type"] in ("response.completed", "response.incomplete"))


async def whole_response(gateway: Where, wish: Wish) -> Seen:
    """OpenAI's SDK, of the Responses API, not streaming."""
    answer = await _post(gateway, RESPONSES, wish, stream=False)
    if answer.status != 200:
        return Seen(answer.status, "", answer.json["error"])
    (item,) = answer.json["output"]
    return Seen(200, item["content"][0]["text"], None, answer.json["status"] != "failed")


async def whole(gateway: Where, wish: Wish) -> Seen:
    """OpenAI's SDK, not streaming."""
    answer = await _post(gateway, CHAT, wish, stream=False)
    if answer.status != 200:
        return Seen(answer.status, "", answer.json["error"])
    (choice,) = answer.json["choices"]
    return Seen(200, choice["message"]["content"], None, bool(choice["finish_reason"]))


async def whole_message(gateway: Where, wish: Wish) -> Seen:
    """Anthropic's SDK, not streaming."""
    answer = await _post(gateway, "/v1/messages", wish, stream=False)
    if answer.status != 200:
        assert answer.json["type"] == "error"
        return Seen(answer.status, "", answer.json["error"])
    (block,) = answer.json["content"]
    return Seen(200, block["text"], None, bool(answer.json["stop_reason"]))


async def _post(gateway: Where, path: str, wish: Wish, *, stream: bool = True) -> Answer:
    client = await gateway.open()
    body = wish.body(stream=stream)
    if path == RESPONSES:
        body = {
            "model": wish.model, "stream": stream,
            "input": wish.said, "max_output_tokens": wish.limit,
        }  # fmt: skip
    answer = await client.ask("POST", path, body)
    await client.close()
    return answer


# By EventSource.


async def event_source(gateway: Where, wish: Wish) -> Seen:
    """A page that opens an EventSource; at its end it comes back, and must be told to stop."""
    client = await gateway.open()
    asked = {name: v if isinstance(v, str) else dumps(v) for name, v in wish.body().items()}
    place = f"{CHAT}/stream?{urlencode(asked)}"
    answer = await client.ask("GET", place, accept="text/event-stream")
    assert answer.status == 200
    text, error, names = "", None, []
    for name, event in blocks(answer.body):
        names.append(name)
        said = read(event)
        text += said.get("content", "") if name == "chunk" else ""
        error = said["error"] if name == "failed" else error
    last = answer.body.rpartition(b"\nid: ")[2].partition(b"\n")[0].decode()
    again = await client.ask("GET", place, last_event_id=last)
    assert again.status == 204, "or it would ask for ever, and each would be paid for"
    await client.close()
    return Seen(0, text, error, names[-2:] == ["done", ""])


# Asked for with respond-async, and read elsewhere.


async def _begun(client: Client, wish: Wish) -> str:
    answer = await client.ask("POST", CHAT, wish.body(), prefer="respond-async")
    assert answer.status == 202
    return answer.headers["location"]


async def durable(gateway: Where, wish: Wish) -> Seen:
    """A client of Durable Streams, by server-sent events."""
    client = await gateway.open()
    place = await _begun(client, wish)
    answer = await client.ask("GET", f"{place}?live=sse&offset=-1")
    await client.close()
    found = list(blocks(answer.body))
    assert read(found[-1][1])["streamClosed"] is True
    return told(0, (entry for name, data in found if name == "data" for entry in _entries(data)))


async def long_poll(gateway: Where, wish: Wish) -> Seen:
    """A client of Durable Streams, one long poll after the other."""
    client = await gateway.open()
    place = await _begun(client, wish)
    said, offset, closed = [], "-1", False
    while not closed:
        answer = await client.ask("GET", f"{place}?live=long-poll&offset={offset}")
        said += _entries(answer.body) if answer.body else []
        offset = answer.headers["stream-next-offset"]
        closed = answer.headers.get("stream-closed") == "true"
    await client.close()
    return told(0, said)


async def tail(gateway: Where, wish: Wish) -> Seen:
    """A page that opens an EventSource on the log."""
    client = await gateway.open()
    place = await _begun(client, wish)
    answer = await client.ask("GET", place, accept="text/event-stream")
    await client.close()
    found = list(blocks(answer.body))
    assert read(found[-1][1])["streamClosed"] is True
    return told(0, (data for name, data in found if name != "control"))


async def socket_tail(gateway: Where, wish: Wish) -> Seen:
    """A WebSocket on the log."""
    client = await gateway.open()
    place = await _begun(client, wish)
    await client.close()
    said: list[str] = []
    async with connect(f"ws://127.0.0.1:{gateway.port}{place}?live=websocket&offset=-1") as ws:
        while True:
            frame = orjson.loads(await ws.recv())
            if frame.get("event") != "control":
                data = frame["data"]
                said.append(data if isinstance(data, str) else dumps(data))
            elif frame["data"].get("streamClosed"):
                return told(0, said)


async def socket_chat(gateway: Where, wish: Wish) -> Seen:
    """A chat on a WebSocket."""
    async with connect(f"ws://127.0.0.1:{gateway.port}/v1/ws/chat") as ws:
        await ws.send(dumps(wish.body(type="chat")))
        text = ""
        while True:
            frame = orjson.loads(await ws.recv())
            text += frame["content"] if frame["type"] == "chunk" else ""
            if frame["type"] in ("done", "error"):
                return Seen(0, text, frame.get("error"), frame["type"] == "done")


KINDS = {
    "sse": Kind(posted),
    "messages": Kind(messages, "anthropic", route="/v1/messages"),
    "responses": Kind(responses, "responses", route=RESPONSES),
    "unary": Kind(whole, streams=False),
    "unary message": Kind(whole_message, "anthropic", streams=False, route="/v1/messages"),
    "unary response": Kind(whole_response, "responses", streams=False, route=RESPONSES),
    "eventsource": Kind(
        event_source, route=f"{CHAT}/stream", status=200, reads=(204,), reading=f"{CHAT}/stream"
    ),
    "durable": Kind(durable, status=202, reads=(200,)),
    "long poll": Kind(long_poll, status=202, reads=None),
    "tail": Kind(tail, status=202, reads=(200,)),
    "websocket": Kind(
        socket_chat, route="/v1/ws/chat", reads=(101,), reading="/v1/ws/chat"
    ),
    "websocket tail": Kind(socket_tail, status=202, reads=(101,)),
}


# Reading.


def blocks(body: bytes) -> Iterable[tuple[str, str]]:
    """Yield name and data of each block of an event stream that has data."""
    for block in body.decode(errors="replace").split("\n\n"):
        lines = [line.partition(":")[::2] for line in block.split("\n") if line]
        fields = [(name, value.removeprefix(" ")) for name, value in lines]
        data = [value for name, value in fields if name == "data"]
        if data:
            names = [value for name, value in fields if name == "event"]
            yield "".join(names[-1:]), "\n".join(data)


def dumps(said: object) -> str:
    """Return JSON."""
    return orjson.dumps(said).decode()


def read(data: str) -> dict[str, Any]:
    """Return the object in an event's data; {} if it is none."""
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _entries(data: str | bytes) -> list[str]:
    return [e if isinstance(e, str) else dumps(e) for e in orjson.loads(data)]


def told(status: int, events: Iterable[str]) -> Seen:
    """Return what events of OpenAI's come to; without a status `[DONE]` is not among them."""
    text, error, finish, events = "", None, False, list(events)
    for event in events:
        assert error is None, "an error is the last"
        said = read(event)
        error = said.get("error")
        for choice in said.get("choices") or ():
            text += choice["delta"].get("content") or ""
            finish = finish or bool(choice.get("finish_reason"))
    done = events[-1:] == ["[DONE]"] if status else error is None
    return Seen(status, text, error, done and finish)


