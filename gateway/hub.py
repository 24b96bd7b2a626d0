"""Live logs: who fills each, who reads it, and what one means for the other.

A reader has no queue.  It is a cursor: it is woken when there is more, takes what
it can from the log, and says how far it got.  A producer never waits for a reader,
except where the bytes that nobody has read yet reach LOG_HIGH.
"""

import os
from typing import Protocol

from gateway._sseparse import Batch, Outlet
from gateway.errors import GatewayError
from gateway.eventlog import EventLog, State


# Unread bytes above which the upstream is paused: minutes of text, yet a thousand
# clients that stopped reading cannot fill a small machine.
LOG_HIGH = 1024 * 1024
# …and below which it goes on, so that it does not flap at the border.
LOG_LOW = LOG_HIGH // 2


# Bytes of an id that nobody can guess: whoever knows it may read the log.
ID_BYTES = 12


# Bytes that every reader has, above which they are forgotten: to do so for each event
# would cost more than the event.
TRIM_AT = 16 * 1024


class Reader(Protocol):
    """What the hub asks of a reader."""

    @property
    def cursor(self) -> int:
        """Number of the last entry it has taken."""

    @property
    def outlet(self) -> Outlet | None:
        """Where the log's own bytes may be written as they come; None: it must be woken."""

    def wake(self) -> None:
        """Take what is new: entries, or the end."""


class Producer(Protocol):
    """What the hub asks of the relay that fills a log."""

    @property
    def last(self) -> float:
        """When its last entry came, 0 before the first."""

    def pause(self) -> None:
        """Stop reading the upstream."""

    def resume(self) -> None:
        """Go on reading the upstream."""

    def cancel(self, reason: str) -> None:
        """End the generation now: nobody wants it."""

    def delivered(self) -> None:
        """The last reader left, with all of a closed log or without."""


class Live:
    """One log with its producer and its readers."""

    __slots__ = ("_paused", "_producer", "log", "readers")

    def __init__(self, log: EventLog, producer: Producer) -> None:
        self.log = log
        self._producer = producer
        self.readers: list[Reader] = []
        self._paused = False  # the producer, by us

    @property
    def last(self) -> float:
        """When the last entry came, 0 before the first."""
        return self._producer.last

    def publish(self, batch: Batch) -> None:
        """Append a batch and wake every reader; `_sseparse.Tap` is the short way of this."""
        self.log.append(batch)
        self.pump()

    def pump(self) -> None:
        """Wake the readers that lag, and keep the log small."""
        for reader in tuple(self.readers):
            if reader.cursor < self.log.tail:
                reader.wake()
        if self.log.held > TRIM_AT:
            self.advanced()

    def close(self, state: State, reason: str, fault: GatewayError | None = None) -> None:
        """Close the log, once, and let every reader see its end."""
        if self.log.close(state, reason, fault):
            for reader in tuple(self.readers):  # a reader leaves when it has seen the end
                reader.wake()

    def follow(self, reader: Reader) -> None:
        """Add a reader; it is woken from now on."""
        self.readers.append(reader)

    def advanced(self) -> None:
        """Forget what every reader has; hold the producer up, or let it go on."""
        log = self.log
        log.trim(min([reader.cursor for reader in self.readers], default=log.base))
        if log.held > LOG_HIGH and not self._paused:
            self._paused = True
            self._producer.pause()
        elif self._paused and log.held < LOG_LOW:
            self._paused = False
            self._producer.resume()

    def leave(self, reader: Reader) -> None:
        """Remove a reader; when the last one leaves an open log, its generation is cancelled."""
        if reader in self.readers:
            self.readers.remove(reader)
        if self.readers:
            self.advanced()  # it may be the slow one, for which the producer was paused
        elif self.log.closed:
            self._producer.delivered()
        else:
            self._producer.cancel("disconnect")


class Hub:
    """The live logs by id."""

    def __init__(self) -> None:
        self._live: dict[str, Live] = {}
        self._entropy = b""  # asked of the kernel for many ids at once

    def __len__(self) -> int:
        return len(self._live)

    def open(self, producer: Producer) -> Live:
        """Create an empty log for `producer` to fill, under an id nobody can guess."""
        log = EventLog("gen_" + self._secret().hex())
        live = self._live[log.id] = Live(log, producer)
        return live

    def _secret(self) -> bytes:
        if not self._entropy:
            self._entropy = os.urandom(ID_BYTES * 256)
        secret, self._entropy = self._entropy[:ID_BYTES], self._entropy[ID_BYTES:]
        return secret

    def forget(self, live: Live) -> None:
        """Drop a log whose generation is over.  May be called twice."""
        self._live.pop(live.log.id, None)
