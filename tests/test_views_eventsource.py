"""EventSourceView: a log as a browser's EventSource reads it."""

import pytest

from gateway.eventlog import State
from gateway.views import portion
from gateway.views.eventsource import EventSourceView
from gateway.views.view import HEARTBEAT
from tests.view_scenes import Client, PartlySecret, ViewScene


A, B, C = b"data: 1\n\n", b"event: note\ndata: 2\n\n", b"data: 3\n\n"


def attach(scene: ViewScene, cursor: int = 0, **options) -> Client:
    client = Client()
    client.view = EventSourceView(
        scene.live, client.reply, scene.desk, cursor=cursor, **options
    )
    client.view.attach()
    return client


def test_the_first_block_goes_out_at_once_with_the_cursor_it_starts_from():
    scene = ViewScene()

    client = attach(scene)

    id = scene.id(0)
    told = f'{{"streamNextOffset":"{id}","upToDate":true}}'
    assert client.body.decode() == (
        f":\nretry: 1000\nid: {id}\nevent: control\ndata: {told}\n\n"
    )
    assert client.status == 200
    assert client.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert client.headers["cache-control"] == "no-cache, no-transform, no-store"


def test_each_entry_is_a_block_with_its_id_and_its_type():
    scene = ViewScene()
    scene.publish(A, B)

    client = attach(scene)
    scene.publish(C)

    opening, *entries = client.events
    assert opening.json == {"streamNextOffset": scene.id(0), "upToDate": False}
    assert entries == [
        (scene.id(1), "message", "1"),
        (scene.id(2), "note", "2"),
        (scene.id(3), "message", "3"),
    ]


def test_a_late_reader_that_takes_nothing_holds_a_portion_and_not_the_log(monkeypatch):
    monkeypatch.setattr(portion, "PORTION", 2 * len(A))
    scene = ViewScene()
    scene.publish(*[A] * 5)
    scene.live.close(State.FINISHED, "finished")

    client = attach(scene)
    client.reply.paused = True
    scene.loop.wind(0)
    assert [event.id for event in client.events[1:]] == [scene.id(1), scene.id(2)]
    client.reply.paused = False
    client.reply.on_writable()
    scene.loop.wind(0)

    assert [event.id for event in client.events[1:-1]] == [scene.id(n) for n in range(1, 6)]
    assert client.events[-1].json["streamClosed"]
    assert client.whole


def test_a_reader_that_comes_back_amid_a_batch_gets_the_rest_of_it():
    scene = ViewScene()
    scene.publish(A, B, C)

    client = attach(scene, cursor=1)

    assert [event.id for event in client.events] == [scene.id(n) for n in (1, 2, 3)]


def test_a_cursor_that_is_gone_is_told_and_what_is_left_is_read():
    scene = ViewScene()
    scene.publish(A)
    scene.publish(B)
    scene.live.log.trim(1)

    client = attach(scene, cursor=0, recovered=False)

    opening, *entries = client.events
    assert opening.json == {
        "recovered": False, "streamNextOffset": scene.id(1), "upToDate": False,
    }  # fmt: skip
    assert entries == [(scene.id(2), "note", "2")]


@pytest.mark.parametrize("state", [state for state in State if state is not State.OPEN])
def test_the_end_is_told_in_a_last_block(state):
    scene = ViewScene()
    client = attach(scene)
    scene.publish_quietly(A)

    scene.live.close(state, "why")

    _, entry, end = client.events
    assert entry.data == "1"
    assert (end.id, end.type) == (scene.id(1), "control")
    assert end.json == {"streamClosed": True, "state": state.value, "reason": "why"}
    assert client.whole
    assert scene.loop.timers == []


def test_silences_are_broken_by_heartbeats_that_erase_no_id():
    scene = ViewScene()
    client = attach(scene)
    said = client.body

    scene.loop.wind(HEARTBEAT)

    assert client.body == said + b":\n"


def test_entries_that_others_see_leave_no_trace():
    scene = ViewScene()
    scene.replace_log(PartlySecret("x", "aaaabbbb"))
    client, friend = attach(scene, subject="stranger"), attach(scene, subject="friend")

    scene.publish(b'data: "secret"\n\n')
    scene.publish(A)

    assert [event.id for event in client.events] == [scene.id(0), scene.id(2)]
    assert [event.id for event in friend.events] == [scene.id(n) for n in (0, 1, 2)]


def test_the_last_entries_of_a_log_that_closes_are_for_those_who_may_see_them():
    scene = ViewScene()
    scene.replace_log(PartlySecret("x", "aaaabbbb"))
    client, friend = attach(scene, subject="stranger"), attach(scene, subject="friend")
    scene.publish(A)

    scene.publish_quietly(b'data: "secret"\n\n')
    scene.live.close(State.FINISHED, "finished")

    assert b"secret" not in client.body
    assert b"secret" in friend.body
    assert client.whole


def test_a_client_that_leaves_is_waited_for():
    scene = ViewScene(grace=0.0)
    client = attach(scene)

    client.reply.on_gone()

    assert scene.producer.told == []
    assert scene.loop.timers == []
    scene.hub.loop.wind(60)
    assert scene.producer.told == ["cancel: disconnect"]
