"""The shared vectors of HTTP requests, each over a real socket, whole and byte by byte."""

import asyncio
import contextlib
import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.stand import Stand


Row = dict[str, Any]

ROWS: list[Row] = json.loads((Path(__file__).parent / "vectors" / "http.json").read_text())
REFUSED = {400, 411, 413, 414, 417, 421, 426, 431, 501, 505}
# Requests of fewer bytes than this are also sent one byte at a time.
SHORT = 300
# Seconds after which a connection hangs: what is still to come would be a 408.
PATIENCE = 9.0
# Asked behind an accepted request: its answer is the last, and shows that nothing was left over.
PROBE = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Request-Id: probe\r\n\r\n"
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) [^\n]*\r\n(?:[^\r\n]+\r\n)*?x-request-id: (\S+)\r\n")


def request(row: Row) -> bytes:
    text: str = row["request"]
    for token, (part, times) in row.get("expand", {}).items():
        text = text.replace(token, part * times)
    return text.replace("{{WS}}", "/v1/ws/chat").encode("latin-1")


def finals(received: bytes) -> list[int]:
    """The final statuses that answer the row's requests."""
    found = STATUS.findall(received)
    return [int(status) for status, id in found if id != b"probe" and int(status) >= 200]


class Client:
    """A client that notes what it gets, and whether the server closed."""

    def __init__(self, sock: socket.socket) -> None:
        self.received = b""
        self.closed = False
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def send(self, data: bytes, *, bytewise: bool) -> None:
        """Send all, or as much as the server lets us."""
        try:
            for piece in [data[i : i + 1] for i in range(len(data))] if bytewise else [data]:
                await self._loop.sock_sendall(self._sock, piece)
                await asyncio.sleep(0)  # the server reads now
        except ConnectionError:
            pass

    def half_close(self) -> None:
        """Send FIN."""
        self._sock.shutdown(socket.SHUT_WR)

    async def read(self, *, until_answer: bool) -> None:
        """Read to the end of the connection, or to the first final answer."""
        while not self.closed and not (until_answer and finals(self.received)):
            try:
                data = await self._loop.sock_recv(self._sock, 65536)
            except ConnectionError:
                data = b""
            self.received += data
            self.closed = not data


async def converse(row: Row, client: Client, *, bytewise: bool) -> None:
    """Send a row; unless it must close the connection, ask once more on the same one."""
    await client.send(request(row), bytewise=bytewise or row.get("send") == "bytewise")
    if row.get("half_close"):
        client.half_close()
    must_close = row["expect"] == "reject" or row.get("must_close", False)
    await client.read(until_answer=not must_close)
    if not client.closed:
        await client.send(PROBE, bytewise=False)
        await client.read(until_answer=False)


def complaints(row: Row, received: bytes, closed: bool) -> list[str]:
    """What is wrong with what a row got; nothing if nothing."""
    statuses = finals(received)
    also = set(row.get("accept_also", []))
    refused = set(row.get("reject_status", REFUSED)) | also
    rules = {
        "hangs": not closed,
        "a 500": 500 in statuses,
        "too many answers": len(statuses) > row.get("max_responses", 1),
        "too few answers": len(statuses) < row.get("min_responses", 0),
        "accepted": row["expect"] == "reject" and statuses and statuses[0] not in refused,
        "refused": row["expect"] == "accept"
        and not (statuses and (statuses[0] not in REFUSED or statuses[0] in also)),
        "a forbidden status": any(s in row.get("forbid_status", []) for s in statuses),
        "a forbidden text": row.get("forbid_in_response", "\0").encode() in received,
    }
    return [rule for rule, broken in rules.items() if broken]


async def judge(row: Row, port: int, *, bytewise: bool) -> str:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        client = Client(sock)
        with contextlib.suppress(TimeoutError):  # then it is not closed
            await asyncio.wait_for(converse(row, client, bytewise=bytewise), PATIENCE)
    wrong = complaints(row, client.received, client.closed)
    return f"{row['name']}: {', '.join(wrong)} {finals(client.received)}" if wrong else ""


async def failures(rows: list[Row], *, bytewise: bool) -> list[str]:
    """Run one row after another, and return what went wrong."""
    loop, errors = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda loop, context: errors.append(str(context)))
    async with Stand() as stand:
        # Not all at once: what waits to be accepted arrives in one piece in the end.
        verdicts = [await judge(row, stand.port, bytewise=bytewise) for row in rows]
    assert errors == []
    assert {line["level"] for line in stand.log_lines} <= {"info", "warning"}
    assert {line["msg"] for line in stand.log_lines} == {"listening", "started", "request"}
    return [verdict for verdict in verdicts if verdict]


# The log of all rows would not fit into the pipe that a stand keeps it in.
HALVES = pytest.mark.parametrize("half", [0, 1])


@HALVES
async def test_every_row_sent_whole(half):
    assert await failures(ROWS[half::2], bytewise=False) == []


@HALVES
async def test_every_short_row_sent_bytewise(half):
    short = [row for row in ROWS if len(request(row)) < SHORT]
    assert len(short) > 140
    assert await failures(short[half::2], bytewise=True) == []


# The judge judges: a row, what came, and what must be found wrong with it.
ANSWER = b"HTTP/1.1 %d X\r\nx-request-id: a\r\ncontent-length: 0\r\n\r\n"
PROBED = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-request-id: probe\r\n\r\nok"
VERDICTS = [
    ({"expect": "reject"}, ANSWER % 400, True, []),
    ({"expect": "reject"}, b"", True, []),
    ({"expect": "reject"}, ANSWER % 400, False, ["hangs"]),
    ({"expect": "reject"}, ANSWER % 404, True, ["accepted"]),
    ({"expect": "reject"}, ANSWER % 400 * 2, True, ["too many answers"]),
    ({"expect": "reject", "reject_status": [404]}, ANSWER % 404, True, []),
    ({"expect": "accept"}, ANSWER % 404 + PROBED, True, []),
    ({"expect": "accept"}, ANSWER % 100 + ANSWER % 200 + PROBED, True, []),
    ({"expect": "accept"}, ANSWER % 400, True, ["refused"]),
    ({"expect": "accept"}, b"", True, ["refused"]),
    ({"expect": "accept"}, PROBED, True, ["refused"]),
    ({"expect": "accept"}, ANSWER % 200 * 2 + PROBED, True, ["too many answers"]),
    ({"expect": "accept", "accept_also": [417]}, ANSWER % 417, True, []),
    ({"expect": "accept", "max_responses": 2}, ANSWER % 200 * 2 + PROBED, True, []),
    ({"expect": "accept", "min_responses": 2}, ANSWER % 200, True, ["too few answers"]),
    ({"expect": "either"}, ANSWER % 500, True, ["a 500"]),
    ({"expect": "either", "forbid_status": [200]}, ANSWER % 200, True, ["a forbidden status"]),
    ({"expect": "either", "forbid_in_response": "# H"}, b"# H", True, ["a forbidden text"]),
]


def test_the_judge_finds_each_fault():
    for row, received, closed, wrong in VERDICTS:
        assert complaints(row, received, closed) == wrong, (row, received)
