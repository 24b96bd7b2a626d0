"""The command: what it prints, and its exit status, as processes of their own."""

import http.client
import os
import re
import signal
import socket
import subprocess
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from gateway import __version__
from gateway.cli import EX_CONFIG, EX_PIPE, EX_UNAVAILABLE
from tests.program import COMMAND, PATIENCE, ROOT, Program, environment, run


CONFIG = """
[server]
listen = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
drain = "30s"

[upstreams.mock]
base_url = "{url}/v1"
keys = ["${{TEST_KEY:-sk-canary}}"]

[models."*"]
targets = [{{ upstream = "mock" }}]
"""


@pytest.fixture
def config(tmp_path):
    def write(upstream: str = "http://127.0.0.1:1", **changes: tuple[str, str]) -> str:
        text = CONFIG.format(url=upstream)
        for old, new in changes.values():
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "headgate.toml"
        path.write_text(text)
        return str(path)

    return write


# Arguments, exit status, the beginning of standard output, a part of standard error.
USAGE = {
    "version": (("version",), 0, f"headgate {__version__}\n", ""),
    "help": (("--help",), 0, "usage: headgate", ""),
    "nothing": ((), 2, "", "required: COMMAND"),
    "an unknown command": (("fly",), 2, "", "invalid choice: 'fly'"),
    "serve without a file": (("serve",), 2, "", "required: --config"),
    "check without a file": (("check",), 2, "", "required: FILE"),
    "a format of no log": (("serve", "--config", "x", "--log-format", "xml"), 2, "", "'xml'"),
    "an option of no command": (("version", "--loud"), 2, "", "--loud"),
    "a mock of no address": (("mock", "--listen", "nowhere"), 2, "", "expected HOST:PORT"),
}


@pytest.mark.parametrize(("arguments", "status", "out", "err"), USAGE.values(), ids=USAGE.keys())
def test_usage(arguments, status, out, err):
    done = run(*arguments)
    assert done.returncode == status
    assert done.stdout.startswith(out)
    assert err in done.stderr
    assert bool(done.stderr) is bool(err)
    assert "Traceback" not in done.stderr


# Arguments of commands that print, and whether it is to standard error.
PRINTS = {
    "version": (("version",), False),
    "the option": (("--version",), False),
    "help": (("serve", "--help"), False),
    "a good file": (("check", "{file}"), False),
    "the mock's address": (("mock", "--listen", "127.0.0.1:0"), False),
    "the demo's welcome": (("demo",), False),
    "usage": (("fly",), True),
    "no file": (("serve", "--config", "{file}.none"), True),
}


def run_into(
    output: int, arguments: list[str], *, to_error: bool, buffered: bool
) -> subprocess.CompletedProcess[bytes]:
    """Run a command whose output, or what it says of errors, goes to a descriptor."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=ROOT,
        env=environment({} if buffered else {"PYTHONUNBUFFERED": "1"}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if to_error else output,
        stderr=output if to_error else subprocess.PIPE,
        timeout=PATIENCE,
    )


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize(("arguments", "to_error"), PRINTS.values(), ids=PRINTS.keys())
def test_a_command_that_nobody_reads_ends_without_a_word(arguments, to_error, buffered, config):
    told = [argument.format(file=config()) for argument in arguments]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = run_into(writing, told, to_error=to_error, buffered=buffered)
    finally:
        os.close(writing)

    assert done.returncode == EX_PIPE
    assert not done.stdout
    assert not done.stderr


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize(("arguments", "to_error"), PRINTS.values(), ids=PRINTS.keys())
def test_a_command_whose_output_has_no_room_says_so_and_fails(
    arguments, to_error, buffered, config
):
    told = [argument.format(file=config()) for argument in arguments]
    with open("/dev/full", "w") as full:
        done = run_into(full.fileno(), told, to_error=to_error, buffered=buffered)

    assert done.returncode == 1
    assert not done.stdout
    said = b"headgate: cannot write: No space left on device\n"
    assert done.stderr == (None if to_error else said)


def redirected(redirections: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a shell does that was told `redirections`."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirections}', "sh", *COMMAND, *arguments],
        cwd=ROOT,
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


@pytest.mark.parametrize("arguments", [("version",), ("mock",), ("demo",), ("check", "{file}")])
def test_a_command_without_an_output_says_so_and_fails(arguments, config):
    done = redirected(">&-", *(argument.format(file=config()) for argument in arguments))
    assert done.returncode == 1
    assert done.stderr.startswith("headgate: standard output is closed")
    assert done.stderr.count("\n") == 1
    assert redirected(">&- 2>&-", "version").returncode == 1


def test_what_is_for_standard_error_goes_nowhere_else_when_that_is_closed():
    done = redirected("2>&-", "serve", "--config", "/nonexistent/headgate.toml")
    assert (done.returncode, done.stdout) == (EX_CONFIG, "")


def test_no_socket_takes_the_place_of_a_closed_input(config):
    """libuv ends a process that closes such a one."""
    serve = ["serve", "--config", config()]
    with Program(*serve, shell='exec "$@" <&-') as program:
        served(program)
        program.signal(signal.SIGTERM)
        assert program.end() == (0, "")


def test_a_good_file_is_called_good(config):
    path = config()
    done = run("check", path)
    said = f"{path}: good (upstreams: 1, models: 1, keys: 0, channels: 0)\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")


def test_a_doubtful_file_is_good_with_a_warning(config):
    path = config(admin=('admin = "127.0.0.1:0"', 'admin = "0.0.0.0:0"'))
    done = run("check", path)
    assert done.returncode == 0
    warning = "[server] admin: other machines can reach it, and it asks for no key"
    assert done.stderr == f"{path}: {warning}\n"


# What is changed in a good file, and the one line that is said of it.
BAD = {
    "an unknown key": (
        ("base_url", "base_uri"),
        '[upstreams.mock] base_uri: unknown key; did you mean "base_url"?',
    ),
    "an unknown upstream": (
        ('upstream = "mock"', 'upstream = "mok"'),
        '[models."*"] targets[0].upstream: unknown upstream "mok"; did you mean "mock"?',
    ),
    "a variable that is not set": (
        ("${TEST_KEY:-sk-canary}", "${TEST_KEY}"),
        "[upstreams.mock] keys[0]: ",
    ),
    "later work": (("[server]", "[records]\n[server]"), "[records]: not yet supported"),
    "a listener that is open to others": (
        ('listen = ["127.0.0.1:0"]', 'listen = ["0.0.0.0:0"]'),
        "[server] listen[0]: other machines can reach it, and no caller needs a key; ",
    ),
    "no TOML": (("[server]", "[server"), "not TOML: "),
}


@pytest.mark.parametrize("command", [["check"], ["serve", "--config"]], ids=["check", "serve"])
@pytest.mark.parametrize(("change", "says"), BAD.values(), ids=BAD.keys())
def test_a_bad_file_is_one_line_and_status_78(config, change, says, command):
    path = config(change=change)
    done = run(*command, path)
    assert (done.returncode, done.stdout) == (EX_CONFIG, "")
    assert done.stderr.startswith(f"{path}: {says}")
    assert done.stderr.count("\n") == 1
    assert "canary" not in done.stderr


def test_a_file_that_is_not_there_is_status_78():
    done = run("serve", "--config", "/nonexistent/headgate.toml")
    said = "/nonexistent/headgate.toml: No such file or directory\n"
    assert (done.returncode, done.stderr) == (EX_CONFIG, said)


@pytest.mark.parametrize("command", [["check"], ["serve", "--config"]], ids=["check", "serve"])
def test_a_ca_file_without_certificates_is_status_78(config, tmp_path, command):
    (tmp_path / "ca.pem").write_text("not a certificate")
    lines = f'"https://127.0.0.1:1/v1"\nca_file = "{tmp_path}/ca.pem"'
    path = config(url=('"http://127.0.0.1:1/v1"', lines))
    done = run(*command, path)
    assert done.returncode == EX_CONFIG
    assert done.stderr.startswith(f"{path}: [upstreams.")
    assert f"ca_file: {tmp_path}/ca.pem" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("listener", ["listen", "admin"])
def test_an_address_that_is_taken_is_status_69(config, listener):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        old = 'listen = ["127.0.0.1:0"]' if listener == "listen" else 'admin = "127.0.0.1:0"'
        done = run("serve", "--config", config(address=(old, old.replace(":0", f":{port}"))))
    assert done.returncode == EX_UNAVAILABLE
    said = f"headgate: cannot listen on 127.0.0.1:{port}: Address already in use\n"
    assert done.stderr == said


def test_a_socket_that_systemd_did_not_give_is_status_69(config):
    done = run("serve", "--config", config(address=("127.0.0.1:0", "systemd:public")))
    assert done.returncode == EX_UNAVAILABLE
    assert done.stderr == "headgate: no inherited socket is named 'public' (there are: none)\n"


def test_a_package_that_was_not_built_says_how_to_build_it(config, tmp_path):
    """A copy of the package without its compiled module."""
    copy = tmp_path / "gateway"
    source = Path(__file__).parent.parent / "gateway"
    for file in source.rglob("*.py"):
        target = copy / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    # An editable install would find the compiled module for the copy too.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in f.__module__]\n"
    )
    environ = {"cwd": tmp_path, "PYTHONPATH": str(tmp_path)}

    assert run("version", **environ).returncode == 0
    done = run("serve", "--config", config(), **environ)
    assert done.returncode == 1
    assert done.stderr.startswith("headgate: gateway._sseparse is not built")
    assert done.stderr.count("\n") == 1


# Serving.


def served(program: Program) -> dict[str, int]:
    """Return the ports of a server that has started, by listener."""
    lines = [orjson.loads(line) for line in program.read_until('"started"').splitlines()]
    ports = {line["listener"]: line["address"] for line in lines if line["msg"] == "listening"}
    return {name: int(address.rpartition(":")[2]) for name, address in ports.items()}


def listening(mock: Program) -> str:
    return re.search(r"http://\S+", mock.read_until("mock provider on"))[0]


def test_sigterm_lets_a_live_stream_finish_and_the_status_is_0(config):
    body = orjson.dumps({"model": "m", "stream": True, "mock": {"tokens": 40, "interval": 10}})
    with Program("mock", "--listen", "127.0.0.1:0") as mock:
        with Program("serve", "--config", config(listening(mock))) as program:
            port = served(program)["public"]
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as client:
                client.request("POST", "/v1/chat/completions", body)
                answer = client.getresponse()
                first = answer.readline()
                program.signal(signal.SIGTERM)
                rest = answer.read()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))
            status, err = program.end()
        mock.signal(signal.SIGTERM)
        assert mock.end() == (0, "")

    assert first.startswith(b"data: {")
    assert rest.count(b"data: {") == 41
    assert rest.endswith(b"data: [DONE]\n\n")
    assert (status, err) == (0, "")
    messages = [orjson.loads(line)["msg"] for line in program.lines]
    assert messages == ["listening", "listening", "started", "draining", "request", "stopped"]
    assert orjson.loads(program.lines[-2])["end"] == "finished"


def test_a_second_signal_ends_a_live_stream_with_an_error_and_the_status_is_0(config):
    body = orjson.dumps({"model": "m", "stream": True, "mock": {"fault": "stall-mid"}})
    with (
        Program("mock", "--listen", "127.0.0.1:0", "--first-delay", "0") as mock,
        Program("serve", "--config", config(listening(mock))) as program,
    ):
        port = served(program)["public"]
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as client:
            client.request("POST", "/v1/chat/completions", body)
            answer = client.getresponse()
            answer.readline()
            program.signal(signal.SIGTERM)
            program.read_until('"draining"')
            program.signal(signal.SIGINT)
            rest = answer.read()
        status, err = program.end()

    assert b"stream_interrupted" in rest
    assert b"[DONE]" not in rest
    assert (status, err) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", ["serve", "demo"])
def test_a_signal_that_comes_after_the_end_changes_nothing_of_its_status(config, command, number):
    arguments = ("--config", config()) if command == "serve" else ()
    with Program(command, *arguments) as program:
        program.read_until("started")
        program.signal(number)
        program.read_until("stopped")
        program.signal(number)
        assert program.end() == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_ends_at_once(config, number):
    with Program("serve", "--config", config()) as program:
        served(program)
        program.signal(number)
        assert program.end() == (0, "")


def test_a_server_waits_for_no_larger_table_of_descriptors_while_it_serves(config):
    few = 'ulimit -n 1500; exec "$@"'
    with Program("serve", "--config", config(), shell=few) as program:
        pid = orjson.loads(program.read_until('"started"').splitlines()[-1])["pid"]
        status = Path(f"/proc/{pid}/status").read_text()

    size = re.search(r"FDSize:\s+(\d+)", status)
    assert size is not None
    assert int(size[1]) >= 1500


STREAM = orjson.dumps({"model": "m", "stream": True, "mock": {"tokens": 40, "interval": 10}})


@pytest.mark.parametrize("times", [1, 2])
def test_a_terminal_that_hangs_up_lets_a_live_stream_finish(config, times):
    """It may say so twice: once itself, once by its shell."""
    mine, theirs = os.openpty()
    terminal = f'exec "$@" <{os.ttyname(theirs)}'  # the first of a session to open it has it
    with (
        Program("mock", "--listen", "127.0.0.1:0") as mock,
        Program("serve", "--config", config(listening(mock)), shell=terminal) as program,
    ):
        port = served(program)["public"]
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as client:
            client.request("POST", "/v1/chat/completions", STREAM)
            answer = client.getresponse()
            answer.readline()
            for fd in (theirs, mine):
                os.close(fd)
            program.read_until('"draining"')
            for _ in range(times - 1):
                program.signal(signal.SIGHUP)
            rest = answer.read()
        status, err = program.end()

    assert rest.endswith(b"data: [DONE]\n\n")
    assert (status, err) == (0, "")


def test_a_service_goes_on_when_it_is_told_to_read_its_file_again(config):
    with Program("serve", "--config", config()) as program:
        port = served(program)["public"]
        program.signal(signal.SIGHUP)
        said = program.read_until("SIGHUP reads nothing anew")
        socket.create_connection(("127.0.0.1", port)).close()
        program.signal(signal.SIGTERM)
        assert program.end() == (0, "")
    assert orjson.loads(said.splitlines()[-1])["level"] == "warning"


def test_nohup_is_heeded(config):
    with Program("serve", "--config", config(), shell='trap "" HUP; exec "$@"') as program:
        served(program)
        program.signal(signal.SIGHUP)
        program.signal(signal.SIGTERM)
        assert program.end() == (0, "")
    assert "SIGHUP" not in "".join(program.lines)


def test_who_begins_more_than_there_are_descriptors_for_shuts_nobody_out(config):
    """One client may have many generations under way, with a connection to the provider each."""
    few = 'ulimit -n 150; exec "$@"'
    silent = orjson.dumps({"model": "m", "stream": True, "mock": {"fault": "stall-first"}})
    quick = ('keys = ["${', 'timeouts = { connect = "50ms" }\nkeys = ["${')
    with (
        Program("mock", "--listen", "127.0.0.1:0") as mock,
        Program("serve", "--config", config(listening(mock), quick=quick), shell=few) as program,
    ):
        port = served(program)["public"]
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as client:
            for _ in range(150):
                client.request("POST", "/v1/chat/completions", silent, {"prefer": "respond-async"})
                client.getresponse().read()
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as another:
            another.request("POST", "/v1/chat/completions", STREAM)
            answer = another.getresponse()
            said = answer.read()
        program.signal(signal.SIGTERM)
        status, err = program.end()

    lines = "".join(program.lines)
    assert (answer.status, orjson.loads(said)["error"]["code"]) == (503, "overloaded")
    assert "max_connections is more than open files allow" in lines
    assert "Too many open files" not in lines
    assert "left alone" not in lines, "it is not the upstream's fault"
    assert (status, err) == (0, "")


def test_the_log_format_of_the_command_line_goes_before_that_of_the_file(config):
    with Program("serve", "--config", config(), "--log-format", "text") as program:
        program.read_until("started")
        program.signal(signal.SIGTERM)
        assert program.end()[0] == 0
    assert all(re.match(r"\d\d:\d\d:\d\d\.\d{3}Z (info|warning) ", line) for line in program.lines)


def test_no_secret_is_ever_printed(config):
    with Program("serve", "--config", config(), TEST_KEY="sk-env-canary") as program:
        port = served(program)["public"]
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as client:
            headers = {"authorization": "Bearer sk-client-canary"}
            client.request("POST", "/v1/chat/completions?key=canary", b'{"model":"m"}', headers)
            answer = client.getresponse()
            said = answer.read()
        program.signal(signal.SIGTERM)
        _, err = program.end()
    assert answer.status == 502
    assert "canary" not in "".join(program.lines) + err + said.decode()


def test_a_reader_of_the_log_that_stopped_reading_does_not_stop_the_gateway(config):
    with Program("serve", "--config", config()) as program:
        port = served(program)["public"]
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as client:
            for _ in range(300):  # 100 KB and more of lines: over what a pipe holds
                client.request("GET", "/healthz" + "x" * 400)
                client.getresponse().read()
        program.signal(signal.SIGTERM)
        assert program.end() == (0, "")
