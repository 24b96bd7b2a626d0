"""ResponseView: a generation answered by its response, once there is one."""

import orjson

from gateway.eventlog import State
from gateway.upstream_errors import UpstreamTimeout
from gateway.views.response import ResponseView
from tests.view_scenes import Client, ViewScene


CREATED = {"id": "resp_1", "status": "in_progress"}


def event(kind: str, **members: object) -> bytes:
    data = orjson.dumps({"type": kind, **members})
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


class ResponseScene(ViewScene):
    """A log, and clients that wait for its response."""

    def open(self) -> Client:
        client = Client()
        self.left = 0
        view = ResponseView(
            self.live, client.reply, self.desk, fields=lambda: b"x: y\r\n", left=self._leave
        )
        view.attach()
        return client

    def _leave(self) -> None:
        self.left += 1


def test_the_answer_is_the_response_as_soon_as_it_is_told():
    scene = ResponseScene()
    client = scene.open()
    assert not client.reply.ended
    scene.publish(event("response.created", response=CREATED))

    assert (client.status, client.whole) == (200, True)
    assert orjson.loads(client.body) == {**CREATED, "background": True}
    assert client.headers["x"] == "y"
    assert (scene.left, scene.live.readers, scene.live.log.closed) == (1, [], False)


def test_what_says_nothing_of_a_response_is_passed_over():
    scene = ResponseScene()
    client = scene.open()
    scene.publish_quietly(event("keepalive"))
    scene.live.close(State.FINISHED, "finished")

    assert client.status == 502
    assert "tell no response" in orjson.loads(client.body)["error"]["message"]


def test_a_failure_before_anything_was_said_has_its_own_status():
    scene = ResponseScene()
    client = scene.open()
    scene.publish_quietly(event("response.failed", response={**CREATED, "status": "failed"}))
    scene.live.close(State.FAILED, "timeout", UpstreamTimeout("too long"))

    assert (client.status, client.headers["x"]) == (504, "y")
    assert scene.left == 1


def test_a_failure_after_that_is_a_response_that_failed():
    scene = ResponseScene()
    scene.publish(event("response.created", response=CREATED))
    scene.publish(event("response.failed", response={**CREATED, "status": "failed"}))
    scene.live.close(State.INTERRUPTED, "truncated", UpstreamTimeout("too long"))
    client = scene.open()

    assert (client.status, orjson.loads(client.body)["status"]) == (200, "failed")


def test_a_client_that_leaves_is_let_go_of():
    scene = ResponseScene()
    client = scene.open()
    client.reply.on_gone()

    assert (scene.left, scene.live.readers) == (1, [])


def test_a_log_that_is_taken_away_is_not_found():
    scene = ResponseScene()
    client = scene.open()
    scene.live.drop("deleted")

    assert (client.status, scene.left) == (404, 1)
