"""The mock provider: when it says what, by a clock that is wound by hand."""

import socket

import pytest

from gateway.mock import Exchange, Options, answers
from gateway.mock.connection import Connection
from gateway.mock.journal import Journal
from gateway.mock.playback import Playback
from gateway.mock.replies import End, Reply
from gateway.mock.routes import reply_to
from gateway.mock.ticker import Ticker
from tests.mock_client import exchange_of, request_bytes


class HandWoundLoop:
    """A clock in milliseconds that runs when it is told to."""

    def __init__(self):
        self.ms = 0
        self.timers = []
        self.ready = []

    def time(self):
        return self.ms / 1000 + 1e-9  # so that whole milliseconds survive floating point

    def call_later(self, delay, callback):
        timer = HandWoundTimer(self, self.ms + delay * 1000, callback)
        self.timers.append(timer)
        return timer

    def call_soon(self, callback):
        self.ready.append(callback)

    def turn(self):
        ready, self.ready = self.ready, []
        for callback in ready:
            callback()

    def advance(self, ms):
        for _ in range(ms):
            self.ms += 1
            due = [timer for timer in self.timers if timer.when <= self.ms]
            self.timers = [timer for timer in self.timers if timer.when > self.ms]
            for timer in due:
                timer.callback()


class HandWoundTimer:
    def __init__(self, loop, when, callback):
        self.loop = loop
        self.when = when
        self.callback = callback

    def cancel(self):
        self.loop.timers.remove(self)


class FakeTransport:
    def __init__(self):
        self.writes = []
        self.unsent = 0  # bytes said to be still in the buffer
        self.options = []  # set on the socket
        self.aborted = False

    def write(self, data):
        self.writes.append(data)

    def abort(self):
        self.aborted = True

    def is_closing(self):
        return self.aborted

    def get_write_buffer_size(self):
        return self.unsent

    def get_extra_info(self, name):
        assert name == "socket"
        return self

    def setsockopt(self, *option):
        self.options.append(option)


def played(reply):
    """Return the pieces of one reply in play: clock, transport, playback, the ends told."""
    loop, transport, ends = HandWoundLoop(), FakeTransport(), []
    exchange = Exchange(b"GET / HTTP/1.1")
    playback = Playback(reply, exchange, transport, Ticker(loop), Journal(), ends.append)
    playback.start()
    return loop, transport, playback, ends


def test_events_keep_their_interval_and_the_end_comes_with_the_last():
    blocks = [b"a", b"b", b"c", answers.DONE]
    loop, transport, _, ends = played(
        Reply(blocks, framing="close", delay=100, interval=10, number=0)
    )
    written = []
    for _ in range(140):
        loop.advance(1)
        written.append(len(transport.writes))

    assert [written.index(n) + 1 for n in (1, 2, 3, 4)] == [100, 110, 120, 130]
    assert ends == [None]
    assert loop.timers == []


def test_streams_that_begin_together_tick_apart():
    def second_write(number):
        loop, transport, _, _ = played(
            Reply([b"a", b"b", b"c"], framing="close", interval=20, number=number)
        )
        while len(transport.writes) < 2:
            loop.advance(1)
        return loop.ms

    times = [second_write(number) for number in range(20)]
    assert all(20 <= time < 40 for time in times)
    assert len(set(times)) >= 15


def test_without_an_interval_streams_take_turns():
    loop, transport, _, ends = played(Reply([b"x"] * 40, framing="close"))

    assert len(transport.writes) == 16
    loop.turn()
    assert len(transport.writes) == 32
    loop.turn()
    assert (len(transport.writes), ends) == (40, [None])


@pytest.mark.parametrize("interval", [0, 10])
def test_nothing_is_written_to_a_client_that_does_not_read(interval):
    loop, transport, playback, ends = played(Reply([b"x"] * 40, framing="close", interval=interval))
    before = len(transport.writes)
    playback.pause()
    loop.turn()
    loop.advance(1000)
    assert len(transport.writes) == before

    playback.resume()
    assert len(transport.writes) == before
    loop.turn()
    assert len(transport.writes) > before
    for _ in range(100):
        loop.turn()
        loop.advance(10)
    assert (len(transport.writes), ends) == (40, [None])


def connected_to_fakes(**mock):
    """Return clock, transport and connection, amid the answer to a request."""
    loop, transport = HandWoundLoop(), FakeTransport()
    connection = Connection(Journal(), Ticker(loop), set(), lambda e: reply_to(e, Options(), 1))
    connection.connection_made(transport)
    connection.data_received(request_bytes(stream=True, mock=mock))
    return loop, transport, connection


def test_a_connection_that_is_full_holds_its_answer():
    loop, transport, connection = connected_to_fakes(tokens=100)
    before = len(transport.writes)
    connection.pause_writing()
    loop.turn()
    assert len(transport.writes) == before

    connection.resume_writing()
    loop.turn()
    assert len(transport.writes) > before


def test_a_client_that_half_closes_is_not_waited_for():
    """Not even to read what is still unsent, which it may never do."""
    _, transport, connection = connected_to_fakes(tokens=100)
    transport.unsent = 1000
    connection.eof_received()

    assert transport.aborted


def test_a_reset_waits_until_all_is_sent():
    loop, transport, _ = connected_to_fakes(fault="cut", interval=10, at=1)
    transport.unsent = 10
    loop.advance(100)
    assert not transport.aborted

    transport.unsent = 0
    loop.advance(1)
    assert transport.aborted
    assert [option[1] for option in transport.options] == [socket.SO_LINGER]


def test_a_stopped_playback_never_goes_on():
    loop, transport, playback, ends = played(Reply([b"x"] * 3, framing="close", interval=10))
    playback.stop()
    loop.advance(100)

    assert (len(transport.writes), ends) == (1, [])


def test_a_late_tick_steps_nobody_twice():
    """A loop that was held up catches up one event per tick, not all in one go."""
    loop, transport, _, _ = played(Reply([b"x"] * 50, framing="close", interval=10))
    loop.ms += 100
    loop.advance(1)
    assert len(transport.writes) == 2
    loop.advance(1)
    assert len(transport.writes) == 3


def test_an_idle_ticker_has_no_timer():
    loop = HandWoundLoop()
    ticker = Ticker(loop)
    stepped = []

    class Thing:
        def step(self):
            stepped.append(loop.ms)

    ticker.at(5, Thing())
    loop.advance(20)

    assert stepped == [5]
    assert loop.timers == []


def test_a_whole_answer_takes_the_time_of_its_tokens():
    exchange = exchange_of(mock={"tokens": 10, "interval": 20, "first-delay": 5})

    assert reply_to(exchange, Options(), 1).delay == 205


def test_an_end_is_never_mistaken_for_bytes():
    reply = Reply([b"x"], wire=lambda pieces: iter((End.HANG,)))
    _, transport, _, ends = played(reply)

    assert (transport.writes, ends) == ([], [End.HANG])
