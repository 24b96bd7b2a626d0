"""WholeView: nothing, then all of a whole answer, or why there is none."""

from gateway._sseparse import Batch
from gateway.eventlog import State, Whole
from gateway.upstream_errors import UpstreamTimeout
from gateway.views.whole import WholeView
from tests.scenes import LogScene
from tests.view_scenes import Client


class Scene(LogScene):
    """A log for a whole answer, and one client that waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.hub.open(self.producer, kind=Whole)
        self.left = 0
        self.client = Client(method="POST")
        self.view = WholeView(
            self.live, self.client.reply, fields=lambda: b"x-more: 1\r\n", left=self.leave
        )

    def leave(self) -> None:
        self.left += 1

    def give(self, body: bytes) -> None:
        self.live.log.media = "text/plain"
        self.live.log.append(Batch(body, 1, 1))
        self.live.close(State.FINISHED, "finished")


def test_an_answer_goes_out_in_one_piece_once_it_is_there():
    scene = Scene()
    scene.view.attach()
    waited = list(scene.client.wire.writes)
    scene.give(b"hello\n\nyou")

    assert waited == []
    assert (scene.client.status, scene.client.body) == (200, b"hello\n\nyou")
    assert scene.client.headers["content-type"] == "text/plain"
    assert scene.client.headers["x-more"] == "1"
    assert (scene.left, scene.live.readers, scene.client.reply.on_gone) == (1, [], None)


def test_an_answer_that_is_there_goes_out_at_once():
    scene = Scene()
    scene.give(b"")
    scene.view.attach()

    assert (scene.client.status, scene.client.body, scene.left) == (200, b"", 1)


def test_a_failure_has_its_status():
    scene = Scene()
    scene.view.attach()
    scene.live.close(State.FAILED, "timeout", UpstreamTimeout("late", kind="idle"))

    assert scene.client.status == 504
    assert scene.client.headers["x-more"] == "1"


def test_what_was_stopped_is_neither_an_answer_nor_an_error():
    scene = Scene()
    scene.view.attach()
    scene.live.close(State.CANCELLED, "stop")

    assert (scene.client.wire.writes, scene.client.wire.told) == ([], ["abort"])
    assert scene.left == 1


def test_the_last_who_waits_ends_it_by_leaving():
    scene = Scene()
    other = Client(method="POST")
    scene.view.attach()
    WholeView(scene.live, other.reply, fields=bytes, left=scene.leave).attach()
    scene.client.reply.on_gone()
    first = list(scene.producer.told)
    other.reply.on_gone()

    assert (first, scene.producer.told) == ([], ["cancel: disconnect"])
    assert scene.left == 2


def test_who_is_cut_has_nothing():
    scene = Scene()
    scene.view.attach()
    scene.view.retire()  # what has an end is waited for
    kept = scene.live.readers == [scene.view]
    scene.live.drop("expired")

    assert kept
    assert scene.client.wire.told == ["abort"]
    assert scene.left == 1
