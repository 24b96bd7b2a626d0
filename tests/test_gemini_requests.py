"""Requests to Gemini, whoever asks: written, and refused where need be."""

from typing import Any

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.chat import ChatRequest, Message, Text, Thinking, ToolUse
from gateway.client_errors import ClientError
from gateway.dialects.calls import Call, encode
from gateway.dialects.gemini import UPSTREAM
from gateway.dialects.gemini_turns import UNPROVEN
from gateway.dialects.known import CLIENTS
from gateway.dialects.translation import read_answer, translate_request
from tests.dialect_requests import HEADING, SCHEMA, TEXT, continued
from tests.gemini_words import EACH, HI, NEW, OLD, USER, response


def sent(ours: str, *, model: str = OLD, **body: Any) -> tuple[dict[str, Any], set[str]]:
    """Return what Gemini is sent, and what was dropped."""
    call = Call(dialect=ours, model="m", stream=False, wants_usage=True, body=body)
    written = translate_request(call, CLIENTS[ours], UPSTREAM, model)
    return written.body, set(written.dropped)


# Parameters.

FUNCTION = {"name": "f", "description": "does", "parameters": SCHEMA}
DECLARED = {"name": "f", "description": "does", "parametersJsonSchema": SCHEMA}
TOOLS = {"tools": [{"type": "function", "function": FUNCTION}]}
DECLARATIONS = {"tools": [{"functionDeclarations": [DECLARED]}]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}


def config(**members: Any) -> dict[str, Any]:
    return {"generationConfig": members}


def calling(**members: Any) -> dict[str, Any]:
    return {**DECLARATIONS, "toolConfig": {"functionCallingConfig": members}}


def strict(**params: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {**FUNCTION, "strict": True}}], **params}


PARAMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing": ({}, {}),
    "a stream": ({"stream": True, "stream_options": {"include_usage": True}}, {}),
    "a bound": ({"max_tokens": 9, "max_completion_tokens": 5}, config(maxOutputTokens=5)),
    "sampling": (
        {"temperature": 1.5, "top_p": 0.9, "top_k": 4, "seed": 7},
        config(temperature=1.5, topP=0.9, topK=4, seed=7),
    ),
    "penalties": (
        {"presence_penalty": 0.5, "frequency_penalty": -0.5},
        config(presencePenalty=0.5, frequencyPenalty=-0.5),
    ),
    "one stop": ({"stop": "x"}, config(stopSequences=["x"])),
    "tools": (TOOLS, DECLARATIONS),
    "a tool without parameters": (
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"tools": [{"functionDeclarations": [{"name": "f"}]}]},
    ),
    "no tool": ({**TOOLS, "tool_choice": "none"}, calling(mode="NONE")),
    "some tool": ({**TOOLS, "tool_choice": "auto"}, calling(mode="AUTO")),
    "any tool": ({**TOOLS, "tool_choice": "required"}, calling(mode="ANY")),
    "this tool": (
        {**TOOLS, "tool_choice": {"type": "function", "function": {"name": "f"}}},
        calling(mode="ANY", allowedFunctionNames=["f"]),
    ),
    "a tool whose schema is kept": (strict(), calling(mode="VALIDATED")),
    "any tool whose schema is kept": (strict(tool_choice="required"), calling(mode="ANY")),
    "json": (
        {"response_format": {"type": "json_object"}},
        config(responseMimeType="application/json"),
    ),
    "a schema": (
        {"response_format": FORMAT},
        config(responseMimeType="application/json", responseJsonSchema=SCHEMA),
    ),
}


@pytest.mark.parametrize(("asked", "written"), PARAMS.values(), ids=PARAMS.keys())
def test_parameters_of_openais_clients_reach_gemini(asked, written):
    assert sent("openai", messages=[USER], **asked) == ({"contents": [HI], **written}, set())


EFFORTS = [
    (OLD, "none", {"thinkingBudget": 0}),
    (OLD, "low", {"includeThoughts": True, "thinkingBudget": 1024}),
    (OLD, "xhigh", {"includeThoughts": True, "thinkingBudget": 24_576}),
    (NEW, "none", {"thinkingLevel": "minimal"}),
    (NEW, "medium", {"includeThoughts": True, "thinkingLevel": "medium"}),
    (NEW, "max", {"includeThoughts": True, "thinkingLevel": "high"}),
    ("flash-latest", "low", {"includeThoughts": True, "thinkingLevel": "low"}),
]


@pytest.mark.parametrize(("model", "effort", "written"), EFFORTS)
def test_an_effort_is_a_budget_or_a_level_as_the_model_is_old_or_new(model, effort, written):
    body, _ = sent("openai", model=model, messages=[USER], reasoning_effort=effort)
    assert body["generationConfig"] == {"thinkingConfig": written}


def test_a_budget_of_anthropics_clients_is_one():
    thinking = {"type": "enabled", "budget_tokens": 2048}
    body, _ = sent("anthropic", model=NEW, messages=[USER], thinking=thinking, max_tokens=9000)
    written = {"includeThoughts": True, "thinkingBudget": 2048}
    assert body["generationConfig"] == {"maxOutputTokens": 9000, "thinkingConfig": written}


def test_what_an_answer_is_as_good_without_is_left_out_and_named():
    asked = {"user": "u", "parallel_tool_calls": False, "service_tier": "flex", **TOOLS}
    body, dropped = sent("openai", messages=[USER], **asked)
    assert body == {"contents": [HI], **DECLARATIONS}
    assert dropped == {"user", "parallel_tool_calls", "service_tier"}


UNSAID: dict[str, tuple[list[Any], str]] = {
    "a beginning of the answer": ([USER, {"role": "assistant", "content": "Well,"}], "openai"),
    "a result of no call": ([{"role": "tool", "tool_call_id": "c", "content": ""}], "openai"),
    "a result before its call": (
        [
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c"}]},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}],
            },
            USER,
        ],
        "anthropic",
    ),
}


@pytest.mark.parametrize(("messages", "ours"), UNSAID.values(), ids=UNSAID.keys())
def test_what_cannot_be_said_is_refused_and_named(messages, ours):
    with pytest.raises(ClientError) as caught:
        sent(ours, messages=messages)
    assert caught.value.param == "messages"


# Turns.


def test_a_conversation_with_tools_reaches_gemini_as_turns():
    function = {"name": "f", "arguments": '{"a":"b"}'}
    call = {"id": "c1", "type": "function", "function": function}
    second = {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}}
    body, dropped = sent(
        "openai",
        messages=[
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": "well", "tool_calls": [call, second]},
            {"role": "tool", "tool_call_id": "c1", "content": "one"},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "two"}]},
            {"role": "user", "content": "and?"},
            {"role": "developer", "content": [{"type": "text", "text": "be kind"}]},
            {"role": "user", "content": ""},
        ],
    )
    assert not dropped
    assert body["systemInstruction"] == {"parts": [{"text": "be brief"}, {"text": "be kind"}]}
    first = {"id": "c1", "name": "f"}
    other = {"id": "c2", "name": "g"}
    assert body["contents"] == [
        {"role": "user", "parts": [{"text": "go"}]},
        {
            "role": "model",
            "parts": [
                {"text": "well"},
                {"functionCall": {**first, "args": {"a": "b"}}},
                {"functionCall": {**other, "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {**first, "response": {"output": "one"}}},
                {"functionResponse": {**other, "response": {"output": "two"}}},
                {"text": "and?"},
            ],
        },
    ]


def test_results_go_first_with_their_pictures_and_failures_are_told():
    use = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
    picture = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    result = [{"type": "text", "text": "no"}, {"type": "image", "source": picture}]
    answer = {"type": "tool_result", "tool_use_id": "c", "content": result, "is_error": True}
    turn = {"role": "user", "content": [{"type": "text", "text": "so?"}, answer]}
    body, _ = sent("anthropic", messages=[USER, {"role": "assistant", "content": [use]}, turn])

    response = {"id": "c", "name": "f", "response": {"error": "no"}}
    images = [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]
    assert body["contents"][2]["parts"] == [
        {"functionResponse": {**response, "parts": images}},
        {"text": "so?"},
    ]


@pytest.mark.parametrize(
    ("url", "part"),
    [
        (
            "data:image/png;base64,AAAA",
            {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        ),
        (
            "https://a.example/b.JPG?w=1#x",
            {
                "fileData": {
                    "mimeType": "image/jpeg",
                    "fileUri": "https://a.example/b.JPG?w=1#x",
                }
            },
        ),
        ("https://a.example/b", {"fileData": {"fileUri": "https://a.example/b"}}),
    ],
)
def test_pictures_are_sent_or_named(url, part):
    turn = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}
    body, _ = sent("openai", messages=[turn])
    assert body["contents"] == [{"role": "user", "parts": [part]}]


# The proof of thoughts.


def turns(*parts: Any, model: str = NEW) -> tuple[list[Any], list[str]]:
    """Return the parts of a model's turn as they go back, and what was dropped."""
    request = ChatRequest(messages=(Message("assistant", parts), Message("user", (Text("hi"),))))
    written = UPSTREAM.write_request(request, model)
    return written.body["contents"][0]["parts"], list(written.dropped)


def part(name: str, proof: str = "") -> dict[str, Any]:
    call = {"functionCall": {"id": name, "name": name, "args": {}}}
    return {**call, **({"thoughtSignature": proof} if proof else {})}


def test_a_call_gets_its_proof_back():
    call, other = ToolUse("f", "f", "{}"), ToolUse("g", "g", "{}")
    thought, proof = Thinking("hm", "s1"), Thinking("", "s2")

    assert turns(thought, call, other) == ([part("f", "s1"), part("g")], [])
    assert turns(Text("a"), proof, call) == ([{"text": "a"}, part("f", "s2")], [])
    # OpenAI's clients say all proofs first.
    assert turns(thought, proof, call, other)[0] == [part("f", "s1"), part("g", "s2")]


def test_a_proof_without_a_call_goes_last():
    parts, _ = turns(Thinking("hm", "s1"), Text("a"))
    assert parts == [{"text": "a"}, {"text": "", "thoughtSignature": "s1"}]


def test_where_a_new_model_wants_a_proof_that_there_is_not_it_is_told_so():
    call, other = ToolUse("f", "f", "{}"), ToolUse("g", "g", "{}")
    foreign = Thinking(redacted="x")

    assert turns(foreign, call, other) == ([part("f", UNPROVEN), part("g")], ["thinking"])
    assert turns(Thinking("hm"), call, model=OLD) == ([part("f")], ["thinking"])


@EACH
@given(proofs=st.lists(TEXT, max_size=3), last=TEXT | st.none())
def test_proofs_come_back_byte_for_byte_whoever_had_them_meanwhile(ours, proofs, last):
    said = [part(f"call_{at}", proof) for at, proof in enumerate(proofs)]
    if last and ours != "anthropic":  # whose clients take the last block for the text
        said.append({"text": "", "thoughtSignature": last})
    assume(said)
    answer = read_answer(encode(response(*said)), UPSTREAM)
    theirs = orjson.loads(encode(CLIENTS[ours].write_answer(answer, HEADING)))
    back, _ = sent(ours, **continued(ours, theirs))

    assert [turn["parts"] for turn in back["contents"] if turn["role"] == "model"] == [said]
