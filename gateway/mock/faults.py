"""Every way to spoil a reply, in one table from name to a small function.

A fault changes a Reply before it is played, at one of two places: `blocks`, the
events or the document before framing, or `wire`, all that goes over the socket,
the head being its first piece.  A fault about events leaves a document alone.
One that strikes after `at` pieces strikes at the last if there are fewer.
"""

import random
import sys
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from itertools import chain, repeat

from . import responses
from .answers import DONE
from .exchange import Exchange
from .messages import STOP
from .options import BadOption, Options
from .replies import EVENT_STREAM, End, Pieces, Reply, error_reply
from .responses import LAST


Fault = Callable[[Reply, Options, Exchange], None]

_GARBAGE = b"\x16\x03\x01\x02\x00\x01\x00\xfc this is not HTTP\r\n\r\n\x00\xff\xfe"
_HTML = b"<!doctype html><title>Sign in</title><h1>Please sign in to the hotel network</h1>\n"
_SURPLUS = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
_INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
_TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_BIG_PIECE = b"x" * 50_000
_BIG_PIECES = 200  # 10 MB
# What is drawn for any answer, and for streams besides; and before which event it strikes.
_DRAWN = ("429", "500", "503", "refuse", "close", "stall-first", "cut", "truncate", "error-first")
_DRAWN_OF_STREAMS = ("hangup", "stall-mid", "no-done", "no-finish", "error-mid", "bad-chunk")
_LATEST = 12


def find(name: str) -> Fault:
    """Return the fault of this name, `status-NNN` included.

    Raises:
        BadOption: there is none.
    """
    kind, _, status = name.partition("-")
    if kind == "status" and status.isdecimal() and 200 <= int(status) <= 599:
        return _error(int(status), "the mock was asked for this status", "mock_error")
    if name not in FAULTS:
        raise BadOption("fault", f"unknown: {name[:40]!r}; known are {', '.join(FAULTS)}")
    return FAULTS[name]


def drawn(options: Options, number: int, *, stream: bool) -> Options:
    """Return the options for answer `number` of one that is shaky: now and then with a fault.

    What comes is a function of the number: the same requests in the same order meet the
    same faults.
    """
    dice = random.Random(number)
    if options.fault or dice.random() >= options.shaky:
        return options
    fault = dice.choice(_DRAWN + (_DRAWN_OF_STREAMS if stream else ()))
    return replace(options, fault=fault, at=dice.randrange(_LATEST))


# --- another answer


def _replace(reply: Reply, other: Reply, options: Options) -> None:
    """Say what the other reply says, at once."""
    reply.status, reply.content_type, reply.fields = other.status, other.content_type, other.fields
    reply.blocks, reply.framing = other.blocks, options.framing or other.framing
    reply.delay = reply.interval = 0.0


def _error(status: int, message: str, kind: str, code: str | None = None) -> Fault:
    def fault(reply: Reply, options: Options, exchange: Exchange) -> None:
        said = error_reply(status, message, kind=kind, code=code, dialect=exchange.dialect)
        _replace(reply, said, options)
        if status == 429:
            reply.fields["retry-after"] = options.retry_after

    return fault


def _html(reply: Reply, options: Options, exchange: Exchange) -> None:
    _replace(reply, Reply([_HTML], content_type="text/html"), options)


def _redirect(reply: Reply, options: Options, exchange: Exchange) -> None:
    # Where clouds keep their machines' credentials: the address an SSRF is after.
    location = {"location": "http://169.254.169.254/"}
    _replace(reply, Reply([], status=302, fields=location), options)


# --- the connection and the bytes on it


def _ahead(pieces: Iterator[bytes], at: int) -> Generator[bytes, None, bytes]:
    """Yield the first `at` pieces, but never the last; return the one that comes next."""
    held = next(pieces, b"")
    for _ in range(at):
        following = next(pieces, None)
        if following is None:
            break
        yield held
        held = following
    return held


def _instead(*pieces: bytes | End) -> Fault:
    """Send these, and nothing of the reply."""

    def fault(reply: Reply, options: Options, exchange: Exchange) -> None:
        reply.wire = lambda _: iter(pieces)

    return fault


def _stale(end: End) -> Fault:
    """End a connection that has carried a request before, without a byte."""

    def fault(reply: Reply, options: Options, exchange: Exchange) -> None:
        if exchange.reused:
            reply.delay = 0.0  # it had ended before: nobody thinks about an answer
            reply.wire = lambda _: iter((end,))

    return fault


def _stall_head(reply: Reply, options: Options, exchange: Exchange) -> None:
    reply.wire = lambda pieces: iter((next(pieces), End.HANG))


def _after(ending: Callable[[bytes], Iterable[bytes | End]]) -> Fault:
    """End with `ending(the piece that would come next)`, after the head and `at` pieces."""

    def fault(reply: Reply, options: Options, exchange: Exchange) -> None:
        def wire(pieces: Iterator[bytes]) -> Pieces:
            yield next(pieces)
            struck = yield from _ahead(pieces, options.at)
            yield from ending(struck)

        reply.wire = wire

    return fault


def _bad_chunk(reply: Reply, options: Options, exchange: Exchange) -> None:
    reply.framing = "chunked"
    _after(lambda struck: (b"0x1g; no chunk size\r\n", struck, End.CLOSE))(reply, options, exchange)


def _extra(reply: Reply, options: Options, exchange: Exchange) -> None:
    def wire(pieces: Iterator[bytes]) -> Pieces:
        held = next(pieces)
        for piece in pieces:
            yield held
            held = piece
        # In one packet with the end, so that no reader can miss it.
        yield held + _SURPLUS

    reply.wire = wire


def _interim(reply: Reply, options: Options, exchange: Exchange) -> None:
    reply.wire = lambda pieces: chain(repeat(_INTERIM, options.count), pieces)


def _idle_408(reply: Reply, options: Options, exchange: Exchange) -> None:
    # A piece of its own, so that it comes after the answer and not with it.
    reply.wire = lambda pieces: chain(pieces, (_TOO_LATE, End.CLOSE))


def _drip(reply: Reply, options: Options, exchange: Exchange) -> None:
    reply.wire = _bytewise
    reply.burst, reply.interval = 1, options.interval


def _bytewise(pieces: Iterable[bytes]) -> Iterator[bytes]:
    return (piece[i : i + 1] for piece in pieces for i in range(len(piece)))


def _drip_mid(reply: Reply, options: Options, exchange: Exchange) -> None:
    _after(lambda struck: chain(_bytewise((struck[:-3],)), (End.HANG,)))(reply, options, exchange)


def _onebyte(reply: Reply, options: Options, exchange: Exchange) -> None:
    _drip(reply, options, exchange)
    reply.interval = 0.0


def _early_close(reply: Reply, options: Options, exchange: Exchange) -> None:
    reply.close = True


def _close_idle(reply: Reply, options: Options, exchange: Exchange) -> None:
    reply.then = End.CLOSE


def _deaf(reply: Reply, options: Options, exchange: Exchange) -> None:
    reply.deaf = True


# --- the events


def _events(change: Callable[[Iterator[bytes], int], Iterable[bytes]]) -> Fault:
    """Make of the blocks of a stream what `change(blocks, at)` makes of them."""

    def fault(reply: Reply, options: Options, exchange: Exchange) -> None:
        if reply.content_type == EVENT_STREAM:
            reply.blocks = change(iter(reply.blocks), options.at)

    return fault


def _each(change: Callable[[bytes], bytes]) -> Fault:
    return _events(lambda blocks, at: map(change, blocks))


def _but(*unwanted: bytes) -> Fault:
    """Leave out what has one of these in it: each dialect has its own."""
    return _events(
        lambda blocks, at: (b for b in blocks if not any(found in b for found in unwanted))
    )


def _endless(reply: Reply, options: Options, exchange: Exchange) -> None:
    """Leave out what says that a stream is complete: of Gemini's that is the end of the body."""
    if exchange.dialect != "gemini":
        _but(DONE, STOP, *LAST)(reply, options, exchange)
    elif reply.content_type == EVENT_STREAM:
        reply.wire = _all_but_the_last


def _all_but_the_last(pieces: Iterator[bytes]) -> Pieces:
    yield from _ahead(pieces, sys.maxsize)
    yield End.CLOSE


def _amid(*inserted: bytes) -> Fault:
    def change(blocks: Iterator[bytes], at: int) -> Iterator[bytes]:
        struck = yield from _ahead(blocks, at)
        yield from (*inserted, struck)
        yield from blocks

    return _events(change)


def _first(blocks: Iterator[bytes], at: int) -> Iterator[bytes]:
    yield from _ahead(blocks, at)


def _truncate(reply: Reply, options: Options, exchange: Exchange) -> None:
    if reply.content_type == EVENT_STREAM:
        reply.blocks = _first(iter(reply.blocks), options.at)
    else:
        reply.blocks = [block[: len(block) // 2] for block in reply.blocks]


_FAILED = "the model has failed"
# The status that goes with it.
_STATUSES = {"anthropic": 529, "gemini": 503}


def _failure(dialect: str) -> bytes:
    status, kind = _STATUSES.get(dialect, 500), "server_error"
    said = error_reply(status, _FAILED, kind=kind, code="mock_failure", dialect=dialect)
    return b"".join(said.blocks)


def _failure_amid(dialect: str, number: int) -> bytes:
    if dialect == "responses":
        return responses.error_event(_FAILED, number)
    name = b"event: error\n" if dialect == "anthropic" else b""
    return b"%bdata: %b\n\n" % (name, _failure(dialect))


def _error_at(at: int | None) -> Fault:
    """Tell of an error in the stream after so many events, and end it there without [DONE]."""

    def fault(reply: Reply, options: Options, exchange: Exchange) -> None:
        number = options.at if at is None else at
        if reply.content_type == EVENT_STREAM:
            before = _first(iter(reply.blocks), number)
            reply.blocks = chain(before, (_failure_amid(exchange.dialect, number),))
        else:
            reply.blocks = [_failure(exchange.dialect)]

    return fault


def _big_line(reply: Reply, options: Options, exchange: Exchange) -> None:
    if reply.content_type == EVENT_STREAM:
        before = _first(iter(reply.blocks), options.at)
        reply.blocks = chain(before, (b"data: ",), repeat(_BIG_PIECE, _BIG_PIECES))
        reply.interval = 0.0


def _numbered(blocks: Iterator[bytes], at: int) -> Iterator[bytes]:
    return (b"id: %d\n%b" % (number, block) for number, block in enumerate(blocks))


def _marked(blocks: Iterator[bytes], at: int) -> Iterator[bytes]:
    return chain((b"\xef\xbb\xbf" + next(blocks),), blocks)


def _inside_characters(blocks: Iterator[bytes], at: int) -> Iterator[bytes]:
    for block in blocks:
        cut = next((i + 1 for i, byte in enumerate(block) if byte >= 0x80), len(block) // 2)
        yield block[:cut]
        yield block[cut:]


def _split_utf8(reply: Reply, options: Options, exchange: Exchange) -> None:
    reply.blocks = _inside_characters(iter(reply.blocks), options.at)
    reply.burst = 1
    if reply.content_type != EVENT_STREAM:
        reply.framing = "chunked"


def _gzip(reply: Reply, options: Options, exchange: Exchange) -> None:
    def packed(blocks: Iterable[bytes]) -> Iterator[bytes]:
        coder = zlib.compressobj(wbits=31)
        for block in blocks:
            yield coder.compress(block) + coder.flush(zlib.Z_SYNC_FLUSH)
        yield coder.flush()

    reply.fields["content-encoding"] = "gzip"
    reply.blocks = packed(reply.blocks)


FAULTS: dict[str, Fault] = {
    # another answer
    "400": _error(400, "the mock was asked to refuse", "invalid_request_error"),
    "401": _error(401, "Incorrect API key provided", "invalid_request_error", "invalid_api_key"),
    "429": _error(429, "Rate limit reached", "requests", "rate_limit_exceeded"),
    "500": _error(500, "The server had an error", "server_error"),
    "503": _error(503, "The engine is currently overloaded", "server_error", "overloaded"),
    "html": _html,
    "redirect": _redirect,
    # the connection
    "refuse": _instead(End.RESET),
    "close": _instead(End.CLOSE),
    "stale": _stale(End.CLOSE),
    "stale-reset": _stale(End.RESET),
    "garbage": _instead(_GARBAGE, End.CLOSE),
    "stall-first": _instead(End.HANG),
    "stall-head": _stall_head,
    "stall-mid": _after(lambda struck: (End.HANG,)),
    "hangup": _after(lambda struck: (End.CLOSE,)),
    "cut": _after(lambda struck: (struck[: len(struck) // 2], End.RESET)),
    "bad-chunk": _bad_chunk,
    "extra": _extra,
    "100-continue": _interim,
    "onebyte": _onebyte,
    "drip": _drip,
    "drip-mid": _drip_mid,
    "early-close": _early_close,
    "close-idle": _close_idle,
    "idle-408": _idle_408,
    "deaf": _deaf,
    # the events
    "truncate": _truncate,
    "no-done": _endless,
    "no-finish": _but(b'"finish_reason":"', b"event: message_delta", b'"finishReason":"', *LAST),
    "error-first": _error_at(0),
    "error-mid": _error_at(None),
    "garbage-mid": _amid(b"<html>502 Bad Gateway</html>\n\x00\xff\n\n"),
    "bad-json": _amid(b'data: {"choices": [oops\n\n'),
    "bad-utf8": _amid(b'data: {"choices":[{"index":0,"delta":{"content":"\xc3\x28\xff"}}]}\n\n'),
    "big-line": _big_line,
    "crlf": _each(lambda block: block.replace(b"\n", b"\r\n")),
    "cr": _each(lambda block: block.replace(b"\n", b"\r")),
    "bom": _events(_marked),
    "comments": _each(lambda block: b": keep-alive\n\n\n" + block),
    "event-names": _each(lambda block: b"event: message\n" + block),
    "ids": _events(_numbered),
    "split-utf8": _split_utf8,
    "gzip": _gzip,
}
