"""Back-pressure, the same way round for both directions.

A `Valve` stands between a transport that can be paused and somebody who cannot take
more for now.  Both calls are idempotent, and harmless once the transport is gone.
"""

from typing import Protocol


# Bytes in a transport's write buffer above which a reader gets nothing more (design §8).
WRITE_HIGH = 64 * 1024
# …and below which it is written to again.
WRITE_LOW = 16 * 1024
# Seconds in which a client that stopped reading must take at least one byte.
STALL_TIMEOUT = 30.0
# Seconds between two looks at one that leaves something unsent: so much later it may be seen
# that it took a byte, and so much longer it may stay.
STALL_LOOK = 3.0


class Pausable(Protocol):
    """The reading half of an asyncio transport."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def is_closing(self) -> bool: ...


class Valve:
    """Open or shut one transport's reading."""

    __slots__ = ("_transport", "shut")

    def __init__(self, transport: Pausable) -> None:
        self._transport = transport
        self.shut = False

    def pause(self) -> None:
        """Stop reading."""
        if not self.shut and not self._transport.is_closing():
            self.shut = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self.shut:
            self.shut = False
            if not self._transport.is_closing():
                self._transport.resume_reading()
