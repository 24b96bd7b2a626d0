"""A request or an answer of one dialect, as another has it."""

from typing import Any

import pytest
from hypothesis import settings

from gateway.dialects.calls import Call, Heading
from gateway.dialects.known import CLIENTS, UPSTREAMS
from gateway.dialects.translation import read_answer, translate_request


PAIRS = pytest.mark.parametrize(
    ("dialect", "theirs"),
    [(dialect, theirs) for dialect in CLIENTS for theirs in CLIENTS if theirs != dialect],
)
EACH = pytest.mark.parametrize("dialect", CLIENTS)
HEADING = Heading("id-1", "m", 1_700_000_000)
USER = {"role": "user", "content": "hi"}
untimed = settings(deadline=None)


def translated(ours: str, theirs: str, **body: Any) -> tuple[dict[str, Any], set[str]]:
    """Return what an upstream is sent, without its model, and what was dropped."""
    call = Call(dialect=ours, model="m", stream=False, wants_usage=True, body=body)
    written = translate_request(call, CLIENTS[ours], UPSTREAMS[theirs], "theirs")
    assert written.body.pop("model") == "theirs"
    return written.body, set(written.dropped)


def answered(body: bytes, theirs: str, ours: str) -> dict[str, Any]:
    return CLIENTS[ours].write_answer(read_answer(body, UPSTREAMS[theirs]), HEADING)


def to_anthropic(*messages: Any, **params: Any) -> dict[str, Any]:
    body, dropped = translated("openai", "anthropic", messages=list(messages) or [USER], **params)
    assert not dropped
    return body


def to_openai(*messages: Any, **params: Any) -> dict[str, Any]:
    body, dropped = translated("anthropic", "openai", messages=messages or [USER], **params)
    assert not dropped
    return body


SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
FUNCTION = {"name": "f", "description": "does", "parameters": SCHEMA, "strict": True}
TOOL = {"name": "f", "description": "does", "input_schema": SCHEMA, "strict": True}

# As OpenAI has it, as Anthropic has it.
IMAGES = {
    "by url": (
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
    ),
    "in base64": (
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
        },
    ),
}
