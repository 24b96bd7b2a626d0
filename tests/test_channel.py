"""A channel: what is appended to it, on which terms."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import channel as limits
from gateway.client_errors import ClientError, Conflict, RequestTooLarge
from gateway.durable import Post, Terms
from tests.channels import JSON, TEXT, channel, data, seen, text_channel, text_post


# A body of JSON, and the events it becomes.
BODIES = {
    "an object": (b'{"a":1}', [b'data: {"a":1}\n\n']),
    "an array is so many entries": (b"[1, 2]", [b"data: 1\n\n", b"data: 2\n\n"]),
    "one level is taken away": (b"[[1,2],[3]]", [b"data: [1,2]\n\n", b"data: [3]\n\n"]),
    "and no more": (b"[[[1,2]]]", [b"data: [[1,2]]\n\n"]),
    "a string": (b'"\\n"', [b'data: "\\n"\n\n']),
    "null": (b"null", [b"data: null\n\n"]),
    "digits stay": (b"1.10000000000000000001", [b"data: 1.10000000000000000001\n\n"]),
    "in an array, too": (b"[1.50, 123456789012345678901]", [
        b"data: 1.50\n\n", b"data: 123456789012345678901\n\n",
    ]),
    "white space around goes": (b' \r\n{"a": 1}\t', [b'data: {"a": 1}\n\n']),
    "lines are joined": (b'{\r\n  "a":\n1}', [b'data: {  "a":1}\n\n']),
    "a line separator is no line end": (
        '"\u2028"'.encode(), ['data: "\u2028"\n\n'.encode()],
    ),
    "a type is named": (b'{"type":"tick.1"}', [b'event: tick.1\ndata: {"type":"tick.1"}\n\n']),
    "in an array, each": (b'[{"type":"a"},{}]', [
        b'event: a\ndata: {"type":"a"}\n\n', b"data: {}\n\n",
    ]),
    "a type that could end its line": (b'{"type":"a\\nb"}', [b'data: {"type":"a\\nb"}\n\n']),
    "a type that is no string": (b'{"type":1}', [b'data: {"type":1}\n\n']),
    "an empty type": (b'{"type":""}', [b'data: {"type":""}\n\n']),
    "a long type": (
        b'{"type":"%b"}' % (b"x" * 65), [b'data: {"type":"%b"}\n\n' % (b"x" * 65)],
    ),
    "a type that a view says itself": (b'{"type":"control"}', [b'data: {"type":"control"}\n\n']),
    "a type that looks like a lost line": (b'{"type":"error"}', [b'data: {"type":"error"}\n\n']),
    "a type deep inside": (b'{"a":{"type":"b"}}', [b'data: {"a":{"type":"b"}}\n\n']),
}  # fmt: skip


@pytest.mark.parametrize(("body", "events"), BODIES.values(), ids=BODIES.keys())
def test_json_becomes_events_of_its_own_bytes(body, events):
    log = channel()

    receipt = log.publish(Post(body), 0)

    assert data(log) == b"".join(events)
    assert (receipt.status, log.tail) == (204, len(events))


@pytest.mark.parametrize(("body", "events"), BODIES.values(), ids=BODIES.keys())
def test_the_first_bytes_become_the_same(body, events):
    assert data(channel(body)) == b"".join(events)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
).filter(lambda value: not isinstance(value, dict) or not value.get("to"))  # fmt: skip


@given(st.lists(VALUES, min_size=1, max_size=5), st.sampled_from([None, 2]), st.booleans())
def test_whatever_was_published_is_read_again(values, indent, ascii):
    log = channel()

    log.publish(Post(json.dumps(values, indent=indent, ensure_ascii=ascii).encode()), 0)

    blocks = data(log).split(b"\n\n")
    assert blocks.pop() == b""
    payloads = [block.removeprefix(b"event: ").rpartition(b"data: ")[2] for block in blocks]
    assert [json.loads(payload) for payload in payloads] == values
    assert not any(b"\n" in payload or b"\r" in payload for payload in payloads)


@given(st.binary(max_size=30) | st.text('[]{}",:\\ \n\r\tu0eE+-.ntf1', max_size=20).map(str.encode))
def test_bad_json_is_refused_and_leaves_nothing(body):
    """Whatever it takes, a reader can read."""
    log = channel()
    try:
        log.publish(Post(body), 0)
    except ClientError:
        assert (log.tail, log.held) == (0, 0)
    else:
        value = orjson.loads(body)
        assert [one for _, one in seen(log, "")] == (value if isinstance(value, list) else [value])


# What is refused in JSON mode, and some of the words.
NOT_JSON = {
    "no json": (b"{ invalid json }", "not JSON"),
    "two values": (b"1 2", "not JSON"),
    "a comma too many": (b"[1,]", "not JSON"),
    "not a number": (b"NaN", "not JSON"),
    "no number that counts": (b"[1e400]", "not JSON"),
    "no utf-8": (b'"\xff"', "not JSON"),
    "half a character": (b'["\\ud800"]', "not JSON"),
    "a byte-order mark": (b"\xef\xbb\xbf1", "not JSON"),
    "white space": (b" \n", "not JSON"),
    "an empty array": (b"[]", "nothing to append"),
    "an empty array, spaced": (b" [ ] ", "nothing to append"),
    "too deep": (b"[" * (limits.MAX_DEPTH + 1) + b"]" * (limits.MAX_DEPTH + 1), "deeper"),
    "very deep": (b"[" * 500_000, "deeper"),
}


@pytest.mark.parametrize(("body", "words"), NOT_JSON.values(), ids=NOT_JSON.keys())
def test_what_is_no_json_is_refused_with_words(body, words):
    with pytest.raises(ClientError, match=words) as refused:
        channel().publish(Post(body), 0)

    assert refused.value.status == 400


def test_a_channel_may_begin_with_an_empty_array():
    assert channel(b"[]").tail == 0


def test_a_body_has_so_many_entries():
    assert channel(b"[%b1]" % (b"1," * (limits.MAX_ENTRIES - 1))).tail == limits.MAX_ENTRIES
    with pytest.raises(RequestTooLarge):
        channel(b"[%b1]" % (b"1," * limits.MAX_ENTRIES))


# Other media types.


@pytest.mark.parametrize("body", [b"one", b"\x00\xff", b"a\r\n\r\ndata: b\n\n", b"[1,2]"])
def test_other_bytes_are_one_entry_as_they_came(body):
    log = text_channel(b"first")

    log.publish(text_post(body), 0)

    assert [(b.data, b.first, b.count) for b in log.after(0)] == [(b"first", 1, 1), (body, 2, 1)]
    assert not log.json


@pytest.mark.parametrize("media", [JSON, b"Application/JSON", b"application/json; charset=utf-8"])
def test_json_is_known_by_its_kind(media):
    log = channel(media=media)

    log.publish(Post(b"[1,2]", b"application/json;charset=UTF-8"), 0)

    assert (log.json, log.tail) == (True, 2)


def test_a_post_must_be_of_the_channels_kind():
    with pytest.raises(Conflict):
        text_channel().publish(Post(b"{}"), 0)


def test_a_post_must_say_its_kind():
    with pytest.raises(ClientError) as refused:
        text_channel().publish(Post(b"x", b""), 0)

    assert (refused.value.status, refused.value.param) == (400, "Content-Type")


def test_an_empty_post_is_refused():
    with pytest.raises(ClientError, match="empty") as refused:
        channel().publish(Post(b""), 0)

    assert refused.value.status == 400


# A repeated PUT: the terms of the channel, and those of the other.
SAME = {
    "the same": ({}, {}),
    "its kind written otherwise": ({}, {"media": b"APPLICATION/JSON; charset=utf-8"}),
    "the same time to live": ({"ttl": 60}, {"ttl": 60}),
    "the same date, written otherwise": (
        {"expires": 5.0, "expires_text": b"a"},
        {"expires": 5.0, "expires_text": b"b"},
    ),
    "closed as well": ({"closed": True}, {"closed": True}),
}
OTHER = {
    "another kind": ({}, {"media": TEXT}),
    "another time to live": ({"ttl": 60}, {"ttl": 61}),
    "no time to live": ({"ttl": 60}, {}),
    "another date": ({"expires": 5.0}, {"expires": 6.0}),
    "closed, and it is not": ({}, {"closed": True}),
    "not closed, and it is": ({"closed": True}, {}),
}


@pytest.mark.parametrize(("mine", "theirs"), SAME.values(), ids=SAME.keys())
def test_a_repeated_put_may_say_the_same(mine, theirs):
    channel(**mine).confirm(Terms(**{"media": JSON, **theirs}))


@pytest.mark.parametrize(("mine", "theirs"), OTHER.values(), ids=OTHER.keys())
def test_a_repeated_put_may_not_say_anything_else(mine, theirs):
    with pytest.raises(Conflict):
        channel(**mine).confirm(Terms(**{"media": JSON, **theirs}))


def test_a_put_confirms_what_was_closed_since():
    log = channel()
    log.publish(Post(b"", closes=True), 0)

    log.confirm(Terms(media=JSON, closed=True))
    with pytest.raises(Conflict):
        log.confirm(Terms(media=JSON))
