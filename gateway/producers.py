"""Idempotent producers: a request that is sent again is not appended again.

A producer numbers its requests 0, 1, 2 … within an epoch, and begins a new epoch when it
starts anew; whoever still writes under an older one is fenced off (PROTOCOL.md §5.2.1).
A channel judges a request first and accepts it only when all else is in order.
"""

from typing import NamedTuple

from gateway.client_errors import ClientError, SequenceGap, StaleEpoch
from gateway.durable import Claim


# Producers that a channel knows: those that start often take a new name each time.  Above
# it the one silent for longest is forgotten; if it goes on, it hears of a gap.
MAX_PRODUCERS = 1000
# Seconds that a silent producer is known, as PROTOCOL.md advises for memory.
KNOWN_FOR = 7 * 24 * 3600.0


class Last(NamedTuple):
    """What a producer sent last."""

    epoch: int
    seq: int
    at: float


class Producers:
    """The producers of one channel.  `now` is of a clock that is never set."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: dict[bytes, Last] = {}  # by name, the longest silent first

    def __len__(self) -> int:
        return len(self._last)

    def judge(self, claim: Claim, now: float) -> int | None:
        """Return None if the request is new, else the highest number accepted so far.

        Raises:
            StaleEpoch: another producer has begun a later epoch.
            SequenceGap: the request before it has not arrived.
            ClientError: a new epoch does not begin with 0.
        """
        last = self.fence(claim, now)
        if last is not None and claim.epoch > last.epoch and claim.seq:
            raise ClientError("a new Producer-Epoch begins with 0", param="Producer-Seq")
        due = last.seq + 1 if last is not None and claim.epoch == last.epoch else 0
        if claim.seq > due:
            raise SequenceGap(due, claim.seq)
        return due - 1 if claim.seq < due else None

    def fence(self, claim: Claim, now: float) -> Last | None:
        """Return what this producer sent last, if it is known.

        Raises:
            StaleEpoch: another producer has begun a later epoch.
        """
        self._forget(now)
        last = self._last.get(claim.id)
        if last is not None and claim.epoch < last.epoch:
            raise StaleEpoch(last.epoch)
        return last

    def accept(self, claim: Claim, now: float) -> None:
        """Take note of a request that `judge` found new."""
        self._last.pop(claim.id, None)
        self._last[claim.id] = Last(claim.epoch, claim.seq, now)
        self._forget(now)

    def _forget(self, now: float) -> None:
        while self._last:
            id, last = next(iter(self._last.items()))
            if len(self._last) <= MAX_PRODUCERS and now - last.at < KNOWN_FOR:
                return
            del self._last[id]
