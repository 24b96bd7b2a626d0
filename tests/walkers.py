"""Readers of one generation, who lose their connection and come back over another transport."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from gateway.eventlog import START
from gateway.views.chat_events import ChatEventsView
from gateway.views.durable import DurableView
from gateway.views.eventsource import EventSourceView
from gateway.views.long_poll import LongPoll
from gateway.views.poll import catch_up
from gateway.views.sse import SseView
from tests.view_scenes import Client, ViewScene, events


def delta_of(entry: Any) -> dict[str, Any] | None:
    """Return what an entry adds to the answer; None if it is no chunk of one."""
    choices = entry.get("choices") if isinstance(entry, dict) else None
    return choices[0]["delta"] if choices else None


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
        self.got: list[dict[str, Any]] = []  # the deltas
        self.over = False  # it knows that there will be nothing more

    def note(self, entry: Any) -> None:
        """Keep what an entry adds."""
        delta = delta_of(entry)
        if delta is not None:
            self.got.append(delta)

    def refused(self) -> None:
        """Take it from a status that the generation broke before it began."""
        self.cursor, self.over = START, True

    # What each transport's client makes of as much of an answer's body as reached it.

    def plain(self, client: Client, body: bytes) -> None:
        """Without ids nobody can come back: what was not complete begins again."""
        self.cursor, self.got = START, []
        self.resumable(client, body)
        if not self.over:
            self.cursor, self.got = START, []

    def resumable(self, client: Client, body: bytes) -> None:
        for event in events(body, self.cursor):
            self.cursor = event.id
            if event.data != "[DONE]":
                self.note(value_of(event.data))
        self.over = client.whole and body == client.body

    def eventsource(self, client: Client, body: bytes) -> None:
        for event in events(body, self.cursor):
            self.cursor = event.id
            if event.type != "control":
                self.note(value_of(event.data))
            elif "streamClosed" in event.json:
                self.over = True

    def chat_events(self, client: Client, body: bytes) -> None:
        for event in events(body, self.cursor):
            self.cursor = event.id
            if event.type == "chunk":
                self.got.append(json.loads(event.data)["delta"])
        self.over = client.whole and body == client.body

    def durable(self, client: Client, body: bytes) -> None:
        gathered: list[Any] = []
        for event in events(body):
            if event.type == "data":
                gathered += json.loads(event.data)
                continue
            for entry in gathered:  # what it got counts from here on
                self.note(entry)
            gathered = []
            self.cursor = event.json["streamNextOffset"]
            self.over = event.json.get("streamClosed", False)

    def poll(self, client: Client, body: bytes) -> None:
        if client.whole and body == client.body:  # a part of a document is nothing
            for entry in json.loads(body or b"[]"):
                self.note(entry)
            self.cursor = client.headers["stream-next-offset"]
            self.over = "stream-closed" in client.headers


class Way(NamedTuple):
    """A transport: how a reader attaches at a cursor, and what its client makes of the bytes."""

    attach: Callable[[ViewScene, Client, int], None]
    hear: Callable[[Walker, Client, bytes], None]


def _plain(scene: ViewScene, client: Client, cursor: int) -> None:
    SseView(scene.live, client.reply, scene.desk, fields=bytes).attach()


def _resumable(scene: ViewScene, client: Client, cursor: int) -> None:
    view = SseView(
        scene.live, client.reply, scene.desk, fields=bytes, ids=True, cursor=cursor
    )
    view.attach()


def _eventsource(scene: ViewScene, client: Client, cursor: int) -> None:
    EventSourceView(scene.live, client.reply, scene.desk, cursor=cursor).attach()


def _chat_events(scene: ViewScene, client: Client, cursor: int) -> None:
    ChatEventsView(scene.live, client.reply, scene.desk, cursor=cursor).attach()


def _durable(scene: ViewScene, client: Client, cursor: int) -> None:
    DurableView(scene.live, client.reply, scene.desk, cursor=cursor).attach()


def _long_poll(scene: ViewScene, client: Client, cursor: int) -> None:
    LongPoll(scene.live, client.reply, scene.desk, cursor=cursor, wait=25.0).attach()


def _poll(scene: ViewScene, client: Client, cursor: int) -> None:
    catch_up(scene.live, client.reply, cursor=cursor)


WAYS = {
    "plain": Way(_plain, Walker.plain),
    "resumable": Way(_resumable, Walker.resumable),
    "eventsource": Way(_eventsource, Walker.eventsource),
    "chat_events": Way(_chat_events, Walker.chat_events),
    "durable": Way(_durable, Walker.durable),
    "long_poll": Way(_long_poll, Walker.poll),
    "poll": Way(_poll, Walker.poll),
}


class Visit:
    """One connection of a walker."""

    def __init__(self, walker: Walker, scene: ViewScene, way: Way) -> None:
        self.client = Client()
        self._walker = walker
        self._way = way
        self._paused_at = -1  # how many writes there were when it began to take nothing
        way.attach(scene, self.client, scene.live.log.locate(walker.cursor))

    def pause(self) -> None:
        """Take nothing for now."""
        if not self.client.reply.paused:
            self.client.reply.paused = True
            self._paused_at = len(self.client.wire.writes)

    def drain(self) -> None:
        """Take everything again."""
        reply, written = self.client.reply, len(self.client.wire.writes)
        if reply.paused:
            # A poll is one answer; a stream waits, or our memory would fill.
            assert written == self._paused_at or self.client.whole
            reply.paused = False
            if reply.on_writable is not None:
                reply.on_writable()

    def lose(self, share: float) -> None:
        """End: this share of the bytes arrived."""
        self.drain()
        client = self.client
        if client.reply.on_gone is not None:
            client.reply.on_gone()
        if client.wire.writes and client.status >= 400:
            self._walker.refused()
        elif client.wire.writes:
            body = client.body
            self._way.hear(self._walker, client, body[: round(share * len(body))])
