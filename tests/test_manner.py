"""Manner: how a client wants its answer, as its head says it."""

import pytest

from gateway.manner import FIELDS, USUAL, Manner, read_manner
from tests.asking import head


def test_who_says_nothing_of_it_has_the_usual_manner():
    assert read_manner(head(authorization="Bearer key", accept="text/event-stream")) is USUAL


def test_fields_that_are_empty_say_nothing_either():
    empty = {name.decode().replace("-", "_"): "" for name in FIELDS}
    assert read_manner(head(**empty)) == USUAL


SAID = [
    ({"idempotency_key": "k1"}, Manner(key=b"k1")),
    ({"prefer": "respond-async"}, Manner(elsewhere=True)),
    ({"prefer": "handling=lenient, Respond-Async"}, Manner(elsewhere=True)),
    ({"prefer": "respond-asynchronously"}, USUAL),
    ({"headgate_resume": "True"}, Manner(resumes=True)),
    ({"headgate_resume": "false"}, USUAL),
    ({"headgate_resume": "maybe"}, Manner(resumes=None)),
    ({"last_event_id": "e_1"}, Manner(seen="e_1")),
    ({"headgate_on_disconnect": "Detach"}, Manner(leaving=b"detach")),
]


@pytest.mark.parametrize(("fields", "manner"), SAID, ids=str)
def test_what_is_said_is_read(fields, manner):
    assert read_manner(head(**fields)) == manner
