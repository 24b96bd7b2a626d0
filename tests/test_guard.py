"""The guard: one verdict for one sequence of bytes, and only what RFC 9112 has gets through."""

import contextlib
import functools
import json
from itertools import pairwise
from pathlib import Path

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import guard
from gateway._sseparse import CHUNKED, UNTIL_CLOSE, Head
from gateway.client_errors import (
    ExpectationFailed,
    HeadTooLarge,
    MalformedRequest,
    NotImplementedHere,
    TargetTooLong,
    UnsupportedMedia,
    VersionNotSupported,
)
from gateway.guard import RequestHead, ResponseHead, read_request, read_response
from gateway.heads import FIELD_LIMIT, HEAD_LIMIT, LINE_LIMIT, HeadReader, ResponseReader
from gateway.upstream_errors import UpstreamProtocolError


DOCUMENTED = (
    ExpectationFailed,
    HeadTooLarge,
    MalformedRequest,
    NotImplementedHere,
    TargetTooLong,
    UnsupportedMedia,
    VersionNotSupported,
)
UNFINISHED = "unfinished"
REQUEST = ("method", "path", "query", "expect_continue", "upgrade")


def told(head: Head) -> dict[str, object]:
    """Everything a head says, comparable."""
    shared = ("headers", "http10", "framing", "keep_alive")
    own = REQUEST if isinstance(head, RequestHead) else ("status",)
    return {name: getattr(head, name) for name in (*shared, *own)}


def asked(pieces: list[bytes]) -> object:
    """The verdict on a client that sends these pieces: an error class, or what it asked."""
    reader = HeadReader()
    try:
        for piece in pieces:
            if (found := reader.feed(piece)) is not None:
                return told(read_request(found[0]))
    except DOCUMENTED as error:
        return type(error)
    return UNFINISHED


def answered(pieces: list[bytes], method: str = "POST") -> object:
    """The verdict on an upstream that sends these pieces."""
    reader = ResponseReader()
    try:
        for piece in pieces:
            if (found := reader.feed(piece)) is not None:
                return told(read_response(found[0], method=method))
    except UpstreamProtocolError as error:
        return error.kind
    return UNFINISHED


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    return [data[a:b] for a, b in pairwise([0, *sorted(places), len(data)])]


def request(*fields: str, line: str = "POST / HTTP/1.1", host: str = "Host: a\r\n") -> bytes:
    return (f"{line}\r\n{host}" + "".join(f + "\r\n" for f in fields) + "\r\n").encode("latin-1")


def response(*fields: str, line: str = "HTTP/1.1 200 OK") -> bytes:
    return (f"{line}\r\n" + "".join(f + "\r\n" for f in fields) + "\r\n").encode("latin-1")


def read(raw: bytes) -> RequestHead:
    whole = HeadReader().feed(raw)
    assert whole is not None
    return read_request(whole[0])


def read_answer(raw: bytes, method: str = "POST") -> ResponseHead:
    whole = ResponseReader().feed(raw)
    assert whole is not None
    return read_response(whole[0], method=method)


# The shared vectors.

VECTORS = json.loads((Path(__file__).parent / "vectors" / "http.json").read_text())
# Where a vector leaves the choice: what this guard does; None is to let it through.
CHOICES = {
    "te-trailing-ows": None,
    "rl-method-lower": None,  # a method no route has
    "rl-method-unknown": None,
    "rl-fragment": MalformedRequest,
    "rl-backslash": MalformedRequest,
    "rl-dotdot": None,  # a path no route has: routes compare, they do not normalise
    "hf-host-empty": MalformedRequest,
    "hf-dup-content-type": MalformedRequest,
    "hf-expect-unknown": ExpectationFailed,
    "cl-dup-same": MalformedRequest,
    "cl-leading-zeros": None,
    "cl-octal-trap": None,
    "cl-underscore-name": None,
    "te-underscore": None,
    "te-leading-comma": NotImplementedHere,
    "te-trailing-comma": MalformedRequest,
}
# Rejected later: by the body's decoder, by a route's limit, by the handshake.
LATER = ("ck-", "ws-", "cl-huge-no-body")
REJECTS = (400, 411, 413, 414, 417, 421, 426, 431, 501, 505)


def vector_bytes(row: dict) -> bytes:
    text = row["request"].replace("{{WS}}", "/v1/ws/chat")
    for token, (unit, times) in row.get("expand", {}).items():
        text = text.replace(token, unit * times)
    return text.encode("latin-1")


@pytest.mark.parametrize("row", VECTORS, ids=lambda row: row["name"])
def test_a_vector_is_judged_as_it_says(row):
    verdict = asked([vector_bytes(row)])
    if row["name"].startswith(LATER) or row["expect"] == "accept":
        assert isinstance(verdict, dict)
    elif row["expect"] == "reject":
        assert verdict.status in row.get("reject_status", REJECTS)
    else:
        choice = CHOICES[row["name"]]
        assert verdict is choice or (choice is None and isinstance(verdict, dict))


@pytest.mark.parametrize("row", VECTORS, ids=lambda row: row["name"])
def test_a_vector_has_one_verdict_wherever_it_is_cut(row):
    data = vector_bytes(row)
    verdict = asked([data])
    assert asked(bytewise(data)) == verdict
    for place in range(0, len(data), max(1, len(data) // 400)):
        assert asked(cut(data, [place])) == verdict


# More of the same kinds.

ACCEPTED = {
    "one empty line before": b"\r\n" + request(),
    "no field at all in 1.0": b"GET / HTTP/1.0\r\n\r\n",
    "empty value": request("X-A:"),
    "value of one letter between spaces": request("X-A:  a b \t"),
    "obs-text": request("X-A: \x80\xff"),
    "every tchar in a name": request("!#$%&'*+-.^_`|~09azAZ: 1"),
    "ipv4 and port": request(host="Host: 127.0.0.1:65535\r\n"),
    "ipv6": request(host="Host: [::1]:80\r\n"),
    "ipv4 in ipv6": request(host="Host: [::ffff:1.2.3.4]\r\n"),
    "empty port": request(host="Host: a:\r\n"),
    "underscore in a host": request(host="Host: my_svc.default\r\n"),
    "eighteen digits": request("Content-Length: " + "9" * 18),
    "content-encoding identity": request("Content-Encoding: Identity"),
    "two lines of a list": request("Accept: a/b", "Accept: c/d"),
    "raw braces in a query": request(line='GET /?a={"b":["c\\n|<d>"]} HTTP/1.1'),
    "absolute https": request(line="GET HTTPS://a:8443/x HTTP/1.1"),
}

REFUSED = {
    # Request lines.
    "two empty lines before": (b"\r\n\r\n" + request(), MalformedRequest),
    "bare LF before": (b"\n" + request(), MalformedRequest),
    "bare CR before": (b"\r" + request(), MalformedRequest),
    "space before the method": (b" " + request(), MalformedRequest),
    "space after the version": (request(line="GET / HTTP/1.1 "), MalformedRequest),
    "nothing after the version": (request(line="GET / HTTP/1.1x"), MalformedRequest),
    "lower-case http": (request(line="GET / http/1.1"), MalformedRequest),
    "h2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", VersionNotSupported),
    "version 1.2": (request(line="GET / HTTP/1.2"), VersionNotSupported),
    "version 1.10": (request(line="GET / HTTP/1.10"), MalformedRequest),
    "quoted method": (request(line='"GET" / HTTP/1.1'), MalformedRequest),
    "no target": (request(line="GET  HTTP/1.1"), MalformedRequest),
    "form feed for a space": (request(line="GET\x0c/\x0cHTTP/1.1"), MalformedRequest),
    "NBSP for a space": (request(line="GET\xa0/ HTTP/1.1"), MalformedRequest),
    "userinfo in the target": (request(line="GET http://u@a/ HTTP/1.1"), MalformedRequest),
    "no authority": (request(line="GET http:///x HTTP/1.1"), MalformedRequest),
    "no slashes": (request(line="GET http:a/x HTTP/1.1"), MalformedRequest),
    "another scheme": (request(line="GET ftp://a/x HTTP/1.1"), MalformedRequest),
    "backslash for a slash": (request(line="GET \\x HTTP/1.1"), MalformedRequest),
    "backslash in the authority": (request(line="GET http://a\\b/ HTTP/1.1"), MalformedRequest),
    "fragment in the query": (request(line="GET /?a#b HTTP/1.1"), MalformedRequest),
    "quote in the path": (request(line='GET /"x" HTTP/1.1'), MalformedRequest),
    "half an escape": (request(line="GET /%4 HTTP/1.1"), MalformedRequest),
    "no escape": (request(line="GET /%zz HTTP/1.1"), MalformedRequest),
    "star with a query": (request(line="OPTIONS *?a HTTP/1.1"), MalformedRequest),
    "connect to a path": (request(line="CONNECT / HTTP/1.1"), NotImplementedHere),
    "connect to nonsense": (request(line="CONNECT ]:[ HTTP/1.1"), NotImplementedHere),
    # Field lines.
    "no colon": (request("X-A"), MalformedRequest),
    "empty name": (request(": 1"), MalformedRequest),
    "space in a name": (request("Content-Length : 5"), MalformedRequest),
    "vertical tab before the colon": (request("Content-Length\x0b: 5"), MalformedRequest),
    "parenthesis in a name": (request("X(A): 1"), MalformedRequest),
    "fold with a tab": (request("X-A: 1", "\t2"), MalformedRequest),
    "fold of nothing": (request("X-A: 1", " "), MalformedRequest),
    "DEL in a value": (request("X-A: a\x7f"), MalformedRequest),
    "NUL in a value": (request("X-A: a\0b"), MalformedRequest),
    "form feed in a value": (request("X-A: a\x0cb"), MalformedRequest),
    "CR CR LF": (request("X-A: a\r"), MalformedRequest),
    "LF CR": (request("X-A: a\n\rX-B: b"), MalformedRequest),
    "control byte beats TRACE": (request("X: \0", line="TRACE / HTTP/1.1"), MalformedRequest),
    "bad field beats the version": (request("X A: 1", line="GET / HTTP/3.0"), MalformedRequest),
    # Host.
    "no host": (request(host=""), MalformedRequest),
    "bad host in 1.0": (request(line="GET / HTTP/1.0", host="Host: a/b\r\n"), MalformedRequest),
    "two hosts in 1.0": (request("Host: b", line="GET / HTTP/1.0"), MalformedRequest),
    "hosts joined": (request(host="Host: a,b\r\n"), MalformedRequest),
    "host with a fragment": (request(host="Host: localhost:4000/#@x\r\n"), MalformedRequest),
    "host with a scheme": (request(host="Host: http://a\r\n"), MalformedRequest),
    "host with an escape": (request(host="Host: a%00\r\n"), MalformedRequest),
    "host with obs-text": (request(host="Host: caf\xe9\r\n"), MalformedRequest),
    "port alone": (request(host="Host: :80\r\n"), MalformedRequest),
    "port of letters": (request(host="Host: a:b\r\n"), MalformedRequest),
    "port with a sign": (request(host="Host: a:+80\r\n"), MalformedRequest),
    "port above 65535": (request(host="Host: a:65536\r\n"), MalformedRequest),
    "port of six digits": (request(host="Host: a:000080\r\n"), MalformedRequest),
    "two ports": (request(host="Host: a:1:2\r\n"), MalformedRequest),
    "ipv6 without brackets": (request(host="Host: ::1\r\n"), MalformedRequest),
    "ipv6 unclosed": (request(host="Host: [::1\r\n"), MalformedRequest),
    "ipv6 of nonsense": (request(host="Host: [1:2]\r\n"), MalformedRequest),
    "name in brackets": (request(host="Host: [a.b]\r\n"), MalformedRequest),
    "host longer than a name": (request(host=f"Host: {'a' * 256}\r\n"), MalformedRequest),
    # Framing.
    "lengths joined": (request("Content-Length: 5, 5"), MalformedRequest),
    "lengths that differ": (request("Content-Length: 5", "content-length: 6"), MalformedRequest),
    "empty length": (request("Content-Length:"), MalformedRequest),
    "space in a length": (request("Content-Length: 1 0"), MalformedRequest),
    "underscore in a length": (request("Content-Length: 1_0"), MalformedRequest),
    "fraction of a length": (request("Content-Length: 5.0"), MalformedRequest),
    "nineteen digits": (request("Content-Length: " + "1" * 19), MalformedRequest),
    "TE and CL": (request("Transfer-Encoding: chunked", "Content-Length: 0"), MalformedRequest),
    "TE in 1.0": (
        request("Transfer-Encoding: chunked", line="POST / HTTP/1.0"),
        MalformedRequest,
    ),
    "chunked twice": (request("Transfer-Encoding: chunked, chunked"), NotImplementedHere),
    "gzip, chunked": (request("Transfer-Encoding: gzip , chunked"), NotImplementedHere),
    "gzip": (request("Transfer-Encoding: gzip"), MalformedRequest),
    "empty TE": (request("Transfer-Encoding:"), MalformedRequest),
    "chunked with a parameter": (request("Transfer-Encoding: chunked;q=1"), MalformedRequest),
    "chunked in quotes": (request('Transfer-Encoding: "chunked"'), MalformedRequest),
    "TE split over lines": (
        request("Transfer-Encoding: gzip", "Transfer-Encoding: chunked"),
        MalformedRequest,
    ),
    # Fields of which there can be one.
    "two credentials": (request("Authorization: a", "authorization: a"), MalformedRequest),
    "two expectations": (
        request("Expect: 100-continue", "Expect: 200-ok"),
        MalformedRequest,
    ),
    "identity, then gzip": (
        request("Content-Encoding: identity", "Content-Encoding: gzip"),
        MalformedRequest,
    ),
    "a content coding": (request("Content-Encoding: gzip"), UnsupportedMedia),
    "a list of content codings": (request("Content-Encoding: identity, gzip"), UnsupportedMedia),
    "empty expectation": (request("Expect:"), ExpectationFailed),
}


@pytest.mark.parametrize("data", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_legal_if_odd(data):
    verdict = asked([data])
    assert isinstance(verdict, dict)
    assert asked(bytewise(data)) == verdict


@pytest.mark.parametrize(("data", "error"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(data, error):
    assert asked([data]) is error
    assert asked(bytewise(data)) is error


HOPELESS = {
    "control byte": b"GET / HTTP/1.1\r\nX: \x01",
    "bare LF": b"GET / HTTP/1.1\n",
    "bare LF after a field": b"GET / HTTP/1.1\r\nX: y\n",
    "bare CR": b"GET / HTTP/1.1\rH",
    "TLS": b"\x16\x03\x01",
    "high byte first": b"\x80",
    "space first": b" ",
    "HTTP/0.9": b"GET /\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "mail": b"EHLO localhost\r\n",
    "Redis": b"*1\r\n",
}


@pytest.mark.parametrize("legal", [request()[:place] for place in range(len(request()))])
def test_what_may_yet_become_legal_is_waited_for(legal):
    assert asked([legal]) == asked([b"\r\n" + legal]) == asked(bytewise(legal)) == UNFINISHED


@pytest.mark.parametrize("data", HOPELESS.values(), ids=HOPELESS.keys())
def test_what_cannot_become_legal_is_refused_at_once(data):
    assert asked([data]) is MalformedRequest
    assert asked(bytewise(data)) is MalformedRequest


# Limits.

FILL = "x" * (LINE_LIMIT - len("GET / HTTP/1.1\r\n"))
MANY = [f"x{i}: y" for i in range(FIELD_LIMIT - 1)]  # and Host
LARGE = "x" * (HEAD_LIMIT - len(request("x: ")))
LIMITS = {
    "request line": (request(line=f"GET /{FILL} HTTP/1.1"), None),
    "request line, one more": (request(line=f"GET /{FILL}x HTTP/1.1"), TargetTooLong),
    "request line without end": (b"A" * (LINE_LIMIT + 1), TargetTooLong),
    "fields": (request(*MANY), None),
    "fields, one more": (request(*MANY, "x: y"), HeadTooLarge),
    "fields without end": (request(*MANY)[:-2] + b"x", HeadTooLarge),
    "head": (request(f"x: {LARGE}"), None),
    "head, one more": (request(f"x: {LARGE}x"), HeadTooLarge),
    "head without end": (request(f"x: {LARGE}")[:-4] + b"xxxxx", HeadTooLarge),
    "control byte just before a limit": (b"A" * (LINE_LIMIT - 1) + b"\0A", MalformedRequest),
    "control byte just after a limit": (b"A" * LINE_LIMIT + b"\0", TargetTooLong),
    "bad line before a limit": (b"A\r\n" + b"B: \r\n" * 200, MalformedRequest),
}


@pytest.mark.parametrize(("data", "error"), LIMITS.values(), ids=LIMITS.keys())
@pytest.mark.parametrize("before", [b"", b"\r\n"], ids=["at once", "after an empty line"])
def test_limits_count_bytes_not_reads(before, data, error):
    for pieces in ([before + data], bytewise(before + data), [before + data + b"z" * HEAD_LIMIT]):
        verdict = asked(pieces)
        assert verdict is error or (error is None and isinstance(verdict, dict))


# What a head means.


def test_all_that_a_request_says():
    head = read(
        request(
            "X-Key:  One ",
            "x-key: two",
            "Content-Length: 012",
            "Expect: 100-Continue",
            line="POST /v1/a%2Fb/../c?d=/?e HTTP/1.1",
            host="Host: a:80\r\n",
        )
    )
    assert (head.method, head.path, head.query) == ("POST", "/v1/a%2Fb/../c", "d=/?e")
    assert head.headers[:3] == [(b"host", b"a:80"), (b"x-key", b"One"), (b"x-key", b"two")]
    assert head.get(b"x-key") == b"One"
    assert head.get(b"x-none") == b""
    assert (head.framing, head.expect_continue, head.upgrade) == (12, True, b"")
    assert (head.keep_alive, head.http10) == (True, False)


def test_chunked_in_any_case_is_the_framing():
    assert read(request("Transfer-Encoding: CHUNKED \t")).framing == CHUNKED


@pytest.mark.parametrize(
    ("line", "fields", "kept"),
    [
        ("HTTP/1.1", [], True),
        ("HTTP/1.1", ["Connection: Keep-Alive, Close"], False),
        ("HTTP/1.1", ["Connection: x", "Connection:close"], False),
        ("HTTP/1.1", ["Connection: not-close"], True),
        ("HTTP/1.0", [], False),
        ("HTTP/1.0", ["Connection: keep-alive"], False),
    ],
)
def test_whether_a_connection_is_kept(line, fields, kept):
    assert read(request(*fields, line=f"GET / {line}")).keep_alive is kept
    answer = response("Content-Length: 0", *fields, line=f"{line} 200 OK")
    assert read_answer(answer).keep_alive is kept


@pytest.mark.parametrize(
    ("version", "fields", "upgrade"),
    [
        ("1.1", ["Connection: x, Upgrade", "Upgrade: WebSocket"], b"websocket"),
        ("1.1", ["Connection: keep-alive", "Connection: upgrade", "Upgrade: h2c"], b"h2c"),
        ("1.1", ["Upgrade: websocket"], b""),
        ("1.1", ["Connection: upgrade"], b""),
        ("1.0", ["Connection: upgrade", "Upgrade: websocket"], b""),
    ],
)
def test_an_upgrade_counts_only_in_due_form(version, fields, upgrade):
    assert read(request(*fields, line=f"GET / HTTP/{version}")).upgrade == upgrade


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("http://b:1/x?y", "/x", "y"),
        ("http://b:1", "/", ""),
        ("http://b:1?y", "/", "y"),
        ("http://b:1/http://c/", "/http://c/", ""),
    ],
)
def test_the_authority_of_an_absolute_target_replaces_host(target, path, query):
    for version, host in (("1.1", "Host: a\r\n"), ("1.0", "Host: a\r\n"), ("1.0", "")):
        head = read(request("X: y", line=f"GET {target} HTTP/{version}", host=host))
        assert (head.path, head.query) == (path, query)
        assert head.get(b"host") == b"b:1"
        assert head.headers == [(b"x", b"y"), (b"host", b"b:1")]


def test_http_1_0_cannot_expect_a_100():
    assert not read(request("Expect: 100-continue", line="PUT / HTTP/1.0")).expect_continue


def test_heads_come_one_by_one_with_what_follows_them():
    reader = HeadReader()
    first, second = request("A: 1"), request("B: 2")
    assert reader.feed(first[:9]) is None
    assert reader.pending
    rest = b"\r\n" + second
    assert reader.feed(first[9:] + b"body" + rest) == (first, b"body" + rest)
    assert not reader.pending, "it is not kept for the length of an answer"
    assert reader.feed(rest) == (second, b"")


def test_a_short_head_may_follow_a_long_one_that_came_in_pieces():
    reader = HeadReader()
    long, short = request("A: " + "1" * 99), request()
    assert reader.feed(long[:-1]) is None
    assert reader.feed(long[-1:]) == (long, b"")
    assert reader.feed(short) == (short, b"")


# What is lost, and the path it was about.
LOST = {
    b"GET /a?b HTTP/1.1\r\nHost: \0": "/a",
    b"\r\nGET /a HTTP/2.0\r\nx": "/a",
    b"GET /a HTTP/1.1\r\nhost : x\r\n\r\n": "/a",
    b"GET /a": "/a",
    b"GET a HTTP/1.1\r\n\r\n": "",
    b"GET": "",
    b"\x16\x03\x01": "",
}


@pytest.mark.parametrize(("lost", "path"), LOST.items())
def test_of_a_head_that_is_lost_the_path_is_known_wherever_it_was_cut(lost, path):
    for cut in range(1, len(lost) + 1):
        reader = HeadReader()
        for part in filter(None, (lost[:cut], lost[cut:])):
            try:
                found = reader.feed(part)
                if found is not None:
                    part = found[0]
                    read_request(part)
            except (MalformedRequest, VersionNotSupported):
                break
        assert reader.path(part) == path


def test_an_empty_line_alone_is_no_head_that_began():
    reader = HeadReader()
    assert reader.feed(b"\r\n") is None
    assert not reader.pending
    assert reader.feed(b"G") is None
    assert reader.pending


@pytest.mark.parametrize("tail", [b"X", b"X\r\n", b"\r\nX: y\r\n\r\n", b"\r\n\r\n\r\n"])
def test_a_head_is_read_only_if_it_is_exactly_one(tail):
    for raw in (request()[:-2] + tail, request() + tail):
        with pytest.raises(MalformedRequest):
            read_request(raw)


def test_h11_may_still_refuse_and_must_agree():
    judge = functools.partial(guard._hear_second_opinion, b"POST", b"/", b"1.1")
    host, length = (b"host", b"h"), (b"content-length", b"1")
    judge([host, length])
    with pytest.raises(MalformedRequest, match="two ways"):
        judge([host, length, length])  # h11 takes them for one
    with pytest.raises(MalformedRequest, match="not legal") as caught:
        judge([host, (b"upgrade", b"secret\0")])
    assert "secret" not in str(caught.value)


def test_what_was_refused_once_is_refused_again():
    for _ in range(2):
        with pytest.raises(MalformedRequest):
            read_request(request(line="GET /%zz HTTP/1.1"))
        with pytest.raises(MalformedRequest):
            read_request(request(host="Host: a,a\r\n"))


LINES = ["POST / HTTP/1.1", "POST http://b:1/ HTTP/1.1", "GET / HTTP/1.0", "POST /?a=1 HTTP/1.1"]
TELLING = [
    "Content-Length: 0",
    "Content-Length: 7",
    "Content-Length: 12",
    "content-length: 007",
    "Content-Length: +7",
    "Content-Length: 9999999999999999999",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Content-Encoding: gzip",
    "Connection: close",
    "Connection: upgrade",
    "Upgrade: websocket",
    "Expect: 100-continue",
    "Expect: 1",
    "Authorization: Bearer k",
    "X: y",
]
heads = st.builds(
    lambda line, fields: request(*fields, line=line),
    st.sampled_from(LINES),
    st.lists(st.sampled_from(TELLING), max_size=4),
)


@given(st.lists(heads, max_size=6))
def test_what_a_head_means_does_not_hang_on_those_before_it(raws):
    def forgetful(raw: bytes) -> object:
        guard._judge_request.cache_clear()
        return asked([raw])

    alone = [forgetful(raw) for raw in raws]
    guard._judge_request.cache_clear()
    assert [asked([raw]) for raw in raws] == alone
    assert [asked([raw]) for raw in raws] == alone


def test_lengths_of_any_size_share_a_verdict_and_each_keeps_its_own():
    guard._judge_request.cache_clear()
    for length in (1, 7, 10**18 - 1):
        assert read(request(f"Content-Length: {length}")).framing == length
    assert guard._judge_request.cache_info().currsize == 1
    assert read(request("Content-Length: 000")).framing == 0
    assert guard._judge_request.cache_info().currsize == 2


def test_nothing_is_remembered_that_may_be_a_credential():
    guard._judge_request.cache_clear()
    read(request("Authorization: Bearer secret", "Cookie: secret", "X-Api-Key: secret"))
    read(request(line="GET /v1/models?api_key=secret HTTP/1.1"))
    assert guard._judge_request.cache_info().currsize == 1
    assert read(request("Authorization: Bearer other")).get(b"authorization") == b"Bearer other"
    assert guard._judge_request.cache_info().currsize == 1


# Upstreams.

ANSWERS = {
    "length": (response("Content-Length: 7"), "POST", 7),
    "chunked": (response("Transfer-Encoding: Chunked"), "POST", CHUNKED),
    "until close": (response(), "POST", UNTIL_CLOSE),
    "until close in 1.0": (response(line="HTTP/1.0 200 OK"), "POST", UNTIL_CLOSE),
    "no reason, no space": (response("Content-Length: 0", line="HTTP/1.1 200"), "POST", 0),
    "no reason": (response("Content-Length: 0", line="HTTP/1.1 200 "), "POST", 0),
    "reason in Latin-1": (response("Content-Length: 0", line="HTTP/1.1 200 \xe9"), "POST", 0),
    "highest status": (response("Content-Length: 1", line="HTTP/1.1 599 x"), "POST", 1),
    "identity": (response("Content-Encoding: identity", "Content-Length: 1"), "POST", 1),
    "two cookies": (response("Set-Cookie: a", "Set-Cookie: b", "Content-Length: 1"), "GET", 1),
    "HEAD tells of a body": (response("Content-Length: 7"), "HEAD", 0),
    "HEAD tells of chunks": (response("Transfer-Encoding: chunked"), "HEAD", 0),
    "304 tells of a body": (response("Content-Length: 7", line="HTTP/1.1 304 x"), "GET", 0),
    "204": (response(line="HTTP/1.1 204 No Content"), "POST", 0),
    "204 with zero": (response("Content-Length: 0", line="HTTP/1.1 204 x"), "POST", 0),
    "interim": (response(line="HTTP/1.1 100 Continue"), "POST", 0),
    "early hints": (response("Link: </a>", line="HTTP/1.1 103 x"), "POST", 0),
}
BAD_ANSWERS = {
    "empty line before": b"\r\n" + response(),
    "HTTP/2": response(line="HTTP/2 200"),
    "HTTP/1.2": response(line="HTTP/1.2 200 OK"),
    "ICY": response(line="ICY 200 OK"),
    "no status": response(line="HTTP/1.1"),
    "status of two digits": response(line="HTTP/1.1 20 OK"),
    "status of four digits": response(line="HTTP/1.1 2000 OK"),
    "status 600": response(line="HTTP/1.1 600 x"),
    "status 099": response(line="HTTP/1.1 099 x"),
    "signed status": response(line="HTTP/1.1 +20 x"),
    "two spaces": response(line="HTTP/1.1  200 OK"),
    "tab after the status": response(line="HTTP/1.1 200\tOK"),
    "escape in the reason": response(line="HTTP/1.1 200 \x1b[0m"),
    "switched": response("Upgrade: h2c", line="HTTP/1.1 101 x"),
    "TE and CL": response("Transfer-Encoding: chunked", "Content-Length: 5"),
    "TE and CL of HEAD": response("Transfer-Encoding: chunked", "Content-Length: 5"),
    "TE in 1.0": response("Transfer-Encoding: chunked", line="HTTP/1.0 200 OK"),
    "gzip, chunked": response("Transfer-Encoding: gzip, chunked"),
    "identity TE": response("Transfer-Encoding: identity"),
    "two TE": response("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    "two lengths": response("Content-Length: 5", "Content-Length: 5"),
    "lengths joined": response("Content-Length: 5, 5"),
    "negative length": response("Content-Length: -1"),
    "endless length": response("Content-Length: " + "9" * 19),
    "204 with a length": response("Content-Length: 5", line="HTTP/1.1 204 x"),
    "204 with chunks": response("Transfer-Encoding: chunked", line="HTTP/1.1 204 x"),
    "interim with a length": response("Content-Length: 5", line="HTTP/1.1 100 x"),
    "fold": response("X: a", " b"),
    "space before the colon": response("Content-Length : 5"),
    "no colon": response("X"),
    "bare LF": response().replace(b"\r\n", b"\n"),
    "bare CR": response("X: a\rb"),
    "NUL": response("X: \0"),
    "too many fields": response(*["x: y"] * (FIELD_LIMIT + 1)),
    "too large": response("x: " + "y" * HEAD_LIMIT),
    "line too long": response(line="HTTP/1.1 200 " + "x" * LINE_LIMIT),
}


@pytest.mark.parametrize(("data", "method", "framing"), ANSWERS.values(), ids=ANSWERS.keys())
def test_the_framing_of_an_answer(data, method, framing):
    head = read_answer(data, method)
    assert head.framing == framing
    assert head.keep_alive == (framing != UNTIL_CLOSE)
    assert answered(bytewise(data), method) == told(head)


@pytest.mark.parametrize("data", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
@pytest.mark.parametrize("method", ["POST", "HEAD"])
def test_an_answer_that_is_refused(data, method):
    assert answered([data], method) == "protocol"
    assert answered(bytewise(data), method) == "protocol"


def test_an_encoded_answer_is_told_apart():
    assert answered([response("Content-Encoding: br", "Content-Length: 9")]) == "encoding"


@pytest.mark.parametrize("data", [b"\0", b"<", b"HTTP/1.1 200 OK\n", b"HTTP/1.1 2000\r\n", b"\r"])
def test_an_upstream_that_speaks_no_http_is_refused_at_once(data):
    assert answered([data]) == "protocol"


def test_all_that_an_answer_says():
    head = read_answer(response("Retry-After: 7", "X: 1", "x: 2", line="HTTP/1.1 429 Slow"))
    assert head.status == 429
    assert head.headers == [(b"retry-after", b"7"), (b"x", b"1"), (b"x", b"2")]
    assert head.get(b"x") == b"1"


# Properties.

TCHAR = "!#$%&'*+-.^_`|~0123456789abcXYZ"
NAMES = st.text(TCHAR, min_size=1, max_size=12).map("x-".__add__)
VALUES = st.text(
    st.characters(codec="latin-1", exclude_categories=["Cc"]) | st.just("\t"), max_size=20
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=8)
PATHS = st.text("/abcXYZ019-._~!$&'()*+,;=:@", max_size=20).map("/".__add__)
QUERIES = st.text("/?abc019-._~!$&'()*+,;=:@%\"{}[]", max_size=20)
# What turns a legal head into an illegal one, or into another.
SPLICES = st.sampled_from(
    [
        *(
            b"\r",
            b"\n",
            b"\r\n",
            b"\r\n\r\n",
            b"\0",
            b"\t",
            b" ",
            b":",
            b"\x7f",
            b"\x80",
            b"#",
            b"%",
        ),
        *(b"A" * LINE_LIMIT, b"y" * HEAD_LIMIT, b"a: b\r\n" * (FIELD_LIMIT - 2), b"a: b\r\n" * 200),
        *(b"\r\nContent-Length: 5", b"\r\nTransfer-Encoding: chunked", b"HTTP/1.1", b"100"),
    ]
)
PLACES = st.integers(0, 10**9)


@st.composite
def spliced(draw: st.DrawFn, whole: bytes) -> bytes:
    """A legal head into which, and out of which, something was cut."""
    data = whole
    for place in draw(st.lists(PLACES, max_size=4)):
        at = place % (len(data) + 1)
        data = data[:at] + draw(SPLICES) + data[at + draw(st.integers(0, 2)) :]
    return data


REQUESTS = spliced(
    request("Content-Length: 5", "Expect: 100-continue", "Connection: close", "X-A: b c")
)
RESPONSES = spliced(response("Transfer-Encoding: chunked", "Connection: close", "X-A: b c"))


@given(REQUESTS | st.binary(), st.lists(PLACES, max_size=6))
def test_any_request_has_one_documented_verdict_wherever_it_is_cut(data, places):
    pieces = cut(data, [place % (len(data) + 1) for place in places])
    assert asked(pieces) == asked([data])


@given(RESPONSES | st.binary(), st.lists(PLACES, max_size=6))
def test_any_response_has_one_documented_verdict_wherever_it_is_cut(data, places):
    pieces = cut(data, [place % (len(data) + 1) for place in places])
    assert answered(pieces) == answered([data])


@given(REQUESTS | RESPONSES | st.binary())
def test_heads_no_reader_has_seen_are_read_or_refused(data):
    """The second step is safe by itself."""
    with contextlib.suppress(*DOCUMENTED):
        assert isinstance(read_request(data), RequestHead)
    with contextlib.suppress(UpstreamProtocolError):
        assert isinstance(read_response(data, method="POST"), ResponseHead)


@given(st.sampled_from(["GET", "POST", "M-SEARCH", "get"]), PATHS, QUERIES, FIELDS)
def test_a_legal_request_is_read_as_it_was_written(method, path, query, fields):
    lines = [f"{name}:{value}" for name, value in fields]
    head = read(request(*lines, line=f"{method} {path}?{query} HTTP/1.1"))
    assert (head.method, head.path, head.query) == (method, path, query)
    assert head.headers[1:] == [
        (name.lower().encode(), value.strip(" \t").encode("latin-1")) for name, value in fields
    ]


@given(st.integers(200, 599), VALUES, FIELDS)
def test_a_legal_response_is_read_as_it_was_written(status, reason, fields):
    lines = [f"{name}:{value}" for name, value in fields]
    head = read_answer(response(*lines, line=f"HTTP/1.1 {status} {reason}"))
    assert head.status == status
    assert head.headers == [
        (name.lower().encode(), value.strip(" \t").encode("latin-1")) for name, value in fields
    ]


@given(REQUESTS)
def test_h11_reads_what_the_guard_read(data):
    if not isinstance(verdict := asked([data]), dict):
        return
    connection = h11.Connection(our_role=h11.SERVER)
    connection.receive_data(data.removeprefix(b"\r\n"))
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    assert event.method.decode() == verdict["method"]
    assert [field for field in event.headers if field[0] != b"transfer-encoding"] == [
        field for field in verdict["headers"] if field[0] != b"transfer-encoding"
    ]
