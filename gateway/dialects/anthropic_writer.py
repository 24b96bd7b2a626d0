"""Streams of the Anthropic dialect, written: a message of blocks, one open at a time.

    message_start  (block_start  block_delta*  block_stop)*  message_delta  message_stop

A call of a tool is held back while another is open whose arguments are not complete: some
providers send parallel calls in turns.  The reason of the end waits for the usage, for both
stand in one event.  A proof without a thought waits for the call that it is of: behind a text it
would be the last block, which clients take for the text.
"""

import re
from typing import Any

from gateway.chat import Delta, Event, Fault, Start, Stop, ToolCall, Usage
from gateway.dialects.anthropic_events import write_stop, write_usage
from gateway.dialects.calls import Heading, check_calls, encode
from gateway.upstream_errors import UpstreamProtocolError


# Characters that wait for their block: as many as one event may have.
MAX_HELD = 1024 * 1024
# What a piece takes besides its text, in characters: of an empty one, too, there may be many.
PIECE_COST = 16

# Of which block an event is: the number of its tool call, or one of these.
Key = int | str
TEXT, THINKING, REDACTED = "text", "thinking", "redacted_thinking"

# Every kind of an error object that the SDK knows, by the status it comes with.
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}

_GROWN = (
    b"event: content_block_delta\n"
    b'data: {"type":"content_block_delta","index":%d,"delta":{"type":'
)
_MARKS = re.compile(r'\\.?|["{}\[\]]', re.DOTALL)


def block(kind: str, **members: Any) -> bytes:
    """Return one event of this type."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), encode({"type": kind, **members}))


def message_start(id: str, model: str) -> bytes:
    """Return the event that opens a message; its usage is told at the end."""
    message: dict[str, Any] = {
        "id": id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": write_usage(Usage(0, 0)),
    }
    return block("message_start", message=message)


def error_block(message: str, kind: str) -> bytes:
    """Return the event that ends a broken stream."""
    kind = kind if kind in ERROR_TYPES.values() else "api_error"
    return block("error", error={"type": kind, "message": message})


class Extent:
    """Tells when a JSON object that comes in fragments is complete."""

    __slots__ = ("_escaped", "_level", "_quoted", "complete")

    def __init__(self) -> None:
        self.complete = False
        self._level = 0
        self._quoted = False
        self._escaped = False  # the last character was a backslash

    def feed(self, text: str) -> None:
        """Take the next fragment."""
        marks = _MARKS.findall(text, 1 if self._escaped and text else 0)
        for mark in marks:
            if mark == '"':
                self._quoted = not self._quoted
            elif not self._quoted and mark[0] != "\\":
                self._level += 1 if mark in "{[" else -1
                self.complete = self._level <= 0
        if text:
            self._escaped = self._quoted and marks[-1:] == ["\\"]


class Writer:
    """Says events as a message."""

    def __init__(self, heading: Heading) -> None:
        self._heading = heading
        self._begun = False
        self._index = -1  # of the latest block
        self._open: Key | None = None
        self._left = b""  # of an event that the open block grows by, up to its delta
        self._extent = Extent()  # of the open call's arguments
        self._closed: set[Key] = set()  # calls
        self._held: dict[Key, list[Delta | ToolCall]] = {}  # in the order they came in
        self._size = 0  # characters in there
        self._proof = ""  # that waits for its call
        self._refused = False
        self._stop: Stop | None = None
        self._usage = Usage(0, 0)

    def write(self, event: Event) -> list[bytes]:
        """Return the blocks that say an event.

        Raises:
            UpstreamProtocolError: a tool call goes on after its arguments were complete, or
                more waits for its block than is kept, or there are too many.
        """
        if self._open == TEXT and not self._held and type(event) is Delta and event.content:
            return [self._grown(b"text_delta", b"text", event.content)]  # nearly all there are
        match event:
            case Delta() | ToolCall():
                return self._begin() + self._piece(_key(event), event)
            case Start():
                return self._begin(event.id, event.model)
            case Stop():
                self._stop = event
            case Usage():
                self._usage = event
            case Fault():
                return [error_block(event.message, event.type)]
        return []

    def end(self) -> list[bytes]:
        """Return what closes the message."""
        blocks = self._begin()
        while self._held:
            blocks += self._next()
        delta = write_stop(self._stop or Stop(0, "stop"), refused=self._refused)
        usage = write_usage(self._usage)
        blocks += self._close()
        return [*blocks, block("message_delta", delta=delta, usage=usage), block("message_stop")]

    def _begin(self, id: str = "", model: str = "") -> list[bytes]:
        if self._begun:
            return []
        self._begun = True
        return [message_start(id or self._heading.id, model or self._heading.model)]

    # Which block is open, and who waits.

    def _piece(self, key: Key, event: Delta | ToolCall) -> list[bytes]:
        if key != self._open and (self._held or not self._free()):
            self._hold(key, event)
            return []
        blocks = self._say(key, event)
        while self._held and self._free():
            blocks += self._next()
        return blocks

    def _free(self) -> bool:
        """Tell whether the open block may be closed."""
        return not isinstance(self._open, int) or self._extent.complete

    def _hold(self, key: Key, event: Delta | ToolCall) -> None:
        self._size += PIECE_COST + sum(map(len, _texts(event)))
        if self._size > MAX_HELD:
            raise UpstreamProtocolError("the upstream's tool calls are too long to be put in order")
        self._held.setdefault(key, []).append(event)

    def _next(self) -> list[bytes]:
        """Say what waits for the next block."""
        key = next(iter(self._held))
        events = self._held.pop(key)
        return [block for event in events for block in self._say(key, event)]

    def _say(self, key: Key, event: Delta | ToolCall) -> list[bytes]:
        if isinstance(event, ToolCall):
            return self._call(key, event)
        if event.redacted:
            data = {"type": REDACTED, "data": event.redacted}
            return [*self._close(), self._opening(REDACTED, data), *self._close()]
        if event.signature and key != self._open:
            blocks, self._proof = self._prove(), event.signature
            return blocks
        blocks = [] if key == self._open else [*self._close(), self._opening(key, _empty(key))]
        blocks.append(self._delta(event))
        # A signature is the last of its block.
        return [*blocks, *self._close()] if event.signature else blocks

    def _prove(self) -> list[bytes]:
        """Say the proof that waits as a block of its own."""
        if not self._proof:
            return []
        proof, self._proof = self._proof, ""
        opening = [*self._close(), self._opening(THINKING, _empty(THINKING))]
        return [*opening, self._grown(b"signature_delta", b"signature", proof), *self._close()]

    # What is said of a block.

    def _delta(self, event: Delta) -> bytes:
        if event.signature:
            return self._grown(b"signature_delta", b"signature", event.signature)
        if event.reasoning:
            return self._grown(b"thinking_delta", b"thinking", event.reasoning)
        self._refused = self._refused or bool(event.refusal)
        return self._grown(b"text_delta", b"text", event.content or event.refusal)

    def _call(self, key: Key, event: ToolCall) -> list[bytes]:
        blocks = []
        if key in self._closed:
            if event.arguments.strip():
                raise UpstreamProtocolError("a tool call of the upstream went on after its end")
            return []
        if key != self._open:
            blocks = [*self._close(), *self._prove()]
            id = event.id or f"call_{self._heading.id}_{key}"
            data = {"type": "tool_use", "id": id, "name": event.name, "input": {}}
            blocks.append(self._opening(key, data))
            self._extent = Extent()
        if event.arguments:
            self._extent.feed(event.arguments)
            blocks.append(self._grown(b"input_json_delta", b"partial_json", event.arguments))
        return blocks

    def _opening(self, key: Key, data: dict[str, Any]) -> bytes:
        self._open = key
        self._index += 1
        self._left = _GROWN % self._index
        return block("content_block_start", index=self._index, content_block=data)

    def _grown(self, kind: bytes, name: bytes, text: str) -> bytes:
        return b'%b"%b","%b":%b}}\n\n' % (self._left, kind, name, encode(text))

    def _close(self) -> list[bytes]:
        if self._open is None:
            return []
        if isinstance(self._open, int):
            self._closed.add(self._open)
            check_calls(len(self._closed))
        self._open = None
        return [block("content_block_stop", index=self._index)]


def _key(event: Delta | ToolCall) -> Key:
    if isinstance(event, ToolCall):
        return event.index
    if event.redacted:
        return REDACTED
    return THINKING if event.reasoning or event.signature else TEXT


def _texts(event: Delta | ToolCall) -> tuple[str, ...]:
    if isinstance(event, ToolCall):
        return event.id, event.name, event.arguments
    return event.content, event.reasoning, event.refusal, event.signature, event.redacted


def _empty(key: Key) -> dict[str, Any]:
    if key == TEXT:
        return {"type": "text", "text": ""}
    return {"type": "thinking", "thinking": "", "signature": ""}
