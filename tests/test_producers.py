"""Producers: what is sent again is known again; who was replaced is fenced off."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client_errors import ClientError, SequenceGap, StaleEpoch
from gateway.durable import Claim
from gateway.producers import KNOWN_FOR, MAX_PRODUCERS, Producers


def claim(epoch, seq, name=b"me"):
    return Claim(name, epoch, seq)


def after(*sent):
    """Producers that accepted these (epoch, number), all at time 0."""
    producers = Producers()
    for epoch, seq in sent:
        assert producers.judge(claim(epoch, seq), 0) is None
        producers.accept(claim(epoch, seq), 0)
    return producers


# What was accepted before, and what is new after it.
NEW = {
    "the first": ([], (0, 0)),
    "the first, in whatever epoch": ([], (7, 0)),
    "the next": ([(0, 0), (0, 1)], (0, 2)),
    "a new epoch": ([(0, 0), (0, 1)], (1, 0)),
    "a much later epoch": ([(0, 0)], (9, 0)),
}


@pytest.mark.parametrize(("sent", "new"), NEW.values(), ids=NEW.keys())
def test_what_follows_is_new(sent, new):
    assert after(*sent).judge(claim(*new), 0) is None


@pytest.mark.parametrize("seq", [0, 1, 2])
def test_what_was_accepted_is_known_with_the_highest_number(seq):
    assert after((0, 0), (0, 1), (0, 2)).judge(claim(0, seq), 0) == 2


def test_a_judged_request_counts_only_when_it_is_accepted():
    producers = after((0, 0))

    assert producers.judge(claim(0, 1), 0) is None
    assert producers.judge(claim(0, 1), 0) is None


# What was accepted before, what comes too early, and what was due.
GAPS = {
    "after the next": ([(0, 0)], (0, 2), 1),
    "at the beginning": ([], (0, 1), 0),
}


@pytest.mark.parametrize(("sent", "early", "due"), GAPS.values(), ids=GAPS.keys())
def test_a_gap_says_what_is_missing(sent, early, due):
    with pytest.raises(SequenceGap) as gap:
        after(*sent).judge(claim(*early), 0)

    assert gap.value.status == 409
    assert gap.value.fields == (
        b"producer-expected-seq: %d\r\nproducer-received-seq: %d\r\n" % (due, early[1])
    )


def test_an_older_epoch_is_fenced_off():
    with pytest.raises(StaleEpoch) as stale:
        after((3, 0)).judge(claim(2, 0), 0)

    assert (stale.value.status, stale.value.fields) == (403, b"producer-epoch: 3\r\n")


def test_a_new_epoch_begins_with_zero():
    with pytest.raises(ClientError) as refused:
        after((0, 0)).judge(claim(1, 1), 0)

    assert refused.value.status == 400


def test_producers_do_not_know_of_each_other():
    assert after((5, 0), (5, 1)).judge(claim(0, 0, b"you"), 0) is None


def test_a_silent_producer_is_forgotten_after_days():
    producers = after((1, 0))

    assert producers.judge(claim(1, 0), KNOWN_FOR - 1) == 0
    assert producers.judge(claim(1, 0), KNOWN_FOR) is None
    assert len(producers) == 0


def test_of_too_many_the_longest_silent_is_forgotten():
    producers = Producers()
    for n in range(MAX_PRODUCERS):
        producers.accept(claim(0, 0, b"%d" % n), n)
    producers.accept(claim(0, 1, b"0"), MAX_PRODUCERS)

    producers.accept(claim(0, 0, b"one more"), MAX_PRODUCERS)

    assert len(producers) == MAX_PRODUCERS
    assert producers.judge(claim(0, 1, b"0"), MAX_PRODUCERS) == 1
    assert producers.judge(claim(0, 0, b"1"), MAX_PRODUCERS) is None


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=40))
def test_no_request_is_accepted_twice_and_none_is_left_out(requests):
    """Whatever the order in which they come, and however often."""
    producers, accepted = Producers(), []
    for epoch, seq in requests:
        try:
            fresh = producers.judge(claim(epoch, seq), 0) is None
        except ClientError:
            continue
        if fresh:
            producers.accept(claim(epoch, seq), 0)
            accepted.append((epoch, seq))
        else:
            assert (epoch, seq) in accepted

    assert accepted == sorted(set(accepted))
    for epoch in {epoch for epoch, _ in accepted}:
        numbers = [seq for its, seq in accepted if its == epoch]
        assert numbers == list(range(len(numbers)))
