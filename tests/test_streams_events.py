"""Streams: what the server says of its own, and the channel `events`."""

import pytest

from tests.stream_scene import CONFIG, Answer, Scene
from tests.view_scenes import events


# What the server says of its own.


def test_a_server_says_the_time_to_whoever_reads():
    scene = Scene()
    scene.send("GET /v1/stream/clock?live=sse&offset=now")
    scene.send("GET /v1/stream/clock", accept="text/event-stream")

    scene.loop.wind(20)

    assert scene.ask("GET /v1/stream/clock").json == [
        {"type": "periodic", "readers": 2, "timestamp": f"1970-01-01T00:{time}.000Z"}
        for time in ("16:50", "17:00")
    ]


def test_a_channel_too_small_for_the_time_is_warned_of_each_time():
    small = 'periodic = "10s"\nretain = { bytes = "10B" }'
    scene = Scene(CONFIG.replace('periodic = "10s"', small))
    scene.send("GET /v1/stream/clock?live=sse&offset=now")

    scene.loop.wind(20)

    assert scene.notes.warnings == ["clock", "clock"]


def test_a_server_does_not_talk_to_itself():
    scene = Scene()

    scene.loop.wind(60)

    assert scene.ask("GET /v1/stream/clock").json == []


def test_a_server_that_closes_is_silent():
    scene = Scene()
    scene.streams.close()
    scene.hub.close()

    assert scene.loop.timers == []


def test_a_browser_is_greeted_and_its_cursor_stays():
    scene = Scene()
    scene.send("GET /v1/stream/clock?live=sse&offset=now")

    wire = scene.send("GET /v1/stream/clock", accept="text/event-stream")

    opening, hello = events(Answer(wire).content)
    told = {"type": "welcome", "channel": "clock", "readers": 2}
    assert hello.json == told | {"timestamp": "1970-01-01T00:16:40.000Z"}
    assert (hello.type, hello.id) == ("welcome", opening.id)


def test_a_greeting_is_no_entry():
    scene = Scene()
    wire = scene.send("GET /v1/stream/clock?live=sse&offset=-1")

    assert b"welcome" not in wire.written
    assert scene.ask("GET /v1/stream/clock").json == []


def test_who_was_not_asked_to_greet_does_not():
    scene = Scene()

    wire = scene.send("GET /v1/stream/events", accept="text/event-stream")

    assert b"welcome" not in wire.written


# The channel `events`.


def test_an_event_is_triggered_and_read_by_a_browser():
    scene = Scene()
    wire = scene.send("GET /events")

    answer = scene.ask("POST /trigger-event", b'{"message":"hi"}')

    event = {"type": "notification", "message": "hi", "timestamp": "1970-01-01T00:16:40.000Z"}
    last = events(Answer(wire).content)[-1]
    assert (last.type, last.json) == ("notification", event)
    assert (answer.status, answer.json) == (200, {"id": last.id} | event)
    assert scene.ask("GET /v1/stream/events").json == [event]


def test_an_event_has_the_type_that_it_is_given():
    scene = Scene()

    scene.ask("POST /trigger-event", b'{"message":{"n":[1]},"type":"alert"}')

    [event] = scene.ask("GET /v1/stream/events").json
    assert (event["type"], event["message"]) == ("alert", {"n": [1]})


def test_an_event_reaches_whom_it_is_for():
    scene = Scene()

    answer = scene.ask("POST /trigger-event", b'{"message":1,"to":["ann"]}', subject="bob")

    assert answer.json["to"] == ["ann"]
    assert scene.ask("GET /v1/stream/events", subject="bob").json == []
    assert len(scene.ask("GET /v1/stream/events", subject="ann").json) == 1


# What is no event, and what is said of it.
NO_EVENTS = {
    "nothing": (b"", "body"),
    "no message": (b'{"type":"alert"}', "message"),
    "a list": (b"[]", "object"),
    "a type that is none": (b'{"message":"hi","type":1}', "$.type"),
    "no subscribers": (b'{"message":"hi","to":"ann"}', "$.to"),
    "no JSON in it": (b'{"message":"\xff"}', "JSON"),
    "too deep": (b'{"message":' + b"[" * 65 + b"]" * 65 + b"}", "nests"),
    "far too deep": (b'{"message":' + b"[" * 100_000, "body"),
}


@pytest.mark.parametrize(("body", "says"), NO_EVENTS.values(), ids=NO_EVENTS.keys())
def test_what_is_no_event_is_refused(body, says):
    scene = Scene()

    answer = scene.ask("POST /trigger-event", body)

    assert answer.status == 400
    assert says in answer.json["error"]["message"]
    assert scene.ask("GET /v1/stream/events").json == []


def test_events_are_read_in_other_ways_too():
    scene = Scene()
    scene.ask("POST /trigger-event", b'{"message":"hi"}')

    assert b"event: control" in scene.send("GET /events?live=sse&offset=-1").written
    assert scene.ask("GET /events?live=long-poll&offset=-1").json[0]["message"] == "hi"


def test_a_browser_that_lost_its_place_among_the_events_is_told():
    scene = Scene()
    cursors = [scene.ask("POST /trigger-event", b'{"message":1}').json["id"] for _ in range(4)]

    there = events(Answer(scene.send("GET /events", last_event_id=cursors[2])).content)
    gone = events(Answer(scene.send("GET /events", last_event_id=cursors[0])).content)

    assert "recovered" not in there[0].json
    assert gone[0].json["recovered"] is False
    assert ([e.id for e in there[1:]], [e.id for e in gone[1:]]) == (cursors[3:], cursors[2:])
