"""What is measured: starting it, pinning it to a core, reading what it costs."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from programs import PROVIDER


ROOT = Path(__file__).parent.parent
HEADGATE = [sys.executable, "-m", "gateway"]
START = 15.0  # seconds to answer connections; Python imports on a busy machine are the slowest
STOP = 5.0  # seconds to end after SIGTERM; nobody is connected any more

NGINX_CONF = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 10000; }}
http {{
    access_log off;
    tcp_nodelay on;
    keepalive_requests 1000000000;   # closing after the default 1000 would be measured too
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream mock {{
        server 127.0.0.1:{upstream};
        keepalive 4096;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://mock;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 3600s;
        }}
    }}
}}
"""

# Nothing is turned off: it is to cost here what it costs an operator.
HEADGATE_CONF = """
[server]
listen = ["127.0.0.1:{port}"]
admin = "127.0.0.1:{admin}"

[upstreams.mock]
dialect = "{dialect}"
base_url = "http://127.0.0.1:{upstream}/v1"
keys = ["k"]
max_connections = 10000

[models."*"]
targets = [{{ upstream = "mock" }}]
"""


class StartError(Exception):
    """A target cannot be started; the message says what to do."""


@dataclass(frozen=True)
class Target:
    """Something that answers on a port; `pid` is None where it is the upstream itself."""

    port: int
    pid: int | None
    core: int
    admin: int | None = None  # the port where it can be asked how it is

    def cpu_ns(self) -> int:
        """Return the CPU time its processes have used so far."""
        return sum(_cpu_ns(pid) for pid in self._pids())

    def core_busy_ns(self) -> int:
        """Return the time for which its core has worked so far, for whomever on this machine."""
        lines = Path("/proc/stat").read_text().splitlines()
        ticks = next(line.split()[1:] for line in lines if line.startswith(f"cpu{self.core} "))
        user, nice, system, _idle, _iowait, irq, softirq = map(int, ticks[:7])
        busy = user + nice + system + irq + softirq
        return busy * 10**9 // os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        """Return the memory its processes have in RAM."""
        page = os.sysconf("SC_PAGE_SIZE")
        statm = [Path(f"/proc/{pid}/statm").read_text() for pid in self._pids()]
        return sum(int(line.split()[1]) for line in statm) * page

    def figures(self, *series: str) -> dict[str, float]:
        """Return what its metrics say, by a name or one with the first of its labels: the sum."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        found = dict.fromkeys(series, 0.0)
        for line in lines:
            name, _, value = line.removeprefix("headgate_").rpartition(" ")
            for key in found:
                found[key] += float(value) if name.startswith(key) else 0.0
        return found

    def _pids(self) -> list[int]:
        return [] if self.pid is None else _family(self.pid)


def _cpu_ns(pid: int) -> int:
    # The clock that clock_getcpuclockid(3) names: all threads, living and ended, to the nanosecond.
    # The ticks in /proc/PID/stat are 10 ms, and schedstat there is of one thread.
    return time.clock_gettime_ns(~pid << 3 | 2)


def _family(pid: int) -> list[int]:
    """Return a process and its children, and theirs."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended since the listing
        parents[int(stat.parent.name)] = int(fields[1])
    family = [pid]
    for member in family:
        family += [child for child, parent in parents.items() if parent == member]
    return family


def cores() -> tuple[int, int, int]:
    """Return the cores of proxy, upstream and load generator; the last two may be one."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise StartError("two cores are needed: one for the proxy, one for what it talks to")
    return allowed[0], allowed[1], allowed[min(2, len(allowed) - 1)]


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Let the processes started meanwhile run on this core only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _process(command: list[str], port: int, core: int) -> Iterator[Target]:
    with tempfile.TemporaryFile("w+") as output, pinned(core):
        # A group of its own: Ctrl-C is for us, and we end the others in order.
        child = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            process_group=0,
        )
        try:
            if not _listens(child, port):
                output.seek(0)
                raise StartError(f"{' '.join(command)} did not start; it said:\n{output.read()}")
            yield Target(port, child.pid, core)
        finally:
            _end(child)


def _listens(child: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the child takes connections, or is gone, or took too long."""
    deadline = time.monotonic() + START
    while child.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.02)
    return False


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(STOP)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


@contextmanager
def provider(core: int) -> Iterator[Target]:
    """Run the upstream made for this bench."""
    port = free_port()
    with _process([str(PROVIDER.build()), str(port)], port, core) as upstream:
        yield upstream


@contextmanager
def mock(core: int) -> Iterator[Target]:
    """Run the mock provider that comes with the gateway."""
    port = free_port()
    # By default it takes its time, as providers do.
    command = [*HEADGATE, "mock", "--listen", f"127.0.0.1:{port}", "--first-delay", "0"]
    with _process(command, port, core) as upstream:
        yield upstream


@contextmanager
def direct(upstream: int, core: int) -> Iterator[Target]:
    """Put nothing between: what remains is the latency of upstream and load generator."""
    yield Target(upstream, None, core)


@contextmanager
def nginx(upstream: int, core: int) -> Iterator[Target]:
    """Run nginx as a plain proxy that passes every event on at once."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise StartError("no nginx: install it (Debian: apt install nginx-light)")
    with tempfile.TemporaryDirectory(prefix="headgate-bench-") as folder:
        port = free_port()
        conf = Path(folder) / "nginx.conf"
        conf.write_text(NGINX_CONF.format(folder=folder, port=port, upstream=upstream))
        command = [program, "-p", folder, "-c", str(conf), "-e", "stderr"]
        with _process(command, port, core) as target:
            yield target


@contextmanager
def headgate(
    upstream: int,
    core: int,
    *,
    more: str = "",
    program: Sequence[str] = HEADGATE,
    dialect: str = "openai",
) -> Iterator[Target]:
    """Run the gateway with one worker; `more` is further configuration."""
    with tempfile.TemporaryDirectory(prefix="headgate-bench-") as folder:
        port, admin = free_port(), free_port()
        conf = Path(folder) / "headgate.toml"
        text = HEADGATE_CONF.format(port=port, admin=admin, upstream=upstream, dialect=dialect)
        conf.write_text(text + more)
        command = [*program, "serve", "--config", str(conf)]
        with _process(command, port, core) as target:
            yield replace(target, admin=admin)


UPSTREAMS: dict[str, Callable[[int], AbstractContextManager[Target]]] = {
    "c": provider,
    "mock": mock,
}
TARGETS: dict[str, Callable[[int, int], AbstractContextManager[Target]]] = {
    "direct": direct,
    "nginx": nginx,
    "headgate": headgate,
    "translated": partial(headgate, dialect="anthropic"),  # what is asked in OpenAI's
}
