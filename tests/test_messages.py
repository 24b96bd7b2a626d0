"""Anthropic's messages: streams and their ends, whoever is upstream, and errors of ours."""

import asyncio
from functools import partial
from typing import Any

import pytest

from gateway._sseparse import ANTHROPIC
from gateway.client_errors import ClientError, Conflict, ModelNotFound, RequestTooLarge
from gateway.dialects import anthropic
from tests.messages_client import ASK, BOTH, PING, asked, scripted, stand
from tests.scripted import CHUNKED, LAST, Scripted, chunk
from tests.stand import Stand
from tests.stories import blocks, case, fed_named


# What the parser makes of such a stream.


fed = partial(fed_named, ANTHROPIC)


def delta(reason: str | None, **usage: object) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


END = {"type": "message_stop"}


def test_the_end_is_passed_on_if_there_was_a_reason_for_it():
    parser, said = fed(delta("end_turn"), END, {"type": "late"})
    assert (parser.done, parser.finish) == (True, "end_turn")
    assert said == [delta("end_turn"), END]


def test_an_end_without_a_reason_is_none():
    parser, said = fed(delta(None), END)
    assert (parser.done, parser.finish) == (True, None)
    assert said == [delta(None)]


def test_pings_are_ours_to_send():
    _, said = fed({"type": "ping"}, {"type": "x"}, {"type": "ping"})
    assert said == [{"type": "x"}]


def test_the_latest_of_each_figure_counts():
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 5, "output_tokens": 1}}}
    parser, _ = fed(start, delta(None, output_tokens=3), delta("end_turn", input_tokens=None))
    assert parser.usage == {"input_tokens": 5, "output_tokens": 3}


def test_words_in_a_text_or_an_argument_mean_nothing():
    said = [
        {"type": "content_block_delta", "delta": {"text": '{"type":"message_stop"}'}},
        {"type": "content_block_delta", "delta": {"partial_json": '"type":"error","type":"ping"'}},
        {"type": "content_block_start", "content_block": {"input": {"type": "error", "error": {}}}},
        {"type": "content_block_start", "content_block": {"input": {"type": "message_stop"}}},
    ]
    parser, passed = fed(*said)
    assert passed == said
    assert not parser.attention


def test_an_error_ends_the_story():
    error = {"type": "error", "error": {"type": "api_error", "message": "no"}}
    parser, said = fed({"type": "x"}, error, {"type": "late"})
    assert parser.error == error["error"]
    assert parser.error_at == 2
    assert said == [{"type": "x"}, error]


# The same dialect on both sides.


@pytest.mark.parametrize("name", ["text", "tool", "thinking", "parallel", "sequence", "refusal"])
async def test_a_stream_of_the_same_dialect_goes_through_byte_for_byte(name):
    stream = case(f"anthropic-{name}")
    async with Scripted(CHUNKED + chunk(stream) + LAST) as provider, scripted(provider) as it:
        answer = await asked(it)

    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.body == stream.replace(PING, b"")
    assert it.log_lines[-1]["end"] == "finished"
    assert it.log_lines[-1]["tokens_out"] > 0


async def test_a_whole_answer_of_the_same_dialect_goes_through_as_it_came():
    async with stand(tokens=3) as it:
        answer = await asked(it, stream=False, new_parameter={"x": 1})
        sent = it.mock.requests[-1]

    assert answer.json["content"] == [{"type": "text", "text": "t0 t1 t2"}]
    assert sent.json == {**ASK, "stream": False, "new_parameter": {"x": 1}}
    assert sent.headers["x-api-key"] == "sk-upstream-canary"
    assert it.log_lines[-1]["tokens_out"] == 3


# Honest endings, whoever is upstream.

BROKEN = {
    "truncate": "truncated",
    "hangup": "truncated",
    "cut": "truncated",
    "no-done": "truncated",
    "no-finish": "truncated",
    "error-mid": "upstream_error",
    "bad-chunk": "protocol",
}


@BOTH
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
@pytest.mark.parametrize("fault", BROKEN)
async def test_a_broken_stream_ends_with_one_error_and_no_end(upstream, path, fault):
    async with stand(upstream, fault=fault, at=5) as it:
        answer = await asked(it, path)

    assert answer.status == 200
    assert b"message_stop" not in answer.body
    assert b"[DONE]" not in answer.body
    assert answer.body.count(b'"error":{') == 1
    assert b'"error":{' in blocks(answer.body)[-1]
    assert it.log_lines[-1]["end"] == BROKEN[fault]


@BOTH
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
@pytest.mark.parametrize("stream", [True, False])
async def test_an_error_before_the_answer_has_its_status_and_the_clients_shape(
    upstream, path, stream
):
    async with stand(upstream, fault="429", retry_after="7") as it:
        answer = await asked(it, path, stream=stream)

    assert answer.status == 429
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["headgate-error-source"] == "upstream"
    assert answer.headers["content-type"] == "application/json"
    if path == "/v1/messages":
        assert answer.json["type"] == "error"
        assert answer.json["error"]["type"] == "rate_limit_error"
    else:
        assert set(answer.json["error"]) >= {"message", "type"}
        assert "type" not in answer.json


@BOTH
async def test_an_error_as_the_first_event_has_its_own_status(upstream):
    async with stand(upstream, fault="error-first") as it:
        answer = await asked(it)

    assert answer.status == (529 if upstream == "anthropic" else 500)
    assert answer.json["type"] == "error"
    assert answer.json["error"]["message"] == "the model has failed"


async def test_a_page_in_place_of_an_error_is_an_error_in_the_clients_shape():
    page = b"HTTP/1.1 503 No\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>"
    async with Scripted(page) as provider, scripted(provider) as it:
        answer = await asked(it, "/v1/chat/completions")

    assert answer.status == 503
    assert answer.json["error"]["message"] == "the upstream answered 503"


async def test_our_key_is_in_no_error_whatever_the_dialect():
    event = b'event: error\ndata: {"type":"error","error":{"type":"x","message":"%b"}}\n\n'
    start = case("anthropic-text").partition(b"event: content")[0]
    stream = start + event % b"key sk-upstream-canary"
    async with Scripted(CHUNKED + chunk(stream) + LAST) as provider, scripted(provider) as it:
        bodies = [(await asked(it, path)).body for path in ("/v1/messages", "/v1/chat/completions")]

    for body in bodies:
        assert b"key ***" in body
        assert b"canary" not in body


async def test_an_event_that_cannot_be_read_ends_a_translated_stream():
    async with stand("openai", fault="bad-json") as it:
        answer = await asked(it)

    assert b"event: error" in blocks(answer.body)[-1]
    assert b"message_stop" not in answer.body
    assert it.log_lines[-1]["end"] == "protocol"


# Errors of our own.

KEYS = '[[keys]]\nkey = "sk-caller-0123456789"\nsubject = "s"\n'


async def test_errors_of_ours_have_anthropics_shape_and_the_requests_id():
    async with Stand(more=KEYS) as it:
        answer = await asked(it)

    assert answer.status == 401
    assert answer.json == {
        "type": "error",
        "error": {"type": "authentication_error", "message": "a valid API key is required"},
        "request_id": answer.headers["request-id"],
    }


HOST = b"host: x\r\n"
KNOWN = HOST + b"authorization: Bearer sk-caller-0123456789\r\n"
# What never reaches a route, or only one that refuses it: method, fields and body, status.
REFUSED = {
    "nobody": (b"POST", HOST + b"content-length: 2\r\n\r\n{}", 401),
    "method": (b"PUT", KNOWN + b"\r\n", 405),
    "host": (b"POST", b"\r\n", 400),
    "lengths": (b"POST", KNOWN + b"content-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
    "field": (b"POST", KNOWN + b"a : b\r\n\r\n", 400),
    "control": (b"POST", KNOWN + b"a: \0\r\n", 400),
    "coding": (b"POST", KNOWN + b"content-encoding: gzip\r\ncontent-length: 1\r\n\r\nx", 415),
    "expects": (b"POST", KNOWN + b"expect: more\r\n\r\n", 417),
    "fields": (b"POST", HOST + b"a: b\r\n" * 101, 431),
    "size": (b"POST", KNOWN + b"content-length: 99999999\r\n\r\n", 413),
    "chunk": (b"POST", KNOWN + b"transfer-encoding: chunked\r\n\r\nfive\r\n", 400),
    "json": (b"POST", KNOWN + b"content-length: 1\r\n\r\n{", 400),
}
# Where, and whether errors look as Anthropic's there.
SHAPES = {
    b"/v1/messages": True,
    b"/v1/messages/count_tokens?beta=true": True,
    b"/v1/messages/none": True,
    b"/v1/chat/completions": False,
    b"/v1/embeddings": False,
    b"/none?/v1/messages": False,
}


@pytest.mark.parametrize(("path", "ours"), SHAPES.items())
@pytest.mark.parametrize("cut", [False, True])
async def test_whatever_is_refused_is_told_in_the_dialect_of_its_path(path, ours, cut):
    async with Stand(more=KEYS) as it:
        for method, rest, status in REFUSED.values():
            client = await it.open()
            request = method + b" " + path + b" HTTP/1.1\r\n" + rest
            for part in [request[:40], request[40:]] if cut else [request]:
                client.writer.write(part)
                await asyncio.sleep(0)
            answer = await client.answer()
            await client.close()

            assert answer.status == status or (answer.status == 404 and b"none" in path)
            assert set(answer.json) == ({"type", "error", "request_id"} if ours else {"error"})
            if ours:
                assert answer.json["request_id"] == answer.headers["request-id"]


async def test_what_never_became_whole_is_told_in_the_dialect_of_its_path():
    async with Stand(more=KEYS) as it:
        for begun in (b"POST /v1/messages HTTP/1.1\r\nhos", b"POST /v1/messages HTTP/1.1\r\n"):
            client = await it.open()
            client.writer.write(begun)
            client.writer.write_eof()
            answer = await client.answer()
            await client.close()

            assert answer.json["error"]["type"] == "invalid_request_error"
            assert answer.json["type"] == "error"


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/completions"])
async def test_what_the_upstream_has_no_path_for_is_said_so(path):
    async with stand() as it:
        answer = await asked(it, path, stream=False)

    assert answer.status == 400
    assert "speaks anthropic" in answer.json["error"]["message"]


def test_our_own_errors_are_of_the_type_that_the_sdk_knows_for_their_status():
    for error, kind in (
        (ModelNotFound("x"), "not_found_error"),
        (ClientError("x"), "invalid_request_error"),
        (Conflict("x"), "invalid_request_error"),
        (RequestTooLarge("x"), "request_too_large"),
    ):
        assert anthropic.error_body(error, "id-1")["error"]["type"] == kind
