"""Streams: logs made and written at their path, with fakes for all else.

The wire itself is judged by the protocol's own suite: `make conformance`.
"""

import pytest

from gateway.durable import Post
from gateway.streams import MAX_BODY, MAX_CHANNELS
from tests.stand import Stand
from tests.stream_scene import CONFIGURED, JSON, TEXT, Answer, Scene


# Making.


def test_a_channel_is_made_and_said_where():
    scene = Scene()

    answer = scene.ask("PUT /v1/stream/a", b"hi", content_type=TEXT)

    epoch = scene.hub.find("a").log.epoch
    assert answer.status == 201
    assert answer.fields["location"] == "http://h:1/v1/stream/a"
    assert answer.fields["content-type"] == TEXT
    assert answer.cursor == f"{epoch}_0000000000000001"
    assert answer.fields["cross-origin-resource-policy"] == "same-origin"
    assert answer.body == b""


def test_who_ended_tls_says_how_it_was_asked_for():
    answer = Scene().made(x_forwarded_proto="https")

    assert answer.fields["location"] == "https://h:1/v1/stream/a"


def test_a_repeated_put_confirms_and_appends_nothing():
    scene = Scene()
    first = scene.made(b"hi")

    again = scene.ask("PUT /v1/stream/a", b"more", content_type=TEXT)

    assert (again.status, again.cursor) == (200, first.cursor)
    assert "location" not in again.fields


def test_a_put_on_other_terms_is_a_conflict():
    scene = Scene()
    scene.made()

    assert scene.ask("PUT /v1/stream/a", content_type=JSON).status == 409


def test_a_channel_may_be_made_closed():
    scene = Scene()

    assert scene.made(b"all", stream_closed="true").fields["stream-closed"] == "true"
    assert scene.ask("GET /v1/stream/a").fields["stream-closed"] == "true"


# Ids that a channel cannot have.
BAD_IDS = ["a/b", "..", "a%20b", "x" * 129, "gen_0123"]


@pytest.mark.parametrize("id", BAD_IDS)
def test_an_id_is_simple_and_not_a_generations(id):
    scene = Scene()

    assert scene.ask(f"PUT /v1/stream/{id}", content_type=TEXT).status == 400
    assert len(scene.hub) == CONFIGURED


async def test_a_channel_may_have_the_name_of_what_is_done_to_one():
    async with Stand() as stand:
        client = await stand.open()
        made = await client.ask("PUT", "/v1/stream/cancel", content_type="application/json")
        posted = await client.ask(
            "POST", "/v1/stream/cancel", [1], content_type="application/json"
        )
        await client.close()

    assert (made.status, posted.status) == (201, 204)


def test_what_is_refused_is_not_made():
    scene = Scene()

    assert scene.ask("PUT /v1/stream/a", b"no json", content_type=JSON).status == 400
    assert scene.ask("GET /v1/stream/a").status == 404


def test_there_are_so_many_channels_at_most(monkeypatch):
    monkeypatch.setattr("gateway.streams.MAX_CHANNELS", CONFIGURED + 3)
    scene = Scene()
    for n in range(3):
        assert scene.ask(f"PUT /v1/stream/{n}").status == 201

    assert scene.ask("PUT /v1/stream/3").status == 503
    scene.ask("DELETE /v1/stream/0")
    assert scene.ask("PUT /v1/stream/3").status == 201


def test_nobody_takes_the_room_of_others(monkeypatch):
    monkeypatch.setattr("gateway.streams.MAX_OF_ONE", 2)
    scene = Scene()
    for n in range(2):
        assert scene.ask(f"PUT /v1/stream/{n}", subject="ann").status == 201

    refused = scene.ask("PUT /v1/stream/2", subject="ann", headgate_shared="true")
    assert (refused.status, refused.json["error"]["code"]) == (503, "overloaded")
    assert scene.ask("PUT /v1/stream/1", subject="ann").status == 200
    assert scene.ask("PUT /v1/stream/3", subject="bob").status == 201
    scene.ask("DELETE /v1/stream/0", subject="ann")
    assert scene.ask("PUT /v1/stream/2", subject="ann").status == 201


def test_expired_channels_make_room():
    scene = Scene()
    for n in range(MAX_CHANNELS - CONFIGURED):
        assert scene.ask(f"PUT /v1/stream/{n}", stream_ttl="10").status == 201
    scene.loop.wind(10)

    assert scene.ask("PUT /v1/stream/one-more").status == 201
    assert len(scene.hub) == CONFIGURED + 1


# Writing.


def test_a_post_wakes_whoever_reads():
    scene = Scene()
    scene.made(type=JSON)
    wire = scene.send("GET /v1/stream/a?live=long-poll&offset=now")
    assert wire.writes == []

    scene.posted(b"[1,2]", type=JSON)

    answer = Answer(wire)
    assert (answer.status, answer.json) == (200, [1, 2])


# What closes a channel, and what its waiting reader gets.
CLOSINGS = {"alone": (b"", 204, b""), "with the last entry": (b"end", 200, b"end")}


@pytest.mark.parametrize(("body", "status", "read"), CLOSINGS.values(), ids=CLOSINGS.keys())
def test_the_end_wakes_whoever_reads(body, status, read):
    scene = Scene()
    scene.made(b"hi")
    wire = scene.send("GET /v1/stream/a?live=long-poll&offset=now")

    scene.posted(body, stream_closed="true")

    answer = Answer(wire)
    assert (answer.status, answer.content) == (status, read)
    assert answer.fields["stream-closed"] == "true"


def test_a_post_says_how_the_channel_stands():
    scene = Scene()
    scene.made()
    producer = {"producer_id": "me", "producer_epoch": "0", "producer_seq": "0"}

    answer = scene.ask("POST /v1/stream/a", b"x", content_type=TEXT, **producer)

    assert answer.status == 200
    assert (answer.fields["producer-epoch"], answer.fields["producer-seq"]) == ("0", "0")
    assert answer.cursor.endswith("_0000000000000001")


def test_an_error_says_how_the_channel_stands():
    scene = Scene()
    made = scene.made(stream_closed="true")

    answer = scene.ask("POST /v1/stream/a", b"x", content_type=TEXT)

    assert (answer.status, answer.cursor) == (409, made.cursor)
    assert answer.fields["stream-closed"] == "true"


def test_the_server_writes_in_the_same_way():
    scene = Scene()
    live = scene.hub.find("events")

    scene.streams.publish(live, Post(b'{"type":"tick"}'))

    assert scene.ask("GET /v1/stream/events").json == [{"type": "tick"}]


# Methods that write.
WRITES = ["PUT", "POST", "DELETE"]


@pytest.mark.parametrize("method", WRITES)
def test_nobody_writes_the_log_of_a_generation(method):
    scene = Scene()
    path = scene.generation(b"data: 1\n\n")

    answer = scene.ask(f"{method} {path}", b"1", content_type=JSON)

    assert (answer.status, answer.fields["allow"]) == (405, "GET, HEAD")
    assert scene.ask(f"GET {path}").json == [1]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
def test_what_is_not_there_is_not_found(method):
    answer = Scene().ask(f"{method} /v1/stream/a", b"x", content_type=TEXT)

    assert answer.status == 404


@pytest.mark.parametrize("method", ["GET", "HEAD", *WRITES])
def test_the_log_of_another_is_not_there(method):
    scene = Scene()
    scene.made(subject="ann")
    for path in (scene.generation(subject="ann"), "/v1/stream/a"):
        asked = {"body": b"x", "content_type": TEXT}
        theirs = scene.ask(f"{method} {path}", subject="bob", **asked)
        mine = scene.ask(f"{method} {path}", subject="ann", **asked)

        assert (theirs.status, mine.status) in [(404, 200), (404, 204), (404, 405)]


def test_a_channel_may_be_made_for_all_callers():
    scene = Scene()
    scene.made(subject="ann", headgate_shared="true")

    scene.posted(b"hi", subject="bob")

    assert scene.ask("GET /v1/stream/a", subject="eve").content == b"hi"


# Who made a channel for whom, and who wants it confirmed for whom.
CONFIRMS = {
    "for all, twice": ("a", "true", "true", 200),
    "for oneself, twice": ("a", "false", "false", 200),
    "for oneself, but it is for all": ("a", "true", "false", 409),
    "for all, but it is for oneself": ("a", "false", "true", 409),
    "for all, as configured": ("events", "false", "true", 200),
    "for oneself, but it is configured": ("events", "false", "false", 409),
}


@pytest.mark.parametrize(("id", "was", "wants", "status"), CONFIRMS.values(), ids=CONFIRMS.keys())
def test_nobody_takes_a_shared_channel_for_their_own(id, was, wants, status):
    scene = Scene()
    scene.made(type=JSON, subject="ann", headgate_shared=was)

    answer = scene.ask(
        f"PUT /v1/stream/{id}", content_type=JSON, subject="ann", headgate_shared=wants
    )  # fmt: skip

    assert answer.status == status


def test_without_keys_all_channels_are_for_all():
    scene = Scene()
    scene.made()

    again = scene.ask("PUT /v1/stream/a", content_type=TEXT, headgate_shared="true")

    assert again.status == 200


# Over real sockets.


async def test_two_clients_share_a_channel():
    async with Stand() as stand:
        writer, reader = await stand.open(), await stand.open()
        made = await writer.ask("PUT", "/v1/stream/a", content_type=JSON)
        reader.send("GET", "/v1/stream/a?live=sse&offset=-1")
        status, fields = await reader.head()
        first = await reader.chunk()
        posted = await writer.ask("POST", "/v1/stream/a", [1, {"n": 2}], content_type=JSON)
        live = await reader.chunk()
        await reader.close()
        await writer.close()

    assert (made.status, status, posted.status) == (201, 200, 204)
    assert fields["content-type"] == "text/event-stream"
    assert made.headers["stream-next-offset"].encode() in first
    assert b'event: data\ndata:[1,{"n":2}]\n\n' in live
    assert posted.headers["stream-next-offset"].encode() in live


KEYS = """
[[keys]]
key = "a-key-of-ann-0123"
subject = "ann"

[[keys]]
key = "a-key-of-bob-0123"
subject = "bob"
"""


async def test_callers_have_channels_of_their_own_and_events_together():
    ann, bob = ({"x_api_key": f"a-key-of-{name}-0123"} for name in ("ann", "bob"))
    async with Stand(more=KEYS) as stand:
        client = await stand.open()
        made = await client.ask("PUT", "/v1/stream/a", content_type=JSON, **ann)
        theirs = await client.ask("GET", "/v1/stream/a", **bob)
        asked = await client.ask("POST", "/v1/tickets", {"opens": "/v1/stream/a"}, **ann)
        by_ticket = await client.ask("GET", f"/v1/stream/a?ticket={asked.json['ticket']}")
        told = await client.ask("POST", "/trigger-event", {"message": "hi"}, **ann)
        client.send("HEAD", "/events", headers={"x-api-key": "a-key-of-bob-0123"})
        status, fields = await client.head()
        await client.close()

    assert (made.status, theirs.status, by_ticket.json) == (201, 404, [])
    assert (told.status, status, fields["stream-next-offset"]) == (200, 200, told.json["id"])


async def test_a_post_is_of_a_bounded_size():
    async with Stand() as stand:
        client = await stand.open()
        await client.ask("PUT", "/v1/stream/a")
        bytes = {"content_type": "application/octet-stream"}
        fits = await client.ask("POST", "/v1/stream/a", b"x" * MAX_BODY, **bytes)
        client.send("POST", "/v1/stream/a", b"x" * (MAX_BODY + 1))
        status, _ = await client.head()
        await client.close()

    assert (fits.status, status) == (204, 413)
