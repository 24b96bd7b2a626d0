"""Amounts that an operator writes as text: durations and sizes.

Each reader, here and in addresses.py and literals.py, takes the text of one value and
returns what it means, or raises a ConfigError that completes "expected …".  No error
repeats the text: it may be a secret, or hold one.  Whoever knows where it stood decides
what of it can be shown.
"""

import re
from collections.abc import Callable

from gateway.errors import ConfigError


_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]{1,10})(ms|s|m|h)")

# No stream, no drain lasts a year: longer is a slip of the keyboard, and timers
# count milliseconds in fixed-size integers.
LONGEST_DURATION = 366 * 24 * 3600.0

_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE = re.compile(r"([0-9]{1,12})(B|KiB|MiB|GiB)")


class Seconds(float):
    """A duration in seconds."""

    __slots__ = ()


class Timeout(Seconds):
    """The longest wait for something, in seconds; more than none."""

    __slots__ = ()


class Grace(Seconds):
    """How long a generation goes on without a reader, in seconds; of none it is cancelled."""

    __slots__ = ()


class Size(int):
    """A number of bytes; more than none."""

    __slots__ = ()


def duration(text: str) -> Seconds:
    """Return how long a duration such as "500ms", "30s", "5m" or "1h" lasts.

    Raises:
        ConfigError: another form, or longer than LONGEST_DURATION.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ConfigError('expected a duration such as "500ms", "30s", "5m" or "1h"')
    seconds = int(match[1]) * _SECONDS[match[2]]
    if seconds > LONGEST_DURATION:
        raise ConfigError("expected a duration of at most a year")
    return Seconds(seconds)


def timeout(text: str) -> Timeout:
    """Return a duration that is longer than none, or raise ConfigError."""
    seconds = duration(text)
    if not seconds:
        raise ConfigError("expected a duration longer than none")
    return Timeout(seconds)


def grace(text: str) -> Grace:
    """Return how long "cancel" or "detach:60s" lets a generation go on without a reader.

    Raises:
        ConfigError: another form, or a bad duration.
    """
    policy, colon, rest = text.partition(":")
    if policy == "cancel" and not colon:
        return Grace(0)
    if policy != "detach" or not colon:
        raise ConfigError('expected "cancel", or "detach:60s" with a duration')
    return Grace(timeout(rest))


def size(text: str) -> Size:
    """Return the bytes of a size such as "512B", "64KiB", "20MiB" or "1GiB".

    KB and MB are refused: half of their readers mean 1000, the others 1024.

    Raises:
        ConfigError: another form, or none.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ConfigError('expected a size such as "512B", "64KiB", "20MiB" or "1GiB"')
    if not int(match[1]):
        raise ConfigError("expected a size larger than none")
    return Size(int(match[1]) * _BYTES[match[2]])


# Which reader reads which type.
READERS: dict[type, Callable[[str], object]] = {
    Seconds: duration,
    Timeout: timeout,
    Grace: grace,
    Size: size,
}
