"""What a request to a channel says, in the words of Durable Streams.

`read_terms` reads a PUT, `read_post` a POST, `read_wish` a GET.  Values are taken as
PROTOCOL.md §5 spells them and in no other way: a number with a plus sign is a client's
mistake, and one that is told here is not searched for later.
"""

import calendar
import re
from urllib.parse import parse_qsl

import msgspec

from gateway._sseparse import Head
from gateway.client_errors import ClientError, NotImplementedHere


JSON = b"application/json"
# What a PUT without a content type gets (§5.1).
BYTES = b"application/octet-stream"

# A media type with what parameters it may have (RFC 9110 §8.3.1).
MEDIA = re.compile(rb"[!#$%&'*+.^_`|~\w-]+/[!#$%&'*+.^_`|~\w-]+[ \t]*(?:;[\t -~]*)?", re.ASCII)
WHOLE = re.compile(rb"0|[1-9][0-9]{0,15}")
# What JavaScript counts exactly (§5.2.1).
MAX_WHOLE = 2**53 - 1
INSTANT = re.compile(  # RFC 3339 §5.6
    rb"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]{1,9})?"
    rb"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)

# Bytes of a value that is kept as long as its channel: names and types are short.
MAX_KEPT = 256

LIVE_MODES = ("long-poll", "sse", "websocket")


class Terms(msgspec.Struct, frozen=True):
    """What a PUT says a channel is; whoever repeats it must say the same."""

    media: bytes = BYTES
    ttl: int | None = None  # seconds without a read or a write, then it is gone
    expires: float | None = None  # wall time at which it is gone
    expires_text: bytes = b""  # the same, as it was written
    closed: bool = False  # it takes nothing after its first bytes

    @property
    def kind(self) -> bytes:
        """The media type without parameters: those say how to show it, not what it is."""
        return kind(self.media)


class Claim(msgspec.Struct, frozen=True):
    """The number that an idempotent producer gives a request, so that it may be repeated."""

    id: bytes
    epoch: int
    seq: int


class Post(msgspec.Struct, frozen=True):
    """What a POST wants appended."""

    body: bytes
    media: bytes = JSON
    order: bytes = b""  # Stream-Seq: rises from one append to the next
    closes: bool = False  # nothing may follow it
    claim: Claim | None = None


class Wish(msgspec.Struct, frozen=True):
    """What a GET asks for; "" is what it does not say."""

    offset: str = ""
    live: str = ""  # one of LIVE_MODES
    cursor: str = ""  # Stream-Cursor of the answer before
    last_event_id: str = ""  # what an EventSource saw last, if its page must say it


def read_terms(head: Head) -> Terms:
    """Return the terms of a PUT.

    Raises:
        ClientError: a value is not as the protocol has it; names the field.
        NotImplementedHere: it wants a fork.
    """
    if head.get(b"stream-forked-from") or head.get(b"stream-fork-sub-offset"):
        raise NotImplementedHere("logs cannot be forked here")
    ttl, expires = head.get(b"stream-ttl"), head.get(b"stream-expires-at")
    if ttl and expires:
        raise _wrong("Stream-TTL", "and Stream-Expires-At exclude each other")
    return Terms(
        media=_media(head) or BYTES,
        ttl=_whole(ttl, "Stream-TTL") if ttl else None,
        expires=_instant(expires) if expires else None,
        expires_text=expires,
        closed=_says_closed(head),
    )


def read_post(head: Head, body: bytes) -> Post:
    """Return what a POST wants.

    Raises:
        ClientError: a value is not as the protocol has it; names the field.
    """
    order = head.get(b"stream-seq")
    if len(order) > MAX_KEPT:
        raise _wrong("Stream-Seq", f"is longer than {MAX_KEPT} bytes")
    # Of a body that is not there the type says nothing: libraries add one of their own.
    media = _media(head) if body else b""
    return Post(body, media, order, _says_closed(head), _claim(head))


def read_wish(query: str) -> Wish:
    """Return what a GET with this query asks for; other parameters are for others.

    Raises:
        ClientError: a parameter is empty, stands twice, is unknown, or is missing.
    """
    said: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in Wish.__struct_fields__:
            continue
        if name in said or not value:
            raise _wrong(name, "is empty or stands twice")
        said[name] = value
    wish = Wish(**said)
    if wish.live and wish.live not in LIVE_MODES:
        raise _wrong("live", f"is one of {', '.join(LIVE_MODES)}")
    if wish.live and not wish.offset:
        raise _wrong("offset", "is missing, without which there is no live reading")
    return wish


def kind(media: bytes) -> bytes:
    """Return a media type in lower case and without its parameters."""
    return media.partition(b";")[0].strip().lower()


def _says_closed(head: Head) -> bool:
    # Any other value counts as none (§4.1).
    return head.get(b"stream-closed").lower() == b"true"


def _media(head: Head) -> bytes:
    media = head.get(b"content-type")
    if media and (len(media) > MAX_KEPT or not MEDIA.fullmatch(media)):
        raise _wrong("Content-Type", "is not a media type such as application/json")
    return media


def _claim(head: Head) -> Claim | None:
    id, *numbers = map(head.get, (b"producer-id", b"producer-epoch", b"producer-seq"))
    if not id and not any(numbers):
        return None
    if not (id and all(numbers)):
        raise _wrong("Producer-Id", "comes together with Producer-Epoch and Producer-Seq")
    if len(id) > MAX_KEPT:
        raise _wrong("Producer-Id", f"is longer than {MAX_KEPT} bytes")
    epoch, seq = numbers
    return Claim(id, _whole(epoch, "Producer-Epoch"), _whole(seq, "Producer-Seq"))


def _whole(value: bytes, name: str) -> int:
    if not WHOLE.fullmatch(value) or int(value) > MAX_WHOLE:
        raise _wrong(name, "is not a whole number in plain digits, of at most 2^53 - 1")
    return int(value)


def _instant(value: bytes) -> float:
    """Return an RFC 3339 time as wall time."""
    match = INSTANT.fullmatch(value)
    if match is None:
        raise _wrong("Stream-Expires-At", "is not a time such as 2030-01-31T12:00:00Z")
    year, month, day, hour, minute, second = map(int, match.group(1, 2, 3, 4, 5, 6))
    ahead_h, ahead_m = int(match[9] or 0), int(match[10] or 0)
    if not (
        year
        and 1 <= month <= 12
        and 1 <= day <= calendar.monthrange(year, month)[1]
        and max(hour, ahead_h) <= 23
        and max(minute, ahead_m) <= 59
        and second <= 60  # a leap second
    ):
        raise _wrong("Stream-Expires-At", "is a time that no calendar has")
    ahead = (ahead_h * 60 + ahead_m) * (-60 if match[8] == b"-" else 60)
    utc = calendar.timegm((year, month, day, hour, minute, second))
    return utc + float(match[7] or 0) - ahead


def _wrong(name: str, what: str) -> ClientError:
    return ClientError(f"{name} {what}", param=name)
