"""A chat completion for a browser's EventSource: text and deltas, in blocks a page can use."""

import json
import math
from collections.abc import Callable
from typing import Any

import orjson

from gateway._sseparse import Batch, depth, entries
from gateway.desk import Desk
from gateway.dialects import openai
from gateway.eventlog import EventLog, State
from gateway.hub import Live
from gateway.reply import Reply
from gateway.views.eventsource import RETRY, TYPE
from gateway.views.view import SSE_FIELDS, STREAMS, StreamView, block, location


class ChatEventsView(StreamView):
    """`start`, `chunk` for what the answer grows by, `done` at its end, `error` where it breaks.

    Blocks are made of the log's entries and of nothing else: a reader that comes back amid
    gets what one that stayed gets.  Of several choices it is the first.

    `start` comes at once, with an id: a page that is cut before the first token would
    otherwise come back without one, and be a second request.  The blocks of the end have an
    id of their own, so that who was cut just before them comes back for them.
    """

    transport = "chat_events"

    __slots__ = ()

    def __init__(
        self,
        live: Live,
        reply: Reply,
        desk: Desk,
        *,
        cursor: int = 0,
        subject: str = "",
        left: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(
            live, reply, desk, cursor=cursor, subject=subject, left=left, style=None
        )
    def attach(self) -> None:
        """Begin to follow the log; the head and the first block go out at once."""
        log = self._live.log
        start = block(log.cursor(self.cursor), b"start", _dumps({"stream": STREAMS + log.id}))
        self._start().write(b":\n" + RETRY + start)
        super().attach()

    def _fields(self) -> bytes:
        return TYPE + SSE_FIELDS + location(self._live.log)

    def _framed(self, batches: list[Batch]) -> bytes:
        log = self._live.log
        return b"".join([
            _block(log.cursor(number), payload)
            for batch in batches
            for number, (_, payload) in enumerate(entries(batch.data), batch.first)
        ])  # fmt: skip

    def _ending(self) -> bytes:
        log = self._live.log
        if not has_ending(log):
            return b""
        done = block(log.end(), b"done", _dumps(_summary(log)))
        return done + b"id: " + log.end().encode() + b"\n" + openai.DONE


def has_ending(log: EventLog) -> bool:
    """Tell whether a closed log has blocks at its end besides its entries."""
    return log.state is State.FINISHED or log.state is State.CANCELLED


def _block(id: str, payload: bytes) -> bytes:
    """Return what the page is told of an entry: nothing, if it neither adds text nor fails."""
    event = _loads(payload)
    error, choice = event.get("error"), _choice(event)
    if error:
        # Not `error`: a page would take it for the loss of its connection (facts §4).
        return block(id, b"failed", _dumps({"error": error}))
    delta = choice.get("delta")
    if not isinstance(delta, dict):
        return b""
    content = delta.get("content")
    text = content if isinstance(content, str) else ""
    return block(id, b"chunk", _dumps({"content": text, "delta": delta}))


def _choice(event: dict[str, Any]) -> dict[str, Any]:
    """Return the first choice of a chunk, {} if it is not in there."""
    choices = event.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and choice.get("index", 0) == 0:
            return choice
    return {}


def _summary(log: EventLog) -> dict[str, Any]:
    """Return what the end of a log says: why, and the usage if that came then or later."""
    usage = None
    for batch in reversed(log.after(log.base)):
        for _, payload in reversed(entries(batch.data)):
            event = _loads(payload)
            usage = usage or event.get("usage")
            finish = _choice(event).get("finish_reason")
            if finish:
                return {"finish_reason": finish, "usage": usage}
    return {"finish_reason": None, "usage": usage}


# A provider may cut a character between two events, which leaves half of a surrogate pair in
# each.  orjson refuses those, and a page puts them together again: hence the second ways.


def _loads(payload: bytes) -> dict[str, Any]:
    """Return the object in an entry; {} if it is none, or nested beyond reason."""
    if depth(payload) > openai.MAX_DEPTH:
        return {}
    try:
        event = orjson.loads(payload)
    except orjson.JSONDecodeError:
        try:
            text = payload.decode("utf-8", "replace")
            event = json.loads(text, parse_float=_finite, parse_constant=_finite)
        except ValueError:
            return {}
    return event if isinstance(event, dict) else {}


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"JSON has no {text}")
    return number


def _dumps(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()
