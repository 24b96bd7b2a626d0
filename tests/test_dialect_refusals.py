"""Requests from one dialect into another: what cannot be said is refused by name."""

from typing import Any

import pytest

from gateway.chat import Answer, Stop, ToolUse
from gateway.client_errors import ClientError
from gateway.dialects.calls import MAX_SHOWN, Heading, shown
from gateway.dialects.known import CLIENTS
from gateway.upstream_errors import UpstreamProtocolError
from tests.dialect_requests import FUNCTION, IMAGES, MANY, TOOL, USER, to_anthropic, translated


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
