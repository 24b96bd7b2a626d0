"""Valve: idempotent both ways, and harmless once the transport is gone."""

import socket

import pytest

from gateway.flow import WRITE_HIGH, WRITE_LOW, Valve, unsent
from tests.fakes import FakeTransport


class StrictTransport:
    """As uvloop's: a second pause or resume is an error, and so is any while closing."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.reading = True
        self.closing = False

    def pause_reading(self) -> None:
        assert self.reading, "paused twice"
        assert not self.closing, "paused while closing"
        self.reading = False
        self.calls.append("pause")

    def resume_reading(self) -> None:
        assert not self.reading, "resumed twice"
        assert not self.closing, "resumed while closing"
        self.reading = True
        self.calls.append("resume")

    def is_closing(self) -> bool:
        return self.closing


# What is done to a valve, what its transport is told, and whether it is shut then.
STORIES = {
    "nothing": ("", [], False),
    "resume what is open": ("r", [], False),
    "pause": ("p", ["pause"], True),
    "pause twice": ("pp", ["pause"], True),
    "pause and resume": ("pr", ["pause", "resume"], False),
    "resume twice": ("prr", ["pause", "resume"], False),
    "again": ("prpr", ["pause", "resume", "pause", "resume"], False),
    "pause what closes": ("cp", [], False),
    "resume what closes": ("pcr", ["pause"], False),
    "all of it while closing": ("pcrprp", ["pause"], False),
}


@pytest.mark.parametrize(("acts", "calls", "shut"), STORIES.values(), ids=STORIES.keys())
def test_a_transport_is_told_what_it_needs_to_know(acts, calls, shut):
    transport = StrictTransport()
    valve = Valve(transport)
    does = {
        "p": valve.pause,
        "r": valve.resume,
        "c": lambda: setattr(transport, "closing", True),
    }

    for act in acts:
        does[act]()

    assert transport.calls == calls
    assert valve.shut is shut


def test_the_marks_of_a_write_buffer_do_not_meet():
    assert 0 < WRITE_LOW < WRITE_HIGH == 64 * 1024


def test_unsent_is_what_we_hold_and_what_the_system_holds():
    transport = FakeTransport()
    transport.unsent = 5
    assert unsent(transport) == 5

    with socket.create_server(("127.0.0.1", 0)) as server:
        transport.socket = ours = socket.create_connection(server.getsockname())
        with ours, server.accept()[0] as theirs:
            ours.setblocking(False)
            sent = 0
            while True:
                try:
                    sent += ours.send(b"x" * 100_000)
                except BlockingIOError:
                    break
            held = unsent(transport) - 5
            assert 0 < held <= sent
            theirs.recv(sent, socket.MSG_WAITALL)
            assert unsent(transport) - 5 < held  # the last of it may not be acknowledged yet
        assert unsent(transport) == 5, "nothing is held by a socket that is closed"
