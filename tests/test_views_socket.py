"""SocketView: a log on a WebSocket, from its first envelope to its closing code."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway._sseparse import Batch
from gateway.eventlog import EventLog, State
from gateway.flow import STALL_TIMEOUT, WRITE_HIGH
from gateway.hub import Live
from gateway.views.socket import SocketView
from tests.fake_websocket import BINARY, TEXT, UPGRADE, SocketClient, frame
from tests.scenes import LogScene


END = {"streamClosed": True, "state": "finished", "reason": "finished"}


class Reader(SocketClient):
    """A WebSocket client that follows a log."""

    def __init__(self, scene: "Scene", **settings: object) -> None:
        self.accounted = 0
        view = SocketView(
            scene.live, scene.desk, subject="alice", left=self._account, **{"cursor": 0, **settings}
        )
        super().__init__(session=view)
        self.send(UPGRADE)

    def _account(self) -> None:
        self.accounted += 1

    @property
    def envelopes(self) -> list[dict[str, object]]:
        return [orjson.loads(payload) for opcode, payload in self.heard if opcode == TEXT]

    @property
    def entries(self) -> list[tuple[str, object]]:
        """Id and data of what is no control."""
        return [(e["id"], e["data"]) for e in self.envelopes if e.get("event") != "control"]

    def say(self, message: bytes) -> None:
        self.send(frame(TEXT, message))


class Scene(LogScene):
    def __init__(self) -> None:
        super().__init__(grace=60.0, patience=60.0)

    def id(self, number: int) -> str:
        return self.live.log.cursor(number)

    def control(self, number: int, **told: object) -> dict[str, object]:
        return {"id": self.id(number), "event": "control", "data": told}

    def finish(self) -> None:
        self.live.close(State.FINISHED, "finished")


# What is written.


def test_the_first_envelope_says_at_once_where_the_client_stands():
    scene = Scene()

    reader = Reader(scene)

    told = {"streamNextOffset": scene.id(0), "upToDate": True}
    assert reader.envelopes == [scene.control(0, **told)]


def test_who_is_greeted_is_greeted_under_the_cursor_it_starts_from():
    class Polite(EventLog):
        welcome = True

    scene = Scene()
    scene.live = scene.hub.add(Live(Polite("a", "aaaabbbb"), scene.hub))
    Reader(scene)

    _, hello = Reader(scene).envelopes

    assert (hello["id"], hello["event"]) == (scene.id(0), "welcome")
    assert hello["data"].items() >= {"type": "welcome", "channel": "a", "readers": 2}.items()


def test_a_log_that_is_dropped_has_no_end_to_tell_of():
    scene = Scene()
    reader = Reader(scene)

    scene.live.drop("deleted")

    assert [e["data"].get("streamClosed") for e in reader.envelopes] == [None]
    assert reader.close_codes == [4410]


def test_each_entry_is_an_envelope_and_the_end_is_told_and_closed():
    scene = Scene()
    reader = Reader(scene)

    scene.publish(b"data: 1\n\n", b'event: note\ndata: {"a":2}\n\n')
    scene.publish(b"data: not json\n\n")
    scene.finish()

    assert reader.envelopes[1:] == [
        {"id": scene.id(1), "data": 1},
        {"id": scene.id(2), "event": "note", "data": {"a": 2}},
        {"id": scene.id(3), "data": "not json"},
        scene.control(3, **END),
    ]
    assert reader.close_codes == [1000]
    assert reader.accounted == 1


def test_a_late_reader_gets_the_rest_from_its_cursor_and_the_end():
    scene = Scene()
    scene.publish(b"data: 1\n\n", b"data: 2\n\n", b"data: 3\n\n")
    scene.finish()

    reader = Reader(scene, cursor=1)

    assert reader.envelopes == [
        scene.control(1, streamNextOffset=scene.id(1), upToDate=False),
        {"id": scene.id(2), "data": 2},
        {"id": scene.id(3), "data": 3},
        scene.control(3, **END),
    ]
    assert reader.close_codes == [1000]


def test_a_cursor_that_is_gone_is_told_before_what_is_left():
    scene = Scene()
    scene.publish(b"data: 1\n\n")
    scene.publish(b"data: 2\n\n")
    scene.live.log.trim(1)

    reader = Reader(scene, cursor=1, recovered=False)

    told = {"recovered": False, "streamNextOffset": scene.id(1), "upToDate": False}
    assert reader.envelopes == [scene.control(1, **told), {"id": scene.id(2), "data": 2}]


def test_what_goes_the_short_way_is_the_same():
    scene = Scene()
    reader = Reader(scene)
    batch = Batch(b"data: 1\n\n", 1, 1)

    scene.live.log.append(batch)
    outlet = reader.session.outlet
    outlet.write(batch.framed(2, scene.live.log.epoch.encode()))
    outlet.cursor = 1
    scene.publish(b"data: 2\n\n")

    assert reader.entries == [(scene.id(1), 1), (scene.id(2), 2)]


# What the client says.


def test_cancel_stops_the_generation():
    scene = Scene()
    reader = Reader(scene)

    reader.say(b'{"type":"cancel"}')

    assert scene.producer.told == ["cancel: stop"]
    assert reader.close_codes == []


@pytest.mark.parametrize("message", [b"{}", b'{"type":"stop"}', b"cancel", b"[" * 100_000])
def test_another_message_closes(message):
    scene = Scene()
    reader = Reader(scene)

    reader.say(message)

    assert reader.close_codes == [1007]
    assert scene.producer.told == []
    assert reader.accounted == 1


def test_binary_closes():
    reader = Reader(Scene())

    reader.send(frame(BINARY, b'{"type":"cancel"}'))

    assert reader.close_codes == [1007]


def test_a_channel_cannot_be_cancelled():
    scene = Scene()
    scene.live = scene.hub.add(Live(EventLog("room", "aaaabbbb"), scene.hub))
    reader = Reader(scene)

    reader.say(b'{"type":"cancel"}')

    assert reader.close_codes == [1008]
    assert not scene.live.log.closed


def test_a_client_that_leaves_is_waited_for():
    scene = Scene()
    reader = Reader(scene)

    reader.reset()

    assert reader.accounted == 1
    assert scene.live.readers == []
    assert scene.producer.told == []
    scene.hub.loop.wind(60)
    assert scene.producer.told == ["cancel: disconnect"]


# Clients that read slowly.


def big(text: str) -> bytes:
    return b'data: "%b"\n\n' % (text.encode() * WRITE_HIGH)


def test_a_slow_client_is_skipped_and_goes_on_from_the_log():
    scene = Scene()
    reader = Reader(scene)
    reader.transport.taking = False
    scene.publish(big("a"))

    scene.publish(b"data: 1\n\n")
    scene.publish(b"data: 2\n\n")
    assert len(reader.entries) == 1
    reader.transport.take(10 * WRITE_HIGH)

    assert [data for _, data in reader.entries[1:]] == [1, 2]
    assert not scene.live.log.closed


def test_a_slow_client_has_the_time_it_needs_for_the_end():
    scene = Scene()
    reader = Reader(scene)
    reader.transport.taking = False
    scene.publish(b"data: 1\n\n")
    scene.publish_quietly(big("a"))
    scene.finish()

    for _ in range(3):
        reader.site.loop.wind(STALL_TIMEOUT - 1)
        reader.transport.take(1000)
    assert reader.close_codes == []
    assert reader.envelopes[-1] == scene.control(2, **END)
    reader.transport.take(10 * WRITE_HIGH)

    assert reader.close_codes == [1000]


def test_a_client_that_takes_nothing_is_cut():
    scene = Scene()
    reader = Reader(scene)
    reader.transport.taking = False
    scene.publish(big("a"))

    reader.site.loop.wind(2 * STALL_TIMEOUT)

    assert reader.close_codes == [1013]
    assert reader.site.host.stalls == 1
    assert scene.live.readers == []


def test_a_reader_that_a_channel_has_left_behind_is_told_so():
    scene = Scene()
    scene.live = scene.hub.add(Live(EventLog("room", "aaaabbbb"), scene.hub))
    reader = Reader(scene)
    reader.transport.taking = False
    scene.publish(big("a"))
    scene.publish(b"data: 1\n\n")
    scene.publish(b"data: 2\n\n")
    scene.live.log.trim(2)

    reader.transport.take(10 * WRITE_HIGH)

    assert reader.close_codes == [4410]
    assert len(reader.entries) == 1


# The end of the process.


def test_a_drain_waits_for_a_generation():
    scene = Scene()
    reader = Reader(scene)

    reader.site.host.drain()
    assert reader.close_codes == []
    scene.finish()

    assert reader.close_codes == [1000]


def test_a_drain_does_not_wait_for_a_channel():
    scene = Scene()
    scene.live = scene.hub.add(Live(EventLog("room", "aaaabbbb"), scene.hub))
    reader = Reader(scene)

    reader.site.host.drain()

    assert reader.close_codes == [1001]


# Whenever a client leaves and comes back.


@given(st.lists(st.integers(1, 4), max_size=8), st.data())
def test_who_leaves_and_comes_back_has_the_whole_log(sizes, data):
    scene = Scene()
    first = Reader(scene)
    leave_at = data.draw(st.integers(0, len(sizes)))
    number = 0
    for at, size in enumerate(sizes):
        if at == leave_at:
            first.reset()
        scene.publish(*[b"data: %d\n\n" % n for n in range(number, number + size)])
        number += size
    first.reset()
    seen = data.draw(st.integers(0, len(first.envelopes) - 1))

    second = Reader(scene, cursor=scene.live.log.locate(first.envelopes[seen]["id"]))
    scene.finish()

    before = [e["data"] for e in first.envelopes[1 : seen + 1]]
    assert before + [data for _, data in second.entries] == list(range(number))
