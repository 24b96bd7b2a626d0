"""LongPoll: one answer, as soon as there is something to say."""

import pytest

from gateway._sseparse import Batch
from gateway.eventlog import State
from gateway.views import portion
from gateway.views.durable import stream_cursor
from gateway.views.long_poll import LongPoll
from tests.view_scenes import Client, PartlySecret, ViewScene


A, B = b"data: 1\n\n", b"data: 2\n\n"
WAIT = 25.0


def attach(scene: ViewScene, cursor: int = 0, **options) -> Client:
    client = Client()
    client.lefts = []
    view = LongPoll(
        scene.live, client.reply, scene.desk,
        cursor=cursor, wait=WAIT, left=lambda: client.lefts.append(1), **options,
    )  # fmt: skip
    view.attach()
    return client


def assert_over(scene: ViewScene, client: Client) -> None:
    assert client.whole
    assert client.lefts == [1]
    assert client.reply.on_gone is None
    assert scene.live.readers == []
    assert scene.loop.timers == []


def test_what_is_there_is_answered_at_once():
    scene = ViewScene()
    scene.publish(A, B)

    client = attach(scene, 1)

    assert (client.status, client.body) == (200, b"[2]")
    assert client.headers["stream-next-offset"] == scene.id(2)
    assert client.headers["stream-up-to-date"] == "true"
    assert client.headers["stream-cursor"] == stream_cursor(scene.desk.wall(), "")
    assert_over(scene, client)


def test_the_first_entry_ends_the_wait_with_all_that_came_with_it():
    scene = ViewScene()
    client = attach(scene)
    assert client.wire.writes == []

    scene.publish(A, B)
    scene.publish(A)

    assert client.body == b"[1,2]"
    assert_over(scene, client)


def test_a_wait_in_vain_ends_with_nothing():
    scene = ViewScene()
    scene.publish(A)
    client = attach(scene, 1)

    scene.loop.wind(WAIT - 0.1)
    assert client.wire.writes == []
    scene.loop.wind(0.1)

    assert (client.status, client.body) == (204, b"")
    assert client.headers["stream-next-offset"] == scene.id(1)
    assert client.headers["stream-up-to-date"] == "true"
    assert client.headers["stream-cursor"].isdigit()
    assert client.headers["cache-control"] == "no-store"
    assert "content-length" not in client.headers
    assert "stream-closed" not in client.headers
    assert_over(scene, client)


def test_nobody_waits_at_the_tail_of_a_closed_log():
    scene = ViewScene()
    scene.publish(A)
    scene.live.close(State.FINISHED, "finished")

    client = attach(scene, 1)

    assert client.status == 204
    assert client.headers["stream-closed"] == client.headers["stream-up-to-date"] == "true"
    assert "stream-cursor" not in client.headers
    assert_over(scene, client)


@pytest.mark.parametrize("last", [(), (A,)])
def test_a_log_that_closes_ends_the_wait(last):
    scene = ViewScene()
    client = attach(scene)

    scene.publish_quietly(*last)
    scene.live.close(State.CANCELLED, "stop")

    assert (client.status, client.body) == ((200, b"[1]") if last else (204, b""))
    assert client.headers["stream-closed"] == "true"
    assert_over(scene, client)


def test_a_part_of_a_closed_log_is_not_its_end(monkeypatch):
    monkeypatch.setattr(portion, "PORTION", 1)
    scene = ViewScene()
    scene.publish(A, B)
    scene.live.close(State.FINISHED, "finished")

    client = attach(scene)

    assert client.body == b"[1]"
    assert client.headers["stream-next-offset"] == scene.id(1)
    assert client.headers["stream-cursor"].isdigit()
    assert not {"stream-closed", "stream-up-to-date"} & client.headers.keys()


def test_entries_that_others_see_end_no_wait():
    scene = ViewScene()
    scene.replace_log(PartlySecret("x", "aaaabbbb"))
    client = attach(scene, subject="stranger")

    scene.publish(b'data: "secret"\n\n')
    assert client.wire.writes == []
    scene.loop.wind(WAIT)

    assert client.status == 204
    assert client.headers["stream-next-offset"] == scene.id(1)


def test_the_answer_is_never_the_one_a_cache_has():
    scene = ViewScene()
    scene.publish(A)
    given = stream_cursor(scene.desk.wall(), "")

    client = attach(scene, given_cursor=given)

    assert int(client.headers["stream-cursor"]) > int(given)


def test_who_was_left_behind_is_told_so_and_so_is_who_waits_for_nothing():
    behind, dropped = ViewScene(), ViewScene()
    clients = [attach(behind), attach(dropped)]
    behind.live.log.append(Batch(A, 1, 1))
    behind.live.log.trim(1)

    behind.live.pump()
    dropped.live.drop("deleted")

    assert [client.status for client in clients] == [410, 404]
    assert_over(behind, clients[0])
    assert_over(dropped, clients[1])


def test_a_client_that_leaves_is_forgotten_and_waited_for():
    scene = ViewScene(grace=0.0)
    client = attach(scene)

    client.reply.on_gone()
    scene.publish(A)

    assert client.wire.writes == []
    assert client.lefts == [1]
    assert scene.loop.timers == []
    assert scene.producer.told == []
