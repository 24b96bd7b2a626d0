"""The response that a log of the Responses API tells: its id, how it stands, where to go on.

Events of its life carry the whole response as it is by then: one or a few at the
beginning, and the last.  Every event has a sequence number, by which clients name a place.
"""

from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

from gateway._sseparse import Batch, Entries, depth, entries
from gateway.client_errors import ClientError, CursorGone
from gateway.dialects.calls import MAX_DEPTH, loads_event
from gateway.eventlog import TOO_OLD, EventLog, State


# Entries looked at from either end: created, queued, in progress; the last, and an error.
LIFE = 4
# Nesting of such an event: a response repeats the tools of its request, some levels deeper.
MAX_NESTING = 2 * MAX_DEPTH
STATUS = {
    State.OPEN: "in_progress",
    State.FINISHED: "completed",
    State.CANCELLED: "cancelled",
    State.FAILED: "failed",
    State.INTERRUPTED: "failed",
}


def name_of(log: EventLog) -> str:
    """Return the id of the response, "" while no event has told it."""
    told = [*_opening(log), *(_ending(log) if log.closed else ())]
    ids = [_response(event).get("id") for event in told]
    return next((id for id in ids if isinstance(id, str) and id), "")


def snapshot(log: EventLog) -> dict[str, Any]:
    """Return the response as the log has it, {} if no event has told it.

    One that was stopped is `cancelled`, whatever its last event says; one that broke off
    is `failed`.
    """
    response: dict[str, Any] = {}
    for event in _opening(log):
        response = _response(event) or response
    if not log.closed:
        return response
    last = next(_ending(log), {})
    response = _response(last) or response
    if not response or log.state is State.FINISHED:
        return response
    return response | {"status": STATUS[log.state]} | _error(response, last)


def cursor_after(log: Entries, number: int) -> int:
    """Return the cursor behind the last entry whose sequence number is at most `number`.

    Raises:
        CursorGone: entries after that were trimmed.
        ClientError: no entry has that number yet.
    """
    batches = log.after(log.base)
    at = bisect_right(batches, number, key=_first_number)
    cursor = _within(batches[at - 1], number) if at else log.base
    if log.base and cursor == log.base and (not batches or _first_number(batches[0]) > number + 1):
        raise CursorGone(TOO_OLD)
    if cursor == log.tail and number > _last_number(batches):
        what = "no event has this number yet: leave starting_after out to read from the first"
        raise ClientError(what, param="starting_after")
    return cursor


def _within(batch: Batch, number: int) -> int:
    payloads = [payload for _, payload in entries(batch.data)]
    places = range(len(payloads))
    found = bisect_right(places, number, key=lambda at: _number(payloads[at], batch.first + at))
    return batch.first - 1 + found


def _first_number(batch: Batch) -> int:
    return _number(_front(batch, 1)[0], batch.first)


def _last_number(batches: list[Batch]) -> int:
    if not batches:
        return -1
    last = batches[-1]
    return _number(_back(last.data, 1)[0], last.first + last.count - 1)


def _number(payload: bytes, place: int) -> int:
    """Return an entry's sequence number; an upstream that forgets it counts from 0."""
    number = _read(payload).get("sequence_number")
    return number if type(number) is int else place - 1


def _opening(log: Entries) -> Iterator[dict[str, Any]]:
    """Yield the events at the beginning that tell the response."""
    left = LIFE
    for batch in log.after(log.base) if not log.base else ():
        for payload in _front(batch, left):
            event = _read(payload)
            if not _response(event):
                return
            yield event
            left -= 1
        if not left:
            return


def _ending(log: Entries) -> Iterator[dict[str, Any]]:
    """Yield the last events, latest first, from one that tells the response or an error."""
    left = LIFE
    for batch in reversed(log.after(log.base)):
        for payload in _back(batch.data, left):
            event = _read(payload)
            if _response(event) or event.get("type") == "error":
                yield event
            left -= 1
        if not left:
            return


def _front(batch: Batch, most: int) -> list[bytes]:
    """Return the first entries of a batch; the rest is not read."""
    end = 0
    for _ in range(min(most, batch.count)):
        end = batch.data.index(b"\n\n", end) + 2
    return [payload for _, payload in entries(batch.data[:end])]


def _back(data: bytes, most: int) -> list[bytes]:
    """Return the last entries in canonical bytes, the latest first."""
    start = len(data)
    for _ in range(most):
        # Behind the end of the one before; there is none before the first.
        start = data.rfind(b"\n\n", 0, max(start - 2, 0)) + 2
        if start < 2:
            start = 0
            break
    return [payload for _, payload in reversed(entries(data[start:]))]


def _read(payload: bytes) -> dict[str, Any]:
    """Return the object in an entry, {} if it is none, or nested beyond reason."""
    return (loads_event(payload) or {}) if depth(payload) <= MAX_NESTING else {}


def _response(event: dict[str, Any]) -> dict[str, Any]:
    response = event.get("response")
    return response if isinstance(response, dict) else {}


def _error(response: dict[str, Any], last: dict[str, Any]) -> dict[str, Any]:
    """Return the error that a bare `error` event told, as a response has it."""
    if response.get("error") or last.get("type") != "error":
        return {}
    own = last.get("error")
    told = own if isinstance(own, dict) else last
    return {"error": {"code": told.get("code"), "message": told.get("message")}}
