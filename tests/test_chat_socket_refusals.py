"""Chats on one WebSocket: what cannot be done, and who may."""

import pytest
import websockets

from gateway.lane_socket import MAX_ID, MAX_LANES
from tests.sockets import (
    CHATS,
    LONG,
    ask_chat,
    asked,
    hear,
    hear_until,
    opened,
    said,
    say,
    text_of,
    words,
)
from tests.stand import ALICE, BOB, KEYS, Stand


# What cannot be done.


@pytest.mark.parametrize(
    ("message", "id", "what"),
    [
        ("{", None, "not JSON"),
        ('{"a":NaN}', None, "not JSON"),
        ("[" * 100 + "]" * 100, None, "nests deeper"),
        ('["chat"]', None, "JSON object"),
        ("{}", None, "type is chat"),
        ('{"type":"dance","id":"x"}', "x", "type is chat"),
        ('{"type":"chat","id":7}', None, "an id is a string"),
        ('{"type":"ping","id":"%s"}' % ("x" * (MAX_ID + 1)), None, "an id is a string"),
        ('{"type":"chat","id":"x"}', "x", "model"),
        ('{"type":"chat","id":"x","model":"m","n":2}', "x", "one answer"),
        ('{"type":"chat","id":"x","model":"m","stream":"y"}', "x", None),
        ('{"type":"resume","id":"x"}', "x", "a resume has a stream"),
        ('{"type":"resume","id":"x","stream":"gen_unknown"}', "x", "no such stream"),
        ('{"type":"resume","id":"x","stream":"events"}', "x", "is no chat completion"),
    ],
)
async def test_what_cannot_be_done_is_said_and_the_socket_stays(message, id, what):
    async with Stand(more="[channels.events]\n") as stand, opened(stand, CHATS) as client:
        await client.send(message)
        answer = (await hear_until(client, "error", "done"))[-1]
        await say(client, "ping")
        pong = await hear(client)

    if what is None:  # what the route says itself is not the client's to say
        assert answer["type"] == "done"
        return
    assert answer["type"] == "error"
    assert answer.get("id") == id
    assert what in answer["error"]["message"]
    assert pong == {"type": "pong"}


async def test_a_cursor_must_make_sense():
    async with Stand() as stand, opened(stand, CHATS) as client:
        await ask_chat(client, tokens=1)
        first = await hear_until(client, "done")
        await say(client, "resume", stream=first[0]["stream"], after="nonsense")
        answer = await hear(client)

    assert answer["error"]["param"] == "offset"


async def test_binary_closes():
    async with Stand() as stand, opened(stand, CHATS) as client:
        await client.send(b"{}")
        with pytest.raises(websockets.ConnectionClosedError):
            await client.recv()

    assert client.close_code == 1007


async def test_an_id_belongs_to_one_chat_and_a_socket_has_so_many():
    async with Stand() as stand, opened(stand, CHATS) as client:
        await ask_chat(client, "0", **LONG)
        await ask_chat(client, "0", tokens=1)
        taken = (await hear_until(client, "error"))[-1]
        for n in range(1, MAX_LANES):
            await ask_chat(client, str(n), **LONG)
        await ask_chat(client, "more", tokens=1)
        full = (await hear_until(client, "error"))[-1]
        for n in range(MAX_LANES):
            await say(client, "stop", id=str(n))
        done = 0
        while done < MAX_LANES:
            done += (await hear(client))["type"] == "done"

    assert (taken["id"], taken["error"]["code"]) == ("0", "conflict")
    assert (full["id"], full["error"]["code"]) == ("more", "overloaded")
    assert len(stand.mock.requests) <= MAX_LANES


# Who may.


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (["Upgrade: h2c"], 426),
        (["Origin: https://evil.example"], 403),
        (["Idempotency-Key: k"], 400),
        (["Sec-WebSocket-Protocol: other.v1"], 101),
        (["Sec-WebSocket-Protocol: headgate.chat.v1, x"], 101),
    ],
)
async def test_who_gets_in(fields, status):
    async with Stand() as stand:
        got, headers = await asked(stand, CHATS, *fields)

    assert got == status
    assert headers.get("sec-websocket-protocol", "headgate.chat.v1") == "headgate.chat.v1"


async def test_a_plain_get_is_told_to_upgrade():
    async with Stand() as stand:
        answer = await stand.answer("GET", CHATS)

    assert answer.status == 426
    assert answer.headers["upgrade"] == "websocket"


async def test_a_caller_has_its_own_chats_and_models():
    more = KEYS.replace('subject = "bob"', 'subject = "bob"\nmodels = ["alias"]')
    async with Stand(more=more) as stand:
        async with opened(stand, CHATS, additional_headers=ALICE) as client:
            await ask_chat(client, tokens=2)
            first = await hear_until(client, "done")
        async with opened(stand, CHATS, additional_headers=BOB) as client:
            await say(client, "resume", stream=first[0]["stream"])
            other = await hear(client)
            await ask_chat(client, tokens=2)
            model = await hear(client)
        refused, _ = await asked(stand, CHATS)

    assert other["error"]["code"] == "stream_not_found"
    assert (model["id"], model["error"]["code"]) == ("a", "model_not_found")
    assert refused == 401


async def test_a_ticket_opens_it_once():
    async with Stand(more=KEYS) as stand:
        answer = await stand.answer("POST", "/v1/tickets", {"opens": CHATS}, **ALICE)
        path = f"{CHATS}?ticket={answer.json['ticket']}"
        async with opened(stand, path) as client:
            await ask_chat(client, tokens=2)
            frames = await hear_until(client, "done")
        again, _ = await asked(stand, path)

    assert said(text_of(frames)) == words(2)
    assert again == 401
    assert answer.json["ticket"] not in str(stand.log_lines)
