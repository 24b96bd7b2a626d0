"""Types of the compiled hot path; the contract stands in `_sseparse.pyx`."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Protocol, TypeVar, final

from typing_extensions import disjoint_base

from gateway.chat import Event, Usage
from gateway.errors import GatewayError
from gateway.upstream_errors import UpstreamProtocolError

_H = TypeVar("_H", bound="Head")

CHUNKED: Final[int]
UNTIL_CLOSE: Final[int]
OPENAI: Final[int]
ANTHROPIC: Final[int]
GEMINI: Final[int]
RESPONSES: Final[int]
FIGURES: Final[tuple[str, ...]]
RAW: Final[int]
IDS: Final[int]
FRAMES: Final[int]
MAX_VALUE: Final[int]

@final
class Batch:
    data: Final[bytes]
    size: Final[int]
    first: Final[int]
    count: Final[int]
    def __init__(self, data: bytes, first: int, count: int) -> None: ...
    def framed(self, style: int, epoch: bytes) -> bytes: ...

@final
class Count:
    value: Final[float]
    def add(self, n: float = 1.0) -> None: ...

@final
class Histogram:
    bounds: Final[tuple[float, ...]]
    def __init__(self, bounds: Sequence[float]) -> None: ...
    def observe(self, value: float, n: int = 1) -> None: ...
    def snapshot(self) -> tuple[list[int], float]: ...

@final
class BodyDecoder:
    ended: Final[bool]
    surplus: Final[bytes]
    received: Final[int]
    def __init__(self, framing: int, limit: int) -> None: ...
    def feed(self, data: bytes) -> bytes: ...
    def eof(self) -> None: ...

@final
class EventParser:
    attention: Final[bool]
    done: Final[bool]
    ended: Final[bool]
    surplus: Final[bool]
    fault: Final[UpstreamProtocolError | None]
    error: Final[dict[str, Any] | None]
    error_at: Final[int]
    finish: Final[str | None]
    usage: Final[dict[str, Any] | None]
    events: Final[int]
    size: Final[int]
    last: Final[float]
    def __init__(
        self,
        framing: int,
        *,
        dialect: int = ...,
        strip_usage: bool = False,
        event_limit: int = ...,
        tight: bool = False,
        gaps: Histogram | None = None,
        overhead: Histogram | None = None,
    ) -> None: ...
    def feed(self, data: bytes, now: float) -> Batch | None: ...
    def sent(self, now: float) -> None: ...
    def eof(self) -> Batch | None: ...

@disjoint_base
class Entries:
    id: Final[str]
    epoch: Final[str]
    subject: Final[str]
    dialect: Final[str]
    reason: str
    fault: GatewayError | None
    fields: bytes
    dropped: list[str]
    pace: Any
    _state: Any
    def __init__(
        self, id: str = "", epoch: str = "", subject: str = "", dialect: str = ""
    ) -> None: ...
    tail: Final[int]
    base: Final[int]
    held: Final[int]
    closed: bool
    def append(self, batch: Batch) -> None: ...
    def after(self, cursor: int) -> list[Batch]: ...
    def trim(self, cursor: int) -> None: ...
    def fold(self) -> None: ...
    def close(self, state: Any, reason: str, fault: GatewayError | None = None) -> bool: ...

@final
class Mould:
    def __init__(self, before: bytes, after: bytes, left: bytes, right: bytes) -> None: ...
    def cast(self, payload: bytes) -> bytes | None: ...

class _Transport(Protocol):
    def get_extra_info(self, name: str) -> Any: ...
    def get_write_buffer_size(self) -> int: ...
    def write(self, data: bytes | memoryview) -> None: ...

@final
class Writer:
    def open(self, transport: _Transport) -> None: ...
    def close(self) -> None: ...
    def __call__(self, data: bytes) -> None: ...

@final
class Outlet:
    cursor: int
    paused: bool
    sent: Final[int]
    def __init__(
        self,
        put: Callable[[bytes], object],
        head: bytes,
        chunked: bool,
        style: int = ...,
        epoch: bytes = b"",
    ) -> None: ...
    def write(self, data: bytes) -> None: ...
    def end(self, data: bytes) -> None: ...
    def rest(self, log: Entries, room: int) -> bytes | None: ...

class _Live(Protocol):
    @property
    def log(self) -> Entries: ...

@disjoint_base
class Follower:
    outlet: Outlet | None
    subject: str
    cursor: Final[int]
    _live: Any
    _desk: Any
    _left: Callable[[], None] | None
    _cursor: int
    _attached: bool
    def __init__(
        self,
        live: _Live,
        desk: object,
        *,
        cursor: int = 0,
        subject: str = "",
        left: Callable[[], None] | None = None,
    ) -> None: ...
    def attach(self) -> None: ...
    def wake(self) -> None: ...
    def leave(self) -> None: ...

class _Young(Protocol):
    @property
    def young(self) -> Line: ...

class _Reply(Protocol):
    on_gone: Callable[[], None] | None
    on_writable: Callable[[], None] | None

@disjoint_base
class Streamed(Follower):
    _reply: Any
    _more: Callable[[], bytes]
    _alarm: Any
    def __init__(
        self,
        live: _Live,
        reply: _Reply,
        desk: _Young,
        fields: Callable[[], bytes] = ...,
        left: Callable[[], None] | None = None,
        *,
        cursor: int = 0,
        subject: str = "",
    ) -> None: ...
    def leave(self) -> None: ...

class _Reader(Protocol):
    @property
    def outlet(self) -> Outlet | None: ...

@disjoint_base
class Tap:
    flowing: bool
    parser: Final[EventParser]
    def __init__(
        self,
        parser: EventParser,
        log: Entries,
        readers: Sequence[_Reader],
        room: int,
        clock: Callable[[], float],
    ) -> None: ...
    def data(self, data: bytes) -> None: ...
    def deliver(self, batch: Batch) -> None: ...
    def publish(self, batch: Batch) -> None: ...

@disjoint_base
class Intake:
    sink: Any
    def data_received(self, data: bytes) -> None: ...

@disjoint_base
class Line:
    armed: bool
    seconds: Final[float]
    waiting: Final[dict[Any, float]]
    def __init__(self, clock: Callable[[], float], seconds: float) -> None: ...
    def __len__(self) -> int: ...
    def add(self, sleeper: object) -> None: ...
    def discard(self, sleeper: object) -> None: ...

@final
class Names:
    def __init__(self, names: Iterable[bytes]) -> None: ...

@final
class Fields:
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[tuple[bytes, bytes]]: ...
    def decisive(self, names: Names) -> bytes: ...

@disjoint_base
class HeadCutter:
    held: Final[bytearray]
    def __init__(self, before: bytes, line_limit: int, limit: int, most: int) -> None: ...
    def cut(self, data: bytes) -> tuple[bytes, bytes] | None: ...
    def feed(self, data: bytes) -> tuple[bytes, bytes] | None: ...

@disjoint_base
class Head:
    headers: Final[list[tuple[bytes, bytes]]]
    http10: Final[bool]
    framing: int
    sized: bool
    keep_alive: bool
    def __init__(self, fields: Fields, *, http10: bool) -> None: ...
    def get(self, name: bytes) -> bytes: ...
    def has(self, name: bytes) -> bool: ...
    def has_any(self, names: Names) -> bool: ...
    def members(self, name: bytes) -> set[bytes]: ...
    def lines(self, names: Names) -> bytes: ...
    def repeated(self, single: Names) -> bytes | None: ...
    def replace(self, name: bytes, value: bytes) -> None: ...
    def alike(self, fields: Fields) -> Head: ...
    def forget(self) -> None: ...

@final
class RequestHead(Head):
    method: str
    path: str
    query: str
    expect_continue: bool
    upgrade: bytes
    authority: bytes
    def __init__(
        self,
        method: str,
        path: str,
        query: str,
        fields: Fields,
        *,
        http10: bool,
    ) -> None: ...
    def alike(self, fields: Fields) -> RequestHead: ...

@final
class ResponseHead(Head):
    status: Final[int]
    def __init__(self, status: int, fields: Fields, *, http10: bool) -> None: ...
    def alike(self, fields: Fields) -> ResponseHead: ...

def length_of(digits: bytes) -> int: ...
@final
class Backlog:
    room: Final[int]
    def __init__(self, room: int, wake: Callable[[], object]) -> None: ...
    def put(self, line: bytes) -> bool: ...
    def take(self) -> list[bytes]: ...
    def written(self, size: int) -> None: ...
    def close(self) -> None: ...

def read_head(raw: bytes, judge: Callable[[bytes, bytes], _H], names: Names) -> _H | None: ...
def fields(raw: bytes, start: int) -> Fields | None: ...
def chunk(data: bytes) -> bytes: ...
def text_frame(payload: bytes) -> bytes: ...
def depth(text: bytes) -> int: ...
def mended(text: bytes) -> bytes: ...
def count(found: object, key: str) -> int: ...
def model_and_stream(body: dict[str, Any]) -> tuple[str, bool]: ...
def chat_asked(body: dict[str, Any]) -> tuple[str, bool, bool, bool]: ...
def read_usage(usage: dict[str, Any]) -> Usage: ...
def deltas(data: bytes) -> list[Event]: ...
def said(event: dict[str, Any]) -> list[Event]: ...
def skip(data: bytes, n: int) -> bytes: ...
def entries(data: bytes) -> list[tuple[bytes, bytes]]: ...
def with_ids(data: bytes, first: int, epoch: bytes) -> bytes: ...
def envelopes(data: bytes, first: int, epoch: bytes) -> bytes: ...
def timing(ours: float, theirs: float) -> bytes: ...
def stamp(unix: float) -> str: ...
def request_line(now: float, values: tuple[Any, ...]) -> bytes | None: ...
def json_array(datas: list[bytes]) -> bytes: ...
