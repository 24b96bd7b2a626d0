"""The mock provider: what it tells a test, the command, and the page."""

import argparse
import ast
import asyncio
import pathlib
import signal
import socket
import subprocess
import sys

import orjson
import pytest

from gateway import mock as package
from gateway.mock import Exchange, MockProvider, Options, faults, words
from gateway.mock.journal import Journal
from gateway.mock.options import OPTIONS
from tests.mock_client import CHAT, ask, deltas, parsed, request_bytes


FOLDER = pathlib.Path(package.__file__).parent


# --- what it tells tests


def test_until_times_out_with_the_state(run):
    async def story():
        async with MockProvider() as mock:
            await ask(mock, "/healthz")
            with pytest.raises(TimeoutError, match="GET /healthz ended"):
                await mock.until(lambda: False, timeout=0.001)

    run(story())


def test_a_mistake_in_a_predicate_belongs_to_the_test(run):
    async def story():
        async with MockProvider() as mock:
            waiting = asyncio.ensure_future(
                mock.until(lambda: mock.requests[0] is None if mock.connections.open else False)
            )
            await asyncio.gather(ask(mock, "/healthz"), return_exceptions=True)
            with pytest.raises(IndexError):
                await waiting

    run(story())


def test_requests_are_recorded_whole(run):
    async def story():
        async with MockProvider() as mock:
            await ask(mock, headers={"X-Two": "a"}, mock={"tokens": 2})
            return mock.requests[0]

    exchange = run(story())
    assert (exchange.method, exchange.path, exchange.version) == ("POST", CHAT, "HTTP/1.1")
    assert exchange.headers["x-two"] == "a"
    assert exchange.json == orjson.loads(exchange.body) == {"mock": {"tokens": 2}}
    assert exchange.head.startswith(b"POST ")
    assert (exchange.tokens, exchange.ended, exchange.cancelled) == (2, True, False)
    assert exchange.received <= exchange.answered <= exchange.ended_at


def test_the_journal_is_bounded(monkeypatch):
    monkeypatch.setattr("gateway.mock.journal.MAX_KEPT", 3)
    monkeypatch.setattr("gateway.mock.journal.MAX_KEPT_BYTES", 10)
    journal = Journal()
    for body in (b"1", b"2", b"3", b"4", b"123456789"):
        exchange = Exchange(b"GET / HTTP/1.1")
        exchange.body = body
        journal.began(exchange)

    assert [exchange.body for exchange in journal.requests] == [b"4", b"123456789"]


def test_thousands_of_tokens_are_counted_once(run):
    async def story():
        async with MockProvider(Options(tokens=500)) as mock:
            got = await asyncio.gather(*(ask(mock, stream=True, n=i) for i in range(20)))
            assert all(deltas(parsed(received)[2]) == deltas_expected for received, _ in got)
            return mock.tokens_sent

    deltas_expected = list(words.tokens(Options(tokens=500)))
    assert run(story()) == 20 * 500


# --- the command, and the page


SCRIPT = """
import argparse, sys
from gateway import mock
parser = argparse.ArgumentParser()
mock.add_arguments(parser)
sys.exit(mock.main(parser.parse_args()))
"""


def command(*arguments):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_told_to_stop(number):
    with command("--listen", "127.0.0.1:0", "--first-delay", "1ms", "--tag", "cli-") as process:
        url = process.stdout.readline().split()[-1]
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as client:
            client.sendall(request_bytes(mock={"tokens": 2, "interval": 0}))
            received = client.recv(1 << 16)
        process.send_signal(number)
        _, complaints = process.communicate(timeout=10)

    assert b"cli-t0 cli-t1" in received
    assert (process.returncode, complaints) == (0, "")


def test_an_address_in_use_is_one_line_and_status_69():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with command("--listen", address) as process:
            _, complaints = process.communicate(timeout=10)

    assert process.returncode == 69
    assert complaints == f"headgate mock: cannot listen on {address}: Address already in use\n"


@pytest.mark.parametrize(
    "arguments",
    [["--tokens", "many"], ["--fault", "meteor"], ["--listen", "nowhere"], ["--listen", "a:99999"]],
)
def test_a_bad_argument_is_named(arguments, capsys):
    parser = argparse.ArgumentParser(prog="mock")
    package.add_arguments(parser)

    with pytest.raises(SystemExit):
        parser.parse_args(arguments)
    assert arguments[0] in capsys.readouterr().err


def test_the_page_has_every_option_and_every_fault():
    page = (FOLDER / "README.md").read_text()

    assert [name for name in [*OPTIONS, *faults.FAULTS] if f"`{name}`" not in page] == []


def test_it_imports_nothing_of_the_gateway():
    for file in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 1 or not (node.module or "").startswith("gateway"), file
            elif isinstance(node, ast.Import):
                assert not any(alias.name.startswith("gateway") for alias in node.names), file
