"""Requests of the OpenAI dialect, read."""

import re
from itertools import groupby
from operator import attrgetter
from typing import Any, Literal

import msgspec

from gateway.chat import (
    ChatRequest,
    Choice,
    Format,
    Image,
    Message,
    Part,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolResult,
    ToolUse,
)
from gateway.client_errors import ClientError
from gateway.dialects.calls import Idle, refuse, shaped, unread
from gateway.dialects.openai_legacy import modern


# The wire: only what has a word in `chat`, and what must be looked at.


class _Text(msgspec.Struct, tag="text"):
    text: str


class _Url(msgspec.Struct):
    url: str


class _Image(msgspec.Struct, tag="image_url"):
    image_url: _Url


class _Refusal(msgspec.Struct, tag="refusal"):
    refusal: str


class _Function(msgspec.Struct):
    name: str
    arguments: str


class _Call(msgspec.Struct):
    id: str
    function: _Function
    type: Literal["function"] = "function"


class _System(msgspec.Struct, tag_field="role", tag="system"):
    content: str | list[_Text]


class _Developer(msgspec.Struct, tag_field="role", tag="developer"):
    content: str | list[_Text]


class _User(msgspec.Struct, tag_field="role", tag="user"):
    content: str | list[_Text | _Image]


class _Assistant(msgspec.Struct, tag_field="role", tag="assistant"):
    content: str | list[_Text | _Refusal] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning_details: list[dict[str, Any]] | None = None
    tool_calls: list[_Call] | None = None


class _Tool(msgspec.Struct, tag_field="role", tag="tool"):
    tool_call_id: str
    content: str | list[_Text]


class _Definition(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _FunctionTool(msgspec.Struct):
    function: _Definition
    type: Literal["function"] = "function"


class _Named(msgspec.Struct):
    name: str


class _Chosen(msgspec.Struct):
    function: _Named
    type: Literal["function"] = "function"


class _Schema(msgspec.Struct):
    name: str = ""
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class _Format(msgspec.Struct):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _Schema | None = None


class _Body(msgspec.Struct):
    messages: list[_System | _Developer | _User | _Assistant | _Tool]
    model: str = ""
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    tools: list[_FunctionTool] | None = None
    tool_choice: Literal["auto", "none", "required"] | _Chosen | None = None
    parallel_tool_calls: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None  # of many servers of this dialect
    stop: str | list[str] | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    response_format: _Format | None = None
    reasoning_effort: str | None = None
    user: str | None = None
    safety_identifier: str | None = None


# What changes the answer so much that it would be missed; and the values that ask for nothing.
REFUSED: Idle = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "audio": (),
    "modalities": (["text"],),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "web_search_options": (),
}
_DATA = re.compile(r"data:([\w.+/-]+);base64,(.*)", re.DOTALL)
CHOICES: dict[str, Literal["auto", "none", "any"]] = {
    "auto": "auto",
    "none": "none",
    "required": "any",
}


def read_request(body: dict[str, Any]) -> ChatRequest:
    """Return what a body asks for.

    Raises:
        ClientError: it is not such a request, or asks for what has no word in `chat`.
    """
    body = modern(body)
    refuse(body, REFUSED)
    wire = shaped(body, _Body)
    limit = wire.max_completion_tokens
    return ChatRequest(
        messages=merged([_read_message(message) for message in wire.messages]),
        stream=bool(wire.stream),
        tools=tuple(_read_tool(tool.function) for tool in wire.tools or ()),
        choice=_read_choice(wire.tool_choice),
        parallel=wire.parallel_tool_calls,
        max_tokens=wire.max_tokens if limit is None else limit,
        temperature=wire.temperature,
        top_p=wire.top_p,
        top_k=wire.top_k,
        stop=(wire.stop,) if isinstance(wire.stop, str) else tuple(wire.stop or ()),
        seed=wire.seed,
        presence_penalty=wire.presence_penalty,
        frequency_penalty=wire.frequency_penalty,
        format=_read_format(wire.response_format),
        effort=wire.reasoning_effort or "",
        user=wire.user or wire.safety_identifier or "",
        dropped=unread(body, _Body, REFUSED) + tuple(sorted(_overlooked(body["messages"]))),
    )


def _overlooked(messages: list[dict[str, Any]]) -> set[str]:
    """Return what stands in messages, was not read, and is not missed."""
    found = set()
    for message in messages:
        if message.get("name"):
            found.add("name")
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            image = part.get("image_url")
            if isinstance(image, dict) and image.get("detail") not in (None, "auto"):
                found.add("detail")
    return found


def merged(messages: list[Message]) -> tuple[Message, ...]:
    """Put the turns of one role together: each tool's result comes as a message of its own."""
    # Not one to the other: a body of 20 MB is half a million turns, each copied once.
    return tuple(
        Message(role, tuple(part for turn in turns for part in turn.parts))
        for role, turns in groupby(messages, attrgetter("role"))
    )


def _read_message(wire: _System | _Developer | _User | _Assistant | _Tool) -> Message:
    match wire:
        case _System() | _Developer():
            return Message("system", _texts(wire.content))
        case _Tool():
            result = ToolResult(wire.tool_call_id, _results(wire.content))
            return Message("user", (result,))
        case _User():
            if isinstance(wire.content, str):
                return Message("user", _texts(wire.content))
            parts = [_read_part(part) for part in wire.content]
            return Message("user", tuple(part for part in parts if part != Text("")))
        case _Assistant():
            return Message("assistant", tuple(_said(wire)))


def _texts(content: str | list[_Text]) -> tuple[Text, ...]:
    texts = [content] if isinstance(content, str) else [part.text for part in content]
    return tuple(Text(text) for text in texts if text)


def _results(content: str | list[_Text]) -> tuple[Text | Image, ...]:
    return _texts(content)


def _read_part(part: _Text | _Image) -> Part:
    if isinstance(part, _Text):
        return Text(part.text)
    return read_image(part.image_url.url, "messages")


def read_image(url: str, param: str) -> Image:
    """Return the picture that a URL is, or leads to.

    Raises:
        ClientError: it is no such URL; names `param`.
    """
    if match := _DATA.fullmatch(url):
        return Image(media=match[1], data=match[2])
    if not url.startswith(("https://", "http://")):
        raise ClientError("an image_url is http, https, or base64 data", param=param)
    return Image(url=url)


def _said(wire: _Assistant) -> list[Part]:
    parts: list[Part] = read_thinking(wire.reasoning_content, wire.reasoning_details)
    content = wire.content or []
    for part in [_Text(content)] if isinstance(content, str) else content:
        if isinstance(part, _Refusal):
            parts.append(Refusal(part.refusal))
        elif part.text:
            parts.append(Text(part.text))
    if wire.refusal:
        parts.append(Refusal(wire.refusal))
    calls = wire.tool_calls or []
    return parts + [ToolUse(call.id, call.function.name, call.function.arguments) for call in calls]


def read_thinking(text: str | None, details: list[dict[str, Any]] | None) -> list[Part]:
    """Return what a message holds of thinking: OpenRouter's details say it exactly."""
    parts: list[Part] = []
    for detail in details or ():
        match detail:
            case {"type": "reasoning.text", "text": str(said)}:
                signature = detail.get("signature")
                parts.append(Thinking(said, signature if isinstance(signature, str) else ""))
            case {"type": "reasoning.encrypted", "data": str(data)}:
                parts.append(Thinking(redacted=data))
    return parts or ([Thinking(text)] if text else [])


def _read_tool(function: _Definition) -> Tool:
    return Tool(function.name, function.description or "", function.parameters, function.strict)


def _read_choice(choice: str | _Chosen | None) -> Choice | None:
    if isinstance(choice, _Chosen):
        return Choice("tool", choice.function.name)
    return None if choice is None else Choice(CHOICES[choice])


def _read_format(wire: _Format | None) -> Format | None:
    if wire is None or wire.type == "text":
        return None
    schema = wire.json_schema if wire.type == "json_schema" else None
    return Format(schema.schema, schema.name, schema.strict) if schema else Format()
