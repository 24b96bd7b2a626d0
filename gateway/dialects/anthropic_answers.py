"""Whole answers of the Anthropic dialect."""

from typing import Any

from gateway.chat import Answer, Part, Refusal, Text, Thinking, ToolUse, Usage
from gateway.client_errors import ClientError
from gateway.dialects.anthropic_events import (
    read_fault,
    read_stop,
    read_usage,
    write_stop,
    write_usage,
)
from gateway.dialects.calls import Heading, arguments, encode, refused, text
from gateway.upstream_errors import UpstreamProtocolError


def read_answer(body: dict[str, Any]) -> Answer:
    """Return what an answer says.

    Raises:
        UpstreamRefused: it is an error.
        UpstreamProtocolError: it is no answer.
    """
    match body:
        case {"type": "error"}:
            raise refused(read_fault(body.get("error")))
        case {"content": list(content)}:
            usage = body.get("usage")
            return Answer(
                id=text(body, "id"),
                model=text(body, "model"),
                parts=tuple(part for block in content for part in _parts(block)),
                stop=read_stop(0, body),
                usage=read_usage(usage) if isinstance(usage, dict) else None,
            )
    raise UpstreamProtocolError("the upstream's answer has no content")


def _parts(block: Any) -> list[Part]:
    """Return what a block says; of a kind that is not known, nothing."""
    match block:
        case {"type": "text", "text": str(said)}:
            return [Text(said)]
        case {"type": "thinking", "thinking": str(said)}:
            return [Thinking(said, text(block, "signature"))]
        case {"type": "redacted_thinking", "data": str(data)}:
            return [Thinking(redacted=data)]
        case {"type": "tool_use", "id": str(id), "name": str(name)}:
            return [ToolUse(id, name, encode(block.get("input") or {}).decode())]
    return []


def write_answer(answer: Answer, heading: Heading) -> dict[str, Any]:
    """Return the body of an answer.

    Raises:
        UpstreamProtocolError: the arguments of a call are no JSON object.
    """
    refused = any(isinstance(part, Refusal) for part in answer.parts)
    return {
        "id": answer.id or heading.id,
        "type": "message",
        "role": "assistant",
        "model": answer.model or heading.model,
        "content": [_block(part) for part in _told(answer.parts)],
        **write_stop(answer.stop, refused=refused),
        "usage": write_usage(answer.usage or Usage(0, 0)),
    }


def _told(parts: tuple[Part, ...]) -> list[Part]:
    """Return parts without a proof of a text behind it: clients take the last block for the text.

    A proof stands before its call.
    """
    calls = [place for place, part in enumerate(parts) if isinstance(part, ToolUse)]
    last = calls[-1] if calls else -1
    return [part for place, part in enumerate(parts) if place < last or not _is_proof(part)]


def _is_proof(part: Part) -> bool:
    return isinstance(part, Thinking) and not part.text and not part.redacted


def _block(part: Part) -> dict[str, Any]:
    match part:
        case Thinking() if part.redacted:
            return {"type": "redacted_thinking", "data": part.redacted}
        case Thinking():
            return {"type": "thinking", "thinking": part.text, "signature": part.signature}
        case ToolUse():
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": _input(part)}
        case Text() | Refusal():
            return {"type": "text", "text": part.text}
    raise UpstreamProtocolError("the upstream's answer has a part that no answer has")


def _input(call: ToolUse) -> dict[str, Any]:
    try:
        return arguments(call)
    except ClientError:
        message = "the arguments of a tool call of the upstream are not a JSON object"
        raise UpstreamProtocolError(message) from None
