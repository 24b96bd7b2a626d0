"""Why a provider refuses a request: our key, what is asked, or where we are.

401 and 402 are about the key.  Providers use 403 for all three, and for the other two each
has words of its own (tests/test_refusals.py has their bodies).  A body that says neither is
about the key: one that is good and rests for a minute costs less than one that is not and
fails every request.  Google says 400 of a key that it does not know, and of where we are.
"""

import re
from collections.abc import Iterator
from enum import Enum
from typing import Any

import orjson

from gateway.upstream_errors import UpstreamAnswer, UpstreamRefused


class Ground(Enum):
    KEY = "key"  # it is unknown, has no right, or no money
    REQUEST = "request"  # its content, or its model: any key of this account would do no better
    PLACE = "place"  # the provider serves nobody from here


# What codes and types are called, and how messages are worded where codes say nothing.
_REQUEST = re.compile(
    r"content_(policy|filter|moderation)|moderation|flagged|safety|model_(not_found|permission)",
    re.IGNORECASE,
)
_PLACE = re.compile(r"unsupported_(country|region)", re.IGNORECASE)
_UNKNOWN = re.compile(r"API_KEY_INVALID")
_LOCATION = re.compile(r"user location is not supported", re.IGNORECASE)
_CONTENT = re.compile(r"content violates usage guidelines|input was flagged", re.IGNORECASE)


def ground(error: UpstreamAnswer | UpstreamRefused) -> Ground | None:
    """Return why a provider refuses; None: this is not its way of refusing."""
    if error.status in (401, 402):
        return Ground.KEY
    if error.status not in (400, 403):
        return None
    told = _object(error.said) if isinstance(error, UpstreamAnswer) else error.error
    if error.status == 400:
        return _of_a_bad_request(told)
    words = " ".join(str(word) for word in _words(told))
    if _PLACE.search(words):
        return Ground.PLACE
    if _REQUEST.search(words) or _CONTENT.search(str(told.get("message"))):
        return Ground.REQUEST
    return Ground.KEY


def _of_a_bad_request(told: dict[str, Any]) -> Ground | None:
    details = told.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and _UNKNOWN.fullmatch(str(detail.get("reason"))):
            return Ground.KEY
    return Ground.PLACE if _LOCATION.search(str(told.get("message"))) else None


def _words(told: dict[str, Any]) -> Iterator[object]:
    yield told.get("code")
    yield told.get("type")
    metadata = told.get("metadata")  # OpenRouter's; what it is called says as much
    if isinstance(metadata, dict):
        yield metadata.get("error_type")
        yield from metadata


def _object(said: bytes) -> dict[str, Any]:
    """Return the error object in an answer; xAI's answer is one, its message called `error`."""
    try:
        whole = orjson.loads(said)
    except orjson.JSONDecodeError:
        return {}
    if isinstance(whole, list) and whole:
        whole = whole[0]  # Google's errors come in a list where an answer would
    if not isinstance(whole, dict):
        return {}
    inner = whole.get("error")
    if isinstance(inner, str):
        return {**whole, "message": inner}
    return inner if isinstance(inner, dict) else whole
