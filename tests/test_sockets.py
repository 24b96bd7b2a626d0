"""Listening sockets: where they listen, what they survive, and what is said if they cannot."""

import os
import re
import resource
import socket
import subprocess
import sys

import pytest

from gateway import sockets
from gateway.addresses import Systemd, Tcp, Unix
from gateway.errors import BindError, ConfigError
from gateway.sockets import (
    ADMIN_CONNECTIONS,
    MAX_CONNECTIONS,
    RESERVED_FDS,
    SPARE_SHARE,
    connection_limit,
    open_listener,
    refuse_others,
    shown,
    upstream_limit,
)


@pytest.fixture
def opened():
    """Open a listener; the test's end closes it."""
    kept = []

    def open_one(address, inherited=None):
        found = open_listener(address, inherited or {})
        kept.extend(found)
        return found

    yield open_one
    for sock in kept:
        sock.close()


def reaches(sock):
    """Say whether one can connect to where it says that it listens."""
    with socket.socket(sock.family, socket.SOCK_STREAM) as client:
        client.settimeout(5)
        return client.connect_ex(sock.getsockname()) == 0


@pytest.mark.parametrize(("host", "shape"), [("127.0.0.1", "127.0.0.1:"), ("::1", "[::1]:")])
def test_a_tcp_address_is_listened_on_and_shown_as_one_writes_it(host, shape, opened):
    (sock,) = opened(Tcp(host, 0))

    assert reaches(sock)
    assert shown(sock) == f"{shape}{sock.getsockname()[1]}"
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)


def test_a_name_is_listened_on_at_each_of_its_addresses(opened):
    found = opened(Tcp("localhost", 0))

    assert {shown(sock).rpartition(":")[0] for sock in found} <= {"127.0.0.1", "[::1]"}
    assert all(reaches(sock) for sock in found)


def test_all_of_ipv6_leaves_ipv4_to_another_listener(opened):
    (sock,) = opened(Tcp("::", 0))
    (other,) = opened(Tcp("0.0.0.0", sock.getsockname()[1]))

    assert other is not sock


def test_a_restart_does_not_wait_for_the_last_runs_connections(opened):
    """Its side of them closed first and lies in TIME_WAIT."""
    (first,) = open_listener(Tcp("127.0.0.1", 0), {})
    address = first.getsockname()
    with first, socket.create_connection(address) as client:
        accepted, _ = first.accept()
        accepted.close()
        assert client.recv(1) == b""

    assert opened(Tcp(*address))


def test_a_port_that_is_taken_is_said_and_nothing_stays_open(opened):
    (sock,) = opened(Tcp("127.0.0.1", 0))
    before = os.listdir("/proc/self/fd")
    with pytest.raises(BindError) as caught:
        open_listener(Tcp("127.0.0.1", sock.getsockname()[1]), {})

    assert caught.value.message == f"cannot listen on {shown(sock)}: Address already in use"
    assert os.listdir("/proc/self/fd") == before


# What cannot be listened on, and what the system says of it.
IMPOSSIBLE = {
    "an address of another machine": (Tcp("192.0.2.1", 0), "Cannot assign requested address"),
    "no name": (Tcp("no.such.name.invalid", 0), r".+"),
    "a folder that is not there": (Unix("/no/such/folder/http.sock"), "No such file or directory"),
}


@pytest.mark.parametrize(("address", "why"), IMPOSSIBLE.values(), ids=IMPOSSIBLE.keys())
def test_an_impossible_address_is_said_with_the_systems_words(address, why):
    with pytest.raises(BindError, match=f"^cannot listen on {address}: {why}$"):
        open_listener(address, {})


def test_a_unix_socket_is_listened_on(opened, tmp_path):
    path = str(tmp_path / "http.sock")
    (sock,) = opened(Unix(path))

    assert reaches(sock)
    assert shown(sock) == f"unix:{path}"


def test_the_socket_file_of_a_run_that_was_killed_is_replaced(opened, tmp_path):
    path = str(tmp_path / "http.sock")
    (dead,) = open_listener(Unix(path), {})
    dead.close()
    (sock,) = opened(Unix(path))

    assert reaches(sock)


def test_a_socket_that_answers_is_left_alone(opened, tmp_path):
    path = str(tmp_path / "http.sock")
    (sock,) = opened(Unix(path))

    with pytest.raises(BindError, match="Address already in use"):
        open_listener(Unix(path), {})
    assert reaches(sock)


def test_a_socket_too_busy_to_answer_is_left_alone_and_not_waited_for(tmp_path):
    path = str(tmp_path / "http.sock")
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as first:
        busy.bind(path)
        busy.listen(0)
        first.connect(path)  # the backlog is full

        with pytest.raises(BindError, match="Address already in use"):
            open_listener(Unix(path), {})
        assert os.path.exists(path)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path):
    path = tmp_path / "http.sock"
    path.write_text("precious")

    with pytest.raises(BindError, match="Address already in use"):
        open_listener(Unix(str(path)), {})
    assert path.read_text() == "precious"


def test_inherited_sockets_are_taken_by_their_name():
    with socket.socket() as one, socket.socket() as two:
        assert open_listener(Systemd("public"), {"public": [one, two]}) == [one, two]


@pytest.mark.parametrize(
    ("names", "have"), [((), "none"), (("public", "admin"), "admin, public")], ids=["none", "two"]
)
def test_a_name_that_was_not_inherited_is_said_with_those_that_were(names, have):
    with socket.socket() as sock:
        inherited = {name: [sock] for name in names}
        with pytest.raises(BindError) as caught:
            open_listener(Systemd("web"), inherited)

    assert caught.value.message == f"no inherited socket is named 'web' (there are: {have})"


# Soft and hard limit of descriptors, whether raising it is allowed, and the connections that fit.
LIMITS = {
    "a usual one": (1024, 4096, True, 1867),
    "a sandbox that allows nothing": (1024, 4096, False, 421),
    "plenty": (1024, 1 << 20, True, MAX_CONNECTIONS),
    "none at all": (1024, resource.RLIM_INFINITY, True, MAX_CONNECTIONS),
    "next to nothing": (32, 32, True, 1),
}


@pytest.mark.parametrize(("soft", "hard", "allowed", "fit"), LIMITS.values(), ids=LIMITS.keys())
def test_each_connection_is_counted_with_one_to_its_upstream(soft, hard, allowed, fit, monkeypatch):
    raised = []

    def raise_to(which, limits):
        if not allowed:
            raise PermissionError
        raised.append(limits)

    monkeypatch.setattr(sockets.resource, "getrlimit", lambda which: (soft, hard))
    monkeypatch.setattr(sockets.resource, "setrlimit", raise_to)

    limit = connection_limit()
    assert limit == fit
    if allowed and hard == 4096:
        each_with_its_own = 2 * limit + limit // SPARE_SHARE
        assert each_with_its_own + RESERVED_FDS + ADMIN_CONNECTIONS <= hard
    assert raised == ([(hard, hard)] if allowed else [])


@pytest.mark.parametrize(("limit", "places"), [(4096, 1024), (300, 300)])
def test_the_kernel_has_places_for_all_descriptors_before_they_are_taken(limit, places):
    """In a process of its own: the table never shrinks."""
    code = f"""if True:
        import os, resource
        from gateway.sockets import make_table
        resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))
        before = os.listdir("/proc/self/fd")
        make_table(1024)
        assert os.listdir("/proc/self/fd") == before
        print(*open("/proc/self/status"))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    size = re.search(r"FDSize:\s+(\d+)", done.stdout)

    assert size is not None
    assert int(size[1]) >= places


def test_connections_to_upstreams_leave_descriptors_for_the_clients(monkeypatch):
    monkeypatch.setattr(sockets.resource, "getrlimit", lambda which: (1024, 1024))
    rest = upstream_limit(421)
    assert rest + 421 + RESERVED_FDS + ADMIN_CONNECTIONS == 1024
    assert upstream_limit(5000) == 1
    infinite = resource.RLIM_INFINITY
    monkeypatch.setattr(sockets.resource, "getrlimit", lambda which: (infinite, infinite))
    assert upstream_limit(421) > 1 << 32


# Who may reach them.


OPEN = "other machines can reach it, and no caller needs a key; write [[keys]]"


@pytest.mark.parametrize("address", [Tcp("127.0.0.1", 0), Tcp("::1", 0), Tcp("localhost", 0)])
def test_a_socket_on_loopback_is_for_this_machine(address, opened):
    found = opened(address)
    refuse_others(address, found)

    assert all(reaches(sock) for sock in found)


def test_a_unix_socket_is_for_this_machine(tmp_path, opened):
    address = Unix(str(tmp_path / "s"))
    refuse_others(address, opened(address))


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_socket_that_others_reach_is_refused_and_closed(host):
    address = Tcp(host, 0)
    (sock,) = found = open_listener(address, {})
    where = shown(sock)

    with pytest.raises(ConfigError) as caught:
        refuse_others(address, found)

    assert caught.value.message.startswith(f"[server] listen: {address} is {where}: {OPEN}")
    assert sock.fileno() == -1


def test_one_open_socket_among_those_of_systemd_is_refused_and_left_to_systemd(opened):
    (inner,), (outer,) = opened(Tcp("127.0.0.1", 0)), opened(Tcp("0.0.0.0", 0))

    with pytest.raises(ConfigError, match=r"systemd:public is 0\.0\.0\.0:"):
        refuse_others(Systemd("public"), [inner, outer])

    assert reaches(inner)
    assert reaches(outer)
