"""A reader that leaves at any byte, over any transport, and comes back over any other."""

from collections.abc import Callable

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway._sseparse import UNTIL_CLOSE, EventParser
from gateway.eventlog import START, State
from gateway.views import portion
from gateway.views.chat_events import ChatEventsView
from gateway.views.durable import DurableView
from gateway.views.eventsource import EventSourceView
from gateway.views.long_poll import LongPoll
from gateway.views.poll import catch_up
from gateway.views.sse import ResumableView
from tests.view_scenes import Client, FakeTap, ViewScene, chunk, events


class Visitor:
    """Somebody who keeps what arrived whole, and the last cursor that came with it."""

    def __init__(self) -> None:
        self.cursor = START
        self.got: list[str] = []
        self.closed = False  # it was told that there will be nothing more

    # What each transport's client makes of the bytes that reached it.

    def eventsource(self, client: Client, body: bytes) -> None:
        for event in events(body, self.cursor):
            self.cursor = event.id
            if event.type != "control":
                self.got.append(content(event.json))
            elif "streamClosed" in event.json:
                self.closed = True

    def durable(self, client: Client, body: bytes) -> None:
        gathered: list[str] = []
        for event in events(body):
            if event.type == "data":
                gathered += map(content, event.json)
            else:  # what it got counts from here on
                self.got += gathered
                gathered = []
                self.cursor = event.json["streamNextOffset"]
                self.closed = event.json.get("streamClosed", False)

    def chat_events(self, client: Client, body: bytes) -> None:
        for event in events(body, self.cursor):
            self.cursor = event.id
            if event.type == "chunk":
                self.got.append(event.json["content"])
            elif event.data == "[DONE]":
                self.closed = True

    def sse(self, client: Client, body: bytes) -> None:
        for event in events(body, self.cursor):
            self.cursor = event.id
            if event.data == "[DONE]":
                self.closed = True
            else:
                self.got.append(content(event.json))

    def poll(self, client: Client, body: bytes) -> None:
        self.got += map(content, orjson.loads(body) if body else [])
        self.cursor = client.headers["stream-next-offset"]
        self.closed = "stream-closed" in client.headers

    long_poll = poll


def content(entry: dict) -> str:
    return entry["choices"][0]["delta"]["content"]


def visit(scene: ViewScene, transport: str, cursor: int) -> Client:
    """Begin to read over this transport."""
    live, desk, client = scene.live, scene.desk, Client()
    reply = client.reply
    if transport == "poll":
        catch_up(live, reply, cursor=cursor)
        return client
    view = {
        "eventsource": lambda: EventSourceView(live, reply, desk, cursor=cursor),
        "durable": lambda: DurableView(live, reply, desk, cursor=cursor),
        "chat_events": lambda: ChatEventsView(live, reply, desk, cursor=cursor),
        "sse": lambda: ResumableView(live, reply, desk, fields=bytes, cursor=cursor),
        "long_poll": lambda: LongPoll(live, reply, desk, cursor=cursor, wait=25.0),
    }[transport]()
    view.attach()
    return client


TRANSPORTS = ["eventsource", "durable", "chat_events", "sse", "poll", "long_poll"]

batches = st.lists(st.integers(1, 4), max_size=4)  # how many entries are in each
visits = st.lists(
    st.tuples(
        st.sampled_from(TRANSPORTS),
        batches,  # while it reads
        st.floats(0, 1),  # how much of its bytes arrive before the connection breaks
        st.booleans(),  # whether it takes nothing for a while
        batches,  # while it is away
    ),
    max_size=6,
)


class Story:
    """A log that is written while somebody comes and goes."""

    def __init__(self) -> None:
        self.scene = ViewScene(grace=None)
        self.visitor = Visitor()
        self.said: list[str] = []
        scene = self.scene
        self._tap = FakeTap(
            EventParser(UNTIL_CLOSE), scene.live, scene.loop.time, attend=self.surprise
        )
        self._tap.flowing = True

    def publish(self, sizes: list[int]) -> None:
        """Append, the short way, so many batches of these sizes."""
        for size in sizes:
            words = [f"{len(self.said) + n} ü" for n in range(size)]
            self.said += words
            self._tap.data(b"".join(map(chunk, words)))

    def surprise(self, *args: object) -> None:
        raise AssertionError(f"the tap wants attention: {args}")

    def come(self, transport: str, during: Callable[[Client], None], share: float) -> None:
        """Read while `during` happens, and lose the connection after a share of the bytes."""
        visitor, log = self.visitor, self.scene.live.log
        client = visit(self.scene, transport, log.locate(visitor.cursor))
        during(client)
        self.scene.loop.wind(0)  # portions after the first
        body = client.body if client.wire.writes else b""
        arrived = body[: round(share * len(body))]
        if client.wire.writes and (share == 1 or "poll" not in transport):  # a part is nothing
            getattr(visitor, transport)(client, arrived)
        if client.reply.on_gone is not None:
            client.reply.on_gone()
        assert self.scene.live.readers == []
        assert self.scene.loop.timers == []

    def reads(self, sizes: list[int], slow: bool) -> Callable[[Client], None]:
        def during(client: Client) -> None:
            client.reply.paused = slow
            self.publish(sizes)
            client.reply.paused = False
            if client.reply.on_writable is not None:
                client.reply.on_writable()

        return during


@given(visits, st.sampled_from(TRANSPORTS), st.integers(1, 400), st.booleans())
def test_nobody_misses_an_entry_or_gets_one_twice(visits, last, size, trims):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(portion, "PORTION", size)
        story = Story()
        visitor, log = story.visitor, story.scene.live.log
        for transport, during, share, slow, meanwhile in visits:
            story.come(transport, story.reads(during, slow), share)
            story.publish(meanwhile)
            if trims:  # what everybody has
                log.trim(log.locate(visitor.cursor))
        story.publish([1])
        story.scene.live.close(State.FINISHED, "finished")

        for _ in range(len(story.said) + 1):  # a portion may be one entry
            if not visitor.closed:
                story.come(last, lambda client: None, 1)

    assert visitor.got == story.said
    assert visitor.closed


@given(visits)
def test_readers_side_by_side_over_every_transport_get_the_same_entries(visits):
    story = Story()
    streams = [name for name in TRANSPORTS if "poll" not in name]
    clients = {name: visit(story.scene, name, 0) for name in streams}
    for _, during, _, slow, meanwhile in visits:
        for client in clients.values():
            story.reads(during, slow)(client)
        story.publish(meanwhile)
    story.scene.live.close(State.FINISHED, "finished")

    for name, client in clients.items():
        visitor = Visitor()
        getattr(visitor, name)(client, client.body)
        assert visitor.got == story.said
        assert visitor.closed
        assert client.whole
