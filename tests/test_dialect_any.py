"""Requests and answers from one dialect into another, whatever they are."""

from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chat import Answer, ChatRequest, Refusal, Stop, Text, ToolUse, Usage
from gateway.client_errors import ClientError
from gateway.dialects.calls import encode
from gateway.dialects.known import CLIENTS, UPSTREAMS
from gateway.upstream_errors import UpstreamError, UpstreamProtocolError, UpstreamRefused
from tests.dialect_requests import (
    ARGUMENTS,
    EACH,
    HEADING,
    NAME,
    PAIRS,
    REQUESTS,
    TEXT,
    THOUGHT,
    USER,
    answered,
    continued,
    translated,
)


# Any request.


def sayable(request: ChatRequest, *dialects: str) -> ChatRequest:
    """Return a request without what one of these dialects has no word for."""
    return msgspec.structs.replace(request, stop=()) if "responses" in dialects else request


@EACH
@given(request=REQUESTS)
def test_a_request_that_is_written_is_read_as_it_was_meant(dialect, request):
    request = sayable(request, dialect)
    written = UPSTREAMS[dialect].write_request(request, "m")

    assert not written.dropped
    assert CLIENTS[dialect].read_request(orjson.loads(orjson.dumps(written.body))) == request


@PAIRS
@given(request=REQUESTS)
def test_a_request_goes_there_and_back(dialect, theirs, request):
    request = sayable(request, dialect, theirs)
    asked = UPSTREAMS[dialect].write_request(request, "m").body
    sent, dropped = translated(dialect, theirs, **asked)
    back, _ = translated(theirs, dialect, **sent)

    assert not dropped
    assert {"model": "m", **back} == asked


@EACH
@given(thoughts=st.lists(THOUGHT, min_size=1, max_size=3))
def test_thinking_keeps_its_proof_byte_for_byte(dialect, thoughts):
    answer = Answer("resp_1", "m", (*thoughts, Text("so")), Stop(0, "stop"), Usage(1, 1))
    said = orjson.loads(orjson.dumps(CLIENTS[dialect].write_answer(answer, HEADING)))
    assert UPSTREAMS[dialect].read_answer(said) == answer

    [_, again, _] = CLIENTS[dialect].read_request(continued(dialect, said)).messages
    assert again.parts == answer.parts


WORDS = st.sampled_from([
    *("messages", "role", "content", "type", "text", "tools", "tool_choice", "function", "name"),
    *("image_url", "source", "system", "stop", "n", "thinking", "tool_calls", "usage", "choices"),
    *("message", "error", "user", "assistant", "tool", "tool_use", "input", "id", "arguments"),
    *("reasoning_details", "output_config", "response_format", "output_tokens_details"),
    *("output", "output_text", "input_text", "input_image", "reasoning", "summary", "message"),
    *("function_call", "function_call_output", "call_id", "format", "effort", "status"),
])  # fmt: skip
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 2**40) | WORDS | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=12,
)


@PAIRS
@given(body=st.dictionaries(WORDS, JSON, max_size=6))
def test_whatever_a_client_says_the_only_error_is_that_it_said_it(dialect, theirs, body):
    try:
        written, _ = translated(dialect, theirs, **{"messages": [USER], "input": "hi", **body})
    except ClientError:
        return
    orjson.dumps(written)


# Whole answers.

ANSWERS = st.builds(
    Answer,
    TEXT.map("resp_".__add__),
    TEXT,
    st.tuples(
        st.lists(THOUGHT, max_size=2),
        st.lists(TEXT.map(Text), max_size=1),
        st.lists(st.builds(ToolUse, TEXT, NAME, ARGUMENTS), max_size=2),
    ).map(lambda lists: tuple(part for found in lists for part in found)),
    st.builds(Stop, st.just(0), st.sampled_from(["stop", "length", "tool_calls"])),
    st.builds(Usage, st.just(9), st.integers(0, 9), st.integers(0, 4), st.just(2), st.just(1)),
)


def told(answer: Answer) -> Answer:
    """Return an answer whose reason is as its parts tell: some dialects have no word for it."""
    calls = any(isinstance(part, ToolUse) for part in answer.parts)
    reason = "length" if answer.stop.reason == "length" else "tool_calls" if calls else "stop"
    return msgspec.structs.replace(answer, stop=Stop(0, reason))


@PAIRS
@given(answer=ANSWERS.map(told))
def test_an_answer_goes_there_and_back(dialect, theirs, answer):
    said = orjson.dumps(CLIENTS[dialect].write_answer(answer, HEADING))
    assert UPSTREAMS[dialect].read_answer(orjson.loads(said)) == answer

    there = orjson.dumps(answered(said, dialect, theirs))
    back = orjson.dumps(answered(there, theirs, dialect))

    assert UPSTREAMS[dialect].read_answer(orjson.loads(back)) == answer


@PAIRS
@given(body=st.dictionaries(WORDS, JSON, max_size=6))
def test_whatever_an_upstream_answers_the_only_error_is_its_own(dialect, theirs, body):
    try:
        orjson.dumps(answered(orjson.dumps(body), dialect, theirs))
    except UpstreamError:
        return


def test_a_refusal_keeps_its_words_and_says_that_it_is_one():
    answer = Answer("id", "m", (Refusal("no"),), Stop(0, "stop"), None)
    said = CLIENTS["anthropic"].write_answer(answer, HEADING)
    assert said["content"] == [{"type": "text", "text": "no"}]
    assert said["stop_reason"] == "refusal"


@EACH
def test_what_is_no_answer_is_the_upstreams_mistake(dialect):
    bodies = (b"<html>", b"[]", b"{}", b'{"choices":[]}', b'{"content":"x"}')
    for body in (*bodies, b'{"output":[],"status":"queued"}'):
        with pytest.raises(UpstreamProtocolError):
            answered(body, dialect, dialect)


@PAIRS
def test_half_a_character_in_an_answer_goes_through(dialect, theirs):
    answer = Answer("id", "m", (Text("\ud83d"),), Stop(0, "stop"), Usage(1, 1))
    said = encode(CLIENTS[dialect].write_answer(answer, HEADING))

    assert rb"\ud83d" in encode(answered(said, dialect, theirs))


@EACH
def test_half_a_character_in_an_error_breaks_no_log_line(dialect):
    said = rb'{"type":"error","error":{"message":"\ud83d","type":"x"}}'
    with pytest.raises(UpstreamRefused) as caught:
        answered(said, dialect, dialect)
    assert caught.value.message == "?"


WITHOUT_REASON = {
    "openai": {"id": "x", "choices": [{"message": {"content": "hi"}, "finish_reason": None}]},
    "anthropic": {"content": [{"type": "text", "text": "hi"}], "stop_reason": None},
    "gemini": {"candidates": [{"content": {"parts": [{"text": "hi"}]}}]},
}


@pytest.mark.parametrize(("theirs", "body"), WITHOUT_REASON.items())
def test_an_answer_that_says_not_why_it_ended_is_none_for_its_end_would_be_made_up(theirs, body):
    with pytest.raises(UpstreamProtocolError, match="why it ended") as caught:
        answered(encode(body), theirs, "responses")
    assert caught.value.kind == "truncated"


ERRORS = {
    "openai": ("openai", {"error": {"message": "no", "type": "rate_limit_error"}}),
    "anthropic": (
        "anthropic",
        {"type": "error", "error": {"message": "no", "type": "rate_limit_error"}},
    ),
    "responses": ("responses", {"error": {"message": "no", "code": "rate_limit_exceeded"}}),
}


@pytest.mark.parametrize(("dialect", "body"), ERRORS.values(), ids=ERRORS.keys())
def test_an_error_in_a_good_answer_is_one(dialect, body):
    with pytest.raises(UpstreamRefused) as caught:
        answered(orjson.dumps(body), dialect, dialect)
    assert caught.value.message == "no"
    assert UPSTREAMS[dialect].status_of(caught.value.error) == 429
