"""A log for a browser's EventSource: every entry with its id, and the end told in a block."""

from collections.abc import Callable

import orjson

from gateway._sseparse import IDS
from gateway.desk import Desk
from gateway.hub import Live
from gateway.reply import Reply
from gateway.views.view import COMMENT, StreamView, beginning, block, end, greeting


# Milliseconds after which a client comes back.  Browsers take 3 to 5 s on their own; the
# line rides in a block, since SDKs stumble over one that stands alone (facts §2.7).
RETRY = b"retry: 1000\n"


class EventSourceView(StreamView):
    """One block for each entry, between a `control` at the beginning and one at the end.

    The first block repeats the cursor it starts from, so that a client that leaves before
    the first entry keeps it.  A cursor that is gone, `recovered` False, is told in the same
    place, since no status reaches the page; then all that is left is read.  A channel may
    greet in a second block, which does not move the cursor.
    """

    transport = "eventsource"
    style = IDS

    __slots__ = ("_recovered",)

    def __init__(
        self,
        live: Live,
        reply: Reply,
        desk: Desk,
        *,
        cursor: int,
        recovered: bool = True,
        subject: str = "",
        left: Callable[[], None] | None = None,
    ) -> None:
        cursor = cursor if recovered else live.log.base
        super().__init__(live, reply, desk, cursor=cursor, subject=subject, left=left)
        self._recovered = recovered

    def attach(self) -> None:
        """Begin to follow the log; the head and the first block go out at once."""
        self._say(COMMENT + RETRY + self._opening())
        super().attach()

    def _opening(self) -> bytes:
        log = self._live.log
        start = log.cursor(self.cursor)
        told = beginning(log, self.cursor, recovered=self._recovered)
        hello = greeting(self._live, self._desk)
        welcome = block(start, b"welcome", hello) if hello else b""
        return block(start, b"control", orjson.dumps(told)) + welcome

    def _ending(self) -> bytes:
        log = self._live.log
        return block(log.cursor(log.tail), b"control", orjson.dumps(end(log)))
