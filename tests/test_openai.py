"""The OpenAI dialect: what is read from a request is what the provider is sent."""

import gc
from contextlib import nullcontext

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway._sseparse import read_usage
from gateway.chat import Usage
from gateway.client_errors import ClientError
from gateway.dialects import openai
from gateway.dialects.calls import LARGE, MAX_DEPTH, look_at
from gateway.dialects.openai import read_call, status_of, upstream_body
from gateway.upstream_errors import UpstreamProtocolError, UpstreamTimeout


def body(**fields):
    return orjson.dumps({"model": "m", **fields})


def nested(levels):
    """A request whose JSON is so many levels deep."""
    inner = levels - 1
    return b'{"model":"m","x":' + b"[" * inner + b"]" * inner + b"}"


# A body, and what is read from it: stream, wants_usage.
CALLS = {
    "the least": (body(), (False, False)),
    "a stream": (body(stream=True), (True, False)),
    "no stream, said": (body(stream=False), (False, False)),
    "no stream, null": (body(stream=None), (False, False)),
    "usage is wanted": (body(stream=True, stream_options={"include_usage": True}), (True, True)),
    "usage is not": (body(stream=True, stream_options={"include_usage": False}), (True, False)),
    "options, null": (body(stream=True, stream_options=None), (True, False)),
    "other options": (body(stream=True, stream_options={"x": 1}), (True, False)),
}


@pytest.mark.parametrize(("raw", "read"), CALLS.values(), ids=CALLS.keys())
def test_a_request_says_whether_it_streams_and_wants_usage(raw, read):
    call = read_call(raw)

    assert call.model == "m"
    assert (call.stream, call.wants_usage) == read


def test_a_route_that_never_streams_does_not():
    assert not read_call(body(stream=True), streams=False).stream


# A body that is no request, the parameter it names, and some of the words.
REFUSED = {
    "nothing": (b"", None, "the body is not JSON"),
    "no json": (b"model=m", None, "the body is not JSON"),
    "cut": (b'{"model": "m"', None, "the body is not JSON"),
    "two of them": (body() + body(), None, "the body is not JSON"),
    "not a number": (b'{"model":"m","temperature":NaN}', None, "the body is not JSON"),
    "no utf-8": (b'{"model":"\xff"}', None, "the body is not JSON"),
    "half a character": (b'{"model":"\\ud800"}', None, "the body is not JSON"),
    "a list": (b"[]", None, "must be a JSON object"),
    "a string": (b'"m"', None, "must be a JSON object"),
    "null": (b"null", None, "must be a JSON object"),
    "no model": (b"{}", "model", "you must provide a model"),
    "an empty model": (b'{"model":""}', "model", "you must provide a model"),
    "a model that is no name": (b'{"model":7}', "model", "you must provide a model"),
    "the last of two models counts": (b'{"model":"m","model":7}', "model", "you must provide"),
    "a stream in words": (body(stream="yes"), "stream", "true or false"),
    "a stream in numbers": (body(stream=1), "stream", "true or false"),
    "options that are a list": (body(stream_options=[]), "stream_options", "an object"),
    "one level too many": (nested(MAX_DEPTH + 1), None, f"deeper than {MAX_DEPTH} levels"),
    "far too many": (nested(1000), None, f"deeper than {MAX_DEPTH} levels"),
    "beyond any parser": (nested(1_000_000), None, f"deeper than {MAX_DEPTH} levels"),
}


@pytest.mark.parametrize(("raw", "param", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_a_body_that_is_no_request_is_refused_in_plain_words(raw, param, words):
    with pytest.raises(ClientError, match=words) as caught:
        read_call(raw)

    assert caught.value.status == 400
    assert caught.value.param == param


def test_the_deepest_body_that_passes_passes():
    assert read_call(nested(MAX_DEPTH)).model == "m"


@pytest.mark.parametrize("collects", [True, False])
@pytest.mark.parametrize("end", [b"", b"]"], ids=["whole", "broken"])
def test_a_large_body_is_read_like_any_other(collects, end):
    raw = body(messages=["x" * LARGE]) + end
    (gc.enable if collects else gc.disable)()
    try:
        with pytest.raises(ClientError, match="not JSON") if end else nullcontext():
            assert read_call(raw).body == orjson.loads(raw)
        assert gc.isenabled() == collects
    finally:
        gc.enable()


def test_brackets_in_a_text_are_not_levels():
    assert read_call(body(x="[{" * 1000)).model == "m"
    assert read_call(body(x=[[{}]] * 1000)).model == "m"


JSON = st.recursive(
    st.none() | st.integers(-9, 9) | st.text('[{}]"\\', max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=20,
)


def depth(value):
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(JSON, st.integers(0, MAX_DEPTH))
def test_depth_is_counted_as_one_would_by_hand(value, wrapped):
    for _ in range(wrapped):
        value = [value]
    raw = body(x=value)
    if depth(orjson.loads(raw)) > MAX_DEPTH:
        with pytest.raises(ClientError, match="deeper"):
            read_call(raw)
    else:
        read_call(raw)


# What the client's request becomes: its own fields, and the provider's.
REWRITTEN = {
    "a stream is asked for usage": (
        {"stream": True},
        {"stream": True, "stream_options": {"include_usage": True}},
    ),
    "a refusal of usage is ours to keep": (
        {"stream": True, "stream_options": {"include_usage": False, "x": 1}},
        {"stream": True, "stream_options": {"include_usage": True, "x": 1}},
    ),
    "what was asked for stays": (
        {"stream": True, "stream_options": {"include_usage": True}},
        {"stream": True, "stream_options": {"include_usage": True}},
    ),
    "a whole answer has usage anyway": ({"stream": False}, {"stream": False}),
    "null options": (
        {"stream": True, "stream_options": None},
        {"stream": True, "stream_options": {"include_usage": True}},
    ),
    "all else goes through": (
        {"messages": [{"content": "\u00e9\u2028"}], "seed": 2**53, "new_field": None},
        {"messages": [{"content": "\u00e9\u2028"}], "seed": 2**53, "new_field": None},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("asked", "sent"), REWRITTEN.values(), ids=REWRITTEN.keys())
def test_the_provider_gets_its_own_model_name_and_is_asked_for_usage(asked, sent):
    call = read_call(body(**asked))

    assert orjson.loads(upstream_body(call, "theirs")) == {"model": "theirs", **sent}


def test_what_was_judged_is_what_is_sent():
    """A key that stands twice says one thing to everybody: the last."""
    raw = b'{"model":"cheap","stream":false,"model":"dear","stream":true}'
    call = read_call(raw)
    sent = upstream_body(call, call.model)

    assert (call.model, call.stream) == ("dear", True)
    assert sent.count(b'"model"') == sent.count(b'"stream"') == 1
    assert read_call(sent).model == "dear"


USAGES = {
    "there": (b'{"id":"x","usage":{"prompt_tokens":1},"data":[1,2]}', {"prompt_tokens": 1}),
    "missing": (b'{"id":"x"}', None),
    "null": (b'{"usage":null}', None),
    "not an answer": (b"[1]", None),
    "a pit": (b'{"usage":' + b"[" * 100_000, None),
    "a pit beside it": (b'{"x":' + b"[" * 100_000, None),
}


@pytest.mark.parametrize(("answer", "usage"), USAGES.values(), ids=USAGES.keys())
def test_usage_is_found_in_a_whole_answer_or_missed_without_a_fuss(answer, usage):
    assert look_at(answer).usage == usage


NO_JSON = {
    b"": "truncated",
    b'{"id":"x","data":[1': "truncated",
    b"<html>": "protocol",
    b"\xff": "protocol",
}


@pytest.mark.parametrize(("answer", "kind"), NO_JSON.items())
def test_what_is_no_json_is_no_answer(answer, kind):
    with pytest.raises(UpstreamProtocolError, match="not JSON") as caught:
        look_at(answer)
    assert caught.value.kind == kind


# A usage object, and what of it is sensible.
COUNTED = {
    "all of it": (
        {
            "prompt_tokens": 10,
            "completion_tokens": 20,
            "total_tokens": 30,
            "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 5},
        },
        Usage(input=10, output=20, cached=4, reasoning=5),
    ),
    "embeddings": ({"prompt_tokens": 8, "total_tokens": 8}, Usage(input=8, output=0)),
    "details are null": (
        {"prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": None},
        Usage(input=1, output=2),
    ),
    "nothing": ({}, Usage(input=0, output=0)),
    "strings": ({"prompt_tokens": "10", "completion_tokens": [2]}, Usage(input=0, output=0)),
    "truth is no number": ({"prompt_tokens": True}, Usage(input=0, output=0)),
    "fractions": ({"prompt_tokens": 1.5}, Usage(input=0, output=0)),
    "less than nothing": ({"completion_tokens": -5}, Usage(input=0, output=0)),
    "absurdly many": ({"completion_tokens": 10**15}, Usage(input=0, output=0)),
    "details are a list": ({"prompt_tokens_details": [1]}, Usage(input=0, output=0)),
}


@pytest.mark.parametrize(("usage", "read"), COUNTED.values(), ids=COUNTED.keys())
def test_only_sensible_usage_is_read(usage, read):
    assert read_usage(usage) == read


def test_an_error_event_is_one_event_in_the_providers_shape():
    event = openai.error_event(UpstreamTimeout("it\nhalted"))

    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    assert event.count(b"\n") == 2
    assert orjson.loads(event[6:])["error"]["code"] == "upstream_timeout"


STATUSES = {
    "a number as code": ({"code": 429}, 429),
    "a number as status": ({"status": 503}, 503),
    "a number that is no error": ({"code": 200}, 502),
    "a number that is none": ({"code": 4290}, 502),
    "true is no number": ({"code": True}, 502),
    "a word as code": ({"code": "context_length_exceeded"}, 400),
    "a word as type": ({"type": "rate_limit_error"}, 429),
    "code before type": ({"type": "server_error", "code": "invalid_api_key"}, 401),
    "type if code says nothing": ({"type": "overloaded_error", "code": "strange"}, 503),
    "words nobody knows": ({"type": "strange", "code": "stranger"}, 502),
    "nothing": ({}, 502),
    "things that are no words": ({"code": {"x": []}, "type": None}, 502),
}


@pytest.mark.parametrize(("error", "status"), STATUSES.values(), ids=STATUSES.keys())
def test_an_error_in_a_200_has_the_status_it_should_have_had(error, status):
    assert status_of(error) == status
