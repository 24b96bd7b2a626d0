"""A chat completion for a browser's EventSource: text and deltas, in blocks a page can use."""

from collections.abc import Callable

from gateway._sseparse import Batch, entries
from gateway.desk import Desk
from gateway.dialects import openai
from gateway.dialects.chunks import choice, encode, read, summary
from gateway.eventlog import State
from gateway.hub import Live
from gateway.reply import Reply
from gateway.views.eventsource import RETRY, TYPE
from gateway.views.view import SSE_FIELDS, StreamView, block, location


class ChatEventsView(StreamView):
    """`chunk` for what the answer grows by, `done` at its end, `error` where it breaks.

    Blocks are made of the log's entries and of nothing else: a reader that comes back amid
    gets what one that stayed gets.  Of several choices it is the first.
    """

    transport = "chat_events"

    __slots__ = ("_prefix",)

    def __init__(
        self,
        live: Live,
        reply: Reply,
        desk: Desk,
        *,
        cursor: int = 0,
        subject: str = "",
        left: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(
            live, reply, desk, cursor=cursor, subject=subject, left=left, style=None
        )
        self._prefix = RETRY  # of the first block

    def attach(self) -> None:
        """Begin to follow the log; the head goes out at once, before there is a block."""
        self._start().write(b":\n")
        super().attach()

    def _fields(self) -> bytes:
        return TYPE + SSE_FIELDS + location(self._live.log)

    def _framed(self, batches: list[Batch]) -> bytes:
        log = self._live.log
        return self._prefixed(b"".join([
            _block(log.cursor(number), payload)
            for batch in batches
            for number, (_, payload) in enumerate(entries(batch.data), batch.first)
        ]))  # fmt: skip

    def _ending(self) -> bytes:
        log = self._live.log
        if log.state is not State.FINISHED and log.state is not State.CANCELLED:
            return b""
        id = log.cursor(log.tail)
        done = block(id, b"done", encode(summary(log)))
        return self._prefixed(done + b"id: " + id.encode() + b"\n" + openai.DONE)

    def _prefixed(self, blocks: bytes) -> bytes:
        if not blocks:
            return b""
        prefix, self._prefix = self._prefix, b""
        return prefix + blocks


def _block(id: str, payload: bytes) -> bytes:
    """Return what the page is told of an entry: nothing, if it neither adds text nor fails."""
    event = read(payload)
    error = event.get("error")
    if error:
        return block(id, b"error", encode({"error": error}))
    delta = choice(event).get("delta")
    if not isinstance(delta, dict):
        return b""
    content = delta.get("content")
    text = content if isinstance(content, str) else ""
    return block(id, b"chunk", encode({"content": text, "delta": delta}))
