"""Entries of a chat completion, read one by one: what each adds, and how the answer ended.

For views that show an answer and not the provider's events.  Of several choices it is
the first.
"""

import json
import math
from typing import Any

import orjson

from gateway._sseparse import Entries, depth, entries
from gateway.dialects.openai import MAX_DEPTH


def choice(event: dict[str, Any]) -> dict[str, Any]:
    """Return the first choice of a chunk, {} if it is not in there."""
    choices = event.get("choices")
    for found in choices if isinstance(choices, list) else ():
        if isinstance(found, dict) and found.get("index", 0) == 0:
            return found
    return {}


def summary(log: Entries) -> dict[str, Any]:
    """Return what the end of a log says: why, and the usage if that came then or later."""
    usage = None
    for batch in reversed(log.after(log.base)):
        for _, payload in reversed(entries(batch.data)):
            event = read(payload)
            usage = usage or event.get("usage")
            finish = choice(event).get("finish_reason")
            if finish:
                return {"finish_reason": finish, "usage": usage}
    return {"finish_reason": None, "usage": usage}


# A provider may cut a character between two events, which leaves half of a surrogate pair in
# each.  orjson refuses those, and a page puts them together again: hence the second ways.


def read(payload: bytes) -> dict[str, Any]:
    """Return the object in an entry; {} if it is none, or nested beyond reason."""
    if depth(payload) > MAX_DEPTH:
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


def encode(value: object) -> bytes:
    """Return as JSON what `read` has read, or a part of it."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"JSON has no {text}")
    return number
