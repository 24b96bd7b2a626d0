"""Outlet and Tap: the short way of an event, from an upstream's bytes to each client's."""

import pytest

from gateway._sseparse import (
    CHUNKED,
    FRAMES,
    IDS,
    RAW,
    Batch,
    Entries,
    EventParser,
    Histogram,
    Outlet,
    Tap,
    chunk,
    envelopes,
    with_ids,
)


HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
ONE, TWO = b"data: 1\n\n", b"data: 2\n\n"
EPOCH = b"abcd2345"
LAST = b"0\r\n\r\n"


class FakeReader:
    """Has an outlet, or not yet."""

    def __init__(self, style: int = RAW, *, chunked: bool = True) -> None:
        self.puts: list[bytes] = []
        self.outlet: Outlet | None = Outlet(self.puts.append, b"", chunked, style, EPOCH)


class Scene(Tap):
    """A tap that flows, unless said otherwise; notes what it hands on."""

    def __init__(
        self,
        *readers: FakeReader,
        flowing: bool = True,
        room: int = 1000,
        tight: bool = False,
    ) -> None:
        self.log = Entries(dialect="openai")
        self.overhead = Histogram([0.5])
        parser = EventParser(CHUNKED, overhead=self.overhead, tight=tight)
        self.readers = list(readers)
        super().__init__(parser, self.log, self.readers, room, self.clock)
        self.now = 0.0
        self.attended: list[tuple[bytes | None, float]] = []
        self.pumps = 0
        self.flowing = flowing

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


def some_log() -> Entries:
    """Return a log of four entries in three batches, of 9 bytes each."""
    log = Entries()
    for batch in (Batch(ONE + TWO, 1, 2), Batch(ONE, 3, 1), Batch(TWO, 4, 1)):
        log.append(batch)
    return log


@pytest.mark.parametrize("style", [RAW, IDS, FRAMES])
@pytest.mark.parametrize("cursor", range(5))
def test_the_rest_of_a_log_is_what_follows_the_cursor_in_the_outlets_style(cursor, style):
    log, outlet = some_log(), Outlet(print, b"", False, style, EPOCH)
    outlet.cursor = cursor

    rest = outlet.rest(log, 1000)

    assert rest == b"".join(batch.framed(style, EPOCH) for batch in log.after(cursor))
    assert (outlet.cursor, outlet.sent) == (4, 0)
    assert outlet.rest(log, 1000) == b""


@pytest.mark.parametrize(
    ("cursor", "trimmed", "room", "paused"),
    [(2, 0, 18, True), (1, 2, 1000, False), (2, 0, 17, False), (1, 0, 26, False)],
    ids=["it takes nothing", "some is gone", "too much", "too much, from amid a batch"],
)
def test_what_cannot_be_written_at_once_is_no_rest(cursor, trimmed, room, paused):
    log, outlet = some_log(), Outlet(print, b"", True)
    log.trim(trimmed)
    outlet.cursor, outlet.paused = cursor, paused

    assert outlet.rest(log, room) is None

    assert outlet.cursor == cursor


def test_a_batch_goes_to_the_log_and_to_every_reader():
    readers = [FakeReader(), FakeReader()]
    scene = Scene(*readers)

    scene.data(chunk(ONE))
    scene.data(chunk(TWO))

    assert [batch.data for batch in scene.log.after(0)] == [ONE, TWO]
    for reader in readers:
        assert reader.puts == [chunk(ONE), chunk(TWO)]
        assert reader.outlet.cursor == scene.log.tail == 2
    assert (scene.pumps, scene.attended) == (0, [])


# How an entry reaches a reader of each style.
STYLES = {
    "raw": (RAW, False, lambda data, first: data),
    "raw, chunked": (RAW, True, lambda data, first: data),
    "ids": (IDS, False, lambda data, first: with_ids(data, first, EPOCH)),
    "ids, chunked": (IDS, True, lambda data, first: with_ids(data, first, EPOCH)),
    "frames": (FRAMES, False, lambda data, first: envelopes(data, first, EPOCH)),
}


@pytest.mark.parametrize(("style", "chunked", "framed"), STYLES.values(), ids=STYLES.keys())
def test_each_reader_gets_its_style(style, chunked, framed):
    reader = FakeReader(style, chunked=chunked)
    scene = Scene(FakeReader(), reader, FakeReader(IDS), FakeReader(FRAMES, chunked=False))

    scene.data(chunk(ONE + TWO))
    scene.data(chunk(ONE))

    bodies = [framed(ONE + TWO, 1), framed(ONE, 3)]
    assert reader.puts == [chunk(body) if chunked else body for body in bodies]
    assert reader.outlet.sent == sum(map(len, bodies))
    assert scene.pumps == 0


@pytest.mark.parametrize(("style", "chunked", "framed"), STYLES.values(), ids=STYLES.keys())
def test_readers_of_one_style_share_one_framing(style, chunked, framed):
    readers = [FakeReader(style, chunked=chunked) for _ in range(3)]
    scene = Scene(*readers)

    scene.data(chunk(ONE))

    body = framed(ONE, 1)
    assert readers[0].puts == [chunk(body) if chunked else body]
    assert readers[0].puts[0] is readers[1].puts[0] is readers[2].puts[0]


def test_a_chunk_that_came_as_we_write_it_goes_on_and_is_kept_as_it_is():
    read = chunk(ONE + TWO)
    reader, scene = FakeReader(), Scene(tight=True)
    scene.readers += [reader, FakeReader(IDS), FakeReader(FRAMES, chunked=False)]

    scene.data(read)

    assert reader.puts[0] is read
    assert [batch.data for batch in scene.log.after(0)] == [ONE + TWO]


def test_what_may_hold_more_memory_than_it_shows_is_copied():
    read = chunk(ONE)
    reader = FakeReader()

    Scene(reader).data(read)

    assert reader.puts == [read]
    assert reader.puts[0] is not read


HEADS = [b"0%x\r\n", b"%X\r\n", b"%x;a=b\r\n"]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("event", [ONE, b"data: %b\n\n" % (b"x" * 163)], ids=["9", "ab"])
def test_a_chunk_that_came_otherwise_is_framed_as_we_do_it(head, event):
    reader = FakeReader()

    Scene(reader, tight=True).data(head % len(event) + event + b"\r\n")

    assert reader.puts == [chunk(event)]


def test_what_was_dropped_of_a_chunk_is_not_in_the_one_that_goes_on():
    reader = FakeReader()

    Scene(reader, tight=True).data(chunk(ONE + b": ping\n\n"))

    assert reader.puts == [chunk(ONE)]


@pytest.mark.parametrize("tight", [True, False])
def test_readers_of_any_kind_may_take_turns(tight):
    kinds = [(RAW, True), (RAW, False), (IDS, True), (FRAMES, False), (IDS, False)] * 2
    readers = [FakeReader(style, chunked=chunked) for style, chunked in kinds]
    scene = Scene(*readers, tight=tight)

    scene.data(chunk(ONE + TWO))

    for reader in readers:
        assert reader.outlet.sent > 0
    assert [reader.puts for reader in readers[:5]] == [reader.puts for reader in readers[5:]]
    assert readers[0].puts == [chunk(ONE + TWO)]
    assert readers[1].puts == [ONE + TWO]
    scene.data(chunk(ONE))
    scene.log.fold()
    assert [(batch.data, batch.size) for batch in scene.log.after(0)] == [(ONE + TWO + ONE, 27)]
    assert scene.log.held == 27


def test_an_unknown_style_is_refused():
    with pytest.raises(ValueError, match="3 is no style"):
        Outlet(print, b"", True, 3, EPOCH)


def test_websocket_frames_are_not_chunked():
    with pytest.raises(ValueError, match="not put in HTTP chunks"):
        Outlet(print, b"", True, FRAMES, EPOCH)


def test_a_batch_that_is_measured_elsewhere_goes_the_same_way():
    reader = FakeReader()
    scene = Scene(reader, FakeReader())

    scene.publish(Batch(ONE, 1, 1))

    assert [batch.data for batch in scene.log.after(0)] == [ONE]
    assert (reader.puts, reader.outlet.cursor) == ([chunk(ONE)], 1)
    assert scene.overhead.snapshot() == ([0, 0], 0.0)


def test_what_completes_no_event_goes_nowhere():
    reader = FakeReader()
    scene = Scene(reader)

    scene.data(b"9\r\ndata: ")

    assert (reader.puts, scene.log.tail, scene.pumps, scene.attended) == ([], 0, 0, [])


def test_what_we_added_is_measured_once_for_each_delivery():
    scene = Scene(FakeReader())

    scene.data(chunk(ONE))
    scene.data(chunk(TWO)[:5])

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

    scene.data(chunk(ONE))

    assert (ill.puts, well.puts) == ([], [chunk(ONE)])
    assert scene.pumps == 1
    assert scene.log.tail == 1


def test_a_log_that_grows_beyond_its_room_is_left_to_the_pump():
    scene = Scene(FakeReader(), room=len(ONE))

    scene.data(chunk(ONE))
    assert scene.pumps == 0
    scene.data(chunk(TWO))

    assert scene.pumps == 1


def test_before_it_flows_everything_is_handed_on():
    reader = FakeReader()
    scene = Scene(reader, flowing=False)

    scene.data(chunk(ONE))
    scene.data(b"9\r\n")

    assert scene.attended == [(ONE, 0.25), (None, 0.5)]
    assert (reader.puts, scene.log.tail) == ([], 0)


def test_what_wants_attention_is_handed_on():
    reader = FakeReader()
    scene = Scene(reader)

    scene.data(chunk(ONE + b"data: [DONE]\n\n"))

    assert scene.attended == [(ONE, 0.25)]
    assert (reader.puts, scene.log.tail) == ([], 0)


def test_a_failing_client_write_is_not_swallowed():
    def put(data: bytes) -> None:
        raise RuntimeError("the transport is closed")

    reader = FakeReader()
    reader.outlet = Outlet(put, b"", True)

    with pytest.raises(RuntimeError):
        Scene(reader).data(chunk(ONE))
