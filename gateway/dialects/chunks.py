"""Entries of a chat completion, read one by one: what each adds, and how the answer ended.

For views that show an answer and not the provider's events.  Of several choices it is
the first.
"""

from typing import Any

from gateway._sseparse import Entries, depth, entries
from gateway.dialects.calls import MAX_DEPTH, loads_event


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


def read(payload: bytes) -> dict[str, Any]:
    """Return the object in an entry; {} if it is none, or nested beyond reason."""
    return (loads_event(payload) or {}) if depth(payload) <= MAX_DEPTH else {}
