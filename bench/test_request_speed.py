"""What Python does for a request, without the kernel: heads, and the whole path with fakes."""

import asyncio
import os
from collections.abc import Callable, Iterator
from typing import Any

import h11
import orjson
import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from gateway.config import parse
from gateway.guard import read_request, read_response
from gateway.http1 import HttpConnection
from gateway.logs import Log
from gateway.server import Server
from gateway.systemd import Notifier
from gateway.upstream import UpstreamConnection


CONFIG = """
[upstreams.fake]
base_url = "http://127.0.0.1:9/v1"
keys = ["key"]

[models."*"]
targets = [{ upstream = "fake" }]
"""

EVENTS = 20


def request(*, stream: bool) -> bytes:
    body = orjson.dumps(
        {"model": "m", "stream": stream, "messages": [{"role": "user", "content": "hello"}]}
    )
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n"
        b"Authorization: Bearer bench\r\nContent-Type: application/json\r\n"
        b"Accept: application/json\r\nUser-Agent: bench\r\nX-Stainless-Retry-Count: 0\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    ) + body


def head_of(message: bytes) -> bytes:
    return message[: message.index(b"\r\n\r\n") + 4]


WHOLE = orjson.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hello " * 100},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 100, "total_tokens": 101},
    }
)
FIELDS = b"server: fake\r\nx-request-id: req_1\r\nopenai-version: 2020-10-01\r\n"
ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n"
    % (FIELDS, len(WHOLE))
) + WHOLE


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(delta: str, finish: str) -> bytes:
    text = (
        '{"id":"chatcmpl-mock00000001","object":"chat.completion.chunk","created":1795236070,'
        '"model":"demo","system_fingerprint":"fp_mock","choices":[{"index":0,"delta":'
        f'{delta},"logprobs":null,"finish_reason":{finish}}}],"usage":null}}'
    )
    return chunk(f"data: {text}\n\n".encode())


TOKEN = event('{"content":" token"}', "null")
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n%btransfer-encoding: chunked\r\n\r\n"
    % FIELDS
)
STREAM = [
    STREAM_HEAD + TOKEN,
    *[TOKEN] * (EVENTS - 2),
    event("{}", '"stop"'),
    chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n",
]


class FakeTransport:
    """Gives what is written to `taker`; there is no socket."""

    def __init__(self, taker: Callable[[bytes], None]) -> None:
        self.write = taker

    def set_write_buffer_limits(self, *, high: int, low: int) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str) -> tuple[str, int] | None:
        return ("127.0.0.1", 1) if name == "peername" else None

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        pass

    close = abort


def connected(loop: asyncio.AbstractEventLoop, answer: list[bytes]) -> UpstreamConnection:
    """Return a connection to a provider that answers at once, in these parts."""
    upstream = UpstreamConnection(loop, lambda connection: None)

    def answer_all(wire: bytes) -> None:
        for part in answer:
            loop.call_soon(upstream.data_received, part)

    upstream.connection_made(FakeTransport(answer_all))  # type: ignore[arg-type]
    return upstream


class Bench:
    """The real server between a fake client and a fake provider that answers at once."""

    def __init__(self, answer: list[bytes], last: bytes) -> None:
        self._last = last  # how the client knows that its answer is complete
        self.loop = asyncio.get_running_loop()
        self._null = os.open(os.devnull, os.O_WRONLY)
        self._log = Log(self._null, "json")
        self.server = Server(
            parse(CONFIG, name="bench", env={}),
            log=self._log,
            loop=self.loop,
            notifier=Notifier({}),
            watchdog=None,
            inherited={},
        )
        self.server.providers["fake"].pool.idle.append(connected(self.loop, answer))
        self.client = HttpConnection(self.server.public.host, self.loop)
        self.client.connection_made(FakeTransport(self._answered))  # type: ignore[arg-type]
        self._done = self.loop.create_future()

    async def ask(self, wire: bytes) -> None:
        self._done = self.loop.create_future()
        self.client.data_received(wire)
        await self._done

    def _answered(self, data: bytes) -> None:
        if data.endswith(self._last):
            self._done.set_result(None)

    def close(self) -> None:
        self.server.close()
        self._log.close()
        os.close(self._null)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as running:
        yield running


REQUESTS = 100  # in one round, so that starting the loop does not count


@pytest.mark.parametrize("kind", ["whole", "stream"])
def test_the_whole_path_of_a_request(
    benchmark: BenchmarkFixture, runner: asyncio.Runner, kind: str
) -> None:
    """Divide by REQUESTS; a stream has EVENTS events."""
    stream = kind == "stream"
    wire = request(stream=stream)
    last = b"0\r\n\r\n" if stream else WHOLE[-20:]

    async def make() -> Bench:
        return Bench(STREAM if stream else [ANSWER], last)

    bench = runner.run(make())

    async def ask_all() -> None:
        for _ in range(REQUESTS):
            await bench.ask(wire)

    def one_round() -> Any:
        return runner.run(ask_all())

    benchmark(one_round)
    runner.run(_closed(bench))


async def _closed(bench: Bench) -> None:
    bench.close()


def test_h11_alone_reads_a_head(benchmark: BenchmarkFixture) -> None:
    raw = head_of(request(stream=True))

    def read() -> object:
        connection = h11.Connection(our_role=h11.SERVER)
        connection.receive_data(raw)
        return connection.next_event()

    assert isinstance(benchmark(read), h11.Request)


def test_the_guard_reads_a_request_head(benchmark: BenchmarkFixture) -> None:
    raw = head_of(request(stream=True))
    assert benchmark(lambda: read_request(raw)).method == "POST"


def test_the_guard_reads_a_response_head(benchmark: BenchmarkFixture) -> None:
    raw = head_of(ANSWER)
    assert benchmark(lambda: read_response(raw, method="POST")).status == 200
