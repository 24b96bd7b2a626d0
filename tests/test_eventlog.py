"""EventLog: what was appended is read in order, until all have it; it closes once."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway._sseparse import CHUNKED, FRAMES, IDS, Batch, EventParser, chunk, entries
from gateway.client_errors import ClientError, CursorGone
from gateway.eventlog import NOW, START, EventLog, State, epoch_of
from gateway.upstream_errors import StreamInterrupted, UpstreamTimeout


EPOCH = "abcdefg2"


def batch(first: int, count: int = 1) -> Batch:
    return Batch(b"".join(b"data: %d\n\n" % n for n in range(first, first + count)), first, count)


def log_of(*counts: int) -> EventLog:
    """Return a log with batches of so many entries."""
    log = EventLog("gen_1", EPOCH)
    for count in counts:
        log.append(batch(log.tail + 1, count))
    return log


def numbers(batches: list[Batch]) -> list[int]:
    """The numbers of all entries, which stand in their bytes as well."""
    for one in batches:
        said = [int(payload) for _, payload in entries(one.data)]
        assert said == list(range(one.first, one.first + one.count)) != []
    return [n for one in batches for n in range(one.first, one.first + one.count)]


def test_a_new_log_is_open_and_empty():
    log = EventLog("gen_1", EPOCH)

    assert (log.id, log.state, log.closed, log.tail, log.held) == (
        "gen_1", State.OPEN, False, 0, 0,
    )  # fmt: skip
    assert log.after(0) == []


# Batches of so many entries, a cursor, and what comes after it.
AFTER = {
    "from the beginning": ([1, 2, 1], 0, [1, 2, 3, 4]),
    "behind a batch": ([1, 2, 1], 1, [2, 3, 4]),
    "amid the first": ([3, 2], 2, [3, 4, 5]),
    "amid the last": ([1, 3], 2, [3, 4]),
    "before the last": ([1, 2, 1], 3, [4]),
    "at the tail": ([1, 2, 1], 4, []),
    "beyond it": ([1, 2, 1], 9, []),
}


@pytest.mark.parametrize(("counts", "cursor", "found"), AFTER.values(), ids=AFTER.keys())
def test_a_cursor_finds_everything_after_it(counts, cursor, found):
    assert numbers(log_of(*counts).after(cursor)) == found


# An append to a log of three entries that must not be.
WRONG = {
    "a gap": batch(5),
    "a repetition": batch(3),
    "an overlap": batch(3, 2),
    "the beginning again": batch(1),
    "no number": batch(0),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_numbers_must_follow_the_tail(wrong):
    log = log_of(1, 2)
    held = log.held

    with pytest.raises(ValueError, match="does not follow 3"):
        log.append(wrong)

    assert (log.tail, log.held, numbers(log.after(0))) == (3, held, [1, 2, 3])


@pytest.mark.parametrize("state", [state for state in State if state is not State.OPEN])
def test_a_closed_log_takes_nothing_more(state):
    log = log_of(1)
    assert log.close(state, "why")

    with pytest.raises(ValueError, match="closed"):
        log.append(batch(2))

    assert numbers(log.after(0)) == [1]


def test_the_first_to_close_decides():
    log, fault = log_of(1), UpstreamTimeout("slow")

    assert log.close(State.FAILED, "timeout", fault) is True
    assert log.close(State.INTERRUPTED, "shutdown", StreamInterrupted("x")) is False
    assert log.close(State.FINISHED, "finished") is False

    assert (log.state, log.reason, log.fault, log.closed) == (
        State.FAILED, "timeout", fault, True,
    )  # fmt: skip


def test_what_is_trimmed_is_gone_and_not_held():
    log = log_of(1, 2, 1)

    log.trim(3)
    assert numbers(log.after(0)) == [4]
    assert log.held == len(batch(4).data)
    log.trim(4)

    assert log.after(0) == []
    assert (log.held, log.tail) == (0, 4)


def test_only_whole_batches_are_trimmed():
    log = log_of(1, 3)

    log.trim(3)

    assert (log.base, log.held) == (1, len(batch(2, 3).data))
    assert numbers(log.after(0)) == numbers(log.after(log.base)) == [2, 3, 4]


def test_whole_batches_are_not_copied():
    first, second = batch(1, 2), batch(3)
    log = EventLog("gen_1", EPOCH)
    log.append(first)
    log.append(second)

    assert [one is other for one, other in zip(log.after(0), [first, second], strict=True)]
    assert log.after(2)[0] is second
    assert log.after(1)[1] is second


def test_a_reader_near_the_tail_of_a_long_log_costs_little():
    log = log_of(*[1] * 10_000)
    tracemalloc.start()
    try:
        log.after(9_999)
        assert tracemalloc.get_traced_memory()[1] < 1024
    finally:
        tracemalloc.stop()


def generation(*counts: int) -> EventLog:
    """A log whose batches may become one, with batches of so many entries."""
    log = EventLog("gen_1", EPOCH, dialect="openai")
    for count in counts:
        log.append(batch(log.tail + 1, count))
    return log


def test_the_small_batches_of_a_generation_become_one_from_time_to_time():
    log = generation(*[1] * 17)

    assert [one.count for one in log.after(0)] == [16, 1]
    assert numbers(log.after(0)) == list(range(1, 18))
    assert [numbers(log.after(cursor)) for cursor in (14, 16, 17)] == [[15, 16, 17], [17], []]


def test_the_newest_batches_are_as_they_came():
    log = generation(*[1] * 16)

    assert [one.count for one in log.after(0)] == [1] * 16


def test_large_batches_stay_by_themselves():
    log = EventLog("gen_1", EPOCH, dialect="openai")
    large = Batch(b"data: %b\n\n" % (b"x" * 4096), 1, 1)
    log.append(large)
    for number in range(2, 19):
        log.append(batch(number))

    assert [one.count for one in log.after(0)] == [1, 16, 1]
    assert log.after(0)[0] is large


def test_what_people_write_is_never_folded():
    log = log_of(*[1] * 20)
    log.fold()

    assert [one.count for one in log.after(0)] == [1] * 20


def test_the_last_small_batches_of_a_closed_log_become_one():
    log = generation(2, 1, 3)
    log.trim(2)
    held = log.held
    assert log.close(State.FINISHED, "finished")

    log.fold()

    assert len(log.after(2)) == 1
    assert [numbers(log.after(cursor)) for cursor in (2, 4, 6)] == [[3, 4, 5, 6], [5, 6], []]
    assert (log.base, log.tail, log.held) == (2, 6, held)


def test_of_a_closed_log_nothing_is_kept_twice():
    log = EventLog("gen_1", EPOCH, dialect="openai")
    log.append(Batch(b"data: %b\n\n" % (b"x" * 5000), 1, 1))
    (newest,) = log.after(0)
    framed = newest.framed(IDS, b"x")

    log.fold()

    assert newest.framed(IDS, b"x") is not framed


def test_small_batches_before_a_large_one_become_one_at_once():
    log = generation(1, 1, 1)
    log.append(Batch(b"data: %b\n\n" % (b"x" * 5000), 4, 1))

    assert [one.count for one in log.after(0)] == [3, 1]


def test_nothing_is_folded_of_a_log_that_holds_nothing():
    log = generation(2)
    log.trim(2)

    log.fold()

    assert (log.after(0), log.base, log.held) == ([], 2, 0)


@pytest.mark.parametrize("style", [IDS, FRAMES], ids=["ids", "frames"])
def test_only_what_the_newest_entries_were_framed_as_is_kept(style):
    log = log_of(1, 1)
    older, newest = log.after(0)

    assert newest.framed(style, b"x") is newest.framed(style, b"x")
    assert older.framed(style, b"x") is not older.framed(style, b"x")
    log.append(batch(3))
    assert newest.framed(style, b"x") is not newest.framed(style, b"x")


def test_a_log_goes_on_after_a_trim():
    log = log_of(2)
    log.trim(2)

    log.append(batch(3))

    assert numbers(log.after(2)) == [3]
    assert log.held == len(batch(3).data)


SMALL = 4096
# Blanks: none, or so many that a batch of one of the first entries is just small, or just not.
FULL = SMALL - len(b"data: 1\n\n")
SIZES = st.sampled_from([0, 0, 0, FULL, FULL + 1])


def padded(first: int, count: int, size: int, *, framed: bool) -> Batch:
    """A batch whose first entry has so many blanks more; `framed`: it came as an HTTP chunk."""
    data = batch(first, count).data.replace(b"\n", b" " * size + b"\n", 1)
    if not framed:
        return Batch(data, first, count)
    parser = EventParser(CHUNKED, tight=True)
    for number in range(1, first):
        parser.feed(chunk(b"data: %d\n\n" % number), 0.0)
    found = parser.feed(chunk(data), 0.0)
    assert found is not None
    return found


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.integers(1, 3), SIZES, st.booleans()),
            st.tuples(st.just("trim"), st.integers(0, 30)),
            st.tuples(st.just("fold")),
        ),
        max_size=60,
    ),
    st.sampled_from(["", "openai"]),
)
def test_no_entry_is_lost_before_it_was_trimmed(acts, dialect):
    log, trimmed = EventLog("gen_1", EPOCH, dialect=dialect), 0
    for act, *numbers_of_it in acts:
        if act == "append":
            count, size, framed = numbers_of_it
            log.append(padded(log.tail + 1, count, size, framed=framed))
        elif act == "fold":
            log.fold()
        else:
            trimmed = max(trimmed, *numbers_of_it)
            log.trim(*numbers_of_it)

        assert log.base <= trimmed
        for cursor in range(-1, log.tail + 2):
            expected = list(range(max(cursor, log.base) + 1, log.tail + 1))
            assert numbers(log.after(cursor)) == expected
        assert log.held == sum(len(one.data) for one in log.after(log.base))


# Cursors, as they are called outside.


def test_a_cursor_sorts_as_its_number_does():
    log = log_of(1)
    names = [log.cursor(n) for n in (0, 1, 9, 10, 99_999)]

    assert names == sorted(names)
    assert names[1] == "abcdefg2_0000000000000001"
    assert epoch_of(names[1]) == EPOCH


@pytest.mark.parametrize(
    ("cursor", "number"),
    [(START, 0), (NOW, 3), ("abcdefg2_0000000000000000", 0), ("abcdefg2_0000000000000003", 3)],
)
def test_a_cursor_is_located(cursor, number):
    assert log_of(1, 2).locate(cursor) == number


@pytest.mark.parametrize(
    "cursor",
    ["", "3", "abcdefg2_3", "abcdefg2_0000000000000004", "ABCDEFG2_0000000000000001",
     "abcdefg2_0000000000000001 ", "abcdefg2_000000000000000\N{ARABIC-INDIC DIGIT ONE}"],
)  # fmt: skip
def test_what_is_no_cursor_of_this_log_is_refused(cursor):
    with pytest.raises(ClientError) as caught:
        log_of(1, 2).locate(cursor)
    assert caught.value.status == 400


def test_a_cursor_of_another_log_or_before_what_is_kept_is_gone():
    log = log_of(1, 1, 1)
    log.trim(2)

    for cursor in ("abcdefg3_0000000000000002", "abcdefg2_0000000000000001"):
        with pytest.raises(CursorGone):
            log.locate(cursor)
    assert log.locate("abcdefg2_0000000000000002") == 2 == log.locate(START)


def test_an_epoch_is_found_in_cursors_only():
    assert [epoch_of(text) for text in ("", NOW, "abcdefg2", "abcdefg2_1")] == ["", "", "", ""]


def test_the_fault_of_a_log_that_is_kept_holds_no_frame():
    log = EventLog("gen_1", EPOCH)
    try:
        try:
            raise OSError("refused")
        except OSError as error:
            raise UpstreamTimeout("no answer") from error
    except UpstreamTimeout as error:
        log.close(State.FAILED, "timeout", error)

    assert log.fault.message == "no answer"
    assert log.fault.__traceback__ is log.fault.__cause__ is log.fault.__context__ is None
