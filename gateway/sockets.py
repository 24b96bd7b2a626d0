"""Listening sockets: opened here, or inherited from systemd by name."""

import contextlib
import errno
import fcntl
import os
import resource
import socket
import stat
import sys
from collections.abc import Mapping
from typing import Any

from gateway.addresses import Address, Systemd, Tcp, Unix, is_loopback
from gateway.errors import BindError, ConfigError
from gateway.settings import OPEN_TO_OTHERS


# Connections the kernel holds while we are busy; it caps this at its own somaxconn.
BACKLOG = 1024
# Descriptors kept back for the log, the loop, name look-ups and what libraries open.
RESERVED_FDS = 64
# Connections of the admin listener: a few scrapers and people, never a crowd.
ADMIN_CONNECTIONS = 64
# One connection above the limit for so many within it is told that we are overloaded.
SPARE_SHARE = 8
# Connections per worker (design §8): one core's worth of streams, with room to spare.
MAX_CONNECTIONS = 20_000

Inherited = Mapping[str, list[socket.socket]]


def open_listener(address: Address, inherited: Inherited) -> list[socket.socket]:
    """Return the listening sockets of one configured address.

    Raises:
        BindError: says which address, and what the system said.
    """
    if isinstance(address, Systemd):
        return _inherit(address.name, inherited)
    try:
        if isinstance(address, Unix):
            return [_unix(address.path)]
        assert isinstance(address, Tcp)
        return _tcp(address)
    except OSError as error:
        raise BindError(f"cannot listen on {address}: {error.strerror or error}") from error


def refuse_others(address: Address, sockets: list[socket.socket]) -> None:
    """Make sure that only this machine reaches the `sockets` of one configured address.

    The configuration was judged by what it says; here by what the system did with it.

    Raises:
        ConfigError: other machines reach one; then all that are not inherited are closed.
    """
    for sock in sockets:
        if sock.family != socket.AF_UNIX and not is_loopback(sock.getsockname()[0]):
            where = shown(sock)
            if not isinstance(address, Systemd):
                _close(sockets)
            raise ConfigError(f"[server] listen: {address} is {where}: {OPEN_TO_OTHERS}")


def connection_limit() -> int:
    """Return how many client connections fit, with as many to upstreams.

    The soft limit of descriptors is raised to the hard one where that is allowed.
    uvloop hides EMFILE, so this bound is the only one that speaks.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    # Each has one to its upstream, and needs its share of the spare ones.
    room = soft - RESERVED_FDS - ADMIN_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, room * SPARE_SHARE // (2 * SPARE_SHARE + 1)))


def upstream_limit(clients: int) -> int:
    """Return how many connections to upstreams fit beside so many of clients and spare ones."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return sys.maxsize
    return max(1, soft - RESERVED_FDS - ADMIN_CONNECTIONS - clients)


def make_table(connections: int) -> None:
    """Have the kernel make its table of our descriptors large enough for so many connections.

    It doubles when a descriptor does not fit, and in a process with threads that takes 10 to
    20 ms (`expand_fdtable` waits for `synchronize_rcu`), in which every stream would stand.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = RESERVED_FDS + ADMIN_CONNECTIONS + connections
    highest = (wanted if soft == resource.RLIM_INFINITY else min(wanted, soft)) - 1
    with contextlib.suppress(OSError), open(os.devnull) as any_file:
        # It never shrinks again.
        os.close(fcntl.fcntl(any_file, fcntl.F_DUPFD_CLOEXEC, highest))


def shown(sock: socket.socket) -> str:
    """Return the address of a listening socket as a person writes it."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{name}"
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _inherit(name: str, inherited: Inherited) -> list[socket.socket]:
    sockets = inherited.get(name)
    if not sockets:
        have = ", ".join(sorted(inherited)) or "none"
        raise BindError(f"no inherited socket is named {name!r} (there are: {have})")
    return sockets


def _tcp(address: Tcp) -> list[socket.socket]:
    infos = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    for family, kind, protocol, _, place in dict.fromkeys(infos):
        try:
            sockets.append(_listening(socket.socket(family, kind, protocol), place))
        except OSError as error:
            # `localhost` has an IPv6 address even where IPv6 is off.
            if error.errno != errno.EADDRNOTAVAIL or len(infos) == 1:
                _close(sockets)
                raise
    if not sockets:
        raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    return sockets


def _unix(path: str) -> socket.socket:
    _remove_stale(path)
    return _listening(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), path)


def _listening(sock: socket.socket, place: Any) -> socket.socket:
    """Return `sock`, which listens at `place` from now on; it is closed if it cannot."""
    try:
        if sock.family != socket.AF_UNIX:
            # A restart must not wait for the last run's connections in TIME_WAIT.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(place)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def _remove_stale(path: str) -> None:
    """Remove the socket file of a run that was killed; never one that answers."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return  # bind will say that it is in use
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)  # one that is too busy to answer would hold us up
            try:
                probe.connect(path)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                os.unlink(path)
