"""The release gate: a client that goes away, at any moment, ends its upstream exchange at once.

What is measured is printed (`pytest -rP`); the promise is 100 ms, the bound here is
generous, since no test may depend on how busy its machine is.
"""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.authority import Authority
from tests.fakes import until
from tests.scripted import deaf_port
from tests.stand import Client, Stand, chat


# Seconds; a graceful close would leave a provider generating for 30.
BOUND = 1.0
PATIENT = 'timeouts = { connect = "20s" }'


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def stand_over(scheme: str, authority: Authority, upstream: str = "") -> Stand:
    if scheme == "http":
        return Stand(upstream=upstream)
    ca = f'ca_file = "{authority.ca_file}"\n'
    return Stand(upstream=ca + upstream, ssl=authority.server("localhost"))


async def took(leave: Callable[[], None], until: "asyncio._CoroutineLike[None]", what: str) -> None:
    """Leave, and hold the time until the provider saw it against the bound."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    leave()
    await until
    seconds = loop.time() - began
    print(f"{what}: {seconds * 1000:.1f} ms")
    assert seconds < BOUND


def ask(client: Client, **options: object) -> None:
    client.send("POST", "/v1/chat/completions", chat(**options))


# Where the client leaves: options of the mock, and whether the stream has begun by then.
MOMENTS = {
    "before the first byte": ({"first_delay": 60_000}, False),
    "while nothing is ever answered": ({"fault": "stall-first"}, False),
    "after the upstream's head": ({"fault": "stall-head"}, False),
    "amid": ({"interval": 5, "tokens": 100_000}, True),
    "amid a flood": ({"tokens": 10_000_000}, True),
    "amid silence": ({"fault": "stall-mid"}, True),
    "amid, of a peer that only writes": (
        {"interval": 5, "tokens": 100_000, "fault": "deaf"},
        True,
    ),
    "amid a flood of a peer that only writes": ({"tokens": 10_000_000, "fault": "deaf"}, True),
}


@pytest.mark.parametrize("manner", ["closes", "resets"])
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(("options", "begun"), MOMENTS.values(), ids=MOMENTS.keys())
async def test_leaving_ends_the_exchange(options, begun, scheme, manner, authority):
    async with stand_over(scheme, authority) as stand:
        client = await stand.open()
        ask(client, **options)
        await stand.mock.until(lambda: stand.mock.open_streams == 1)
        if begun:
            await client.head()
        if manner == "resets":
            linger = client.writer.get_extra_info("socket")
            linger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await took(
            client.writer.transport.abort,
            stand.mock.until(lambda: stand.mock.open_streams == 0),
            f"{scheme}, {manner}",
        )
        assert stand.mock.requests[-1].cancelled
        await stand.mock.until(lambda: not stand.mock.connections.open)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "unary"])
async def test_leaving_the_queue_leaves_no_request_behind(scheme, stream, authority):
    async with stand_over(scheme, authority, "max_connections = 1") as stand:
        first, queued, last = [await stand.open() for _ in range(3)]
        ask(first, fault="stall-head")
        await stand.mock.until(lambda: stand.mock.open_streams == 1)
        pool = stand.server.providers["mock"].pool
        ask(queued, stream=stream)
        await until(lambda: len(pool.waiters) == 1)
        ask(last, tokens=1)
        await until(lambda: len(pool.waiters) == 2)
        await took(queued.writer.transport.abort, until(lambda: len(pool.waiters) == 1), scheme)

        # The next in line gets the slot, and the provider never hears of who left.
        first.writer.transport.abort()
        assert (await last.answer()).status == 200
        await last.close()
        assert len(stand.mock.requests) == 2


async def test_leaving_amid_a_tls_handshake_closes_its_socket():
    """The peer takes the connection, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"https://localhost:{listener.getsockname()[1]}"
        async with Stand(url=url, upstream=PATIENT) as stand:
            client = await stand.open()
            ask(client)
            loop = asyncio.get_running_loop()
            peer, _ = await loop.sock_accept(listener)
            with peer:
                await loop.sock_recv(peer, 4096)  # the hello: the handshake is under way
                await took(client.writer.transport.abort, drained(peer), "amid the handshake")


async def test_leaving_amid_a_connect_closes_its_socket():
    async with (
        deaf_port() as port,
        Stand(url=f"http://127.0.0.1:{port}", upstream=PATIENT) as stand,
    ):
        before = connecting(port)
        client = await stand.open()
        ask(client)
        await until(lambda: connecting(port) - before)
        ours = connecting(port) - before
        await took(
            client.writer.transport.abort,
            until(lambda: not connecting(port) & ours),
            "amid the connect",
        )


async def drained(peer: socket.socket) -> None:
    """Return when the peer sees the end of its connection."""
    loop = asyncio.get_running_loop()
    try:
        while await loop.sock_recv(peer, 4096):
            pass
    except ConnectionResetError:
        pass


def connecting(port: int) -> set[str]:
    """Return whose connects to `port` wait for an answer, by their own addresses."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return {f[1] for f in fields if f[2].endswith(f":{port:04X}") and f[3] == "02"}
