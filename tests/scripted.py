"""A provider that says, byte for byte, what a test has written down."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Literal


STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKED = STREAM + b"transfer-encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"
# One event with text, one with the finish reason, one that ends it all.
TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}\n\n'
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"

# How an answer in one piece begins.
DOCUMENT = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"

Step = bytes | asyncio.Event  # say this; wait for that


def chunk(data: bytes) -> bytes:
    """Return `data` as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def document(body: bytes, head: bytes = DOCUMENT) -> bytes:
    """Return an answer whose body is these bytes."""
    return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)


# What a good provider says: a stream, or a document.
ANSWER = b'{"choices":[],"usage":{}}'
GOOD = {True: CHUNKED + chunk(TEXT) + chunk(FINISH) + chunk(DONE) + LAST, False: document(ANSWER)}


class Never(asyncio.Event):
    """A step that nothing follows."""

    async def wait(self) -> Literal[True]:
        return await asyncio.get_running_loop().create_future()


NOTHING = Never()


@asynccontextmanager
async def deaf_port() -> AsyncIterator[int]:
    """A port whose backlog is full: the kernel answers no SYN."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        filling = [socket.socket() for _ in range(4)]
        for sock in filling:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
        yield port
        for sock in filling:
            sock.close()


class Scripted:
    """`async with Scripted(step, …) as provider`: every request gets these steps as its answer.

    The connection stays open behind them, unless `closes`.  With `then`, these are the steps
    of every request but the first.
    """

    def __init__(
        self, *steps: Step, closes: bool = False, then: tuple[Step, ...] | None = None
    ) -> None:
        self.url = ""
        self.connections = 0
        self.requests = 0
        self.asked = asyncio.Event()  # a request is here
        self.heads: list[bytes] = []  # of the requests
        self._steps = steps
        self._then = then
        self._closes = closes
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Scripted":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        with contextlib.suppress(ConnectionError, EOFError, asyncio.CancelledError):
            await self._talk(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await writer.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._request(reader)
        await self._answer(writer)
        while not self._closes:
            await self._request(reader)
            await self._answer(writer)

    async def _request(self, reader: asyncio.StreamReader) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        left = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        while left:  # and keep none of it
            left -= len(await reader.readexactly(min(left, 65536)))
        self.requests += 1
        self.heads.append(head)
        self.asked.set()

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        steps = self._steps if self._then is None or self.requests == 1 else self._then
        for step in steps:
            if isinstance(step, asyncio.Event):
                await step.wait()
            else:
                writer.write(step)
                await writer.drain()
