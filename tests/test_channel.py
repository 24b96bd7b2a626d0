"""Channel: what people append is kept once, in order, for those it is for, for its time."""

import itertools
import json
import tracemalloc

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import channel as limits
from gateway.channel import Channel, Receipt, Retention
from gateway.durable import Claim, Post, Terms
from gateway.errors import (
    ClientError,
    Conflict,
    LogClosed,
    RequestTooLarge,
    SequenceGap,
    StaleEpoch,
)
from gateway.eventlog import State


EPOCH = "abcdefgh"
JSON, TEXT = b"application/json", b"text/plain"


def channel(body=b"", *, now=0.0, retention=None, **terms):
    terms = Terms(**{"media": JSON, **terms})
    kept = {} if retention is None else {"retention": retention}
    return Channel("news", EPOCH, terms, now=now, body=body, **kept)


def text_channel(body=b"", **options):
    return channel(body, media=TEXT, **options)


def text_post(body=b"", **said):
    return Post(body, TEXT, **said)


def claimed(seq, epoch=0, id=b"me"):
    return Claim(id, epoch, seq)


def data(log, cursor=0):
    """All that the log delivers after a cursor, as one."""
    return b"".join(batch.data for batch in log.after(cursor))


def seen(log, subject, cursor=0):
    """The number and the JSON of each entry that a subscriber sees."""
    found = []
    for batch in log.visible(cursor, subject):
        blocks = batch.data.removesuffix(b"\n\n").split(b"\n\n")
        assert len(blocks) == batch.count
        for number, block in enumerate(blocks, batch.first):
            found.append((number, orjson.loads(block.rpartition(b"data: ")[2])))
    return found


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


# The order of appends.


def test_an_order_must_rise_by_its_bytes():
    log = text_channel()
    for order in (b"09", b"1", b"10", b"a"):
        log.publish(text_post(b"x", order=order), 0)

    for order in (b"a", b"B", b"2"):
        with pytest.raises(Conflict):
            log.publish(text_post(b"x", order=order), 0)

    assert log.tail == 4


def test_an_order_that_was_refused_does_not_count():
    log = channel()
    with pytest.raises(ClientError):
        log.publish(Post(b"no json", order=b"5"), 0)

    assert log.publish(Post(b"1", order=b"1"), 0).status == 204


def test_posts_without_an_order_come_in_between():
    log = text_channel()
    log.publish(text_post(b"x", order=b"2"), 0)
    log.publish(text_post(b"x"), 0)

    with pytest.raises(Conflict):
        log.publish(text_post(b"x", order=b"1"), 0)


# Producers.


def test_a_producers_request_is_appended_once():
    log = text_channel()
    first, again = [log.publish(text_post(b"x", claim=claimed(0)), 0) for _ in range(2)]

    assert first == Receipt(200, f"{EPOCH}_0000000000000001", False, claimed(0))
    assert again == Receipt(204, f"{EPOCH}_0000000000000001", False, claimed(0))
    assert data(log) == b"x"


def test_a_repeated_request_is_told_the_highest_number():
    log = text_channel()
    for seq in range(3):
        log.publish(text_post(b"x", claim=claimed(seq)), 0)

    assert log.publish(text_post(b"x", claim=claimed(1)), 0).claim == claimed(2)


def test_a_repeated_request_need_not_rise():
    log = text_channel()
    post = text_post(b"x", claim=claimed(0), order=b"1")
    log.publish(post, 0)

    assert log.publish(post, 0).status == 204


# A POST that is refused although its number is right.
REFUSED = {
    "no json": (Post(b"no json", claim=claimed(1)), ClientError),
    "an empty array": (Post(b"[]", claim=claimed(1)), ClientError),
    "of another kind": (Post(b"1", TEXT, claim=claimed(1)), Conflict),
    "out of order": (Post(b"1", order=b"1", claim=claimed(1)), Conflict),
}


@pytest.mark.parametrize(("post", "error"), REFUSED.values(), ids=REFUSED.keys())
def test_what_was_refused_may_come_again_with_its_number(post, error):
    log = channel()
    log.publish(Post(b"1", order=b"1", claim=claimed(0)), 0)
    with pytest.raises(error):
        log.publish(post, 0)

    assert log.publish(Post(b"2", claim=claimed(1)), 0).status == 200
    assert log.tail == 2


def test_a_gap_is_refused():
    log = text_channel()

    with pytest.raises(SequenceGap):
        log.publish(text_post(b"x", claim=claimed(1)), 0)

    assert log.tail == 0


# The end.


def test_a_channel_closes_for_good():
    log = text_channel(b"a")

    receipt = log.publish(text_post(closes=True), 0)

    assert receipt == Receipt(204, f"{EPOCH}_0000000000000001", True)
    assert (log.state, log.closed) == (State.FINISHED, True)
    with pytest.raises(LogClosed) as refused:
        log.publish(text_post(b"x"), 0)
    assert refused.value.status == 409
    assert refused.value.fields == (
        b"stream-closed: true\r\nstream-next-offset: %b_0000000000000001\r\n" % EPOCH.encode()
    )


def test_the_last_append_and_the_end_are_one():
    log = text_channel()

    receipt = log.publish(text_post(b"last", closes=True), 0)

    assert (receipt.closed, receipt.status, data(log)) == (True, 204, b"last")


def test_a_refused_append_does_not_close():
    log = channel()
    with pytest.raises(ClientError):
        log.publish(Post(b"no json", closes=True), 0)

    assert not log.closed


def test_a_channel_may_begin_closed():
    log = text_channel(b"all", closed=True)

    assert (log.closed, data(log)) == (True, b"all")


def test_closing_twice_is_no_fault():
    log = channel(closed=True)

    assert log.publish(Post(b"", closes=True), 0).status == 204


def test_closing_is_of_no_kind():
    assert channel().publish(text_post(closes=True), 0).closed


def test_the_request_that_closed_may_come_again():
    log = text_channel()
    post = text_post(b"a", claim=claimed(0), closes=True)

    assert log.publish(post, 0).status == 200
    again = log.publish(text_post(b"b", claim=claimed(0), closes=True), 0)

    assert again == Receipt(204, f"{EPOCH}_0000000000000001", True, claimed(0))
    assert data(log) == b"a"


def test_an_end_without_an_append_has_a_number_too():
    log = text_channel()
    log.publish(text_post(b"a", claim=claimed(0)), 0)
    end = text_post(claim=claimed(1), closes=True)

    first, again = log.publish(end, 0), log.publish(end, 0)

    assert first == again == Receipt(204, f"{EPOCH}_0000000000000001", True, claimed(1))


# What a request is refused with, after a producer closed with number 1 of epoch 1.
AFTER = {
    "no producer": (None, LogClosed),
    "another producer": (claimed(0, id=b"you"), LogClosed),
    "the next number": (claimed(2, epoch=1), LogClosed),
    "a number before": (claimed(0, epoch=1), LogClosed),
    "a gap": (claimed(7, epoch=1), LogClosed),
    "a later epoch": (claimed(0, epoch=2), LogClosed),
    "an older epoch": (claimed(1, epoch=0), StaleEpoch),
}


@pytest.mark.parametrize(("claim", "error"), AFTER.values(), ids=AFTER.keys())
def test_after_the_end_only_what_ended_it_is_known(claim, error):
    log = text_channel()
    log.publish(text_post(b"a", claim=claimed(0, epoch=1)), 0)
    log.publish(text_post(claim=claimed(1, epoch=1), closes=True), 0)

    with pytest.raises(error):
        log.publish(text_post(b"x", claim=claim, closes=True), 0)


def test_that_it_is_closed_is_told_before_anything_else():
    log = text_channel(closed=True)

    with pytest.raises(LogClosed):
        log.publish(Post(b"no json", order=b"0"), 0)


def test_a_receipt_gives_the_fields_of_its_answer():
    assert Receipt(204, "c").fields == b"stream-next-offset: c\r\n"
    assert Receipt(200, "c", True, claimed(4, epoch=3)).fields == (
        b"stream-next-offset: c\r\nstream-closed: true\r\nproducer-epoch: 3\r\nproducer-seq: 4\r\n"
    )


# For whom.


def test_an_entry_for_some_is_seen_by_them_alone():
    log = channel(b'[{"n":1},{"n":2,"to":["ann"]},{"n":3,"to":["bob","ann"]},{"n":4}]')

    def numbers(subject, cursor=0):
        return [number for number, _ in seen(log, subject, cursor)]

    assert numbers("ann") == [1, 2, 3, 4]
    assert numbers("bob") == [1, 3, 4]
    assert numbers("") == [1, 4]
    assert numbers("bob", 2) == [3, 4]
    assert log.tail == 4


def test_the_entry_says_its_number():
    log = channel(b'[1,{"to":["ann"]}]')
    log.publish(Post(b"[3,4]"), 0)

    assert seen(log, "bob") == [(1, 1), (3, 3), (4, 4)]
    assert seen(log, "ann") == [(1, 1), (2, {"to": ["ann"]}), (3, 3), (4, 4)]


@pytest.mark.parametrize("subject", ["", "ann"])
def test_an_entry_for_nobody_is_seen_by_nobody(subject):
    assert seen(channel(b'{"to":[]}'), subject) == []


def test_an_entry_that_leaves_it_open_is_for_all():
    assert seen(channel(b'{"to":null}'), "") == [(1, {"to": None})]


def test_only_the_outermost_object_says_for_whom():
    assert seen(channel(b'[[{"to":["ann"]}]]'), "") == [(1, [{"to": ["ann"]}])]


# What is almost a list of subscribers.
ALMOST = {
    "one name": '"ann"',
    "an object": '{"ann":1}',
    "a number": "1",
    "false": "false",
    "numbers": "[1]",
    "an empty name": '["ann",""]',
    "a NUL in a name": '["ann\\u0000bob"]',
    "a long name": json.dumps(["x" * (limits.MAX_NAME + 1)]),
    "too many": json.dumps(["x"] * (limits.MAX_TO + 1)),
}


@pytest.mark.parametrize("to", ALMOST.values(), ids=ALMOST.keys())
def test_what_is_meant_for_some_never_reaches_all(to):
    log = channel()

    with pytest.raises(ClientError) as refused:
        log.publish(Post(b'[1,{"to":%b}]' % to.encode()), 0)

    assert (refused.value.status, refused.value.param, log.tail) == (400, "to", 0)


def test_a_name_is_heard_as_a_whole():
    log = channel(b'[{"to":["ann","bobby"]},{"to":[]}]')

    assert [n for n, _ in seen(log, "ann")] == [1]
    assert [seen(log, name) for name in ("", "an", "bob", "nn")] == [[]] * 4


@pytest.mark.parametrize(
    ("body", "times"),
    [
        ([{"to": ["ab"]}] * 10_000, 1),
        ([{"to": [f"{n:02x}" for n in range(100)]}] * 2000, 1),
        (1, 1000),
    ],
    ids=["small entries", "many names", "many posts"],
)
def test_what_a_channel_costs_is_not_much_less_than_it_takes(body, times):
    raw = orjson.dumps(body)
    tracemalloc.start()
    log = channel()
    for now in range(times):
        log.publish(Post(bytes(raw)), now)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert taken < 1.5 * log.cost
    log.trim(log.tail)
    log.tidy(0)
    assert log.cost == 0


@given(
    st.lists(st.sampled_from([None, [], ["ann"], ["bob"], ["ann", "bob"]]), max_size=12),
    st.lists(st.integers(0, 12), max_size=4),
    st.integers(1, 6),
)
def test_each_sees_all_that_is_for_it_in_what_is_kept(entries, cuts, kept):
    """However the entries were posted."""
    log = channel(retention=Retention(entries=kept))
    ends = sorted({0, len(entries), *(cut for cut in cuts if cut < len(entries))})
    numbered = [{"n": n, "to": to} for n, to in enumerate(entries, 1)]
    for start, end in itertools.pairwise(ends):
        log.publish(Post(orjson.dumps(numbered[start:end])), 0)

    for subject in ("", "ann", "bob"):
        wanted = [
            (one["n"], one)
            for one in numbered[log.base :]
            if one["to"] is None or subject in one["to"]
        ]
        assert seen(log, subject, log.base) == wanted
    assert log.tail - log.base >= min(kept, len(entries))


# How long.


def test_without_terms_it_lives_on():
    assert not channel().expired(1e12, 1e12)


def test_a_time_to_live_begins_anew_with_each_read_and_write():
    log = channel(ttl=10, now=100.0)

    assert not log.expired(109.9, 0.0)
    assert log.expired(110.0, 0.0)
    log.touch(105.0)
    assert not log.expired(114.9, 0.0)
    log.publish(Post(b"1"), 112.0)
    assert not log.expired(121.9, 0.0)
    assert log.expired(122.0, 0.0)


# Writes that append nothing.
IDLE = {
    "the end": Post(b"", closes=True),
    "a repetition": Post(b"1", claim=claimed(0)),
}


@pytest.mark.parametrize("post", IDLE.values(), ids=IDLE.keys())
def test_a_write_that_appends_nothing_counts(post):
    log = channel(ttl=10)
    log.publish(Post(b"1", claim=claimed(0)), 0.0)
    log.publish(post, 9.0)

    assert not log.expired(18.9, 0.0)


def test_a_refused_write_does_not_count():
    log = channel(ttl=10)
    with pytest.raises(ClientError):
        log.publish(Post(b"no json"), 9.0)

    assert log.expired(10.0, 0.0)


def test_a_date_stays_whatever_happens():
    log = channel(expires=50.0)
    log.publish(Post(b"1"), 49.0)

    assert not log.expired(1e12, 49.9)
    assert log.expired(0.0, 50.0)


# How much.


def test_only_so_many_entries_are_kept():
    log = text_channel(retention=Retention(entries=3))
    for n in range(5):
        log.publish(text_post(b"%d" % n), 0)

    assert (data(log, log.base), log.base, log.tail) == (b"234", 2, 5)


def test_what_came_together_goes_together():
    log = channel(b"[1,2,3]", retention=Retention(entries=2))

    assert log.base == 0
    log.publish(Post(b"4"), 0)
    assert log.base == 0
    log.publish(Post(b"5"), 0)
    assert log.base == 3


def test_what_came_together_goes_together_whoever_it_is_for():
    """Or a reader that has all but the newest would have missed a part of it."""
    log = channel(b'[1,{"to":["ann"]},{"to":["bob"]},4]', retention=Retention(entries=1))

    assert log.base == 0
    log.publish(Post(b'[{"to":["ann"]},6]'), 0)

    assert log.base == 4
    assert [number for number, _ in seen(log, "ann", log.base)] == [5, 6]


def test_what_the_hub_trims_is_forgotten_here_too():
    log = channel(b'{"to":["ann"]}', retention=Retention(entries=2))
    log.publish(Post(b"2"), 0)
    log.trim(2)

    for n in range(3, 6):
        log.publish(Post(b"%d" % n), 0)

    assert [number for number, _ in seen(log, "ann", log.base)] == [4, 5]


def test_only_so_many_bytes_are_kept():
    log = text_channel(retention=Retention(bytes=10))
    for n in range(5):
        log.publish(text_post(b"%d" % n * 4), 0)
        assert log.held <= 10

    assert (data(log, log.base), log.base) == (b"33334444", 3)


def test_what_could_not_be_kept_is_refused():
    log = text_channel(b"kept", retention=Retention(bytes=10))

    with pytest.raises(RequestTooLarge):
        log.publish(text_post(b"x" * 11), 0)

    assert data(log) == b"kept"
    with pytest.raises(RequestTooLarge):
        text_channel(b"x" * 11, retention=Retention(bytes=10))


def test_only_what_is_young_is_kept():
    log = text_channel(retention=Retention(age=60))
    log.publish(text_post(b"a"), 0)
    log.publish(text_post(b"b"), 30)

    log.tidy(59)
    assert log.base == 0
    log.tidy(60)
    assert log.base == 1
    log.publish(text_post(b"c"), 90)

    assert data(log, log.base) == b"c"


def test_a_private_entry_is_forgotten_with_the_rest():
    log = channel(b'[{"to":["ann"]},2]', retention=Retention(entries=1))
    log.publish(Post(b'{"to":["bob"]}'), 0)

    assert log.base == 2
    assert seen(log, "ann", log.base) == []
    assert [number for number, _ in seen(log, "bob", log.base)] == [3]
