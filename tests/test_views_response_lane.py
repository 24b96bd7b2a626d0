"""ResponseLane: one response on a WebSocket, as frames made of its log."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from gateway.client_errors import ClientError
from gateway.eventlog import State
from gateway.flow import WRITE_HIGH
from gateway.upstream_errors import UpstreamAnswer, UpstreamTimeout
from gateway.views.lane import Delivery
from gateway.views.response_lane import ResponseLane, tag_of, tagged
from tests.fake_websocket import SocketClient
from tests.view_scenes import ViewScene


def event(kind: str, **members: Any) -> bytes:
    data = orjson.dumps({"type": kind, **members})
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


OVER = {"id": "resp_1", "status": "completed"}
DELTA = event("response.output_text.delta", sequence_number=1, delta="hé")
DONE = event("response.completed", sequence_number=2, response=OVER)


class LaneScene(ViewScene):
    """A log, and a WebSocket client with a lane for it."""

    def open(self, *, id: str | None = "a", slow: bool = False) -> SocketClient:
        client = SocketClient.open()
        client.transport.taking = not slow
        self.delivery = Delivery("req-1")
        self.left = 0
        self.lane = ResponseLane(
            self.live, self.desk, client.socket, self.delivery, id=id, left=self._leave
        )
        client.session.writable = self.lane.wake
        client.session.gone = self.lane.leave
        self.lane.attach()
        return client

    def _leave(self) -> None:
        self.left += 1


def frames(client: SocketClient) -> list[Any]:
    return [orjson.loads(payload) for _, payload in client.heard]


def test_every_event_is_a_frame_and_names_its_lane():
    for id in ("a", '"', None):
        scene = LaneScene()
        client = scene.open(id=id)
        scene.publish(DELTA)
        scene.publish_quietly(DONE)
        scene.live.close(State.FINISHED, "finished")

        tag = {} if id is None else {"stream_id": id}
        assert frames(client) == [
            {"type": "response.output_text.delta", "sequence_number": 1, "delta": "hé", **tag},
            {"type": "response.completed", "sequence_number": 2, "response": OVER, **tag},
        ]
        assert (scene.delivery.status, scene.delivery.ended, scene.left) == (200, True, 1)
        assert scene.live.readers == []


def test_what_failed_before_it_said_anything_is_an_error_with_its_status():
    refused = UpstreamAnswer(429, b"application/json", b'{"error":{"message":"no","code":"x"}}')
    for fault, status, code in (
        (UpstreamTimeout("too long"), 504, "upstream_timeout"),
        (refused, 429, "x"),
        (ClientError("?", param="previous_response_id"), 400, "previous_response_not_found"),
    ):
        scene = LaneScene()
        client = scene.open()
        scene.publish_quietly(event("response.failed", response={}))
        scene.live.close(State.FAILED, "timeout", fault)

        [told] = frames(client)
        assert (told["type"], told["status"], told["stream_id"]) == ("error", status, "a")
        assert told["error"]["code"] == code
        assert scene.delivery.status == status


def test_what_fails_later_ends_as_its_log_does():
    scene = LaneScene()
    client = scene.open()
    scene.publish(DELTA)
    scene.publish_quietly(event("response.failed", response={}))
    scene.live.close(State.INTERRUPTED, "truncated", UpstreamTimeout("too long"))

    assert [frame["type"] for frame in frames(client)][1:] == ["response.failed"]
    assert scene.delivery.status == 200


def test_a_log_that_is_taken_away_is_an_error():
    scene = LaneScene()
    client = scene.open(slow=True)
    big = event("response.output_text.delta", delta="x" * WRITE_HIGH)
    scene.publish(big)
    scene.publish(DELTA)  # waits for the client
    scene.live.drop("deleted")
    client.transport.take(1 << 30)

    assert [frame["type"] for frame in frames(client)] == ["response.output_text.delta", "error"]
    assert scene.left == 1


@given(
    members=st.dictionaries(st.text(max_size=5), st.text(max_size=20), min_size=1, max_size=4),
    id=st.text(max_size=10),
    blank=st.sampled_from([b"", b" ", b"\t\n"]),
)
def test_a_tag_is_a_member_of_any_object(members, id, blank):
    found = orjson.loads(tagged(orjson.dumps(members) + blank, tag_of(id)))
    assert found == {**members, "stream_id": id}


def test_what_is_no_event_stays_as_it_is():
    for payload in (b"{}", b"[1]", b'"}"', b"", b"no JSON"):
        assert tagged(payload, tag_of("a")) == payload
