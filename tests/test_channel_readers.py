"""A channel: whom it shows what, how long it stays, and how much it holds."""

import itertools
import json
import tracemalloc

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import channel as limits
from gateway.channel import Retention
from gateway.client_errors import ClientError, RequestTooLarge
from gateway.durable import Post
from tests.channels import channel, claimed, data, seen, text_channel, text_post


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
