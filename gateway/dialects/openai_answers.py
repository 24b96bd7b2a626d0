"""Whole answers of the OpenAI dialect."""

from typing import Any

from gateway._sseparse import read_usage, said
from gateway.chat import Answer, Fault, Part, Refusal, Stop, Text, Thinking, ToolUse, Usage
from gateway.dialects.calls import Heading, refused, text
from gateway.dialects.openai_events import write_usage
from gateway.dialects.openai_legacy import call, finish
from gateway.dialects.openai_requests import read_thinking
from gateway.upstream_errors import UpstreamProtocolError


def read_answer(body: dict[str, Any]) -> Answer:
    """Return what an answer says: its first choice.

    Raises:
        UpstreamRefused: it is an error.
        UpstreamProtocolError: it is no answer.
    """
    match body:
        case {"error": error} if error:
            faults = [event for event in said({"error": error}) if isinstance(event, Fault)]
            raise refused(faults[0])
        case {"choices": [{"message": dict(message)} as choice, *_]}:
            usage = body.get("usage")
            return Answer(
                id=text(body, "id"),
                model=text(body, "model"),
                parts=tuple(_parts(message)),
                stop=Stop(0, text(choice, "finish_reason")),
                usage=read_usage(usage) if isinstance(usage, dict) else None,
            )
    raise UpstreamProtocolError("the upstream's answer has no choices")


def _parts(message: dict[str, Any]) -> list[Part]:
    details = message.get("reasoning_details")
    listed = details if isinstance(details, list) else []
    found = [detail for detail in listed if isinstance(detail, dict)]
    thought = text(message, "reasoning_content") or text(message, "reasoning")
    parts = read_thinking(thought, found)
    if content := text(message, "content"):
        parts.append(Text(content))
    if refusal := text(message, "refusal"):
        parts.append(Refusal(refusal))
    calls = message.get("tool_calls")
    for one in calls if isinstance(calls, list) else ():
        match one:
            case {"function": dict(function)}:
                arguments = text(function, "arguments")
                parts.append(ToolUse(text(one, "id"), text(function, "name"), arguments))
    return parts


def write_answer(answer: Answer, heading: Heading) -> dict[str, Any]:
    """Return the body of an answer.

    Raises:
        UpstreamProtocolError: it has several calls, for a client that has room for one.
    """
    usage = answer.usage or Usage(0, 0)
    choice = {
        "index": 0,
        "message": _message(answer.parts, functions=heading.functions),
        "logprobs": None,
        "finish_reason": finish(answer.stop.reason) if heading.functions else answer.stop.reason,
    }
    return {
        "id": answer.id or heading.id,
        "object": "chat.completion",
        "created": heading.created,
        "model": answer.model or heading.model,
        "choices": [choice],
        "usage": write_usage(usage),
    }


def _message(parts: tuple[Part, ...], *, functions: bool) -> dict[str, Any]:
    texts = [part.text for part in parts if isinstance(part, Text)]
    refusals = [part.text for part in parts if isinstance(part, Refusal)]
    thoughts = [part for part in parts if isinstance(part, Thinking)]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(texts) if texts else None,
        "refusal": "".join(refusals) if refusals else None,
    }
    if thoughts:
        message["reasoning_content"] = "".join(thought.text for thought in thoughts)
        message["reasoning_details"] = [_detail(thought) for thought in thoughts]
    calls = [part for part in parts if isinstance(part, ToolUse)]
    if functions:
        return message | call(calls)
    return message | ({"tool_calls": [_call(part) for part in calls]} if calls else {})


def _detail(thought: Thinking) -> dict[str, Any]:
    if thought.redacted:
        return {"type": "reasoning.encrypted", "data": thought.redacted}
    signature = {"signature": thought.signature} if thought.signature else {}
    return {"type": "reasoning.text", "text": thought.text, **signature}


def _call(part: ToolUse) -> dict[str, Any]:
    function = {"name": part.name, "arguments": part.arguments}
    return {"id": part.id, "type": "function", "function": function}
