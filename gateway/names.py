"""How logs are called: by an id that nobody can guess, and an epoch."""

import os


# Ids of generations begin so.
GENERATION = "gen_"
# Characters of base32, 5 bits each, of an id that nobody can guess: without callers' keys
# whoever knows it may read the log.
ID_LENGTH = 20
# … and of an epoch (wire-api §2).
EPOCH_LENGTH = 8
_LENGTH = ID_LENGTH + EPOCH_LENGTH
_BASE32 = bytes(b"abcdefghijklmnopqrstuvwxyz234567"[byte & 31] for byte in range(256))
# So many at once: the kernel is not asked for each.
DRAWN = 256


def draw() -> list[tuple[str, str]]:
    """Draw ids of generations, each with an epoch."""
    drawn = os.urandom(_LENGTH * DRAWN).translate(_BASE32).decode()
    names = [drawn[at : at + _LENGTH] for at in range(0, len(drawn), _LENGTH)]
    return [(GENERATION + name[:ID_LENGTH], name[ID_LENGTH:]) for name in names]
