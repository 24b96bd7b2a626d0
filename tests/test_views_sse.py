"""SseView: one client's sight of a log, its heartbeats and its end."""

import orjson
import pytest

from gateway._sseparse import UNTIL_CLOSE, Batch, EventParser
from gateway.desk import FIRST_LOOK
from gateway.dialects import openai
from gateway.errors import GatewayError
from gateway.eventlog import State
from gateway.reply import Reply
from gateway.upstream_errors import UpstreamTimeout
from gateway.views.chat_events import ChatEventsView
from gateway.views.durable import DurableView
from gateway.views.eventsource import EventSourceView
from gateway.views.sse import FIRST_HEARTBEAT, ResumableView, SseView
from gateway.views.view import HEARTBEAT
from tests.fakes import FakeWire
from tests.scenes import LogScene
from tests.view_scenes import FakeTap


PING = b"8\r\n: ping\n\n\r\n"


class Scene(LogScene):
    """A log, its producer, and one client that follows it."""

    def __init__(self, *, ids: bool = False) -> None:
        super().__init__()
        self.wire = FakeWire()
        self.reply = Reply(self.wire, "id-1", "POST", http10=False)
        self.asked = 0  # how often the fields of the head were asked for
        self.left = 0
        self.view = (ResumableView if ids else SseView)(
            self.live, self.reply, self.desk, fields=self.fields, left=self.leave
        )
        self.view.attach()

    def fields(self) -> bytes:
        self.asked += 1
        return b"x-more: 1\r\n"

    def leave(self) -> None:
        self.left += 1

    def fail(self, state: State, reason: str, fault: GatewayError) -> None:
        """Close the log as its producer does: with an entry that says why."""
        self.publish_quietly(openai.error_event(fault))
        self.live.close(state, reason, fault)

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


def test_no_view_owes_a_heartbeat_before_it_has_an_alarm():
    views = [SseView, ChatEventsView, DurableView, EventSourceView]

    assert min(view.first_silence for view in views) >= FIRST_LOOK


def test_each_batch_is_one_write_of_the_logs_own_bytes():
    scene = Scene()

    scene.publish(b"data: a\n\n")
    scene.publish(b"data: b\n\n", b"data: c\n\n")

    assert scene.body == chunks(b"data: a\n\n", b"data: b\n\ndata: c\n\n")
    assert len(scene.wire.writes) == 2
    assert scene.asked == 1


def test_a_view_that_is_ready_gets_the_first_entry_through_its_outlet_behind_the_head():
    scene = Scene()
    tap = FakeTap(EventParser(UNTIL_CLOSE), scene.live, scene.loop.time, attend=print)

    scene.live.ready()
    assert scene.wire.writes == []
    tap.publish(Batch(b"data: a\n\n", 1, 1))

    assert len(scene.wire.writes) == 1
    assert scene.body == chunks(b"data: a\n\n")
    assert (scene.view.cursor, scene.asked) == (1, 1)


def test_a_view_whose_client_takes_nothing_begins_when_it_does():
    scene = Scene()
    tap = FakeTap(EventParser(UNTIL_CLOSE), scene.live, scene.loop.time, attend=print)
    scene.reply.paused = True

    scene.live.ready()
    tap.publish(Batch(b"data: a\n\n", 1, 1))
    assert (scene.reply.status, scene.asked, scene.wire.writes) == (0, 0, [])
    scene.reply.paused = False
    scene.reply.on_writable()

    assert scene.body == chunks(b"data: a\n\n")


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
ENDINGS = {
    "finished": (State.FINISHED, b"data: [DONE]\n\n"),
    "cancelled": (State.CANCELLED, b"data: [DONE]\n\n"),
    "failed": (State.FAILED, b""),
    "broken": (State.INTERRUPTED, b""),
}


@pytest.mark.parametrize(("state", "last"), ENDINGS.values(), ids=ENDINGS.keys())
def test_the_end_is_told_honestly(state, last):
    scene = Scene()
    scene.publish(b"data: a\n\n")

    scene.live.close(state, "why")

    rest = chunks(last) if last else b""
    assert scene.left == 1
    assert scene.body == chunks(b"data: a\n\n") + rest + b"0\r\n\r\n"
    assert scene.wire.told == ["answered"]
    assert scene.producer.told == []
    assert scene.loop.timers == []


def test_a_failure_before_the_first_event_has_its_own_status():
    scene = Scene()

    scene.fail(State.FAILED, "timeout", UpstreamTimeout("slow"))

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
    scene.fail(State.FAILED, "timeout", UpstreamTimeout("slow"))

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

    resume(scene)

    assert scene.body == chunks(b"data: a\n\n", b"data: b\n\ndata: c\n\n")


def test_nothing_new_for_a_client_that_goes_on_is_nothing_written():
    scene = Scene()
    scene.publish(b"data: a\n\n")
    scene.reply.paused = True

    resume(scene)

    assert len(scene.wire.writes) == 1


@pytest.mark.parametrize(("state", "last"), ENDINGS.values(), ids=ENDINGS.keys())
def test_a_log_that_closes_meanwhile_is_read_to_its_end(state, last):
    scene = paused_scene()
    scene.live.close(state, "why")
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
    assert scene.left == 1
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


# With ids.


def block(scene: Scene, number: int, data: bytes) -> bytes:
    return b"id: " + scene.live.log.cursor(number).encode() + b"\n" + data


def test_a_client_that_wants_to_resume_gets_an_id_with_each_block():
    scene = Scene(ids=True)

    scene.publish(b"data: a\n\n", b"data: b\n\n")
    scene.live.close(State.FINISHED, "finished")

    both = block(scene, 1, b"data: a\n\n") + block(scene, 2, b"data: b\n\n")
    assert scene.body == chunks(both, block(scene, 2, b"data: [DONE]\n\n")) + b"0\r\n\r\n"


def test_a_heartbeat_between_blocks_with_ids_erases_none():
    scene = Scene(ids=True)

    scene.loop.wind(FIRST_HEARTBEAT)

    assert scene.body == chunks(b":\n")


def test_only_a_client_with_ids_is_expected_back():
    assert [Scene(ids=ids).view.detaches for ids in (False, True)] == [False, True]


def test_a_client_that_comes_later_gets_what_it_missed_and_the_end():
    scene = Scene()
    scene.publish(b"data: a\n\n", b"data: b\n\n")
    scene.live.close(State.FINISHED, "finished")

    wire = FakeWire()
    reply = Reply(wire, "id-2", "POST", http10=False)
    view = ResumableView(scene.live, reply, scene.desk, fields=bytes, cursor=1)
    view.attach()

    rest = block(scene, 2, b"data: b\n\n") + block(scene, 2, b"data: [DONE]\n\n")
    assert wire.parts[2] == chunks(rest) + b"0\r\n\r\n"
    assert scene.producer.told == []
