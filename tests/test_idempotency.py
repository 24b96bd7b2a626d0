"""IdempotencyKeys: a repeated request is known again, another one under its key is refused."""

import tracemalloc

import pytest

from gateway.client_errors import Unprocessable
from gateway.idempotency import REMEMBERED, IdempotencyKeys


def test_a_repeated_request_is_known_by_its_key_and_body():
    keys = IdempotencyKeys()
    assert keys.find("web", b"k", b"body", 0.0) is None

    keys.claim("web", b"k", b"body", "gen_1", 0.0)

    assert keys.find("web", b"k", b"body", REMEMBERED - 1) == "gen_1"


def test_another_body_under_a_key_is_refused():
    keys = IdempotencyKeys()
    keys.claim("web", b"k", b"body", "gen_1", 0.0)

    with pytest.raises(Unprocessable):
        keys.find("web", b"k", b"other", 1.0)


def test_a_key_takes_as_much_room_as_any_other_however_long_it_is():
    keys = IdempotencyKeys()
    tracemalloc.start()
    for number in range(100):
        keys.claim("web", b"%d" % number * 10_000, b"body", "gen_1", 0.0)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert used < 100 * 1000
    assert keys.find("web", b"7" * 10_000, b"body", 1.0) == "gen_1"
    assert keys.find("web", b"7" * 10_001, b"body", 1.0) is None


def test_the_keys_of_two_callers_are_two():
    keys = IdempotencyKeys()
    keys.claim("web", b"k", b"body", "gen_1", 0.0)

    assert keys.find("app", b"k", b"other", 1.0) is None


def test_a_key_is_forgotten_after_a_day_and_may_be_used_again():
    keys = IdempotencyKeys()
    keys.claim("web", b"k", b"body", "gen_1", 0.0)

    assert keys.find("web", b"k", b"other", REMEMBERED) is None
    keys.claim("web", b"j", b"", "gen_2", REMEMBERED)

    assert len(keys) == 1


def test_of_too_many_keys_the_oldest_goes():
    keys = IdempotencyKeys(most=2)
    for number in range(3):
        keys.claim("web", b"%d" % number, b"body", f"gen_{number}", float(number))

    found = [keys.find("web", b"%d" % number, b"body", 3.0) for number in range(3)]
    assert found == [None, "gen_1", "gen_2"]


def test_a_key_that_is_claimed_again_leads_to_the_newer_log():
    keys = IdempotencyKeys()
    keys.claim("web", b"k", b"body", "gen_1", 0.0)
    keys.claim("web", b"k", b"body", "gen_2", 1.0)

    assert keys.find("web", b"k", b"body", 2.0) == "gen_2"
