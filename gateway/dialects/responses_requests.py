"""Requests of the Responses API, read."""

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
    Tool,
    ToolResult,
    ToolUse,
)
from gateway.client_errors import ClientError
from gateway.dialects.calls import Idle, refuse, shaped, unexpressed, unread
from gateway.dialects.openai_requests import CHOICES, merged, read_image
from gateway.dialects.responses_answers import read_thought


# The wire: only what has a word in `chat`, and what must be looked at.


class _InputText(msgspec.Struct, tag="input_text"):
    text: str


class _OutputText(msgspec.Struct, tag="output_text"):
    text: str


class _Refusal(msgspec.Struct, tag="refusal"):
    refusal: str


class _Image(msgspec.Struct, tag="input_image"):
    image_url: str | None = None
    detail: str | None = None


_Content = str | list[_InputText | _OutputText | _Refusal | _Image]


class _Message(msgspec.Struct, tag="message"):
    role: Literal["system", "developer", "user", "assistant"]
    content: _Content


class _Call(msgspec.Struct, tag="function_call"):
    call_id: str
    name: str
    arguments: str


class _Result(msgspec.Struct, tag="function_call_output"):
    call_id: str
    output: str | list[_InputText | _Image]


class _Reasoning(msgspec.Struct, tag="reasoning"):
    summary: list[dict[str, Any]] = []
    content: list[dict[str, Any]] | None = None
    encrypted_content: str | None = None


_Item = _Message | _Call | _Result | _Reasoning


class _Function(msgspec.Struct, tag="function"):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Chosen(msgspec.Struct, tag="function"):
    name: str


class _Plain(msgspec.Struct, tag="text"):
    pass


class _Object(msgspec.Struct, tag="json_object"):
    pass


class _Schema(msgspec.Struct, tag="json_schema"):
    schema: dict[str, Any]
    name: str = ""
    strict: bool | None = None


class _Words(msgspec.Struct):
    format: _Plain | _Object | _Schema | None = None
    verbosity: str | None = None


class _Effort(msgspec.Struct):
    effort: str | None = None
    summary: str | None = None


class _Body(msgspec.Struct):
    input: list[_Item]
    model: str = ""
    stream: bool | None = None
    instructions: str | None = None
    tools: list[_Function] | None = None
    tool_choice: Literal["auto", "none", "required"] | _Chosen | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    text: _Words | None = None
    reasoning: _Effort | None = None
    user: str | None = None
    safety_identifier: str | None = None


# What changes the answer so much that it would be missed; and the values that ask for nothing.
REFUSED: Idle = {
    "previous_response_id": (),
    "conversation": (),
    "prompt": (),
    "context_management": ([],),
    "top_logprobs": (0,),
    "moderation": (),
    "image": (),
}
# What asks for nothing, or for what is so anyway: proof of thinking is always passed on.
NOTHING: Idle = {
    "background": (False,),
    "include": ([], ["reasoning.encrypted_content"]),
    "metadata": ({},),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "stream_options": ({},),
    "truncation": ("disabled",),
}


def read_request(body: dict[str, Any]) -> ChatRequest:
    """Return what a body asks for.

    Raises:
        ClientError: it is not such a request, or asks for what has no word in `chat`.
    """
    refuse(body, REFUSED)
    _check_tools(body.get("tools"))
    wire = shaped({**body, "input": _items(body.get("input"))}, _Body)
    words, reasoning = wire.text or _Words(), wire.reasoning or _Effort()
    system = [Message("system", (Text(wire.instructions),))] if wire.instructions else []
    return ChatRequest(
        messages=merged([*system, *(_read_item(item) for item in wire.input)]),
        stream=bool(wire.stream),
        tools=tuple(_read_tool(tool) for tool in wire.tools or ()),
        choice=_read_choice(wire.tool_choice),
        parallel=wire.parallel_tool_calls,
        max_tokens=wire.max_output_tokens,
        temperature=wire.temperature,
        top_p=wire.top_p,
        format=_read_format(words.format),
        effort=reasoning.effort or "",
        user=wire.safety_identifier or wire.user or "",
        dropped=unread(body, _Body, {**REFUSED, **NOTHING}) + _overlooked(wire, words, reasoning),
    )


def _items(given: Any) -> Any:
    """Return the input as items that all say what they are; a text is a message of the user."""
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if given is None:
        raise ClientError("you must provide an input", param="input")
    if not isinstance(given, list):
        raise ClientError("input must be a text or an array of items", param="input")
    _check_references(given)
    return [{"type": "message", **item} if isinstance(item, dict) else item for item in given]


def _check_references(given: list[Any]) -> None:
    """Refuse items that only name what was said: an SDK does so by default, unless told not to."""
    for number, item in enumerate(given):
        if isinstance(item, dict) and item.get("type") == "item_reference":
            raise ClientError(
                "an item_reference names what the provider has stored, and this model's upstream"
                " stores nothing: send the item itself, as SDKs do with `store: false`",
                param=f"input[{number}].type",
            )


def _check_tools(tools: Any) -> None:
    """Refuse tools that only the provider itself has, or that take what is no JSON."""
    for tool in tools if isinstance(tools, list) else ():
        kind = tool.get("type") if isinstance(tool, dict) else None
        if isinstance(kind, str) and kind != "function":
            raise unexpressed(f"tools: {kind[:40]}")


def _overlooked(wire: _Body, words: _Words, reasoning: _Effort) -> tuple[str, ...]:
    """Return what was read, has no word, and is not missed."""
    found = []
    if words.verbosity not in (None, "medium"):
        found.append("text.verbosity")
    if reasoning.summary not in (None, "auto"):
        found.append("reasoning.summary")
    contents = [item.content for item in wire.input if isinstance(item, _Message)]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    details = [part.detail for part in parts if isinstance(part, _Image)]
    if any(detail not in (None, "auto") for detail in details):
        found.append("detail")
    return tuple(found)


def _read_item(item: _Item) -> Message:
    match item:
        case _Message():
            return _read_message(item)
        case _Call():
            return Message("assistant", (ToolUse(item.call_id, item.name, item.arguments),))
        case _Result():
            return Message("user", (ToolResult(item.call_id, _results(item.output)),))
        case _Reasoning():
            return Message("assistant", tuple(read_thought(msgspec.to_builtins(item))))


def _read_message(wire: _Message) -> Message:
    role: Literal["system", "user", "assistant"]
    role = "system" if wire.role == "developer" else wire.role
    content = [_InputText(wire.content)] if isinstance(wire.content, str) else wire.content
    parts = [_read_part(part, role) for part in content]
    return Message(role, tuple(part for part in parts if part != Text("")))


def _read_part(part: _InputText | _OutputText | _Refusal | _Image, role: str) -> Part:
    if isinstance(part, _InputText | _OutputText):
        return Text(part.text)
    if (isinstance(part, _Image) and role != "user") or (
        isinstance(part, _Refusal) and role != "assistant"
    ):
        raise ClientError(f"a message of the {role} has no such part", param="input")
    return Refusal(part.refusal) if isinstance(part, _Refusal) else _read_image(part)


def _read_image(part: _Image) -> Image:
    if part.image_url is None:
        raise unexpressed("input: file_id")
    return read_image(part.image_url, "input")


def _results(output: str | list[_InputText | _Image]) -> tuple[Text | Image, ...]:
    if isinstance(output, str):
        return (Text(output),) if output else ()
    return tuple(
        Text(part.text) if isinstance(part, _InputText) else _read_image(part) for part in output
    )


def _read_tool(tool: _Function) -> Tool:
    return Tool(tool.name, tool.description or "", tool.parameters, tool.strict)


def _read_choice(choice: str | _Chosen | None) -> Choice | None:
    if isinstance(choice, _Chosen):
        return Choice("tool", choice.name)
    return None if choice is None else Choice(CHOICES[choice])


def _read_format(wire: _Plain | _Object | _Schema | None) -> Format | None:
    if wire is None or isinstance(wire, _Plain):
        return None
    if isinstance(wire, _Object):
        return Format()
    return Format(wire.schema, wire.name, wire.strict)
