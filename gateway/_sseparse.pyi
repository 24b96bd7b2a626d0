"""Types of the compiled hot path; the contract stands in `_sseparse.pyx`."""

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, Self, final

from typing_extensions import disjoint_base

from gateway.chat import Event, Usage
from gateway.errors import GatewayError, UpstreamProtocolError

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
    first: Final[int]
    count: Final[int]
    def __new__(cls, data: bytes, first: int, count: int) -> Self: ...
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
        gaps: Histogram | None = None,
        overhead: Histogram | None = None,
    ) -> None: ...
    def feed(self, data: bytes, now: float) -> Batch | None: ...
    def sent(self, now: float) -> None: ...
    def eof(self) -> Batch | None: ...

@disjoint_base
class Entries:
    tail: Final[int]
    base: Final[int]
    held: Final[int]
    closed: bool
    def append(self, batch: Batch) -> None: ...
    def after(self, cursor: int) -> list[Batch]: ...
    def trim(self, cursor: int) -> None: ...
    def compact(self) -> None: ...

@final
class Mould:
    def __init__(self, before: bytes, after: bytes, left: bytes, right: bytes) -> None: ...
    def cast(self, payload: bytes) -> bytes | None: ...

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

class _Reader(Protocol):
    @property
    def outlet(self) -> Outlet | None: ...

@final
class Tap:
    flowing: bool
    lost: Final[Callable[[GatewayError | None], None]]
    def __init__(
        self,
        parser: EventParser,
        log: Entries,
        readers: Sequence[_Reader],
        *,
        room: int,
        clock: Callable[[], float],
        attend: Callable[[Batch | None, float], None],
        pump: Callable[[], None],
        lost: Callable[[GatewayError | None], None],
    ) -> None: ...
    def data(self, data: bytes) -> None: ...
    def deliver(self, batch: Batch) -> None: ...

@disjoint_base
class Intake:
    sink: Any
    def data_received(self, data: bytes) -> None: ...

@disjoint_base
class Head:
    headers: Final[list[tuple[bytes, bytes]]]
    http10: Final[bool]
    framing: int
    sized: bool
    keep_alive: bool
    def __init__(self, headers: list[tuple[bytes, bytes]], *, http10: bool) -> None: ...
    def get(self, name: bytes) -> bytes: ...
    def has(self, name: bytes) -> bool: ...
    def members(self, name: bytes) -> set[bytes]: ...
    def lines(self, names: frozenset[bytes]) -> bytes: ...
    def repeated(self, single: frozenset[bytes]) -> bytes | None: ...
    def replace(self, name: bytes, value: bytes) -> None: ...
    def forget(self) -> None: ...

@final
class RequestHead(Head):
    method: str
    path: str
    query: str
    expect_continue: bool
    upgrade: bytes
    def __init__(
        self,
        method: str,
        path: str,
        query: str,
        headers: list[tuple[bytes, bytes]],
        *,
        http10: bool,
    ) -> None: ...
    def alike(self, headers: list[tuple[bytes, bytes]]) -> RequestHead: ...

@final
class ResponseHead(Head):
    status: Final[int]
    def __init__(
        self, status: int, headers: list[tuple[bytes, bytes]], *, http10: bool
    ) -> None: ...
    def alike(self, headers: list[tuple[bytes, bytes]]) -> ResponseHead: ...

def decisive(headers: list[tuple[bytes, bytes]], names: frozenset[bytes]) -> bytes: ...
def length_of(digits: bytes) -> int: ...
@final
class Backlog:
    room: Final[int]
    def __init__(self, room: int, wake: Callable[[], object]) -> None: ...
    def put(self, line: bytes) -> bool: ...
    def take(self) -> list[bytes]: ...
    def written(self, size: int) -> None: ...
    def close(self) -> None: ...

def head_end(data: bytes, start: int, line_limit: int, limit: int, most: int) -> int: ...
def fields(raw: bytes, start: int) -> list[tuple[bytes, bytes]] | None: ...
def chunk(data: bytes) -> bytes: ...
def text_frame(payload: bytes) -> bytes: ...
def depth(text: bytes) -> int: ...
def mended(text: bytes) -> bytes: ...
def count(found: object, key: str) -> int: ...
def read_usage(usage: dict[str, Any]) -> Usage: ...
def deltas(data: bytes) -> list[Event]: ...
def said(event: dict[str, Any]) -> list[Event]: ...
def skip(data: bytes, n: int) -> bytes: ...
def entries(data: bytes) -> list[tuple[bytes, bytes]]: ...
def with_ids(data: bytes, first: int, epoch: bytes) -> bytes: ...
def envelopes(data: bytes, first: int, epoch: bytes) -> bytes: ...
def stamp(unix: float) -> str: ...
def request_line(
    now: float,
    request_id: str,
    route: str,
    method: str,
    path: str,
    model: str,
    upstream: str,
    status: int,
    end: str,
    ttft: float | None,
    duration: float,
    events: int,
    tokens_in: int | None,
    tokens_out: int | None,
    size: int,
    overhead: float | None,
    client: str,
    retries: int,
    hedged: bool,
    error: str,
) -> bytes | None: ...
def json_array(datas: list[bytes]) -> bytes: ...
