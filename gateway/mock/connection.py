"""One client's connection: its requests are answered one after the other."""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import cast

from .exchange import BadRequest, Exchange, RequestReader
from .journal import Journal
from .playback import Playback
from .replies import End, Reply, error_reply
from .ticker import Ticker


_NO_LINGER = struct.pack("ii", 1, 0)  # close() sends RST
_PIPELINE_LIMIT = 128 * 1024 * 1024  # bytes not read yet: twice the largest body


class Connection(asyncio.Protocol):
    """Read requests, and play the replies to them."""

    __slots__ = (
        "_connections",
        "_journal",
        "_number",
        "_playback",
        "_reader",
        "_reply_to",
        "_served",
        "_ticker",
        "_transport",
    )

    def __init__(
        self,
        journal: Journal,
        ticker: Ticker,
        connections: "set[Connection]",
        reply_to: Callable[[Exchange], Reply],
    ) -> None:
        self._journal = journal
        self._ticker = ticker
        self._connections = connections  # all that are open
        self._reply_to = reply_to
        self._reader = RequestReader()
        self._transport: asyncio.Transport | None = None  # while connected
        self._playback: Playback | None = None  # while a request is being answered
        self._number = 0  # of this connection, from 1
        self._served = 0  # requests that came over it

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to count."""
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)
        self._number = self._journal.connected()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop what is going on; a client that leaves amid an answer has cancelled it."""
        self._transport = None
        self._connections.discard(self)
        if self._playback is not None:
            self._playback.stop()
            self._journal.ended(self._playback.exchange, cancelled=True)
            self._playback = None
        self._journal.disconnected()

    def eof_received(self) -> None:
        """Take the end of what the client says for its leaving, as providers do."""
        if self._playback is not None:
            self.abort()

    def pause_writing(self) -> None:
        """Hold the answer: the client does not read."""
        if self._playback is not None:
            self._playback.pause()

    def resume_writing(self) -> None:
        """Let the answer go on."""
        if self._playback is not None:
            self._playback.resume()

    def data_received(self, data: bytes) -> None:
        """Take bytes of requests."""
        self._reader.feed(data)
        if self._playback is None:
            self._serve()
        elif self._reader.held > _PIPELINE_LIMIT:
            self.abort()

    def _serve(self) -> None:
        """Answer the next request, if it is here."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        try:
            exchange = self._reader.next()
        except BadRequest as error:
            self._refuse(transport, str(error))
            return
        if exchange is not None:
            self._answer(exchange, transport)
        elif self._reader.waits_for_continue():
            transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _answer(self, exchange: Exchange, transport: asyncio.Transport) -> None:
        exchange.connection = self._number
        exchange.reused = self._served > 0
        self._served += 1
        reply = self._reply_to(exchange)
        self._playback = Playback(
            reply, exchange, transport, self._ticker, self._journal, self._answered
        )
        if reply.deaf:
            transport.pause_reading()
        self._journal.began(exchange)
        self._playback.start()

    def _answered(self, end: End | None) -> None:
        """Do what comes after a reply that ended so; None: it is complete."""
        playback, transport = self._playback, self._transport
        if end is End.HANG or playback is None or transport is None:
            return
        self._playback = None
        self._journal.ended(playback.exchange, cancelled=False)
        if end is End.RESET:
            _Reset(transport, self._ticker).step()
        elif end is End.CLOSE or playback.reply.close or playback.reply.then is End.CLOSE:
            transport.close()
        else:
            # Not from here: requests in a row, each answered at once, would nest without end.
            asyncio.get_running_loop().call_soon(self._serve)

    def _refuse(self, transport: asyncio.Transport, complaint: str) -> None:
        reply = error_reply(400, complaint)
        reply.close = True
        transport.writelines(piece for piece in reply.pieces() if isinstance(piece, bytes))
        transport.close()


class _Reset:
    """Reset a connection as soon as all that was written has left."""

    __slots__ = ("_ticker", "_transport")

    def __init__(self, transport: asyncio.Transport, ticker: Ticker) -> None:
        self._transport = transport
        self._ticker = ticker

    def step(self) -> None:
        """Reset now, or look again at the next tick."""
        if self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size():
            self._ticker.at(0, self)
            return
        connection: socket.socket = self._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()
