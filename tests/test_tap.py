"""Outlet and Tap: the short way of an event, from an upstream's bytes to each client's."""

import pytest

from gateway._sseparse import CHUNKED, Batch, Entries, EventParser, Histogram, Outlet, Tap, chunk


HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
ONE, TWO = b"data: 1\n\n", b"data: 2\n\n"
LAST = b"0\r\n\r\n"


class FakeReader:
    """Has an outlet, or not yet."""

    def __init__(self, *, started: bool = True) -> None:
        self.puts: list[bytes] = []
        self.outlet = Outlet(self.puts.append, b"", True) if started else None


class Scene:
    """A tap that flows, unless said otherwise; notes what it hands on."""

    def __init__(self, *readers: FakeReader, flowing: bool = True, room: int = 1000) -> None:
        self.log = Entries()
        self.overhead = Histogram([0.5])
        self.now = 0.0
        self.attended: list[tuple[bytes | None, float]] = []
        self.pumps = 0
        self.tap = Tap(
            EventParser(CHUNKED, overhead=self.overhead),
            self.log,
            list(readers),
            room=room,
            clock=self.clock,
            attend=self.attend,
            pump=self.pump,
            lost=lambda error: None,
        )
        self.tap.flowing = flowing

    def clock(self) -> float:
        self.now += 0.25
        return self.now

    def attend(self, batch: Batch | None, now: float) -> None:
        self.attended.append((batch and batch.data, now))

    def pump(self) -> None:
        self.pumps += 1


def test_an_outlet_sends_its_head_with_its_first_piece():
    puts: list[bytes] = []
    outlet = Outlet(puts.append, HEAD, True)

    outlet.write(ONE)
    outlet.write(TWO)

    assert puts == [HEAD + chunk(ONE), chunk(TWO)]
    assert outlet.sent == len(ONE + TWO)


@pytest.mark.parametrize("rest", [b"", TWO], ids=["nothing left", "a last piece"])
@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "until close"])
def test_an_outlet_ends_in_one_write(rest, chunked):
    puts: list[bytes] = []
    outlet = Outlet(puts.append, HEAD, chunked)

    outlet.end(rest)

    framed = (chunk(rest) if rest else b"") + LAST if chunked else rest
    assert puts == [HEAD + framed]
    assert outlet.sent == len(rest)


def test_a_batch_goes_to_the_log_and_to_every_reader():
    readers = [FakeReader(), FakeReader()]
    scene = Scene(*readers)

    scene.tap.data(chunk(ONE))
    scene.tap.data(chunk(TWO))

    assert [batch.data for batch in scene.log.after(0)] == [ONE, TWO]
    for reader in readers:
        assert reader.puts == [chunk(ONE), chunk(TWO)]
        assert reader.outlet.cursor == scene.log.tail == 2
    assert (scene.pumps, scene.attended) == (0, [])


def test_what_completes_no_event_goes_nowhere():
    reader = FakeReader()
    scene = Scene(reader)

    scene.tap.data(b"9\r\ndata: ")

    assert (reader.puts, scene.log.tail, scene.pumps, scene.attended) == ([], 0, 0, [])


def test_what_we_added_is_measured_once_for_each_delivery():
    scene = Scene(FakeReader())

    scene.tap.data(chunk(ONE))
    scene.tap.data(chunk(TWO)[:5])

    assert scene.overhead.snapshot() == ([1, 0], 0.25)


def paused(reader: FakeReader) -> None:
    reader.outlet.paused = True


def lagging(reader: FakeReader) -> None:
    reader.outlet.cursor = -1


def unstarted(reader: FakeReader) -> None:
    reader.outlet = None


@pytest.mark.parametrize("spoil", [paused, lagging, unstarted])
def test_a_reader_that_cannot_follow_is_left_to_the_pump(spoil):
    well, ill = FakeReader(), FakeReader()
    spoil(ill)
    scene = Scene(ill, well)

    scene.tap.data(chunk(ONE))

    assert (ill.puts, well.puts) == ([], [chunk(ONE)])
    assert scene.pumps == 1
    assert scene.log.tail == 1


def test_a_log_that_grows_beyond_its_room_is_left_to_the_pump():
    scene = Scene(FakeReader(), room=len(ONE))

    scene.tap.data(chunk(ONE))
    assert scene.pumps == 0
    scene.tap.data(chunk(TWO))

    assert scene.pumps == 1


def test_before_it_flows_everything_is_handed_on():
    reader = FakeReader()
    scene = Scene(reader, flowing=False)

    scene.tap.data(chunk(ONE))
    scene.tap.data(b"9\r\n")

    assert scene.attended == [(ONE, 0.25), (None, 0.5)]
    assert (reader.puts, scene.log.tail) == ([], 0)


def test_what_wants_attention_is_handed_on():
    reader = FakeReader()
    scene = Scene(reader)

    scene.tap.data(chunk(ONE + b"data: [DONE]\n\n"))

    assert scene.attended == [(ONE, 0.25)]
    assert (reader.puts, scene.log.tail) == ([], 0)


def test_a_failing_client_write_is_not_swallowed():
    def put(data: bytes) -> None:
        raise RuntimeError("the transport is closed")

    reader = FakeReader()
    reader.outlet = Outlet(put, b"", True)

    with pytest.raises(RuntimeError):
        Scene(reader).tap.data(chunk(ONE))
