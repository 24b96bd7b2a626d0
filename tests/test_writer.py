"""The compiled writer, before real sockets."""

import contextlib
import socket

import pytest

from gateway._sseparse import Outlet, Writer
from tests.fakes import FakeTransport


class SocketTransport(FakeTransport):
    """A transport of one end of a pair of sockets; `there` is the other end."""

    def __init__(self):
        super().__init__()
        self.here, self.there = socket.socketpair()
        self.there.setblocking(False)

    def get_extra_info(self, name):
        return {"socket": self.here}[name]

    def write(self, data):
        super().write(bytes(data))
        self.unsent = len(self.written)

    def came(self):
        """Return all that has reached the other end."""
        found = bytearray()
        with contextlib.suppress(BlockingIOError):
            while more := self.there.recv(1 << 16):
                found += more
        return bytes(found)


@pytest.fixture
def transport():
    made = SocketTransport()
    yield made
    made.here.close()
    made.there.close()


@pytest.fixture
def writer(transport):
    made = Writer()
    made.open(transport)
    return made


MANY = b"0123456789abcdef" * (1 << 16)  # more than a pair of sockets holds


def test_what_the_socket_takes_does_not_pass_through_the_transport(transport, writer):
    writer(b"data: a\n\n")
    writer(b"data: b\n\n")

    assert transport.came() == b"data: a\n\ndata: b\n\n"
    assert transport.written == b""


def test_the_transport_gets_what_the_socket_does_not_take_and_nothing_is_sent_past_it(
    transport, writer
):
    writer(MANY)
    taken = transport.came()
    writer(b"after")

    assert 0 < len(taken) < len(MANY)
    assert transport.came() == b""
    assert taken + transport.written == MANY + b"after"


def test_what_comes_when_the_transport_is_empty_again_is_sent_at_once(transport, writer):
    writer(MANY)
    taken = transport.came()
    rest, transport.written, transport.unsent = transport.written, b"", 0
    writer(b"after")

    assert taken + rest == MANY
    assert transport.came() == b"after"


def test_a_full_socket_takes_nothing_and_the_transport_all(transport, writer):
    transport.here.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while transport.here.send(MANY):
            pass
    writer(b"after")

    assert transport.written == b"after"


def test_an_error_is_left_to_the_transport(transport, writer):
    transport.there.close()
    writer(b"to nobody")

    assert transport.written == b"to nobody"


def test_before_it_is_open_and_once_it_is_closed_nothing_is_written(transport):
    writer = Writer()
    writer(b"early")
    writer.open(transport)
    writer.close()
    writer.close()
    writer(b"late")

    assert transport.came() == transport.written == b""


def test_a_transport_without_a_socket_gets_everything():
    transport = FakeTransport()
    transport.get_extra_info = lambda name: None
    writer = Writer()
    writer.open(transport)
    writer(b"a")
    writer(b"b")

    assert transport.written == b"ab"


def test_only_bytes_are_written(writer):
    with pytest.raises(TypeError):
        writer("text")


def test_an_outlet_writes_through_it(transport, writer):
    outlet = Outlet(writer, b"head;", True)
    outlet.write(b"a")
    outlet.end(b"")

    assert transport.came() == b"head;1\r\na\r\n0\r\n\r\n"
