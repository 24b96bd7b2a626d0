"""What a PUT, a POST and a GET say: taken as the protocol spells it, or refused."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client_errors import ClientError, NotImplementedHere
from gateway.durable import (
    BYTES,
    MAX_KEPT,
    Claim,
    Terms,
    Wish,
    kind,
    read_post,
    read_terms,
    read_wish,
)
from gateway.guard import RequestHead
from tests.asking import fields_of


def head(**fields: str) -> RequestHead:
    """A head with these fields: an underscore in a name stands for a hyphen."""
    lines = [(k.replace("_", "-").encode(), v.encode("latin-1")) for k, v in fields.items()]
    return RequestHead("PUT", "/v1/stream/a", "", fields_of(lines), http10=False)


# The fields of a PUT, and what they say.
TERMS = {
    "nothing": ({}, Terms(media=BYTES)),
    "a type": ({"content_type": "text/plain"}, Terms(media=b"text/plain")),
    "a type with parameters": (
        {"content_type": 'text/plain; charset="utf-8"; x=1'},
        Terms(media=b'text/plain; charset="utf-8"; x=1'),
    ),
    "a time to live": ({"stream_ttl": "3600"}, Terms(ttl=3600)),
    "no time to live": ({"stream_ttl": "0"}, Terms(ttl=0)),
    "the longest": ({"stream_ttl": "9007199254740991"}, Terms(ttl=2**53 - 1)),
    "closed": ({"stream_closed": "true"}, Terms(closed=True)),
    "closed, in capitals": ({"stream_closed": "TRUE"}, Terms(closed=True)),
    "closed, almost": ({"stream_closed": "yes"}, Terms()),
    "not closed": ({"stream_closed": "false"}, Terms()),
}


@pytest.mark.parametrize(("fields", "terms"), TERMS.values(), ids=TERMS.keys())
def test_a_put_says_what_the_channel_is(fields, terms):
    assert read_terms(head(**fields)) == terms


# The fields of a PUT that is refused, and the one that is named.
BAD_TERMS = {
    "a leading zero": ({"stream_ttl": "060"}, "Stream-TTL"),
    "two zeros": ({"stream_ttl": "00"}, "Stream-TTL"),
    "a plus sign": ({"stream_ttl": "+60"}, "Stream-TTL"),
    "a minus sign": ({"stream_ttl": "-1"}, "Stream-TTL"),
    "a fraction": ({"stream_ttl": "60.0"}, "Stream-TTL"),
    "an exponent": ({"stream_ttl": "1e3"}, "Stream-TTL"),
    "a word": ({"stream_ttl": "abc"}, "Stream-TTL"),
    "digits that are not ASCII": ({"stream_ttl": "\xb2"}, "Stream-TTL"),
    "more than JavaScript counts": ({"stream_ttl": "9007199254740992"}, "Stream-TTL"),
    "very many digits": ({"stream_ttl": "9" * 5000}, "Stream-TTL"),
    "two lifetimes": (
        {"stream_ttl": "1", "stream_expires_at": "2030-01-01T00:00:00Z"},
        "Stream-TTL",
    ),
    "no time": ({"stream_expires_at": "not-a-timestamp"}, "Stream-Expires-At"),
    "no zone": ({"stream_expires_at": "2030-01-01T00:00:00"}, "Stream-Expires-At"),
    "a date": ({"stream_expires_at": "2030-01-01"}, "Stream-Expires-At"),
    "no such month": ({"stream_expires_at": "2030-13-01T00:00:00Z"}, "Stream-Expires-At"),
    "no such day": ({"stream_expires_at": "2030-02-29T00:00:00Z"}, "Stream-Expires-At"),
    "no such hour": ({"stream_expires_at": "2030-01-01T24:00:00Z"}, "Stream-Expires-At"),
    "no such minute": ({"stream_expires_at": "2030-01-01T00:60:00Z"}, "Stream-Expires-At"),
    "no such second": ({"stream_expires_at": "2030-01-01T00:00:61Z"}, "Stream-Expires-At"),
    "no such zone": ({"stream_expires_at": "2030-01-01T00:00:00+24:00"}, "Stream-Expires-At"),
    "no such year": ({"stream_expires_at": "0000-01-01T00:00:00Z"}, "Stream-Expires-At"),
    "half a type": ({"content_type": "json"}, "Content-Type"),
    "a type with a space": ({"content_type": "text/ plain"}, "Content-Type"),
    "two types": ({"content_type": "text/plain, text/html"}, "Content-Type"),
    "a type beyond ASCII": ({"content_type": "text/pl\xe4in"}, "Content-Type"),
    "a long type": ({"content_type": "text/" + "x" * MAX_KEPT}, "Content-Type"),
}


@pytest.mark.parametrize(("fields", "named"), BAD_TERMS.values(), ids=BAD_TERMS.keys())
def test_a_put_that_says_it_wrongly_is_refused(fields, named):
    with pytest.raises(ClientError) as refused:
        read_terms(head(**fields))

    assert (refused.value.status, refused.value.param) == (400, named)


@pytest.mark.parametrize("field", ["stream_forked_from", "stream_fork_sub_offset"])
def test_nothing_is_forked(field):
    """An empty log in place of the fork would be a wrong answer."""
    with pytest.raises(NotImplementedHere):
        read_terms(head(**{field: "/v1/stream/b"}))


# Of years that a timedelta can leave in both directions.
TIMES = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1))
MINUTES = st.integers(-23 * 60 - 59, 23 * 60 + 59)


@given(TIMES, MINUTES)
def test_every_time_is_read_as_datetime_reads_it(time, ahead):
    time = time.replace(tzinfo=timezone(timedelta(minutes=ahead)))
    text = time.isoformat()

    terms = read_terms(head(stream_expires_at=text))

    since_1970 = time - datetime(1970, 1, 1, tzinfo=UTC)
    assert terms.expires == pytest.approx(since_1970.total_seconds(), abs=1e-4)
    assert terms.expires_text == text.encode()


def test_a_time_may_be_written_in_small_letters_and_leap():
    written = [
        "2016-12-31T23:59:60Z", "2016-12-31t23:59:60z", "2017-01-01T00:00:00.000-00:00",
    ]  # fmt: skip

    assert {read_terms(head(stream_expires_at=text)).expires for text in written} == {
        datetime(2017, 1, 1, tzinfo=UTC).timestamp()
    }


def test_a_kind_is_small_and_bare():
    assert kind(b"Application/JSON ; charset=utf-8") == b"application/json"


# The fields of a POST with a body, and what they say besides it.
POSTS = {
    "a type": ({"content_type": "text/plain"}, {"media": b"text/plain"}),
    "no type": ({}, {"media": b""}),
    "an order": ({"stream_seq": "000_b"}, {"media": b"", "order": b"000_b"}),
    "the end": ({"stream_closed": "true"}, {"media": b"", "closes": True}),
    "a producer": (
        {"producer_id": "me", "producer_epoch": "0", "producer_seq": "12"},
        {"media": b"", "claim": Claim(b"me", 0, 12)},
    ),
}


@pytest.mark.parametrize(("fields", "said"), POSTS.values(), ids=POSTS.keys())
def test_a_post_says_what_to_do(fields, said):
    post = read_post(head(**fields), b"x")

    plain = {"body": b"x", "order": b"", "closes": False, "claim": None}
    assert {name: getattr(post, name) for name in [*plain, "media"]} == plain | said


@pytest.mark.parametrize("type", ["text/plain", "no type at all"])
def test_without_a_body_the_type_says_nothing(type):
    assert read_post(head(content_type=type, stream_closed="true"), b"").media == b""


# The fields of a POST that is refused, and the one that is named.
BAD_POSTS = {
    "a producer alone": ({"producer_id": "me"}, "Producer-Id"),
    "an epoch alone": ({"producer_epoch": "0"}, "Producer-Id"),
    "no number": ({"producer_id": "me", "producer_epoch": "0"}, "Producer-Id"),
    "no name": (
        {"producer_id": "", "producer_epoch": "0", "producer_seq": "0"},
        "Producer-Id",
    ),
    "a long name": (
        {"producer_id": "x" * (MAX_KEPT + 1), "producer_epoch": "0", "producer_seq": "0"},
        "Producer-Id",
    ),
    "a number with a tail": (
        {"producer_id": "me", "producer_epoch": "0", "producer_seq": "1abc"},
        "Producer-Seq",
    ),
    "an epoch with an exponent": (
        {"producer_id": "me", "producer_epoch": "1e3", "producer_seq": "0"},
        "Producer-Epoch",
    ),
    "an epoch below zero": (
        {"producer_id": "me", "producer_epoch": "-1", "producer_seq": "0"},
        "Producer-Epoch",
    ),
    "a long order": ({"stream_seq": "x" * (MAX_KEPT + 1)}, "Stream-Seq"),
    "half a type": ({"content_type": "json"}, "Content-Type"),
}


@pytest.mark.parametrize(("fields", "named"), BAD_POSTS.values(), ids=BAD_POSTS.keys())
def test_a_post_that_says_it_wrongly_is_refused(fields, named):
    with pytest.raises(ClientError) as refused:
        read_post(head(**fields), b"x")

    assert (refused.value.status, refused.value.param) == (400, named)


# The query of a GET, and what it asks for.
WISHES = {
    "nothing": ("", Wish()),
    "from somewhere": ("offset=abcdefgh_0000000000000001", Wish("abcdefgh_0000000000000001")),
    "live": ("live=sse&offset=now&cursor=12", Wish("now", "sse", "12")),
    "a long poll": ("offset=-1&live=long-poll", Wish("-1", "long-poll")),
    "what a page saw": ("last_event_id=x", Wish(last_event_id="x")),
    "escaped": ("offset=%2D1", Wish("-1")),
    "other things": ("a=1&a=2&b=&offset=-1", Wish("-1")),
}


@pytest.mark.parametrize(("query", "wish"), WISHES.values(), ids=WISHES.keys())
def test_a_get_says_from_where_and_how(query, wish):
    assert read_wish(query) == wish


# The query of a GET that is refused, and the parameter that is named.
BAD_WISHES = {
    "an empty offset": ("offset=", "offset"),
    "two offsets": ("offset=a&offset=b", "offset"),
    "the same twice": ("offset=a&offset=a", "offset"),
    "an empty mode": ("live=&offset=now", "live"),
    "a mode that is none": ("live=true&offset=now", "live"),
    "live from nowhere": ("live=sse", "offset"),
    "an empty cursor": ("cursor=", "cursor"),
}


@pytest.mark.parametrize(("query", "named"), BAD_WISHES.values(), ids=BAD_WISHES.keys())
def test_a_get_that_says_it_wrongly_is_refused(query, named):
    with pytest.raises(ClientError) as refused:
        read_wish(query)

    assert (refused.value.status, refused.value.param) == (400, named)
