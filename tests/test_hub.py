"""Hub: readers are woken, slow ones hold the producer back, the last one that leaves ends it."""

import pytest

from gateway._sseparse import Batch
from gateway.errors import UpstreamTimeout
from gateway.eventlog import State
from gateway.hub import ID_BYTES, LOG_HIGH, LOG_LOW, Hub, Live
from tests.fakes import FakeProducer


class FakeReader:
    """Takes everything when woken, unless it is `slow`; leaves at the end of the log."""

    def __init__(self, live: Live, *, slow: bool = False) -> None:
        self.cursor = 0
        self.outlet = None
        self.slow = slow
        self.taken: list[bytes] = []
        self.ends: list[State] = []
        self.live = live
        live.follow(self)

    def wake(self) -> None:
        if not self.slow:
            self.take()
        if self.live.log.closed:
            self.ends.append(self.live.log.state)
            self.live.leave(self)

    def take(self) -> None:
        self.taken += [batch.data for batch in self.live.log.after(self.cursor)]
        self.cursor = self.live.log.tail
        self.live.advanced()


def opened() -> tuple[Live, FakeProducer]:
    producer = FakeProducer()
    return Hub().open(producer), producer


def publish(live: Live, data: bytes) -> None:
    live.publish(Batch(data, live.log.tail + 1, 1))


def test_every_reader_gets_everything_at_once():
    live, producer = opened()
    readers = [FakeReader(live) for _ in range(3)]

    publish(live, b"a")
    assert [reader.taken for reader in readers] == [[b"a"]] * 3
    publish(live, b"b")

    assert [reader.taken for reader in readers] == [[b"a", b"b"]] * 3
    assert live.log.held == 0
    assert producer.told == []


def test_what_one_reader_still_needs_is_kept():
    live, _ = opened()
    fast, slow = FakeReader(live), FakeReader(live, slow=True)
    publish(live, b"a")
    publish(live, b"b")
    assert live.log.held == 2

    slow.take()

    assert slow.taken == [b"a", b"b"] == fast.taken
    assert live.log.held == 0


def test_a_reader_that_lags_pauses_the_producer_once_and_its_progress_resumes_it():
    live, producer = opened()
    reader = FakeReader(live, slow=True)

    publish(live, b"x" * LOG_HIGH)
    assert producer.told == []
    publish(live, b"x")
    publish(live, b"x")
    assert producer.told == ["pause"]
    reader.take()
    assert producer.told == ["pause", "resume"]

    publish(live, b"x" * (LOG_HIGH + 1))
    assert producer.told == ["pause", "resume", "pause"]


def test_the_producer_goes_on_only_when_much_was_taken():
    live, producer = opened()
    reader = FakeReader(live, slow=True)
    publish(live, b"x" * (LOG_HIGH - LOG_LOW + 2))
    publish(live, b"x")
    publish(live, b"x" * (LOG_LOW - 1))

    reader.cursor = 1
    live.advanced()
    assert live.log.held == LOG_LOW
    assert producer.told == ["pause"]
    reader.cursor = 2
    live.advanced()

    assert producer.told == ["pause", "resume"]


def test_a_slow_reader_that_leaves_sets_the_producer_free():
    live, producer = opened()
    fast, slow = FakeReader(live), FakeReader(live, slow=True)
    publish(live, b"x" * (LOG_HIGH + 1))
    assert producer.told == ["pause"]

    live.leave(slow)

    assert producer.told == ["pause", "resume"]
    assert live.log.held == 0
    assert len(fast.taken) == 1


def test_the_last_reader_to_leave_cancels_the_generation():
    live, producer = opened()
    first, last = FakeReader(live), FakeReader(live)

    live.leave(first)
    assert producer.told == []
    live.leave(last)

    assert producer.told == ["cancel: disconnect"]


@pytest.mark.parametrize("state", [state for state in State if state is not State.OPEN])
def test_the_end_wakes_every_reader_once_and_cancels_nothing(state):
    live, producer = opened()
    readers = [FakeReader(live) for _ in range(3)]
    fault = UpstreamTimeout("slow")

    live.close(state, "why", fault)
    live.close(State.FINISHED, "again")

    assert [reader.ends for reader in readers] == [[state]] * 3
    assert (live.log.reason, live.log.fault) == ("why", fault)
    assert producer.told == []


def test_the_last_entry_is_as_old_as_the_producer_says():
    live, producer = opened()
    producer.last = 17.5

    assert live.last == 17.5


def test_the_hub_counts_what_is_live():
    hub = Hub()
    one, two = hub.open(FakeProducer()), hub.open(FakeProducer())
    assert len(hub) == 2

    hub.forget(one)
    hub.forget(one)
    assert len(hub) == 1
    hub.forget(two)

    assert len(hub) == 0


def test_no_two_logs_share_a_name():
    hub = Hub()
    ids = {hub.open(FakeProducer()).log.id for _ in range(1000)}

    assert len(ids) == 1000
    assert all(id.startswith("gen_") and len(id) == 4 + 2 * ID_BYTES for id in ids)
