"""Whole answers of the Gemini dialect."""

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from gateway.chat import Answer, Delta, Part, Stop, Text, Thinking, ToolCall, ToolUse, Usage
from gateway.dialects.calls import refused, text
from gateway.dialects.gemini_events import Reader, read_fault
from gateway.upstream_errors import UpstreamProtocolError


def read_answer(body: dict[str, Any]) -> Answer:
    """Return what an answer says: it is the one event of a stream.

    Raises:
        UpstreamRefused: it is an error.
        UpstreamProtocolError: it is no answer.
    """
    if body.get("error"):
        raise refused(read_fault(body["error"]))
    said: list[Delta | ToolCall] = []
    stop, usage = None, None
    for event in Reader().read(body):
        match event:
            case Stop():
                stop = event
            case Usage():
                usage = event
            case Delta() | ToolCall():
                said.append(event)
    if stop is None and not body.get("candidates"):
        raise UpstreamProtocolError("the upstream's answer has no candidates")
    id, model = text(body, "responseId"), text(body, "modelVersion")
    stop = stop or Stop(0, "")
    return Answer(id=id, model=model, parts=tuple(_parts(said)), stop=stop, usage=usage)


def _parts(said: list[Delta | ToolCall]) -> Iterable[Part]:
    """Yield the parts of an answer; what is of one kind and comes in a row is one part."""
    for kind, run in groupby(said, _kind):
        pieces = list(run)
        if kind is Text:
            yield Text("".join([piece.content for piece in pieces if isinstance(piece, Delta)]))
        elif kind is Thinking:
            yield from _thoughts([piece for piece in pieces if isinstance(piece, Delta)])
        else:
            calls = [piece for piece in pieces if isinstance(piece, ToolCall)]
            yield from [ToolUse(call.id, call.name, call.arguments) for call in calls]


def _kind(event: Delta | ToolCall) -> type[Part]:
    if isinstance(event, ToolCall):
        return ToolUse
    return Text if event.content else Thinking


def _thoughts(pieces: list[Delta]) -> Iterable[Thinking]:
    """Yield the thoughts in a row: a proof is the last of its thought."""
    told: list[str] = []
    for piece in pieces:
        told.append(piece.reasoning)
        if piece.signature:
            yield Thinking("".join(told), piece.signature)
            told.clear()
    if told:
        yield Thinking("".join(told))
