"""Readers of one generation, who lose their connection and come back over another transport."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

from gateway.callers import OPEN
from gateway.chat_socket import ChatSocket
from gateway.eventlog import START, EventLog
from gateway.views.chat_events import ChatEventsView
from gateway.views.durable import DurableView
from gateway.views.eventsource import EventSourceView
from gateway.views.long_poll import LongPoll
from gateway.views.poll import catch_up
from gateway.views.socket import SocketView
from gateway.views.sse import ResumableView, SseView
from gateway.websocket import Session
from tests.fake_client import Site
from tests.fake_websocket import TEXT, UPGRADE, SocketClient, frame
from tests.view_scenes import Client, ViewScene, events


def text_of(entry: Any) -> str:
    """Return what an entry adds to the answer, "" if it is no chunk of one."""
    choices = entry.get("choices") if isinstance(entry, dict) else None
    return choices[0]["delta"].get("content", "") if choices else ""


def value_of(data: str) -> Any:
    """Return the JSON in an event's data, or the text itself, as JSON views do."""
    try:
        return json.loads(data)
    except ValueError:
        return data


class Walker:
    """Keeps what arrived whole, and the last cursor that came with it."""

    def __init__(self) -> None:
        self.cursor = START
        self.got: list[str] = []
        self.over = False  # it knows that there will be nothing more

    def note(self, text: str) -> None:
        """Keep what came; not every transport shows what adds nothing."""
        if text:
            self.got.append(text)

    # What each transport's client makes of as much of an answer's body as reached it.

    def plain(self, body: bytes, client: Client, whole: bool) -> None:
        """Without ids nobody can come back: what was not complete begins again."""
        self.cursor, self.got = START, []
        self.resumable(body, client, whole)
        if not self.over:
            self.cursor, self.got = START, []

    def resumable(self, body: bytes, client: Client, whole: bool) -> None:
        for event in events(body, self.cursor):
            self.cursor = event.id
            if event.data != "[DONE]":
                self.note(text_of(value_of(event.data)))
        self.over = client.whole and whole

    def eventsource(self, body: bytes, client: Client, whole: bool) -> None:
        for event in events(body, self.cursor):
            self.envelope({"id": event.id, "event": event.type, "data": value_of(event.data)})

    def chat_events(self, body: bytes, client: Client, whole: bool) -> None:
        for event in events(body, self.cursor):
            self.cursor = event.id
            if event.type == "chunk":
                self.note(json.loads(event.data)["content"])
        self.over = client.whole and whole

    def durable(self, body: bytes, client: Client, whole: bool) -> None:
        gathered: list[Any] = []
        for event in events(body):
            if event.type == "data":
                gathered += json.loads(event.data)
                continue
            for entry in gathered:  # what it got counts from here on
                self.note(text_of(entry))
            gathered = []
            self.cursor = event.json["streamNextOffset"]
            self.over = event.json.get("streamClosed", False)

    def poll(self, body: bytes, client: Client, whole: bool) -> None:
        if client.whole and whole:  # a part of a document is nothing
            for entry in json.loads(body or b"[]"):
                self.note(text_of(entry))
            self.cursor = client.headers["stream-next-offset"]
            self.over = "stream-closed" in client.headers

    # … and of a WebSocket's messages.

    def envelope(self, message: dict[str, Any]) -> None:
        self.cursor = message["id"]
        if message.get("event") != "control":
            self.note(text_of(message["data"]))
        elif "streamClosed" in message["data"]:
            self.over = True

    def chat(self, message: dict[str, Any]) -> None:
        self.cursor = message.get("cursor", self.cursor)
        self.note(message.get("content", ""))
        self.over = message["type"] in ("done", "error")


# How a reader attaches.

Attach = Callable[[ViewScene, Client, int], None]


def _view(kind: Callable[..., Any], **settings: object) -> Attach:
    def attach(scene: ViewScene, client: Client, cursor: int) -> None:
        kind(scene.live, client.reply, scene.desk, cursor=cursor, **settings).attach()

    return attach


def _from_start(scene: ViewScene, client: Client, cursor: int) -> None:
    SseView(scene.live, client.reply, scene.desk, fields=bytes).attach()


def _catch_up(scene: ViewScene, client: Client, cursor: int) -> None:
    catch_up(scene.live, client.reply, cursor=cursor)


def _tail(scene: ViewScene, walker: Walker) -> Session:
    log = scene.live.log
    return SocketView(scene.live, scene.desk, cursor=log.locate(walker.cursor))


def _chat(scene: ViewScene, walker: Walker) -> Session:
    def begin_at(log: EventLog, after: str) -> tuple[int, bool]:
        return log.locate(after), True

    visit = SimpleNamespace(
        log=lambda id: scene.live, begin_at=begin_at, caller=OPEN, account=lambda: None
    )
    return ChatSocket(visit, SimpleNamespace(), scene.desk)  # type: ignore[arg-type]


class HttpVisit:
    """One request of a walker."""

    def __init__(self, walker: Walker, scene: ViewScene, way: "HttpWay") -> None:
        self._walker = walker
        self._way = way
        self._client = Client()
        self._held = 0  # writes when it began to take nothing
        way.attach(scene, self._client, scene.live.log.locate(walker.cursor))

    @property
    def follows(self) -> bool:
        """Whether it is to get all that comes, and the end."""
        return self._client.reply.on_writable is not None

    def pause(self) -> None:
        """Take nothing for now."""
        if not self._client.reply.paused:
            self._client.reply.paused = True
            self._held = len(self._client.wire.writes)

    def drain(self) -> None:
        """Take everything again."""
        reply = self._client.reply
        if reply.paused:
            # A poll is one answer; a stream waits, or our memory would fill.
            assert len(self._client.wire.writes) == self._held or self._client.whole
            reply.paused = False
            if reply.on_writable is not None:
                reply.on_writable()

    def lose(self, share: float) -> None:
        """End: this share of the bytes arrived."""
        self.drain()
        client, walker = self._client, self._walker
        if client.reply.on_gone is not None:
            client.reply.on_gone()
        if not client.wire.writes:
            return
        if client.status >= 400:  # it broke before it began
            walker.over = True
        else:
            size = round(share * len(client.body))
            self._way.hear(walker, client.body[:size], client, size == len(client.body))


class SocketVisit:
    """One WebSocket of a walker."""

    def __init__(self, walker: Walker, scene: ViewScene, way: "SocketWay") -> None:
        site = Site()
        site.loop = scene.loop
        self._walker = walker
        self._way = way
        self._client = SocketClient(site=site, session=way.session(scene, walker))
        self._held = 0  # messages when it began to take nothing
        self._client.send(UPGRADE)
        if way.asks:
            ask = {"type": "resume", "stream": scene.live.log.id, "after": walker.cursor}
            self._client.send(frame(TEXT, json.dumps(ask).encode()))

    @property
    def follows(self) -> bool:
        """Whether it is to get all that comes, and the end."""
        return not self._client.transport.is_closing() and not self._client.close_codes

    @property
    def _messages(self) -> list[bytes]:
        return [payload for opcode, payload in self._client.heard if opcode == TEXT]

    def pause(self) -> None:
        """Take nothing for now."""
        transport = self._client.transport
        if not transport.unsent and not transport.is_closing():
            transport.unsent = 1
            transport.protocol.pause_writing()
            self._held = len(self._messages)

    def drain(self) -> None:
        """Take everything again."""
        transport = self._client.transport
        if transport.unsent and not transport.is_closing():
            assert len(self._messages) == self._held
            transport.unsent = 0
            transport.protocol.resume_writing()

    def lose(self, share: float) -> None:
        """End: this share of the messages arrived."""
        self.drain()
        self._client.reset()
        messages = self._messages
        for message in messages[: round(share * len(messages))]:
            self._way.hear(self._walker, json.loads(message))


class HttpWay(NamedTuple):
    attach: Attach
    hear: Callable[[Walker, bytes, Client, bool], None]
    visit: type[HttpVisit] = HttpVisit


class SocketWay(NamedTuple):
    session: Callable[[ViewScene, Walker], Session]
    hear: Callable[[Walker, dict[str, Any]], None]
    asks: bool = False  # where it goes on, in a message
    visit: type[SocketVisit] = SocketVisit


WAYS: dict[str, HttpWay | SocketWay] = {
    "plain": HttpWay(_from_start, Walker.plain),
    "resumable": HttpWay(_view(ResumableView, fields=bytes), Walker.resumable),
    "eventsource": HttpWay(_view(EventSourceView), Walker.eventsource),
    "chat_events": HttpWay(_view(ChatEventsView), Walker.chat_events),
    "durable": HttpWay(_view(DurableView), Walker.durable),
    "long_poll": HttpWay(_view(LongPoll, wait=25.0), Walker.poll),
    "poll": HttpWay(_catch_up, Walker.poll),
    "socket": SocketWay(_tail, Walker.envelope),
    "chat": SocketWay(_chat, Walker.chat, asks=True),
}
