"""Visit: what is kept of a request while its view lives."""

from gateway.callers import OPEN
from gateway.guard import read_request
from gateway.host import Request
from gateway.reply import Reply
from gateway.visits import Visit
from tests.fakes import FakeWire
from tests.scenes import LogScene


class FakeLog:
    """Keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[object] = []

    def request(self, record: object) -> None:
        self.lines.append(record)


def test_while_a_view_lives_the_request_keeps_neither_fields_nor_body_but_has_its_line():
    scene = LogScene()
    log = scene.desk.log = FakeLog()  # type: ignore[assignment]
    head = read_request(b"GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer sk-canary\r\n\r\n")
    request = Request(head, b"body", "id-1", "c", scene.loop.now)
    reply = Reply(FakeWire(), "id-1", "GET", http10=False)
    visit = Visit(scene.desk, "/a", request, reply, OPEN)

    ended = visit.ending()

    assert head.get(b"authorization") == b""
    assert (head.headers, request.body) == ([], b"")
    ended()
    assert [(line.method, line.path) for line in log.lines] == [("GET", "/a")]
