"""Request heads as the guard gives them."""

from gateway.guard import RequestHead, read_request


def head(line: str = "GET /v1/x", *, host: str = "127.0.0.1:8080", **fields: str) -> RequestHead:
    """Return what a request with these fields means; in their names, `_` stands for `-`."""
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items()]
    return read_request(f"{line} HTTP/1.1\r\nhost: {host}\r\n{''.join(lines)}\r\n".encode())


def head_of(line: str, fields: list[tuple[str, str]]) -> RequestHead:
    """Return what a request with these fields means, of which some may have the same name."""
    lines = [f"{name}: {value}\r\n" for name, value in fields]
    return read_request(f"{line} HTTP/1.1\r\nhost: h\r\n{''.join(lines)}\r\n".encode("latin-1"))
