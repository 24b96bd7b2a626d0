"""The handlers of `/v1/stream/…`, with fakes for all else."""

import orjson

from gateway._sseparse import Batch
from gateway.callers import Caller
from gateway.config import parse
from gateway.cors import Cors
from gateway.desk import Desk
from gateway.host import Request
from gateway.hub import Hub
from gateway.metrics import Metrics
from gateway.reply import Reply
from gateway.streams import Streams
from gateway.upgrades import Upgrades
from gateway.visits import Endpoint, Entrance
from tests.asking import head
from tests.fakes import FakeLoop, FakeProducer, FakeWire


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

# Ways to read live.
LIVE = {
    "sse": ("?live=sse&offset=now", {}),
    "events": ("?offset=now", {"accept": "text/event-stream"}),
}


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
