"""Routes that speak WebSocket, with a client that is not ours: who gets in, and what is heard."""


import orjson
import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from tests.fakes import wind_by_hand
from tests.sockets import LONG, asked, opened
from tests.stand import ALICE, BOB, KEYS, Stand, chat, serving


CHAT = "/v1/chat/completions"
TAIL = "?live=websocket&offset=-1"




async def begun(stand: Stand, headers: dict[str, str] | None = None, **mock: object) -> str:
    """Start a generation that nobody reads; return the place of its log."""
    answer = await stand.answer(
        "POST", CHAT, chat(**mock), prefer="respond-async", **(headers or {})
    )
    return answer.headers["location"]


async def tail(*settings: object, **mock: object) -> str:
    """Start a generation; return where its log is read over WebSocket from the start."""
    return await begun(*settings, **mock) + TAIL


async def everything(client: ClientConnection) -> list[dict[str, object]]:
    """All messages until the gateway closes, each as the JSON it is."""
    return [orjson.loads(message) async for message in client]


def text_of(envelopes: list[dict[str, object]]) -> str:
    """The content of the chunks in these envelopes."""
    chunks = [e["data"] for e in envelopes if e.get("event") != "control"]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


# The tail of a log.


async def test_a_generation_is_read_to_its_end_over_a_websocket():
    async with Stand() as stand:
        place = await tail(stand, tokens=20)
        async with opened(stand, place, subprotocols=["headgate.v1"]) as client:
            envelopes = await everything(client)
        metrics = await stand.metrics()

    assert client.subprotocol == "headgate.v1"
    assert client.close_code == 1000
    assert text_of(envelopes).split()[0] == "t0"
    assert len(text_of(envelopes).split()) == 20
    assert envelopes[-1]["data"] == {
        "streamClosed": True,
        "state": "finished",
        "reason": "finished",
    }
    assert metrics['headgate_streams_active{transport="websocket"}'] == 0
    line = next(line for line in stand.log_lines if line.get("route") == "/v1/stream/{id}")
    assert line["status"] == 101
    assert line["bytes"] > 1000


async def test_it_is_left_and_come_back_to_without_a_gap():
    async with Stand() as stand:
        place = await tail(stand, tokens=30, interval=1)
        async with opened(stand, place) as client:
            before = [orjson.loads(await client.recv()) for _ in range(7)]
        async with opened(stand, place.replace("-1", before[-1]["id"])) as client:
            after = await everything(client)
        async with opened(stand, place) as client:
            whole = await everything(client)
        metrics = await stand.metrics()

    assert after[0]["data"]["streamNextOffset"] == before[-1]["id"]
    assert before + after[1:] == [before[0], *whole[1:]]
    assert metrics['headgate_resumes_total{outcome="recovered"}'] == 1


async def test_a_cursor_of_another_log_is_told_and_all_is_read():
    async with Stand() as stand:
        place = await tail(stand, tokens=3)
        async with opened(stand, place.replace("-1", "aaaabbbb_0000000000000002")) as client:
            envelopes = await everything(client)
        metrics = await stand.metrics()

    assert envelopes[0]["data"]["recovered"] is False
    assert len(text_of(envelopes).split()) == 3
    assert metrics['headgate_resumes_total{outcome="gone"}'] == 1


async def test_a_cancel_frame_ends_the_provider_and_tells_the_reader():
    async with Stand() as stand:
        place = await tail(stand, **LONG)
        async with opened(stand, place) as client:
            await client.recv()
            await client.send('{"type":"cancel"}')
            envelopes = await everything(client)
            await stand.mock.until(lambda: stand.mock.open_streams == 0)

    assert envelopes[-1]["data"] == {"streamClosed": True, "state": "cancelled", "reason": "stop"}
    assert envelopes[-2]["data"]["headgate"] == {"ended": "cancelled"}
    assert client.close_code == 1000
    assert stand.mock.requests[-1].cancelled


async def test_a_generation_waits_for_a_websocket_that_is_lost():
    async with Stand() as stand:
        loop = wind_by_hand(stand.server)
        stand.server.desk.hub.loop = loop
        client = await stand.ask(**LONG)
        _, fields = await client.head()
        async with opened(stand, fields["location"] + TAIL) as socket:
            await socket.recv()
            await client.close()
            socket.transport.abort()
        loop.wind(59)
        going = stand.mock.open_streams
        loop.wind(1)
        await stand.mock.until(lambda: stand.mock.open_streams == 0)

    assert going == 1


async def test_a_client_that_does_not_read_holds_nobody_up_and_loses_nothing():
    async with Stand() as stand:
        place = await tail(stand, tokens=6000, size=1000)
        url = stand.url.replace("http", "ws") + place
        async with opened(stand, place) as fast, connect(url, max_queue=1) as slow:
            whole = await everything(fast)
            live = stand.server.desk.hub.find(place.removeprefix("/v1/stream/").removesuffix(TAIL))
            lagging = len(live.readers)
            late = await everything(slow)

    assert lagging == 1
    assert late[1:] == whole[1:]
    assert len(text_of(whole).split()) == 6000


async def test_a_drain_lets_a_log_be_read_to_its_end():
    async with Stand(drain="20s") as stand, serving(stand) as run:
        place = await tail(stand, tokens=30, interval=5)
        async with opened(stand, place) as client:
            await client.recv()
            stand.server.leave()
            envelopes = await everything(client)
        await run

    assert len(text_of(envelopes).split()) == 30
    assert client.close_code == 1000


# Who gets in.


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/v1/stream/gen_unknown" + TAIL, [], 404),
        ("{place}", ["Sec-WebSocket-Version: 8"], 426),
        ("{place}", ["Upgrade: h2c"], 426),
        ("{place}", ["Sec-WebSocket-Key: short"], 400),
        ("{place}x", [], 400),
        ("{place}&offset=now", [], 400),
        ("{place}", ["Origin: https://evil.example"], 403),
        ("{place}", ["Sec-WebSocket-Protocol: other.v1"], 101),
    ],
)
async def test_what_cannot_become_a_websocket_is_answered_in_http(path, fields, status):
    async with Stand() as stand:
        place = await tail(stand, tokens=1)
        got, headers = await asked(stand, path.format(place=place), *fields)

    assert got == status
    assert "sec-websocket-protocol" not in headers


async def test_only_who_may_read_a_log_gets_its_websocket():
    async with Stand(more=KEYS) as stand:
        place = await tail(stand, ALICE, tokens=2)
        refused = []
        for caller in ({}, BOB):
            with pytest.raises(websockets.InvalidStatus) as answer:
                await connect(
                    stand.url.replace("http", "ws") + place, additional_headers=caller
                )
            refused.append(answer.value.response.status_code)
        async with opened(stand, place, additional_headers=ALICE) as client:
            envelopes = await everything(client)

    assert refused == [401, 404]
    assert len(text_of(envelopes).split()) == 2


async def test_a_ticket_opens_it_and_is_not_echoed():
    async with Stand(more=KEYS) as stand:
        place = await tail(stand, ALICE, tokens=2)
        wish = {"opens": place.removesuffix(TAIL)}
        answer = await stand.answer("POST", "/v1/tickets", wish, **ALICE)
        protocols = ["headgate.v1", f"ticket.{answer.json['ticket']}"]
        async with opened(stand, place, subprotocols=protocols) as client:
            envelopes = await everything(client)
        with pytest.raises(websockets.InvalidStatus, match="401"):
            await connect(stand.url.replace("http", "ws") + place, subprotocols=protocols)

    assert client.subprotocol == "headgate.v1"
    assert len(text_of(envelopes).split()) == 2


async def test_a_page_of_a_listed_origin_gets_in_and_no_other():
    cors = '[cors]\norigins = ["https://app.example"]\n'
    async with Stand(more=cors + KEYS) as stand:
        place = await tail(stand, ALICE, tokens=1)
        key = f"Authorization: {ALICE['authorization']}"
        statuses = [
            (await asked(stand, place, key, f"Origin: {origin}"))[0]
            for origin in ("https://app.example", "https://evil.example", "null")
        ]

    assert statuses == [101, 403, 403]
