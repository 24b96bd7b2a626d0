"""A channel: in which order it is written, by whom, and how it is closed."""

import pytest

from gateway.channel import Receipt
from gateway.client_errors import ClientError, Conflict, LogClosed, SequenceGap, StaleEpoch
from gateway.durable import Post
from gateway.eventlog import State
from tests.channels import EPOCH, TEXT, channel, claimed, data, text_channel, text_post


# The order of appends.


def test_an_order_must_rise_by_its_bytes():
    log = text_channel()
    for order in (b"09", b"1", b"10", b"a"):
        log.publish(text_post(b"x", order=order), 0)

    for order in (b"a", b"B", b"2"):
        with pytest.raises(Conflict):
            log.publish(text_post(b"x", order=order), 0)

    assert log.tail == 4


def test_an_order_that_was_refused_does_not_count():
    log = channel()
    with pytest.raises(ClientError):
        log.publish(Post(b"no json", order=b"5"), 0)

    assert log.publish(Post(b"1", order=b"1"), 0).status == 204


def test_posts_without_an_order_come_in_between():
    log = text_channel()
    log.publish(text_post(b"x", order=b"2"), 0)
    log.publish(text_post(b"x"), 0)

    with pytest.raises(Conflict):
        log.publish(text_post(b"x", order=b"1"), 0)


# Producers.


def test_a_producers_request_is_appended_once():
    log = text_channel()
    first, again = [log.publish(text_post(b"x", claim=claimed(0)), 0) for _ in range(2)]

    assert first == Receipt(200, f"{EPOCH}_0000000000000001", False, claimed(0))
    assert again == Receipt(204, f"{EPOCH}_0000000000000001", False, claimed(0))
    assert data(log) == b"x"


def test_a_repeated_request_is_told_the_highest_number():
    log = text_channel()
    for seq in range(3):
        log.publish(text_post(b"x", claim=claimed(seq)), 0)

    assert log.publish(text_post(b"x", claim=claimed(1)), 0).claim == claimed(2)


def test_a_repeated_request_need_not_rise():
    log = text_channel()
    post = text_post(b"x", claim=claimed(0), order=b"1")
    log.publish(post, 0)

    assert log.publish(post, 0).status == 204


# A POST that is refused although its number is right.
REFUSED = {
    "no json": (Post(b"no json", claim=claimed(1)), ClientError),
    "an empty array": (Post(b"[]", claim=claimed(1)), ClientError),
    "of another kind": (Post(b"1", TEXT, claim=claimed(1)), Conflict),
    "out of order": (Post(b"1", order=b"1", claim=claimed(1)), Conflict),
}


@pytest.mark.parametrize(("post", "error"), REFUSED.values(), ids=REFUSED.keys())
def test_what_was_refused_may_come_again_with_its_number(post, error):
    log = channel()
    log.publish(Post(b"1", order=b"1", claim=claimed(0)), 0)
    with pytest.raises(error):
        log.publish(post, 0)

    assert log.publish(Post(b"2", claim=claimed(1)), 0).status == 200
    assert log.tail == 2


def test_a_gap_is_refused():
    log = text_channel()

    with pytest.raises(SequenceGap):
        log.publish(text_post(b"x", claim=claimed(1)), 0)

    assert log.tail == 0


# The end.


def test_a_channel_closes_for_good():
    log = text_channel(b"a")

    receipt = log.publish(text_post(closes=True), 0)

    assert receipt == Receipt(204, f"{EPOCH}_0000000000000001", True)
    assert (log.state, log.closed) == (State.FINISHED, True)
    with pytest.raises(LogClosed) as refused:
        log.publish(text_post(b"x"), 0)
    assert refused.value.status == 409
    assert refused.value.fields == (
        b"stream-closed: true\r\nstream-next-offset: %b_0000000000000001\r\n" % EPOCH.encode()
    )


def test_the_last_append_and_the_end_are_one():
    log = text_channel()

    receipt = log.publish(text_post(b"last", closes=True), 0)

    assert (receipt.closed, receipt.status, data(log)) == (True, 204, b"last")


def test_a_refused_append_does_not_close():
    log = channel()
    with pytest.raises(ClientError):
        log.publish(Post(b"no json", closes=True), 0)

    assert not log.closed


def test_a_channel_may_begin_closed():
    log = text_channel(b"all", closed=True)

    assert (log.closed, data(log)) == (True, b"all")


def test_closing_twice_is_no_fault():
    log = channel(closed=True)

    assert log.publish(Post(b"", closes=True), 0).status == 204


def test_closing_is_of_no_kind():
    assert channel().publish(text_post(closes=True), 0).closed


def test_the_request_that_closed_may_come_again():
    log = text_channel()
    post = text_post(b"a", claim=claimed(0), closes=True)

    assert log.publish(post, 0).status == 200
    again = log.publish(text_post(b"b", claim=claimed(0), closes=True), 0)

    assert again == Receipt(204, f"{EPOCH}_0000000000000001", True, claimed(0))
    assert data(log) == b"a"


def test_an_end_without_an_append_has_a_number_too():
    log = text_channel()
    log.publish(text_post(b"a", claim=claimed(0)), 0)
    end = text_post(claim=claimed(1), closes=True)

    first, again = log.publish(end, 0), log.publish(end, 0)

    assert first == again == Receipt(204, f"{EPOCH}_0000000000000001", True, claimed(1))


# What a request is refused with, after a producer closed with number 1 of epoch 1.
AFTER = {
    "no producer": (None, LogClosed),
    "another producer": (claimed(0, id=b"you"), LogClosed),
    "the next number": (claimed(2, epoch=1), LogClosed),
    "a number before": (claimed(0, epoch=1), LogClosed),
    "a gap": (claimed(7, epoch=1), LogClosed),
    "a later epoch": (claimed(0, epoch=2), LogClosed),
    "an older epoch": (claimed(1, epoch=0), StaleEpoch),
}


@pytest.mark.parametrize(("claim", "error"), AFTER.values(), ids=AFTER.keys())
def test_after_the_end_only_what_ended_it_is_known(claim, error):
    log = text_channel()
    log.publish(text_post(b"a", claim=claimed(0, epoch=1)), 0)
    log.publish(text_post(claim=claimed(1, epoch=1), closes=True), 0)

    with pytest.raises(error):
        log.publish(text_post(b"x", claim=claim, closes=True), 0)


def test_that_it_is_closed_is_told_before_anything_else():
    log = text_channel(closed=True)

    with pytest.raises(LogClosed):
        log.publish(Post(b"no json", order=b"0"), 0)


def test_a_receipt_gives_the_fields_of_its_answer():
    assert Receipt(204, "c").fields == b"stream-next-offset: c\r\n"
    assert Receipt(200, "c", True, claimed(4, epoch=3)).fields == (
        b"stream-next-offset: c\r\nstream-closed: true\r\nproducer-epoch: 3\r\nproducer-seq: 4\r\n"
    )
