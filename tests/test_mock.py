"""The mock provider: what it says, and how a request asks for it."""

import base64
import re
import struct
import time

import orjson
import pytest

from gateway.mock import MockProvider, Options, faults, words
from tests.mock_client import CHAT, answer, chunks, connected, deltas, parsed, read_all


# --- what it says


def test_a_stream_has_the_shape_of_openais(run):
    status, fields, body = answer(
        run, model="m", stream=True, stream_options={"include_usage": True}, mock={"tokens": 2}
    )
    first, *content, last, usage = chunks(body)

    assert (status, fields["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert first["object"] == "chat.completion.chunk"
    assert first["choices"][0] == {
        "index": 0,
        "delta": {"role": "assistant", "content": "", "refusal": None},
        "logprobs": None,
        "finish_reason": None,
    }
    assert [chunk["choices"][0]["delta"] for chunk in content] == [
        {"content": "t0"},
        {"content": " t1"},
    ]
    assert (last["choices"][0]["delta"], last["choices"][0]["finish_reason"]) == ({}, "stop")
    assert [chunk["usage"] for chunk in (first, *content, last)] == [None] * 4
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 2
    common = ("id", "created", "model", "system_fingerprint")
    assert len({tuple(chunk[name] for name in common) for chunk in chunks(body)}) == 1


def test_usage_is_told_only_to_who_asks(run):
    _, _, body = answer(run, stream=True, mock={"tokens": 2})

    assert all("usage" not in chunk for chunk in chunks(body))
    assert chunks(body)[-1]["choices"][0]["finish_reason"] == "stop"


TEXTS = {
    "who asks for nothing reads the demo": {},
    "who counts gets numbered words": {"tokens": 7},
    "a tag stands before each word": {"tokens": 3, "tag": "a7."},
    "a size pads each token": {"tokens": 12, "size": 100},
    "a demo may be as long as one likes": {"tokens": 100, "text": "demo"},
    "unicode has every kind of character": {"text": "unicode"},
    "unicode can be padded": {"text": "unicode", "size": 64},
    "no tokens at all": {"tokens": 0},
}


@pytest.mark.parametrize("mock", TEXTS.values(), ids=TEXTS.keys())
def test_the_text_is_a_function_of_the_options(run, mock):
    expected = list(words.tokens(Options().changed_by(mock)))

    _, _, body = answer(run, stream=True, mock=mock)
    assert deltas(body) == expected
    _, _, document = answer(run, mock=mock)
    assert orjson.loads(document)["choices"][0]["message"]["content"] == "".join(expected)


def test_words_tell_streams_and_positions_apart():
    def text(**options):
        return "".join(words.tokens(Options(**options)))

    assert text(tokens=3) == "t0 t1 t2"
    assert text(tokens=2, tag="x") == "xt0 xt1"
    assert text(tokens=2, size=5) == "t0... t1.."
    padded = words.tokens(Options(text="unicode", size=64))
    assert {len(token.encode()) for token in padded} == {64}
    assert text().startswith("A river never asks")
    assert {"\u2028", "\u0085", "\u200d", "\0", "\r"} <= set(text(text="unicode"))


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "document"])
def test_a_stamp_is_the_time_at_which_a_token_is_written(run, stream):
    begin = time.monotonic_ns()
    _, _, body = answer(run, stream=stream, mock={"stamp": True, "tokens": 3, "tag": "s"})
    stamps = re.findall(rb"s:(\d):(\d{19})", body)

    assert [int(index) for index, _ in stamps] == [0, 1, 2]
    times = [begin, *(int(stamp) for _, stamp in stamps), time.monotonic_ns()]
    assert times == sorted(times)


SAID = {
    "a text": ("anna", "anna"),
    "parts": ([{"type": "text", "text": "anna"}], "anna"),
    "what no tag can be": ("ä\n" + "a" * 99, "a" * 62),
    "nothing": (None, ""),
}


@pytest.mark.parametrize(("said", "tag"), SAID.values(), ids=SAID.keys())
def test_an_echo_is_of_the_last_message(run, said, tag):
    messages = [{"role": "user", "content": "before"}, {"role": "user", "content": said}]
    mock = {"text": "echo", "tokens": 2}
    _, _, body = answer(run, stream=True, messages=messages, mock=mock)

    assert deltas(body) == [f"{tag}t0", f" {tag}t1"]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "document"])
def test_of_a_shaky_providers_answers_some_fail_and_in_every_run_the_same(stream):
    def spoilt():
        shaky = Options(shaky=0.2)
        drawn = [faults.drawn(shaky, number, stream=stream) for number in range(1000)]
        return [(options.fault, options.at) for options in drawn if options.fault]

    assert 150 < len(spoilt()) < 250
    assert spoilt() == spoilt()
    assert {fault for fault, _ in spoilt()} == {
        *faults._DRAWN, *(faults._DRAWN_OF_STREAMS if stream else ())
    }


def test_a_fault_that_is_asked_for_is_not_drawn(run):
    status, _, _ = answer(run, model="m", mock={"fault": "503", "shaky": "1"})

    assert status == 503


def test_max_tokens_ends_the_answer_early(run):
    _, _, body = answer(run, stream=True, max_tokens=2, mock={"tokens": 5})

    assert deltas(body) == ["t0", " t1"]
    assert chunks(body)[-1]["choices"][0]["finish_reason"] == "length"


def test_reasoning_comes_before_the_answer(run):
    mock = {"reasoning": 2, "tokens": 1}
    _, _, body = answer(run, stream=True, mock=mock)
    kinds = [next(iter(chunk["choices"][0]["delta"]), None) for chunk in chunks(body)[1:]]
    _, _, document = answer(run, mock=mock)

    assert kinds == ["reasoning_content", "reasoning_content", "content", None]
    assert orjson.loads(document)["choices"][0]["message"]["reasoning_content"] == "r0 r1"
    assert orjson.loads(document)["usage"]["completion_tokens"] == 3


TOOL = {"type": "function", "function": {"name": "weather"}}
CALLS = {
    "asked of the mock": ({"mock": {"tools": 2}}, ["mock_tool", "mock_tool"]),
    "asked of the mock, with tools": ({"mock": {"tools": 1}, "tools": [TOOL]}, ["weather"]),
    "required": ({"tools": [TOOL], "tool_choice": "required"}, ["weather"]),
    "named": (
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        ["f"],
    ),
}


@pytest.mark.parametrize(("body", "names"), CALLS.values(), ids=CALLS.keys())
def test_tool_calls_come_in_fragments_that_join(run, body, names):
    _, _, stream = answer(run, stream=True, **body)
    _, _, document = answer(run, **body)
    choice = orjson.loads(document)["choices"][0]

    assert len(deltas(stream, "tool_calls")) >= 8 * len(names)
    joined = {}
    for (fragment,) in deltas(stream, "tool_calls"):
        call = joined.setdefault(fragment["index"], fragment | {"function": {"arguments": ""}})
        call["function"] |= {
            **fragment["function"],
            "arguments": call["function"]["arguments"] + fragment["function"]["arguments"],
        }
    assert [call["function"]["name"] for call in joined.values()] == names
    assert [orjson.loads(call["function"]["arguments"])["call"] for call in joined.values()] == [
        *range(len(names))
    ]
    assert chunks(stream)[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert [{"index": i, **call} for i, call in enumerate(choice["message"]["tool_calls"])] == [
        *joined.values()
    ]
    assert choice["finish_reason"] == "tool_calls"


def test_tools_are_only_used_when_they_must_be(run):
    _, _, body = answer(run, stream=True, tools=[TOOL], tool_choice="auto", mock={"tokens": 1})

    assert deltas(body) == ["t0"]


def test_completions_are_the_older_shape(run):
    path, mock = "/v1/completions", {"tokens": 2}
    _, _, stream = answer(run, path, stream=True, prompt="x", mock=mock)
    _, _, document = answer(run, path, prompt="x", mock=mock)

    texts = [chunk["choices"][0]["text"] for chunk in chunks(stream)]
    assert texts == ["t0", " t1", ""]
    assert orjson.loads(document)["object"] == "text_completion"
    assert orjson.loads(document)["choices"][0]["text"] == "t0 t1"


def test_embeddings_depend_on_the_input_alone(run):
    path = "/v1/embeddings"
    _, _, one = answer(run, path, input=["a", "b", "a"])
    _, _, packed = answer(run, path, input="a", encoding_format="base64", dimensions=8)
    vectors = [item["embedding"] for item in orjson.loads(one)["data"]]
    raw = base64.b64decode(orjson.loads(packed)["data"][0]["embedding"])

    assert vectors[0] == vectors[2] != vectors[1]
    assert list(struct.unpack("<8f", raw)) == vectors[0]


PLAIN = {
    "models": ("/v1/models", 200, b'"object":"list"'),
    "health": ("/healthz", 200, b"ok\n"),
    "a query is no part of the path": ("/healthz?x=1", 200, b"ok\n"),
    "anything else": ("/v1/nothing", 404, b'"type":"invalid_request_error"'),
    "the wrong method": (CHAT, 404, b'"type":"invalid_request_error"'),
}


@pytest.mark.parametrize(("path", "status", "part"), PLAIN.values(), ids=PLAIN.keys())
def test_other_paths(run, path, status, part):
    got, _, body = answer(run, path)

    assert got == status
    assert part in body


# --- options


BAD = {
    "an unknown name": ({"mock-fualt": "cut"}, {}, "fualt"),
    "an unknown name in the body": ({}, {"mock": {"tokns": 3}}, "tokns"),
    "not a number": ({"mock-tokens": "many"}, {}, "tokens"),
    "too large": ({"mock-tokens": "99999999999"}, {}, "tokens"),
    "a digit of another script": ({}, {"mock": {"at": "٣"}}, "at"),
    "a truth value": ({}, {"mock": {"tools": True}}, "tools"),
    "not a time": ({"mock-interval": "soon"}, {}, "interval"),
    "not a share": ({"mock-shaky": "1.2"}, {}, "shaky"),
    "not a truth value": ({"mock-stamp": "maybe"}, {}, "stamp"),
    "not a word of the list": ({"mock-framing": "sideways"}, {}, "framing"),
    "an unknown fault": ({"mock-fault": "meteor"}, {}, "fault"),
    "a status out of range": ({"mock-fault": "status-99"}, {}, "fault"),
    "a line break for a header": ({}, {"mock": {"retry-after": "1\r\nx: y"}}, "retry-after"),
    "no object": ({}, {"mock": 7}, "mock"),
}


@pytest.mark.parametrize(("headers", "body", "name"), BAD.values(), ids=BAD.keys())
def test_a_bad_option_is_refused_by_name(run, headers, body, name):
    status, _, answered = answer(run, headers=headers, model="m", **body)

    assert status == 400
    assert f"mock option '{name}'" in orjson.loads(answered)["error"]["message"]


@pytest.mark.parametrize("body", [b"{", b"[1]", b"NaN"], ids=["cut", "no object", "NaN"])
def test_a_body_that_is_no_json_object_is_refused(run, body):
    async def story():
        async with MockProvider() as mock:
            head = (
                b"POST /v1/embeddings HTTP/1.1\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
            )
            async with connected(mock, head % len(body) + body) as (reader, _):
                return parsed((await read_all(reader))[0])[0]

    assert run(story()) == 400


def test_options_may_be_the_last_message_where_a_gateway_drops_what_it_does_not_know(run):
    said = [{"role": "user", "content": "hello"}, {"role": "user", "content": 'mock {"tokens": 2}'}]
    for path in (CHAT, "/v1/messages"):
        _, _, body = answer(run, path, messages=said)
        assert b'"t0 t1"' in body


def test_header_fields_override_the_body_and_both_the_defaults(run):
    _, _, body = answer(
        run,
        defaults=Options(tag="default", tokens=9),
        headers={"mock-tokens": "2"},
        stream=True,
        mock={"tag": "body-", "tokens": 3},
    )

    assert deltas(body) == ["body-t0", " body-t1"]


@pytest.mark.parametrize(("text", "ms"), [("20", 20), ("20ms", 20), ("1.5s", 1500), ("2.5", 2.5)])
def test_times_are_milliseconds_or_say_their_unit(text, ms):
    assert Options().changed_by({"first-delay": text}).first_delay == ms
