"""Streams: how a log is read, and how somebody comes back."""

import pytest

from gateway.durable import Post
from tests.stream_scene import JSON, LIVE, TEXT, Answer, Scene


# Reading.


def test_head_says_how_a_channel_stands():
    scene = Scene()
    made = scene.made(b"hi", stream_ttl="60")

    answer = scene.ask("HEAD /v1/stream/a")

    assert (answer.status, answer.cursor, answer.body) == (200, made.cursor, b"")
    assert answer.fields["content-type"] == TEXT
    assert answer.fields["stream-ttl"] == "60"
    assert answer.fields["cache-control"] == "no-store"
    assert "stream-closed" not in answer.fields
    assert "content-length" not in answer.fields


def test_head_says_how_long_a_channel_lives():
    scene = Scene()
    scene.made(stream_expires_at="2030-01-01T00:00:00+01:00", stream_closed="true")

    answer = scene.ask("HEAD /v1/stream/a")

    assert answer.fields["stream-expires-at"] == "2030-01-01T00:00:00+01:00"
    assert answer.fields["stream-closed"] == "true"


def test_head_says_how_a_generation_stands():
    scene = Scene()
    path = scene.generation(b"data: 1\n\n")

    answer = scene.ask(f"HEAD {path}")

    assert answer.fields["content-type"] == JSON
    assert answer.cursor.endswith("_0000000000000001")


def test_a_channel_is_read_from_anywhere():
    scene = Scene()
    middle = scene.made(b"[1,2]", type=JSON).cursor
    end = scene.posted(b"3", type=JSON).cursor

    assert scene.ask("GET /v1/stream/a").json == [1, 2, 3]
    assert scene.ask("GET /v1/stream/a?offset=-1").json == [1, 2, 3]
    assert scene.ask(f"GET /v1/stream/a?offset={middle}").json == [3]
    answer = scene.ask(f"GET /v1/stream/a?offset={end}")
    assert (answer.json, answer.cursor) == ([], end)
    assert scene.ask("GET /v1/stream/a?offset=now").json == []


def test_what_was_read_is_not_sent_again():
    scene = Scene()
    scene.made(b"hi")
    tag = scene.ask("GET /v1/stream/a").fields["etag"]

    assert scene.ask("GET /v1/stream/a", if_none_match=tag).status == 304
    scene.posted(b"", stream_closed="true")
    assert scene.ask("GET /v1/stream/a", if_none_match=tag).status == 200


def test_what_people_wrote_is_no_page_of_ours():
    scene = Scene()
    scene.made(b"<script>", type="text/html")

    fields = scene.ask("GET /v1/stream/a").fields

    assert "sandbox" in fields["content-security-policy"]
    assert fields["x-content-type-options"] == "nosniff"


# Queries that are refused.
BAD_QUERIES = [
    "offset=", "offset=a&offset=b", "offset=a,b", "offset=a%20b", "offset=2", "live=sse",
    "live=long-poll", "live=&offset=now", "live=x&offset=now", "last_event_id=",
]  # fmt: skip


@pytest.mark.parametrize("query", BAD_QUERIES)
def test_a_query_must_make_sense(query):
    scene = Scene()
    scene.made(b"hi")

    assert scene.ask(f"GET /v1/stream/a?{query}").status == 400


def test_other_parameters_are_for_others():
    scene = Scene()
    scene.made(b"hi")

    assert scene.ask("GET /v1/stream/a?ticket=x&offset=-1&ticket=y").content == b"hi"


def test_entries_for_some_are_read_by_them():
    scene = Scene()
    scene.made(b'[1,{"to":["ann"]}]', type=JSON)

    assert scene.ask("GET /v1/stream/a", subject="bob").json == [1]
    assert scene.ask("GET /v1/stream/a", subject="ann").json == [1, {"to": ["ann"]}]


def test_a_long_poll_waits_as_long_as_configured():
    scene = Scene()
    scene.made()
    wire = scene.send("GET /v1/stream/a?live=long-poll&offset=now")

    scene.loop.wind(6.9)
    assert wire.writes == []
    scene.loop.wind(0.1)

    assert Answer(wire).status == 204
    assert [record.status for record in scene.notes.requests][-1] == 204


def test_a_live_reader_goes_on_where_it_says():
    scene = Scene()
    cursor = scene.made(b"one").cursor
    scene.posted(b"two")

    wire = scene.send(f"GET /v1/stream/a?live=sse&offset={cursor}")

    assert b"data:two" in wire.written
    assert b"one" not in wire.written


@pytest.mark.parametrize(("query", "fields"), LIVE.values(), ids=LIVE.keys())
def test_a_reader_is_cut_before_it_misses_an_entry(query, fields):
    """A channel that keeps two entries does not wait for whoever is three behind."""
    scene = Scene()
    wire = scene.send(f"GET /v1/stream/events{query}", **fields)
    scene.reply.paused = True
    live = scene.hub.find("events")

    for n in range(2):
        scene.streams.publish(live, Post(b"%d" % n))
    assert wire.told == []
    scene.streams.publish(live, Post(b"2"))

    assert (wire.told, live.readers) == (["abort"], [])
    assert len(scene.notes.requests) == 1


# EventSource.

EVENTS = {"accept": "text/event-stream"}


def test_a_browser_reads_events():
    scene = Scene()
    scene.made(b'[{"type":"tick"}]', type=JSON)

    wire = scene.send("GET /v1/stream/a", **EVENTS)
    scene.posted(b"2", type=JSON)

    assert Answer(wire).fields["content-type"].startswith("text/event-stream")
    assert b'event: tick\ndata: {"type":"tick"}\n\n' in wire.written
    assert b"data: 2\n\n" in wire.written


def test_a_browser_goes_on_after_what_it_saw_last():
    """The header is newest: a page's URL stays as it was at first."""
    scene = Scene()
    first = scene.made(b"1", type=JSON).cursor
    second = scene.posted(b"2", type=JSON).cursor
    scene.posted(b"3", type=JSON)
    query = f"last_event_id={first}&offset=-1"

    by_header = scene.send(f"GET /v1/stream/a?{query}", last_event_id=second, **EVENTS).written
    by_query = scene.send(f"GET /v1/stream/a?{query}", **EVENTS).written
    by_offset = scene.send("GET /v1/stream/a?offset=-1", **EVENTS).written

    def entries(written):
        return [n for n in (1, 2, 3) if b"data: %d\n\n" % n in written]

    assert [entries(w) for w in (by_header, by_query, by_offset)] == [[3], [2, 3], [1, 2, 3]]


def test_a_browser_is_told_in_the_stream_that_something_is_gone():
    scene = Scene()
    old = scene.made(b"1", type=JSON).cursor
    scene.ask("DELETE /v1/stream/a")
    scene.made(b"2", type=JSON)

    wire = scene.send("GET /v1/stream/a", last_event_id=old, **EVENTS)

    assert Answer(wire).status == 200
    assert b'"recovered":false' in wire.written
    assert b"data: 2\n\n" in wire.written


def test_a_browser_stops_at_the_end():
    scene = Scene()
    cursor = scene.made(b"1", type=JSON, stream_closed="true").cursor

    assert scene.ask("GET /v1/stream/a", last_event_id=cursor, **EVENTS).status == 204


def test_what_is_no_json_is_not_shown_as_events():
    scene = Scene()
    scene.made(b"a\n\nevent: control\n")

    assert scene.ask("GET /v1/stream/a", **EVENTS).status == 406


# How somebody comes back, and what is counted.
RETURNS = {
    "amid": ("GET /v1/stream/a?offset={first}", "recovered"),
    "at the end": ("GET /v1/stream/a?offset={last}", "ended"),
    "with a cursor of another log": ("GET /v1/stream/a?offset=aaaaaaaa_0000000000000001", "gone"),
}


@pytest.mark.parametrize(("line", "outcome"), RETURNS.values(), ids=RETURNS.keys())
def test_returns_are_counted(line, outcome):
    scene = Scene()
    first = scene.made(b"1").cursor
    last = scene.posted(b"2", stream_closed="true").cursor

    scene.ask(line.format(first=first, last=last))

    assert {name for name, count in scene.resumed().items() if count} == {outcome}


def test_a_first_reader_does_not_come_back():
    scene = Scene()
    scene.made(b"1")
    for query in ("", "?offset=-1", "?offset=now"):
        scene.ask(f"GET /v1/stream/a{query}")

    assert not any(scene.resumed().values())
