"""ChatLane: one chat on a WebSocket, as frames made of its log."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects import openai
from gateway.dialects.calls import Heading
from gateway.eventlog import State
from gateway.flow import WRITE_HIGH
from gateway.upstream_errors import UpstreamAnswer, UpstreamTimeout
from gateway.views import portion
from gateway.views.chat_lane import ChatLane
from gateway.views.lane import Delivery
from tests.fake_websocket import SocketClient
from tests.view_scenes import ViewScene, chunk


FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'


def delta(**members: object) -> bytes:
    event = {"choices": [{"index": 0, "delta": members, "finish_reason": None}]}
    return b"data: " + orjson.dumps(event) + b"\n\n"


class LaneScene(ViewScene):
    """A log, and a WebSocket client with a lane for it."""

    def open(
        self,
        *,
        id: str | None = "a",
        cursor: int = 0,
        recovered: bool = True,
        slow: bool = False,
    ) -> SocketClient:
        client = SocketClient.open()
        client.transport.taking = not slow
        self.delivery = Delivery("req-1")
        self.left = 0
        self.lane = ChatLane(
            self.live, self.desk, client.socket, self.delivery,
            id=id, cursor=cursor, left=self._leave,
        )  # fmt: skip
        client.session.writable = self.lane.wake
        client.session.gone = self.lane.leave
        self.lane.start(recovered=recovered)
        return client

    def _leave(self) -> None:
        self.left += 1

    def finish(self) -> None:
        self.live.close(State.FINISHED, "finished")


def frames(client: SocketClient) -> list[dict[str, object]]:
    return [orjson.loads(payload) for _, payload in client.heard]


def test_a_chat_begins_grows_and_ends():
    scene = LaneScene()
    client = scene.open()

    scene.publish(delta(role="assistant", content=""), chunk("hel"))
    scene.publish(chunk("lo"))
    scene.publish_quietly(FINISH, USAGE)
    scene.finish()

    assert frames(client) == [
        {"type": "start", "id": "a", "stream": scene.live.log.id, "cursor": scene.id(0)},
        {"type": "chunk", "id": "a", "content": "hel", "cursor": scene.id(2)},
        {"type": "chunk", "id": "a", "content": "lo", "cursor": scene.id(3)},
        {
            "type": "done",
            "id": "a",
            "finish_reason": "length",
            "usage": {"prompt_tokens": 1, "completion_tokens": 2},
        },
    ]
    assert scene.left == 1
    sent = sum(len(payload) + 2 for _, payload in client.heard)
    assert (scene.delivery.status, scene.delivery.ended) == (200, True)
    assert sent <= scene.delivery.bytes_sent <= sent + 2 * len(client.heard)


def test_a_chat_without_id_is_told_without():
    scene = LaneScene()
    client = scene.open(id=None)

    scene.publish(chunk("x"))

    assert all("id" not in frame for frame in frames(client))


def test_reasoning_and_tool_calls_are_told_when_there_are_any():
    scene = LaneScene()
    client = scene.open()
    call = [{"index": 0, "id": "c1", "function": {"name": "f", "arguments": "{"}}]

    scene.publish(delta(reasoning_content="hm"), delta(tool_calls=call), delta(refusal="no"))

    for frame, added in zip(
        frames(client)[1:],
        [{"reasoning": "hm"}, {"tool_calls": call}, {"refusal": "no"}],
        strict=True,
    ):
        assert frame == {"type": "chunk", "id": "a", "content": "", **added} | {
            "cursor": frame["cursor"]
        }


@pytest.mark.parametrize(
    "entry",
    [b"data: [1]\n\n", b"data: no json\n\n", b'data: {"choices":[7]}\n\n',
     b'data: {"choices":[{"index":0,"delta":3}]}\n\n', b"data: " + b"[" * 10_000 + b"\n\n"],
)  # fmt: skip
def test_an_entry_that_is_no_chunk_says_nothing(entry):
    scene = LaneScene()
    client = scene.open()

    scene.publish(entry, chunk("x"))

    assert [f.get("content") for f in frames(client)] == [None, "x"]


def test_halves_of_a_character_arrive():
    scene = LaneScene()
    client = scene.open()

    scene.publish(b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}\n\n')
    scene.publish(b'data: {"choices":[{"index":0,"delta":{"content":"\\ude00"}}]}\n\n')

    assert [payload.partition(b'content":')[2][:8] for _, payload in client.heard[1:]] == [
        b'"\\ud83d"',
        b'"\\ude00"',
    ]


# Ends.


def test_a_stop_is_told_from_an_end():
    scene = LaneScene()
    client = scene.open()
    scene.publish(chunk("x"))

    scene.lane.stop()
    assert scene.producer.told == ["cancel: stop"]
    last = openai.cancelled_events([chunk("x")], Heading("i", "m", 0), finish="", tokens=1)
    scene.publish_quietly(*last)
    scene.live.close(State.CANCELLED, "stop")

    done = frames(client)[-1]
    assert (done["type"], done["finish_reason"]) == ("done", "stop")
    assert done["headgate"] == {"ended": "cancelled"}
    assert done["usage"]["estimated"] is True


def test_a_failure_is_told_once_and_nothing_looks_like_an_end():
    scene = LaneScene()
    client = scene.open()
    scene.publish(chunk("x"))
    fault = UpstreamTimeout("silent")

    scene.publish_quietly(openai.error_event(fault))
    scene.live.close(State.FAILED, "timeout", fault)

    assert [frame["type"] for frame in frames(client)] == ["start", "chunk", "error"]
    assert frames(client)[-1] == {"type": "error", "id": "a", **fault.body()}
    assert scene.delivery.status == 200


def test_a_refusal_is_told_in_the_providers_words_and_has_its_status():
    scene = LaneScene()
    client = scene.open()
    own = {"message": "slow down", "type": "rate_limit_error", "code": "rate_limit_exceeded"}
    fault = UpstreamAnswer(429, b"application/json", orjson.dumps({"error": own}))

    scene.publish_quietly(openai.error_event(fault))
    scene.live.close(State.FAILED, "upstream_error", fault)

    assert frames(client)[1:] == [{"type": "error", "id": "a", "error": own}]
    assert scene.delivery.status == 429


def test_a_refusal_that_is_a_web_page_is_told_in_ours():
    scene = LaneScene()
    client = scene.open()
    fault = UpstreamAnswer(502, b"text/html", b"<html>")

    scene.publish_quietly(openai.error_event(fault))
    scene.live.close(State.FAILED, "upstream_error", fault)

    assert frames(client)[-1]["error"] == fault.body()["error"]


def test_an_error_amid_the_stream_is_told_as_it_came():
    scene = LaneScene()
    client = scene.open()
    scene.publish(chunk("x"))

    scene.publish_quietly(b'data: {"error":{"message":"broke"}}\n\n')
    scene.live.close(State.FAILED, "upstream_error")

    assert frames(client)[-1] == {"type": "error", "id": "a", "error": {"message": "broke"}}


# Coming back.


def test_a_cursor_that_is_gone_is_told():
    scene = LaneScene()
    scene.publish(chunk("a"))
    scene.publish(chunk("b"))
    scene.live.log.trim(1)

    client = scene.open(cursor=1, recovered=False)

    assert frames(client)[0]["recovered"] is False
    assert [f["content"] for f in frames(client)[1:]] == ["b"]


@given(st.lists(st.lists(st.sampled_from(["a", "", "ü", "xyz"]), max_size=4)), st.data())
def test_who_comes_back_has_what_one_has_who_stayed(batches, data):
    scene = LaneScene()
    stayed = scene.open()
    for texts in batches:
        if texts:
            scene.publish(*map(chunk, texts))
    if data.draw(st.booleans(), "ended before"):
        scene.publish_quietly(FINISH)
        scene.finish()
    cut = data.draw(st.integers(1, len(stayed.heard)), "frames that arrived")
    seen = frames(stayed)[:cut]
    cursors = [frame["cursor"] for frame in seen if "cursor" in frame]

    back = scene.open(cursor=scene.live.log.locate(cursors[-1]))
    if not scene.live.log.closed:
        scene.publish_quietly(FINISH)
        scene.finish()

    once = [frame for frame in seen if frame["type"] != "done"] + frames(back)[1:]
    assert once == frames(stayed)


# Slow clients.


def test_a_paused_lane_waits_and_goes_on_from_the_log():
    scene = LaneScene()
    client = scene.open()
    client.transport.taking = False
    scene.publish(chunk("x" * WRITE_HIGH))
    written = len(client.transport.written)

    scene.publish(chunk("a"))
    scene.publish(chunk("b"))
    scene.publish_quietly(FINISH)
    scene.finish()
    assert len(client.transport.written) == written
    client.transport.take(10 * WRITE_HIGH)

    assert [f.get("content") for f in frames(client)[2:]] == ["a", "b", None]
    assert frames(client)[-1]["type"] == "done"


def test_what_was_missed_is_not_written_all_at_once(monkeypatch):
    monkeypatch.setattr(portion, "PORTION", 1000)
    scene = LaneScene()
    scene.publish(*[chunk("x" * 1000)] * 200)
    scene.publish_quietly(FINISH)
    scene.finish()

    client = scene.open(slow=True)
    assert len(frames(client)) == 2, "others are served in between"
    scene.loop.wind(0)
    assert WRITE_HIGH < client.transport.unsent < WRITE_HIGH + 2 * 1200
    for _ in range(200):
        client.transport.take(WRITE_HIGH)
        scene.loop.wind(0)

    assert len(frames(client)) == 202
    assert frames(client)[-1]["type"] == "done"


def test_a_lane_of_a_slow_client_holds_little():
    scene = LaneScene()
    client = scene.open()
    client.transport.taking = False
    for _ in range(50):
        scene.publish(chunk("x" * 10_000))

    assert client.transport.unsent < 2 * WRITE_HIGH
    client.transport.taking = True
    client.transport.take(10 * WRITE_HIGH)
    scene.loop.wind(0)

    assert len(frames(client)) == 51


def test_a_client_that_leaves_leaves_the_chat():
    scene = LaneScene()
    client = scene.open()

    client.reset()

    assert scene.left == 1
    assert scene.live.readers == []
    assert not scene.delivery.ended
    assert scene.delivery.status == 0
