"""The JSON and the server-sent events of OpenAI's Responses API.

A stream opens a response, then its items one after the other, each with its parts and their
deltas, and ends with an event that has the whole response.  All are numbered.
"""

import base64
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import orjson

from . import words
from .exchange import Exchange
from .options import Options
from .tools import called, must_call


MODEL = "mock-1"
_FRAGMENT = 6  # characters of tool arguments per event: cuts words, escapes and numbers
# What tells of the parts of an item, by the type of a part.
_PARTS = {
    "output_text": ("response.content_part", "response.output_text", "content_index", "text"),
    "refusal": ("response.content_part", "response.refusal", "content_index", "refusal"),
    "summary_text": (
        "response.reasoning_summary_part",
        "response.reasoning_summary_text",
        "summary_index",
        "text",
    ),
}
# How the last event of a stream begins.
LAST = (b"event: response.completed", b"event: response.incomplete")


class ResponsesAnswer:
    """The answer to one request, as a stream or as a document; use one of the two."""

    def __init__(self, exchange: Exchange, options: Options, number: int) -> None:
        self.exchange = exchange
        self.body: dict[str, Any] = exchange.json
        self.options = options
        self.number = number  # of this answer, for its ids
        self.created = int(time.time())
        self.told = 0  # events
        limit = self.body.get("max_output_tokens")
        self.limit = limit if isinstance(limit, int) else None
        self.calls = options.tools or (1 if must_call(self.body) else 0)
        cut = self.limit is not None and words.count(options) > self.limit and not self.calls
        self.status = "incomplete" if cut else "completed"

    def blocks(self) -> Iterator[bytes]:
        """Yield the events of the stream, each as a whole block of SSE."""
        yield self._event("response.created", response=self._response("in_progress", []))
        yield self._event("response.in_progress", response=self._response("in_progress", []))
        output: list[dict[str, Any]] = []
        for index, (item, pieces) in enumerate(self._items()):
            opened = {**item, "status": "in_progress"}
            yield self._event("response.output_item.added", output_index=index, item=opened)
            where = {"item_id": item["id"], "output_index": index}
            yield from self._grown(item, pieces, where)
            output.append(self._closed(item))
            yield self._event("response.output_item.done", output_index=index, item=output[-1])
        whole = self._response(self.status, output)
        yield self._event(f"response.{self.status}", response=whole)

    def document(self) -> bytes:
        """Return the whole answer as JSON."""
        output = []
        for item, pieces in self._items():
            for _ in self._grown(item, pieces, {}):
                pass
            output.append(self._closed(item))
        return orjson.dumps(self._response(self.status, output))

    def _items(self) -> Iterator[tuple[dict[str, Any], Iterator[str]]]:
        """Yield each item of the answer as it is opened, and the pieces it grows by."""
        if self.options.reasoning:
            item = {"id": self._id("rs"), "type": "reasoning", "summary": []}
            yield item, words.reasoning(self.options)
        for i in range(self.calls):
            yield self._call(i), _cut(words.arguments(i, self.options))
        if not self.calls:
            item = {"id": self._id("msg"), "type": "message", "role": "assistant", "content": []}
            yield item, islice(words.tokens(self.options), self.limit)

    def _call(self, i: int) -> dict[str, Any]:
        return {
            "id": f"{self._id('fc')}_{i}",
            "type": "function_call",
            "call_id": f"call_{self.number:08d}_{i}",
            "name": _tool_name(self.body, i),
            "arguments": "",
        }

    def _grown(
        self, item: dict[str, Any], pieces: Iterator[str], where: dict[str, Any]
    ) -> Iterator[bytes]:
        """Yield the events by which an item grows, and let it have what they say."""
        if item["type"] == "function_call":
            yield from self._arguments(item, pieces, where)
            return
        kind = {"message": "output_text", "reasoning": "summary_text"}[item["type"]]
        if item["type"] == "message" and self.options.refusal:
            kind = "refusal"
        framing, telling, index, member = _PARTS[kind]
        part: dict[str, Any] = {"type": kind, member: ""}
        extra: dict[str, Any] = {}
        if kind == "output_text":
            part, extra = {**part, "annotations": [], "logprobs": []}, {"logprobs": []}
        where = {**where, index: 0}
        yield self._event(framing + ".added", **where, part=part)
        said = ""
        for piece in pieces:
            said += piece
            yield self._event(telling + ".delta", **where, delta=piece, **extra)
            # Whoever plays this asks for the next block when it has written the last.
            self.exchange.tokens += 1
        part = {**part, member: said}
        yield self._event(telling + ".done", **where, **{member: said}, **extra)
        yield self._event(framing + ".done", **where, part=part)
        item["summary" if kind == "summary_text" else "content"] = [part]

    def _arguments(
        self, item: dict[str, Any], pieces: Iterator[str], where: dict[str, Any]
    ) -> Iterator[bytes]:
        for piece in pieces:
            item["arguments"] += piece
            yield self._event("response.function_call_arguments.delta", **where, delta=piece)
            self.exchange.tokens += 1
        whole = {"arguments": item["arguments"], "name": item["name"]}
        yield self._event("response.function_call_arguments.done", **where, **whole)

    def _closed(self, item: dict[str, Any]) -> dict[str, Any]:
        if item["type"] == "reasoning":
            # Others need not be able to read it, and must not change it.
            secret = base64.b64encode(b"mock thoughts %d\xff\xfe" % self.number).decode()
            return {**item, "encrypted_content": secret}
        return {**item, "status": self.status}

    def _event(self, kind: str, **members: object) -> bytes:
        event = {"type": kind, "sequence_number": self.told, **members}
        self.told += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(event))

    def _id(self, kind: str) -> str:
        return f"{kind}_mock{self.number:08d}"

    def _response(self, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        over = status != "in_progress"
        cut = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {
            "id": self._id("resp"),
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": None,
            "incomplete_details": cut,
            "instructions": self.body.get("instructions"),
            "max_output_tokens": self.limit,
            "metadata": self.body.get("metadata") or {},
            "model": self.body.get("model", MODEL),
            "output": output,
            "parallel_tool_calls": True,
            "previous_response_id": self.body.get("previous_response_id"),
            "reasoning": {"effort": None, "summary": None},
            "store": self.body.get("store", True),
            "temperature": 1.0,
            "text": self.body.get("text") or {"format": {"type": "text"}},
            "tool_choice": self.body.get("tool_choice", "auto"),
            "tools": self.body.get("tools") or [],
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": self._usage() if over else None,
        }

    def _usage(self) -> dict[str, object]:
        # Of the prompt alone: a gateway may add members to the request, but not change this.
        prompt = len(str(self.body.get("input") or "").split())
        return {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": self.exchange.tokens,
            "output_tokens_details": {"reasoning_tokens": self.options.reasoning},
            "total_tokens": prompt + self.exchange.tokens,
        }


def error_event(message: str, number: int) -> bytes:
    """Return the event that reports an error in a stream, as its event of this number."""
    event = {"type": "error", "sequence_number": number, "code": "server_error"}
    said = orjson.dumps({**event, "message": message, "param": None})
    return b"event: error\ndata: %b\n\n" % said


def _cut(whole: str) -> Iterator[str]:
    return (whole[start : start + _FRAGMENT] for start in range(0, len(whole), _FRAGMENT))


def _tool_name(body: dict[str, Any], i: int) -> str:
    tool = called(body, i)
    return str(tool.get("name", "mock_tool")) if isinstance(tool, dict) else "mock_tool"
