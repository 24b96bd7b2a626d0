"""Types of the compiled hot path; the contract stands in `_sseparse.pyx`."""

from collections.abc import Sequence
from typing import Any, Final, Self, final

from gateway.chat import Event
from gateway.errors import UpstreamProtocolError

CHUNKED: Final[int]
UNTIL_CLOSE: Final[int]

@final
class Batch:
    data: Final[bytes]
    first: Final[int]
    count: Final[int]
    def __new__(cls, data: bytes, first: int, count: int) -> Self: ...

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
        strip_usage: bool = False,
        event_limit: int = ...,
        gaps: Histogram | None = None,
        overhead: Histogram | None = None,
    ) -> None: ...
    def feed(self, data: bytes, now: float) -> Batch | None: ...
    def sent(self, now: float) -> None: ...
    def eof(self) -> Batch | None: ...

def chunk(data: bytes) -> bytes: ...
def deltas(data: bytes) -> list[Event]: ...
