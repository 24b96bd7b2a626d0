"""Request heads as the guard gives them."""

from collections.abc import Iterable

from gateway._sseparse import Fields, fields
from gateway.guard import RequestHead, read_request


def head(line: str = "GET /v1/x", *, host: str = "127.0.0.1:8080", **fields: str) -> RequestHead:
    """Return what a request with these fields means; in their names, `_` stands for `-`."""
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items()]
    return read_request(f"{line} HTTP/1.1\r\nhost: {host}\r\n{''.join(lines)}\r\n".encode())


def head_of(line: str, fields: list[tuple[str, str]]) -> RequestHead:
    """Return what a request with these fields means, of which some may have the same name."""
    lines = [f"{name}: {value}\r\n" for name, value in fields]
    return read_request(f"{line} HTTP/1.1\r\nhost: h\r\n{''.join(lines)}\r\n".encode("latin-1"))


def fields_of(lines: Iterable[tuple[bytes, bytes]]) -> Fields:
    """Return these as the fields of a head."""
    found = fields(b"".join([b"%b: %b\r\n" % line for line in lines]) + b"\r\n", 0)
    assert found is not None, "one of them is none"
    return found
