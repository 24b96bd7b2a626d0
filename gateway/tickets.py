"""Tickets: a moment's right to open one path, for those who can send no header.

A browser's EventSource and WebSocket send no key.  A page that has one, or whose
server has one, gets a ticket for it and lays that into the URL, where history, proxies
and logs may see it: by then it is spent.  Only hashes are kept, so what is in memory
opens nothing.
"""

from collections import OrderedDict
from hashlib import sha256
from secrets import token_hex
from typing import Final, NamedTuple

import msgspec

from gateway.callers import Caller


# Seconds from issue to use: a page asks for a ticket when it is about to use it.
LIFETIME: Final = 30.0
# Random bytes.  Hexadecimal, because members of header fields are compared in lower case.
TICKET_BYTES: Final = 32
# Tickets alive at once, under 1 KB each with its path: as many pages as a worker has
# connections (design §8) may open one in the same half minute.
MAX_TICKETS: Final = 20_000


class _Ticket(NamedTuple):
    caller: Caller
    expires: float


class Tickets:
    """The tickets alive: at most `limit`; beyond it the oldest go of who has most."""

    __slots__ = ("_alive", "_limit", "_of")

    def __init__(self, limit: int = MAX_TICKETS) -> None:
        self._limit = limit
        # By hash, oldest first; a plain dict is slow to find its first when many before it went.
        self._alive: OrderedDict[bytes, _Ticket] = OrderedDict()
        self._of: dict[str, OrderedDict[bytes, None]] = {}  # the hashes of each subject

    def __len__(self) -> int:
        return len(self._alive)

    def issue(self, caller: Caller, opens: str, now: float) -> tuple[str, float]:
        """Return a new ticket by which `caller` may open the path `opens`, and when it expires.

        Both times are seconds of the same clock, which must not go back.
        """
        self._make_room(now)
        ticket = token_hex(TICKET_BYTES)
        expires, hash = now + LIFETIME, _hash(ticket)
        self._alive[hash] = _Ticket(msgspec.structs.replace(caller, opens=opens), expires)
        self._of.setdefault(caller.subject, OrderedDict())[hash] = None
        return ticket, expires

    def redeem(self, ticket: str, path: str, now: float) -> Caller | None:
        """Return who opens `path` by this ticket, or None; shown once, it is spent either way."""
        # The hash is looked up: how long that takes tells nothing about the ticket.
        found = self._take(_hash(ticket))
        if found is None or now >= found.expires or path != found.caller.opens:
            return None
        return found.caller

    def _make_room(self, now: float) -> None:
        """Forget what has expired, and make room for one more."""
        while self._alive:
            oldest = next(iter(self._alive))
            if now < self._alive[oldest].expires:
                break
            self._take(oldest)
        if len(self._alive) >= self._limit:
            fullest = max(self._of.values(), key=len)
            self._take(next(iter(fullest)))

    def _take(self, hash: bytes) -> _Ticket | None:
        """Return the ticket of this hash, if it is alive; then it is no more."""
        found = self._alive.pop(hash, None)
        if found is not None:
            of = self._of[found.caller.subject]
            del of[hash]
            if not of:
                del self._of[found.caller.subject]
        return found


def _hash(ticket: str) -> bytes:
    return sha256(ticket.encode()).digest()
