"""The OpenAI dialect: chat completions, and the legacy routes beside them.

A request is decoded once, judged, and encoded again from what was judged: a body in
which a key stands twice cannot tell the gateway one thing and the provider another.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateway._sseparse import OPENAI, depth, model_and_stream, read_usage, said
from gateway.client_errors import ClientError
from gateway.dialects import (
    calls,
    openai_answers,
    openai_bodies,
    openai_events,
    openai_requests,
)
from gateway.dialects.calls import MAX_DEPTH, Call, Heading, read_body
from gateway.dialects.dialect import ClientDialect, UpstreamDialect, Wire
from gateway.errors import GatewayError


DONE = b"data: [DONE]\n\n"
# Without ids a comment and a blank line is what every SDK survives (facts §2.7).
HEARTBEAT = b": ping\n\n"


def read_call(raw: bytes, *, streams: bool = True, forced: bool = False) -> Call:
    """Decode and judge a request body; a route that never streams, or always, says so.

    Raises:
        ClientError: the body is not such a request; names the parameter.
    """
    body = read_body(raw)
    return _judged(body | {"stream": True} if forced else body, streams=streams)


def read_asked(query: Mapping[str, str]) -> Call:
    """Judge a request whose parameters came in a query, each as JSON, or as a plain text.

    Raises:
        ClientError: they are not such a request; names the parameter.
    """
    body = {name: value if name == "model" else _value(value) for name, value in query.items()}
    return judge(body)


def judge(body: dict[str, Any]) -> Call:
    """Judge a request for a stream that came as an object; what it cost is always told.

    Raises:
        ClientError: it is not such a request; names the parameter.
    """
    return _judged({"stream_options": {"include_usage": True}, **body, "stream": True})


def _value(text: str) -> Any:
    raw = text.encode()
    if depth(raw) > MAX_DEPTH:
        raise ClientError(f"a parameter nests deeper than {MAX_DEPTH} levels")
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return text


def _judged(body: dict[str, Any], *, streams: bool = True) -> Call:
    model, stream = model_and_stream(body)
    options, functions = body.get("stream_options"), body.get("functions")
    if options is not None and not isinstance(options, dict):
        raise ClientError("stream_options must be an object", param="stream_options")
    wants_usage = bool(options and options.get("include_usage"))
    return Call("openai", model, stream and streams, wants_usage, body, bool(functions))


def upstream_body(call: Call, model: str) -> bytes:
    """Encode the request for the provider: its own model name, and usage always asked for."""
    if call.wants_usage or not call.stream:
        return orjson.dumps({**call.body, "model": model})
    options = {**(call.body.get("stream_options") or {}), "include_usage": True}
    return orjson.dumps({**call.body, "model": model, "stream_options": options})


def error_body(error: GatewayError, request_id: str) -> dict[str, Any]:
    """Return an error as an answer has it."""
    return error.body()


def error_event(error: GatewayError) -> bytes:
    """Return the event that ends a broken stream; no `[DONE]` follows it."""
    return b"data: " + orjson.dumps(error.body()) + b"\n\n"


def cancelled_events(
    said: Sequence[bytes], heading: Heading, *, finish: str, tokens: int | None
) -> list[bytes]:
    """Return the events that end a stopped stream, like those in `said` before them."""
    last = {"id": heading.id, "object": "chat.completion.chunk", "created": heading.created}
    last |= {"model": heading.model}
    # Only what is plain: an object of the provider's may nest deeper than can be written.
    first = _first(said[-1] if said else b"")
    last |= {name: first[name] for name in last if isinstance(first.get(name), str | int)}
    choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": finish or "stop"}
    events = [{**last, "choices": [choice], "headgate": {"ended": "cancelled"}}]
    if tokens is not None and heading.wants_usage:
        usage = {"prompt_tokens": 0, "completion_tokens": tokens, "total_tokens": tokens}
        events.append({**last, "choices": [], "usage": {**usage, "estimated": True}})
    return [b"data: " + orjson.dumps(event) + b"\n\n" for event in events]


def _first(events: bytes) -> dict[str, Any]:
    """Return the first of some canonical events, if it is an object."""
    line = events.partition(b"data: ")[2].partition(b"\n")[0]
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return event if isinstance(event, dict) else {}


def status_of(error: dict[str, Any]) -> int:
    """Return the HTTP status that an error object in a 200 should have had."""
    for key in ("code", "status"):
        value = error.get(key)
        if isinstance(value, int) and 400 <= value <= 599:
            return value
    for key in ("code", "type"):
        status = STATUS_BY_WORD.get(str(error.get(key)))
        if status is not None:
            return status
    return 502


STATUS_BY_WORD = {
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "server_error": 500,
    "internal_error": 500,
    "overloaded_error": 503,
    "overloaded": 503,
}


# Fields of a client's request that go on: facts §2.8.
WIRE = Wire(
    root="",
    path=lambda model, stream: "/chat/completions",
    credentials=lambda key: (b"authorization", b"Bearer " + key),
    passed=frozenset((
        b"openai-organization", b"openai-project", b"openai-beta", b"idempotency-key",
    )),
)  # fmt: skip

UPSTREAM = UpstreamDialect(
    name="openai",
    wire=WIRE,
    parser=OPENAI,
    write_request=openai_bodies.write_request,
    reader=lambda: said,
    read_answer=openai_answers.read_answer,
    read_usage=read_usage,
    reason=lambda word: word,
    status_of=status_of,
    steady=True,
)

CLIENT = ClientDialect(
    name="openai",
    path="/chat/completions",
    heartbeat=HEARTBEAT,
    done=DONE,
    read_call=read_call,
    read_user=lambda body: calls.text(body, "user"),
    upstream_body=upstream_body,
    read_request=openai_requests.read_request,
    writer=openai_events.Writer,
    write_answer=openai_answers.write_answer,
    error_body=error_body,
    error_event=lambda error, said, heading: error_event(error),
    cancelled_events=cancelled_events,
    steady=True,
)
