"""Translation of streams: whatever comes, and the rare cases by hand."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chat import Delta, Event, Fault, Start, Stop, ToolCall, Usage
from gateway.dialects.anthropic_writer import MAX_HELD, Extent
from gateway.dialects.calls import MAX_CALLS, Heading
from gateway.dialects.known import CLIENTS, UPSTREAMS
from gateway.dialects.responses_writer import ITEM_COST, MAX_SAID
from gateway.upstream_errors import UpstreamProtocolError
from tests.stories import as_read_in, check_order, put_together, read
from tests.translations import EACH, HEADING, PAIRS, parsed, translation_of, written


# Any stream.

TEXT = st.text(min_size=1, max_size=8)  # of all Unicode, halves of surrogate pairs left out
INTEGERS = st.integers(-(2**53), 2**53)
ARGUMENTS = st.dictionaries(
    st.text(max_size=4), st.text('"\\{}[]', max_size=6) | INTEGERS | st.none(), max_size=3
).map(lambda value: orjson.dumps(value).decode())
USAGES = st.builds(
    lambda fresh, cached, written, output, reasoning: Usage(
        fresh + cached + written, output, cached, reasoning, written
    ),
    *[st.integers(0, 10**6)] * 5,
)


def said_before() -> st.SearchStrategy[list[Event]]:
    """Thinking with its proof, what cannot be read, and text, in any order."""
    thought = st.tuples(
        st.lists(TEXT.map(lambda text: Delta(0, reasoning=text)), min_size=1, max_size=3),
        TEXT.map(lambda text: [Delta(0, signature=text)]),
    ).map(lambda parts: parts[0] + parts[1])
    hidden = TEXT.map(lambda text: [Delta(0, redacted=text)])
    text = st.lists(TEXT.map(lambda text: Delta(0, content=text)), min_size=1, max_size=3)
    parts = st.lists(thought | hidden | text, max_size=4)
    return parts.map(lambda lists: [event for events in lists for event in events])


@st.composite
def called(draw: st.DrawFn) -> list[Event]:
    """Calls of tools, their fragments in order or in turns."""
    queues: list[list[Event]] = []
    for index, whole in enumerate(draw(st.lists(ARGUMENTS, max_size=4))):
        cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=4)))
        pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
        first = ToolCall(0, index, f"call_{index}", f"tool_{index}")
        queues.append([first, *(ToolCall(0, index, arguments=piece) for piece in pieces)])
    events: list[Event] = []
    while any(queues):
        begun = [queue for queue in queues if queue]
        # A call begins only after those before it have begun, as their numbers say.
        ready = [q for i, q in enumerate(begun) if i == 0 or begun[i - 1][0].id == ""]  # type: ignore[union-attr]
        events.append(draw(st.sampled_from(ready)).pop(0))
    return events


STREAMS = st.tuples(
    said_before(),
    called(),
    st.sampled_from(["stop", "length", "tool_calls", "content_filter", "new_reason"]),
    USAGES,
).map(lambda parts: [Start(0, "assistant"), *parts[0], *parts[1], Stop(0, parts[2]), parts[3]])


def calls_in_order(story: dict[str, Any]) -> dict[str, Any]:
    """Number calls as they came: only that they can be told apart is meant."""
    return {**story, "calls": list(story["calls"].values())}


@EACH
@given(events=STREAMS)
def test_what_is_written_is_read_as_it_was_meant(dialect, events):
    blocks = written(dialect, events)

    check_order(dialect, blocks, whole=True)
    back = put_together(read(dialect, b"".join(blocks)))
    assert calls_in_order(back) == calls_in_order(as_read_in(dialect, put_together(events)))


@PAIRS
@given(events=STREAMS)
def test_there_and_back_keeps_the_meaning(dialect, other, events):
    blocks = written(dialect, events)
    there = translation_of(dialect, other)
    back = translation_of(other, dialect)

    said = there.blocks(b"".join(blocks)) + there.end()
    again = back.blocks(b"".join(said)) + back.end()

    found = put_together(read(dialect, b"".join(again)))
    meant = as_read_in(dialect, as_read_in(other, put_together(events)))
    assert calls_in_order(found) == calls_in_order(meant)


@EACH
@given(events=STREAMS)
def test_every_block_is_canonical(dialect, events):
    blocks = written(dialect, events)
    parser, batches = parsed(dialect, [b"".join(blocks)])

    assert b"".join(batches) == b"".join(blocks)
    assert parser.events == len(blocks)


WORDS = st.sampled_from([
    *("type", "index", "delta", "content_block", "message", "usage", "text", "id", "name"),
    *("partial_json", "error", "choices", "content", "tool_calls", "function", "arguments"),
    *("input", "thinking", "signature", "data", "stop_reason", "role", "finish_reason"),
    *("output_tokens_details", "prompt_tokens_details", "reasoning_details", "response"),
    *("item", "output", "output_index", "summary", "summary_index", "call_id", "status"),
    *("encrypted_content", "incomplete_details", "reason", "part"),
])  # fmt: skip
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=12,
)
KINDS = st.sampled_from([
    *("message_start", "content_block_start", "content_block_delta", "content_block_stop"),
    *("message_delta", "message_stop", "error", "ping", "new"),
    *("response.created", "response.output_item.added", "response.output_item.done"),
    *("response.output_text.delta", "response.function_call_arguments.delta", "response.failed"),
    *("response.reasoning_summary_part.added", "response.completed", "response.incomplete"),
])  # fmt: skip
EVENTS = st.dictionaries(WORDS, JSON, max_size=5).flatmap(
    lambda event: KINDS.map(lambda kind: {**event, "type": kind}) | st.just(event)
)


@PAIRS
@given(events=st.lists(EVENTS, max_size=5))
def test_whatever_an_upstream_says_nothing_is_raised_and_the_order_is_kept(dialect, other, events):
    data = b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events)
    translation = translation_of(dialect, other)
    blocks = translation.blocks(data) + translation.end()
    said = b"".join(blocks)
    reported = b"event: error" in said or b"event: response.failed" in said
    faulty = translation.fault is not None or reported
    if not faulty:
        check_order(other, blocks, whole=True)


# By hand.


def test_an_event_that_cannot_be_read_is_not_left_out_unsaid():
    translation = translation_of("openai", "anthropic")
    good = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
    said = translation.blocks(good + b'data: {"choices": [oops\n\n' + good)

    assert b"".join(said).count(b"text_delta") == 1
    assert translation.fault is not None
    assert translation.fault.message == "an event of the upstream cannot be read"
    assert translation.blocks(good) == translation.end() == []


def test_half_a_character_goes_through_and_meets_its_other_half():
    events = [rb'data: {"choices":[{"delta":{"content":"\ud83d"}}]}' + b"\n\n"]
    events.append(rb'data: {"choices":[{"delta":{"content":"\ude00"}}]}' + b"\n\n")
    translation = translation_of("openai", "anthropic")

    said = b"".join(translation.blocks(b"".join(events)))

    assert said.index(rb'"text":"\ud83d"') < said.index(rb'"text":"\ude00"')


def test_a_call_that_goes_on_after_its_end_is_the_upstreams_mistake():
    late = ToolCall(0, 0, arguments="x")
    fragments = [ToolCall(0, 0, "a", "f", "{}"), ToolCall(0, 1, "b", "g", "{"), late]
    with pytest.raises(UpstreamProtocolError, match="after its end"):
        written("anthropic", fragments)


def test_a_stream_that_cannot_be_ended_is_the_upstreams_mistake_and_raises_nothing():
    translation = translation_of("openai", "anthropic")
    late = [FRAGMENT % 0, FRAGMENT.replace(b"{}", b"{") % 1, FRAGMENT % 0]

    translation.blocks(b"".join(late))

    assert translation.end() == []
    assert translation.fault is not None
    assert "after its end" in translation.fault.message


PIECE = "x" * (MAX_HELD // 2)
LATE = {
    "arguments": [ToolCall(0, 1, "b", "g", PIECE), *[ToolCall(0, 1, arguments=PIECE)] * 2],
    "thinking": [Delta(0, reasoning=PIECE)] * 3,
    "proofs": [Delta(0, signature=PIECE)] * 3,
    "calls of nothing": [ToolCall(0, number, "c", "f") for number in range(1, MAX_HELD // 8)],
}


@pytest.mark.parametrize("late", LATE.values(), ids=LATE.keys())
def test_what_waits_for_its_turn_is_bounded(late):
    with pytest.raises(UpstreamProtocolError, match="too long"):
        written("anthropic", [ToolCall(0, 0, "a", "f", '{"'), *late])


FRAGMENT = (
    b'data: {"choices":[{"delta":{"tool_calls":'
    b'[{"index":%d,"id":"c","function":{"name":"f","arguments":"{}"}}]}}]}\n\n'
)
OPENING = (
    b'data: {"type":"content_block_start","index":%d,'
    b'"content_block":{"type":"tool_use","id":"c","name":"f"}}\n\n'
)


ADDED = (
    b'data: {"type":"response.output_item.added","output_index":%d,'
    b'"item":{"type":"function_call","call_id":"c","name":"f"}}\n\n'
)


CALLS = {"openai": FRAGMENT, "anthropic": OPENING, "responses": ADDED}


@PAIRS
def test_the_calls_of_an_answer_are_bounded(dialect, other):
    translation, call = translation_of(dialect, other), CALLS[dialect]

    translation.blocks(b"".join(call % number for number in range(MAX_CALLS + 2)))

    assert translation.fault is not None
    assert "more than" in translation.fault.message


def test_what_the_end_of_a_response_repeats_is_bounded():
    half = Delta(0, content="x" * (MAX_SAID // 2))
    with pytest.raises(UpstreamProtocolError, match="too long"):
        written("responses", [half, half, half])


def test_parts_of_a_response_take_room_besides_their_text():
    turns = [Delta(0, content="x"), Delta(0, refusal="y")] * (MAX_SAID // ITEM_COST)
    with pytest.raises(UpstreamProtocolError, match="too long"):
        written("responses", turns)


def test_calls_of_a_response_stay_open_side_by_side():
    events: list[Event] = [Delta(0, content="a"), ToolCall(0, 0, "a", "f"), ToolCall(0, 1, "", "g")]
    events += [ToolCall(0, 0, arguments="{}"), Delta(0, content="b"), ToolCall(0, 1, arguments="1")]
    blocks = written("responses", events)

    check_order("responses", blocks, whole=True)
    assert b"".join(blocks).count(b"response.output_item.done") == 2 * 4
    story = put_together(read("responses", b"".join(blocks)))
    assert story["calls"] == {0: ("a", "f", "{}"), 1: ("call_id-1_1", "g", "1")}


def test_arguments_that_come_only_at_the_end_of_their_call_are_told():
    added = {"type": "response.output_item.added", "output_index": 3}
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": ""}
    told = {"type": "response.output_item.done", "output_index": 3}
    reader = UPSTREAMS["responses"].reader()

    assert reader({**added, "item": call}) == [ToolCall(0, 0, "c", "f")]
    assert reader({**told, "item": {**call, "arguments": "{1}"}}) == [
        ToolCall(0, 0, arguments="{1}")
    ]
    assert reader({**told, "item": {**call, "arguments": "{1}"}}) == []
    assert reader({**added, "item": call, "output_index": 4}) == [ToolCall(0, 1, "c", "f")]
    assert reader({**told, "item": call, "output_index": 4}) == [ToolCall(0, 1, arguments="{}")]


def test_proof_of_thoughts_that_are_not_shown_is_not_what_cannot_be_read():
    proof, hidden = Delta(0, signature="p"), Delta(0, redacted="p")
    blocks = written("responses", [proof, hidden])
    said = [event for event in read("responses", b"".join(blocks)) if isinstance(event, Delta)]
    assert said == [proof, hidden]


def test_each_call_is_told_as_it_comes_where_they_come_one_after_the_other():
    writer = CLIENTS["anthropic"].writer(HEADING)
    writer.write(ToolCall(0, 0, "a", "f"))
    assert writer.write(ToolCall(0, 0, arguments='{"x":1}'))
    assert writer.write(ToolCall(0, 1, "b", "g"))


def test_usage_is_only_told_to_who_asked():
    plain = Heading("i", "m", 0, wants_usage=False)
    writer = CLIENTS["openai"].writer(plain)
    events = [Start(0, "assistant"), Delta(0, content="a"), Stop(0, "stop"), Usage(1, 1)]
    said = b"".join(block for event in events for block in writer.write(event))
    assert b"usage" not in said + b"".join(writer.end())


def test_who_asked_with_functions_is_told_of_a_call_of_one():
    writer = CLIENTS["openai"].writer(Heading("i", "m", 0, functions=True))
    story = [ToolCall(0, 0, "c", "f"), ToolCall(0, 0, arguments="{}"), Stop(0, "tool_calls")]
    blocks = [block for event in story for block in writer.write(event)]
    choices = [orjson.loads(block[6:])["choices"][0] for block in blocks[1:]]

    assert [choice["delta"] for choice in choices] == [
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": "{}"}},
        {},
    ]
    assert choices[-1]["finish_reason"] == "function_call"
    with pytest.raises(UpstreamProtocolError, match="room for one"):
        writer.write(ToolCall(0, 1, "d", "g"))


def test_a_fault_ends_a_stream_in_the_shape_of_each_dialect():
    fault = Fault("no more", "overloaded_error")
    said = written("anthropic", [fault], ends=False)
    assert said == [
        b'event: error\ndata: {"type":"error","error":'
        b'{"type":"overloaded_error","message":"no more"}}\n\n'
    ]
    [block] = written("openai", [fault], ends=False)
    error = {"message": "no more", "type": "overloaded_error", "param": None, "code": None}
    assert orjson.loads(block[6:]) == {"error": error}


@given(
    st.dictionaries(st.text('ab"\\{', max_size=3), st.text('"\\{}[]', max_size=4), max_size=4),
    st.lists(st.integers(0, 60), max_size=5),
)
def test_an_object_is_complete_at_its_last_brace_and_not_before(value, cuts):
    whole = orjson.dumps(value).decode()
    cuts = sorted(min(cut, len(whole)) for cut in cuts)
    extent = Extent()
    for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        extent.feed(whole[a:b])
        assert extent.complete == (b == len(whole))
