"""Arriving: a body in parts is what it is in one, wherever it is cut."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway._sseparse import CHUNKED, Fields, chunk
from gateway.bodies import Arriving
from gateway.client_errors import MalformedRequest, RequestTooLarge
from gateway.guard import RequestHead
from gateway.host import Request
from gateway.reply import Reply


LIMIT = 20


class FakeRoute:
    max_body = LIMIT
    refusal = None

    def handle(self, request: Request, reply: Reply) -> None:
        raise NotImplementedError


def arrived(framing: int, pieces: Iterable[bytes]) -> tuple[bytes | None, bytes]:
    """Return the body and what came behind it."""
    head = RequestHead("POST", "/x", "", Fields(), http10=False)
    head.framing = framing
    arriving, body = Arriving(head, FakeRoute(), due=1.0), None
    behind = b""
    for piece in pieces:
        if body is None:
            body = arriving.feed(piece)
            behind = arriving.surplus
        else:
            behind += piece
    return body, behind


def cut(raw: bytes, places: Iterable[int]) -> list[bytes]:
    ends = [*sorted(place % (len(raw) + 1) for place in places), len(raw)]
    return [raw[at:end] for at, end in zip([0, *ends], ends, strict=False)]


bodies = st.binary(max_size=LIMIT)
places = st.lists(st.integers(0, 100), max_size=8)


@given(body=bodies, behind=st.binary(max_size=5), places=places)
def test_a_body_of_a_known_length_is_put_together(body, behind, places):
    pieces = cut(body + behind, places)
    assert arrived(len(body), pieces) == (body, behind)


@given(parts=st.lists(st.binary(min_size=1, max_size=5), max_size=4), places=places)
def test_chunks_are_put_together(parts, places):
    raw = b"".join(map(chunk, parts)) + chunk(b"")
    assert arrived(CHUNKED, cut(raw + b"GET", places)) == (b"".join(parts), b"GET")


@given(body=st.binary(min_size=1, max_size=LIMIT))
def test_a_body_is_no_body_before_its_last_byte(body):
    assert arrived(len(body), [body[:-1]]) == (None, b"")


def test_chunks_that_are_none_are_malformed():
    with pytest.raises(MalformedRequest):
        arrived(CHUNKED, [b"1\r\nab\r\n"])


def test_chunks_beyond_the_limit_are_too_large():
    with pytest.raises(RequestTooLarge):
        arrived(CHUNKED, [chunk(b"x" * LIMIT), chunk(b"x")])
