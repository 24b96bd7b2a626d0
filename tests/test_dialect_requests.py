"""Requests from one dialect into another: what is said means the same."""

from typing import Any

import pytest

from gateway.dialects.anthropic_requests import MAX_TOKENS
from tests.dialect_requests import (
    FUNCTION,
    IMAGES,
    SCHEMA,
    TOOL,
    USER,
    to_anthropic,
    to_openai,
    translated,
)


# Parameters: what OpenAI's clients say, and what Anthropic is asked.

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
