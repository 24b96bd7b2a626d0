"""One generation, many readers, any transport: none misses an entry or gets one twice."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway._sseparse import CHUNKED, Batch, EventParser
from gateway.dialects import openai
from gateway.dialects.calls import Heading
from gateway.eventlog import START, State
from gateway.upstream_errors import StreamInterrupted
from gateway.views import portion
from tests.view_scenes import FakeTap, ViewScene
from tests.walkers import WAYS, HttpVisit, SocketVisit, Walker, text_of, value_of


DONE = b"data: [DONE]\n\n"


class Generation(ViewScene):
    """A provider's answer on its way through a real tap into a log; it ends as `Stream` does."""

    def __init__(self, wire: bytes) -> None:
        super().__init__(grace=None)
        self.last = 0.0
        self.live.producer = self
        self._unsaid = wire
        self._parser = EventParser(CHUNKED)
        self._tap = FakeTap(
            self._parser, self.live, self.loop.time, attend=self._attend
        )

    def say(self, size: int) -> None:
        """Let so many bytes arrive from the provider; after the last it is cut."""
        said, self._unsaid = self._unsaid[:size], self._unsaid[size:]
        if said and not self.live.log.closed:
            self._tap.data(said)
            self.last = self._parser.last
        if not self._unsaid and not self.live.log.closed:
            fault = StreamInterrupted("cut")
            self._close(State.INTERRUPTED, "truncated", [openai.error_event(fault)], fault)

    def stop(self) -> None:
        """Stop it, as whoever holds its id may."""
        if self.live.producer is not None:
            self.live.producer.cancel("stop")

    def texts(self, cursor: str = START) -> list[str]:
        """Return what the entries after `cursor` add."""
        log = self.live.log
        data = b"".join([batch.data for batch in log.after(log.locate(cursor))])
        blocks = data.decode().split("\n\n")[:-1]
        found = [text_of(value_of(block.partition("data: ")[2])) for block in blocks]
        return [text for text in found if text]

    # Its producer.

    def pause(self) -> None:
        raise AssertionError("the log is far from full")

    resume = pause

    def cancel(self, reason: str) -> None:
        said = [batch.data for batch in self.live.log.after(self.live.log.base)]
        heading = Heading(self.live.log.id, "m", 0)
        words = openai.cancelled_events(said, heading, finish="", tokens=7)
        self._close(State.CANCELLED, reason, words)

    def _attend(self, batch: Batch | None, now: float) -> None:
        assert self._parser.fault is None
        if batch is not None and self._parser.attention:
            self.live.log.append(batch)
        elif batch is not None:
            self.live.publish(batch)
            self._tap.flowing = True
        if self._parser.done:
            self.live.close(State.FINISHED, "finished")

    def _close(
        self, state: State, reason: str, words: list[bytes], fault: StreamInterrupted | None = None
    ) -> None:
        log = self.live.log
        log.append(Batch(b"".join(words), log.tail + 1, len(words)))
        self.live.close(state, reason, fault)


# What providers say.  Some write all beyond ASCII as escapes, and cut pairs of them in half.

tokens = st.text(st.characters(), max_size=8)


def chunk(token: str) -> str:
    choice = {"index": 0, "delta": {"content": token}, "finish_reason": None}
    event = {"id": "c", "choices": [choice]}
    raw = json.dumps(event, ensure_ascii=False)
    try:
        raw.encode()
    except UnicodeEncodeError:
        return json.dumps(event)
    return raw


said = st.one_of(
    tokens.map(lambda token: "data: " + chunk(token)),
    st.sampled_from(['data: {"choices":[]}', ": comment", "event: x\nid: 7\ndata:no JSON"]),
)


@st.composite
def wires(draw: st.DrawFn) -> bytes:
    """Draw an answer's body as its provider sends it, in chunks of any size."""
    blocks = draw(st.lists(said, min_size=5, max_size=20))
    if draw(st.booleans()):  # else it is cut at the end
        blocks += ['data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}']
        blocks += ["data: [DONE]"]
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    text = "".join(block.replace("\n", end) + end + end for block in blocks).encode()
    size = draw(st.integers(1, 300))
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


# What happens.

READERS = 4
readers = st.integers(0, READERS - 1)
ways = st.sampled_from(list(WAYS))
happenings = st.lists(
    st.one_of(
        says := st.tuples(st.just("say"), st.integers(1, 200)),
        says,  # mostly
        says,
        st.tuples(st.just("come"), readers, ways),
        st.tuples(st.just("lose"), readers, st.floats(0, 1)),
        st.tuples(st.just("pause"), readers),
        st.tuples(st.just("drain"), readers),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 11.0, 26.0, 61.0])),
    ),
    min_size=20,
    max_size=60,
)


class Story:
    """A generation and its walkers, of whom any number is there at any time."""

    def __init__(self, wire: bytes, firsts: list[str]) -> None:
        self.generation = Generation(wire)
        self.walkers = [Walker() for _ in range(READERS)]
        self.visits: dict[int, HttpVisit | SocketVisit] = {}
        for number, way in enumerate(firsts[:READERS]):
            self.come(number, way)

    def say(self, size: int) -> None:
        self.generation.say(size)

    def stop(self) -> None:
        self.generation.stop()

    def wait(self, seconds: float) -> None:
        self.generation.loop.wind(seconds)

    def come(self, number: int, name: str) -> None:
        self.lose(number, 1.0)
        if not self.walkers[number].over:
            way = WAYS[name]
            self.visits[number] = way.visit(self.walkers[number], self.generation, way)

    def pause(self, number: int) -> None:
        if number in self.visits:
            self.visits[number].pause()

    def drain(self, number: int) -> None:
        if number in self.visits:
            self.visits[number].drain()

    def lose(self, number: int, share: float) -> None:
        visit = self.visits.pop(number, None)
        if visit is not None:
            visit.drain()
            self.generation.loop.wind(0)  # a log is written in portions, one in each turn
            visit.lose(share)
            got = self.walkers[number].got
            assert got == self.generation.texts()[: len(got)]

    def end(self, lasts: list[str]) -> None:
        """Let all be said, and every walker read on until it knows that this was all."""
        follow = {number for number, visit in self.visits.items() if visit.follows}
        self.say(1 << 30)
        for number, walker in enumerate(self.walkers):
            self.lose(number, 1.0)
            assert walker.over or number not in follow
            for way in lasts * 40:  # a portion may be one entry
                self.come(number, way)
            assert walker.over


@given(
    wires(),
    happenings,
    st.none() | st.integers(0, 60),
    st.permutations(list(WAYS)),
    st.permutations(list(WAYS)),
    st.integers(1, 1000),
)
@settings(max_examples=300)
def test_whoever_reads_it_however_often_it_is_lost_has_the_whole_generation(
    wire, happenings, stop, firsts, lasts, size
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(portion, "PORTION", size)
        story = Story(wire, firsts)
        for at, (what, *how) in enumerate(happenings):
            if at == stop:
                story.stop()
            getattr(story, what)(*how)
        story.end(lasts)

    generation = story.generation
    assert generation.live.log.closed
    for walker in story.walkers:
        assert walker.got == generation.texts()
        if walker.cursor != START:  # else it read without ids
            assert generation.texts(walker.cursor) == []
    assert generation.live.readers == []
    assert generation.loop.timers == []
