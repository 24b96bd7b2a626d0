"""The request that a WebSocket begins with (RFC 6455 §4): judged, and answered."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from wsproto.utilities import generate_accept_token

from gateway.client_errors import Forbidden, MalformedRequest, MethodNotAllowed, UpgradeRequired
from gateway.guard import RequestHead


# The base64 of 16 bytes.
KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")


class Handshake(NamedTuple):
    """A request that may become a WebSocket."""

    protocol: str  # the subprotocol, "" for none
    fields: bytes  # of the 101


def handshake(
    head: RequestHead, protocols: Sequence[str] = (), *, allowed: Callable[[bytes], bool]
) -> Handshake:
    """Judge an upgrade to WebSocket as RFC 6455 §4.2.1 wants.

    Of `protocols`, the first that the client offers is chosen; a client that offers none of
    them gets none.  `allowed` judges the Origin of a request that has one: browsers send it,
    and let any page open any WebSocket.

    Raises:
        MethodNotAllowed: it is not a GET.
        UpgradeRequired: it does not ask for WebSocket, or not for version 13.
        MalformedRequest: its key is not one, or it has a body.
        Forbidden: its origin is not allowed.
    """
    if head.method != "GET":
        raise MethodNotAllowed("a WebSocket begins with GET", allow="GET")
    if head.upgrade != b"websocket" or head.get(b"sec-websocket-version") != b"13":
        raise UpgradeRequired("this path speaks WebSocket, version 13, over HTTP/1.1")
    key = head.get(b"sec-websocket-key")
    if not KEY.fullmatch(key):
        raise MalformedRequest("the Sec-WebSocket-Key is not 16 bytes in base64")
    if head.framing:
        raise MalformedRequest("a WebSocket handshake has no body")
    origin = head.get(b"origin")
    if origin and not allowed(origin):
        raise Forbidden("this origin may not open WebSockets here")
    offered = _offered(head)
    protocol = next((name for name in protocols if name.encode() in offered), "")
    return Handshake(protocol, _fields(key, protocol))


def _offered(head: RequestHead) -> set[bytes]:
    """Return the subprotocols; unlike most members of lists their case counts."""
    lines = [value for name, value in head.headers if name == b"sec-websocket-protocol"]
    return {name.strip(b" \t") for name in b",".join(lines).split(b",")}


def _fields(key: bytes, protocol: str) -> bytes:
    accept = generate_accept_token(key)
    return b"upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: %b\r\n%b" % (
        accept,
        b"sec-websocket-protocol: %b\r\n" % protocol.encode() if protocol else b"",
    )
