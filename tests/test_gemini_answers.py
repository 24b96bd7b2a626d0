"""Answers of Gemini, whole or as a stream, whoever asked."""

from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chat import Event, Stop, Text, Thinking, ToolCall, ToolUse, Usage
from gateway.client_errors import ClientError
from gateway.dialects.calls import MAX_CALLS, encode
from gateway.dialects.gemini import UPSTREAM
from gateway.dialects.gemini_calls import MAX_HELD
from gateway.dialects.gemini_events import Reader
from gateway.dialects.translation import read_answer
from gateway.upstream_errors import UpstreamError, UpstreamProtocolError, UpstreamRefused
from tests.dialect_requests import MANY, REQUESTS
from tests.gemini_words import EACH, NEW, OLD, response
from tests.translations import translation_of


# Answers.


def test_a_whole_answer_is_read_as_it_was_meant():
    call = {"name": "f", "args": {"a": 1}}
    usage = {
        "promptTokenCount": 10,
        "toolUsePromptTokenCount": 2,
        "cachedContentTokenCount": 4,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 7,
        "totalTokenCount": 24,
    }
    answer = UPSTREAM.read_answer(
        response(
            {"text": "hm", "thought": True},
            {"text": " so", "thought": True, "thoughtSignature": "s0"},
            {"text": "I "},
            {"text": "look", "thoughtSignature": "s1"},
            {"functionCall": call, "thoughtSignature": "s2"},
            {"functionCall": {"id": "x", "name": "g"}},
            {"executableCode": {"code": "1"}},
            usageMetadata=usage,
        )
    )
    assert (answer.id, answer.model) == ("r", OLD)
    assert answer.parts == (
        Thinking("hm so", "s0"),
        Text("I look"),
        Thinking("", "s1"),
        Thinking("", "s2"),
        ToolUse("call_r_0", "f", '{"a":1}'),
        ToolUse("x", "g", "{}"),
    )
    assert answer.stop == Stop(0, "tool_calls")
    assert answer.usage == Usage(12, 12, cached=4, reasoning=7)


REASONS = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "SPII": "content_filter",
    "MALFORMED_FUNCTION_CALL": "MALFORMED_FUNCTION_CALL",
    "NEW_REASON": "NEW_REASON",
}


@pytest.mark.parametrize(("word", "reason"), REASONS.items())
def test_why_an_answer_ended_is_told(word, reason):
    assert UPSTREAM.read_answer(response({"text": "a"}, finish=word)).stop.reason == reason
    assert UPSTREAM.reason(word) == reason


def test_a_prompt_that_is_refused_gets_an_answer_that_says_so():
    answer = UPSTREAM.read_answer({"promptFeedback": {"blockReason": "OTHER"}})
    assert (answer.parts, answer.stop.reason) == ((), "content_filter")


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"candidates":[{}]}', b"1", b"no"])
def test_what_is_no_answer_is_the_upstreams_mistake(body):
    with pytest.raises(UpstreamProtocolError):
        read_answer(body, UPSTREAM)


ERRORS = [
    ({"code": 429, "message": "no", "status": "RESOURCE_EXHAUSTED"}, 429, "rate_limit_error"),
    ({"message": "no", "status": "UNAVAILABLE"}, 503, "overloaded_error"),
    ({"code": 7, "message": "no", "status": "PERMISSION_DENIED"}, 403, "permission_error"),
    ({"message": "no"}, 502, "server_error"),
    ("no", 502, "server_error"),
]


@pytest.mark.parametrize(("error", "status", "kind"), ERRORS)
def test_an_error_in_a_good_answer_is_one(error, status, kind):
    with pytest.raises(UpstreamRefused, match="no") as caught:
        UPSTREAM.read_answer({"error": error})
    assert caught.value.error["type"] == kind
    if isinstance(error, dict):
        assert UPSTREAM.status_of(error) == status


# Streams.


def test_a_reason_that_is_repeated_is_told_once():
    reader = Reader()
    events = [event for _ in range(3) for event in reader.read(response({"text": "a"}))]
    assert [event for event in events if isinstance(event, Stop)] == [Stop(0, "stop")]


def test_calls_are_numbered_through_and_have_ids_that_stay():
    def calls(*events: Any) -> list[Event]:
        reader = Reader()
        return [said for event in events for said in reader.read(event)]

    one = response({"functionCall": {"name": "f"}})
    told = [event for event in calls(one, one) if isinstance(event, ToolCall)]
    assert told == [ToolCall(0, 0, "call_r_0", "f", "{}"), ToolCall(0, 1, "call_r_1", "f", "{}")]
    assert calls(one, one) == calls(one, one)


def calls_in(*calls: Any, finish: str = "") -> list[Event]:
    reader = Reader()
    events = [response({"functionCall": call}, finish="") for call in calls]
    said = [said for event in events for said in reader.read(event)]
    said += reader.read(response(finish=finish))
    return [event for event in said if isinstance(event, ToolCall)]


def pieces(*places: tuple[str, Any], goes_on: bool = True) -> dict[str, Any]:
    kinds = {str: "stringValue", float: "numberValue", bool: "boolValue"}
    args = [
        {"jsonPath": path, kinds.get(type(value), "nullValue"): value or "NULL_VALUE"}
        if value is None
        else {"jsonPath": path, kinds[type(value)]: value}
        for path, value in places
    ]
    return {"partialArgs": args, "willContinue": goes_on}


def test_a_call_that_comes_piece_by_piece_is_told_when_it_is_whole():
    begun = {"name": "f", "id": "x", "willContinue": True}
    first = pieces(("$.a", "Bos"), ("$.list[0]", 1.5), ("$.list[1].b", True))
    second = pieces(("$.a", "ton"), ("$['c d']", None))
    whole = '{"a":"Boston","list":[1.5,{"b":true}],"c d":null}'

    assert calls_in(begun, first) == []
    for end in ({}, {"willContinue": False}):
        assert calls_in(begun, first, second, end) == [ToolCall(0, 0, "x", "f", whole)]
    # The next one, and the end of the answer, are ends of it too.
    told = calls_in(begun, first, second, {"name": "g", "args": {"b": 1}}, finish="STOP")
    assert [(call.name, call.arguments) for call in told] == [("f", whole), ("g", '{"b":1}')]
    [told] = calls_in({"name": "f", "id": "x", **pieces(("$.a", "b"), goes_on=False)})
    assert told.arguments == '{"a":"b"}'
    assert calls_in(begun, first, second, finish="STOP") == [ToolCall(0, 0, "x", "f", whole)]


@pytest.mark.parametrize("path", ["", "a", "$", "$.a.", "$[0]", "$.a[2]", "$.s.b", "$.*", "$..a"])
def test_a_piece_without_a_place_is_the_upstreams_mistake(path):
    begun = {"name": "f", **pieces(("$.s", "text"))}
    with pytest.raises(UpstreamProtocolError, match="no place"):
        calls_in(begun, pieces((path, "x")))


def test_what_is_kept_of_a_call_is_bounded():
    half = "x" * (MAX_HELD // 2)
    with pytest.raises(UpstreamProtocolError, match="too long"):
        calls_in({"name": "f", **pieces(("$.a", half))}, pieces(("$.a", half)))


def test_a_text_that_comes_in_a_hundred_thousand_pieces_is_put_together_at_once():
    begun = {"name": "f", **pieces(("$.a", "x" * (MAX_HELD // 2)))}
    letters = [pieces(*[("$.a", "y")] * (MANY // 10))] * 10
    [call] = calls_in(begun, *letters, {})
    assert len(orjson.loads(call.arguments)["a"]) == MAX_HELD // 2 + MANY

    whole = response(*[{"text": "x" * 10}] * MANY, finish="STOP")
    answer = read_answer(encode(whole), UPSTREAM)
    assert answer.parts == (Text("x" * 10 * MANY),)


@EACH
def test_the_calls_of_an_answer_are_bounded(ours):
    translation = translation_of("gemini", ours)
    event = response(*[{"functionCall": {"name": "f"}}] * 600)
    translation.blocks(b"data: %b\n\n" % encode(event) * 2)

    assert translation.fault is not None
    assert f"more than {MAX_CALLS}" in translation.fault.message


WORDS = st.sampled_from([
    *("candidates", "content", "parts", "text", "thought", "thoughtSignature", "functionCall"),
    *("id", "name", "args", "finishReason", "usageMetadata", "promptTokenCount", "error"),
    *("promptFeedback", "blockReason", "responseId", "modelVersion", "message", "status", "code"),
    *("partialArgs", "jsonPath", "stringValue", "numberValue", "willContinue"),
])  # fmt: skip
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)
PARTS = st.dictionaries(WORDS, JSON, max_size=3)
EVENTS = st.dictionaries(WORDS, JSON, max_size=4) | st.builds(response, PARTS, PARTS)


@EACH
@given(events=st.lists(EVENTS, max_size=3))
def test_whatever_gemini_says_nothing_is_raised(ours, events):
    translation = translation_of("gemini", ours)
    data = b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events)
    blocks = translation.blocks(data) + translation.end()
    assert all(block.endswith(b"\n\n") for block in blocks)


@given(body=EVENTS)
def test_whatever_gemini_answers_the_only_error_is_its_own(body):
    with suppress(UpstreamError):
        assert read_answer(orjson.dumps(body), UPSTREAM).stop.reason


@given(request=REQUESTS)
def test_any_request_is_written_as_json(request):
    with suppress(ClientError):
        written = UPSTREAM.write_request(request, NEW)
        assert orjson.loads(orjson.dumps(written.body)) == written.body
        assert {turn["role"] for turn in written.body["contents"]} <= {"user", "model"}
        assert all(turn["parts"] for turn in written.body["contents"])


def test_the_model_is_quoted_in_the_path():
    path = UPSTREAM.wire.path
    assert path("gemini-2.5-pro", False) == "/models/gemini-2.5-pro:generateContent"
    assert path("a/b?c d", True) == "/models/a%2Fb%3Fc%20d:streamGenerateContent?alt=sse"
