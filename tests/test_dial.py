"""Dialer: one connection within one deadline, or one of four failures told in few words."""

import asyncio
import errno
import gc
import socket
import ssl
import time
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
import uvloop

from gateway.dial import Dialer, tls_context
from gateway.errors import ConfigError, Overloaded
from gateway.mock import MockProvider
from gateway.resolver import Resolver
from gateway.upstream_errors import UpstreamUnavailable
from tests.authority import VALID, Authority
from tests.fakes import FakeTransport, until
from tests.scenes import settled
from tests.scripted import deaf_port


SECRET_HOST = "provider.internal"
LOST = [].append  # whom a test does not ask


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


def resolver(*addresses):
    async def lookup(host):
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, f"{host}: Name or service not known")
        return addresses

    return Resolver(lookup)


def dialer(
    port, *addresses, host=SECRET_HOST, tls=None, timeout=5.0, handshake=5.0, connected=LOST,
    loop=None, names=None,
):
    return Dialer(
        "mock",
        host,
        port,
        tls=tls,
        timeout=timeout,
        tls_timeout=handshake,
        resolver=names or resolver(*addresses),
        loop=loop or asyncio.get_running_loop(),
        on_connected=connected,
    )


async def refusal(dial):
    with pytest.raises(UpstreamUnavailable) as caught:
        await dial(LOST)
    error = caught.value
    assert error.status == 502
    assert error.message.startswith("upstream mock: ")
    assert SECRET_HOST not in error.message
    assert "127.0.0.1" not in error.message
    assert ".c:" not in error.message, "a line of somebody's source"
    return error.kind


async def closed(mock):
    await mock.until(lambda: not mock.connections.open)


@asynccontextmanager
async def listening(serve):
    """A server on loopback whose connections are handled by `serve(reader, writer)`."""
    tasks = []

    async def handle(reader, writer):
        tasks.append(asyncio.current_task())
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


async def test_a_connection_is_ready_and_its_time_is_told():
    seconds = []
    async with MockProvider() as mock:
        connection = await dialer(mock.port, "127.0.0.1", connected=seconds.append)(LOST)
        assert connection.alive
        assert connection.used == 0
        assert len(seconds) == 1
        assert 0 <= seconds[0] < 5

        connection.abort()
        await closed(mock)


async def test_small_writes_leave_at_once():
    async with MockProvider() as mock:
        connection = await dialer(mock.port, "127.0.0.1")(LOST)
        sock = connection._transport.get_extra_info("socket")

        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

        connection.abort()
        await closed(mock)


async def test_ipv6_is_an_address_like_any_other():
    mock = MockProvider()
    await mock.start("::1")
    connection = await dialer(mock.port, host="::1")(LOST)

    assert mock.connections.open == 1

    connection.abort()
    await mock.close()


async def test_a_dead_first_address_only_costs_time():
    async with MockProvider() as mock:
        # Refused at once: nothing listens at this address of the loopback net.
        connection = await dialer(mock.port, "127.0.0.99", "127.0.0.1")(LOST)
        assert connection.alive

        connection.abort()
        await closed(mock)


async def test_a_silent_first_address_holds_up_the_second_for_a_moment_only(monkeypatch):
    monkeypatch.setattr("gateway.dial.STAGGER", 0.01)
    async with deaf_port() as port:
        mock = MockProvider()
        await mock.start("127.0.0.2", port)
        connection = await dialer(port, "127.0.0.1", "127.0.0.2", timeout=20.0)(LOST)
        assert connection.alive

        connection.abort()
        await mock.close()


class Network:
    """The running loop, but for its connects: the test says when each has come through."""

    def __init__(self):
        self.arrivals = []  # a future for each attempt, in order
        self.transports = []

    def __getattr__(self, name):
        return getattr(asyncio.get_running_loop(), name)

    async def create_connection(self, protocol, host, port):
        self.arrivals.append(asyncio.get_running_loop().create_future())
        await self.arrivals[-1]
        connection, transport = protocol(), FakeTransport()
        connection.connection_made(transport)
        self.transports.append(transport)
        return transport, connection


async def test_of_two_that_arrive_in_the_same_moment_one_is_dropped(monkeypatch):
    monkeypatch.setattr("gateway.dial.STAGGER", 0.0)
    network = Network()
    task = asyncio.ensure_future(dialer(1, "192.0.2.1", "192.0.2.2", loop=network)(LOST))
    await until(lambda: len(network.arrivals) == 2)
    for arrival in network.arrivals:
        arrival.set_result(None)
    connection = await task
    await settled()

    assert connection.alive
    assert sorted(transport.aborted for transport in network.transports) == [False, True]


async def test_one_that_has_not_arrived_yet_is_called_off(monkeypatch):
    monkeypatch.setattr("gateway.dial.STAGGER", 0.0)
    network = Network()
    task = asyncio.ensure_future(dialer(1, "192.0.2.1", "192.0.2.2", loop=network)(LOST))
    await until(lambda: len(network.arrivals) == 2)
    network.arrivals[1].set_result(None)
    await task
    await settled()

    assert network.arrivals[0].cancelled()
    assert [transport.aborted for transport in network.transports] == [False]


async def test_when_all_addresses_fail_so_does_the_dial():
    assert await refusal(dialer(free_port(), "127.0.0.98", "127.0.0.99")) == "connect"


async def test_a_refused_connection_is_a_failed_connect():
    assert await refusal(dialer(free_port(), "127.0.0.1")) == "connect"


async def test_a_name_that_has_moved_is_found_again_at_once(monkeypatch):
    monkeypatch.setattr("gateway.resolver.CERTAIN", 0.0)
    places = iter(["127.0.0.99", "127.0.0.1"])

    async def moved(host):
        return (next(places),)

    async with MockProvider() as mock:
        dial = dialer(mock.port, names=Resolver(moved))
        assert await refusal(dial) == "connect"
        await settled()
        connection = await dial(LOST)
        connection.abort()
        await closed(mock)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_system_without_a_socket_to_give_is_no_fault_of_the_upstream(scheme, monkeypatch):
    class NoSockets(Network):
        async def create_connection(self, protocol, host, port):
            raise OSError(errno.EMFILE, "Too many open files")

    def no_socket(*args):
        raise OSError(errno.EMFILE, "Too many open files")

    loop, tls = NoSockets(), tls_context("u", None) if scheme == "https" else None
    ours = SimpleNamespace(socket=no_socket, AF_INET=socket.AF_INET, AF_INET6=socket.AF_INET6)
    monkeypatch.setattr("gateway.dial.socket", ours)
    with pytest.raises(Overloaded, match="upstream mock: the system has no socket left"):
        await dialer(1, "192.0.2.1", "192.0.2.2", tls=tls, loop=loop)(LOST)


async def test_a_name_that_cannot_be_resolved_is_a_dns_failure():
    assert await refusal(dialer(1)) == "dns"


async def test_a_peer_that_answers_no_syn_runs_into_the_timeout():
    async with deaf_port() as port:
        assert await refusal(dialer(port, "127.0.0.1", timeout=0.05)) == "connect_timeout"


async def test_a_handshake_that_never_ends_runs_into_a_timeout_of_its_own(authority):
    async def say_nothing(reader, writer):
        await reader.read()

    async with listening(say_nothing) as port:
        tls = tls_context("u", authority.ca_file)
        dial = dialer(port, "127.0.0.1", tls=tls, handshake=0.05)
        assert await refusal(dial) == "tls_timeout"


async def test_small_writes_leave_at_once_over_tls_too(authority):
    mock = MockProvider()
    await mock.start(ssl=authority.server(SECRET_HOST))
    tls = tls_context("u", authority.ca_file)
    connection = await dialer(mock.port, "127.0.0.1", tls=tls)(LOST)
    sock = connection._transport.get_extra_info("socket")

    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    connection.abort()
    await mock.close()


async def test_a_peer_that_answers_no_syn_runs_into_the_timeout_also_before_tls(authority):
    tls = tls_context("u", authority.ca_file)
    async with deaf_port() as port:
        dial = dialer(port, "127.0.0.1", tls=tls, timeout=0.05)
        assert await refusal(dial) == "connect_timeout"


async def test_a_provider_whose_name_and_issuer_are_right_is_trusted(authority):
    mock = MockProvider()
    await mock.start(ssl=authority.server(SECRET_HOST))
    tls = tls_context("u", authority.ca_file)
    connection = await dialer(mock.port, "127.0.0.1", tls=tls)(LOST)

    sock = connection._transport.get_extra_info("ssl_object")
    assert sock.version() in ("TLSv1.2", "TLSv1.3")
    assert sock.server_hostname == SECRET_HOST, "SNI"

    connection.abort()
    await mock.close()


async def test_a_certificate_may_be_for_an_address(authority):
    mock = MockProvider()
    await mock.start("::1", ssl=authority.server("::1"))
    connection = await dialer(mock.port, host="::1", tls=tls_context("u", authority.ca_file))(LOST)
    assert connection.alive

    connection.abort()
    await mock.close()


# Why it is not trusted: whose root we hold, what the certificate says; and what is told of it.
UNTRUSTED = {
    "another name": (True, ("elsewhere.internal",), VALID, "Hostname mismatch"),
    "an address where a name was wanted": (True, ("127.0.0.1",), VALID, "Hostname mismatch"),
    "an issuer nobody knows": (False, (SECRET_HOST,), VALID, "unable to get local issuer "),
    "a time that is over": (True, (SECRET_HOST,), -VALID / 2, "certificate has expired"),
}


@pytest.mark.parametrize(
    ("known", "names", "ends", "says"), UNTRUSTED.values(), ids=UNTRUSTED.keys()
)
async def test_a_provider_that_cannot_prove_its_name_is_refused_and_told_why(
    known, names, ends, says, authority, tmp_path
):
    mock = MockProvider()
    await mock.start(ssl=authority.server(*names, ends=ends))
    mine = authority if known else Authority(tmp_path, "another authority")
    dial = dialer(mock.port, "127.0.0.1", tls=tls_context("u", mine.ca_file))
    assert await refusal(dial) == "tls"
    with pytest.raises(UpstreamUnavailable, match=f"TLS failed: {says}"):
        await dial(LOST)
    await mock.close()


async def test_the_systems_roots_do_not_vouch_for_a_stranger(authority):
    mock = MockProvider()
    await mock.start(ssl=authority.server(SECRET_HOST))
    assert await refusal(dialer(mock.port, "127.0.0.1", tls=tls_context("u", None))) == "tls"
    await mock.close()


async def test_a_peer_without_tls_is_refused(authority):
    async def complain(reader, writer):
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()

    async with listening(complain) as port:
        dial = dialer(port, "127.0.0.1", tls=tls_context("u", authority.ca_file))
        assert await refusal(dial) == "tls"


async def test_a_peer_that_hangs_up_amid_the_handshake_is_unavailable(authority):
    async def hang_up(reader, writer):
        await reader.read(1)

    async with listening(hang_up) as port:
        dial = dialer(port, "127.0.0.1", tls=tls_context("u", authority.ca_file))
        with pytest.raises(UpstreamUnavailable, match="amid the TLS handshake") as caught:
            await dial(LOST)
        assert caught.value.kind == "connect"


def test_verification_cannot_be_weak():
    context = tls_context("u", None)

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("content", [None, b"", b"no certificate"], ids=["none", "empty", "text"])
def test_a_ca_file_that_is_none_is_the_operators_mistake(content, tmp_path):
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(ConfigError, match=r"\[upstreams\.u\] ca_file: .*ca\.pem: "):
        tls_context("u", str(file))


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("addresses", [1, 2])
def test_a_dial_cancelled_at_any_moment_leaves_no_connection(scheme, addresses, authority):
    """Cancelled after the k-th turn of the loop, for every k up to its end."""

    async def turns(k):
        mock = MockProvider()
        await mock.start(ssl=authority.server(SECRET_HOST) if scheme == "https" else None)
        tls = tls_context("u", authority.ca_file) if scheme == "https" else None
        strays = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: strays.append(context))
        dial = dialer(mock.port, *["127.0.0.1"] * addresses, tls=tls)
        task = asyncio.ensure_future(dial(LOST))
        for _ in range(k):
            await asyncio.sleep(0)
        ended = task.done()
        if ended:
            task.result().abort()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        # Accepted after all that came before it: now the mock knows of those too.
        last = await dial(LOST)
        await mock.until(lambda: mock.connections.open > 0)
        last.abort()
        await closed(mock)
        await mock.close()
        del task
        gc.collect()
        assert not strays
        return ended

    k = 0
    deadline = time.monotonic() + 20
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        while not runner.run(turns(k)):
            k += 1
            assert time.monotonic() < deadline
    assert k > 1
