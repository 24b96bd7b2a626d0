"""Hub: readers are woken, slow ones fill the log, a generation outlives its readers by policy."""

import pytest

from gateway._sseparse import Batch
from gateway.channel import Channel
from gateway.durable import JSON, Post, Terms
from gateway.eventlog import EventLog, State
from gateway.hub import LOG_CAP, LOG_COST, LOOK, RETAIN, TIGHT_CAP, Hub, Live
from gateway.series import TRANSPORTS
from gateway.upstream_errors import UpstreamTimeout
from tests.fakes import FakeLoop, FakeProducer


class FakeReader:
    """Takes everything when woken, unless it is `slow`; leaves at the end of the log."""

    def __init__(self, live: Live, *, slow: bool = False, detaches: bool = False) -> None:
        self.cursor = 0
        self.outlet = None
        self.slow = slow
        self.detaches = detaches
        self.taken: list[bytes] = []
        self.ends: list[State | str] = []
        self.live = live
        self.begun = False
        live.follow(self)

    def ready(self) -> None:
        self.begun = True

    def wake(self) -> None:
        if not self.slow:
            self.take()
        if self.live.log.closed:
            self.ends.append(self.live.log.state)
            self.live.leave(self)

    def cut(self) -> None:
        self.ends.append("cut")
        self.live.leave(self)

    def take(self) -> None:
        self.taken += [batch.data for batch in self.live.log.after(self.cursor)]
        self.cursor = self.live.log.tail
        self.live.advanced()


class Scene:
    """A hub on a clock wound by hand, with one generation."""

    def __init__(
        self,
        *,
        grace: float | None = 0.0,
        patience: float = 0.0,
        max_bytes: int = 100 * LOG_CAP,
    ) -> None:
        self.loop = FakeLoop()
        self.hub = Hub(self.loop, max_bytes=max_bytes)
        self.producer = FakeProducer()
        self.live = self.hub.open(self.producer, grace=grace, patience=patience)

    def publish(self, data: bytes, live: Live | None = None) -> None:
        live = live or self.live
        live.publish(Batch(data, live.log.tail + 1, 1))

    def finished(self, size: int) -> Live:
        """Return a log that has just closed with this many bytes in it."""
        live = self.hub.open(FakeProducer())
        self.publish(b"x" * size, live)
        live.close(State.FINISHED, "finished")
        return live


def test_every_reader_gets_everything_at_once():
    scene = Scene()
    readers = [FakeReader(scene.live) for _ in range(3)]

    scene.publish(b"a")
    assert [reader.taken for reader in readers] == [[b"a"]] * 3
    scene.publish(b"b")

    assert [reader.taken for reader in readers] == [[b"a", b"b"]] * 3
    assert scene.producer.told == []


def test_what_all_have_read_stays_for_who_comes_later():
    scene = Scene()
    FakeReader(scene.live)
    scene.publish(b"a")
    scene.publish(b"b")

    late = FakeReader(scene.live)
    late.wake()

    assert late.taken == [b"a", b"b"]


def test_a_defect_in_one_reader_costs_the_others_nothing():
    class Broken(FakeReader):
        def wake(self) -> None:
            raise ZeroDivisionError

    scene = Scene()
    crashes: list[Exception] = []
    scene.hub.on_crash = crashes.append
    broken, sound = Broken(scene.live), FakeReader(scene.live)

    scene.publish(b"a")
    scene.live.close(State.FINISHED, "finished")

    assert sound.taken == [b"a"]
    assert sound.ends == [State.FINISHED]
    assert [type(crash) for crash in crashes] == [ZeroDivisionError]
    assert broken not in scene.live.readers


def test_a_reader_that_cannot_begin_is_cut_and_the_others_begin():
    class Broken(FakeReader):
        def ready(self) -> None:
            raise ZeroDivisionError

    scene = Scene()
    crashes: list[Exception] = []
    scene.hub.on_crash = crashes.append
    broken, sound = Broken(scene.live), FakeReader(scene.live)

    scene.live.ready()

    assert (broken.ends, sound.begun) == (["cut"], True)
    assert [type(crash) for crash in crashes] == [ZeroDivisionError]
    assert scene.live.readers == [sound]


def test_readers_are_counted_by_transport_while_they_are_there():
    scene = Scene(grace=None)
    other = scene.hub.open(FakeProducer(), grace=None)
    ways = [(scene.live, "sse"), (scene.live, "websocket"), (other, "sse"), (other, "")]
    readers = [FakeReader(live) for live, _ in ways]
    for reader, (_, transport) in zip(readers, ways, strict=True):
        reader.transport = transport

    assert {name: n for name, n in scene.hub.readers().items() if n} == {"sse": 2, "websocket": 1}
    for reader in readers:
        reader.cut()
    assert set(scene.hub.readers().values()) == {0}
    assert set(scene.hub.readers()) == set(TRANSPORTS)


# A log that grows too large.


def test_what_all_have_read_goes_when_the_log_is_full():
    scene = Scene()
    reader = FakeReader(scene.live)

    for _ in range(9):
        scene.publish(b"x" * (LOG_CAP // 8))

    assert scene.live.log.held <= LOG_CAP
    assert scene.live.log.base > 0
    assert len(reader.taken) == 9
    assert scene.producer.told == []
    assert scene.hub.trims == 1


def test_a_reader_that_lags_pauses_the_producer_once_and_its_progress_resumes_it():
    scene = Scene()
    reader = FakeReader(scene.live, slow=True)

    scene.publish(b"x" * LOG_CAP)
    assert scene.producer.told == []
    scene.publish(b"x")
    scene.publish(b"x")
    assert scene.producer.told == ["pause"]
    reader.take()

    assert scene.producer.told == ["pause", "resume"]
    assert sum(map(len, reader.taken)) == LOG_CAP + 2


def test_the_producer_goes_on_only_when_much_was_taken():
    scene = Scene()
    reader = FakeReader(scene.live, slow=True)
    for _ in range(17):
        scene.publish(b"x" * (LOG_CAP // 16))
    assert scene.producer.told == ["pause"]

    reader.cursor = 2
    scene.live.advanced()
    assert scene.producer.told == ["pause"]
    reader.cursor = 5
    scene.live.advanced()

    assert scene.producer.told == ["pause", "resume"]
    assert scene.live.log.base == 5


def test_of_a_log_that_closes_while_a_slow_reader_holds_it_up_nothing_goes_any_more():
    class Late(FakeReader):
        def wake(self) -> None:
            pass

    scene = Scene()
    late = Late(scene.live)
    while "pause" not in scene.producer.told:
        scene.publish(b"x" * 1_000_000)
    scene.live.close(State.CANCELLED, "stop")

    late.take()

    assert len(late.taken) == scene.live.log.tail
    assert (scene.live.log.base, scene.hub.trims) == (0, 0)


def test_a_slow_reader_that_leaves_sets_the_producer_free():
    scene = Scene()
    fast, slow = FakeReader(scene.live), FakeReader(scene.live, slow=True)
    scene.publish(b"x" * (LOG_CAP + 1))
    assert scene.producer.told == ["pause"]

    scene.live.leave(slow)

    assert scene.producer.told == ["pause", "resume"]
    assert len(fast.taken) == 1


@pytest.mark.parametrize("grace", [60.0, None])
def test_a_slow_reader_of_a_detached_generation_that_leaves_sets_it_free_too(grace):
    scene = Scene(grace=grace)
    slow = FakeReader(scene.live, slow=True)
    scene.publish(b"x" * (LOG_CAP + 1))

    scene.live.leave(slow)

    assert scene.producer.told == ["pause", "resume"]


# Without a reader.


def test_the_last_reader_to_leave_cancels_the_generation():
    scene = Scene()
    first, last = FakeReader(scene.live), FakeReader(scene.live)

    scene.live.leave(first)
    assert scene.producer.told == []
    scene.live.leave(last)
    scene.live.leave(last)

    assert scene.producer.told == ["cancel: disconnect"]


def test_a_detached_generation_waits_its_grace_for_a_reader():
    scene = Scene(grace=60.0)
    scene.live.leave(FakeReader(scene.live))

    scene.loop.wind(59.9)
    assert scene.producer.told == []
    scene.loop.wind(0.1)

    assert scene.producer.told == ["cancel: disconnect"]


def test_a_reader_that_comes_back_in_time_stops_the_wait():
    scene = Scene(grace=60.0)
    scene.live.leave(FakeReader(scene.live))
    scene.loop.wind(59)

    back = FakeReader(scene.live)
    scene.loop.wind(1000)
    assert scene.producer.told == []
    scene.live.leave(back)
    scene.loop.wind(60)

    assert scene.producer.told == ["cancel: disconnect"]


def test_a_reader_of_the_kind_that_comes_back_makes_the_generation_wait():
    scene = Scene(patience=60.0)
    scene.live.leave(FakeReader(scene.live, detaches=True))

    assert scene.producer.told == []
    scene.loop.wind(60)

    assert scene.producer.told == ["cancel: disconnect"]


def test_without_patience_even_such_a_reader_ends_it_by_leaving():
    scene = Scene()

    scene.live.leave(FakeReader(scene.live, detaches=True))

    assert scene.producer.told == ["cancel: disconnect"]


def test_a_generation_without_limit_needs_no_reader():
    scene = Scene(grace=None, patience=60.0)

    scene.live.leave(FakeReader(scene.live, detaches=True))
    scene.loop.wind(10_000)

    assert scene.producer.told == []


def test_a_wait_that_has_become_endless_while_it_lasted_ends_nothing():
    scene = Scene(grace=60.0)
    reader = FakeReader(scene.live)
    scene.live.leave(reader)
    scene.live.grace = None  # who comes reads it elsewhere, later

    scene.loop.wind(1000)

    assert scene.producer.told == []


def test_whoever_wants_to_know_of_the_end_is_told_before_the_readers_are():
    scene = Scene()
    reader = FakeReader(scene.live)
    told = []
    scene.live.on_closed = lambda live: told.append((live, list(reader.ends)))

    scene.live.close(State.FINISHED, "finished")
    scene.live.close(State.CANCELLED, "stop")

    assert told == [(scene.live, [])]


def test_a_channel_has_nobody_to_cancel():
    scene = Scene()
    scene.live.producer = None
    reader = FakeReader(scene.live)
    scene.publish(b"x" * (LOG_CAP + 1))

    scene.live.leave(reader)

    assert scene.producer.told == []
    assert scene.live.last == 0.0


# The end.


@pytest.mark.parametrize("state", [state for state in State if state is not State.OPEN])
def test_the_end_wakes_every_reader_once_and_cancels_nothing(state):
    scene = Scene()
    readers = [FakeReader(scene.live) for _ in range(3)]
    fault = UpstreamTimeout("slow")

    scene.live.close(state, "why", fault)
    scene.live.close(State.FINISHED, "again")

    assert [reader.ends for reader in readers] == [[state]] * 3
    assert (scene.live.log.reason, scene.live.log.fault) == ("why", fault)
    assert scene.producer.told == []


def test_a_generation_that_ends_while_it_waits_is_not_cancelled():
    scene = Scene(grace=60.0)
    scene.live.leave(FakeReader(scene.live))

    scene.live.close(State.FINISHED, "finished")
    scene.loop.wind(61)

    assert scene.producer.told == []


def test_the_last_entry_is_as_old_as_the_producer_says():
    scene = Scene()
    scene.producer.last = 17.5

    assert scene.live.last == 17.5


# What is kept.


def test_a_closed_log_is_kept_for_its_time():
    scene = Scene()
    scene.live.close(State.FINISHED, "finished")
    id, cursor = scene.live.log.id, scene.live.log.cursor(0)

    scene.loop.wind(RETAIN - 1)
    assert scene.hub.find(id) is scene.live is scene.hub.of_cursor(cursor)
    scene.loop.wind(1 + LOOK)

    assert scene.hub.find(id) is None is scene.hub.of_cursor(cursor)
    assert len(scene.hub) == 0
    assert scene.loop.timers == [], "an empty hub rings no more"


def test_a_defect_in_one_look_is_not_the_end_of_looking():
    scene = Scene()
    crashes: list[Exception] = []
    scene.hub.on_crash = crashes.append
    live = scene.finished(10)
    scene.hub.wall = None  # it is asked for the time first
    scene.loop.wind(LOOK)
    scene.hub.wall = scene.loop.time

    scene.loop.wind(RETAIN + LOOK)

    assert len(crashes) == 1
    assert scene.hub.find(live.log.id) is None


def test_an_open_log_is_never_dropped():
    scene = Scene()

    scene.loop.wind(100 * RETAIN)

    assert scene.hub.find(scene.live.log.id) is scene.live


def test_of_too_many_bytes_the_log_that_closed_first_goes_first():
    scene = Scene(max_bytes=3000 + 3 * LOG_COST)
    logs = [scene.finished(1000) for _ in range(3)]
    assert scene.hub.evicted == 0

    logs.append(scene.finished(1000))

    assert [scene.hub.find(live.log.id) for live in logs] == [None, *logs[1:]]
    assert scene.hub.evicted == 1


def test_open_logs_make_closed_ones_go_and_then_lose_their_oldest_entries():
    scene = Scene(max_bytes=2 * TIGHT_CAP)
    closed = scene.finished(1000)
    reader = FakeReader(scene.live)
    for _ in range(12):
        scene.publish(b"x" * (TIGHT_CAP // 4))

    scene.loop.wind(LOOK)

    assert scene.hub.find(closed.log.id) is None
    assert scene.live.log.held <= TIGHT_CAP
    assert len(reader.taken) == 12
    assert scene.hub.held == scene.live.log.held


def test_a_slow_reader_of_a_channel_keeps_nothing_from_being_trimmed():
    scene = Scene(max_bytes=2 * TIGHT_CAP)
    channel = Channel("news", scene.hub.epoch(), Terms(media=b"text/plain"), now=0.0)
    live = scene.hub.add(Live(channel, scene.hub))
    FakeReader(live, slow=True)
    for _ in range(12):
        channel.publish(Post(b"x" * (TIGHT_CAP // 4), b"text/plain"), 0.0)

    scene.loop.wind(LOOK)

    assert channel.held <= TIGHT_CAP


def test_a_channel_counts_with_what_it_takes_besides_its_bytes():
    scene = Scene(max_bytes=2 * TIGHT_CAP)
    body = b"[" + b",".join([b'{"to":["ann"]}'] * 2000) + b"]"
    channel = Channel("news", scene.hub.epoch(), Terms(media=JSON), now=0.0, body=body)
    scene.hub.add(Live(channel, scene.hub))
    assert channel.held < TIGHT_CAP < 2 * TIGHT_CAP < channel.cost

    scene.loop.wind(LOOK)

    assert channel.base > 0
    assert channel.cost <= TIGHT_CAP


def test_what_is_forgotten_counts_no_more():
    scene = Scene(max_bytes=2000 + 2 * LOG_COST)
    for _ in range(10):
        live = scene.finished(1000)
        scene.hub.forget(live)
        scene.hub.forget(live)

    kept = [scene.finished(1000), scene.finished(1000)]

    assert [scene.hub.find(live.log.id) for live in kept] == kept
    assert len(scene.hub) == 3


def test_no_two_logs_share_a_name_or_an_epoch():
    hub = Hub(FakeLoop())
    logs = [hub.open(FakeProducer()).log for _ in range(1000)]

    assert len({log.id for log in logs}) == 1000 == len({log.epoch for log in logs})
    assert hub.epoch() != hub.epoch()
    assert hub.of_cursor("no cursor") is None


def test_a_hub_that_is_closed_has_no_log_and_no_timer():
    scene = Scene()
    scene.finished(10)

    scene.hub.close()

    assert len(scene.hub) == 0
    assert scene.loop.timers == []


# Logs that people write.


class Mortal(EventLog):
    """A log that is over when nobody has read it for 10 s; the hub is asked as by a channel."""

    touched = 1000.0  # when FakeLoop begins
    tidied = 0.0

    def touch(self, now: float) -> None:
        self.touched = now

    def expired(self, now: float, wall: float) -> bool:
        return now - self.touched >= 10

    def tidy(self, now: float) -> None:
        self.tidied = now


class ChannelScene(Scene):
    """A hub with one such log, which nobody asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.hub.wall = self.loop.time
        self.channel = self.hub.add(Live(Mortal("a", "aaaabbbb"), self.hub))


def test_a_log_goes_by_itself_when_its_time_is_over():
    scene = ChannelScene()

    scene.loop.wind(9.9)
    assert (len(scene.hub), scene.hub.channels) == (2, 1)
    scene.loop.wind(LOOK)

    assert (len(scene.hub), scene.hub.channels) == (1, 0)
    assert (scene.channel.log.state, scene.channel.log.reason) == (State.CANCELLED, "expired")


def test_nobody_finds_a_log_whose_time_is_over_before_the_hub_looks():
    scene = ChannelScene()
    scene.loop.now += 10

    assert scene.hub.find("a") is None


def test_a_log_that_is_found_is_tidy():
    scene = ChannelScene()
    scene.loop.now += 5

    assert scene.hub.find("a") is scene.channel
    assert scene.channel.log.tidied == scene.loop.now


def test_a_log_lives_as_long_as_somebody_reads_it():
    scene = ChannelScene()
    reader = FakeReader(scene.channel)

    scene.loop.wind(30.5)
    scene.channel.leave(reader)
    scene.loop.wind(9.9)
    assert scene.hub.channels == 1
    scene.loop.wind(LOOK)

    assert scene.hub.channels == 0


def test_readers_of_a_log_that_is_dropped_are_cut_and_see_no_end():
    scene = ChannelScene()
    readers = [FakeReader(scene.channel) for _ in range(2)]

    scene.channel.drop("deleted")

    assert [reader.ends for reader in readers] == [["cut"], ["cut"]]
    assert scene.channel.readers == []
    assert scene.hub.find("a") is None
