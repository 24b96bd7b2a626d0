"""ChannelSocket: a channel on a plain WebSocket, written and read by several at once."""

import orjson
import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from gateway._sseparse import Batch
from gateway.eventlog import EventLog, State
from gateway.flow import WRITE_HIGH
from gateway.hub import Live
from gateway.views.channel_socket import ChannelSocket
from tests.fake_websocket import BINARY, TEXT, UPGRADE, SocketClient, frame
from tests.scenes import LogScene
from tests.sockets import asked, opened
from tests.stand import ALICE, BOB, KEYS, Stand


EVENTS = "[channels.events]\n"


async def published(stand: Stand, body: object, **headers: str) -> None:
    client = await stand.open()
    fields = {"content_type": "application/json", **headers}
    answer = await client.ask("POST", "/v1/stream/events", body, **fields)
    await client.close()
    assert answer.status == 204


async def log_of(stand: Stand, **headers: str) -> list[object]:
    answer = await stand.answer("GET", "/v1/stream/events", **headers)
    return answer.json


async def settle(*clients: ClientConnection) -> None:
    """Return when the gateway has heard all that these clients said."""
    for client in clients:
        await (await client.ping())


# Both ways.


@pytest.mark.parametrize("path", ["/ws", "/"])
async def test_what_one_says_everybody_hears(path):
    async with Stand(more=EVENTS) as stand:
        await published(stand, {"n": 0})  # before anybody came
        async with opened(stand, path) as one, opened(stand, "/ws") as two:
            await one.send('{"type":"note", "n":1.50}')
            await settle(one)
            await published(stand, [{"n": 2}, "three"])
            heard = [[await client.recv() for _ in range(3)] for client in (one, two)]
        log = await log_of(stand)
        metrics = await stand.metrics()

    assert heard[0] == heard[1] == ['{"type":"note", "n":1.50}', '{"n":2}', '"three"']
    assert log == [{"n": 0}, {"type": "note", "n": 1.5}, {"n": 2}, "three"]
    assert metrics['headgate_streams_active{transport="websocket"}'] == 0
    lines = [line for line in stand.log_lines if line.get("route") == "/ws"]
    assert [line["status"] for line in lines] == [101, 101]


async def test_what_is_for_some_reaches_only_them():
    async with (
        Stand(more=KEYS + EVENTS) as stand, opened(stand, "/ws", additional_headers=ALICE) as alice,
        opened(stand, "/ws", additional_headers=BOB) as bob,
    ):
        await alice.send('{"to":["bob"],"n":1}')
        await alice.send('{"n":2}')
        await settle(alice)
        heard = [await bob.recv(), await bob.recv(), await alice.recv()]

    assert [orjson.loads(message)["n"] for message in heard] == [1, 2, 2]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("hello", 1007),
        ("[1]", 1007),
        ('{"a":NaN}', 1007),
        ('{"to":"bob"}', 1007),
        ('{"a":' + "[" * 100 + "]" * 100 + "}", 1007),
        (b'{"n":1}', 1007),
        ('{"n":"' + "x" * 2000 + '"}', 1009),
    ],
)
async def test_anything_else_closes(message, code):
    async with Stand(more=EVENTS + 'retain = { bytes = "1KiB" }') as stand:
        async with opened(stand, "/ws") as client:
            await client.send(message)
            with pytest.raises(websockets.ConnectionClosedError):
                await client.recv()
        log = await log_of(stand)

    assert client.close_code == code
    assert log == []


# Who gets in.


@pytest.mark.parametrize(
    ("more", "path", "fields", "status"),
    [
        ("", "/ws", [], 101),
        (EVENTS, "/ws", ["Origin: https://evil.example"], 403),
        (EVENTS, "/ws", ["Upgrade: h2c"], 426),
        (EVENTS, "/", ["Upgrade: h2c"], 426),
        (EVENTS + KEYS, "/ws", [], 401),
        (EVENTS, "/ws", ["Sec-WebSocket-Protocol: any, "], 101),
    ],
)
async def test_who_gets_in(more, path, fields, status):
    async with Stand(more=more) as stand:
        got, headers = await asked(stand, path, *fields)

    assert got == status
    assert "sec-websocket-protocol" not in headers


async def test_without_upgrade_the_root_is_no_path_and_the_other_says_what_it_takes():
    async with Stand(more=EVENTS) as stand:
        client = await stand.open()
        statuses = [(await client.ask("GET", path)).status for path in ("/", "/ws")]
        await client.close()

    assert statuses == [404, 426]


# With fakes: slow clients, and the end.


class Scene(LogScene):
    """A channel, and one client of it."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.hub.add(Live(EventLog("events", "aaaabbbb"), self.hub))
        self.said: list[bytes] = []
        self.client = SocketClient(
            session=ChannelSocket(self.live, self.desk, self.said.append)
        )
        self.client.send(UPGRADE)


def test_a_slow_client_still_talks_and_goes_on_from_the_log():
    scene = Scene()
    client = scene.client
    client.transport.taking = False
    scene.publish(b'data: "%b"\n\n' % (b"x" * WRITE_HIGH))

    client.send(frame(TEXT, b'{"n":1}'))
    scene.publish(b"data: 2\n\n")
    scene.publish(b"event: note\ndata: 3\n\n")
    assert scene.said == [b'{"n":1}']
    assert len(client.heard) == 1
    client.transport.take(2 * WRITE_HIGH)

    assert client.heard[1:] == [(TEXT, b"2"), (TEXT, b"3")]


def test_one_that_the_channel_has_left_behind_is_told_so():
    scene = Scene()
    client = scene.client
    client.transport.taking = False
    scene.publish(b'data: "%b"\n\n' % (b"x" * WRITE_HIGH))
    scene.live.publish(Batch(b"data: 2\n\n", 2, 1))
    scene.publish(b"data: 3\n\n")
    scene.live.log.trim(2)

    client.transport.take(2 * WRITE_HIGH)

    assert client.close_codes == [4410]


def test_the_end_and_a_drain_close():
    ended, drained = Scene(), Scene()

    ended.publish(b"data: 1\n\n")
    ended.live.close(State.FINISHED, "closed")
    drained.client.site.host.drain()

    assert ended.client.heard[0] == (TEXT, b"1")
    assert ended.client.close_codes == [1000]
    assert drained.client.close_codes == [1001]


def test_binary_closes():
    client = Scene().client

    client.send(frame(BINARY, b"{}"))

    assert client.close_codes == [1007]
