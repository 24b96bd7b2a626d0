"""The handshake of a WebSocket: what may become one, and what it is told."""

import pytest

from gateway.client_errors import Forbidden, MalformedRequest, MethodNotAllowed, UpgradeRequired
from gateway.guard import RequestHead, read_request
from gateway.handshake import Handshake, handshake
from tests.fake_client import get
from tests.fake_websocket import FIELDS, without


def request(*fields: str, method: str = "GET", version: str = "1.1") -> RequestHead:
    return read_request(get("/ws", *fields, method=method, version=version))


def judge(head: RequestHead, *protocols: str) -> Handshake:
    return handshake(head, protocols, allowed=lambda origin: origin == b"https://good.example")


def test_the_example_of_the_standard_is_accepted():
    shake = judge(request(*FIELDS))

    assert shake.protocol == ""
    assert shake.fields == (
        b"upgrade: websocket\r\n"
        b"connection: upgrade\r\n"
        b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
    )


def test_what_browsers_write_is_accepted():
    fields = [*without("Upgrade"), "Upgrade: WebSocket", "Connection: keep-alive, upgrade"]
    assert judge(request(*fields, "Origin: https://good.example"))


REFUSED = {
    "POST": (request(*FIELDS, method="POST"), MethodNotAllowed),
    "no upgrade": (request(*without("Upgrade")), UpgradeRequired),
    "another protocol": (request(*without("Upgrade"), "Upgrade: h2c"), UpgradeRequired),
    "one of two protocols": (
        request(*without("Upgrade"), "Upgrade: h2c, websocket"),
        UpgradeRequired,
    ),
    "upgrade, but not as an option": (request(*without("Connection")), UpgradeRequired),
    "HTTP/1.0": (request(*FIELDS, version="1.0"), UpgradeRequired),
    "no version": (request(*without("Sec-WebSocket-Version")), UpgradeRequired),
    "version 8": (
        request(*without("Sec-WebSocket-Version"), "Sec-WebSocket-Version: 8"),
        UpgradeRequired,
    ),
    "no key": (request(*without("Sec-WebSocket-Key")), MalformedRequest),
    "a body": (request(*FIELDS, "Content-Length: 1"), MalformedRequest),
    "a chunked body": (request(*FIELDS, "Transfer-Encoding: chunked"), MalformedRequest),
    "another origin": (request(*FIELDS, "Origin: https://bad.example"), Forbidden),
    "the origin of a sandbox": (request(*FIELDS, "Origin: null"), Forbidden),
}


@pytest.mark.parametrize(("head", "error"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_handshake_is_refused(head, error):
    with pytest.raises(error):
        judge(head)


@pytest.mark.parametrize("key", ["AAAA", "A" * 24, "A" * 22, "A" * 23 + "=", "*" * 22 + "==", "é"])
def test_a_key_that_is_not_16_bytes_in_base64_is_refused(key):
    with pytest.raises(MalformedRequest):
        judge(request(*without("Sec-WebSocket-Key"), f"Sec-WebSocket-Key: {key}"))


# What is offered in lines, what is ours, what is chosen.
PROTOCOLS = {
    "none, none": ([], [], ""),
    "one": (["b"], ["a", "b"], "b"),
    "ours by our order": (["b, a"], ["a", "b"], "a"),
    "over several lines": (["x", "y,b"], ["b"], "b"),
    "unknown only": (["x"], ["a"], ""),
    "case counts": (["A"], ["a"], ""),
    "nothing between commas": ([", ,"], ["a"], ""),
    "a ticket alone": (["ticket.s3cret"], ["a"], ""),
    "a ticket and one of ours": (["ticket.s3cret, a"], ["a"], "a"),
    "bytes that are no token": (["\xff"], ["a"], ""),
}


@pytest.mark.parametrize(("lines", "ours", "chosen"), PROTOCOLS.values(), ids=PROTOCOLS.keys())
def test_a_subprotocol_is_chosen_of_those_offered(lines, ours, chosen):
    shake = judge(request(*FIELDS, *[f"Sec-WebSocket-Protocol: {line}" for line in lines]), *ours)

    assert shake.protocol == chosen
    assert (b"sec-websocket-protocol: " in shake.fields) == bool(chosen)
    assert b"s3cret" not in shake.fields
