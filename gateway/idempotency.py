"""Keys of idempotency: which log a repeated request belongs to.  Pure: time is an argument."""

import hashlib
from collections import OrderedDict
from typing import NamedTuple

from gateway.client_errors import Unprocessable


# Seconds a key is remembered (wire-api §1).
REMEMBERED = 24 * 3600.0
# Keys remembered: some 30 MB.  Beyond it the oldest is forgotten before its time.
MOST = 100_000


class Claim(NamedTuple):
    """What a key was first used for."""

    digest: bytes
    log: str  # its id
    until: float


class IdempotencyKeys:
    """The keys that callers sent, each caller's apart."""

    def __init__(self, most: int = MOST) -> None:
        # By subject and the key's digest: a key may fill a whole head, a hundred thousand memory.
        self._claims: OrderedDict[tuple[str, bytes], Claim] = OrderedDict()
        self._most = most

    def __len__(self) -> int:
        return len(self._claims)

    def find(self, subject: str, key: bytes, body: bytes, now: float) -> str | None:
        """Return the id of the log that this request began, None if it is a new one.

        Raises:
            Unprocessable: the key was used for another body.
        """
        claim = self._claims.get((subject, _digest(key)))
        if claim is None or claim.until <= now:
            return None
        if claim.digest != _digest(body):
            raise Unprocessable("this idempotency key was used for another request")
        return claim.log

    def claim(self, subject: str, key: bytes, body: bytes, log: str, now: float) -> None:
        """Remember that this request began `log`; a later claim of the key takes its place."""
        name = (subject, _digest(key))
        self._claims.pop(name, None)
        self._claims[name] = Claim(_digest(body), log, now + REMEMBERED)
        # All are remembered for as long, so the oldest stands first.
        while len(self._claims) > self._most or next(iter(self._claims.values())).until <= now:
            self._claims.popitem(last=False)


def _digest(said: bytes) -> bytes:
    return hashlib.sha256(said).digest()
