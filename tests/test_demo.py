"""`headgate demo`: what it prints works when it is pasted."""

import re
import shlex
import signal
import socket
import subprocess
import sys
import textwrap
from contextlib import ExitStack

import pytest

from gateway.demo import ADMIN_PORT, HOST, MOCK_PORT, PORT, free_port
from tests.program import PATIENCE, Program


READY = "Each request is logged here:"


def between(text: str, begin: str, end: str) -> str:
    """Return the indented block of the welcome between two of its lines."""
    return textwrap.dedent(text.partition(begin)[2].partition(end)[0]).strip()


def welcome(text: str) -> str:
    return text[text.index("Headgate is at") :]


def test_what_the_demo_prints_works_as_pasted():
    with Program("demo") as demo:
        text = welcome(demo.read_until(READY))
        command = between(text, "With curl:", "With the OpenAI SDK")
        snippet = between(text, "(pip install openai):", READY)
        metrics = re.search(r"Metrics: (\S+)", text)[1]

        curl = pasted(["sh", "-c", command])
        python = pasted([sys.executable, "-c", snippet])
        scrape = pasted(["curl", "-sf", metrics])
        demo.signal(signal.SIGINT)
        status, err = demo.end()

    assert shlex.split(command)[0] == "curl"
    assert curl.endswith("data: [DONE]\n\n")
    assert len(python.split()) > 5
    assert 'headgate_streams_ended_total{reason="finished"} 2.0' in scrape
    assert (status, err) == (0, "")
    log = "".join(demo.lines).partition(READY)[2]
    assert log.count(" 200 POST /v1/chat/completions") == 2, "each request was logged"


def pasted(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_other_ports_are_taken_when_the_usual_ones_are_not_free():
    with ExitStack() as stack:
        for port in (PORT, ADMIN_PORT, MOCK_PORT):
            try:
                stack.enter_context(socket.create_server((HOST, port)))
            except OSError:
                continue  # somebody has it already, which does as well
        demo = stack.enter_context(Program("demo"))
        text = welcome(demo.read_until(READY))
        demo.signal(signal.SIGINT)
        status, _ = demo.end()

    ports = {int(port) for port in re.findall(rf"http://{HOST}:(\d+)", text)}
    assert status == 0
    assert len(ports) == 3
    assert not ports & {PORT, ADMIN_PORT, MOCK_PORT}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_demo_under_a_live_stream(number):
    body = '{"model":"demo","stream":true,"mock":{"fault":"stall-mid","at":1}}'
    with Program("demo") as demo:
        url = re.search(r"Headgate is at (\S+),", demo.read_until(READY))[1]
        command = ["curl", "-sN", f"{url}/v1/chat/completions", "-d", body]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as curl:
            curl.stdout.readline()
            demo.signal(number)
            rest, _ = curl.communicate(timeout=PATIENCE)
        status, err = demo.end()

    assert "stream_interrupted" in rest
    assert (curl.returncode, status, err) == (0, 0, "")


def test_a_port_is_free_or_left_to_the_system():
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        assert free_port(port) == 0
    assert free_port(port) == port
