"""Chats on one WebSocket, with a client that is not ours and the mock provider."""

import orjson
import pytest
import websockets
from websockets.asyncio.client import connect

from tests.fakes import wind_by_hand
from tests.sockets import CHATS, LONG, ask_chat, hear, hear_until, opened, said, say, text_of, words
from tests.stand import Stand, chat, serving


# Chats.


async def test_a_chat_from_start_to_done():
    async with Stand() as stand:
        async with opened(stand, CHATS, subprotocols=["headgate.chat.v1"]) as client:
            await ask_chat(client, tokens=20)
            frames = await hear_until(client, "done")
        metrics = await stand.metrics()

    assert client.subprotocol == "headgate.chat.v1"
    assert frames[0]["type"] == "start"
    assert frames[0]["stream"].startswith("gen_")
    assert said(text_of(frames)) == words(20)
    done = frames[-1]
    assert (done["id"], done["finish_reason"]) == ("a", "stop")
    assert done["usage"]["completion_tokens"] == 20
    chats = [line for line in stand.log_lines if line.get("route") == CHATS]
    assert [line["status"] for line in chats] == [200, 101]
    assert (chats[0]["end"], chats[0]["model"], chats[0]["tokens_out"]) == ("finished", "m", 20)
    assert chats[0]["request_id"] == chats[1]["request_id"] + ".1"
    assert chats[1]["bytes"] > chats[0]["bytes"] > 0
    assert metrics['headgate_streams_active{transport="websocket"}'] == 0


async def test_many_chats_at_once_do_not_mix():
    async with Stand() as stand, opened(stand, CHATS) as client:
        for id in ("a", "b", None):
            await ask_chat(client, id, tokens=30, interval=2, tag=id or "none")
        frames = []
        while sum(frame["type"] == "done" for frame in frames) < 3:
            frames.append(await hear(client))
        await ask_chat(client, "a", tokens=3)  # an id whose chat has ended is free
        again = await hear_until(client, "done")

    order = [frame.get("id") for frame in frames if frame["type"] == "chunk"]
    assert order != sorted(order, key=str)
    for id in ("a", "b", None):
        assert len(said(text_of(frames, id))) == 30
        assert all((id or "none") in word for word in said(text_of(frames, id)))
    assert said(text_of(again)) == words(3)


async def test_stop_ends_one_chat_at_the_provider_too_and_no_other():
    async with Stand() as stand, opened(stand, CHATS) as client:
        await ask_chat(client, "a", **LONG)
        await hear_until(client, "chunk")
        await ask_chat(client, "b", **LONG)
        await hear_until(client, "chunk")
        await say(client, "stop", id="a")
        ended = await hear_until(client, "done")
        await stand.mock.until(lambda: stand.mock.open_streams == 1)
        await say(client, "stop", id="a")  # it has ended: nothing to say
        await say(client, "ping")
        pong = await hear(client)
        await say(client, "stop", id="b")
        await hear_until(client, "done")
        await stand.mock.until(lambda: stand.mock.open_streams == 0)

    assert ended[-1]["id"] == "a"
    assert ended[-1]["headgate"] == {"ended": "cancelled"}
    assert ended[-1]["usage"]["estimated"] is True
    assert pong == {"type": "pong"}
    assert [request.cancelled for request in stand.mock.requests] == [True, True]


async def test_what_the_provider_refuses_is_an_error_of_that_chat():
    async with Stand() as stand, opened(stand, CHATS) as client:
        await ask_chat(client, "a", fault="429")
        refused = await hear_until(client, "error", "done")
        await ask_chat(client, "b", fault="truncate", tokens=5)
        cut = await hear_until(client, "error", "done")
        await ask_chat(client, "c", tokens=2)
        good = await hear_until(client, "error", "done")

    assert [frame["type"] for frame in refused] == ["start", "error"]
    assert refused[-1]["error"]["code"] == "rate_limit_exceeded"
    assert cut[-1]["error"]["code"] == "stream_interrupted"
    assert good[-1]["type"] == "done"
    lines = [line for line in stand.log_lines if line.get("route") == CHATS]
    assert [line["status"] for line in lines] == [429, 200, 200, 101]


# Coming back.


async def test_a_chat_is_resumed_on_another_socket():
    async with Stand() as stand:
        async with opened(stand, CHATS) as client:
            await ask_chat(client, tokens=40, interval=3)
            first = await hear_until(client, "chunk")
            client.transport.abort()
        async with opened(stand, CHATS) as client:
            place = {"stream": first[0]["stream"], "after": first[-1]["cursor"]}
            await say(client, "resume", id="z", **place)
            rest = await hear_until(client, "done")
            await say(client, "resume", stream="/v1/stream/" + first[0]["stream"])
            whole = await hear_until(client, "done")
        metrics = await stand.metrics()

    assert rest[0] == {"type": "start", "id": "z", "stream": first[0]["stream"]} | {
        "cursor": first[-1]["cursor"]
    }
    assert said(text_of(first) + text_of(rest, "z")) == words(40)
    assert said(text_of(whole, None)) == words(40)
    assert metrics['headgate_resumes_total{outcome="recovered"}'] == 1
    line = next(line for line in stand.log_lines if line.get("end"))
    assert line["end"] == "finished"
    assert line["status"] == 200


async def test_a_chat_is_resumed_as_server_sent_events():
    async with Stand() as stand:
        async with opened(stand, CHATS) as client:
            await ask_chat(client, tokens=40, interval=3)
            first = await hear_until(client, "chunk")
        http = await stand.open()
        fields = {"accept": "text/event-stream", "last_event_id": first[-1]["cursor"]}
        answer = await http.ask("GET", "/v1/stream/" + first[0]["stream"], **fields)
        await http.close()

    payloads = [line[6:] for line in answer.body.split(b"\n") if line.startswith(b"data: ")]
    choices = [choice for p in payloads for choice in orjson.loads(p).get("choices", [])]
    rest = "".join(choice["delta"].get("content") or "" for choice in choices)
    assert said(text_of(first) + rest) == words(40)


async def test_a_chat_waits_a_minute_for_whoever_lost_it():
    async with Stand() as stand:
        loop = wind_by_hand(stand.server)
        stand.server.desk.hub.loop = loop
        async with opened(stand, CHATS) as client:
            await ask_chat(client, **LONG)
            await hear_until(client, "chunk")
        loop.wind(59)
        going = stand.mock.open_streams
        loop.wind(1)
        await stand.mock.until(lambda: stand.mock.open_streams == 0)

    assert going == 1
    assert [line["end"] for line in stand.log_lines if line.get("end")] == ["disconnect"]


async def test_a_cursor_of_another_log_is_told_and_all_is_read():
    async with Stand() as stand, opened(stand, CHATS) as client:
        await ask_chat(client, tokens=3)
        first = await hear_until(client, "done")
        lost = "aaaabbbb_0000000000000009"
        await say(client, "resume", id="r", stream=first[0]["stream"], after=lost)
        again = await hear_until(client, "done")

    assert again[0]["recovered"] is False
    assert text_of(again, "r") == text_of(first)


# Slow clients.


async def test_a_client_that_does_not_read_holds_up_its_chats_and_loses_nothing():
    async with Stand() as stand:
        url = stand.url.replace("http", "ws") + CHATS
        async with connect(url, max_queue=1) as client:
            for id in ("a", "b"):
                await ask_chat(client, id, tokens=1500, size=4000)
            await stand.mock.until(lambda: stand.mock.tokens_sent == 3000)
            await stand.server.desk.jobs.empty()
            lagging = (await stand.metrics())['headgate_streams_active{transport="websocket"}']
            frames = []
            while sum(frame["type"] == "done" for frame in frames) < 2:
                frames.append(await hear(client))
        await stand.server.public.host.connections.empty()

    assert lagging == 2
    for id in ("a", "b"):
        assert said(text_of(frames, id)) == words(1500)


# The end of the process.


async def test_a_drain_lets_chats_end_and_begins_no_more():
    async with Stand(drain="20s") as stand, serving(stand) as run:
        async with opened(stand, CHATS) as idle, opened(stand, CHATS) as client:
            await ask_chat(client, "a", tokens=20, interval=5)
            await hear_until(client, "chunk")
            stand.server.leave()
            with pytest.raises(websockets.ConnectionClosedOK):
                await idle.recv()
            await ask_chat(client, "b", tokens=1)
            frames = [orjson.loads(message) async for message in client]
        await run

    assert idle.close_code == client.close_code == 1001
    assert [frame["error"]["code"] for frame in frames if "error" in frame] == ["overloaded"]
    assert [frame["id"] for frame in frames if frame["type"] == "done"] == ["a"]


async def test_chats_that_a_drain_cannot_wait_for_are_told_so():
    async with Stand(drain="50ms") as stand, serving(stand) as run:
        async with opened(stand, CHATS) as client:
            await ask_chat(client, **LONG)
            await hear_until(client, "chunk")
            stand.server.leave()
            frames = [orjson.loads(message) async for message in client]
        await run

    assert frames[-1]["error"]["code"] == "stream_interrupted"
    assert client.close_code == 1001


# A provider of another dialect.

ANTHROPIC = 'dialect = "anthropic"'


async def test_what_is_left_out_for_a_provider_of_another_dialect_stands_in_the_start():
    async with Stand(upstream=ANTHROPIC) as stand, opened(stand, CHATS) as client:
        await say(client, "chat", id="a", **chat(tokens=2), seed=1)
        with_seed = await hear_until(client, "done")
        await say(client, "chat", id="a", model="m", messages=chat()["messages"])
        without = await hear_until(client, "done")

    assert with_seed[0]["dropped_params"] == ["mock", "seed"]
    assert "dropped_params" not in without[0]


async def test_what_a_provider_of_another_dialect_has_no_word_for_begins_no_chat():
    async with Stand(upstream=ANTHROPIC) as stand, opened(stand, CHATS) as client:
        await say(client, "chat", id="a", **chat(tokens=2), logprobs=True)
        refusal = await hear(client)
        await ask_chat(client, tokens=2)
        frames = await hear_until(client, "done")

    assert refusal["type"] == "error"
    assert refusal["error"]["param"] == "logprobs"
    assert frames[0]["type"] == "start"
