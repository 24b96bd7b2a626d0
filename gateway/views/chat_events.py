"""A chat completion for a browser's EventSource: text and deltas, in blocks a page can use."""

from collections.abc import Sequence

from gateway._sseparse import entries
from gateway.desk import STREAMS
from gateway.dialects import openai
from gateway.dialects.calls import encode
from gateway.dialects.chunks import choice, read, summary
from gateway.eventlog import EventLog, State
from gateway.views.eventsource import RETRY
from gateway.views.portion import Portion
from gateway.views.view import COMMENT, HEAD, StreamView, block, location


class ChatEventsView(StreamView):
    """`start`, `chunk` for what the answer grows by, `done` at its end, `error` where it breaks.

    Blocks are made of the log's entries and of nothing else: a reader that comes back amid
    gets what one that stayed gets.  Of several choices it is the first.

    `start` comes at once, with an id: a page that is cut before the first token would
    otherwise come back without one, and be a second request.  The blocks of the end have an
    id of their own, so that who was cut just before them comes back for them.
    """

    transport = "chat_events"
    style = None

    __slots__ = ()

    def attach(self, dropped: Sequence[str] = ()) -> None:
        """Begin to follow the log; the head and the first block go out at once.

        That says what was `dropped` of the request: a page sees no fields of an answer.
        """
        log = self._live.log
        told: dict[str, object] = {"stream": STREAMS + log.id}
        if dropped:
            told["dropped_params"] = dropped
        start = block(log.cursor(self.cursor), b"start", encode(told))
        self._say(COMMENT + RETRY + start)
        super().attach()

    def _fields(self) -> bytes:
        return HEAD + location(self._live.log)

    def _framed(self, portion: Portion) -> bytes:
        log = self._live.log
        return b"".join([
            _block(log.cursor(number), payload)
            for batch in portion.batches
            for number, (_, payload) in enumerate(entries(batch.data), batch.first)
        ])  # fmt: skip

    def _ending(self) -> bytes:
        log = self._live.log
        if not has_ending(log):
            return b""
        done = block(log.end(), b"done", encode(summary(log)))
        return done + b"id: " + log.end().encode() + b"\n" + openai.DONE


def has_ending(log: EventLog) -> bool:
    """Tell whether a closed log has blocks at its end besides its entries."""
    return log.state is State.FINISHED or log.state is State.CANCELLED


def _block(id: str, payload: bytes) -> bytes:
    """Return what the page is told of an entry: nothing, if it neither adds text nor fails."""
    event = read(payload)
    error = event.get("error")
    if error:
        # Not `error`: a page would take it for the loss of its connection (facts §4).
        return block(id, b"failed", encode({"error": error}))
    delta = choice(event).get("delta")
    if not isinstance(delta, dict):
        return b""
    content = delta.get("content")
    text = content if isinstance(content, str) else ""
    return block(id, b"chunk", encode({"content": text, "delta": delta}))
