"""The strict guard: what one whole HTTP/1.1 head, of a client or an upstream, means.

What two parsers may read in two ways is refused even where RFC 9112 lets a lenient
recipient go on: request smuggling lives there.  h11 hears each request head after
this guard and may still refuse it; alone it lets too much through.
"""

import ipaddress
import re
from functools import lru_cache
from typing import Final

import h11

from gateway._sseparse import (
    CHUNKED,
    UNTIL_CLOSE,
    Fields,
    Head,
    Names,
    RequestHead,
    ResponseHead,
    fields,
    length_of,
    read_head,
)
from gateway.client_errors import (
    ExpectationFailed,
    MalformedRequest,
    NotImplementedHere,
    UnsupportedMedia,
    VersionNotSupported,
)
from gateway.errors import GatewayError
from gateway.heads import REQUEST_LINE, STATUS_LINE
from gateway.upstream_errors import UpstreamProtocolError


__all__ = ["MAX_INTERIM", "RequestHead", "ResponseHead", "read_request", "read_response"]

# Interim (1xx) responses to skip before the final one; a real server sends one or two.
MAX_INTERIM: Final = 8

# Heads whose verdict is remembered, as far as it hangs on them: a client says the same in every
# request, and being judged is the dearest part of it.  Only what was found legal is kept; each
# is at most HEAD_LIMIT long, so all of it stays below some megabytes.
MEMORY: Final = 256

# Characters that URIs do not have but browsers leave as they are pass, except where
# somebody might take them for a delimiter: `\` in a path, `#` anywhere.
ORIGIN_FORM = re.compile(rb"(/[!$%&-;=@-\[\]^_`a-z{|}~]*+)(?:\?([!\"$-~]*+))?")
ABSOLUTE_FORM = re.compile(rb"(?i:https?)://([^/?]++)([!-~]*+)")
BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
# A reg-name may also have sub-delims and escapes.  No name that resolves has them, and
# a comma is what two Host lines look like after somebody joined them.  255: DNS.
HOST = re.compile(rb"(?:[A-Za-z0-9._~-]{1,255}+|\[([0-9A-Fa-f:.]{2,45}+)\])(?::([0-9]{0,5}+))?")

# Fields of which two lines are two opinions: framing, routing, identity, resumption.
# Those that are lists by grammar are here because one member is all we take.
SINGLE = Names(
    b"api-key authorization content-encoding content-length content-type expect host"
    b" idempotency-key last-event-id origin sec-websocket-key sec-websocket-version"
    b" transfer-encoding upgrade x-api-key".split()
)
# CONNECT would make us a proxy; TRACE would read credentials back to a script.
REFUSED_METHODS = frozenset((b"CONNECT", b"TRACE"))

# What says where a message goes, how long it is, and what happens to its connection.  None of
# these is a credential: those are never remembered.
DECISIVE = Names(
    b"connection content-encoding content-length expect host transfer-encoding upgrade".split()
)
NO_FIELD = "a field line is not one of HTTP/1.1"
REPEATED = "more than one %s field"


def read_request(raw: bytes) -> RequestHead:
    """
    Return what one whole request head, as HeadReader gives it, means.

    Raises:
        MalformedRequest: it is not exactly what RFC 9112 and RFC 9110 §7.2 allow, or
            may be read in more than one way.
        NotImplementedHere: CONNECT, TRACE, or a transfer coding besides chunked.
        VersionNotSupported: neither HTTP/1.0 nor HTTP/1.1.
        ExpectationFailed: it expects something other than 100-continue.
        UnsupportedMedia: its body has a content coding.
    """
    head = read_head(raw, _judge_request, DECISIVE)
    if head is None:
        raise MalformedRequest(NO_FIELD)
    if repeated := head.repeated(SINGLE):
        raise MalformedRequest(REPEATED % repeated.decode("ascii"))
    return head


def read_response(raw: bytes) -> ResponseHead:
    """
    Return what one whole response head, as ResponseReader gives it, means.

    It answers no HEAD: we send none.  Interim responses (status below 200) are for the
    caller to skip, MAX_INTERIM at most.

    Raises:
        UpstreamProtocolError: it is not exactly what RFC 9112 allows, or may be read in
            more than one way; kind "encoding" if its body has a content coding.
    """
    end = raw.find(b"\n") + 1
    headers = fields(raw, end)
    if headers is None:
        raise UpstreamProtocolError(NO_FIELD)
    known = _judge_response(raw[:end], headers.decisive(DECISIVE))
    head = known.alike(headers)
    if repeated := head.repeated(SINGLE):
        raise UpstreamProtocolError(REPEATED % repeated.decode("ascii"))
    return head


@lru_cache(MEMORY)
def _judge_request(line: bytes, lines: bytes) -> RequestHead:
    """Return what a request line and the decisive fields say."""
    match = REQUEST_LINE.fullmatch(line)
    if match is None:
        raise MalformedRequest("the request line is not one of HTTP/1.1")
    method, target, version = match.groups()
    if version != b"1.1" and version != b"1.0":
        raise VersionNotSupported("this server speaks HTTP/1.1")
    if method in REFUSED_METHODS:
        raise NotImplementedHere("this server has neither CONNECT nor TRACE")
    authority, path, query = _split_target(method, target)
    headers = _fields_of(lines)
    head = RequestHead(method.decode(), path, query, headers, http10=version == b"1.0")
    if repeated := head.repeated(SINGLE):
        raise MalformedRequest(REPEATED % repeated.decode("ascii"))
    _check_host(head, authority)
    _read_request_framing(head)
    _read_connection(head)
    _hear_second_opinion(method, target, version, head.headers)
    head.authority = authority  # RFC 9112 §3.2.2: it counts, whatever Host says
    return head


@lru_cache(MEMORY)
def _judge_response(line: bytes, lines: bytes) -> ResponseHead:
    """Return what a status line and the decisive fields say."""
    match = STATUS_LINE.fullmatch(line)
    if match is None:
        raise UpstreamProtocolError("the status line is not one of HTTP/1.1")
    minor, status = match.groups()
    head = ResponseHead(int(status), _fields_of(lines), http10=minor == b"0")
    if repeated := head.repeated(SINGLE):
        raise UpstreamProtocolError(REPEATED % repeated.decode("ascii"))
    if head.status == 101:
        raise UpstreamProtocolError("the upstream switched to a protocol nobody asked for")
    if head.get(b"content-encoding").lower() not in (b"", b"identity"):
        raise UpstreamProtocolError("the body has a content coding", kind="encoding")
    _read_response_framing(head)
    return head


def _fields_of(lines: bytes) -> Fields:
    found = fields(lines + b"\r\n", 0)
    assert found is not None  # they were fields before
    return found


def _split_target(method: bytes, target: bytes) -> tuple[bytes, str, str]:
    """Return authority (b"" unless in absolute form), path and query (RFC 9112 §3.2)."""
    if target == b"*" and method == b"OPTIONS":
        return b"", "*", ""
    authority = b""
    if not target.startswith(b"/") and (absolute := ABSOLUTE_FORM.fullmatch(target)):
        authority, target = absolute.groups()
        if not target.startswith(b"/"):
            target = b"/" + target
    origin = ORIGIN_FORM.fullmatch(target)
    if origin is None:
        raise MalformedRequest("the request target is not one of HTTP/1.1")
    path, query = origin.groups(b"")
    if b"%" in path and BAD_ESCAPE.search(path):
        raise MalformedRequest("a % in the path does not begin an escape")
    return authority, path.decode(), query.decode()


def _check_host(head: RequestHead, authority: bytes) -> None:
    if head.has(b"host"):
        _check_authority(head.get(b"host"))
    elif not head.http10:
        raise MalformedRequest("the Host field is missing")
    if authority:
        _check_authority(authority)
        head.replace(b"host", authority)


def _check_authority(authority: bytes) -> None:
    match = HOST.fullmatch(authority)
    if match is None:
        raise MalformedRequest("the host is not a name or an address with an optional port")
    ipv6, port = match.groups()
    if port and int(port) > 0xFFFF:
        raise MalformedRequest("the port of the host is not one")
    if ipv6:
        try:
            ipaddress.IPv6Address(ipv6.decode("ascii"))
        except ValueError as error:
            raise MalformedRequest("the host is not an IPv6 address") from error


def _framing(head: Head, without: int, refuse: type[GatewayError]) -> int:
    """Return what the framing fields say of the body (RFC 9112 §6), `without` if nothing."""
    if head.has(b"transfer-encoding"):
        if head.has(b"content-length"):
            raise refuse("both Transfer-Encoding and Content-Length")
        if head.http10:
            raise refuse("Transfer-Encoding in HTTP/1.0")
        if head.get(b"transfer-encoding").lower() != b"chunked":
            raise refuse("a Transfer-Encoding other than chunked")
        return CHUNKED
    if not head.has(b"content-length"):
        return without
    length = length_of(head.get(b"content-length"))
    if length < 0:
        raise refuse("the Content-Length is not a number, or out of range")
    head.sized = True
    return length


def _read_request_framing(head: RequestHead) -> None:
    *inner, last = head.get(b"transfer-encoding").lower().split(b",")
    if inner and last.strip(b" \t") == b"chunked":
        # Framed well, coded in a way we do not have (RFC 9112 §6.1).
        raise NotImplementedHere("a Transfer-Encoding besides chunked")
    head.framing = _framing(head, 0, MalformedRequest)
    # Never inflated: a few kilobytes may become gigabytes.
    if head.has(b"content-encoding") and head.get(b"content-encoding").lower() != b"identity":
        raise UnsupportedMedia("request bodies with a Content-Encoding are not taken")
    expects = head.has(b"expect")
    if expects and head.get(b"expect").lower() != b"100-continue":
        raise ExpectationFailed("the only expectation known here is 100-continue")
    head.expect_continue = expects and not head.http10  # RFC 9110 §10.1.1


def _read_connection(head: RequestHead) -> None:
    if head.http10:  # RFC 9110 §7.8: its Upgrade is ignored
        return
    options = head.members(b"connection")
    head.keep_alive = b"close" not in options
    if b"upgrade" in options:
        head.upgrade = head.get(b"upgrade").lower()


def _read_response_framing(head: ResponseHead) -> None:
    framing = _framing(head, UNTIL_CLOSE, UpstreamProtocolError)
    if head.status < 200 or head.status == 204:
        # Whoever announces a body here (RFC 9110 §8.6 forbids it) may also send it, and
        # it would be read as the next response; zero is harmless, and common.
        if framing not in (0, UNTIL_CLOSE):
            raise UpstreamProtocolError(f"a body announced in a {head.status} response")
        framing, head.sized = 0, False
    elif head.status == 304:
        # The fields tell of the body that a GET would have got.
        framing, head.sized = 0, False
    head.framing = framing
    head.keep_alive = not (
        head.http10 or framing == UNTIL_CLOSE or b"close" in head.members(b"connection")
    )


def _hear_second_opinion(
    method: bytes, target: bytes, version: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    """Let h11 judge what routes and frames the request, and go on only if it agrees.

    h11 gets the request as we have read it, not its bytes: the lines were split more
    strictly than h11 does, and doing it twice made the dearest part of a request.
    """
    try:
        seen = h11.Request(method=method, target=target, headers=headers, http_version=version)
    except h11.LocalProtocolError as error:
        # Its text quotes the bytes, credentials among them: it stays out of ours.
        raise MalformedRequest("the request is not legal HTTP/1.1") from error
    if len(seen.headers) != len(headers):
        raise MalformedRequest("the request can be read in two ways")
