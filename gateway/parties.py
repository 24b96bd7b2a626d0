"""Who fills a log and who reads it, as the hub sees them."""

from typing import Protocol

from gateway._sseparse import Outlet


class Reader(Protocol):
    """What the hub asks of a reader."""

    @property
    def cursor(self) -> int:
        """Number of the last entry it has taken."""

    @property
    def transport(self) -> str:
        """What it streams over, one of `series.TRANSPORTS`; "" if it does not."""

    @property
    def outlet(self) -> Outlet | None:
        """Where batches may be written as they come; None: it must be woken."""

    @property
    def detaches(self) -> bool:
        """Whether it is of a kind that comes back: then its log waits a while for it."""

    def ready(self) -> None:
        """Have an outlet from now on, if at all: the first entry is about to come."""

    def wake(self) -> None:
        """Take what is new: entries, or the end."""

    def retire(self) -> None:
        """Leave now, of a log without an end: its client is to come back to another process."""

    def cut(self) -> None:
        """Break off without an end, and leave: who comes back learns what became of the log."""


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
        """End the generation now, and close its log."""
