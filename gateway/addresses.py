"""Places that an operator writes as text: addresses to listen at, URLs, origins, paths.

Its readers keep to what units.py says of its own.
"""

import ipaddress
import os
import re
from collections.abc import Callable
from dataclasses import dataclass

from gateway.errors import ConfigError


_HOST = r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253})"
_TCP = re.compile(_HOST + r":(?P<port>[0-9]{1,5})")
# What RFC 3986 §3.3 allows in a path; the rest of the URL has no place here.
_URL = re.compile(
    r"(?P<scheme>https?)://"
    + _HOST
    + r"(?::(?P<port>[0-9]{1,5}))?(?P<path>/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?",
    re.IGNORECASE,
)
_DEFAULT_PORT = {"http": 80, "https": 443}
# RFC 3986 §3.3 and §3.4: a path, and a query if there is one.
_URL_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]{0,2000}")

# The common slips, each with its own words, before the whole form is looked at.
_URL_FAULTS = (
    (r"(?!(?i:https?)://)", "a URL that begins with https:// or http://"),
    (r".*[^!-~]", "a URL of ASCII characters without spaces"),
    (r"[^/]*//[^/?#]*@", "a URL without user and password (the key belongs in keys)"),
    (r".*[?#]", "a URL without query and fragment"),
)

# sockaddr_un holds 108 bytes with the NUL (unix(7)).
UNIX_PATH_LIMIT = 107

# RFC 6454 §7.1, and so what a browser can send: neither path nor "/" at the end.
_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://" + _HOST + r"(?::(?P<port>[0-9]{1,5}))?", re.I
)


class Address:
    """Where a listener is: a Tcp, a Unix or a Systemd; str gives the form `address` reads."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Tcp(Address):
    """Listen at `host`, a name or an IP address without brackets; of port 0 the system picks."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Unix(Address):
    """Listen at a socket file, by its absolute path."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class Systemd(Address):
    """Take over the sockets that a .socket unit passes under this FileDescriptorName."""

    name: str

    def __str__(self) -> str:
        return f"systemd:{self.name}"


class Url:
    """The base URL of an upstream, in the parts that a connection and a request need."""

    # Not a dataclass: msgspec would want a table in its place, and not ask for the text.
    __slots__ = ("host", "path", "port", "scheme")

    def __init__(self, scheme: str, host: str, port: int, path: str) -> None:
        self.scheme = scheme  # http or https
        self.host = host  # lower case, an IPv6 address without its brackets
        self.port = port
        self.path = path  # stands before every path; empty, or begins with "/", never ends so

    def __repr__(self) -> str:
        return f"Url({self.scheme!r}, {self.host!r}, {self.port}, {self.path!r})"


class UrlPath(str):
    """A path below an upstream's base URL, and a query if there is one."""

    __slots__ = ()


class Origin(str):
    """An origin in the very form in which browsers send it, so that equal means the same."""

    __slots__ = ()


def address(text: str) -> Address:
    """Return the listener's address that "host:port", "unix:/path" or "systemd:NAME" means.

    Raises:
        ConfigError: another form, a port above 65535, a path too long for a socket.
    """
    kind, _, rest = text.partition(":")
    if kind == "unix" and rest.startswith("/") and rest.isprintable():
        if len(os.fsencode(rest)) > UNIX_PATH_LIMIT:
            raise ConfigError(f"expected a socket path of at most {UNIX_PATH_LIMIT} bytes")
        return Unix(rest)
    # systemd.socket(5): ASCII, no control characters, no colon, at most 255.
    if kind == "systemd" and re.fullmatch(r"[!-9;-~]{1,255}", rest):
        return Systemd(rest)
    match = _TCP.fullmatch(text)
    if match is None or kind in ("unix", "systemd"):
        raise ConfigError('expected "host:port", "[::]:port", "unix:/path" or "systemd:NAME"')
    return Tcp(_host(match["host"]), _port(match["port"], lowest=0))


def url(text: str) -> Url:
    """Return the parts of the base URL `text`, its last "/" dropped.

    Raises:
        ConfigError: not http or https, a part that a base URL cannot have, a bad host or port.
    """
    for fault, wanted in _URL_FAULTS:
        if re.match(fault, text, re.DOTALL):
            raise ConfigError(f"expected {wanted}")
    match = _URL.fullmatch(text)
    if match is None:
        raise ConfigError('expected a URL such as "https://api.openai.com/v1"')
    scheme = match["scheme"].lower()
    port = _port(match["port"], lowest=1) if match["port"] else _DEFAULT_PORT[scheme]
    return Url(scheme, _host(match["host"]), port, (match["path"] or "").rstrip("/"))


def url_path(text: str) -> UrlPath:
    """Return `text` as a UrlPath, or raise ConfigError."""
    if not _URL_PATH.fullmatch(text):
        raise ConfigError('expected a path such as "/models"')
    return UrlPath(text)


def origin(text: str) -> Origin:
    """Return the origin `text` as browsers send it: lower case, without the scheme's own port.

    Raises:
        ConfigError: another form, "*" and "null" among them, or a bad host or port.
    """
    match = _ORIGIN.fullmatch(text)
    if match is None or match["scheme"].lower() == "file":  # browsers say "null" of files
        raise ConfigError('expected an origin such as "https://app.example.com", without a path')
    scheme, host = match["scheme"].lower(), _host(match["host"])
    bare = f"{scheme}://[{host}]" if ":" in host else f"{scheme}://{host}"
    if match["port"] is None:
        return Origin(bare)
    port = _port(match["port"], lowest=1)
    return Origin(bare if port == _DEFAULT_PORT.get(scheme) else f"{bare}:{port}")


def is_loopback(host: str) -> bool:
    """Tell whether `host`, as a Tcp or Url has it, cannot be reached from other machines."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _host(text: str) -> str:
    bare = text.strip("[]").lower()
    try:
        if bare != text.lower():
            return str(ipaddress.IPv6Address(bare))  # browsers write it in this form too
        if not bare.strip("0123456789."):
            ipaddress.IPv4Address(bare)
    except ValueError:
        raise ConfigError("expected a valid IP address, or a host name") from None
    return bare


def _port(text: str, *, lowest: int) -> int:
    if not lowest <= int(text) <= 65535:
        raise ConfigError(f"expected a port from {lowest} to 65535")
    return int(text)


# Which reader reads which type.
READERS: dict[type, Callable[[str], object]] = {
    Address: address,
    Url: url,
    UrlPath: url_path,
    Origin: origin,
}
