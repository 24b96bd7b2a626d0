"""A request or an answer of one dialect, as another has it."""

from typing import Any

import orjson
import pytest
from hypothesis import strategies as st

from gateway.chat import (
    ChatRequest,
    Choice,
    Image,
    Message,
    Text,
    Thinking,
    Tool,
    ToolResult,
    ToolUse,
)
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

# Work that grows with the square of what is sent is of minutes here, in which nobody is served.
MANY = 100_000


# Any request: what all dialects can say, in words of their own.

TEXT = st.text(min_size=1, max_size=8)
NAME = st.sampled_from(["f", "get_weather"])
OBJECT = st.dictionaries(TEXT, TEXT | st.integers(0, 9) | st.none(), max_size=3)
ARGUMENTS = OBJECT.map(lambda value: orjson.dumps(value).decode())
PICTURE = st.builds(Image, url=st.just("https://a.example/b.png")) | st.builds(
    Image, media=st.just("image/png"), data=st.just("AAAA")
)
THOUGHT = st.builds(Thinking, TEXT, TEXT) | st.builds(Thinking, redacted=TEXT)
RESULT = st.builds(ToolResult, TEXT, st.lists(TEXT.map(Text), max_size=2).map(tuple))


def message(role: str, *parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Message]:
    """A turn whose kinds of parts stand in this order, as both dialects have them."""
    listed = st.tuples(*[st.lists(part, max_size=2) for part in parts])
    whole = listed.map(lambda lists: tuple(part for found in lists for part in found))
    return whole.filter(bool).map(lambda parts: Message(role, parts))  # type: ignore[arg-type]


TURN = st.tuples(
    message("user", RESULT, st.one_of(TEXT.map(Text), PICTURE)),
    message("assistant", TEXT.map(Text), st.builds(ToolUse, TEXT, NAME, ARGUMENTS)),
)
CONVERSATION = st.tuples(
    st.lists(message("system", TEXT.map(Text)), max_size=1),
    st.lists(TURN, max_size=2),
    message("user", RESULT, TEXT.map(Text)),
).map(lambda parts: (*parts[0], *(turn for pair in parts[1] for turn in pair), parts[2]))

REQUESTS = st.builds(
    ChatRequest,
    messages=CONVERSATION,
    stream=st.booleans(),
    tools=st.lists(st.builds(Tool, NAME, TEXT, OBJECT.filter(bool), st.booleans()), max_size=2).map(
        tuple
    ),
    choice=st.none()
    | st.sampled_from(["auto", "none", "any"]).map(Choice)
    | NAME.map(lambda name: Choice("tool", name)),
    max_tokens=st.integers(1, 9),
    temperature=st.none() | st.floats(0, 1),
    top_p=st.none() | st.floats(0, 1),
    stop=st.lists(TEXT, max_size=2).map(tuple),
    effort=st.sampled_from(["", "low", "medium", "high", "xhigh"]),
    user=st.sampled_from(["", "u"]),
)


def continued(dialect: str, said: dict[str, Any]) -> dict[str, Any]:
    """Return the request of a client that sends back an answer as it came."""
    if dialect == "responses":
        return {"input": [USER, *said["output"], USER]}
    message = said["choices"][0]["message"] if dialect == "openai" else said
    turn = {"role": "assistant", "content": message["content"]}
    if dialect == "openai":
        more = ("reasoning_content", "reasoning_details", "tool_calls")
        turn |= {key: message[key] for key in more if key in message}
    return {"messages": [USER, turn, USER]}
