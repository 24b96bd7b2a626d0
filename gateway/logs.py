"""Log lines: one per request, and one for each thing an operator should know.

Whoever logs never waits: a line goes into a bounded queue, and one thread writes them
out in batches.  When the reader of our log stops reading, lines are dropped and
counted, and a line in the gap says how many.

Lines are JSON, or text for people.  Either way a line is one line: what could end it,
or move a cursor or reorder text on a terminal, is escaped, and long values are cut.
"""

import logging
import os
import re
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue
from typing import Any

import msgspec
import orjson
from msgspec.structs import astuple

from gateway._sseparse import MAX_VALUE, Backlog, request_line, stamp


# Bytes of lines not yet written: a minute at a hundred requests a second.
MAX_BACKLOG = 4 * 1024 * 1024
# Seconds lines gather before they are written: waking the writer for each would cost
# more than the line.
GATHER_TIME = 0.05
# Seconds that `close` gives a reader that does not read.
CLOSE_TIME = 1.0

# What JSON lets through and a terminal or a line splitter acts on: DEL and C1 controls,
# line and paragraph separators, bidirectional overrides.  JSON escapes C0 itself.
UNSAFE = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
DEL = 0x7F  # as a number: found six times as fast as a byte string
# Text values that need no quotes: visible ASCII but for `"`, `=` and the backslash.
BARE = re.compile(r"[!#-<>-\[\]-~]+")

COLOURS = {"warning": b"\x1b[33m", "error": b"\x1b[31m"}
TEXT_COLUMN = 32  # where the fields of a text line begin: after `200 POST /v1/chat/completions`

Line = dict[str, Any]  # a line before it is rendered; `time`, `level`, `msg` come first


class RequestRecord(msgspec.Struct, kw_only=True):
    """What the line of one request says, in its order; filled in as it becomes known.

    Times are seconds.  There is no field for a header or a body, so neither can be logged.
    """

    request_id: str
    route: str = ""
    method: str = ""
    path: str = ""  # of a query the names are logged, not the values
    model: str = ""
    upstream: str = ""  # the last that was asked
    status: int = 0  # 0: none was sent
    end: str = ""  # why a stream ended
    ttft: float | None = None
    duration: float = 0.0
    events: int | None = 0  # None: nobody counted
    tokens_in: int | None = None  # None: the provider did not say
    tokens_out: int | None = None
    bytes: int = 0  # of the body, to the client
    overhead: float | None = None
    client: str  # address
    subject: str = ""  # whose key it was
    generation: str = ""  # the log it filled or was answered from
    retries: int = 0  # how often another, or the same again, was
    hedged: bool = False  # two were asked at once; `upstream` is the one that answered
    error: str = ""  # what went wrong, in words for an operator


class Log:
    """Renders lines and has them written to a file descriptor.  Any thread may log."""

    def __init__(self, fd: int, format: str, *, now: Callable[[], float] = time.time) -> None:
        """Log to `fd`, which stays open, as `format`: `json` or `text`.  `now` is Unix time."""
        self._now = now
        self._json = format == "json"
        self._render = _json if self._json else _coloured if os.isatty(fd) else _text
        self._writer = Writer(fd, self._gap)

    @property
    def dropped(self) -> int:
        """Return how many lines were lost."""
        return self._writer.dropped

    def request(self, record: RequestRecord, ago: float = 0.0) -> None:
        """Log one request, which was over `ago` seconds ago."""
        clock = self._now
        now = clock() - ago
        line = request_line(now, astuple(record)) if self._json else None
        self._writer.put(line or self._render(_request(stamp(now), record)))

    def event(self, level: str, msg: str, /, **fields: object) -> None:
        """Log something else; a field that JSON does not know is logged as its `str`."""
        self._writer.put(self._event(level, msg, fields))

    def info(self, msg: str, /, **fields: object) -> None:
        """Log what an operator may like to know."""
        self.event("info", msg, **fields)

    def warning(self, msg: str, /, **fields: object) -> None:
        """Log what an operator should look at some day."""
        self.event("warning", msg, **fields)

    def error(self, msg: str, /, **fields: object) -> None:
        """Log what an operator must look at."""
        self.event("error", msg, **fields)

    def crash(self, error: BaseException) -> None:
        """Log a defect of ours: what, and where."""
        self.error("crash", **_described(error))

    def close(self) -> None:
        """Write what is left, for at most CLOSE_TIME; what comes later is dropped."""
        self._writer.close()

    def _event(self, level: str, msg: str, fields: dict[str, object]) -> bytes:
        line: Line = {"time": stamp(self._now()), "level": level, "msg": _cut(msg)}
        for name, value in fields.items():
            line[name] = _cut(value) if isinstance(value, str) else value
        return self._render(line)

    def _gap(self, lost: int) -> bytes:
        return self._event("warning", "log lines dropped", {"count": lost})


class Writer:
    """One thread that writes lines, in the order they were put."""

    def __init__(self, fd: int, gap: Callable[[int], bytes]) -> None:
        """Write to `fd`; `gap` renders the line that says how many were lost."""
        self.dropped = 0
        self._fd = fd
        self._gap = gap
        self._missed = 0  # of the dropped, those that no line has told yet
        # Reentrant both: asyncio logs from finalizers, and a collection that finds
        # one may begin in the middle of `put`.
        self._lock = threading.RLock()  # for the two numbers above
        self._bell: SimpleQueue[None] = SimpleQueue()  # rings when there are lines, or no more
        self._backlog = Backlog(MAX_BACKLOG, partial(self._bell.put, None))
        self._hurry = threading.Event()  # close does not wait for lines to gather
        # A daemon, since a write that nobody reads cannot be called back.
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Have a line written, or drop it if there is no room."""
        if self._missed or not self._backlog.put(line):
            self._put_late(line)

    def close(self) -> None:
        """Write what is left, for at most CLOSE_TIME.  May be called twice."""
        if self._hurry.is_set():
            return
        with self._lock:
            self._tell()
            self._backlog.close()
        self._hurry.set()
        self._bell.put(None)
        self._thread.join(CLOSE_TIME)

    def _put_late(self, line: bytes) -> None:
        with self._lock:
            if len(line) > self._backlog.room:
                self._drop(1)
                return
            self._tell()
            if not self._backlog.put(line):
                self._drop(1)

    def _tell(self) -> None:
        missed, self._missed = self._missed, 0
        if missed and not self._backlog.put(self._gap(missed)):
            self._missed += missed

    def _drop(self, count: int) -> None:
        self.dropped += count
        self._missed += count

    def _run(self) -> None:
        last = False
        while not last:
            self._bell.get()
            last = self._hurry.wait(GATHER_TIME)
            batch = b"".join(self._backlog.take())
            lost = self._write(batch)
            self._backlog.written(len(batch))
            with self._lock:
                self._drop(lost)

    def _write(self, batch: bytes) -> int:
        """Write all of `batch`; return how many lines were lost."""
        rest = memoryview(batch)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                # Standard output is shared: whoever started us may have made it so.
                poll = select.poll()
                poll.register(self._fd, select.POLLOUT)
                poll.poll()
            except OSError:
                return bytes(rest).count(b"\n")
        return 0


class Bridge(logging.Handler):
    """Turns records of the standard library's loggers into lines."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record as one line; of a traceback only where it ends."""
        level = "error" if record.levelno >= logging.ERROR else "warning"
        try:
            # asyncio puts the repr of every object concerned on further lines.
            msg = record.getMessage().partition("\n")[0]
        except Exception:  # arguments that do not fit, or a broken repr: not the loop's trouble
            msg = str(record.msg)
        error = record.exc_info[1] if record.exc_info else None
        self._log.event(level, msg, logger=record.name, **_described(error))


@contextmanager
def bridged(log: Log) -> Iterator[None]:
    """Log what asyncio, uvloop and other libraries have to say."""
    bridge = Bridge(log)
    root = logging.getLogger()
    root.addHandler(bridge)
    try:
        yield
    finally:
        root.removeHandler(bridge)


def _described(error: BaseException | None) -> dict[str, str]:
    """Return the fields that say what an exception is, and where it was raised."""
    if error is None:
        return {}
    fields = {"error": f"{type(error).__name__}: {error}".removesuffix(": ")}
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is not None:
        code = trace.tb_frame.f_code
        file = os.path.basename(code.co_filename)
        fields["where"] = f"{file}:{trace.tb_lineno} in {code.co_name}"
    return fields


def _request(time: str, record: RequestRecord) -> Line:
    """Return the line of a request, of which `request_line` writes the usual ones."""
    error = record.error
    line = {
        "time": time,
        # A refusal is the client's affair; what else went wrong is the operator's.
        "level": "warning" if error and not 400 <= record.status < 500 else "info",
        "msg": "request",
        "request_id": record.request_id,
        "route": record.route or None,
        "method": record.method,
        "path": _path(record.path),
        "model": _cut(record.model) or None,
        "upstream": record.upstream or None,
        "status": record.status,
        "end": record.end or None,
        "ttft_ms": _ms(record.ttft),
        "duration_ms": _ms(record.duration),
        "events": record.events,
        "tokens_in": record.tokens_in,
        "tokens_out": record.tokens_out,
        "bytes": record.bytes,
        "overhead_ms": _ms(record.overhead),
        "client": record.client,
    }
    if record.subject:
        line["subject"] = _cut(record.subject)
    if record.generation:
        line["generation"] = record.generation
    if record.retries:
        line["retries"] = record.retries
    if record.hedged:
        line["hedged"] = True
    if error:
        line["error"] = _cut(error)
    return line


def _json(line: Line) -> bytes:
    return _dumps(line) + b"\n"


def _text(line: Line) -> bytes:
    fields = dict(line)
    clock = fields.pop("time").partition("T")[2]
    level, msg = fields.pop("level"), fields.pop("msg")
    if msg == "request" and "route" in fields:  # not just a library's message of one word
        status, method, path = (fields.pop(name) for name in ("status", "method", "path"))
        del fields["route"]  # the path says it
        msg = f"{status or '---'} {method:<4} {path}"
    if not msg.isprintable():
        msg = _dumps(msg).decode()
    fields["request_id"] = fields.pop("request_id", None)  # the least readable goes last
    pairs = [f"{name}={_quoted(value)}" for name, value in fields.items() if value is not None]
    return f"{clock} {level:<7} {msg:<{TEXT_COLUMN}} {' '.join(pairs)}".rstrip().encode() + b"\n"


def _coloured(line: Line) -> bytes:
    text = _text(line)
    colour = COLOURS.get(line["level"])
    return colour + text.rstrip() + b"\x1b[0m\n" if colour else text


def _quoted(value: object) -> str:
    if isinstance(value, str) and BARE.fullmatch(value):
        return value
    return _dumps(value).decode()


def _dumps(value: object) -> bytes:
    """Return `value` as JSON that is safe to show on a terminal."""
    try:
        data = orjson.dumps(value, default=str)
    except TypeError:  # a lone surrogate, or an integer of more than 64 bits
        data = orjson.dumps(_plain(value))
    if data.isascii() and DEL not in data:
        return data
    return UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", data.decode()).encode()


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return str(value).encode("utf-8", "backslashreplace").decode()


def _path(target: str) -> str:
    """Return a request target without the values of its query: they may be keys."""
    path, mark, query = target.partition("?")
    if not mark:
        return _cut(path)
    # A part without `=` may be a value as well as a name.
    parts = [part.partition("=") for part in query.split("&")]
    return _cut(path + "?" + "&".join(name + "=" for name, equals, _ in parts if equals))


def _cut(value: str) -> str:
    return value if len(value) <= MAX_VALUE else value[:MAX_VALUE] + "..."


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else int(seconds * 1e6 + 0.5) / 1e3
