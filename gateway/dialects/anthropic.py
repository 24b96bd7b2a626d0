"""The Anthropic dialect: messages.

Requests are judged and written anew as those of OpenAI are; each event of a stream has a
name, and `message_stop` is the last.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from gateway._sseparse import ANTHROPIC, entries
from gateway.dialects import (
    anthropic_answers,
    anthropic_events,
    anthropic_requests,
    anthropic_writer,
    calls,
)
from gateway.dialects.anthropic_writer import ERROR_TYPES, block, error_block, message_start
from gateway.dialects.calls import Heading, loads_event
from gateway.dialects.dialect import ClientDialect, UpstreamDialect, Wire
from gateway.errors import GatewayError


# What clients of this dialect take for a sign of life; comments they do not (facts §2.7).
HEARTBEAT = b'event: ping\ndata: {"type": "ping"}\n\n'

# The status that each type of error comes with.
STATUSES = {kind: status for status, kind in ERROR_TYPES.items()}


def status_of(error: dict[str, Any]) -> int:
    """Return the HTTP status that an error object in a 200 should have had."""
    return STATUSES.get(str(error.get("type")), 502)


def error_body(error: GatewayError, request_id: str) -> dict[str, Any]:
    """Return an error as an answer has it."""
    kind, message = _told(error)
    return {
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": request_id,
    }


def error_event(error: GatewayError) -> bytes:
    """Return the event that ends a broken stream."""
    kind, message = _told(error)
    return error_block(message, kind)


def _told(error: GatewayError) -> tuple[str, str]:
    """Return the type and the message of an error; what an upstream's own type says is kept."""
    said = error.body()["error"]
    found = said if isinstance(said, dict) else {}
    kind = str(found.get("type"))
    if kind not in STATUSES or kind == "invalid_request_error":  # OpenAI's for any such status
        other = "invalid_request_error" if error.status < 500 else "api_error"
        kind = ERROR_TYPES.get(error.status, other)
    return kind, str(found.get("message") or error.message)


def cancelled_events(
    said: Sequence[bytes], heading: Heading, *, finish: str, tokens: int | None
) -> list[bytes]:
    """Return the events that end a stopped stream, like those in `said` before them."""
    last = entries(said[-1])[-1][1] if said else b""
    event = (loads_event(last) or {}) if last else {}
    events = []
    if not event:
        events.append(message_start(heading.id, heading.model))
    if event.get("type") in ("content_block_start", "content_block_delta"):
        events.append(block("content_block_stop", index=event.get("index")))
    if event.get("type") != "message_delta":
        word = anthropic_events.WORDS.get(finish, finish) or "end_turn"
        delta = {"stop_reason": word, "stop_sequence": None}
        usage = {"output_tokens": tokens or 0, "estimated": True}
        ended = {"ended": "cancelled"}
        events.append(block("message_delta", delta=delta, usage=usage, headgate=ended))
    return [*events, block("message_stop")]


WIRE = Wire(
    root="/v1",  # Anthropic's SDKs write base URLs without it
    path=lambda model, stream: "/messages",
    credentials=lambda key: (b"x-api-key", key),
    passed=frozenset((b"anthropic-version", b"anthropic-beta", b"idempotency-key")),
    # The only version of this API there ever was besides a first draft.
    fields=((b"anthropic-version", b"2023-06-01"),),
)

UPSTREAM = UpstreamDialect(
    name="anthropic",
    wire=WIRE,
    parser=ANTHROPIC,
    write_request=anthropic_requests.write_request,
    reader=lambda: anthropic_events.Reader().read,
    read_answer=anthropic_answers.read_answer,
    read_usage=anthropic_events.read_usage,
    reason=anthropic_events.reason,
    status_of=status_of,
    steady=True,
)

CLIENT = ClientDialect(
    name="anthropic",
    path="/messages",
    heartbeat=HEARTBEAT,
    done=b"",
    read_call=partial(calls.read_call, "anthropic"),
    read_user=lambda body: calls.text(body.get("metadata"), "user_id"),
    upstream_body=calls.upstream_body,
    read_request=anthropic_requests.read_request,
    writer=anthropic_writer.Writer,
    write_answer=anthropic_answers.write_answer,
    error_body=error_body,
    error_event=lambda error, said, heading: error_event(error),
    cancelled_events=cancelled_events,
    steady=True,
)
