"""Pace: when entries came, in as little room as the longest answer may take."""

from hypothesis import given
from hypothesis import strategies as st

from gateway._sseparse import Batch
from gateway.eventlog import EventLog, State
from gateway.pace import MOST, STAMP, Pace, Stretch


def test_gaps_are_told_from_the_first_entry_on():
    pace = Pace()
    pace.note(100.0, 1, 10)
    pace.note(100.5, 3, 30)

    assert list(pace) == [Stretch(0.0, 1, 10), Stretch(0.5, 3, 30)]


def test_where_nothing_came_nothing_is_noted():
    pace = Pace()
    pace.note(100.0, 1, 10)
    pace.note(101.0, 1, 10)

    assert len(pace) == 1


@given(st.integers(2, 20), st.lists(st.floats(0.0, 5.0), min_size=1, max_size=200))
def test_of_too_many_some_come_with_the_next_and_the_first_and_last_as_they_did(most, gaps):
    pace, now = Pace(most), 0.0
    for number, gap in enumerate(gaps, 1):
        now += gap
        pace.note(now, number, number * 10)
    told = list(pace)

    assert len(told) <= most
    assert (told[0].after, told[0].tail) == (0.0, 1)
    assert (told[-1].tail, told[-1].end) == (len(gaps), len(gaps) * 10)
    assert told == sorted(set(told))
    times = [sum(gaps[: stretch.tail]) - gaps[0] for stretch in told]
    assert all(abs(one.after - time) < 1e-6 for one, time in zip(told, times, strict=True))


def test_a_log_that_becomes_one_object_keeps_its_pace_and_its_cost():
    log = EventLog("gen_1", "aaaabbbb", dialect="openai")
    log.pace = Pace()
    for number in range(1, 4):
        log.append(Batch(b"data: 1\n\n", number, 1))
        log.pace.note(float(number), log.tail, log.held)
    log.close(State.FINISHED, "finished")
    log.fold()

    assert len(log.after(0)) == 1
    assert [stretch.end for stretch in log.pace] == [9, 18, 27]
    assert log.cost == 27 + 3 * STAMP
    assert MOST * STAMP < 128 * 1024
