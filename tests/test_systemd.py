"""systemd's two protocols, spoken with the real things: sockets, descriptors, processes."""

import fcntl
import os
import secrets
import shutil
import socket
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path
from subprocess import PIPE

import pytest

from gateway.systemd import FIRST_FD, Notifier, inherited_sockets, watchdog_interval


ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "systemd" / "headgate.toml"
PATIENCE = 10  # seconds that another process may take; reached only when a test fails


# Messages to the manager.


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    """A socket that receives like systemd's, and the name it has in NOTIFY_SOCKET."""
    # Abstract names are shared by the whole machine, so they must not be guessable.
    name = str(tmp_path / "notify") if request.param == "path" else f"@{secrets.token_hex(16)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0{name[1:]}" if name.startswith("@") else name)
        sock.settimeout(PATIENCE)
        yield sock, name


MESSAGES = {
    "ready": (lambda n: n.ready("listening"), b"READY=1\nSTATUS=listening"),
    "status": (lambda n: n.status("12 streams"), b"STATUS=12 streams"),
    "reloading": (
        lambda n: n.reloading(12.5, "reading"),
        b"RELOADING=1\nMONOTONIC_USEC=12500000\nSTATUS=reading",
    ),
    "stopping": (lambda n: n.stopping("draining"), b"STOPPING=1\nSTATUS=draining"),
    "alive": (lambda n: n.alive(), b"WATCHDOG=1"),
    "a line break cannot begin another variable": (
        lambda n: n.status("a\nSTOPPING=1\r\nb"),
        b"STATUS=a STOPPING=1 b",
    ),
}


@pytest.mark.parametrize(("say", "heard"), MESSAGES.values(), ids=MESSAGES.keys())
def test_the_manager_hears_one_datagram_per_message(manager, say, heard):
    sock, name = manager
    with closing(Notifier({"NOTIFY_SOCKET": name})) as notifier:
        say(notifier)
    assert sock.recv(4096) == heard


def test_a_child_process_is_not_offered_the_manager(manager):
    environ = {"NOTIFY_SOCKET": manager[1], "HOME": "/"}
    with closing(Notifier(environ)):
        assert environ == {"HOME": "/"}


SILENT = {
    "no manager": {},
    "an empty name": {"NOTIFY_SOCKET": ""},
    "nobody listens": {"NOTIFY_SOCKET": "/nonexistent/notify"},
    "nobody listens on the abstract name": {"NOTIFY_SOCKET": "@" + "headgate-nobody"},
    "a name longer than a socket's may be": {"NOTIFY_SOCKET": "/" + "n" * 200},
    "a kind of socket we do not speak": {"NOTIFY_SOCKET": "vsock:2:1234"},
}


@pytest.mark.parametrize("environ", SILENT.values(), ids=SILENT.keys())
def test_a_manager_that_cannot_be_reached_never_fails_the_service(environ):
    with closing(Notifier(dict(environ))) as notifier:
        for say, _ in MESSAGES.values():
            say(notifier)
    notifier.close()  # a second time


def test_a_manager_that_does_not_read_holds_us_up_for_a_moment_only(manager):
    """More messages are sent than any queue holds; each would else wait for ever."""
    sock, name = manager
    with closing(Notifier({"NOTIFY_SOCKET": name})) as notifier:
        notifier._socket.settimeout(0)  # the moment, shortened
        for _ in range(10_000):
            notifier.alive()
    assert sock.recv(4096) == b"WATCHDOG=1"


# The watchdog.

US = str(os.getpid())
WATCHDOGS = {
    "not asked for": ({}, None),
    "asked of this process": ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": US}, 15.0),
    "asked of whoever it is": ({"WATCHDOG_USEC": "500000"}, 0.25),
    "asked of another process": ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
    "switched off": ({"WATCHDOG_USEC": "0"}, None),
    "not a number": ({"WATCHDOG_USEC": "30s"}, None),
}


@pytest.mark.parametrize(("environ", "interval"), WATCHDOGS.values(), ids=WATCHDOGS.keys())
def test_half_of_the_watchdog_time_passes_between_signs_of_life(environ, interval):
    environ = {**environ, "HOME": "/"}
    assert watchdog_interval(environ) == interval
    assert environ == {"HOME": "/"}


# Inherited sockets.

FOREIGN = {
    "started by hand": {},
    "meant for our parent": {"LISTEN_PID": "1", "LISTEN_FDS": "2"},
    "no process is named": {"LISTEN_FDS": "2"},
    "no number": {"LISTEN_PID": US, "LISTEN_FDS": "-1"},
    "none": {"LISTEN_PID": US, "LISTEN_FDS": "0", "LISTEN_FDNAMES": ""},
}


@pytest.mark.parametrize("environ", FOREIGN.values(), ids=FOREIGN.keys())
def test_sockets_that_are_not_ours_are_not_taken(environ):
    environ = {**environ, "HOME": "/"}
    assert inherited_sockets(environ) == {}
    assert environ == {"HOME": "/"}


# Run in a process of its own, where descriptors from 3 on can be what a test wants.
CHILD = """
import os, sys
from gateway.errors import BindError
from gateway.systemd import inherited_sockets

if fds := [int(fd) for fd in sys.argv[2:]]:
    for target, fd in enumerate(fds, 3):
        os.dup2(fd, target)
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)))
    os.environ.update(LISTEN_FDNAMES=sys.argv[1])
try:
    found = inherited_sockets()
except BindError as error:
    sys.exit(error.message)
for name, sockets in found.items():
    print(name, *(sock.getsockname() for sock in sockets))
    assert not any(sock.get_inheritable() or sock.getblocking() for sock in sockets)
assert not any(name.startswith("LISTEN_") for name in os.environ)
"""


def listener():
    return socket.create_server(("127.0.0.1", 0))


def adopt(names, *files):
    """Start a child that inherits `files` from descriptor 3 on; return what it said."""
    # Above the places that the child moves them to, so that none covers another.
    fds = [fcntl.fcntl(file, fcntl.F_DUPFD, 100) for file in files]
    command = [sys.executable, "-c", CHILD, names, *map(str, fds)]
    try:
        return subprocess.run(
            command, pass_fds=fds, capture_output=True, text=True, timeout=PATIENCE
        )
    finally:
        for fd in fds:
            os.close(fd)


NAMES = {
    "each its own": ("public:admin:public", [("public", (0, 2)), ("admin", (1,))]),
    "none given": ("", [("unknown", (0, 1, 2))]),
    "too few": ("public:admin", [("unknown", (0, 1, 2))]),
}


@pytest.mark.parametrize(("names", "expected"), NAMES.values(), ids=NAMES.keys())
def test_inherited_sockets_are_found_by_name(names, expected):
    with listener() as first, listener() as second, listener() as third:
        addresses = [str(sock.getsockname()) for sock in (first, second, third)]
        child = adopt(names, first, second, third)
    lines = [" ".join([name, *(addresses[i] for i in fds)]) for name, fds in expected]
    assert (child.stdout.splitlines(), child.stderr) == (lines, "")


def test_what_is_no_listening_socket_is_refused_by_name(tmp_path):
    with open(tmp_path / "file", "w") as file, socket.socket() as idle:
        datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with datagram:
            said = [adopt("public", file).stderr for file in (file, idle, datagram)]
    assert said == [
        f"systemd:public (descriptor {FIRST_FD}): Socket operation on non-socket\n",
        f"systemd:public (descriptor {FIRST_FD}) is not a listening stream socket\n",
        f"systemd:public (descriptor {FIRST_FD}) is not a listening stream socket\n",
    ]


# The whole, as the units beside systemd/README.md run it.

needs_systemd = pytest.mark.skipif(
    not shutil.which("systemd-socket-activate"), reason="needs Debian's systemd"
)


@contextmanager
def activated(command, sockets, environ):
    """Have systemd open `sockets` by name and start `command` at the first connection."""
    options = [f"--listen={path}" for path in sockets.values()]
    options += [f"--setenv={name}={value}" for name, value in environ.items()]
    options.append(f"--fdname={':'.join(sockets)}")
    with subprocess.Popen(
        ["systemd-socket-activate", *options, *command], stdout=PIPE, stderr=PIPE, text=True
    ) as process:
        try:
            for _ in sockets:
                assert "Listening on" in process.stderr.readline()
            yield process
        finally:
            process.kill()


def connect(path):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(PATIENCE)
    client.connect(path)
    return client


@needs_systemd
def test_systemd_hands_its_sockets_over(tmp_path):
    path = str(tmp_path / "public.sock")
    command = [sys.executable, "-c", CHILD]
    with activated(command, {"public": path}, {}) as process, connect(path):
        output, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output) == (0, f"public {path}\n")


REQUEST = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture
def config(tmp_path):
    """The example beside the units, but no name server is asked in a test."""
    (tmp_path / "openai_api_key").write_text("sk-canary\n")
    path = tmp_path / "headgate.toml"
    path.write_text(EXAMPLE.read_text().replace("https://api.openai.com", "http://127.0.0.1:9"))
    return path


def serve(config, name):
    """Return the command that serves, and what systemd adds to its environment."""
    environ = {
        **{"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "20000000"},
        **{"CREDENTIALS_DIRECTORY": str(config.parent), "PYTHONPATH": str(ROOT)},
    }
    return [sys.executable, "-m", "gateway", "serve", "--config", str(config)], environ


def heard(sock):
    """Return the first line of the next message but the signs of life."""
    while (line := sock.recv(4096).split(b"\n")[0]) == b"WATCHDOG=1":
        pass
    return line


@needs_systemd
def test_the_service_takes_its_sockets_and_says_how_it_is(tmp_path, manager, config):
    sock, name = manager
    command, environ = serve(config, name)
    sockets = {"public": str(tmp_path / "public.sock"), "admin": str(tmp_path / "admin.sock")}
    with activated(command, sockets, environ) as process:
        with connect(sockets["public"]) as client:  # queued until the service is there
            client.sendall(REQUEST)
            answer = client.makefile("rb").read()
        said = [sock.recv(4096).split(b"\n")[0] for _ in range(2)]
        process.terminate()
        output, errors = process.communicate(timeout=PATIENCE)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert [*said, heard(sock)] == [b"WATCHDOG=1", b"READY=1", b"STOPPING=1"]
    assert process.returncode == 0, errors
    assert "sk-canary" not in output + errors


# Puts descriptors where systemd puts them and becomes the command.
LAUNCH = """
import os, sys
fds, command = sys.argv[1].split(","), sys.argv[2:]
for target, fd in enumerate(fds, 3):
    os.dup2(int(fd), target)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)))
os.execv(command[0], command)
"""


@contextmanager
def launched(command, files, environ):
    """Run `command` with `files` as systemd would, until it is terminated."""
    fds = [fcntl.fcntl(file, fcntl.F_DUPFD, 100) for file in files]
    launch = [sys.executable, "-c", LAUNCH, ",".join(map(str, fds)), *command]
    with subprocess.Popen(
        launch, pass_fds=fds, env={**os.environ, **environ}, stdout=subprocess.DEVNULL
    ) as process:
        for fd in fds:
            os.close(fd)
        try:
            yield
            process.terminate()
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


def test_an_open_socket_and_no_key_is_status_78(config):
    command, environ = serve(config, "")
    environ["LISTEN_FDNAMES"] = "public:admin"
    with socket.create_server(("0.0.0.0", 0)) as public, listener() as admin:
        fds = [fcntl.fcntl(file, fcntl.F_DUPFD, 100) for file in (public, admin)]
        launch = [sys.executable, "-c", LAUNCH, ",".join(map(str, fds)), *command]
        done = subprocess.run(
            launch,
            pass_fds=fds,
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        for fd in fds:
            os.close(fd)

    assert done.returncode == 78
    said = f"{command[-1]}: [server] listen: systemd:public is 0.0.0.0:"
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


def test_a_restart_refuses_no_connection(manager, config):
    """Systemd keeps the sockets: what comes between two processes waits for the second."""
    sock, name = manager
    command, environ = serve(config, name)
    environ["LISTEN_FDNAMES"] = "public:admin"
    with listener() as public, listener() as admin:
        with launched(command, (public, admin), environ):
            assert heard(sock) == b"READY=1"
        assert heard(sock) == b"STOPPING=1"
        with socket.create_connection(public.getsockname(), timeout=PATIENCE) as client:
            client.sendall(REQUEST)
            with launched(command, (public, admin), environ):
                assert client.makefile("rb").read().startswith(b"HTTP/1.1 200 ")
                assert heard(sock) == b"READY=1"
