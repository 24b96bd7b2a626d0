"""Requests and whole answers between dialects: read, written, and refused where need be."""

from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chat import (
    Answer,
    ChatRequest,
    Choice,
    Image,
    Message,
    Refusal,
    Stop,
    Text,
    Thinking,
    Tool,
    ToolResult,
    ToolUse,
    Usage,
)
from gateway.client_errors import ClientError
from gateway.dialects.anthropic_requests import MAX_TOKENS
from gateway.dialects.calls import MAX_SHOWN, Call, Heading, encode, shown
from gateway.dialects.known import CLIENTS, UPSTREAMS
from gateway.dialects.translation import read_answer, translate_request
from gateway.upstream_errors import UpstreamError, UpstreamProtocolError, UpstreamRefused


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


# Parameters: what OpenAI's clients say, and what Anthropic is asked.

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
FUNCTION = {"name": "f", "description": "does", "parameters": SCHEMA, "strict": True}
TOOL = {"name": "f", "description": "does", "input_schema": SCHEMA, "strict": True}

PARAMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a bound": ({"max_tokens": 5}, {"max_tokens": 5}),
    "the newer bound counts": ({"max_tokens": 9, "max_completion_tokens": 5}, {"max_tokens": 5}),
    "no bound": ({}, {"max_tokens": MAX_TOKENS}),
    "null": ({"stop": None, "n": None, "user": None, "new": None}, {"max_tokens": MAX_TOKENS}),
    "one answer": ({"n": 1}, {"max_tokens": MAX_TOKENS}),
    "sampling": ({"temperature": 0.5, "top_p": 0.9, "top_k": 4},) * 2,
    "one stop": ({"stop": "x"}, {"stop_sequences": ["x"]}),
    "stops": ({"stop": ["x", "y"]}, {"stop_sequences": ["x", "y"]}),
    "a user": ({"user": "u"}, {"metadata": {"user_id": "u"}}),
    "a user, newer": ({"safety_identifier": "u"}, {"metadata": {"user_id": "u"}}),
    "tools": ({"tools": [{"type": "function", "function": FUNCTION}]}, {"tools": [TOOL]}),
    "a tool without parameters": (
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"tools": [{"name": "f", "input_schema": {"type": "object"}}]},
    ),
    "any tool": ({"tool_choice": "required"}, {"tool_choice": {"type": "any"}}),
    "no tool": ({"tool_choice": "none"}, {"tool_choice": {"type": "none"}}),
    "this tool": (
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"tool_choice": {"type": "tool", "name": "f"}},
    ),
    "one tool at a time": (
        {
            "tools": [{"type": "function", "function": FUNCTION}],
            "parallel_tool_calls": False,
        },
        {"tools": [TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    ),
    "a schema": (
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": SCHEMA},
            }
        },
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    ),
    "plain text": ({"response_format": {"type": "text"}}, {"max_tokens": MAX_TOKENS}),
    "effort": (
        {"reasoning_effort": "minimal"},
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
    ),
    "no thinking": ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
    "a stream": ({"stream": True, "stream_options": {"include_usage": True}}, {"stream": True}),
}


@pytest.mark.parametrize(("asked", "sent"), PARAMS.values(), ids=PARAMS.keys())
def test_parameters_of_openais_clients_reach_anthropic(asked, sent):
    whole = {"messages": [USER], "max_tokens": MAX_TOKENS, **sent}
    assert to_anthropic(USER, **asked) == whole


CLAUDES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a bound": ({"max_tokens": 5}, {"max_completion_tokens": 5}),
    "sampling": ({"temperature": 0.5, "top_p": 0.9},) * 2,
    "stops": ({"stop_sequences": ["x"]}, {"stop": ["x"]}),
    "a user": ({"metadata": {"user_id": "u"}}, {"user": "u"}),
    "a stream": (
        {"stream": True},
        {"stream": True, "stream_options": {"include_usage": True}},
    ),
    "tools": ({"tools": [TOOL]}, {"tools": [{"type": "function", "function": FUNCTION}]}),
    "any tool": ({"tool_choice": {"type": "any"}}, {"tool_choice": "required"}),
    "this tool": (
        {"tool_choice": {"type": "tool", "name": "f"}},
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
    ),
    "one tool at a time": (
        {"tools": [TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        {
            "tools": [{"type": "function", "function": FUNCTION}],
            "tool_choice": "auto",
            "parallel_tool_calls": False,
        },
    ),
    "a schema": (
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": SCHEMA},
            }
        },
    ),
    "effort": (
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}},
        {"reasoning_effort": "xhigh"},
    ),
    "some thinking": (
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"reasoning_effort": "low"},
    ),
    "much thinking": (
        {"thinking": {"type": "enabled", "budget_tokens": 30_000}},
        {"reasoning_effort": "high"},
    ),
    "no thinking": ({"thinking": {"type": "disabled"}}, {}),
}


@pytest.mark.parametrize(("asked", "sent"), CLAUDES.values(), ids=CLAUDES.keys())
def test_parameters_of_anthropics_clients_reach_openai(asked, sent):
    assert to_openai(USER, **asked) == {"messages": [USER], **sent}


# Messages.


def test_a_conversation_with_tools_reaches_anthropic_as_turns():
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":"b"}'}}
    body = to_anthropic(
        {"role": "system", "content": "be brief"},
        {"role": "developer", "content": [{"type": "text", "text": "be kind"}]},
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": "well", "tool_calls": [call, {**call, "id": "c2"}]},
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "two"}]},
        {"role": "user", "content": "and?"},
    )
    use = {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": "b"}}
    assert body["system"] == [
        {"type": "text", "text": "be brief"},
        {"type": "text", "text": "be kind"},
    ]
    assert body["messages"] == [
        {"role": "user", "content": "go"},
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "well"}, use, {**use, "id": "c2"}],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "c1",
                    "content": [{"type": "text", "text": "one"}],
                },
                {
                    "type": "tool_result",
                    "tool_use_id": "c2",
                    "content": [{"type": "text", "text": "two"}],
                },
                {"type": "text", "text": "and?"},
            ],
        },
    ]


def test_a_conversation_with_tools_reaches_openai_as_messages():
    body, dropped = translated(
        "anthropic",
        "openai",
        system="be brief",
        messages=[
            {"role": "user", "content": "go"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "text", "text": "well"},
                    {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": "b"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "no", "is_error": True},
                    {"type": "text", "text": "and?", "cache_control": {"type": "ephemeral"}},
                ],
            },
        ],
    )
    assert body["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "go"},
        {
            "role": "assistant",
            "content": "well",
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "f", "arguments": '{"a":"b"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "no"},
        {"role": "user", "content": "and?"},
    ]
    assert dropped == {"thinking", "is_error", "cache_control"}


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


@pytest.mark.parametrize(("theirs", "ours"), IMAGES.values(), ids=IMAGES.keys())
def test_images_go_both_ways(theirs, ours):
    text = {"type": "text", "text": "what is it?"}
    gpt, claude = ({"role": "user", "content": [text, image]} for image in (theirs, ours))

    assert to_anthropic(gpt)["messages"] == [claude]
    assert to_openai(claude)["messages"] == [gpt]


def test_a_system_message_amid_the_conversation_keeps_its_place():
    turns = [USER, {"role": "system", "content": "new rules"}, USER]
    assert to_anthropic(*turns)["messages"] == turns
    assert to_openai(*turns)["messages"] == turns


def test_thinking_without_proof_is_not_shown_to_who_did_not_think_it():
    said = {"role": "assistant", "content": "2", "reasoning_content": "1+1"}
    assert to_anthropic(USER, said, USER)["messages"][1] == {"role": "assistant", "content": "2"}


# What cannot be said, and the parameter that is named.

UNSAID_TO_ANTHROPIC: dict[str, tuple[dict[str, Any], str]] = {
    "several answers": ({"n": 2}, "n"),
    "probabilities": ({"logprobs": True}, "logprobs"),
    "bias": ({"logit_bias": {"1": 2}}, "logit_bias"),
    "sound": ({"modalities": ["text", "audio"]}, "modalities"),
    "json of no schema": ({"response_format": {"type": "json_object"}}, "response_format"),
    "functions and tools": (
        {
            "functions": [FUNCTION],
            "tools": [{"type": "function", "function": FUNCTION}],
        },
        "functions",
    ),
    "functions that are none": ({"functions": {"f": 1}}, "functions"),
    "a function to call, of none": ({"function_call": {"name": "f"}}, "function_call"),
    "what a function answered that was not called": (
        {"messages": [USER, {"role": "function", "name": "f", "content": "1"}]},
        "messages",
    ),
    "a tool that is no function": ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].type"),
    "a file": (
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]},
        "messages[0].content[0].type",
    ),
    "an image from nowhere": (
        {"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "ftp://a"}}
        ]}]},
        "messages",
    ),
    "a role nobody has": ({"messages": [{"role": "judge", "content": "x"}]}, "messages[0].role"),
    "arguments that are none": (
        {"messages": [{"role": "assistant", "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}
        ]}]},
        "messages",
    ),
    "no messages": ({"messages": None}, "messages"),
    "a number in words": ({"max_tokens": "many"}, "max_tokens"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "param"), UNSAID_TO_ANTHROPIC.values(), ids=UNSAID_TO_ANTHROPIC.keys()
)
def test_what_anthropic_has_no_word_for_is_refused_by_name(asked, param):
    with pytest.raises(ClientError) as caught:
        translated("openai", "anthropic", **{"messages": [USER], **asked})
    assert caught.value.param == param
    assert param in caught.value.message or param == "messages"


UNSAID_TO_OPENAI: dict[str, tuple[dict[str, Any], str]] = {
    "a tool of the provider's": (
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        "tools[0].type",
    ),
    "servers of the provider's": ({"mcp_servers": [{"url": "x"}]}, "mcp_servers"),
    "a document": (
        {"messages": [{"role": "user", "content": [{"type": "document", "source": {}}]}]},
        "messages[0].content[0].type",
    ),
    "an image as a tool's result": (
        {"messages": [{"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t", "content": [IMAGES["by url"][1]]}
        ]}]},
        "messages",
    ),
    "a beginning to go on from": (
        {"messages": [USER, {"role": "assistant", "content": "{"}]},
        "messages",
    ),
    "an image of the assistant": (
        {"messages": [{"role": "assistant", "content": [IMAGES["by url"][1]]}]},
        "messages",
    ),
    "no messages": ({"messages": None}, "messages"),
}  # fmt: skip


@pytest.mark.parametrize(("asked", "param"), UNSAID_TO_OPENAI.values(), ids=UNSAID_TO_OPENAI.keys())
def test_what_openai_has_no_word_for_is_refused_by_name(asked, param):
    with pytest.raises(ClientError) as caught:
        translated("anthropic", "openai", **{"messages": [USER], **asked})
    assert caught.value.param == param


def test_what_is_harmless_is_left_out_and_named():
    _, dropped = translated(
        "openai",
        "anthropic",
        messages=[USER],
        **{"seed": 1, "presence_penalty": 0.1, "temperature": 2.0, "store": True, "new": 1},
    )
    assert dropped == {"seed", "presence_penalty", "temperature", "store", "new"}
    _, dropped = translated("anthropic", "openai", messages=[USER], top_k=3, service_tier="auto")
    assert dropped == {"top_k", "service_tier"}


def test_what_is_left_out_of_messages_is_named_too():
    url = {"url": "https://example.com/a.png", "detail": "high"}
    empty = {"type": "text", "text": "", "image_url": "no image"}
    parts = [empty, {"type": "image_url", "image_url": url}]
    turn = {"role": "user", "name": "ann", "content": parts}

    body, dropped = translated("openai", "anthropic", messages=[turn])

    assert dropped == {"name", "detail"}
    [image] = body["messages"][0]["content"]  # an empty text would be refused
    assert image["source"]["url"] == "https://example.com/a.png"


def test_names_that_are_shown_can_forge_nothing():
    assert shown(("seed", "seed", "a\r\nset-cookie: x", "é", "", "b" * 50)) == ["seed"]
    assert len(shown(tuple(f"p{i}" for i in range(100)))) == MAX_SHOWN


# Functions, as tools were called before.


# Work that grows with the square of what is sent is of minutes here, in which nobody is served.
MANY = 100_000


@pytest.mark.parametrize(("ours", "member"), [("openai", "messages"), ("responses", "input")])
def test_a_hundred_thousand_turns_of_one_role_are_put_together_at_once(ours, member):
    body, _ = translated(ours, "anthropic", **{member: [USER] * MANY})
    assert len(body["messages"]) == 1
    assert len(body["messages"][0]["content"]) == MANY


def test_functions_and_their_calls_reach_anthropic_as_tools():
    call = {"name": "f", "arguments": '{"a": "1"}'}
    other = {"name": "g", "arguments": "{}"}
    legacy = [
        USER,
        {"role": "assistant", "content": None, "function_call": call},
        {"role": "function", "name": "f", "content": "one"},
        {"role": "assistant", "content": "and", "function_call": other},
        {"role": "function", "name": "g", "content": None},
        {"role": "assistant", "content": None, "function_call": call},
        {"role": "function", "name": "f", "content": "two"},
    ]
    body = to_anthropic(*legacy, functions=[FUNCTION], function_call="auto", temperature=0.5)

    assert body["tools"] == [TOOL]
    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert body["temperature"] == 0.5
    assert [turn["role"] for turn in body["messages"]] == ["user", *["assistant", "user"] * 3]
    ids = [turn["content"][-1]["id"] for turn in body["messages"][1::2]]
    assert ids == [turn["content"][0]["tool_use_id"] for turn in body["messages"][2::2]]
    assert len(set(ids)) == 3
    assert [turn["content"][-1]["name"] for turn in body["messages"][1::2]] == ["f", "g", "f"]


@pytest.mark.parametrize(
    ("asked", "sent"), [({"name": "f"}, {"type": "tool", "name": "f"}), ("none", {"type": "none"})]
)
def test_the_function_that_is_to_be_called_reaches_anthropic(asked, sent):
    body = to_anthropic(USER, functions=[FUNCTION], function_call=asked)

    assert body["tool_choice"].items() >= sent.items()


CALLED = Answer("a", "m", (ToolUse("c", "f", "{}"),), Stop(0, "tool_calls"))


def test_who_asked_with_functions_is_answered_with_a_call_of_one():
    heading = Heading("id-1", "m", 0, functions=True)
    [choice] = CLIENTS["openai"].write_answer(CALLED, heading)["choices"]

    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == {"name": "f", "arguments": "{}"}
    assert "tool_calls" not in choice["message"]


def test_an_answer_with_two_calls_cannot_be_told_to_who_has_room_for_one():
    heading = Heading("id-1", "m", 0, functions=True)
    with pytest.raises(UpstreamProtocolError, match="room for one"):
        CLIENTS["openai"].write_answer(
            Answer("a", "m", CALLED.parts * 2, CALLED.stop), heading
        )


# Any request.

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

# What both dialects can say, in words of their own.
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


def sayable(request: ChatRequest, *dialects: str) -> ChatRequest:
    """Return a request without what one of these dialects has no word for."""
    return msgspec.structs.replace(request, stop=()) if "responses" in dialects else request


@EACH
@untimed
@given(request=REQUESTS)
def test_a_request_that_is_written_is_read_as_it_was_meant(dialect, request):
    request = sayable(request, dialect)
    written = UPSTREAMS[dialect].write_request(request, "m")

    assert not written.dropped
    assert CLIENTS[dialect].read_request(orjson.loads(orjson.dumps(written.body))) == request


@PAIRS
@untimed
@given(request=REQUESTS)
def test_a_request_goes_there_and_back(dialect, theirs, request):
    request = sayable(request, dialect, theirs)
    asked = UPSTREAMS[dialect].write_request(request, "m").body
    sent, dropped = translated(dialect, theirs, **asked)
    back, _ = translated(theirs, dialect, **sent)

    assert not dropped
    assert {"model": "m", **back} == asked


@EACH
@untimed
@given(thoughts=st.lists(THOUGHT, min_size=1, max_size=3))
def test_thinking_keeps_its_proof_byte_for_byte(dialect, thoughts):
    answer = Answer("resp_1", "m", (*thoughts, Text("so")), Stop(0, "stop"), Usage(1, 1))
    said = orjson.loads(orjson.dumps(CLIENTS[dialect].write_answer(answer, HEADING)))
    assert UPSTREAMS[dialect].read_answer(said) == answer

    [_, again, _] = CLIENTS[dialect].read_request(continued(dialect, said)).messages
    assert again.parts == answer.parts


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
@untimed
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
@untimed
@given(answer=ANSWERS.map(told))
def test_an_answer_goes_there_and_back(dialect, theirs, answer):
    said = orjson.dumps(CLIENTS[dialect].write_answer(answer, HEADING))
    assert UPSTREAMS[dialect].read_answer(orjson.loads(said)) == answer

    there = orjson.dumps(answered(said, dialect, theirs))
    back = orjson.dumps(answered(there, theirs, dialect))

    assert UPSTREAMS[dialect].read_answer(orjson.loads(back)) == answer


@PAIRS
@untimed
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
