"""Streams: logs made, written, read and deleted at their path, with fakes for all else.

The wire itself is judged by the protocol's own suite: `make conformance`.
"""

import orjson
import pytest

from gateway._sseparse import Batch
from gateway.callers import Caller
from gateway.config import parse
from gateway.cors import Cors
from gateway.desk import Desk
from gateway.durable import Post
from gateway.eventlog import State
from gateway.host import Request
from gateway.hub import Hub
from gateway.metrics import Metrics
from gateway.reply import Reply
from gateway.streams import MAX_BODY, MAX_CHANNELS, Streams
from gateway.upgrades import Upgrades
from gateway.visits import Endpoint, Entrance
from tests.asking import head
from tests.fakes import FakeLoop, FakeProducer, FakeWire
from tests.stand import Stand
from tests.view_scenes import events


CONFIG = """
[logs]
long_poll = "7s"

[upstreams.none]
base_url = "http://127.0.0.1:9/v1"

[models."*"]
targets = [{ upstream = "none" }]

[channels.events]
retain = { entries = 2, bytes = "1KiB", age = "1m" }

[channels.clock]
welcome = true
periodic = "10s"
"""
CONFIGURED = 2
TEXT, JSON = "text/plain", "application/json"


class Notes:
    """The log of requests."""

    def __init__(self) -> None:
        self.requests = []
        self.warnings = []  # the channels they are about

    def request(self, record):
        self.requests.append(record)

    def warning(self, msg, *, channel):
        self.warnings.append(channel)


class Answer:
    """What was answered so far."""

    def __init__(self, wire):
        line, fields, self.body = wire.parts
        self.status = int(line.split()[1])
        self.fields = dict(field.decode().split(": ", 1) for field in fields)

    @property
    def cursor(self):
        return self.fields["stream-next-offset"]

    @property
    def content(self):
        """The body without its chunks."""
        if self.fields.get("transfer-encoding") != "chunked":
            return self.body
        pieces, rest = [], self.body
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            pieces.append(rest[: int(size, 16)])
            rest = rest[int(size, 16) + 2 :]
        return b"".join(pieces)

    @property
    def json(self):
        return orjson.loads(self.content)


class Scene:
    """The handlers, a hub, and a clock that is wound by hand."""

    def __init__(self, config: str = CONFIG) -> None:
        self.loop = FakeLoop()
        self.hub = Hub(self.loop, wall=self.loop.time)
        self.notes = Notes()
        self.metrics = Metrics([], [])
        self.desk = Desk(
            hub=self.hub, metrics=self.metrics, log=self.notes, loop=self.loop,
            clock=self.loop.time, wall=self.loop.time,
        )  # fmt: skip
        upgrades = Upgrades(self.desk, Cors(()))
        self.streams = Streams(parse(config, name="test.toml", env={}), upgrades, self.desk)

    def send(self, line, body=b"", *, subject="", **fields):
        """Send a request; return the wire, on which more may be written."""
        method, path = line.partition("?")[0].split()
        serve, size = self.streams.methods[method]
        serve = {"/events": self.streams.events, "/trigger-event": self.streams.trigger}.get(
            path, serve
        )
        asked = head(line, host="h:1", **fields)
        request = Request(asked, body, "id-1", "c", self.loop.now)
        wire = FakeWire()
        self.reply = reply = Reply(wire, "id-1", method, http10=False)
        endpoint = Endpoint("/v1/stream/{id}", serve, size)
        Entrance(self.desk, endpoint, Caller(subject)).handle(request, reply)
        return wire

    def ask(self, line, body=b"", **more):
        """Send a request that is answered at once."""
        return Answer(self.send(line, body, **more))

    def made(self, body=b"", *, type=TEXT, **more):
        """Make the channel `a`."""
        answer = self.ask("PUT /v1/stream/a", body, content_type=type, **more)
        assert answer.status == 201
        return answer

    def posted(self, body, *, type=TEXT, **more):
        """Append to the channel `a`."""
        answer = self.ask("POST /v1/stream/a", body, content_type=type, **more)
        assert answer.status == 204
        return answer

    def generation(self, *data, subject=""):
        """Open a generation's log with these events; return the path it is read at."""
        live = self.hub.open(FakeProducer(), subject=subject)
        for number, one in enumerate(data, 1):
            live.log.append(Batch(one, number, 1))
        return f"/v1/stream/{live.log.id}"

    def resumed(self):
        """How many came with a cursor, by what became of them."""
        lines = self.metrics.render().decode().splitlines()
        counts = [line for line in lines if line.startswith("headgate_resumes_total{")]
        return {line.split('"')[1]: float(line.split()[-1]) for line in counts}


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


# Ways to read live, and how a channel goes that is being read.
LIVE = {
    "sse": ("?live=sse&offset=now", {}),
    "events": ("?offset=now", {"accept": "text/event-stream"}),
}
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
