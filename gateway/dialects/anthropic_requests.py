"""Requests of the Anthropic dialect, read and written."""

from typing import Any, Literal

import msgspec
import orjson

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
from gateway.dialects.calls import Idle, Written, arguments, refuse, shaped, unexpressed, unread


# Tokens of an answer whose client sets no bound, which this dialect requires: what the
# smallest of the provider's models may write.
MAX_TOKENS = 32_000
# The hottest that this dialect knows; OpenAI's goes to 2.
MAX_TEMPERATURE = 1.0
# What this dialect has no word for and an answer is as good without.
HINTS = ("seed", "presence_penalty", "frequency_penalty")


# The wire: only what has a word in `chat`, and what must be looked at.


class _Text(msgspec.Struct, tag="text"):
    text: str
    cache_control: dict[str, Any] | None = None


class _Base64(msgspec.Struct, tag="base64"):
    media_type: str
    data: str


class _Url(msgspec.Struct, tag="url"):
    url: str


class _Image(msgspec.Struct, tag="image"):
    source: _Base64 | _Url
    cache_control: dict[str, Any] | None = None


class _Thinking(msgspec.Struct, tag="thinking"):
    thinking: str
    signature: str = ""


class _Redacted(msgspec.Struct, tag="redacted_thinking"):
    data: str


class _ToolUse(msgspec.Struct, tag="tool_use"):
    id: str
    name: str
    input: dict[str, Any]
    cache_control: dict[str, Any] | None = None


class _ToolResult(msgspec.Struct, tag="tool_result"):
    tool_use_id: str
    content: str | list[_Text | _Image] | None = None
    is_error: bool | None = None
    cache_control: dict[str, Any] | None = None


_Block = _Text | _Image | _Thinking | _Redacted | _ToolUse | _ToolResult


class _Message(msgspec.Struct):
    role: Literal["system", "user", "assistant"]
    content: str | list[_Block]


class _Tool(msgspec.Struct):
    name: str
    input_schema: dict[str, Any]
    description: str | None = None
    type: Literal["custom"] | None = None
    strict: bool | None = None
    cache_control: dict[str, Any] | None = None


class _Choice(msgspec.Struct):
    type: Literal["auto", "any", "tool", "none"]
    name: str = ""
    disable_parallel_tool_use: bool | None = None


class _ThinkingConfig(msgspec.Struct):
    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: int | None = None


class _Format(msgspec.Struct):
    schema: dict[str, Any]
    type: Literal["json_schema"] = "json_schema"


class _Output(msgspec.Struct):
    effort: str | None = None
    format: _Format | None = None


class _Metadata(msgspec.Struct):
    user_id: str | None = None


class _Body(msgspec.Struct):
    messages: list[_Message]
    model: str = ""
    stream: bool | None = None
    system: str | list[_Block] | None = None
    tools: list[_Tool] | None = None
    tool_choice: _Choice | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    thinking: _ThinkingConfig | None = None
    output_config: _Output | None = None
    metadata: _Metadata | None = None


# What an answer would be missed without: of servers and machines of the provider's own.
_EMPTY: tuple[object, ...] = (False, "", [], {})
REFUSED: Idle = dict.fromkeys(("mcp_servers", "container", "context_management"), _EMPTY)


def read_request(body: dict[str, Any]) -> ChatRequest:
    """Return what a body asks for.

    Raises:
        ClientError: it is not such a request, or asks for what has no word in `chat`.
    """
    refuse(body, REFUSED)
    wire = shaped(body, _Body)
    output, thinking = wire.output_config or _Output(), wire.thinking
    choice = wire.tool_choice
    alone = choice.disable_parallel_tool_use if choice else None
    system = [_Message("system", wire.system)] if wire.system else []
    return ChatRequest(
        messages=tuple(_read_message(message) for message in [*system, *wire.messages]),
        stream=bool(wire.stream),
        tools=tuple(_read_tool(tool) for tool in wire.tools or ()),
        choice=Choice(choice.type, choice.name) if choice else None,
        parallel=None if alone is None else not alone,
        max_tokens=wire.max_tokens,
        temperature=wire.temperature,
        top_p=wire.top_p,
        top_k=wire.top_k,
        stop=tuple(wire.stop_sequences or ()),
        format=Format(output.format.schema) if output.format else None,
        effort=output.effort or "",
        budget=thinking.budget_tokens if thinking and thinking.type == "enabled" else None,
        user=(wire.metadata.user_id or "") if wire.metadata else "",
        dropped=unread(body, _Body, REFUSED) + _cached(wire),
    )


def _cached(wire: _Body) -> tuple[str, ...]:
    """Tell whether something is marked for a cache that other dialects have no word for."""
    contents = [message.content for message in wire.messages] + [wire.system]
    blocks = [block for blocks in contents if isinstance(blocks, list) for block in blocks]
    marked = any(getattr(block, "cache_control", None) for block in [*blocks, *(wire.tools or ())])
    return ("cache_control",) if marked else ()


def _read_message(wire: _Message) -> Message:
    if isinstance(wire.content, str):
        return Message(wire.role, (Text(wire.content),) if wire.content else ())
    return Message(wire.role, tuple(_read_block(block, wire.role) for block in wire.content))


def _read_block(block: _Block, role: str) -> Part:
    if role != _ROLES.get(type(block), role):
        raise ClientError(f"a message of the {role} has no such block", param="messages")
    match block:
        case _Text():
            return Text(block.text)
        case _Image():
            return _read_image(block)
        case _Thinking():
            return Thinking(block.thinking, block.signature)
        case _Redacted():
            return Thinking(redacted=block.data)
        case _ToolUse():
            return ToolUse(block.id, block.name, orjson.dumps(block.input).decode())
        case _ToolResult():
            return _read_tool_result(block)


# Blocks that only one role has.
_ROLES: dict[type, str] = {
    _Image: "user",
    _ToolResult: "user",
    _Thinking: "assistant",
    _Redacted: "assistant",
    _ToolUse: "assistant",
}


def _read_tool_result(block: _ToolResult) -> ToolResult:
    content = block.content or []
    parts = [_Text(content)] if isinstance(content, str) else content
    read = tuple(_read_result(part) for part in parts)
    return ToolResult(block.tool_use_id, read, bool(block.is_error))


def _read_result(block: _Text | _Image) -> Text | Image:
    return Text(block.text) if isinstance(block, _Text) else _read_image(block)


def _read_image(block: _Image) -> Image:
    source = block.source
    if isinstance(source, _Url):
        return Image(url=source.url)
    return Image(media=source.media_type, data=source.data)


def _read_tool(tool: _Tool) -> Tool:
    return Tool(tool.name, tool.description or "", tool.input_schema, tool.strict)


# Written.


def write_request(request: ChatRequest, model: str) -> Written:
    """Return the body that asks for it, and what is not in it.

    Raises:
        ClientError: it asks for what this dialect has no word for.
    """
    if request.format is not None and request.format.schema is None:
        raise unexpressed("response_format: json_object, without a schema,", "anthropic")
    dropped = [name for name in HINTS if getattr(request, name)]
    system, messages = _write_messages(request)
    body: dict[str, Any] = {"model": model, "messages": messages}
    body["max_tokens"] = MAX_TOKENS if request.max_tokens is None else request.max_tokens
    told = {
        "system": system,
        "stream": request.stream or None,
        "tools": [_write_tool(tool) for tool in request.tools] or None,
        "tool_choice": _write_choice(request),
        "temperature": _write_temperature(request.temperature, dropped),
        "top_p": request.top_p,
        "top_k": request.top_k,
        "stop_sequences": list(request.stop) or None,
        "metadata": {"user_id": request.user} if request.user else None,
        "thinking": _write_thinking(request),
        "output_config": _write_output(request) or None,
    }
    body |= {name: value for name, value in told.items() if value is not None}
    return Written(body, tuple(dropped))


def _write_messages(request: ChatRequest) -> tuple[object, list[dict[str, Any]]]:
    """Return the system prompt, which stands apart here, and the turns."""
    first, rest = None, request.messages
    if rest and rest[0].role == "system":
        blocks = [_write_part(part) for part in rest[0].parts]
        first, rest = (blocks[0]["text"] if len(blocks) == 1 else blocks or None), rest[1:]
    written = [_write_message(message) for message in rest]
    return first, [message for message in written if message["content"]]


def _write_message(message: Message) -> dict[str, Any]:
    blocks = [_write_part(part) for part in message.parts if not _unsigned(part)]
    if len(blocks) == 1 and blocks[0]["type"] == "text":
        return {"role": message.role, "content": blocks[0]["text"]}
    return {"role": message.role, "content": blocks}


def _unsigned(part: Part) -> bool:
    """Tell whether a part is thinking of another provider, which this one would refuse."""
    return isinstance(part, Thinking) and not part.signature and not part.redacted


def _write_part(part: Part) -> dict[str, Any]:
    match part:
        case Text() | Refusal():
            return {"type": "text", "text": part.text}
        case Image():
            return {"type": "image", "source": _write_source(part)}
        case Thinking() if part.redacted:
            return {"type": "redacted_thinking", "data": part.redacted}
        case Thinking():
            return {"type": "thinking", "thinking": part.text, "signature": part.signature}
        case ToolUse():
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": arguments(part)}
        case ToolResult():
            written = {"type": "tool_result", "tool_use_id": part.id}
            content = [_write_part(inner) for inner in part.parts]
            return {**written, "content": content, **({"is_error": True} if part.failed else {})}


def _write_source(image: Image) -> dict[str, Any]:
    if image.url:
        return {"type": "url", "url": image.url}
    return {"type": "base64", "media_type": image.media, "data": image.data}


def _write_tool(tool: Tool) -> dict[str, Any]:
    # A schema without a type is what OpenAI takes for a function without parameters.
    written: dict[str, Any] = {"name": tool.name, "input_schema": tool.schema or {"type": "object"}}
    if tool.description:
        written["description"] = tool.description
    if tool.strict is not None:
        written["strict"] = tool.strict
    return written


def _write_choice(request: ChatRequest) -> dict[str, Any] | None:
    choice = request.choice
    if choice is None and (request.parallel is not False or not request.tools):
        return None
    written: dict[str, Any] = {"type": choice.mode if choice else "auto"}
    if choice and choice.mode == "tool":
        written["name"] = choice.name
    if request.parallel is not None and written["type"] != "none":
        written["disable_parallel_tool_use"] = not request.parallel
    return written


def _write_temperature(temperature: float | None, dropped: list[str]) -> float | None:
    if temperature is None or temperature <= MAX_TEMPERATURE:
        return temperature
    dropped.append("temperature")
    return MAX_TEMPERATURE


# Efforts that this dialect has no word for.
EFFORTS = {"minimal": "low", "none": ""}


def _write_thinking(request: ChatRequest) -> dict[str, Any] | None:
    if request.budget is not None:
        return {"type": "enabled", "budget_tokens": request.budget}
    if not request.effort:
        return None
    return {"type": "disabled" if request.effort == "none" else "adaptive"}


def _write_output(request: ChatRequest) -> dict[str, Any]:
    output: dict[str, Any] = {}
    effort = EFFORTS.get(request.effort, request.effort)
    if effort:
        output["effort"] = effort
    if request.format is not None:
        output["format"] = {"type": "json_schema", "schema": request.format.schema}
    return output
