"""`python -m tests.ws_echo --port N`: a server that sends every WebSocket message back.

For test suites of the protocol, so its messages may be larger than the gateway's.  It
prints its address when it listens, and ends on SIGTERM and Ctrl-C.
"""

import argparse
import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import uvloop

from gateway.guard import RequestHead
from gateway.handshake import handshake
from gateway.host import Host, Request
from gateway.http1 import HttpConnection
from gateway.reply import Reply
from gateway.websocket import WebSocket


MESSAGE_LIMIT = 64 * 1024 * 1024


class Echo:
    """A session that repeats what it hears."""

    def __init__(self) -> None:
        self._socket: WebSocket | None = None

    def opened(self, socket: WebSocket) -> None:
        self._socket = socket

    def text(self, message: str) -> None:
        self._socket.send(message.encode())

    def binary(self, message: bytes) -> None:
        self._socket.send_binary(message)

    def writable(self) -> None:
        pass

    def retire(self) -> None:
        self._socket.go_away()

    def gone(self) -> None:
        self._socket = None


class EchoRoute:
    """Every path upgrades."""

    max_body = 0
    refusal = None

    def __init__(self, protocols: tuple[str, ...]) -> None:
        self.protocols = protocols
        self.sockets: list[WebSocket] = []

    def handle(self, request: Request, reply: Reply) -> None:
        shake = handshake(request.head, self.protocols, allowed=lambda origin: True)
        loop = asyncio.get_running_loop()
        socket = WebSocket(Echo(), loop, message_limit=MESSAGE_LIMIT)
        self.sockets.append(socket)
        reply.upgrade(shake.fields, socket)


class EchoServer:
    """A listening echo."""

    def __init__(self, route: EchoRoute) -> None:
        self.route = route
        self.crashes: list[Exception] = []
        ids = count(1)
        self.host = Host(
            self._choose,
            limit=1000,
            request_id=lambda: f"echo-{next(ids)}",
            on_refused=lambda error, head, id, client: None,
            on_crash=self.crashes.append,
        )
        self.url = ""

    def _choose(self, head: RequestHead) -> EchoRoute:
        return self.route


@asynccontextmanager
async def echo_server(port: int = 0, *protocols: str) -> AsyncIterator[EchoServer]:
    """Listen on loopback; the port is the system's choice if it is 0."""
    loop = asyncio.get_running_loop()
    echo = EchoServer(EchoRoute(protocols))
    server = await loop.create_server(lambda: HttpConnection(echo.host, loop), "127.0.0.1", port)
    echo.url = "ws://127.0.0.1:{1}".format(*server.sockets[0].getsockname())
    try:
        yield echo
    finally:
        server.close()
        await server.wait_closed()
        echo.host.drain()
        await echo.host.connections.empty()
        if echo.crashes:
            raise echo.crashes[0]


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, default=0)
    async with echo_server(parser.parse_args().port) as echo:
        print(echo.url, flush=True)
        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        await ended.wait()


if __name__ == "__main__":
    uvloop.run(main())
