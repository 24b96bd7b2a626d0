"""The keys of one upstream: each in its turn, but for those that are refused or tired.

    ready     used in turn
    cooling   the provider said 429: used again after its retry-after, or when nothing else is left
    out       the provider said 401, 402 or 403: tried again, by one request, once in RETEST
"""

import itertools
import math
from collections.abc import Iterable


# Seconds until a refused key is tried again, by a single request: a bill gets paid, a right is
# granted, and nobody has to restart anything for it.
RETEST = 60.0


class Key:
    """One key; no repr shows it."""

    __slots__ = ("out", "until", "value")

    def __init__(self, value: bytes) -> None:
        self.value = value  # empty: an upstream that wants none
        self.out = False  # the provider refuses it
        self.until = 0.0  # it is cooling, or out, until then

    def __repr__(self) -> str:
        return "<Key, out>" if self.out else "<Key>"


class Keyring:
    """At least one key, in turn."""

    __slots__ = ("_keys", "_turns")

    def __init__(self, values: Iterable[bytes]) -> None:
        self._keys = [Key(value) for value in values] or [Key(b"")]
        self._turns = itertools.cycle(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def none(self) -> bool:
        """Whether there is no key: the provider wants none, as far as was said."""
        return not self._keys[0].value

    @property
    def out(self) -> int:
        """How many are refused by the provider."""
        return sum(key.out for key in self._keys)

    def place(self, key: Key) -> int:
        """Return where a key stands in the configuration: all that may be said of it."""
        return self._keys.index(key)

    def wait(self, now: float) -> float:
        """Return the seconds until a key is ready; infinity if all are out and none is due."""
        waits = [key.until - now for key in self._keys if key.until <= now or not key.out]
        return max(0.0, min(waits, default=math.inf))

    def pick(self, now: float) -> Key | None:
        """Return the key whose turn it is, else the one that is ready soonest; None: all are out.

        A key that was out and is due goes to whoever is first, and to nobody else for a while.
        """
        key = next(self._turns)
        if key.until <= now and not key.out:
            return key
        return self._search(now)

    def _search(self, now: float) -> Key | None:
        for _ in self._keys:
            key = next(self._turns)
            if key.until <= now:
                if key.out:
                    key.until = now + RETEST
                return key
        cooling = [key for key in self._keys if not key.out]
        return min(cooling, key=lambda key: key.until, default=None)

    def spare(self) -> Key:
        """Return a key for what no request asks: one in use if there is one, out of turn."""
        return min(self._keys, key=lambda key: key.out)

    def accepted(self, key: Key) -> None:
        """Note that the provider took a key."""
        if key.out:
            key.out = False
            key.until = 0.0

    def refused(self, key: Key, now: float) -> bool:
        """Take a key out; tell whether it was in until now.  No key at all cannot be refused."""
        was_in = bool(key.value) and not key.out
        if key.value:
            key.out = True
            key.until = now + RETEST
        return was_in

    def limited(self, key: Key, seconds: float, now: float) -> None:
        """Let a key cool down for what the provider asked."""
        if not key.out:
            key.until = max(key.until, now + seconds)
