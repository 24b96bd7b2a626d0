"""One reply going out on one connection, at its pace and no faster than the client reads."""

import asyncio
import time
from collections.abc import Callable

from . import words
from .exchange import Exchange
from .journal import Journal
from .replies import End, Reply
from .ticker import Ticker


# Streams that begin together must not tick together: each is shifted by another part of its
# interval, and multiples of the golden ratio never fall close to one another.
_GOLDEN = 0.618034


class Playback:
    """Write the pieces of a reply, each when it is due.

    The piece to come is always drawn ahead, so that the end is known with the
    last piece and not an interval later.
    """

    __slots__ = (
        "_due",
        "_finished",
        "_journal",
        "_late",
        "_paused",
        "_piece",
        "_pieces",
        "_ticker",
        "_transport",
        "exchange",
        "reply",
    )

    def __init__(
        self,
        reply: Reply,
        exchange: Exchange,
        transport: asyncio.Transport,
        ticker: Ticker,
        journal: Journal,
        finished: Callable[[End | None], None],
    ) -> None:
        self.reply = reply
        self.exchange = exchange
        self._transport = transport
        self._ticker = ticker
        self._journal = journal
        self._finished = finished  # called once, with how the reply ended; None: it is complete
        self._pieces = reply.pieces()
        self._piece = next(self._pieces, None)  # to be written next
        self._due = 0.0  # when the last one was due, on the ticker's clock
        self._paused = False  # the client reads too slowly, or has left
        self._late = False  # a step was due while paused

    def start(self) -> None:
        """Begin, after the delay the reply has."""
        reply = self.reply
        start = self._ticker.now() + reply.delay
        self._due = start + reply.number * _GOLDEN % 1 * reply.interval
        if reply.delay:
            self._ticker.at(start, self)
        else:
            self.step()

    def step(self) -> None:
        """Write what is due."""
        for _ in range(1 if self.reply.interval else self.reply.burst):
            if self._paused:
                self._late = True
                return
            if isinstance(self._piece, bytes):
                self._write(self._piece)
            if not isinstance(self._piece, bytes):
                self._finished(self._piece)
                return
        self._go_on()

    def pause(self) -> None:
        """Write nothing until `resume`."""
        self._paused = True

    def resume(self) -> None:
        """Go on, with the loop's next turn if a step was missed."""
        self._paused = False
        if self._late:
            self._late = False
            # Not from here: asyncio's transport loses count if it is closed in `resume_writing`.
            self._ticker.soon(self)

    def stop(self) -> None:
        """Write nothing any more: the client has left."""
        # No further state is needed: who is never resumed has stopped.
        self._paused = True

    def _write(self, piece: bytes) -> None:
        if self.exchange.answered is None:
            self.exchange.answered = time.monotonic()
        self._transport.write(words.stamped(piece) if self.reply.stamped else piece)
        self._piece = next(self._pieces, None)
        if self._journal.waiting:
            self._journal.changed()

    def _go_on(self) -> None:
        if self.reply.interval:
            self._due += self.reply.interval
            self._ticker.at(self._due, self)
        else:
            self._ticker.soon(self)
