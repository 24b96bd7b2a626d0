"""HttpConnection: what goes in as requests comes out as answers, in order, or as one refusal."""

import orjson
import pytest

from gateway.heads import FIELD_LIMIT, LINE_LIMIT
from gateway.host import OVERLOAD_ANSWERS
from gateway.http1 import PIPELINE_LIMIT
from tests.fake_client import MAX_BODY, FakeClient, Site, get, post


def site_and_client() -> tuple[Site, FakeClient]:
    site = Site()
    return site, FakeClient(site)


def chunked(path: str, body: bytes, *fields: str) -> bytes:
    head = get(path, "Transfer-Encoding: chunked", *fields, method="POST")
    return head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def test_an_answer_is_exactly_this():
    _, client = site_and_client()

    client.send(get("/a"))

    assert client.transport.written == (
        b"HTTP/1.1 200 OK\r\n"
        b"date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
        b"content-type: application/json\r\n"
        b"content-length: 2\r\n"
        b"cache-control: no-store\r\n"
        b"x-content-type-options: nosniff\r\n"
        b"x-request-id: made-1\r\n"
        b"request-id: made-1\r\n"
        b"\r\n"
        b"/a"
    )
    assert client.is_open


def test_the_date_goes_with_the_clock():
    site, client = site_and_client()

    client.send(get("/a"))
    site.loop.wind(2.5)
    client.send(get("/b"))

    assert b"date: Sun, 06 Nov 1994 08:49:39 GMT\r\n" in client.transport.written


# Several requests on one connection: what the route sees as (method, path, body).
CONVERSATIONS = {
    "one request": (get("/a"), [("GET", "/a", b"")]),
    "an empty line before a request": (b"\r\n" + get("/a"), [("GET", "/a", b"")]),
    "a body": (post("/a", b"hello"), [("POST", "/a", b"hello")]),
    "a chunked body": (chunked("/a", b"hello"), [("POST", "/a", b"hello")]),
    "chunks, an extension and a trailer": (
        get("/a", "Transfer-Encoding: chunked", method="POST")
        + b"2;x=1\r\nhe\r\n3\r\nllo\r\n0\r\nX-Trailer: 1\r\n\r\n",
        [("POST", "/a", b"hello")],
    ),
    "pipelined, the body between": (
        get("/a") + post("/b", b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n") + get("/c"),
        [("GET", "/a", b""), ("POST", "/b", get("/x")), ("GET", "/c", b"")],
    ),
    "a largest body": (post("/a", b"x" * MAX_BODY), [("POST", "/a", b"x" * MAX_BODY)]),
    "a largest chunked body": (chunked("/a", b"x" * MAX_BODY), [("POST", "/a", b"x" * MAX_BODY)]),
}


@pytest.mark.parametrize(("stream", "seen"), CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
def test_any_cut_gives_the_same_requests(stream, seen):
    cuts = [(stream[:i], stream[i:]) for i in range(len(stream))]
    for pieces in [*cuts, [bytes([byte]) for byte in stream]]:
        site, client = site_and_client()
        client.send(*(piece for piece in pieces if piece))
        requests = [(r.head.method, r.head.path, r.body) for r in site.route.requests]
        assert requests == seen
        assert client.answers == [200] * len(seen)
        assert client.is_open


# What cannot be read as a request: the status it gets.
REFUSALS = {
    "no HTTP": (b"\x16\x03\x01\x02", 400),
    "a bare LF": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two lengths": (get("/", "Content-Length: 1", "Content-Length: 2", method="POST"), 400),
    "a length and chunks": (
        get("/", "Content-Length: 1", "Transfer-Encoding: chunked", method="POST"),
        400,
    ),
    "a chunk that is longer than its size": (
        get("/", "Transfer-Encoding: chunked", method="POST") + b"1\r\nab\r\n0\r\n\r\n",
        400,
    ),
    "a path that no route has": (get("/nowhere"), 404),
    "a body too long by its length": (post("/", b"x" * (MAX_BODY + 1)), 413),
    "a body too long by its chunks": (chunked("/", b"x" * (MAX_BODY + 1)), 413),
    "a body too long by its tenth chunk": (
        get("/", "Transfer-Encoding: chunked", method="POST")
        + b"64\r\n%b\r\n" % (b"x" * 100) * 10
        + b"1\r\n",
        413,
    ),
    "an endless target": (b"GET /" + b"a" * LINE_LIMIT, 414),
    "an encoded body": (post("/", b"x", "Content-Encoding: gzip"), 415),
    "an unknown expectation": (post("/", b"x", "Expect: a-pony"), 417),
    "too many fields": (get("/", *["X: 1"] * FIELD_LIMIT), 431),
    "CONNECT": (get("a:1", method="CONNECT"), 501),
    "another coding": (get("/", "Transfer-Encoding: gzip, chunked", method="POST"), 501),
    "another version": (get("/", version="2.0"), 505),
}


@pytest.mark.parametrize(("stream", "status"), REFUSALS.values(), ids=REFUSALS.keys())
@pytest.mark.parametrize("before", [b"", get("/before")], ids=["alone", "pipelined"])
def test_a_refusal_is_the_last_answer(stream, status, before):
    site, client = site_and_client()

    client.send(before + stream, get("/smuggled"))

    assert client.answers == ([200] if before else []) + [status]
    assert "/smuggled" not in site.paths
    assert [refused for refused, _ in site.refused] == [status]
    last = client.transport.written.rpartition(b"HTTP/1.1 ")[2]
    assert b"\r\nconnection: close\r\n" in last
    assert b"\r\nheadgate-error-source: gateway\r\n" in last
    # Shut, not closed: closing with bytes unread sends a reset that may overtake the answer.
    assert client.transport.shut
    assert not client.transport.is_closing()


def test_a_refusal_is_told_with_the_head_it_is_about():
    site, client = site_and_client()

    client.send(get("/nowhere"))

    assert site.refused == [(404, "/nowhere")]


def test_pipelined_requests_wait_for_their_turn():
    site, client = site_and_client()

    client.send(get("/later") + get("/b"), get("/c"))
    assert site.paths == ["/later"]

    site.reply.send(200, b"first")
    assert site.paths == ["/later"]  # not within the call that ends the answer before
    site.loop.wind(0)

    assert site.paths == ["/later", "/b", "/c"]
    bodies = [client.transport.written.find(body) for body in (b"first", b"/b", b"/c")]
    assert bodies == sorted(bodies)
    assert client.answers == [200, 200, 200]


def test_a_pipelined_head_that_comes_in_two_parts_is_put_together():
    site, client = site_and_client()
    second = get("/b")

    client.send(get("/later") + second[:9])
    site.reply.send(200, b"")
    client.connection.data_received(second[9:])  # before the loop's next turn
    site.loop.wind(0)

    assert site.paths == ["/later", "/b"]


def test_a_pipelined_request_outlives_the_turn_in_which_the_one_before_is_busy_again():
    site, client = site_and_client()
    second = get("/later")

    client.send(get("/later") + second[:9])
    site.reply.send(200, b"")
    client.connection.data_received(second[9:] + get("/c"))  # before the loop's next turn
    site.loop.wind(0)
    site.reply.send(200, b"")
    site.loop.wind(0)

    assert site.paths == ["/later", "/later", "/c"]


def test_a_thousand_pipelined_requests_do_not_nest():
    site, client = site_and_client()
    many = get("/b") * 1500
    assert len(many) < PIPELINE_LIMIT

    client.send(get("/later"), many)
    site.reply.send(200, b"")
    site.loop.wind(0)

    assert client.answers == [200] * 1501


def test_pipelined_requests_take_a_turn_of_the_loop_each():
    site, client = site_and_client()

    client.connection.data_received(get("/a") + get("/b") + get("/later"))
    assert site.paths == ["/a"]
    assert not client.transport.reading  # or they would heap up
    client.site.loop.wind(0)

    assert site.paths == ["/a", "/b", "/later"]
    assert client.transport.reading, "to see it leave"


def test_who_sends_too_much_ahead_loses_the_connection_but_not_the_answer():
    site, client = site_and_client()

    client.send(get("/later"), b"x" * PIPELINE_LIMIT)
    assert len(client.connection._early) == PIPELINE_LIMIT
    client.send(b"x", b"x" * PIPELINE_LIMIT)
    assert len(client.connection._early) == PIPELINE_LIMIT

    site.reply.send(200, b"first")
    site.loop.wind(0)

    assert client.transport.written.endswith(b"connection: close\r\n\r\nfirst")
    assert client.answers == [200]
    assert client.transport.shut


# A request that waits for a 100, or does not: whether it gets one before its answer.
EXPECTATIONS = {
    "a body to come": ([get("/", "Content-Length: 2", "Expect: 100-continue"), b"hi"], True),
    "chunks to come": (
        [
            get("/", "Transfer-Encoding: chunked", "Expect: 100-Continue"),
            b"2\r\nhi\r\n0\r\n\r\n",
        ],
        True,
    ),
    "the body came along": ([post("/", b"hi", "Expect: 100-continue")], False),
    "its beginning came along": ([post("/", b"hi", "Expect: 100-continue")[:-1], b"i"], False),
    "no body": ([get("/", "Expect: 100-continue")], False),
    "HTTP/1.0": (
        [get("/", "Content-Length: 2", "Expect: 100-continue", version="1.0"), b"hi"],
        False,
    ),
}


@pytest.mark.parametrize(("pieces", "interim"), EXPECTATIONS.values(), ids=EXPECTATIONS.keys())
def test_the_100_comes_where_it_is_waited_for(pieces, interim):
    _, client = site_and_client()

    client.send(pieces[0])
    assert client.transport.written.startswith(b"HTTP/1.1 100 Continue\r\n\r\n") is interim
    client.send(*pieces[1:])

    assert client.answers == ([100, 200] if interim else [200])


def test_no_100_invites_a_body_that_will_be_refused():
    _, client = site_and_client()

    client.send(get("/", f"Content-Length: {MAX_BODY + 1}", "Expect: 100-continue"))

    assert client.answers == [413]


@pytest.mark.parametrize("path", ["/a", "/refusal", "/nowhere"])
def test_head_is_answered_without_a_body(path):
    _, client = site_and_client()

    client.send(get(path, method="HEAD"))
    head, _, body = client.transport.written.partition(b"\r\n\r\n")

    assert b"\r\ncontent-length: " in head
    assert b"\r\ncontent-length: 0" not in head
    assert body == b""


# Requests after whose answer the connection closes: it says so.
LAST = {
    "asked": get("/a", "Connection: close"),
    "asked among others": get("/a", "Connection: x, Close"),
    "HTTP/1.0": get("/a", version="1.0"),
    "HTTP/1.0 that asks for more": get("/a", "Connection: keep-alive", version="1.0"),
    "an upgrade that is not taken": get("/a", "Connection: upgrade", "Upgrade: h2c"),
}


@pytest.mark.parametrize("request_", LAST.values(), ids=LAST.keys())
def test_the_last_answer_says_so_and_closes(request_):
    site, client = site_and_client()

    client.send(request_, get("/more"))

    assert client.transport.written.endswith(b"\r\nconnection: close\r\n\r\n/a")
    assert client.transport.closed
    assert site.paths == ["/a"]


def test_an_answer_without_a_body_keeps_the_connection():
    _, client = site_and_client()

    client.send(get("/empty"), get("/a"))

    assert client.answers == [204, 200]
    assert b"connection: close" not in client.transport.written


def test_a_refusal_by_the_route_is_an_answer_like_any_other():
    site, client = site_and_client()

    client.send(get("/refusal") + get("/a"))

    assert client.answers == [503, 200]
    assert b"\r\nretry-after: 7\r\nretry-after-ms: 7000\r\n" in client.transport.written
    assert site.refused == []


def test_a_bug_is_a_bare_500_and_the_connection_lives_on():
    site, client = site_and_client()

    client.send(get("/bug"))
    body = orjson.loads(client.transport.written.partition(b"\r\n\r\n")[2])
    client.send(get("/a"))

    assert body["error"]["message"] == "internal error"
    assert b"secret" not in client.transport.written
    assert client.answers == [500, 200]
    assert [type(crash) for crash in site.crashes] == [ZeroDivisionError]


def test_a_bug_tells_whoever_was_to_answer_later():
    site, client = site_and_client()

    client.send(get("/bug-later"), get("/a"))
    client.connection.connection_lost(None)

    assert client.answers == [500, 200]
    assert site.route.left == 1


def test_a_bug_after_the_answer_does_not_answer_twice():
    site, client = site_and_client()

    client.send(get("/bug-after-answer"), get("/a"))

    assert client.answers == [200, 200]
    assert len(site.crashes) == 1


@pytest.mark.parametrize("path", ["/bug-amid-answer", "/refusal-amid-answer"])
def test_an_error_amid_an_answer_breaks_the_connection(path):
    _, client = site_and_client()

    client.send(get(path), get("/a"))

    assert client.answers == [200]
    assert client.transport.aborted


# What a client sends as x-request-id, and whether it is taken.
IDS = {
    "letters": ("abc", True),
    "all that is safe": ("Az09._~:/+=@-", True),
    "the longest": ("x" * 128, True),
    "too long": ("x" * 129, False),
    "empty": ("", False),
    "a space inside": ("a b", False),
    "a tab inside": ("a\tb", False),
    "a quote": ('a"b', False),
    "a comma": ("a,b", False),
    "a backslash": ("a\\b", False),
    "latin-1": ("caf\xe9", False),
}


@pytest.mark.parametrize(("given", "taken"), IDS.values(), ids=IDS.keys())
def test_a_request_id_is_echoed_if_it_is_safe(given, taken):
    site, client = site_and_client()

    client.send(get("/a", f"X-Request-Id: {given}"))

    id = given if taken else "made-1"
    assert site.route.requests[0].id == id
    lines = client.transport.written.split(b"\r\n")
    assert b"x-request-id: " + id.encode() in lines
    assert b"request-id: " + id.encode() in lines


def test_a_request_id_is_echoed_by_a_refusal_too():
    _, client = site_and_client()

    client.send(get("/nowhere", "X-Request-Id: mine"))

    assert b"\r\nx-request-id: mine\r\n" in client.transport.written


def test_connections_beyond_the_limit_are_told_and_far_beyond_it_dropped():
    site = Site(limit=2)
    clients = [FakeClient(site) for _ in range(2 + OVERLOAD_ANSWERS + 1)]
    welcome, told, dropped = clients[:2], clients[2:-1], clients[-1]

    for client in clients:
        client.send(get("/a"))

    assert [client.answers for client in welcome] == [[200]] * 2
    assert {(*client.answers, client.transport.shut) for client in told} == {(503, True)}
    assert b"\r\nretry-after: 1\r\n" in told[0].transport.written
    assert dropped.transport.aborted
    assert dropped.answers == []
    assert site.refused == [(503, "")] * OVERLOAD_ANSWERS


def test_a_connection_that_ends_makes_room():
    site = Site(limit=1)
    FakeClient(site).reset()
    client = FakeClient(site)

    client.send(get("/a"))

    assert client.answers == [200]


@pytest.mark.parametrize(
    ("peer", "name"),
    [(("192.0.2.1", 5), "192.0.2.1"), (("2001:db8::1", 5, 0, 0), "2001:db8::1"), ("", "unix")],
)
def test_a_request_knows_its_client(peer, name):
    site = Site()

    FakeClient(site, peer).send(get("/a"))

    assert site.route.requests[0].client == name
    assert site.route.requests[0].received == site.loop.now
