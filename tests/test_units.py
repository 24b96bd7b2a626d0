"""Durations and sizes: each form is read exactly, any other refused in plain words."""

import contextlib

import pytest
from headgate_toml import refusal
from hypothesis import given
from hypothesis import strategies as st

from gateway import addresses, literals, units
from gateway.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30.0),
        ("5m", 300.0),
        ("1h", 3600.0),
        ("0s", 0.0),
        ("8784h", 31622400),
    ],
)
def test_a_duration_is_read_as_seconds(text, seconds):
    assert units.duration(text) == seconds


FACTORS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}


@given(st.integers(0, 8784), st.sampled_from(list(FACTORS)))
def test_a_duration_keeps_its_number_and_unit(number, unit):
    seconds = units.duration(f"{number}{unit}")

    assert round(seconds * 1000) == number * FACTORS[unit]


@pytest.mark.parametrize(
    "text",
    ["", "5", "s", "5 s", " 5s", "5s\n", "-5s", "+5s", "1.5s", "1h30m", "5S", "5d", "\u0665s"],
)
def test_another_form_of_duration_is_refused(text):
    wanted = 'expected a duration such as "500ms", "30s", "5m" or "1h"'

    assert refusal(units.duration, text) == wanted


def test_a_duration_beyond_a_year_is_refused():
    assert refusal(units.duration, "9999999999h") == "expected a duration of at most a year"
    assert refusal(units.duration, "8785h") == "expected a duration of at most a year"


def test_a_timeout_is_longer_than_none():
    assert units.timeout("1ms") == 0.001
    assert refusal(units.timeout, "0ms") == "expected a duration longer than none"


@pytest.mark.parametrize(
    ("text", "size"),
    [("512B", 512), ("64KiB", 65536), ("20MiB", 20971520), ("1GiB", 1073741824)],
)
def test_a_size_is_read_as_bytes(text, size):
    assert units.size(text) == size


@pytest.mark.parametrize("text", ["", "64", "64KB", "64kib", "64 KiB", "1.5MiB", "-1B", "1TiB"])
def test_another_form_of_size_is_refused(text):
    wanted = 'expected a size such as "512B", "64KiB", "20MiB" or "1GiB"'

    assert refusal(units.size, text) == wanted


@pytest.mark.parametrize("text", ["0B", "0KiB", "000MiB"])
def test_a_size_of_none_is_refused(text):
    assert refusal(units.size, text) == "expected a size larger than none"


def test_a_grace_is_none_or_a_duration():
    assert units.grace("cancel") == 0.0
    assert units.grace("detach:60s") == 60.0


@pytest.mark.parametrize("text", ["", "Cancel", "detach", "cancel:", "cancel:5s", "60s", ":60s"])
def test_another_policy_is_refused(text):
    assert refusal(units.grace, text) == 'expected "cancel", or "detach:60s" with a duration'


READERS = (*units.READERS.values(), *addresses.READERS.values(), *literals.READERS.values())


@pytest.mark.parametrize("read", READERS)
@given(text=st.text() | st.from_regex(r"\A[\[\]0-9a-z:/.@?#${}-]{0,12}\Z"))
def test_a_reader_raises_config_errors_and_nothing_else(read, text):
    with contextlib.suppress(ConfigError):
        read(text)
