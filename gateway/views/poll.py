"""A log in plain answers: what there is, and where to go on (Durable Streams §5.6)."""

from gateway._sseparse import Outlet
from gateway.eventlog import EventLog
from gateway.hub import Live
from gateway.reply import NO_STORE, Reply, field
from gateway.views.portion import Portion, read


CORP = b"cross-origin-resource-policy: same-origin\r\n"
# Whoever made a channel chose its content type: shown as a page of ours it must do nothing.
SANDBOX = b"content-security-policy: default-src 'none'; sandbox\r\n"
# What may be cached (§10.1): what was read once between two cursors is read there for ever.
SHARED = b"cache-control: public, max-age=60, stale-while-revalidate=300\r\n"
PRIVATE = b"cache-control: private, no-store\r\n"


class Glance:
    """A reader for no time: after it the log waits for readers as long as after any other."""

    transport = ""  # it is no stream
    outlet: Outlet | None = None
    detaches = True

    def __init__(self, cursor: int) -> None:
        self.cursor = cursor

    def ready(self) -> None:
        """Do nothing: it is gone at once."""

    def wake(self) -> None:
        """Do nothing: it is gone at once."""

    def retire(self) -> None:
        """Do nothing: it is gone at once."""

    def cut(self) -> None:
        """Do nothing, either."""


def catch_up(
    live: Live,
    reply: Reply,
    *,
    cursor: int,
    subject: str = "",
    now: bool = False,
    if_none_match: bytes = b"",
    fields: bytes = b"",
) -> None:
    """Answer with what follows `cursor`, up to a portion; with `now`, which is the tail, nothing.

    A client that has just that already, by its `if_none_match`, is told so by a 304.
    """
    glance = Glance(cursor)
    live.follow(glance)
    live.leave(glance)
    log = live.log
    portion = read(log, cursor, subject)
    tag = _tag(log, cursor, portion.end)
    if now:
        answer(reply, log, portion, fields)
    elif _matches(tag, if_none_match):
        lines = _tag_line(tag) + standing(log, portion.end) + CORP + fields
        # What it says is what the 200 would have said (RFC 9110 §15.4.5).
        reply.send(304, b"", fields=lines, caching=_caching(log, portion))
    else:
        answer(reply, log, portion, _tag_line(tag) + fields)


def answer(reply: Reply, log: EventLog, portion: Portion, fields: bytes) -> None:
    """Write a portion as a whole answer."""
    type = field(b"content-type", log.media.encode())  # also of a body that is empty
    lines = type + CORP + SANDBOX + standing(log, portion.end) + fields
    reply.send(200, portion.body(log), type=b"", fields=lines, caching=_caching(log, portion))


def standing(log: EventLog, end: int) -> bytes:
    """Return the field lines that tell a reader at `end` how the log stands."""
    lines = b"stream-next-offset: %b\r\n" % log.cursor(end).encode()
    if end == log.tail:
        lines += b"stream-up-to-date: true\r\n"
        if log.closed:
            lines += b"stream-closed: true\r\n"
    return lines


def _tag_line(tag: bytes) -> bytes:
    # The same URL is an event stream for whoever accepts one: no cache may mix them up.
    return b"etag: %b\r\nvary: accept\r\n" % tag


def _caching(log: EventLog, portion: Portion) -> bytes:
    if not log.shared or portion.filtered:
        return PRIVATE
    # That there is nothing yet is soon not true.
    return SHARED if portion.batches else NO_STORE


def _tag(log: EventLog, start: int, end: int) -> bytes:
    """Return the entity tag of what is between two cursors.

    It names the log by its epoch: another log may have its id tomorrow.
    """
    closed = ":c" if log.closed and end == log.tail else ""
    return f'"{log.epoch}:{start}:{end}{closed}"'.encode()


def _matches(tag: bytes, given: bytes) -> bool:
    """Say whether If-None-Match names a tag (RFC 9110 §13.1.2)."""
    tags = {one.strip(b" \t").removeprefix(b"W/") for one in given.split(b",")}
    return tag in tags or b"*" in tags
