"""Requests of the Responses API: what they come to elsewhere, and what others come to in it."""

from typing import Any

import pytest

from gateway.client_errors import ClientError
from gateway.dialects.calls import Call
from gateway.dialects.known import CLIENTS, UPSTREAMS
from gateway.dialects.translation import translate_request


USER = {"role": "user", "content": "hi"}
ITEM = {
    "type": "message",
    "role": "user",
    "content": [{"type": "input_text", "text": "hi"}],
}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
ABOUT = {"name": "f", "description": "does", "parameters": SCHEMA}


def translated(ours: str, theirs: str, **body: Any) -> tuple[dict[str, Any], set[str]]:
    """Return what an upstream is sent, without its model, and what was dropped."""
    call = Call(dialect=ours, model="m", stream=False, wants_usage=True, body=body)
    written = translate_request(call, CLIENTS[ours], UPSTREAMS[theirs], "theirs")
    assert written.body.pop("model") == "theirs"
    return written.body, set(written.dropped)


def to_chat(*items: Any, **params: Any) -> dict[str, Any]:
    body, dropped = translated("responses", "openai", input=list(items) or "hi", **params)
    assert not dropped
    return body


def from_chat(*messages: Any, **params: Any) -> dict[str, Any]:
    body, dropped = translated("openai", "responses", messages=list(messages) or [USER], **params)
    assert not dropped
    assert body.pop("store") is False
    return body


# Parameters: of responses, and of chat completions.

PARAMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a bound": ({"max_output_tokens": 5}, {"max_completion_tokens": 5}),
    "sampling": ({"temperature": 0.5, "top_p": 0.9},) * 2,
    "a user": ({"user": "u"},) * 2,
    "a stream": ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}),
    "tools": (
        {"tools": [{"type": "function", **ABOUT, "strict": True}], "parallel_tool_calls": False},
        {
            "tools": [{"type": "function", "function": {**ABOUT, "strict": True}}],
            "parallel_tool_calls": False,
        },
    ),
    "any tool": ({"tool_choice": "required"},) * 2,
    "no tool": ({"tool_choice": "none"},) * 2,
    "this tool": (
        {"tool_choice": {"type": "function", "name": "f"}},
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
    ),
    "a schema": (
        {"text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": SCHEMA},
            }
        },
    ),
    "json": (
        {"text": {"format": {"type": "json_object"}}},
        {"response_format": {"type": "json_object"}},
    ),
    "no thinking": ({"reasoning": {"effort": "none"}}, {"reasoning_effort": "none"}),
    "thinking": (
        {"reasoning": {"effort": "low"}, "include": ["reasoning.encrypted_content"]},
        {"reasoning_effort": "low"},
    ),
}
SAME = pytest.mark.parametrize(("ours", "theirs"), PARAMS.values(), ids=PARAMS.keys())


@SAME
def test_parameters_of_responses_reach_chat_completions(ours, theirs):
    assert to_chat(**ours) == {"messages": [USER], **theirs}


@SAME
def test_parameters_of_chat_completions_reach_responses(ours, theirs):
    assert from_chat(**theirs) == {"input": [ITEM], **ours}


def test_what_asks_for_nothing_is_not_called_dropped():
    nothing = {"store": False, "metadata": {}, "truncation": "disabled", "background": False}
    plain = {"text": {"format": {"type": "text"}, "verbosity": "medium"}, "top_logprobs": 0}
    empty = {"previous_response_id": None, "conversation": None, "include": [], "instructions": ""}
    summary = {"reasoning": {"effort": None, "summary": "auto"}, "service_tier": "auto"}
    assert to_chat(**nothing, **plain, **empty, **summary) == {"messages": [USER]}


def test_a_function_is_strict_only_if_that_is_said():
    function = {"type": "function", "function": {"name": "f"}}
    [tool] = from_chat(tools=[function])["tools"]
    empty = {"type": "object", "properties": {}}
    assert tool == {"type": "function", "name": "f", "parameters": empty, "strict": False}


def test_whoever_sets_a_budget_for_thinking_sees_what_was_thought():
    thinking = {"type": "enabled", "budget_tokens": 1024}
    body, _ = translated("anthropic", "responses", messages=[USER], thinking=thinking)
    assert body["reasoning"] == {"effort": "low", "summary": "auto"}
    assert body["include"] == ["reasoning.encrypted_content"]


# What is said, and who said it.

CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}'}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "sunny"}
CHAT_CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def test_a_conversation_with_tools_reaches_chat_completions():
    body = to_chat(
        {"role": "developer", "content": "be kind"},
        USER,
        {
            "role": "assistant",
            "content": [{"type": "output_text", "text": "well", "annotations": []}],
        },
        {**CALL, "id": "fc_1", "status": "completed"},
        {**CALL, "call_id": "c2"},
        RESULT,
        {**RESULT, "call_id": "c2", "output": [{"type": "input_text", "text": "warm"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "and?"}]},
        instructions="be brief",
    )
    assert body["messages"] == [
        {
            "role": "system",
            "content": [{"type": "text", "text": "be brief"}, {"type": "text", "text": "be kind"}],
        },
        USER,
        {
            "role": "assistant",
            "content": "well",
            "tool_calls": [CHAT_CALL, {**CHAT_CALL, "id": "c2"}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "c2", "content": "warm"},
        {"role": "user", "content": "and?"},
    ]


def test_a_conversation_with_tools_reaches_responses():
    body = from_chat(
        {"role": "system", "content": "be brief"},
        USER,
        {"role": "assistant", "content": "well", "refusal": "no", "tool_calls": [CHAT_CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "user", "content": "and?"},
    )
    said = [{"type": "output_text", "text": "well"}, {"type": "refusal", "refusal": "no"}]
    assert body["input"] == [
        {**ITEM, "role": "system", "content": [{"type": "input_text", "text": "be brief"}]},
        ITEM,
        {**ITEM, "role": "assistant", "content": said},
        CALL,
        RESULT,
        {**ITEM, "content": [{"type": "input_text", "text": "and?"}]},
    ]


@pytest.mark.parametrize("url", ["https://example.com/a.png", "data:image/png;base64,iVBORw0KGgo="])
def test_images_go_both_ways(url):
    ours = {"type": "input_image", "image_url": url, "detail": "auto"}
    theirs = {"type": "image_url", "image_url": {"url": url}}
    assert to_chat({"role": "user", "content": [ours]})["messages"][0]["content"] == [theirs]
    assert from_chat({"role": "user", "content": [theirs]})["input"][0]["content"] == [ours]


def test_a_tools_result_may_be_an_image_and_a_failure_where_there_is_a_word_for_it():
    picture = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    result = {"type": "tool_result", "tool_use_id": "c1", "content": [picture], "is_error": True}
    turn = {"role": "user", "content": [result]}

    body, dropped = translated("anthropic", "responses", messages=[turn])

    url = "https://example.com/a.png"
    shown = {"type": "input_image", "image_url": url, "detail": "auto"}
    assert body["input"] == [{**RESULT, "output": [shown]}]
    assert dropped == {"is_error"}
    back, _ = translated("responses", "anthropic", input=body["input"])
    assert back["messages"][0]["content"][0]["content"] == [picture]


def test_thinking_is_sent_back_with_its_proof_and_only_with_it():
    thoughts = [{"type": "thinking", "thinking": "1+1", "signature": "p"}]
    thoughts.append({"type": "thinking", "thinking": "", "signature": "q"})
    hidden = {"type": "redacted_thinking", "data": "r"}
    foreign = {"type": "thinking", "thinking": "?", "signature": ""}
    turn = {"role": "assistant", "content": [*thoughts, hidden, foreign]}

    body, dropped = translated("anthropic", "responses", messages=[USER, turn, USER])

    def reasoning(proof: str, *texts: str) -> dict[str, Any]:
        summary = [{"type": "summary_text", "text": text} for text in texts]
        return {"type": "reasoning", "summary": summary, "encrypted_content": proof}

    assert body["input"][1:-1] == [reasoning("p", "1+1"), reasoning("q", ""), reasoning("r")]
    assert body["include"] == ["reasoning.encrypted_content"]
    assert dropped == {"thinking"}
    back, _ = translated("responses", "anthropic", input=body["input"])
    assert back["messages"][1]["content"] == [*thoughts, hidden]


# What cannot be said, and the parameter that is named.

UNSAID: dict[str, tuple[dict[str, Any], str]] = {
    "what came before": ({"previous_response_id": "resp_1"}, "previous_response_id"),
    "a conversation": ({"conversation": "conv_1"}, "conversation"),
    "a prompt that is kept elsewhere": ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    "a tool of the provider's": ({"tools": [{"type": "web_search"}]}, "tools"),
    "a tool that takes no JSON": ({"tools": [{"type": "custom", "name": "x"}]}, "tools"),
    "a choice of such a tool": ({"tool_choice": {"type": "web_search"}}, "tool_choice.type"),
    "probabilities": ({"top_logprobs": 2}, "top_logprobs"),
    "an item of the provider's": ({"input": [{"type": "item_reference"}]}, "input[0].type"),
    "a file": (
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]},
        "input[0].content[0].type",
    ),
    "an image that is a file": (
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "x"}]}]},
        "input",
    ),
    "an image of the assistant": (
        {
            "input": [
                {
                    "role": "assistant",
                    "content": [{"type": "input_image", "image_url": "https://a.example/b"}],
                }
            ]
        },
        "input",
    ),
    "a refusal of the user": (
        {"input": [{"role": "user", "content": [{"type": "refusal", "refusal": "no"}]}]},
        "input",
    ),
    "nothing": ({"input": None}, "input"),
    "a number": ({"input": 5}, "input"),
    "an item that is none": ({"input": ["x"]}, "input[0]"),
    "a beginning to go on from": ({"input": [{"role": "assistant", "content": "{"}]}, "messages"),
}


@pytest.mark.parametrize(("asked", "param"), UNSAID.values(), ids=UNSAID.keys())
def test_what_has_no_word_elsewhere_is_refused_by_name(asked, param):
    with pytest.raises(ClientError) as caught:
        translated("responses", "openai", **{"input": "hi", **asked})
    assert caught.value.param == param


def test_who_only_names_what_was_said_is_told_what_to_do():
    given = [{"role": "user", "content": "hi"}, {"type": "item_reference", "id": "msg_1"}]
    with pytest.raises(ClientError, match="store: false") as caught:
        translated("responses", "anthropic", input=given)
    assert caught.value.param == "input[1].type"


def test_what_responses_have_no_word_for_is_refused_by_name():
    for asked, param in (
        ({"stop": "x"}, "stop"),
        ({"messages": [USER, {"role": "assistant", "content": "{"}]}, "messages"),
    ):
        with pytest.raises(ClientError) as caught:
            translated("openai", "responses", **{"messages": [USER], **asked})
        assert caught.value.param == param


def test_what_is_harmless_is_left_out_and_named():
    image = {"type": "input_image", "image_url": "https://a.example/b", "detail": "high"}
    _, dropped = translated(
        "responses",
        "anthropic",
        input=[{"role": "user", "content": [image]}],
        store=True,
        metadata={"a": "b"},
        text={"verbosity": "low"},
        reasoning={"summary": "detailed"},
        new=1,
    )
    named = {"store", "metadata", "text.verbosity", "reasoning.summary", "detail", "new"}
    assert dropped == named
    hints = {"seed": 1, "presence_penalty": 0.5, "frequency_penalty": 0.5, "top_k": 3}
    _, dropped = translated("openai", "responses", messages=[USER], **hints)
    assert dropped == set(hints)
