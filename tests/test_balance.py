"""Choosing a target: strict priority, true weights, nobody starved, the least bad of the bad."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.balance import NEVER, Candidate, choose, least_bad


DRAWS = 4000


def target(place, *, priority=1, weight=1, load=0, wait=0.0):
    return Candidate(place, priority, weight, load, wait)


def shares(candidates, seed=7, draws=DRAWS):
    """Return how often each place is chosen, of 1."""
    draw = random.Random(seed).random
    counted = Counter(choose(candidates, draw) for _ in range(draws))
    return {place: count / draws for place, count in counted.items()}


SOME = st.lists(
    st.builds(
        Candidate,
        place=st.just(0),
        priority=st.integers(1, 3),
        weight=st.integers(1, 5),
        load=st.integers(0, 9),
        wait=st.sampled_from([0.0, 0.0, 2.0, 7.0, NEVER]),
    ),
    max_size=8,
).map(lambda found: [one._replace(place=place) for place, one in enumerate(found)])
SEEDS = st.integers(0, 2**32)


@given(SOME, SEEDS, st.binary(max_size=4))
def test_who_is_chosen_can_be_used_and_nobody_before_it_could(candidates, seed, sticky):
    place = choose(candidates, random.Random(seed).random, sticky)

    usable = [one for one in candidates if not one.wait]
    if usable:
        assert candidates[place].wait == 0
        assert candidates[place].priority == min(one.priority for one in usable)
    elif any(one.wait < NEVER for one in candidates):
        assert candidates[place].wait == min(one.wait for one in candidates)
    else:
        assert place is None


@given(st.lists(st.integers(1, 20), min_size=1, max_size=5), st.integers(0, 99))
def test_shares_follow_the_weights(weights, seed):
    found = shares([target(n, weight=w) for n, w in enumerate(weights)], seed)

    for place, weight in enumerate(weights):
        # Five standard deviations of so many draws.
        share = weight / sum(weights)
        assert abs(found.get(place, 0) - share) < 5 * (share * (1 - share) / DRAWS) ** 0.5 + 1e-9


def test_a_canary_gets_its_tenth_however_idle_it_is():
    found = shares([target(0, weight=9, load=50), target(1, weight=1, load=0)])

    assert 0.08 < found[1] < 0.12


def test_of_two_equals_the_less_busy_is_taken():
    assert shares([target(0, load=3), target(1, load=2)]) == {1: 1.0}


def test_of_many_equals_the_busiest_gets_nothing_and_the_others_all():
    found = shares([target(n, load=n) for n in range(4)])

    assert 3 not in found
    assert found[0] > found[1] > found[2] > 0


@given(st.integers(2, 6), SEEDS)
def test_nobody_among_equals_is_starved(count, seed):
    """Each answer takes as long as a dozen requests need to come: loads stay even."""
    rng = random.Random(seed)
    loads, under_way, taken = [0] * count, [], Counter()
    for _ in range(count * 100):
        place = choose([target(n, load=load) for n, load in enumerate(loads)], rng.random)
        taken[place] += 1
        loads[place] += 1
        under_way.append(place)
        if len(under_way) > 12:
            loads[under_way.pop(0)] -= 1

    assert min(taken[n] for n in range(count)) > 60


def test_a_later_priority_waits_until_nobody_before_it_can_be_used():
    first, second = target(0, load=99), target(1, priority=2)

    assert shares([first, second], draws=50) == {0: 1.0}
    assert shares([first._replace(wait=1.0), second], draws=50) == {1: 1.0}


def test_when_none_can_be_used_the_one_that_can_be_soonest_is_tried():
    found = [target(0, wait=9.0), target(1, wait=4.0, priority=2), target(2, wait=NEVER)]

    assert choose(found, random.random) == 1
    assert least_bad(found) == 1
    assert least_bad(found[2:]) is None


def test_one_word_goes_to_one_target_and_words_are_shared_by_weight():
    group = [target(0, weight=3), target(1, weight=1)]
    words = [b"user-%d" % n for n in range(DRAWS)]
    places = Counter(choose(group, random.random, word) for word in words)

    assert all(choose(group, random.random, word) == choose(group, random.random, word)
               for word in words[:50])  # fmt: skip
    assert 0.71 < places[0] / DRAWS < 0.79


def test_when_a_target_goes_only_those_who_were_with_it_move():
    whole = [target(n) for n in range(4)]
    words = [b"user-%d" % n for n in range(200)]
    before = {word: choose(whole, random.random, word) for word in words}
    without = [one._replace(wait=5.0) if one.place == 2 else one for one in whole]

    moved = [word for word in words if choose(without, random.random, word) != before[word]]
    assert moved == [word for word in words if before[word] == 2]


@pytest.mark.parametrize("point", [0.0, 0.5, 1 - 2**-53])
def test_every_point_that_can_be_drawn_chooses_somebody(point):
    group = [target(n, weight=w) for n, w in enumerate((1, 999_983, 3))]

    assert choose(group, lambda: point) in (0, 1, 2)
