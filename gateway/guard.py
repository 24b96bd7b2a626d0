"""The strict guard for HTTP/1.1 heads, of clients and of upstreams.

Two steps on each side, both pure:

    HeadReader, ResponseReader    bytes, however they were cut → one whole head
    read_request, read_response   one whole head → what it means, or a refusal

The readers count (bytes, fields) and give up at the first byte after which no legal
head can come any more, so nobody waits for the end of what is lost already.  The
verdict depends on the bytes alone, never on how they arrived.

What two parsers may read in two ways is refused even where RFC 9112 lets a lenient
recipient go on: request smuggling lives there.  h11 hears each request head after
this guard and may still refuse it; alone it lets too much through.
"""

import ipaddress
import re
from typing import ClassVar, Final

import h11

from gateway._sseparse import CHUNKED, UNTIL_CLOSE
from gateway.errors import (
    ExpectationFailed,
    GatewayError,
    HeadTooLarge,
    MalformedRequest,
    NotImplementedHere,
    TargetTooLong,
    UnsupportedMedia,
    UpstreamProtocolError,
    VersionNotSupported,
)


# Bytes of a request or status line with its CRLF: RFC 9112 §3 wants 8000 at least.
LINE_LIMIT: Final = 8 * 1024
# Bytes of a head: four times what nginx takes, room for a fat cookie and a long token.
HEAD_LIMIT: Final = 32 * 1024
# Fields of a head: SDKs send about 20, a browser behind two proxies about 40.
FIELD_LIMIT: Final = 100
# Digits of a Content-Length: the number stays below 2^63 for whoever reads it next.
LENGTH_DIGITS: Final = 18
# Interim (1xx) responses to skip before the final one; a real server sends one or two.
MAX_INTERIM: Final = 8

# Possessive quantifiers everywhere: no input makes a pattern go back over it.
_TCHAR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"  # RFC 9110 §5.6.2
_TOKEN = _TCHAR + rb"++"
REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([!-~]++) HTTP/([0-9]\.[0-9])\r\n")
# RFC 9112 §4 wants the space even before an empty reason; servers forget it.
STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [\t -~\x80-\xff]*+)?\r\n")
FIELD = re.compile(rb"(?<=\n)(" + _TOKEN + rb"):[ \t]*+([\t -~\x80-\xff]*+)\r\n")
# A control byte, or a CR or LF outside a CRLF; a CR at the very end may yet get its LF.
ILLEGAL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n|\Z)|(?<!\r)\n")
# The first line, all the fields a head may have, and one more that has begun.
TOO_MANY = re.compile(rb"(?:[^\n]*+\n){%d}(?=[^\r])" % (1 + FIELD_LIMIT))

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
SINGLE = frozenset(
    b"api-key authorization content-encoding content-length content-type expect host"
    b" idempotency-key last-event-id origin sec-websocket-key sec-websocket-version"
    b" transfer-encoding upgrade x-api-key".split()
)
# CONNECT would make us a proxy; TRACE would read credentials back to a script.
REFUSED_METHODS = frozenset((b"CONNECT", b"TRACE"))

# What says where a request goes, how long it is, and what happens to its connection.
DECISIVE = frozenset({
    b"host",
    b"connection",
    b"content-length",
    b"transfer-encoding",
    b"expect",
    b"upgrade",
})  # fmt: skip

Fields = list[tuple[bytes, bytes]]


class HeadReader:
    """
    Cut request heads out of what one connection sends.

    One empty line before a request line is dropped (RFC 9112 §2.2).  After an error the
    reader is spent: close the connection.
    """

    __slots__ = ("_held", "_judged", "_lines", "rest")

    _empty_line: ClassVar = b"\r\n"  # what may stand before the first line, once
    _opening: ClassVar = re.compile(rb"(?:\r\n)?(?:" + _TCHAR + rb"|\r?\Z)")
    _start_line: ClassVar = REQUEST_LINE
    _malformed: ClassVar[type[GatewayError]] = MalformedRequest
    _line_too_long: ClassVar[type[GatewayError]] = TargetTooLong
    _too_large: ClassVar[type[GatewayError]] = HeadTooLarge

    def __init__(self) -> None:
        self.rest = b""  # what came after the last head: its body, the next request
        self._held = bytearray()  # the unfinished head; at most HEAD_LIMIT and CRLF
        self._judged = 0  # how many bytes of it were found harmless
        self._lines = 0  # how many LFs are among these

    @property
    def pending(self) -> bool:
        """Whether a head has begun; the empty line before it does not count."""
        return self._held not in (b"", self._empty_line)

    def feed(self, data: bytes) -> bytes | None:
        """
        Return the next whole head, start line to empty line, or None if more must come.

        What followed the head is then in `rest`; feed it again when the body is over.

        Raises:
            MalformedRequest: no legal head begins like this.
            TargetTooLong: the request line exceeds LINE_LIMIT.
            HeadTooLarge: the head exceeds HEAD_LIMIT or FIELD_LIMIT.
        """
        held = self._held
        if held:
            held += data
        found = held or data
        start = len(self._empty_line) if found.startswith(self._empty_line) else 0
        end = found.find(b"\r\n\r\n", max(self._judged - 3, 0)) + 4
        if (
            end < 4
            or end - start > HEAD_LIMIT
            or found.count(b"\n", start, end) > FIELD_LIMIT + 2
            or found.find(b"\n", start, start + LINE_LIMIT) < 0
        ):
            self._judge(found, start)
            if not held:
                held += data
            return None
        self.rest = bytes(found[end:])
        head = bytes(found[start:end])
        held.clear()
        self._judged = self._lines = 0
        return head

    def _judge(self, found: bytes | bytearray, start: int) -> None:
        """Raise what the first wrong byte deserves, wherever the reads were cut."""
        cut, over = self._over(found, start)
        if not self._opening.match(found):
            raise self._malformed("this does not begin like HTTP/1.1")
        if ILLEGAL.search(found, max(self._judged - 1, 0), cut):
            raise self._malformed("a control byte, or a CR or LF that is not a CRLF, in the head")
        line_end = found.find(b"\n", start, cut)
        # Once, when it has just become complete: it may be long, and reads may be short.
        if line_end >= self._judged and not self._start_line.match(found, start):
            raise self._malformed("the first line is not one of HTTP/1.1")
        if over is not None:
            raise over
        self._judged = len(found)

    def _over(self, found: bytes | bytearray, start: int) -> tuple[int, GatewayError | None]:
        """Return where the first limit is passed, and what to say then."""
        size = len(found)
        if size - start > LINE_LIMIT and found.find(b"\n", start, start + LINE_LIMIT) < 0:
            error = self._line_too_long(f"the first line is longer than {LINE_LIMIT} bytes")
            return start + LINE_LIMIT, error
        cut = min(size, start + HEAD_LIMIT)
        self._lines += found.count(b"\n", self._judged)
        if self._lines > FIELD_LIMIT and (many := TOO_MANY.match(found, start, cut)):
            return many.end(), self._too_large(f"the head has more than {FIELD_LIMIT} fields")
        if size > cut:
            return cut, self._too_large(f"the head is longer than {HEAD_LIMIT} bytes")
        return size, None


class ResponseReader(HeadReader):
    """
    Cut response heads, interim ones too, out of what one upstream sends.

    As HeadReader, but `feed` raises UpstreamProtocolError and nothing else.
    """

    __slots__ = ()

    _empty_line = b""
    _opening = re.compile(rb"H|\Z")
    _start_line = STATUS_LINE
    _malformed = UpstreamProtocolError
    _line_too_long = UpstreamProtocolError
    _too_large = UpstreamProtocolError


class Head:
    """What requests and responses have in common."""

    __slots__ = ("_first", "framing", "headers", "http10", "keep_alive")

    def __init__(self, headers: Fields, *, http10: bool) -> None:
        self.headers = headers  # lower-case name, value; as they came otherwise
        self.http10 = http10
        self.framing = 0  # of the body: its length, CHUNKED or UNTIL_CLOSE
        # HTTP/1.0 gets one exchange per connection: its keep-alive was never specified.
        self.keep_alive = False
        self._first = dict(reversed(headers))  # by name, the first value

    def get(self, name: bytes) -> bytes:
        """Return the first value of this lower-case name, b"" if there is none."""
        return self._first.get(name, b"")

    def members(self, name: bytes) -> set[bytes]:
        """Return the members of a comma-separated field over all its lines, in lower case."""
        if len(self._first) == len(self.headers):
            lines = self._first.get(name, b"")
        else:
            lines = b",".join([value for found, value in self.headers if found == name])
        return {member.strip() for member in lines.lower().split(b",")}


class RequestHead(Head):
    """What a client asks, as far as the head says it; `read_request` makes it."""

    __slots__ = ("expect_continue", "method", "path", "query", "upgrade")

    def __init__(self, method: str, path: str, query: str, headers: Fields, *, http10: bool):
        super().__init__(headers, http10=http10)
        self.method = method  # as it came: methods are case-sensitive
        self.path = path  # as it came, escapes and dots untouched; "*" for OPTIONS *
        self.query = query  # without its "?"
        self.expect_continue = False  # the client waits for a 100 before it sends the body
        self.upgrade = b""  # the protocol to switch to, lower case; asked for in due form


class ResponseHead(Head):
    """What an upstream answers, as far as the head says it; `read_response` makes it."""

    __slots__ = ("status",)

    def __init__(self, status: int, headers: Fields, *, http10: bool) -> None:
        super().__init__(headers, http10=http10)
        self.status = status


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
    line = REQUEST_LINE.match(raw)
    if line is None:
        raise MalformedRequest("the request line is not one of HTTP/1.1")
    method, target, version = line.groups()
    headers = _fields(raw, line.end(), MalformedRequest)
    if version != b"1.1" and version != b"1.0":
        raise VersionNotSupported("this server speaks HTTP/1.1")
    if method in REFUSED_METHODS:
        raise NotImplementedHere("this server has neither CONNECT nor TRACE")
    authority, path, query = _split_target(method, target)
    http10 = version == b"1.0"
    head = RequestHead(method.decode(), path.decode(), query.decode(), headers, http10=http10)
    _refuse_repeated(head, MalformedRequest)
    _check_host(head, authority)
    _read_request_framing(head)
    _read_connection(head)
    _hear_second_opinion(head, method, target)
    return head


def read_response(raw: bytes, *, method: str) -> ResponseHead:
    """
    Return what one whole response head, as ResponseReader gives it, means.

    `method` is that of the request it answers.  Interim responses (status below 200)
    are for the caller to skip, MAX_INTERIM at most.

    Raises:
        UpstreamProtocolError: it is not exactly what RFC 9112 allows, or may be read in
            more than one way; kind "encoding" if its body has a content coding.
    """
    line = STATUS_LINE.match(raw)
    if line is None:
        raise UpstreamProtocolError("the status line is not one of HTTP/1.1")
    minor, status = line.groups()
    headers = _fields(raw, line.end(), UpstreamProtocolError)
    head = ResponseHead(int(status), headers, http10=minor == b"0")
    _refuse_repeated(head, UpstreamProtocolError)
    if head.status == 101:
        raise UpstreamProtocolError("the upstream switched to a protocol nobody asked for")
    if head.get(b"content-encoding").lower() not in (b"", b"identity"):
        raise UpstreamProtocolError("the body has a content coding", kind="encoding")
    _read_response_framing(head, method)
    return head


def _fields(raw: bytes, start: int, refuse: type[GatewayError]) -> Fields:
    """Return the fields, if every line from `start` to the empty one is exactly a field."""
    found = FIELD.findall(raw, start)
    # FIELD matches whole lines only, so as many matches as lines means that none was
    # skipped; the two others are the first and the empty one.
    if len(found) != raw.count(b"\n") - 2 or not raw.endswith(b"\r\n\r\n"):
        raise refuse("a field line is not one of HTTP/1.1")
    return [(name.lower(), value.rstrip()) for name, value in found]


def _refuse_repeated(head: Head, refuse: type[GatewayError]) -> None:
    if len(head._first) == len(head.headers):
        return
    seen = set()
    for name, _ in head.headers:
        if name in seen:
            raise refuse(f"more than one {name.decode('ascii')} field")
        if name in SINGLE:
            seen.add(name)


def _split_target(method: bytes, target: bytes) -> tuple[bytes, bytes, bytes]:
    """Return authority (b"" unless in absolute form), path and query (RFC 9112 §3.2)."""
    if target == b"*" and method == b"OPTIONS":
        return b"", target, b""
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
    return authority, path, query


def _check_host(head: RequestHead, authority: bytes) -> None:
    host = head._first.get(b"host")
    if host is not None:
        _check_authority(host)
    elif not head.http10:
        raise MalformedRequest("the Host field is missing")
    if authority:
        _check_authority(authority)
        # RFC 9112 §3.2.2: whatever Host says, the target's authority counts.
        head.headers[:] = [field for field in head.headers if field[0] != b"host"]
        head.headers.append((b"host", authority))
        head._first[b"host"] = authority


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
    coding = head._first.get(b"transfer-encoding")
    length = head._first.get(b"content-length")
    if coding is not None:
        if length is not None:
            raise refuse("both Transfer-Encoding and Content-Length")
        if head.http10:
            raise refuse("Transfer-Encoding in HTTP/1.0")
        if coding.lower() != b"chunked":
            raise refuse("a Transfer-Encoding other than chunked")
        return CHUNKED
    if length is None:
        return without
    # Of bytes, isdigit() takes ASCII only; int() alone would take "+5", "1_0" and " 5".
    if not length.isdigit() or len(length) > LENGTH_DIGITS:
        raise refuse("the Content-Length is not a number, or out of range")
    return int(length)


def _read_request_framing(head: RequestHead) -> None:
    *inner, last = head.get(b"transfer-encoding").lower().split(b",")
    if inner and last.strip(b" \t") == b"chunked":
        # Framed well, coded in a way we do not have (RFC 9112 §6.1).
        raise NotImplementedHere("a Transfer-Encoding besides chunked")
    head.framing = _framing(head, 0, MalformedRequest)
    # Never inflated: a few kilobytes may become gigabytes.
    if head._first.get(b"content-encoding", b"identity").lower() != b"identity":
        raise UnsupportedMedia("request bodies with a Content-Encoding are not taken")
    expect = head._first.get(b"expect")
    if expect is not None and expect.lower() != b"100-continue":
        raise ExpectationFailed("the only expectation known here is 100-continue")
    head.expect_continue = expect is not None and not head.http10  # RFC 9110 §10.1.1


def _read_connection(head: RequestHead) -> None:
    if head.http10:  # RFC 9110 §7.8: its Upgrade is ignored
        return
    options = head.members(b"connection")
    head.keep_alive = b"close" not in options
    if b"upgrade" in options:
        head.upgrade = head.get(b"upgrade").lower()


def _read_response_framing(head: ResponseHead, method: str) -> None:
    framing = _framing(head, UNTIL_CLOSE, UpstreamProtocolError)
    if head.status < 200 or head.status == 204:
        # Whoever announces a body here (RFC 9110 §8.6 forbids it) may also send it, and
        # it would be read as the next response; zero is harmless, and common.
        if framing not in (0, UNTIL_CLOSE):
            raise UpstreamProtocolError(f"a body announced in a {head.status} response")
        framing = 0
    elif head.status == 304 or method == "HEAD":
        framing = 0  # the fields tell of the body that a GET would have got
    head.framing = framing
    head.keep_alive = not (
        head.http10 or framing == UNTIL_CLOSE or b"close" in head.members(b"connection")
    )


def _hear_second_opinion(head: RequestHead, method: bytes, target: bytes) -> None:
    """Let h11 judge what routes and frames the request, and go on only if it agrees.

    h11 gets the request as we have read it, not its bytes: the lines were split more
    strictly than h11 does, and doing it twice made the dearest part of a request.
    """
    fields = [field for field in head.headers if field[0] in DECISIVE]
    version = b"1.0" if head.http10 else b"1.1"
    try:
        seen = h11.Request(method=method, target=target, headers=fields, http_version=version)
    except h11.LocalProtocolError as error:
        # Its text quotes the bytes, credentials among them: it stays out of ours.
        raise MalformedRequest("the request is not legal HTTP/1.1") from error
    if len(seen.headers) != len(fields):
        raise MalformedRequest("the request can be read in two ways")
