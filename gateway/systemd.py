"""What systemd gives a service and wants to hear from it, without a library.

Two small protocols, both by environment variable: sockets that were opened for us
(sd_listen_fds(3)) and messages about our state (sd_notify(3), sd_watchdog_enabled(3)).
What is read is taken out of `environ`, so that no child process mistakes it for its own:
ask once, early.
"""

import contextlib
import os
import socket
from collections.abc import MutableMapping

from gateway.errors import BindError


FIRST_FD = 3  # SD_LISTEN_FDS_START: the sockets follow stdin, stdout and stderr

# How long one message may hold up the event loop while systemd does not read.  Its queue
# is long: one that is full for this long means that the manager itself hangs.
SEND_PATIENCE = 0.2  # seconds


def inherited_sockets(
    environ: MutableMapping[str, str] = os.environ,
) -> dict[str, list[socket.socket]]:
    """
    Return the listening sockets systemd opened for this process, by name.

    A name is the `FileDescriptorName=` of the socket unit and may stand for several
    sockets, in the order of the unit's `ListenStream=` lines.  Empty when started
    otherwise.  The sockets do not block and are closed by exec.

    Raises:
        BindError: a descriptor is not a listening stream socket.
    """
    pid = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "")
    # Variables that a parent forgot to remove are meant for the parent.
    if pid != str(os.getpid()) or not count.isdecimal():
        return {}
    fds = range(FIRST_FD, FIRST_FD + int(count))
    found: dict[str, list[socket.socket]] = {}
    for fd, name in zip(fds, _names(names, len(fds)), strict=True):
        found.setdefault(name, []).append(_adopt(fd, name))
    return found


def _names(names: str, count: int) -> list[str]:
    given = names.split(":") if names else []
    return given if len(given) == count else ["unknown"] * count  # as sd_listen_fds says


def _adopt(fd: int, name: str) -> socket.socket:
    try:
        os.set_inheritable(fd, False)
        sock = socket.socket(fileno=fd)
        listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise BindError(f"systemd:{name} (descriptor {fd}): {error.strerror}") from error
    if sock.type is not socket.SOCK_STREAM or not listening:
        sock.detach()  # not ours to close
        raise BindError(f"systemd:{name} (descriptor {fd}) is not a listening stream socket")
    sock.setblocking(False)
    return sock


def watchdog_interval(environ: MutableMapping[str, str] = os.environ) -> float | None:
    """
    Return the seconds from one `Notifier.alive()` to the next, or None if none are wanted.

    It is half of `WatchdogSec=`, as sd_watchdog_enabled(3) recommends.
    """
    limit = environ.pop("WATCHDOG_USEC", "")
    pid = environ.pop("WATCHDOG_PID", str(os.getpid()))
    if pid != str(os.getpid()) or not limit.isdecimal() or int(limit) == 0:
        return None
    return int(limit) / 1e6 / 2


class Notifier:
    """
    Tell systemd what state the service is in.

    Without NOTIFY_SOCKET every method does nothing.  None raises: a service must not fall
    because its manager does not listen.  A message may take SEND_PATIENCE seconds.
    """

    __slots__ = ("_address", "_socket")

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        path = environ.pop("NOTIFY_SOCKET", "")
        # A leading @ stands for the NUL byte of Linux' abstract socket names.
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        self._socket: socket.socket | None = None
        if path.startswith(("/", "@")):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.settimeout(SEND_PATIENCE)

    def ready(self, status: str) -> None:
        """Say that requests are served now, or again after `reloading`."""
        self._send("READY=1", _status(status))

    def status(self, status: str) -> None:
        """Say in one line, for `systemctl status`, what the service is doing."""
        self._send(_status(status))

    def reloading(self, now: float, status: str) -> None:
        """Say that the configuration is being read again; `now` is of CLOCK_MONOTONIC."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={int(now * 1e6)}", _status(status))

    def stopping(self, status: str) -> None:
        """Say that the service has begun to end, by its own will or on request."""
        self._send("STOPPING=1", _status(status))

    def alive(self) -> None:
        """Say that the event loop still turns; see `watchdog_interval`."""
        self._send("WATCHDOG=1")

    def close(self) -> None:
        """Send nothing any more.  May be called twice."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str) -> None:
        if self._socket is None:
            return
        # A lost READY or WATCHDOG shows in systemd's own journal, as its timeout.
        with contextlib.suppress(OSError):
            self._socket.sendto("\n".join(lines).encode(), self._address)


def _status(text: str) -> str:
    return "STATUS=" + " ".join(text.split())  # a line break would begin another variable
