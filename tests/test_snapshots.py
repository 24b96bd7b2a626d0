"""Snapshots: what a log says of its response, and where a sequence number stands in it."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway._sseparse import Batch, entries
from gateway.client_errors import ClientError, CursorGone
from gateway.eventlog import EventLog, State
from gateway.snapshots import cursor_after, name_of, snapshot


def response(status: str = "in_progress", **more: object) -> dict[str, object]:
    return {"id": "resp_1", "object": "response", "status": status, "output": [], **more}


def event(type: str, number: int | None, **members: object) -> bytes:
    numbered = {} if number is None else {"sequence_number": number}
    data = orjson.dumps({"type": type, **numbered, **members})
    return b"event: %b\ndata: %b\n\n" % (type.encode(), data)


CREATED = event("response.created", 0, response=response("queued"))
BEGUN = event("response.in_progress", 1, response=response())
DELTA = event("response.output_text.delta", 2, delta="hi")
DONE = event("response.completed", 3, response=response("completed", output=["hi"]))


def log_of(*batches: bytes, state: State | None = None) -> EventLog:
    log = EventLog("gen_1", "aaaabbbb", dialect="responses")
    for data in batches:
        log.append(Batch(data, log.tail + 1, data.count(b"\n\n")))
    if state is not None:
        log.close(state, "for a test")
        log.fold()
    return log


# How it stands.


def test_the_response_is_as_the_last_event_of_its_beginning_has_it_while_it_runs():
    assert snapshot(log_of(CREATED)) == response("queued")
    assert snapshot(log_of(CREATED + BEGUN)) == response()
    assert snapshot(log_of(CREATED, BEGUN, DELTA)) == response()


def test_the_response_of_a_finished_log_is_that_of_its_last_event():
    log = log_of(CREATED, BEGUN + DELTA, DONE, state=State.FINISHED)

    assert snapshot(log) == response("completed", output=["hi"])
    assert name_of(log) == "resp_1"


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (State.CANCELLED, "cancelled"),
        (State.FAILED, "failed"),
        (State.INTERRUPTED, "failed"),
    ],
)
def test_a_log_that_did_not_finish_says_so_whatever_its_last_event_says(state, status):
    assert snapshot(log_of(CREATED, DELTA, state=state))["status"] == status
    incomplete = event("response.incomplete", 3, response=response("incomplete"))
    assert snapshot(log_of(CREATED, DELTA, incomplete, state=state))["status"] == status


@pytest.mark.parametrize(
    "error",
    [
        {"code": "server_error", "message": "no more"},
        {"error": {"code": "server_error", "message": "no more"}},
    ],
)
def test_an_error_event_is_the_error_of_the_response(error):
    log = log_of(CREATED, DELTA, event("error", 3, **error), state=State.FAILED)

    told = {"code": "server_error", "message": "no more"}
    assert snapshot(log) == response("failed", error=told)


DEEP = b"data: " + b"[" * 500 + b"\n\n"


@pytest.mark.parametrize("data", [b"", b"data: no JSON\n\n", DELTA, DEEP])
def test_a_log_may_tell_no_response(data):
    for state in (None, State.FAILED):
        log = log_of(*[data] if data else [], state=state)
        assert snapshot(log) == {}
        assert name_of(log) == ""


def test_a_log_without_its_beginning_tells_the_response_at_its_end():
    log = log_of(CREATED, BEGUN, DELTA, DELTA)
    log.trim(2)
    assert (snapshot(log), name_of(log)) == ({}, "")

    log.append(Batch(DONE, log.tail + 1, 1))
    log.close(State.FINISHED, "finished")
    assert (snapshot(log)["status"], name_of(log)) == ("completed", "resp_1")


def test_the_end_may_lie_in_more_than_one_batch():
    log = log_of(DELTA)
    log.trim(1)
    large = event("response.in_progress", 1, response=response() | {"pad": "x" * 5000})
    for data in (large, event("error", 2, code="c", message="m")):
        log.append(Batch(data, log.tail + 1, 1))
    log.close(State.FAILED, "upstream_error")

    assert len(log.after(log.base)) == 2
    assert name_of(log) == "resp_1"


# Where a sequence number stands.


def numbers(log: EventLog, cursor: int) -> list[int]:
    data = b"".join(batch.data for batch in log.after(cursor))
    return [orjson.loads(payload)["sequence_number"] for _, payload in entries(data)]


@given(
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=8),
    first=st.integers(0, 3),
    closed=st.booleans(),
    steps=st.data(),
)
def test_what_follows_a_number_is_the_tail_however_the_log_is_cut(counts, first, closed, steps):
    told, number, batches = [], first, []
    for count in counts:
        some = []
        for _ in range(count):
            told.append(number)
            some.append(event("response.output_text.delta", number, delta="x"))
            number += steps.draw(st.integers(1, 2))
        batches.append(b"".join(some))
    log = log_of(*batches, state=State.FINISHED if closed else None)

    for after in range(told[-1] + 1):
        assert numbers(log, cursor_after(log, after)) == [n for n in told if n > after]
    with pytest.raises(ClientError, match="no event has this number yet"):
        cursor_after(log, told[-1] + 1)


def test_events_without_numbers_count_from_0():
    log = log_of(*(event("response.output_text.delta", None, delta=str(n)) for n in range(5)))

    assert [cursor_after(log, number) for number in range(5)] == [1, 2, 3, 4, 5]


def test_what_was_trimmed_is_gone_and_said_to_be():
    log = log_of(*(event("response.output_text.delta", n, delta="x") for n in range(10)))
    log.trim(4)

    assert numbers(log, cursor_after(log, 3)) == [4, 5, 6, 7, 8, 9]
    with pytest.raises(CursorGone):
        cursor_after(log, 2)


def test_an_empty_log_has_no_number_yet():
    with pytest.raises(ClientError):
        cursor_after(log_of(), 0)
