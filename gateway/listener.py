"""One listener: the sockets where it takes connections, and the host that these share."""

import asyncio
import socket
from functools import partial

from gateway.host import Host
from gateway.http1 import HttpConnection
from gateway.logs import Log
from gateway.sockets import BACKLOG, shown


class Listener:
    """The public listener or the admin one, at all addresses that it has."""

    def __init__(self, name: str, host: Host, *, log: Log, loop: asyncio.AbstractEventLoop) -> None:
        self.host = host
        self.addresses: list[str] = []  # once opened
        self._name = name
        self._log = log
        self._loop = loop
        self._servers: list[asyncio.Server] = []

    async def open(self, sockets: list[socket.socket]) -> None:
        """Take connections from these sockets too, which listen already."""
        for sock in sockets:
            sock.setblocking(False)
            self._servers.append(await self._serve(sock))
            self.addresses.append(shown(sock))
            self._log.info("listening", listener=self._name, address=shown(sock))

    def drain(self) -> None:
        """Take no more connections; those that are here close after what they are about."""
        self._stop()
        self.host.drain()

    def close(self) -> None:
        """Take no more connections, and drop those that are here.  May be called twice."""
        self._stop()
        for connection in self.host.connections:
            connection.abort()

    def _stop(self) -> None:
        for server in self._servers:
            server.close()

    async def _serve(self, sock: socket.socket) -> asyncio.Server:
        factory = partial(HttpConnection, self.host, self._loop)
        if sock.family == socket.AF_UNIX:
            return await self._loop.create_unix_server(factory, sock=sock, backlog=BACKLOG)
        return await self._loop.create_server(factory, sock=sock, backlog=BACKLOG)
