"""The gateway before the mock provider, both on real sockets, in the test's own loop."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType

import orjson

from gateway.config import parse
from gateway.logs import Log
from gateway.mock import MockProvider, Options
from gateway.server import Server
from gateway.systemd import Notifier


CONFIG = """
[server]
listen = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
drain = "{drain}"

[upstreams.mock]
base_url = "{url}/v1"
keys = ["sk-upstream-canary"]
{upstream}

[models.alias]
targets = [{{ upstream = "mock", model = "real-name" }}]
retry.attempts = 1

[models."*"]
targets = [{{ upstream = "mock" }}]
retry.attempts = 1
"""

# Two callers, and how each says who it is.
KEYS = """
[[keys]]
key = "sk-alice-0123456789"
subject = "alice"
[[keys]]
key = "sk-bob-0123456789abc"
subject = "bob"
"""
ALICE = {"authorization": "Bearer sk-alice-0123456789"}
BOB = {"authorization": "Bearer sk-bob-0123456789abc"}

PAIR = """
[upstreams.backup]
base_url = "{url}/v1"
keys = ["sk-backup-canary"]

[models.pair]
targets = [{{ upstream = "mock" }}, {{ upstream = "backup", model = "its-name", priority = 2 }}]
{model}
"""


def pair(url: str, model: str = "") -> str:
    """Return tables with a second upstream, and a model `pair` that falls back on it."""
    return PAIR.format(url=url, model=model)


class Stand:
    """`async with Stand() as stand`: a gateway at `stand.url`, its provider at `stand.mock`.

    At the end everything must be as at the beginning: no job, no stream, no connection
    of the pool in use.
    """

    def __init__(
        self,
        defaults: Options = Options(),  # noqa: B008 - it is frozen
        *,
        upstream: str = "",
        model: str = "",
        more: str = "",
        drain: str = "1s",
        url: str | None = None,
        ssl: object = None,
    ) -> None:
        self.mock = MockProvider(defaults)
        self.url = ""
        self.port = 0
        self.admin_url = ""
        self.log_lines: list[dict[str, object]] = []
        self._upstream = upstream  # more lines of [upstreams.mock]
        self._model = model  # more lines of [models."*"]
        self._more = more  # more tables
        self._drain = drain
        self._provider_url = url  # another provider than the mock
        self._ssl = ssl

    async def __aenter__(self) -> "Stand":
        await self.mock.start(ssl=self._ssl)
        url = self._provider_url or self.mock.url.replace("https://127.0.0.1", "https://localhost")
        text = CONFIG.format(url=url, drain=self._drain, upstream=self._upstream)
        text += self._model + "\n" + self._more
        self._read_fd, write_fd = os.pipe()
        self._write_fd = write_fd
        self._log = Log(write_fd, "json")
        self.server = Server(
            parse(text, name="test.toml", env={}),
            log=self._log,
            loop=asyncio.get_running_loop(),
            notifier=Notifier({}),
            watchdog=None,
            inherited={},
        )
        await self.server.start()
        self.url = "http://" + self.server.public.addresses[0]
        self.port = int(self.url.rpartition(":")[2])
        self.admin_url = "http://" + self.server.admin.addresses[0]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        desk = self.server.desk
        for job in desk.jobs:
            job.shut_down()
        await desk.jobs.empty()
        self.server.close()
        await asyncio.sleep(0)
        self.server.close()  # for a client that was let in just before it, and has come only now
        await self.mock.close()
        await self.server.public.host.connections.empty()
        self._log.close()
        os.close(self._write_fd)
        self.log_lines = read_lines(self._read_fd)
        if error is None:
            assert not [line for line in self.log_lines if line["msg"] == "crash"], self.log_lines
            assert len(desk.hub) == 0
            for provider in self.server.providers.values():
                assert provider.pool.active == 0, provider.pool
                assert not provider.pool.waiters, provider.pool

    async def open(self) -> "Client":
        """Return a raw connection to the gateway."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        return Client(reader, writer)

    async def ask(
        self, *, headers: dict[str, str] | None = None, **mock: object
    ) -> "Client":
        """Return a client that has asked for a stream and read nothing of it yet."""
        client = await self.open()
        client.send("POST", "/v1/chat/completions", chat(**mock), headers)
        return client

    async def answer(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> "Answer":
        """Ask on a connection of its own; `a_b` is the field `a-b`."""
        client = await self.open()
        answer = await client.ask(method, path, body, **headers)
        await client.close()
        return answer

    async def chat(self, *, stream: bool = True, **mock: object) -> "Answer":
        """Ask for a chat completion on a connection of its own."""
        return await self.answer("POST", "/v1/chat/completions", chat(stream=stream, **mock))

    async def metrics(self) -> dict[str, float]:
        """Scrape: sample name with labels → value."""
        client = await Client.to(self.admin_url)
        answer = await client.ask("GET", "/metrics")
        await client.close()
        lines = answer.body.decode().splitlines()
        return {
            name: float(value)
            for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")
        }


def read_lines(fd: int) -> list[dict[str, object]]:
    """Read JSON lines to the end, and close."""
    with open(fd, "rb") as lines:
        return [orjson.loads(line) for line in lines]


@asynccontextmanager
async def serving(stand: Stand) -> AsyncIterator["asyncio.Task[None]"]:
    """Run a stand's server as `headgate serve` does; at the end it must have stopped."""
    run = asyncio.get_running_loop().create_task(stand.server.run())
    await asyncio.sleep(0)  # its signal handlers are in place
    try:
        yield run
    finally:
        stand.server.leave()
        stand.server.leave()
        await run


class Answer:
    """A response as it stood on the wire."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers  # names in lower case; the last of a name
        self.body = body

    @property
    def json(self) -> dict[str, object]:
        """The body as JSON."""
        return orjson.loads(self.body)

    @property
    def events(self) -> list[str]:
        """The data of the body's events, canonical framing only."""
        blocks = self.body.decode().split("\n\n")
        assert blocks.pop() == ""
        return [block.removeprefix("data: ") for block in blocks if block != ": ping"]

    @property
    def text(self) -> str:
        """The content of the body's chunks put together."""
        chunks = [orjson.loads(event) for event in self.events if event != "[DONE]"]
        choices = [choice for chunk in chunks for choice in chunk.get("choices", [])]
        return "".join(choice["delta"].get("content") or "" for choice in choices)


class Client:
    """A client that sees every byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, url: str) -> "Client":
        """Connect to `http://host:port`."""
        host, _, port = url.removeprefix("http://").rpartition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Write a request; a body that is not bytes is sent as JSON."""
        raw = b"" if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
        fields = {"host": "localhost", "content-length": str(len(raw)), **(headers or {})}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.writer.write(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + raw)

    async def head(self) -> tuple[int, dict[str, str]]:
        """Read a status line and the fields."""
        raw = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = raw.rstrip().split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
        originals = {line.split(": ", 1)[0].lower(): line.split(": ", 1)[1] for line in lines}
        return int(status.split()[1]), {**fields, **originals}

    async def chunk(self) -> bytes:
        """Read one chunk of a chunked body; b"" is the last."""
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        data = await self.reader.readexactly(size + 2)
        return data[:-2]

    async def answer(self) -> Answer:
        """Read a whole response.  Raises IncompleteReadError if it is cut."""
        status, headers = await self.head()
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while part := await self.chunk():
                body += part
        else:
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(status, headers, body)

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """Send a request and read its response; `a_b` is the field `a-b`."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        self.send(method, path, body, fields)
        return await self.answer()

    async def chat(self, *, stream: bool = True, **mock: object) -> Answer:
        """Ask for a chat completion; the options are the mock provider's."""
        return await self.ask("POST", "/v1/chat/completions", chat(stream=stream, **mock))

    async def close(self) -> None:
        """Close, and wait until it is."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


def chat(*, model: str = "m", stream: bool = True, **mock: object) -> dict[str, object]:
    """Return a chat request; the options are the mock provider's, `a_b` for `a-b`."""
    return {
        "model": model,
        "stream": stream,
        "messages": [{"role": "user", "content": "hello"}],
        "mock": {name.replace("_", "-"): value for name, value in mock.items()},
    }
