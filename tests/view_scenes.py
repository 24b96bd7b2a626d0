"""Clients of a log's views: what was written for each, read as a client reads it."""

import re
from collections.abc import Callable
from typing import NamedTuple

import orjson

from gateway._sseparse import Batch, EventParser, Tap
from gateway.eventlog import EventLog
from gateway.hub import LOG_CAP, Live
from gateway.reply import Reply
from tests import oracle
from tests.fakes import FakeWire
from tests.scenes import LogScene


WALL = 1_800_000_000.0


class Event(NamedTuple):
    """One event as EventSource gives it to a page."""

    id: str
    type: str
    data: str

    @property
    def json(self):
        return orjson.loads(self.data)


def events(body: bytes, id: str = "") -> list[Event]:
    """Read a whole event stream, or as much of one as came, by the rules of the standard."""
    found = []
    for block in oracle.blocks(body)[0]:
        match = re.findall(rb"^id: ?(.*)$", block, re.MULTILINE)
        id = match[-1].decode() if match else id
        read = oracle.read_block(block)
        if read is not None:
            found.append(Event(id, read[0].decode() or "message", read[1].decode()))
    return found


class Client:
    """A request's reply, and what came of it."""

    def __init__(self, *, method: str = "GET") -> None:
        self.wire = FakeWire()
        self.reply = Reply(self.wire, "id-1", method, http10=False)

    @property
    def status(self) -> int:
        return int(self.wire.parts[0].split()[1])

    @property
    def headers(self) -> dict[str, str]:
        lines = [line.decode().partition(": ") for line in self.wire.parts[1]]
        assert len({name for name, _, _ in lines}) == len(lines), "a field was sent twice"
        return {name: value for name, _, value in lines}

    @property
    def body(self) -> bytes:
        raw = self.wire.parts[2]
        return oracle.chunked_body(raw, 1 << 60).payload if self.chunked else raw

    @property
    def chunked(self) -> bool:
        return b"transfer-encoding: chunked" in self.wire.parts[1]

    @property
    def events(self) -> list[Event]:
        return events(self.body)

    @property
    def whole(self) -> bool:
        """Whether the answer is over, as its framing says."""
        return self.reply.ended and self.wire.told == ["answered"]


class FakeTap(Tap):
    """Lets what comes flow into a log; what is to be decided goes to `attend`."""

    def __init__(
        self,
        parser: EventParser,
        live: Live,
        clock: Callable[[], float],
        *,
        attend: Callable[[Batch | None, float], None],
    ) -> None:
        super().__init__(parser, live.log, live.readers, LOG_CAP, clock)
        self.attend = attend
        self.pump = live.pump


class ViewScene(LogScene):
    """A log whose time, of both kinds, only the test moves."""

    def __init__(self, *, grace: float | None = 60.0, patience: float = 60.0) -> None:
        super().__init__(grace=grace, patience=patience)
        self.desk.wall = lambda: WALL + self.loop.now

    def id(self, number: int) -> str:
        return self.live.log.cursor(number)

    def replace_log(self, log: EventLog) -> None:
        """Follow another kind of log."""
        self.live = self.hub.add(Live(log, self.hub))


class PartlySecret(EventLog):
    """A log whose entries with "secret" in them are for one subject only."""

    def visible(self, cursor: int, subject: str) -> list[Batch]:
        batches = self.after(cursor)
        return [b for b in batches if b"secret" not in b.data or subject == "friend"]


class Messages(EventLog):
    """A log of bytes as people wrote them."""

    def __init__(self, media: str) -> None:
        super().__init__("messages", "aaaabbbb")
        self.media = media
        self.json = False


def chunk(text: str | None, *, index: int = 0, **more: object) -> bytes:
    """Return an event of a chat completion."""
    choice = {"index": index, "delta": {"content": text}, "finish_reason": None}
    return b"data: " + orjson.dumps({"choices": [choice], **more}) + b"\n\n"
