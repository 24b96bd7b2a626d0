"""DurableView: the server-sent events of Durable Streams, byte by byte."""

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway._sseparse import Batch
from gateway.eventlog import State
from gateway.views import portion
from gateway.views.durable import ROTATE, DurableView, stream_cursor
from gateway.views.view import HEARTBEAT
from tests.view_scenes import Client, Messages, PartlySecret, ViewScene


A, B, C = b"data: 1\n\n", b"event: note\ndata: 2\n\n", b"data: [3,\ndata: 4]\n\n"
EPOCH = 1728432000  # 2024-10-09T00:00Z


def attach(scene: ViewScene, cursor: int = 0, **options) -> Client:
    client = Client()
    client.view = DurableView(scene.live, client.reply, scene.desk, cursor=cursor, **options)
    client.view.attach()
    return client


def messages(media: str, *bodies: bytes) -> ViewScene:
    """Return a scene whose log has these messages."""
    scene = ViewScene()
    scene.replace_log(Messages(media))
    for body in bodies:
        scene.live.publish(Batch(body, scene.live.log.tail + 1, 1))
    return scene


def test_an_empty_log_says_at_once_how_it_stands():
    scene = ViewScene()

    client = attach(scene)

    now = stream_cursor(scene.desk.wall(), "")
    assert client.body.decode() == (
        f"id: {scene.id(0)}\nevent: control\n"
        f'data:{{"streamNextOffset":"{scene.id(0)}","streamCursor":"{now}","upToDate":true}}\n\n'
    )
    assert client.headers["content-type"] == "text/event-stream"
    assert "no-cache" in client.headers["cache-control"]
    assert "stream-sse-data-encoding" not in client.headers


def test_entries_are_an_array_and_a_control_follows_each():
    scene = ViewScene()
    scene.publish(A, B)
    client = attach(scene)

    scene.publish(C)

    said = [(event.id, event.type) for event in client.events]
    assert said == [(scene.id(n), type) for n in (2, 3) for type in ("data", "control")]
    assert [event.json for event in client.events if event.type == "data"] == [[1, 2], [[3, 4]]]
    assert all(event.json["upToDate"] for event in client.events if event.type == "control")


def test_what_is_much_comes_in_portions_and_only_the_last_is_up_to_date(monkeypatch):
    monkeypatch.setattr(portion, "PORTION", 2 * len(A))
    scene = ViewScene()
    scene.publish(A, A, A)
    scene.publish(A, A)

    client = attach(scene)
    assert len(client.events) == 2, "others are served in between"
    scene.loop.wind(0)

    data, control = client.events[::2], client.events[1::2]
    assert [event.json for event in data] == [[1, 1], [1, 1], [1]]
    assert [event.json["streamNextOffset"] for event in control] == [event.id for event in data]
    assert [event.json.get("upToDate") for event in control] == [None, None, True]


@pytest.mark.parametrize("cursor", [0, 1])
def test_a_closed_log_is_told_in_the_last_control_and_nowhere_else(cursor):
    scene = ViewScene()
    scene.publish(A)
    scene.live.close(State.FINISHED, "finished")

    client = attach(scene, cursor)

    last = client.events[-1]
    assert [event.type for event in client.events] == ["data", "control"][cursor:]
    assert last.json == {
        "streamNextOffset": scene.id(1), "upToDate": True, "streamClosed": True,
    }  # fmt: skip
    assert client.whole
    assert scene.loop.timers == []


def test_what_is_appended_with_the_end_comes_before_it():
    scene = ViewScene()
    client = attach(scene)

    scene.publish_quietly(A)
    scene.live.close(State.FINISHED, "closed")

    assert [event.type for event in client.events] == ["control", "data", "control"]
    assert client.events[-1].json["streamClosed"]


def test_the_answer_ends_after_a_minute_so_that_the_client_comes_back():
    scene = ViewScene()
    client = attach(scene)
    scene.loop.wind(ROTATE - 1)
    scene.publish(A)
    assert client.body.split(b"\n").count(b":") == ROTATE // HEARTBEAT - 1

    scene.loop.wind(1)

    assert client.whole
    assert client.events[-1].json["streamNextOffset"] == scene.id(1)
    assert scene.live.readers == []
    assert scene.loop.timers == []
    assert scene.producer.told == []


def test_entries_that_others_see_are_passed_over():
    scene = ViewScene()
    scene.replace_log(PartlySecret("x", "aaaabbbb"))
    client = attach(scene, subject="stranger")
    before = client.body

    scene.publish(b'data: "secret"\n\n')
    assert client.body == before
    scene.publish(A)

    assert [event.id for event in client.events] == [scene.id(0), scene.id(2), scene.id(2)]


# What is not JSON.


LINES = re.compile("\r\n|\r|\n")


@given(st.text(alphabet="ab: \r\n\x00é", max_size=30), st.text(max_size=10))
def test_no_text_breaks_out_of_its_event(text, more):
    scene = messages("text/plain; charset=utf-8", text.encode() or b" ", more.encode() or b" ")

    client = attach(scene)

    data, control = client.events
    assert data.data == LINES.sub("\n", (text or " ") + (more or " "))
    assert control.json["streamNextOffset"] == scene.id(2)


def test_an_attack_in_a_text_is_a_text():
    attack = b'safe\r\n\r\nevent: control\r\ndata: {"injected":true}\r\r\n\nsafe'
    client = attach(messages("text/plain", attack))

    assert [event.type for event in client.events] == ["data", "control"]
    assert b"\r" not in client.body


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=4))
def test_bytes_come_in_base64(bodies):
    client = attach(messages("application/octet-stream", *bodies))

    assert client.headers["stream-sse-data-encoding"] == "base64"
    data, control = client.events
    assert base64.b64decode(data.data, validate=True) == b"".join(bodies)
    assert control.type == "control"


# Stream cursors.


def test_a_stream_cursor_counts_intervals_of_twenty_seconds():
    assert [stream_cursor(EPOCH + s, "") for s in (0, 19.9, 20, 2000)] == ["0", "0", "1", "100"]


def test_a_client_whose_stream_cursor_is_old_gets_the_time():
    assert stream_cursor(EPOCH + 2000, "99") == "100"


@given(st.floats(EPOCH, EPOCH + 1e9), st.integers(0, 10**15 - 1))
def test_a_stream_cursor_is_never_the_clients_own_nor_far_ahead(now, given):
    current = int(stream_cursor(now, ""))

    answer = int(stream_cursor(now, str(given)))

    assert answer > given or answer == current > given
    assert answer <= max(current, given + 180)


@pytest.mark.parametrize("given", ["", "x", "-1", "+5", "1_0", "٣", "1" * 16, "9" * 5000])
def test_what_is_no_stream_cursor_counts_as_none(given):
    assert stream_cursor(EPOCH + 2000, given) == "100"


def test_one_answer_tells_one_stream_cursor_beyond_the_clients():
    scene = ViewScene()
    mine = stream_cursor(scene.desk.wall(), "")
    client = attach(scene, given_cursor=mine)
    scene.publish(A)

    told = {event.json["streamCursor"] for event in client.events if event.type == "control"}

    assert len(told) == 1
    assert int(told.pop()) > int(mine)
