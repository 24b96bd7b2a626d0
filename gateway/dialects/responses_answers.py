"""Whole answers of the Responses API."""

from typing import Any

from gateway.chat import (
    Answer,
    Delta,
    Event,
    Part,
    Refusal,
    Start,
    Text,
    Thinking,
    ToolCall,
    ToolUse,
    Usage,
)
from gateway.dialects.calls import Heading, refused, text
from gateway.dialects.responses_events import PARAGRAPH, read_fault, read_stop, read_usage
from gateway.dialects.responses_writer import Writer
from gateway.upstream_errors import UpstreamProtocolError


def read_answer(body: dict[str, Any]) -> Answer:
    """Return what an answer says.

    Raises:
        UpstreamRefused: it is an error.
        UpstreamProtocolError: it is no answer, or is not over.
    """
    if body.get("error"):
        raise refused(read_fault(body["error"]))
    status = body.get("status", "completed")
    if status not in ("completed", "incomplete"):
        raise UpstreamProtocolError("the upstream's answer is not a complete response")
    match body:
        case {"output": list(output)}:
            parts = tuple(part for item in output for part in read_output(item))
            usage = body.get("usage")
            calls = any(isinstance(part, ToolUse) for part in parts)
            return Answer(
                id=text(body, "id"),
                model=text(body, "model"),
                parts=parts,
                stop=read_stop(body, calls=calls),
                usage=read_usage(usage) if isinstance(usage, dict) else None,
            )
    raise UpstreamProtocolError("the upstream's answer has no output")


def read_output(item: Any) -> list[Part]:
    """Return what an item says; of a kind that is not known, nothing."""
    match item:
        case {"type": "message", "content": list(content)}:
            return [part for found in content for part in _said(found)]
        case {"type": "function_call", "name": str(name)}:
            arguments = text(item, "arguments") or "{}"
            return [ToolUse(text(item, "call_id"), name, arguments)]
        case {"type": "reasoning"}:
            return read_thought(item)
    return []


def _said(part: Any) -> list[Part]:
    match part:
        case {"type": "output_text", "text": str(said)} if said:
            return [Text(said)]
        case {"type": "refusal", "refusal": str(said)} if said:
            return [Refusal(said)]
    return []


def read_thought(item: dict[str, Any]) -> list[Part]:
    """Return what was thought; with proof and no part of a text, all is hidden."""
    listed = item.get("summary") or item.get("content")
    parts = listed if isinstance(listed, list) else []
    said = PARAGRAPH.join(text(part, "text") for part in parts)
    proof = text(item, "encrypted_content")
    if proof and not parts:
        return [Thinking(redacted=proof)]
    return [Thinking(said, proof)] if said or proof else []


def write_answer(answer: Answer, heading: Heading) -> dict[str, Any]:
    """Return the body of an answer: what the last event of a stream would have.

    Raises:
        UpstreamProtocolError: it is too long, or calls too many tools.
    """
    writer = Writer(heading)
    writer.write(Start(0, "assistant", answer.id, answer.model))
    for number, part in enumerate(answer.parts):
        for event in _events(part, number):
            writer.write(event)
    writer.write(answer.stop)
    writer.write(answer.usage or Usage(0, 0))
    writer.end()
    return writer.response


def _events(part: Part, number: int) -> list[Event]:
    """Return what a stream would say of a part of this number."""
    match part:
        case Text():
            return [Delta(0, content=part.text)]
        case Refusal():
            return [Delta(0, refusal=part.text)]
        case Thinking() if part.redacted:
            return [Delta(0, redacted=part.redacted)]
        case Thinking():
            said: list[Event] = [Delta(0, reasoning=part.text)] if part.text else []
            return [*said, *([Delta(0, signature=part.signature)] if part.signature else [])]
        case ToolUse():
            return [ToolCall(0, number, part.id, part.name, part.arguments)]
    raise UpstreamProtocolError("the upstream's answer has a part that no answer has")
