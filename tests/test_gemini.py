"""Requests to Gemini and its answers, whoever asks: written, read, and refused where need be."""

from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.chat import ChatRequest, Event, Message, Stop, Text, Thinking, ToolCall, ToolUse, Usage
from gateway.client_errors import ClientError
from gateway.dialects.calls import MAX_CALLS, Call, encode
from gateway.dialects.gemini import UPSTREAM
from gateway.dialects.gemini_calls import MAX_HELD
from gateway.dialects.gemini_events import Reader
from gateway.dialects.gemini_turns import UNPROVEN
from gateway.dialects.known import CLIENTS
from gateway.dialects.translation import read_answer, translate_request
from gateway.upstream_errors import UpstreamError, UpstreamProtocolError, UpstreamRefused
from tests.dialect_requests import HEADING, MANY, REQUESTS, SCHEMA, TEXT, continued
from tests.translations import translation_of


OLD, NEW = "gemini-2.5-flash", "gemini-3-pro-preview"
USER = {"role": "user", "content": "hi"}
HI = {"role": "user", "parts": [{"text": "hi"}]}
EACH = pytest.mark.parametrize("ours", CLIENTS)


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


# Answers.


def response(*parts: Any, finish: str = "STOP", **more: Any) -> dict[str, Any]:
    candidate = {"content": {"parts": list(parts), "role": "model"}, "finishReason": finish}
    return {"candidates": [candidate], "responseId": "r", "modelVersion": OLD, **more}


def test_a_whole_answer_is_read_as_it_was_meant():
    call = {"name": "f", "args": {"a": 1}}
    usage = {
        "promptTokenCount": 10,
        "toolUsePromptTokenCount": 2,
        "cachedContentTokenCount": 4,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 7,
        "totalTokenCount": 24,
    }
    answer = UPSTREAM.read_answer(
        response(
            {"text": "hm", "thought": True},
            {"text": " so", "thought": True, "thoughtSignature": "s0"},
            {"text": "I "},
            {"text": "look", "thoughtSignature": "s1"},
            {"functionCall": call, "thoughtSignature": "s2"},
            {"functionCall": {"id": "x", "name": "g"}},
            {"executableCode": {"code": "1"}},
            usageMetadata=usage,
        )
    )
    assert (answer.id, answer.model) == ("r", OLD)
    assert answer.parts == (
        Thinking("hm so", "s0"),
        Text("I look"),
        Thinking("", "s1"),
        Thinking("", "s2"),
        ToolUse("call_r_0", "f", '{"a":1}'),
        ToolUse("x", "g", "{}"),
    )
    assert answer.stop == Stop(0, "tool_calls")
    assert answer.usage == Usage(12, 12, cached=4, reasoning=7)


REASONS = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "SPII": "content_filter",
    "MALFORMED_FUNCTION_CALL": "MALFORMED_FUNCTION_CALL",
    "NEW_REASON": "NEW_REASON",
}


@pytest.mark.parametrize(("word", "reason"), REASONS.items())
def test_why_an_answer_ended_is_told(word, reason):
    assert UPSTREAM.read_answer(response({"text": "a"}, finish=word)).stop.reason == reason
    assert UPSTREAM.reason(word) == reason


def test_a_prompt_that_is_refused_gets_an_answer_that_says_so():
    answer = UPSTREAM.read_answer({"promptFeedback": {"blockReason": "OTHER"}})
    assert (answer.parts, answer.stop.reason) == ((), "content_filter")


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"candidates":[{}]}', b"1", b"no"])
def test_what_is_no_answer_is_the_upstreams_mistake(body):
    with pytest.raises(UpstreamProtocolError):
        read_answer(body, UPSTREAM)


ERRORS = [
    ({"code": 429, "message": "no", "status": "RESOURCE_EXHAUSTED"}, 429, "rate_limit_error"),
    ({"message": "no", "status": "UNAVAILABLE"}, 503, "overloaded_error"),
    ({"code": 7, "message": "no", "status": "PERMISSION_DENIED"}, 403, "permission_error"),
    ({"message": "no"}, 502, "server_error"),
    ("no", 502, "server_error"),
]


@pytest.mark.parametrize(("error", "status", "kind"), ERRORS)
def test_an_error_in_a_good_answer_is_one(error, status, kind):
    with pytest.raises(UpstreamRefused, match="no") as caught:
        UPSTREAM.read_answer({"error": error})
    assert caught.value.error["type"] == kind
    if isinstance(error, dict):
        assert UPSTREAM.status_of(error) == status


# Streams.


def test_a_reason_that_is_repeated_is_told_once():
    reader = Reader()
    events = [event for _ in range(3) for event in reader.read(response({"text": "a"}))]
    assert [event for event in events if isinstance(event, Stop)] == [Stop(0, "stop")]


def test_calls_are_numbered_through_and_have_ids_that_stay():
    def calls(*events: Any) -> list[Event]:
        reader = Reader()
        return [said for event in events for said in reader.read(event)]

    one = response({"functionCall": {"name": "f"}})
    told = [event for event in calls(one, one) if isinstance(event, ToolCall)]
    assert told == [ToolCall(0, 0, "call_r_0", "f", "{}"), ToolCall(0, 1, "call_r_1", "f", "{}")]
    assert calls(one, one) == calls(one, one)


def calls_in(*calls: Any, finish: str = "") -> list[Event]:
    reader = Reader()
    events = [response({"functionCall": call}, finish="") for call in calls]
    said = [said for event in events for said in reader.read(event)]
    said += reader.read(response(finish=finish))
    return [event for event in said if isinstance(event, ToolCall)]


def pieces(*places: tuple[str, Any], goes_on: bool = True) -> dict[str, Any]:
    kinds = {str: "stringValue", float: "numberValue", bool: "boolValue"}
    args = [
        {"jsonPath": path, kinds.get(type(value), "nullValue"): value or "NULL_VALUE"}
        if value is None
        else {"jsonPath": path, kinds[type(value)]: value}
        for path, value in places
    ]
    return {"partialArgs": args, "willContinue": goes_on}


def test_a_call_that_comes_piece_by_piece_is_told_when_it_is_whole():
    begun = {"name": "f", "id": "x", "willContinue": True}
    first = pieces(("$.a", "Bos"), ("$.list[0]", 1.5), ("$.list[1].b", True))
    second = pieces(("$.a", "ton"), ("$['c d']", None))
    whole = '{"a":"Boston","list":[1.5,{"b":true}],"c d":null}'

    assert calls_in(begun, first) == []
    for end in ({}, {"willContinue": False}):
        assert calls_in(begun, first, second, end) == [ToolCall(0, 0, "x", "f", whole)]
    # The next one, and the end of the answer, are ends of it too.
    told = calls_in(begun, first, second, {"name": "g", "args": {"b": 1}}, finish="STOP")
    assert [(call.name, call.arguments) for call in told] == [("f", whole), ("g", '{"b":1}')]
    [told] = calls_in({"name": "f", "id": "x", **pieces(("$.a", "b"), goes_on=False)})
    assert told.arguments == '{"a":"b"}'
    assert calls_in(begun, first, second, finish="STOP") == [ToolCall(0, 0, "x", "f", whole)]


@pytest.mark.parametrize("path", ["", "a", "$", "$.a.", "$[0]", "$.a[2]", "$.s.b", "$.*", "$..a"])
def test_a_piece_without_a_place_is_the_upstreams_mistake(path):
    begun = {"name": "f", **pieces(("$.s", "text"))}
    with pytest.raises(UpstreamProtocolError, match="no place"):
        calls_in(begun, pieces((path, "x")))


def test_what_is_kept_of_a_call_is_bounded():
    half = "x" * (MAX_HELD // 2)
    with pytest.raises(UpstreamProtocolError, match="too long"):
        calls_in({"name": "f", **pieces(("$.a", half))}, pieces(("$.a", half)))


def test_a_text_that_comes_in_a_hundred_thousand_pieces_is_put_together_at_once():
    begun = {"name": "f", **pieces(("$.a", "x" * (MAX_HELD // 2)))}
    letters = [pieces(*[("$.a", "y")] * (MANY // 10))] * 10
    [call] = calls_in(begun, *letters, {})
    assert len(orjson.loads(call.arguments)["a"]) == MAX_HELD // 2 + MANY

    whole = response(*[{"text": "x" * 10}] * MANY, finish="STOP")
    answer = read_answer(encode(whole), UPSTREAM)
    assert answer.parts == (Text("x" * 10 * MANY),)


@EACH
def test_the_calls_of_an_answer_are_bounded(ours):
    translation = translation_of("gemini", ours)
    event = response(*[{"functionCall": {"name": "f"}}] * 600)
    translation.blocks(b"data: %b\n\n" % encode(event) * 2)

    assert translation.fault is not None
    assert f"more than {MAX_CALLS}" in translation.fault.message


WORDS = st.sampled_from([
    *("candidates", "content", "parts", "text", "thought", "thoughtSignature", "functionCall"),
    *("id", "name", "args", "finishReason", "usageMetadata", "promptTokenCount", "error"),
    *("promptFeedback", "blockReason", "responseId", "modelVersion", "message", "status", "code"),
    *("partialArgs", "jsonPath", "stringValue", "numberValue", "willContinue"),
])  # fmt: skip
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)
PARTS = st.dictionaries(WORDS, JSON, max_size=3)
EVENTS = st.dictionaries(WORDS, JSON, max_size=4) | st.builds(response, PARTS, PARTS)


@EACH
@given(events=st.lists(EVENTS, max_size=3))
def test_whatever_gemini_says_nothing_is_raised(ours, events):
    translation = translation_of("gemini", ours)
    data = b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events)
    blocks = translation.blocks(data) + translation.end()
    assert all(block.endswith(b"\n\n") for block in blocks)


@given(body=EVENTS)
def test_whatever_gemini_answers_the_only_error_is_its_own(body):
    with suppress(UpstreamError):
        assert read_answer(orjson.dumps(body), UPSTREAM).stop.reason


@given(request=REQUESTS)
def test_any_request_is_written_as_json(request):
    with suppress(ClientError):
        written = UPSTREAM.write_request(request, NEW)
        assert orjson.loads(orjson.dumps(written.body)) == written.body
        assert {turn["role"] for turn in written.body["contents"]} <= {"user", "model"}
        assert all(turn["parts"] for turn in written.body["contents"])


def test_the_model_is_quoted_in_the_path():
    path = UPSTREAM.wire.path
    assert path("gemini-2.5-pro", False) == "/models/gemini-2.5-pro:generateContent"
    assert path("a/b?c d", True) == "/models/a%2Fb%3Fc%20d:streamGenerateContent?alt=sse"
