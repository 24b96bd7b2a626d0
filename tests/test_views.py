"""SseView: one client's sight of a log, its heartbeats and its end."""

import orjson
import pytest

from gateway._sseparse import Batch
from gateway.errors import StreamInterrupted, UpstreamTimeout
from gateway.eventlog import State
from gateway.hub import TRIM_AT, Hub
from gateway.reply import Reply
from gateway.views import FIRST_HEARTBEAT, HEARTBEAT, SseView
from tests.fakes import FakeLoop, FakeProducer, FakeWire


PING = b"8\r\n: ping\n\n\r\n"


class Scene:
    """A log, its producer, and one client that follows it."""

    def __init__(self) -> None:
        self.loop = FakeLoop()
        self.hub = Hub()
        self.producer = FakeProducer()
        self.live = self.hub.open(self.producer)
        self.wire = FakeWire()
        self.reply = Reply(self.wire, "id-1", method="POST", http10=False)
        self.asked = 0  # how often the fields of the head were asked for
        self.view = SseView(self.live, self.reply, self.loop, self.fields)

    def fields(self) -> bytes:
        self.asked += 1
        return b"x-more: 1\r\n"

    def publish(self, *data: bytes) -> None:
        self.live.publish(Batch(b"".join(data), self.live.log.tail + 1, len(data)))
        self.producer.last = self.loop.now

    @property
    def body(self) -> bytes:
        """What was written behind the head, in its chunks."""
        return self.wire.parts[2]


def chunks(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


def test_nothing_is_written_before_the_first_event():
    scene = Scene()

    scene.loop.wind(FIRST_HEARTBEAT - 0.1)

    assert scene.wire.writes == []
    assert scene.asked == 0


def test_each_batch_is_one_write_of_the_logs_own_bytes():
    scene = Scene()

    scene.publish(b"data: a\n\n")
    scene.publish(b"data: b\n\n", b"data: c\n\n")

    assert scene.body == chunks(b"data: a\n\n", b"data: b\n\ndata: c\n\n")
    assert len(scene.wire.writes) == 2
    assert scene.asked == 1


def test_what_the_client_has_is_forgotten_before_it_adds_up():
    scene = Scene()

    for _ in range(1000):
        scene.publish(b"data: " + b"x" * 1000 + b"\n\n")
        assert scene.live.log.held <= TRIM_AT

    assert scene.view.cursor == scene.live.log.tail == 1000


def test_the_head_has_what_proxies_must_be_told():
    scene = Scene()

    scene.publish(b"data: a\n\n")

    status, fields, _ = scene.wire.parts
    assert status == b"HTTP/1.1 200 OK"
    for name in [
        b"content-type: text/event-stream; charset=utf-8",
        b"cache-control: no-cache, no-transform, no-store",
        b"x-accel-buffering: no",
        b"x-content-type-options: nosniff",
        b"x-more: 1",
    ]:
        assert name in fields


# How a log with one event closes: the last thing its reader gets before the end.
INTERRUPTED = StreamInterrupted("cut")
ENDINGS = {
    "finished": (State.FINISHED, None, b"data: [DONE]\n\n"),
    "cancelled": (State.CANCELLED, None, b"data: [DONE]\n\n"),
    "failed by the provider's own last event": (State.FAILED, None, b""),
    "broken": (State.INTERRUPTED, INTERRUPTED, None),
    "too slow": (State.FAILED, UpstreamTimeout("slow"), None),
}


@pytest.mark.parametrize(("state", "fault", "last"), ENDINGS.values(), ids=ENDINGS.keys())
def test_the_end_is_told_honestly(state, fault, last):
    scene = Scene()
    scene.publish(b"data: a\n\n")

    scene.live.close(state, "why", fault)

    if last is None:
        last = b"data: " + orjson.dumps(fault.body()) + b"\n\n"
    rest = chunks(last) if last else b""
    assert scene.body == chunks(b"data: a\n\n") + rest + b"0\r\n\r\n"
    assert scene.wire.told == ["answered"]
    assert scene.producer.told == []
    assert scene.loop.timers == []


def test_a_failure_before_the_first_event_has_its_own_status():
    scene = Scene()

    scene.live.close(State.FAILED, "timeout", UpstreamTimeout("slow"))

    status, fields, body = scene.wire.parts
    assert status == b"HTTP/1.1 504 Gateway Timeout"
    assert b"x-more: 1" in fields
    assert b"content-type: application/json" in fields
    assert orjson.loads(body)["error"]["code"] == "upstream_timeout"
    assert scene.wire.told == ["answered"]


def test_a_log_that_finishes_empty_is_an_empty_stream():
    scene = Scene()

    scene.live.close(State.FINISHED, "finished")

    assert scene.body == chunks(b"data: [DONE]\n\n") + b"0\r\n\r\n"


# Heartbeats.


def pings(scene: Scene) -> int:
    return scene.wire.written.count(PING)


def test_a_silent_beginning_is_broken_by_a_heartbeat_that_commits_the_200():
    scene = Scene()

    scene.loop.wind(FIRST_HEARTBEAT)
    assert scene.body == PING
    scene.live.close(State.FAILED, "timeout", UpstreamTimeout("slow"))

    assert scene.reply.status == 200
    assert b"upstream_timeout" in scene.body
    assert b"[DONE]" not in scene.body


def test_heartbeats_come_at_their_pace():
    scene = Scene()
    scene.loop.wind(FIRST_HEARTBEAT)

    for number in range(1, 6):
        assert pings(scene) == number
        scene.loop.wind(HEARTBEAT - 0.1)
        assert pings(scene) == number
        scene.loop.wind(0.1)

    assert len(scene.loop.timers) == 1


def test_events_put_heartbeats_off_and_cost_no_timer():
    scene = Scene()

    for _ in range(100):
        scene.publish(b"data: a\n\n")
        scene.loop.wind(HEARTBEAT - 1)
        assert len(scene.loop.timers) == 1
    assert pings(scene) == 0
    scene.loop.wind(1)

    assert pings(scene) == 1


def test_a_client_that_does_not_read_gets_no_heartbeats():
    scene = Scene()
    scene.publish(b"data: a\n\n")
    scene.reply.paused = True

    scene.loop.wind(10 * HEARTBEAT)
    assert pings(scene) == 0
    scene.reply.paused = False
    scene.loop.wind(HEARTBEAT)

    assert pings(scene) == 1


# Clients that read slowly, or leave.


def paused_scene() -> Scene:
    scene = Scene()
    scene.publish(b"data: a\n\n")
    scene.reply.paused = True
    scene.publish(b"data: b\n\n")
    scene.publish(b"data: c\n\n")
    return scene


def resume(scene: Scene) -> None:
    scene.reply.paused = False
    scene.reply.on_writable()


def test_a_client_that_pauses_gets_the_rest_in_one_piece():
    scene = paused_scene()
    assert len(scene.wire.writes) == 1
    assert scene.live.log.held > 0

    resume(scene)

    assert scene.body == chunks(b"data: a\n\n", b"data: b\n\ndata: c\n\n")
    assert scene.live.log.held == 0


def test_nothing_new_for_a_client_that_goes_on_is_nothing_written():
    scene = Scene()
    scene.publish(b"data: a\n\n")
    scene.reply.paused = True

    resume(scene)

    assert len(scene.wire.writes) == 1


@pytest.mark.parametrize(
    ("state", "fault", "last"),
    [
        (State.FINISHED, None, b"data: [DONE]\n\n"),
        (State.INTERRUPTED, INTERRUPTED, b"data: " + orjson.dumps(INTERRUPTED.body()) + b"\n\n"),
    ],
)
def test_a_log_that_closes_meanwhile_is_read_to_its_end(state, fault, last):
    scene = paused_scene()
    scene.live.close(state, "why", fault)
    assert len(scene.wire.writes) == 1

    resume(scene)

    rest = b"data: b\n\ndata: c\n\n" + last
    assert scene.body == chunks(b"data: a\n\n", rest) + b"0\r\n\r\n"
    assert scene.wire.told == ["answered"]
    assert scene.loop.timers == []


def test_a_client_that_leaves_ends_the_generation_and_gets_nothing_more():
    scene = Scene()
    scene.publish(b"data: a\n\n")
    written = scene.wire.written

    scene.reply.on_gone()
    scene.publish(b"data: b\n\n")
    scene.live.close(State.CANCELLED, "disconnect")
    scene.loop.wind(1000)

    assert scene.producer.told == ["cancel: disconnect"]
    assert scene.wire.written == written
    assert scene.reply.on_gone is None
    assert scene.reply.on_writable is None
    assert scene.loop.timers == []


def test_a_client_that_leaves_after_the_end_cancels_nothing():
    scene = Scene()
    scene.publish(b"data: a\n\n")
    scene.live.close(State.FINISHED, "finished")

    assert scene.reply.on_gone is None
    assert scene.producer.told == []
