"""Streams of the OpenAI dialect: chunks with the deltas of a choice.

`_sseparse.said` reads them.  The writer says of each event what there is to say, at once:
a chunk needs no other.  Only the usage waits, for it may be told more than once.
"""

from typing import Any

from gateway.chat import Delta, Event, Fault, Start, Stop, ToolCall, Usage
from gateway.dialects import openai_legacy
from gateway.dialects.calls import Heading, encode


class Writer:
    """Says events as chunks of one choice."""

    def __init__(self, heading: Heading) -> None:
        self._heading = heading
        self._usage: Usage | None = None
        self._begun = False
        self._thoughts = 0  # blocks of thinking that are complete
        self._left = self._right = b""  # of a chunk, round its delta
        self._name(heading.id, heading.model)

    def write(self, event: Event) -> list[bytes]:
        """Return the blocks that say an event.

        Raises:
            UpstreamProtocolError: a second call, for a client that has room for one.
        """
        if type(event) is Delta and event.content and self._begun:  # nearly all there are
            return [b'%b{"content":%b}%b' % (self._left, encode(event.content), self._right)]
        match event:
            case Delta():
                return self._chunk(self._delta(event))
            case ToolCall():
                return self._chunk(self._fragment(event))
            case Start():
                return self._start(event)
            case Stop():
                return self._chunk({}, self._reason(event))
            case Usage():
                self._usage = event
                return []
            case Fault():
                return [b"data: %b\n\n" % encode({"error": error_object(event)})]

    def end(self) -> list[bytes]:
        """Return the usage, if it was asked for."""
        if self._usage is None or not self._heading.wants_usage:
            return []
        chunk = {**self._head, "choices": [], "usage": write_usage(self._usage)}
        return [b"data: %b\n\n" % encode(chunk)]

    def _start(self, event: Start) -> list[bytes]:
        if self._begun:
            return []
        self._name(event.id or self._heading.id, event.model or self._heading.model)
        return self._begin()

    def _begin(self) -> list[bytes]:
        self._begun = True
        return self._chunk({"role": "assistant", "content": ""})

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> list[bytes]:
        before = [] if self._begun else self._begin()
        if finish is None:
            return [*before, self._left + encode(delta) + self._right]
        right = self._right.replace(b"null}]", encode(finish) + b"}]")
        return [*before, self._left + encode(delta) + right]

    def _delta(self, event: Delta) -> dict[str, Any]:
        """Return a delta; thinking also in OpenRouter's shape, for OpenAI has none with proof.

        Fragments of one block have one index, by which SDKs put them together again.
        """
        if text := event.content or event.refusal:
            return {"content" if event.content else "refusal": text}
        detail: dict[str, Any] = {"type": "reasoning.text", "index": self._thoughts}
        if event.reasoning:
            detail["text"] = event.reasoning
            return {"reasoning_content": event.reasoning, "reasoning_details": [detail]}
        self._thoughts += 1
        if event.signature:
            return {"reasoning_details": [{**detail, "signature": event.signature}]}
        hidden = {"type": "reasoning.encrypted", "data": event.redacted}
        return {"reasoning_details": [{**detail, **hidden}]}

    def _fragment(self, event: ToolCall) -> dict[str, Any]:
        if self._heading.functions:
            return openai_legacy.fragment(event)
        return {"tool_calls": [_fragment(event)]}

    def _reason(self, event: Stop) -> str:
        if self._heading.functions:
            return openai_legacy.finish(event.reason)
        return event.reason

    def _name(self, id: str, model: str) -> None:
        head = {"id": id, "object": "chat.completion.chunk", "created": self._heading.created}
        self._head = {**head, "model": model}
        self._left = b'data: %b,"choices":[{"index":0,"delta":' % encode(self._head)[:-1]
        usage = b',"usage":null' if self._heading.wants_usage else b""
        self._right = b',"logprobs":null,"finish_reason":null}]%b}\n\n' % usage


def _fragment(event: ToolCall) -> dict[str, Any]:
    fragment: dict[str, Any] = {"index": event.index}
    function = {"name": event.name} if event.name else {}
    if event.id:
        fragment |= {"id": event.id, "type": "function"}
    return {**fragment, "function": {**function, "arguments": event.arguments}}


def error_object(event: Fault) -> dict[str, Any]:
    """Return what was reported as an error object."""
    kind, code = event.type or "server_error", event.code or None
    return {"message": event.message, "type": kind, "param": None, "code": code}


def write_usage(usage: Usage) -> dict[str, Any]:
    """Return the usage object."""
    prompt = {"cached_tokens": usage.cached}
    if usage.written:
        prompt["cache_write_tokens"] = usage.written
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
