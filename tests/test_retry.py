"""Whether a request may be sent once more: by what failed, and within a budget."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client_errors import ClientError
from gateway.errors import GatewayError, Overloaded
from gateway.retry import (
    LONGEST_BACKOFF,
    RESERVE,
    SAVINGS,
    SHARE,
    Budget,
    Verdict,
    backoff,
    blames,
    judge,
)
from gateway.series import CAUSES
from gateway.upstream_errors import (
    StreamInterrupted,
    UpstreamAnswer,
    UpstreamKeysOut,
    UpstreamProtocolError,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)


def answered(status):
    return UpstreamAnswer(status, b"text/plain", b"")


# What failed: what may be done about it (cause, the same upstream again), whose fault it is.
FAILURES = {
    "refused": (UpstreamUnavailable("x", kind="connect"), Verdict("connect", True), True),
    "no route": (UpstreamUnavailable("x", kind="connect_timeout"), Verdict("connect", True), True),
    "no name": (UpstreamUnavailable("x", kind="dns"), Verdict("connect", False), True),
    "bad certificate": (UpstreamUnavailable("x", kind="tls"), Verdict("connect", False), True),
    "reset": (UpstreamUnavailable("x", kind="reset"), Verdict("cut", False), True),
    "cut": (UpstreamUnavailable("x", kind="truncated"), Verdict("cut", False), True),
    "half": (UpstreamProtocolError("x", kind="truncated"), Verdict("cut", False), True),
    "slow": (UpstreamTimeout("x", kind="first_event_timeout"), Verdict("timeout", False), True),
    "endless": (UpstreamTimeout("x", kind="total_timeout"), None, False),
    "garbage": (UpstreamProtocolError("x"), None, True),
    "a redirect": (UpstreamProtocolError("x", kind="status"), None, True),
    "400": (answered(400), None, False),
    "404": (answered(404), None, False),
    "422": (answered(422), None, False),
    "401": (answered(401), Verdict("key", True), False),
    "402": (answered(402), Verdict("key", True), False),
    "403": (answered(403), Verdict("key", True), False),
    "408": (answered(408), Verdict("status", True), False),
    "409": (answered(409), Verdict("status", True), False),
    "429": (answered(429), Verdict("status", True), False),
    "500": (answered(500), Verdict("status", True), True),
    "529": (answered(529), Verdict("status", True), True),
    "an error first": (UpstreamRefused(503, {}), Verdict("status", True), True),
    "a refusal first": (UpstreamRefused(400, {}), None, False),
    "no key": (UpstreamKeysOut("x"), Verdict("key", True), False),
    "no connection free": (Overloaded("x"), Verdict("full", False), False),
    "amid a stream": (StreamInterrupted("x"), Verdict("cut", False), True),
    "the client": (ClientError("x"), None, False),
    "ourselves": (GatewayError("x"), None, False),
}


@pytest.mark.parametrize(("error", "verdict", "blamed"), FAILURES.values(), ids=FAILURES.keys())
def test_each_failure_has_its_verdict(error, verdict, blamed):
    assert judge(error) == verdict
    assert blames(error) is blamed
    assert verdict is None or verdict.cause in CAUSES


@given(st.floats(0.001, 60), st.integers(0, 10), st.integers(0, 2**32))
def test_a_back_off_is_drawn_from_nothing_to_twice_the_last(base, repeats, seed):
    pause = backoff(base, repeats, random.Random(seed).random)

    assert 0 <= pause <= min(LONGEST_BACKOFF, base * 2**repeats)
    assert backoff(base, repeats, lambda: 0.0) == 0


def test_a_quiet_upstream_has_some_repeats_in_hand():
    budget = Budget()

    assert [budget.spend() for _ in range(12)] == [True] * int(RESERVE) + [False] * 2


@given(st.lists(st.booleans(), max_size=2000))
def test_repeats_are_never_more_than_their_share_and_the_reserve(wishes):
    """Each request is sent once; some wish to be repeated."""
    budget, repeated = Budget(), 0
    for sent, wish in enumerate(wishes, start=1):
        budget.earned += 1
        repeated += wish and budget.spend()
        assert repeated <= RESERVE + SHARE * sent + 1e-6


def test_what_can_be_saved_up_has_an_end():
    budget = Budget()
    budget.earned += 10_000

    assert sum(budget.spend() for _ in range(1000)) == int(SAVINGS)
