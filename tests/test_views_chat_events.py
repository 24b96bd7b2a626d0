"""ChatEventsView: a chat completion in blocks that a page can use as they are."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects import openai
from gateway.dialects.calls import Heading
from gateway.eventlog import State
from gateway.upstream_errors import UpstreamTimeout
from gateway.views.chat_events import ChatEventsView
from gateway.views.view import HEARTBEAT
from tests.view_scenes import Client, ViewScene, chunk


USAGE = {"total_tokens": 3}
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}\n\n'
LAST = b'data: {"choices":[],"usage":{"total_tokens":3}}\n\n'


def attach(scene: ViewScene, cursor: int = 0) -> Client:
    client = Client()
    view = ChatEventsView(scene.live, client.reply, scene.desk, cursor=cursor)
    view.attach()
    return client


def opening(scene: ViewScene, cursor: int = 0) -> bytes:
    """What a page gets at once."""
    return (
        f":\nretry: 1000\nid: {scene.id(cursor)}\nevent: start\n"
        f'data: {{"stream":"/v1/stream/{scene.live.log.id}"}}\n\n'
    ).encode()


def blocks_of(*entries: bytes) -> list[tuple[str, object]]:
    """Return type and data of what a page gets for these entries."""
    scene = ViewScene()
    scene.publish(*entries)
    return [(event.type, event.json) for event in attach(scene).events[1:]]


def test_the_head_goes_out_at_once_and_the_first_block_says_when_to_come_back():
    scene = ViewScene()
    client = attach(scene)
    assert client.body == opening(scene)
    assert client.headers["content-type"] == "text/event-stream; charset=utf-8"

    scene.publish(chunk("Hi"))
    scene.publish(chunk("!"))

    data = '{"content":"%s","delta":{"content":"%s"}}'
    assert client.body.decode() == opening(scene).decode() + (
        f"id: {scene.id(1)}\nevent: chunk\ndata: {data % ('Hi', 'Hi')}\n\n"
        f"id: {scene.id(2)}\nevent: chunk\ndata: {data % ('!', '!')}\n\n"
    )


@pytest.mark.parametrize(
    ("entry", "blocks"),
    {
        b'{"choices":[{"delta":{"role":"assistant","content":null}}]}': [
            ("chunk", {"content": "", "delta": {"role": "assistant", "content": None}})
        ],
        b'{"choices":[{"index":1,"delta":{"content":"b"}},{"index":0,"delta":{"content":"a"}}]}': [
            ("chunk", {"content": "a", "delta": {"content": "a"}})
        ],
        b'{"choices":[{"delta":{"content":["parts"]}}]}': [
            ("chunk", {"content": "", "delta": {"content": ["parts"]}})
        ],
        b'{"error":{"message":"no"},"choices":[]}': [("failed", {"error": {"message": "no"}})],
        b'{"choices":[{"index":1,"delta":{"content":"b"}}]}': [],
        b'{"choices":[],"usage":{"total_tokens":3}}': [],
        b'{"choices":[{"index":0}]}': [],
        b'{"choices":null}': [],
        b'{"choices":[7]}': [],
        b'{"choices":[{"delta":{"content":"a","n":NaN}}]}': [],
        b'{"choices":[{"delta":{"content":"a","n":1e999}}]}': [],
        b'{"choices":[{"delta":{"content":' + b"[" * 900 + b"]" * 900 + b"}}]}": [],
        b"[1]": [],
        b"no json": [],
        b"\xff": [],
    }.items(),
)
def test_an_entry_becomes_a_block_if_it_adds_to_the_answer(entry, blocks):
    assert blocks_of(b"data: " + entry + b"\n\n") == blocks


def test_an_entry_of_several_lines_is_one_block():
    entry = b'data: {"choices":[{"delta":\ndata: {"content":"a"}}]}\n\n'

    assert blocks_of(entry) == [("chunk", {"content": "a", "delta": {"content": "a"}})]


def test_a_character_cut_in_two_is_put_together_by_the_page():
    scene = ViewScene()
    scene.publish(*[
        b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n' % half
        for half in (b"\\ud83d", b"\\ude00")
    ])  # fmt: skip

    body = attach(scene).body

    assert b'{"content":"\\ud83d","delta":{"content":"\\ud83d"}}' in body
    assert b'{"content":"\\ude00","delta":{"content":"\\ude00"}}' in body


@given(st.binary(max_size=60))
def test_whatever_the_entry_is_the_page_gets_one_event_or_none(junk):
    line = junk.replace(b"\r", b"").replace(b"\n", b"")

    assert len(blocks_of(b"data: " + line + b"\n\n")) <= 1


# The end.


def ended(*entries: bytes, state: State = State.FINISHED, cursor: int = 0) -> Client:
    scene = ViewScene()
    client = attach(scene, cursor)
    scene.publish(*entries)
    scene.live.close(state, "why")
    assert client.whole
    return client


def test_the_end_tells_why_and_what_it_cost_then_done_for_those_who_wait_for_it():
    client = ended(chunk("a"), STOP, LAST)

    done, plain = client.events[-2:]
    assert (done.type, done.json) == ("done", {"finish_reason": "stop", "usage": USAGE})
    assert (plain.type, plain.data) == ("message", "[DONE]")
    assert done.id == plain.id
    assert done.id.endswith("_0000000000000004"), "who has seen it has seen the end"


def test_usage_may_come_with_the_finish_or_not_at_all():
    with_it = STOP.replace(b"null", orjson.dumps(USAGE))

    assert ended(with_it).events[-2].json == {"finish_reason": "stop", "usage": USAGE}
    assert ended(STOP).events[-2].json == {"finish_reason": "stop", "usage": None}
    assert ended().events[-2].json == {"finish_reason": None, "usage": None}


def test_a_stopped_answer_ends_like_any_other():
    last = openai.cancelled_events([chunk("a")], Heading("x", "m", 0), finish="", tokens=1)

    client = ended(chunk("a"), *last, state=State.CANCELLED)

    done = client.events[-2].json
    assert done["finish_reason"] == "stop"
    assert done["usage"]["estimated"] is True


@pytest.mark.parametrize("state", [State.FAILED, State.INTERRUPTED])
def test_a_broken_answer_ends_with_its_error(state):
    error = openai.error_event(UpstreamTimeout("slow"))

    client = ended(chunk("a"), error, state=state)

    assert [event.type for event in client.events] == ["start", "chunk", "failed"]
    assert client.events[-1].json["error"]["code"] == "upstream_timeout"


@pytest.mark.parametrize("cursor", range(4))
def test_a_reader_that_comes_back_gets_the_same_bytes_as_one_that_stayed(cursor):
    scene = ViewScene()
    entries = [chunk("a"), chunk("b"), STOP, LAST]
    scene.publish(*entries[:2])
    stayed = attach(scene)
    scene.publish(*entries[2:])
    scene.live.close(State.FINISHED, "finished")

    back = attach(scene, cursor)

    rest = back.body.removeprefix(opening(scene, cursor))
    assert back.body == opening(scene, cursor) + rest
    assert stayed.body.endswith(rest)
    assert [event.id for event in back.events if event.type == "chunk"] == [
        scene.id(n) for n in (1, 2, 3) if n > cursor
    ]


def test_silences_are_broken_by_heartbeats():
    scene = ViewScene()
    client = attach(scene)

    scene.loop.wind(HEARTBEAT)

    assert client.body == opening(scene) + b":\n"
