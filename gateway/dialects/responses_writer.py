"""Streams of the Responses API, written.

    created  in_progress  (an item's events)*  completed | incomplete | failed

What is spoken, or thought, is one item at a time.  Calls of tools stay open to the end, side by
side, for their fragments may come in turns.  Numbers are without a gap; an item keeps its place.
"""

from typing import Any

import msgspec

from gateway.chat import Delta, Event, Fault, Start, Stop, ToolCall, Usage
from gateway.dialects.calls import Heading, check_calls
from gateway.dialects.responses_items import Item, Told, block, empty, response, write_usage
from gateway.upstream_errors import UpstreamProtocolError


# Characters of an answer, which its last event repeats: as many as a log has bytes.
MAX_SAID = 8 * 1024 * 1024
# What an item, or a part of one, takes besides its text, in characters.
ITEM_COST = 1024

# Why a response is incomplete, by the words of `chat`; none: it is not.
INCOMPLETE = {"stop": "", "tool_calls": "", "function_call": "", "length": "max_output_tokens"}


class Writer:
    """Says events as a response."""

    def __init__(self, heading: Heading) -> None:
        self.response: dict[str, Any] = {}  # as it was told last
        self._heading = heading
        self._number = 0  # of the next event
        self._size = 0  # characters said
        self._items: list[Item] = []
        self._spoken: Item | None = None  # the message, or the reasoning, that is open
        self._calls: dict[int, Item] = {}
        self._stop = Stop(0, "stop")
        self._usage: Usage | None = None

    def write(self, event: Event) -> list[bytes]:
        """Return the blocks that say an event.

        Raises:
            UpstreamProtocolError: the answer is too long to be repeated at its end, or
                calls too many tools.
        """
        match event:
            case Delta():
                return self._begin() + self._delta(event)
            case ToolCall():
                return self._begin() + self._call(event)
            case Start():
                return self._begin(event.id, event.model)
            case Stop():
                self._stop = event
            case Usage():
                self._usage = event
            case Fault():
                return self._begin() + self._fail(event)
        return []

    def end(self) -> list[bytes]:
        """Return what closes the response."""
        reason = INCOMPLETE.get(self._stop.reason, self._stop.reason)
        status = "incomplete" if reason else "completed"
        blocks = self._begin() + self._close(status)
        for item in self._calls.values():
            blocks += self._say(*item.close(status))
        details = {"reason": reason} if reason else None
        usage = write_usage(self._usage or Usage(0, 0))
        return blocks + self._tell(status, status, incomplete_details=details, usage=usage)

    def _begin(self, id: str = "", model: str = "") -> list[bytes]:
        if self._number:
            return []
        id = id if id.startswith("resp_") else self._heading.id
        model = model or self._heading.model
        self._heading = msgspec.structs.replace(self._heading, id=id, model=model)
        status = "in_progress"
        return self._tell("created", status) + self._tell("in_progress", status)

    def _delta(self, event: Delta) -> list[bytes]:
        if event.signature or event.redacted:
            return self._prove(event)
        if event.content:
            return self._speak("message", "output_text", event.content)
        if event.refusal:
            return self._speak("message", "refusal", event.refusal)
        return self._speak("reasoning", "summary_text", event.reasoning)

    def _speak(self, type: str, part: str, text: str) -> list[bytes]:
        """Say a piece of text in the item and the part that are due."""
        blocks: list[bytes] = []
        item = self._spoken
        if item is None or item.item["type"] != type:
            blocks = self._close("completed")
            item, opened = self._open(type)
            self._spoken = item
            blocks += opened
        if item.open != part:
            self._measure(ITEM_COST)
            blocks += self._say(*item.end(), item.begin(empty(part)))
        blocks.append(self._grow(item, text))
        return blocks

    def _prove(self, event: Delta) -> list[bytes]:
        """Say the proof of what was thought, which ends it, or what cannot be read of it.

        By an item that has a text, were it an empty one, the first is known from the second.
        """
        blocks = []
        item = self._spoken
        if item is None or item.item["type"] != "reasoning" or event.redacted:
            blocks = self._close("completed")
            item, opened = self._open("reasoning")
            self._spoken = item
            blocks += opened
            blocks += self._say(item.begin(empty("summary_text"))) if event.signature else []
        item.item["encrypted_content"] = event.signature or event.redacted
        self._measure(len(event.signature or event.redacted))
        return blocks + self._close("completed")

    def _call(self, event: ToolCall) -> list[bytes]:
        blocks: list[bytes] = []
        item = self._calls.get(event.index)
        if item is None:
            check_calls(len(self._calls))
            blocks = self._close("completed")
            id = event.id or f"call_{self._heading.id}_{event.index}"
            item, opened = self._open("function_call", call_id=id, name=event.name, arguments="")
            self._calls[event.index] = item
            blocks += opened
        if event.arguments:
            blocks.append(self._grow(item, event.arguments))
        return blocks

    def _open(self, type: str, **members: Any) -> tuple[Item, list[bytes]]:
        self._measure(ITEM_COST)
        index = len(self._items)
        item = Item(index, {"id": self._id(type, index), "type": type, **_new(type), **members})
        self._items.append(item)
        return item, self._say(item.added())

    def _id(self, type: str, index: int) -> str:
        return f"{_PREFIXES[type]}_{self._heading.id.removeprefix('resp_')}_{index}"

    def _close(self, status: str) -> list[bytes]:
        item, self._spoken = self._spoken, None
        return self._say(*item.close(status)) if item else []

    def _fail(self, event: Fault) -> list[bytes]:
        code = event.code or event.type or "server_error"
        error = {"code": code, "message": event.message, "type": event.type or None}
        return self._tell("failed", "failed", error=error)

    def _tell(self, kind: str, status: str, **members: Any) -> list[bytes]:
        output = [item.item for item in self._items if item.closed]
        self.response = response(self._heading, status, output, **members)
        return self._say((f"response.{kind}", {"response": self.response}))

    def _say(self, *events: Told) -> list[bytes]:
        first = self._number
        self._number += len(events)
        return [block(event, first + at) for at, event in enumerate(events)]

    def _grow(self, item: Item, piece: str) -> bytes:
        self._measure(len(piece))
        self._number += 1
        return item.grow(piece, self._number - 1)

    def _measure(self, size: int) -> None:
        self._size += size
        if self._size > MAX_SAID:
            raise UpstreamProtocolError("the upstream's answer is too long to be repeated")


_PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc"}


def _new(type: str) -> dict[str, Any]:
    if type == "message":
        return {"role": "assistant", "content": []}
    return {"summary": []} if type == "reasoning" else {}
