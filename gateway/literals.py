"""What an operator writes that is taken as it stands: names, keys, the path of a file.

Its readers keep to what units.py says of its own.
"""

import re
from collections.abc import Callable

from gateway.errors import ConfigError


# A key that a caller presents is all that stands between a stranger and the provider's
# bill: 16 characters are the least that nobody guesses, if they were made by chance.
LEAST_KEY = 16

# RFC 3986 §2.3: what stands in a path without being escaped; "." and ".." mean other paths.
_SEGMENT = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._~-]{1,128}")
# RFC 6265 §4.1.1: the name of a cookie is a token.
_COOKIE = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")


class Name(str):
    """A name fit for a log line and a metric label: printable, not empty."""

    __slots__ = ()


class Segment(Name):
    """A name that stands in the path of a URL as it is."""

    __slots__ = ()


class CookieName(str):
    """The name of a cookie."""

    __slots__ = ()


class Sticky(str):
    """What ties requests to one target: "user", or the name of a field in lower case."""

    __slots__ = ()


class ReadableFile(str):
    """The path of a file that could be opened when the configuration was read."""

    __slots__ = ()


class Secret:
    """A key.  No repr, str or format shows it, only `reveal`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "***"

    def reveal(self) -> str:
        """Return the key itself, for the header it is sent in."""
        return self._value


class CallerKey(Secret):
    """A key that callers present, too long to be guessed."""

    __slots__ = ()


def name(text: str) -> Name:
    """Return `text` as a Name, or raise ConfigError."""
    if not text or not text.isprintable():
        raise ConfigError("expected a name of printable characters")
    return Name(text)


def segment(text: str) -> Segment:
    """Return `text` as a Segment, or raise ConfigError."""
    if not _SEGMENT.fullmatch(text):
        raise ConfigError('expected a name of at most 128 letters, digits, "-", "_", "." and "~"')
    return Segment(text)


def cookie_name(text: str) -> CookieName:
    """Return `text` as a CookieName, or raise ConfigError."""
    if not _COOKIE.fullmatch(text):
        raise ConfigError('expected the name of a cookie such as "session"')
    return CookieName(text)


def sticky(text: str) -> Sticky:
    """Return "user" as it is, and of "header:NAME" the name in lower case.

    Raises:
        ConfigError: another form.
    """
    if text == "user":
        return Sticky(text)
    word, _, field = text.partition(":")
    if word != "header" or not _COOKIE.fullmatch(field):
        raise ConfigError('expected "user", or "header:NAME" with the name of a field')
    return Sticky(text.lower())


def readable_file(text: str) -> ReadableFile:
    """Return `text` as the path of a file that can be read, or raise ConfigError."""
    try:
        with open(text, "rb"):
            return ReadableFile(text)
    except OSError as error:
        raise ConfigError(f"expected a readable file ({error.strerror})") from None
    except ValueError:  # a NUL in the path
        raise ConfigError("expected a readable file") from None


def secret(text: str) -> Secret:
    """Return `text` as a Secret; ConfigError if it cannot be sent in a header field."""
    if not text:
        raise ConfigError('expected a key such as "${OPENAI_API_KEY}"')
    if not re.fullmatch(r"[!-~]+", text):
        raise ConfigError("expected a key of visible ASCII characters")
    return Secret(text)


def caller_key(text: str) -> CallerKey:
    """Return `text` as a CallerKey; ConfigError if no header can bear it, or it is short."""
    if len(text) < LEAST_KEY:
        raise ConfigError(f"expected a key of at least {LEAST_KEY} characters")
    return CallerKey(secret(text).reveal())


# Which reader reads which type.
READERS: dict[type, Callable[[str], object]] = {
    Name: name,
    Segment: segment,
    CookieName: cookie_name,
    Sticky: sticky,
    ReadableFile: readable_file,
    Secret: secret,
    CallerKey: caller_key,
}
