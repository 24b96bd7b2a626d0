"""Moulds: a text after a text is translated as it would be by itself, and cheaper."""

from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway._sseparse import Mould
from gateway.chat import Delta, Event, Start, Stop, ToolCall, Usage
from gateway.dialects import translation
from gateway.dialects.calls import Heading, loads_event
from gateway.dialects.known import CLIENTS, UPSTREAMS
from gateway.dialects.translation import PATIENCE, PROBE, Translation


PAIRS = pytest.mark.parametrize(
    ("theirs", "ours"), [("openai", "anthropic"), ("anthropic", "openai")]
)
# A model of this name looks like a text in an event.
HEADING = Heading("content", "text", 0)

# One mould.


def plain(text: bytes) -> bool:
    """Tell whether a JSON string is one that every encoder writes alike."""
    try:
        read = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return isinstance(read, str) and read != "" and b"\\" not in text and orjson.dumps(read) == text


PIECES = st.lists(
    st.sampled_from([b'"', b"a", b"\\", b"\\n", b"\xc3\xa4", b"\xc3", b"\xff", b"\0", b"\n", b"}"]),
    max_size=6,
).map(b"".join)


@given(PIECES)
@example(b'"')
@example(b'""')
@example(b'"a"')
@example('"ä"'.encode())
@example(b'"\xed\xa0\x80"')
def test_a_payload_is_cast_exactly_if_a_plain_text_stands_in_it(text):
    cast = Mould(b'{"t":', b',"n":1}', b"<", b">").cast(b'{"t":%b,"n":1}' % text)

    assert cast == (b"<%b>" % text if plain(text) else None)


@given(st.integers(0, 20))
def test_what_is_cut_is_not_cast(size):
    whole = b'{"t":"abc","n":1}'
    cast = Mould(b'{"t":', b',"n":1}', b"<", b">").cast(whole[:size])

    assert (cast is None) == (size < len(whole))


# Whole streams.

TEXTS = st.sampled_from(["a", " token", "content", "text", "ä", "\ud83d\ude00", '"', "\n", PROBE])
TEXT = TEXTS | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4)
RUN = st.lists(TEXT.map(lambda text: Delta(0, text)), min_size=1, max_size=6)
OTHERS = st.sampled_from([
    [Delta(0, reasoning="t"), Delta(0, signature="s")],
    [ToolCall(0, 0, "c", "f"), ToolCall(0, 0, arguments="{}")],
    [ToolCall(0, 1, "d", "g"), ToolCall(0, 1, arguments='{"')],  # which is not complete
    [Start(0, "assistant")],
    [Usage(1, 2)],
    [Stop(0, "stop")],
])  # fmt: skip
STORIES = (
    st.lists(RUN | RUN | OTHERS, max_size=6)
    .filter(lambda runs: all(runs.count(run) == 1 for run in runs))  # a call is made once
    .map(lambda runs: [event for run in runs for event in run])
)


def spoken(dialect: str, events: list[Event]) -> bytes:
    writer = CLIENTS[dialect].writer(HEADING)
    blocks = [block for event in events for block in writer.write(event)]
    return b"".join([*blocks, *writer.end()])


def translated(data: bytes, theirs: str, ours: str, *, moulds: bool) -> list[bytes]:
    upstream = msgspec.structs.replace(UPSTREAMS[theirs], steady=moulds)
    said = Translation(upstream, CLIENTS[ours], HEADING)
    return said.blocks(data) + said.end()


@PAIRS
@given(events=STORIES)
def test_with_moulds_or_without_the_same_is_said(theirs, ours, events):
    data = spoken(theirs, events)

    assert translated(data, theirs, ours, moulds=True) == translated(
        data, theirs, ours, moulds=False
    )


CHUNK = '{"id":"%s","choices":[{"index":0,"delta":{%s}}],"x":"%s"}'
FRAMES = st.tuples(
    st.sampled_from(["a", "content", "b"]),
    st.sampled_from([
        '"content":"a"', '"content": "b"', '"content":"\\u0061"', '"content":"content"',
        '"content":"","refusal":"a"', '"content":"a","refusal":"a"', '"content":null',
        '"content":"c","content":"d"', '"content":"\\ud83d"', '"content":"\\ude00"',
    ]),
    st.sampled_from(["a", "b", "content"]),
)  # fmt: skip


@given(st.lists(FRAMES | st.just(("a", '"content":"e"', "a")), max_size=40))
def test_whatever_else_an_event_has_it_is_said_as_without_moulds(frames):
    data = "".join(f"data: {CHUNK % frame}\n\n" for frame in frames).encode()

    assert translated(data, "openai", "anthropic", moulds=True) == translated(
        data, "openai", "anthropic", moulds=False
    )


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    decoded: list[bytes] = []

    def load(payload: bytes) -> dict[str, Any] | None:
        decoded.append(payload)
        return loads_event(payload)

    monkeypatch.setattr(translation, "loads_event", load)
    return decoded


@PAIRS
def test_of_many_texts_few_are_decoded(theirs, ours, monkeypatch):
    data = spoken(theirs, [Start(0, "assistant"), *[Delta(0, "word")] * 100, Stop(0, "stop")])
    decoded = count_decoded(monkeypatch)
    blocks = translated(data, theirs, ours, moulds=True)

    assert b"".join(blocks).count(b'"word"') == 100
    assert len(decoded) < 10


def test_where_all_events_differ_moulds_are_seldom_tried(monkeypatch):
    data = b"".join(
        b'data: {"choices":[{"delta":{"content":"a"}}],"pad":"%d"}\n\n' % number
        for number in range(160)
    )
    decoded = count_decoded(monkeypatch)
    translated(data, "openai", "anthropic", moulds=True)

    assert len(decoded) == 160 + 160 / PATIENCE


def test_a_dialect_that_numbers_its_blocks_gets_each_by_itself():
    class Numbered:
        def __init__(self, heading: Heading) -> None:
            self.number = 0

        def write(self, event: Event) -> list[bytes]:
            self.number += 1
            return [b"data: %d\n\n" % self.number]

        def end(self) -> list[bytes]:
            return []

    ours = msgspec.structs.replace(CLIENTS["openai"], writer=Numbered, steady=False)
    said = Translation(UPSTREAMS["anthropic"], ours, HEADING)
    blocks = said.blocks(spoken("anthropic", [Delta(0, "a")] * 3))

    assert blocks == [b"data: %d\n\n" % number for number in range(1, len(blocks) + 1)]
