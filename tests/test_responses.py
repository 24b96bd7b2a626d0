"""The Responses API at the wire: what its clients get, byte for byte, and how streams end."""

from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway._sseparse import RESPONSES, UNTIL_CLOSE, EventParser
from gateway.chat import Stop
from gateway.dialects.known import UPSTREAMS
from tests.responses_client import ASK, EACH, MESSAGES, asked, events, scripted, stand
from tests.scripted import CHUNKED, LAST, Scripted, chunk
from tests.stories import blocks, case, check_responses, fed_named


# What the parser makes of such a stream.


fed = partial(fed_named, RESPONSES)


def over(word: str = "completed", **response: Any) -> dict[str, Any]:
    return {"type": f"response.{word}", "response": response}


def test_the_last_event_is_passed_on_and_nothing_after_it():
    parser, said = fed({"type": "x"}, over(usage={"input_tokens": 5}), {"type": "late"})
    assert (parser.done, parser.finish, parser.error) == (True, "completed", None)
    assert parser.usage == {"input_tokens": 5}
    assert said == [{"type": "x"}, over(usage={"input_tokens": 5})]


def test_a_call_of_a_function_and_a_bound_that_was_reached_are_told():
    parser, _ = fed(over(output=[{"type": "reasoning"}, {"type": "function_call"}]))
    assert parser.finish == "tool_calls"
    parser, _ = fed(over("incomplete", incomplete_details={"reason": "max_output_tokens"}))
    assert (parser.done, parser.finish) == (True, "max_output_tokens")
    parser, _ = fed(over("incomplete", incomplete_details=None))
    assert (parser.done, parser.finish) == (True, "incomplete")


@pytest.mark.parametrize("told", [None, {}, {"status": None}, {"status": "completed"}])
def test_a_response_that_was_cut_is_told_as_cut_whatever_it_says_of_itself(told):
    read = UPSTREAMS["responses"].reader()
    assert read({"type": "response.incomplete", "response": told}) == [Stop(0, "length")]


def test_words_in_a_text_or_an_argument_mean_nothing():
    said = [
        {"type": "response.output_text.delta", "delta": '{"type":"response.completed"}'},
        {"type": "response.output_item.done", "item": {"type": "error", "message": "x"}},
        {"type": "response.created", "response": {"tools": [{"type": "response.failed"}]}},
        {"type": "keepalive", "sequence_number": 3},
    ]
    parser, passed = fed(*said)
    assert passed == said
    assert not parser.attention


def test_a_failure_ends_the_story():
    error = {"code": "server_error", "message": "no"}
    for event in (
        over("failed", error=error, status="failed"),
        {"type": "error", "sequence_number": 1, "param": None, **error},
        {"type": "error", "error": error},
    ):
        parser, said = fed({"type": "x"}, event, {"type": "late"})
        assert parser.error is not None
        assert {**parser.error, "param": None} == {**error, "param": None}
        assert (parser.done, parser.error_at) == (False, 2)
        assert said == [{"type": "x"}, event]


def test_a_failure_that_says_nothing_is_one():
    assert fed({"type": "error"})[0].error is not None
    assert fed({"type": "response.failed"})[0].error is not None


# The same dialect on both sides.


RECORDED = ("text", "tool", "parallel", "reasoning", "refusal", "incomplete")


@given(data=st.data())
def test_however_a_stream_is_cut_it_passes_as_it_is_and_tells_the_same(data):
    raw = case(f"responses-{data.draw(st.sampled_from(RECORDED))}")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=20)))
    parser, whole = (EventParser(UNTIL_CLOSE, dialect=RESPONSES) for _ in range(2))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    batches = [parser.feed(piece, 0.0) for piece in pieces]
    whole.feed(raw, 0.0)

    assert b"".join(batch.data for batch in batches if batch) == raw
    assert parser.done
    assert (parser.finish, parser.usage) == (whole.finish, whole.usage)


@pytest.mark.parametrize("name", RECORDED)
async def test_a_stream_of_the_same_dialect_goes_through_byte_for_byte(name):
    stream = case(f"responses-{name}")
    async with Scripted(CHUNKED + chunk(stream) + LAST) as provider, scripted(provider) as it:
        answer = await asked(it)

    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.body == stream
    assert it.log_lines[-1]["end"] == "finished"
    assert it.log_lines[-1]["tokens_out"] > 0


async def test_a_whole_answer_of_the_same_dialect_goes_through_as_it_came():
    async with stand(tokens=3) as it:
        answer = await asked(it, stream=False, new_parameter={"x": 1})
        sent = it.mock.requests[-1]

    assert answer.json["output"][0]["content"][0]["text"] == "t0 t1 t2"
    assert sent.path == "/v1/responses"
    assert sent.json == {**ASK, "stream": False, "new_parameter": {"x": 1}}
    assert sent.headers["authorization"] == "Bearer sk-upstream-canary"
    assert it.log_lines[-1]["tokens_out"] == 3


# Honest endings, whoever is upstream.

BROKEN = {
    "truncate": "truncated",
    "hangup": "truncated",
    "cut": "truncated",
    "no-done": "truncated",
    "no-finish": "truncated",
    "bad-chunk": "protocol",
}


@pytest.mark.parametrize(
    ("upstream", "fault"),
    # Gemini has no event that is the last.
    [(u, fault) for u in UPSTREAMS for fault in BROKEN if (u, fault) != ("gemini", "no-done")],
)
async def test_a_broken_stream_ends_as_a_response_that_failed(upstream, fault):
    async with stand(upstream, fault=fault, at=9, tokens=20) as it:
        answer = await asked(it)

    assert answer.status == 200
    check_responses(blocks(answer.body), whole=True)
    last = events(answer)[-1]["response"]
    assert last["status"] == "failed"
    word = "stream_interrupted" if BROKEN[fault] == "truncated" else "upstream_protocol_error"
    assert last["error"]["code"] == word
    assert last["error"]["message"]
    assert it.log_lines[-1]["end"] == BROKEN[fault]


async def test_what_was_complete_before_a_failure_is_in_the_response_that_failed():
    async with stand(fault="truncate", at=9, reasoning=2, tokens=20) as it:
        answer = await asked(it)

    last = events(answer)[-1]["response"]
    assert [item["type"] for item in last["output"]] == ["reasoning"]
    assert last["output"][0]["summary"][0]["text"] == "r0 r1"
    assert last["id"] == events(answer)[0]["response"]["id"]


@pytest.mark.parametrize("name", ["failed", "error"])
async def test_a_failure_that_the_provider_tells_goes_through_as_it_came(name):
    stream = case(f"responses-{name}")
    async with Scripted(CHUNKED + chunk(stream) + LAST) as provider, scripted(provider) as it:
        answer = await asked(it)

    assert answer.body == stream
    assert it.log_lines[-1]["end"] == "upstream_error"


@pytest.mark.parametrize("upstream", ["openai", "anthropic"])
async def test_a_failure_of_another_dialect_is_a_response_that_failed(upstream):
    async with stand(upstream, fault="error-mid", at=5, tokens=20) as it:
        answer = await asked(it)

    check_responses(blocks(answer.body), whole=True)
    assert events(answer)[-1]["response"]["error"]["message"] == "the model has failed"
    assert it.log_lines[-1]["end"] == "upstream_error"


async def test_a_failure_reaches_clients_of_other_dialects():
    async with stand(fault="error-mid", at=6, tokens=20) as it:
        chat = await asked(it, "/v1/chat/completions", messages=MESSAGES)
        message = await asked(it, "/v1/messages", messages=MESSAGES, max_tokens=99)

    assert b'"message":"the model has failed"' in blocks(chat.body)[-1]
    assert b"[DONE]" not in chat.body
    assert blocks(message.body)[-1].startswith(b"event: error\n")
    assert b"message_stop" not in message.body


@EACH
@pytest.mark.parametrize("stream", [True, False])
async def test_an_error_before_the_answer_has_its_status_and_openais_shape(upstream, stream):
    async with stand(upstream, fault="429", retry_after="7") as it:
        answer = await asked(it, stream=stream)

    assert answer.status == 429
    assert answer.headers["retry-after"] == "7"
    assert set(answer.json["error"]) >= {"message", "type"}
    assert answer.headers["headgate-error-source"] == "upstream"


@EACH
async def test_an_error_as_the_first_event_has_its_own_status(upstream):
    async with stand(upstream, fault="error-first") as it:
        answer = await asked(it)

    assert answer.status == {"anthropic": 529, "gemini": 503}.get(upstream, 500)
    assert answer.json["error"]["message"] == "the model has failed"


async def test_what_the_upstream_has_no_path_for_is_said_so():
    async with stand() as it:
        for path in ("/v1/embeddings", "/v1/completions", "/v1/messages/count_tokens"):
            answer = await asked(it, path, stream=False)
            assert answer.status == 400
            assert b"speaks responses" in answer.body


async def test_our_key_is_in_no_failure():
    failed = case("responses-failed").replace(b"The model failed", b"sk-upstream-canary failed")
    async with Scripted(CHUNKED + chunk(failed) + LAST) as provider, scripted(provider) as it:
        for path in ("/v1/responses", "/v1/chat/completions"):
            answer = await asked(it, path, messages=MESSAGES)
            assert b"*** failed" in answer.body
            assert b"canary" not in answer.body
