"""Visit: what is kept of a request while its view lives, and the line that says it was here."""

from collections.abc import Callable

import pytest

from gateway.callers import OPEN
from gateway.eventlog import EventLog, State
from gateway.guard import read_request
from gateway.host import Request
from gateway.logs import RequestRecord
from gateway.reply import Reply
from gateway.visits import Visit
from tests.fakes import FakeWire
from tests.scenes import LogScene


class FakeLog:
    """Keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[RequestRecord] = []

    def request(self, record: RequestRecord) -> None:
        self.lines.append(record)


class VisitScene(LogScene):
    """Somebody comes to read a log."""

    def __init__(self, dialect: str = "openai") -> None:
        super().__init__()
        self.lines = FakeLog()
        self.desk.log = self.lines  # type: ignore[assignment]
        field = b"Authorization: Bearer sk-canary\r\n"
        self.head = read_request(b"GET /a HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n")
        self.request = Request(self.head, b"body", "id-1", "c", self.loop.now)
        reply = Reply(FakeWire(), "id-1", "GET", http10=False)
        self.visit = Visit(self.desk, "/a", self.request, reply, OPEN)
        self.read = EventLog("gen_1", "abcdefg2", dialect=dialect)

    def line(self, ended: Callable[[], None]) -> RequestRecord:
        ended()
        (line,) = self.lines.lines
        return line


def test_while_a_view_lives_the_request_keeps_neither_fields_nor_body_but_has_its_line():
    scene = VisitScene()

    ended = scene.visit.ending(scene.read)

    assert scene.head.get(b"authorization") == b""
    assert (scene.head.headers, scene.request.body) == ([], b"")
    line = scene.line(ended)
    assert (line.method, line.path, line.route) == ("GET", "/a", "/a")


@pytest.mark.parametrize("closed", [True, False])
def test_the_line_of_a_reader_says_of_which_generation_and_how_that_ended(closed):
    scene = VisitScene()
    ended = scene.visit.ending(scene.read)
    if closed:
        scene.read.close(State.CANCELLED, "stop")

    line = scene.line(ended)
    assert (line.generation, line.end) == ("gen_1", "stop" if closed else "")
    assert line.events is None, "nobody counted them"


def test_the_line_of_a_reader_of_a_channel_names_no_generation():
    scene = VisitScene(dialect="")
    ended = scene.visit.ending(scene.read)
    scene.read.close(State.FINISHED, "closed")

    line = scene.line(ended)
    assert (line.generation, line.end) == ("", "")
