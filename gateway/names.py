"""How logs are called: by an id that nobody can guess, and an epoch."""

import os
from collections.abc import Iterator


# Ids of generations begin so.
GENERATION = "gen_"
# Characters of base32, 5 bits each, of an id that nobody can guess: without callers' keys
# whoever knows it may read the log.
ID_LENGTH = 20
# … and of an epoch (wire-api §2).
EPOCH_LENGTH = 8
_LENGTH = ID_LENGTH + EPOCH_LENGTH
_BASE32 = bytes(b"abcdefghijklmnopqrstuvwxyz234567"[byte & 31] for byte in range(256))
# The kernel is asked for so many at once.
_AT_ONCE = 256


def names() -> Iterator[tuple[str, str]]:
    """Draw ids of generations, each with an epoch, without end."""
    while True:
        drawn = os.urandom(_LENGTH * _AT_ONCE).translate(_BASE32).decode()
        for at in range(0, len(drawn), _LENGTH):
            epoch = at + ID_LENGTH
            yield GENERATION + drawn[at:epoch], drawn[epoch : at + _LENGTH]
