"""What the OpenAI dialect had before tools: functions, of which a model calls one at a time.

A request with them is put into today's words before it is read.  A call had no id then; it
gets one of its place.  Whoever asked so is answered so.
"""

from collections.abc import Iterator
from typing import Any

from gateway.chat import ToolCall, ToolUse
from gateway.client_errors import ClientError
from gateway.upstream_errors import UpstreamProtocolError


FINISH = "function_call"


def modern(body: dict[str, Any]) -> dict[str, Any]:
    """Return a body with functions as one with tools; any other as it is.

    Raises:
        ClientError: it has both, or answers to calls that were never made.
    """
    messages = body.get("messages")
    if isinstance(messages, list):
        body = {**body, "messages": list(_messages(messages))}
    functions = body.get("functions")
    if not functions:
        return body
    if not isinstance(functions, list):
        raise ClientError("functions must be an array", param="functions")
    if body.get("tools"):
        raise ClientError("functions are what tools were; send one of both", param="functions")
    rest = {name: value for name, value in body.items() if name not in ("functions", FINISH)}
    tools = [{"type": "function", "function": function} for function in functions]
    choice = body.get(FINISH)
    if isinstance(choice, dict):
        choice = {"type": "function", "function": choice}
    return {**rest, "tools": tools, "tool_choice": choice, "parallel_tool_calls": False}


def _messages(messages: list[Any]) -> Iterator[Any]:
    ids: dict[str, str] = {}  # by the name of a function, of its call that has no answer yet
    for place, message in enumerate(messages):
        match message:
            case {"role": "assistant", "function_call": {"name": str(name)} as function}:
                ids[name] = f"call_{place}"
                call = {"id": ids[name], "type": "function", "function": function}
                yield {**message, "tool_calls": [call]}
            case {"role": "function", "name": str(name)}:
                if name not in ids:
                    what = f"messages[{place}]: no call of this function stands before it"
                    raise ClientError(what, param="messages")
                content = message.get("content") or ""
                yield {"role": "tool", "tool_call_id": ids.pop(name), "content": content}
            case _:
                yield message


def fragment(event: ToolCall) -> dict[str, Any]:
    """Return the delta for a fragment of a call.

    Raises:
        UpstreamProtocolError: it is a second call.
    """
    if event.index:
        raise _several()
    name = {"name": event.name} if event.name else {}
    return {FINISH: {**name, "arguments": event.arguments}}


def call(calls: list[ToolUse]) -> dict[str, Any]:
    """Return the member of a message that has the call, if there is one.

    Raises:
        UpstreamProtocolError: there is a second one.
    """
    if len(calls) > 1:
        raise _several()
    return {FINISH: {"name": calls[0].name, "arguments": calls[0].arguments}} if calls else {}


def finish(reason: str) -> str:
    """Return why an answer ended."""
    return FINISH if reason == "tool_calls" else reason


def _several() -> UpstreamProtocolError:
    what = "the upstream calls several tools at once; a request with functions has room for one"
    return UpstreamProtocolError(what)
