"""A log that people write: Durable Streams, the part of it that needs no socket.

A POST is appended whole or not at all.  In JSON mode an array is so many entries, each
kept as the SSE event it is delivered in; of any other media type, one POST is one entry
and is kept as it came.  Times are of a clock that is never set; `wall` is for a channel that
has a date on which it ends.
"""

import math
import re
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import orjson

from gateway._sseparse import Batch, depth
from gateway.client_errors import ClientError, Conflict, LogClosed, RequestTooLarge
from gateway.durable import JSON, Claim, Post, Terms, kind
from gateway.eventlog import EventLog, State
from gateway.producers import Producers


# Nesting of an entry's JSON; chat messages with tool calls reach 20 (design §8).
MAX_DEPTH = 64
# Entries of one POST: more would hold up every stream of the process for over 30 ms.
MAX_ENTRIES = 10_000
# Subscribers that one entry names, and characters of a name: they are kept beside it.
MAX_TO = 100
MAX_NAME = 256
# Bytes of memory for each POST and each entry that is for somebody, besides what they say:
# the objects that keep it apart.  Ten thousand of the smallest are 90 KB, and take 3 MB.
ENTRY_COST = 320

# A `type` that may stand in an event line: no byte in it means anything to SSE.
TYPE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
# `control` is how a view says what is no entry; the others are EventSource's own events,
# and `error` from a publisher would look like a lost connection.
RESERVED_TYPES = frozenset(("control", "error", "open"))

RAWS = msgspec.json.Decoder(list[msgspec.Raw])


class Retention(msgspec.Struct, frozen=True):
    """What a channel keeps; the first of the three to be reached decides.

    What one POST brought is forgotten together: of `entries` there may be more for as long
    as the last of it counts, of `bytes` never.
    """

    entries: int = 10_000
    bytes: int = 8 * 1024 * 1024  # what a generation's log may hold, too (design §8)
    age: float = math.inf  # seconds


KEEP = Retention()


class Receipt(msgspec.Struct, frozen=True):
    """How a request to a channel ended well: its status, and the fields that tell it."""

    status: int
    cursor: str  # the log's end
    closed: bool = False
    claim: Claim | None = None  # with the highest number accepted from this producer

    @property
    def fields(self) -> bytes:
        """The field lines of the answer."""
        lines = b"stream-next-offset: %b\r\n" % self.cursor.encode()
        if self.closed:
            lines += b"stream-closed: true\r\n"
        if self.claim is not None:
            said = (self.claim.epoch, self.claim.seq)
            lines += b"producer-epoch: %d\r\nproducer-seq: %d\r\n" % said
        return lines


class _Entry(NamedTuple):
    block: bytes
    to: bytes | None  # who may see it: NUL, and each name with one behind it; None: everybody


class _Mark(NamedTuple):
    """When a POST came, for its forgetting: a reader that has all but that one misses none."""

    last: int
    size: int
    at: float


class Channel(EventLog):
    """A log by its terms: what people append to it, who sees it, and how long.

    Raises:
        ClientError: `body`, the first bytes, cannot be appended.
    """

    __slots__ = (
        "_closed_by", "_forgotten", "_marks", "_names", "_order", "_producers", "_retention",
        "_to", "_touched", "json", "maker", "media", "shared", "terms", "welcome",
    )  # fmt: skip

    def __init__(
        self,
        id: str,
        epoch: str,
        terms: Terms,
        *,
        now: float,
        body: bytes = b"",
        retention: Retention = KEEP,
        subject: str = "",
        maker: str = "",
        welcome: bool = False,
    ) -> None:
        super().__init__(id, epoch, subject=subject)
        self.terms = terms
        self.media = terms.media.decode()  # as whoever made the channel wrote it
        self.json = terms.kind == JSON
        self.shared = subject == ""
        self.maker = maker  # the subject that may delete it
        self.welcome = welcome
        self._retention = retention
        self._touched = now
        self._order = b""  # the highest Stream-Seq
        self._producers = Producers()
        self._closed_by: Claim | None = None
        self._marks: deque[_Mark] = deque()  # of what is held
        self._to: dict[int, bytes] = {}  # by the number of an entry
        self._names = 0  # bytes of these
        self._forgotten = 0  # number of the last entry that they say nothing of any more
        self._add(self._read(body), now)
        if terms.closed:
            self._end(None)

    def confirm(self, terms: Terms, subject: str = "") -> None:
        """Take note that somebody wants this channel to exist, for this subject or for all.

        Raises:
            Conflict: it exists, on other terms, or for others.
        """
        mine, theirs = (
            (t.kind, t.ttl, t.expires, closed)
            for t, closed in ((self.terms, self.closed), (terms, terms.closed))
        )
        if mine != theirs:
            raise Conflict("the log exists with another content type, lifetime or closure")
        if self.subject != subject:
            readers = "all callers" if self.shared else "its maker only"
            raise Conflict(f"the log exists, for {readers}", param="headgate-shared")

    def publish(self, post: Post, now: float) -> Receipt:
        """Append what was posted, once, and close if it says so.

        Raises:
            ClientError: it is malformed; LogClosed, SequenceGap, StaleEpoch or Conflict: it
                does not fit to what was appended; RequestTooLarge: it would not be kept.
        """
        if not post.body and not post.closes:
            raise ClientError("the body is empty, which only a POST with Stream-Closed may be")
        receipt = self._after_end(post, now) if self.closed else self._before_end(post, now)
        self.touch(now)
        return receipt

    def visible(self, cursor: int, subject: str) -> list[Batch]:
        """Return the batches after `cursor` without the entries that are for others."""
        batches = self.after(cursor)
        if not self._to:
            return batches
        # What is for somebody is a batch of its own.
        seen = (self._to.get(batch.first) for batch in batches)
        name = b"\0%b\0" % subject.encode()
        return [b for b, to in zip(batches, seen, strict=True) if to is None or name in to]

    @property
    def cost(self) -> int:
        """Bytes of memory it takes, about."""
        return self.held + self._names + ENTRY_COST * (len(self._to) + len(self._marks))

    def touch(self, now: float) -> None:
        """Begin the time to live anew: somebody reads."""
        self._touched = now

    def expired(self, now: float, wall: float) -> bool:
        """Tell whether its time is over, by either clock: nobody may find it any more."""
        idle = self.terms.ttl is not None and now - self._touched >= self.terms.ttl
        return idle or (self.terms.expires is not None and wall >= self.terms.expires)

    def tidy(self, now: float) -> None:
        """Forget what is not to be kept any longer."""
        self._unmark()  # the hub trims, too, when all logs together are too large
        keep, held, gone = self._retention, self.held, self.base
        for last, size, at in self._marks:
            beyond = held > keep.bytes or self.tail - last >= keep.entries
            if not beyond and now - at < keep.age:
                break
            held, gone = held - size, last
        self.trim(gone)
        self._unmark()

    def _unmark(self) -> None:
        """Forget about what was trimmed."""
        while self._marks and self._marks[0].last <= self.base:
            self._marks.popleft()
        for number in range(self._forgotten + 1, self.base + 1) if self._to else ():
            self._names -= len(self._to.pop(number, b""))
        self._forgotten = self.base

    def _after_end(self, post: Post, now: float) -> Receipt:
        """Answer what comes after the end: well, if it is what ended the log, sent again."""
        if post.claim is None and not post.body:
            return self.receipt(204)
        if post.claim is not None:
            if post.claim == self._closed_by:
                return self.receipt(204, post.claim, post.claim.seq)
            self._producers.fence(post.claim, now)
        raise LogClosed(self.cursor(self.tail))

    def _before_end(self, post: Post, now: float) -> Receipt:
        """Append what was not appended before."""
        if post.body:
            self._check_media(post.media)
        if post.claim is not None:
            accepted = self._producers.judge(post.claim, now)
            if accepted is not None:
                return self.receipt(204, post.claim, accepted)
        if post.body and post.order and post.order <= self._order:
            raise Conflict("Stream-Seq does not rise")
        entries = self._read(post.body)
        if post.body and not entries:
            raise ClientError("an empty array holds nothing to append")
        return self._take(post, entries, now)

    def _check_media(self, media: bytes) -> None:
        if not media:
            raise ClientError("Content-Type is missing", param="Content-Type")
        if kind(media) != self.terms.kind:
            raise Conflict(f"the log takes {self.terms.kind.decode()} only", param="Content-Type")

    def _take(self, post: Post, entries: list[_Entry], now: float) -> Receipt:
        """Append what was judged; nothing here can fail."""
        self._add(entries, now)
        if entries:
            self._order = post.order or self._order
        if post.closes:
            self._end(post.claim)
        if post.claim is None:
            return self.receipt(204)
        self._producers.accept(post.claim, now)
        return self.receipt(200 if entries else 204, post.claim, post.claim.seq)

    def receipt(self, status: int, claim: Claim | None = None, seq: int = 0) -> Receipt:
        """Return how the channel stands, as the answer to a request."""
        claim = None if claim is None else Claim(claim.id, claim.epoch, seq)
        return Receipt(status, self.cursor(self.tail), self.closed, claim)

    def _end(self, claim: Claim | None) -> None:
        self._closed_by = claim
        self.close(State.FINISHED, "closed")

    def _read(self, body: bytes) -> list[_Entry]:
        """Return the entries of a body."""
        if not body:
            return []
        entries = _json_entries(body) if self.json else [_Entry(body, None)]
        if sum(len(entry.block) for entry in entries) > self._retention.bytes:
            raise RequestTooLarge(f"the log keeps {self._retention.bytes} bytes at most")
        return entries

    def _add(self, entries: list[_Entry], now: float) -> None:
        held = self.held
        for data, count, to in _runs(entries):
            batch = Batch(data, self.tail + 1, count)
            if to is not None:
                self._to[batch.first] = to
                self._names += len(to)
            self.append(batch)
        if entries:
            self._marks.append(_Mark(self.tail, self.held - held, now))
        self.tidy(now)


def _runs(entries: list[_Entry]) -> Iterator[tuple[bytes, int, bytes | None]]:
    """Yield what becomes a batch: neighbours for everybody, or one entry for somebody."""
    run: list[bytes] = []
    for entry in entries:
        if entry.to is None:
            run.append(entry.block)
            continue
        if run:
            yield b"".join(run), len(run), None
            run = []
        yield entry.block, 1, entry.to
    if run:
        yield b"".join(run), len(run), None


# JSON mode.


def _json_entries(body: bytes) -> list[_Entry]:
    """Return the elements of an array, or the one value.

    Raises:
        ClientError: not JSON, too deep, or `to` is not what it should be.
        RequestTooLarge: too many of them.
    """
    if depth(body) > MAX_DEPTH:
        raise ClientError(f"the body nests deeper than {MAX_DEPTH} levels")
    try:
        # Two readers: one is strict about text and numbers, the other keeps bytes as they are.
        value = orjson.loads(body)
        if not isinstance(value, list):
            return [_entry(value, body.strip())]
        if len(value) > MAX_ENTRIES:
            raise RequestTooLarge(f"the body has more than {MAX_ENTRIES} entries")
        raws = RAWS.decode(body)
    except (orjson.JSONDecodeError, msgspec.MsgspecError) as error:
        raise ClientError(f"the body is not JSON: {error}") from error
    return [_entry(one, bytes(raw)) for one, raw in zip(value, raws, strict=True)]


def _entry(value: Any, raw: bytes) -> _Entry:
    # Outside of strings a line break is white space, and inside JSON allows none.
    block = b"data: %b\n\n" % raw.translate(None, b"\r\n")
    if not isinstance(value, dict):
        return _Entry(block, None)
    type = value.get("type")
    if isinstance(type, str) and TYPE.fullmatch(type) and type not in RESERVED_TYPES:
        block = b"event: %b\n%b" % (type.encode(), block)
    return _Entry(block, _subscribers(value.get("to")))


def _subscribers(to: object) -> bytes | None:
    """Return whom an entry is for, as `_Entry` has it: names as objects take ten times as much.

    What is almost a list of them is refused: meant for some, it must not reach everybody.
    """
    if to is None:
        return None
    if not isinstance(to, list) or len(to) > MAX_TO:
        raise ClientError(f"to is not an array of at most {MAX_TO} subscribers", param="to")
    if not all(isinstance(name, str) and 0 < len(name) <= MAX_NAME for name in to):
        raise ClientError("a subscriber in to is not a short string", param="to")
    if any("\0" in name for name in to):
        raise ClientError("a subscriber in to has a NUL in its name", param="to")
    return b"\0" + b"".join([name.encode() + b"\0" for name in to])
