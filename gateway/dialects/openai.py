"""The OpenAI dialect: chat completions, and the legacy routes beside them.

A request is decoded once, judged, and encoded again from what was judged: a body in
which a key stands twice cannot tell the gateway one thing and the provider another.
"""

import gc
from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from gateway._sseparse import depth
from gateway.errors import ClientError, GatewayError


# Nesting of a request's JSON; tool schemas reach 20 (design §8).
MAX_DEPTH = 64

DONE = b"data: [DONE]\n\n"
# Without ids a comment and a blank line is what every SDK survives (facts §2.7).
HEARTBEAT = b": ping\n\n"


class Call(msgspec.Struct, frozen=True):
    """What a client asked for."""

    model: str
    stream: bool
    wants_usage: bool  # the client asked for the usage chunk itself
    body: dict[str, Any]


def read_call(raw: bytes, *, streams: bool = True, forced: bool = False) -> Call:
    """Decode and judge a request body; a route that never streams, or always, says so.

    Raises:
        ClientError: the body is not such a request; names the parameter.
    """
    body = _decode(raw)
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
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise ClientError("you must provide a model parameter", param="model")
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise ClientError("stream must be true or false", param="stream")
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise ClientError("stream_options must be an object", param="stream_options")
    wants_usage = bool(options and options.get("include_usage"))
    return Call(model=model, stream=bool(stream) and streams, wants_usage=wants_usage, body=body)


def upstream_body(call: Call, model: str) -> bytes:
    """Encode the request for the provider: its own model name, and usage always asked for."""
    body = {**call.body, "model": model}
    if call.stream and not call.wants_usage:
        options = body.get("stream_options") or {}
        body["stream_options"] = {**options, "include_usage": True}
    return orjson.dumps(body)


def usage_of(answer: bytes) -> dict[str, Any] | None:
    """Return the usage object of a whole answer, if it has one.

    Only that object is built: an embeddings answer is megabytes of numbers.
    """
    try:
        return _ANSWER.decode(answer).usage
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None  # whatever it is, it is passed on as it came


class _Answer(msgspec.Struct):
    usage: dict[str, Any] | None = None


_ANSWER = msgspec.json.Decoder(_Answer)


def error_event(error: GatewayError) -> bytes:
    """Return the event that ends a broken stream; no `[DONE]` follows it."""
    return b"data: " + orjson.dumps(error.body()) + b"\n\n"


def cancelled_events(
    said: bytes, *, id: str, model: str, finish: str, tokens: int | None
) -> list[bytes]:
    """Return the events that end a stopped stream, like those in `said` before them.

    `id` and `model` count where nothing was said; `finish` is why the answer had ended
    already, if it had; `tokens`, where the client asked for usage, is our estimate.
    """
    last = {"id": id, "object": "chat.completion.chunk", "created": 0, "model": model}
    last |= {name: value for name, value in _said(said).items() if name in last}
    choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": finish or "stop"}
    events = [{**last, "choices": [choice], "headgate": {"ended": "cancelled"}}]
    if tokens is not None:
        usage = {"prompt_tokens": 0, "completion_tokens": tokens, "total_tokens": tokens}
        events.append({**last, "choices": [], "usage": {**usage, "estimated": True}})
    return [b"data: " + orjson.dumps(event) + b"\n\n" for event in events]


def _said(events: bytes) -> dict[str, Any]:
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


def _decode(raw: bytes) -> dict[str, Any]:
    if depth(raw) > MAX_DEPTH:
        raise ClientError(f"the body nests deeper than {MAX_DEPTH} levels")
    body = _loads(raw)
    if not isinstance(body, dict):
        raise ClientError("the body must be a JSON object")
    return body


def _loads(raw: bytes) -> Any:
    """Decode JSON, with the collector off: a big body is a million objects and no garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ClientError(f"the body is not JSON: {error}") from error
    finally:
        if enabled:
            gc.enable()
