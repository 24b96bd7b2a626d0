"""Back-pressure, the same way round for both directions.

A `Valve` stands between a transport that can be paused and somebody who cannot take
more for now.  Both calls are idempotent, and harmless once the transport is gone.
"""

import contextlib
import fcntl
import sys
import termios
from typing import Any, Protocol


# Bytes in a transport's write buffer above which a reader gets nothing more (design §8).
WRITE_HIGH = 64 * 1024
# …and below which it is written to again.
WRITE_LOW = 16 * 1024
# Seconds in which something must arrive at a client that stopped reading.
STALL_TIMEOUT = 30.0
# Seconds between two looks at one that leaves something unsent: so much later it may be seen
# that it took a byte, and so much longer it may stay.
STALL_LOOK = 3.0


class Writing(Protocol):
    """The writing half of an asyncio transport."""

    def get_write_buffer_size(self) -> int: ...

    def get_extra_info(self, name: str) -> Any: ...


def unsent(transport: Writing) -> int:
    """Return how many of the bytes written to a socket have not arrived.

    The system's part counts: it holds megabytes, and asks for more only when a third of them
    is gone, so that one who reads slowly would seem to take nothing for minutes.
    """
    size = transport.get_write_buffer_size()
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError, ValueError):  # it may be closed by now
            held = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
            size += int.from_bytes(held, sys.byteorder)
    return size


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
