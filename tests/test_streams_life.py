"""Streams: how a channel goes, and what its readers are told."""

import pytest

from gateway.eventlog import State
from tests.stream_scene import CONFIGURED, JSON, LIVE, Answer, Scene


# Deleting.


def test_a_deleted_channel_is_gone_and_may_be_made_anew():
    scene = Scene()
    old = scene.made(b"old").cursor

    assert scene.ask("DELETE /v1/stream/a").status == 204
    assert scene.ask("GET /v1/stream/a").status == 404
    scene.made(b"new")

    assert scene.ask("GET /v1/stream/a").body.count(b"new") == 1
    assert scene.ask(f"GET /v1/stream/a?offset={old}").status == 410


def test_who_waits_for_a_deleted_channel_is_told_that_it_is_not_there():
    scene = Scene()
    scene.made()
    live = scene.hub.find("a")
    wire = scene.send("GET /v1/stream/a?live=long-poll&offset=now")

    scene.ask("DELETE /v1/stream/a")

    assert Answer(wire).status == 404
    assert (live.log.state, live.readers) == (State.CANCELLED, [])


def test_only_who_made_a_shared_channel_may_delete_it():
    scene = Scene()
    scene.made(subject="ann", headgate_shared="true")

    assert scene.ask("DELETE /v1/stream/a", subject="bob").status == 403
    assert scene.ask("DELETE /v1/stream/a", subject="ann").status == 204


def test_a_configured_channel_stays():
    scene = Scene()

    assert scene.ask("DELETE /v1/stream/events").status == 405
    assert scene.ask("PUT /v1/stream/events", content_type=JSON).status == 200


def test_nobody_closes_a_configured_channel():
    scene = Scene()

    for body in (b"", b"1"):
        fields = {"content_type": JSON, "stream_closed": "true"}
        assert scene.ask("POST /v1/stream/events", body, **fields).status == 403
    assert scene.ask("POST /v1/stream/events", b"2", content_type=JSON).status == 204


def test_a_configured_channel_keeps_what_it_says():
    scene = Scene()
    for n in range(3):
        scene.ask("POST /v1/stream/events", b"%d" % n, content_type=JSON)

    assert scene.ask("GET /v1/stream/events").json == [1, 2]
    scene.loop.wind(60)
    assert scene.ask("GET /v1/stream/events").json == []


# Its time.


def test_a_channel_goes_when_nobody_needs_it():
    scene = Scene()
    scene.made(stream_ttl="10")
    scene.loop.wind(9)
    assert scene.ask("GET /v1/stream/a").status == 200  # which counts
    scene.loop.wind(9)
    assert scene.ask("HEAD /v1/stream/a").status == 200  # which does not
    scene.loop.wind(1)

    assert scene.ask("HEAD /v1/stream/a").status == 404
    assert scene.hub.find("a") is None


DAY = 86400.0


@pytest.mark.parametrize("step", [DAY, -DAY])
def test_a_clock_that_is_set_takes_no_channel_and_no_entry_away(step):
    scene = Scene()
    scene.made(b"hi", stream_ttl="10")
    scene.ask("POST /v1/stream/events", b"[1]", content_type=JSON)
    for one in (scene.hub, scene.desk):
        one.wall = lambda: scene.loop.now + step
    scene.loop.wind(9)

    assert scene.ask("HEAD /v1/stream/a").status == 200
    assert scene.ask("GET /v1/stream/events").json == [1]
    scene.loop.wind(52)
    assert scene.ask("HEAD /v1/stream/a").status == 404
    assert scene.ask("GET /v1/stream/events").json == []


def test_a_channel_stays_while_somebody_reads():
    scene = Scene()
    scene.made(stream_ttl="10")
    scene.send("GET /v1/stream/a?live=sse&offset=now")
    scene.loop.wind(50)

    assert scene.ask("HEAD /v1/stream/a").status == 200


def test_it_has_been_read_until_the_reader_left():
    scene = Scene()
    scene.made(stream_ttl="10")
    scene.send("GET /v1/stream/a?live=sse&offset=now")
    scene.loop.wind(50.5)  # after the hub last looked
    scene.reply.on_gone()

    scene.loop.wind(9.9)
    assert len(scene.hub) == CONFIGURED + 1
    scene.loop.wind(1.1)
    assert len(scene.hub) == CONFIGURED


# How a channel goes that is being read.
WAYS_TO_GO = {
    "deleted": lambda scene: scene.ask("DELETE /v1/stream/a"),
    "expired": lambda scene: scene.loop.wind(21),  # nobody asks for it
}


@pytest.mark.parametrize("go", WAYS_TO_GO.values(), ids=WAYS_TO_GO.keys())
@pytest.mark.parametrize(("query", "fields"), LIVE.values(), ids=LIVE.keys())
def test_a_reader_of_a_channel_that_goes_is_cut_and_told_of_no_end(query, fields, go):
    """So its client comes back, and learns by a 404 that nothing is there."""
    scene = Scene()
    scene.made(type=JSON, stream_expires_at="1970-01-01T00:17:00Z")  # the clock began at 1000 s
    wire = scene.send(f"GET /v1/stream/a{query}", **fields)

    go(scene)

    assert wire.told == ["abort"]
    assert b"streamClosed" not in wire.written
    assert len(scene.hub) == CONFIGURED
    assert [note.method for note in scene.notes.requests].count("GET") == 1
    assert scene.ask(f"GET /v1/stream/a{query}", **fields).status == 404
