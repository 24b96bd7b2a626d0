"""What one provider says of a streamed answer, from its head to its end.

    connection ── data ─► Source: parser ── batch ─► log, and the outlet of each reader ─► client
                           │
                           └─ attend: the first event, every kind of end ─► Stream

The tap (`_sseparse.Tap`), which a source is, is the hot path, compiled: it runs for every
read from a provider.  What needs a decision comes here; so does each batch that must be
translated.
"""

import asyncio
from typing import Protocol

from gateway._sseparse import Batch, EventParser, Tap
from gateway.chat import Usage
from gateway.desk import Desk
from gateway.dialects.translation import Translation
from gateway.errors import GatewayError
from gateway.guard import ResponseHead
from gateway.hub import LOG_CAP, Live
from gateway.tries import Try
from gateway.upstream_errors import (
    StreamInterrupted,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnavailable,
)


# Seconds for the rest of a body after its terminal event, to keep the connection.
TAIL_TIMEOUT = 1.0


class Story(Protocol):
    """The generation that a source tells."""

    live: Live

    def begins(self, source: "Source", now: float) -> None:
        """Take note of the first event: from here on the answer cannot be taken back."""

    def finished(self) -> None:
        """Close the log: all was said."""

    def ended(self, one: Try) -> None:
        """Take note that the provider's part is over."""

    def failed(self, one: Try, error: Exception) -> None:
        """Take note that there is no good answer, or no more of it."""

    def refused(self, one: Try, error: UpstreamRefused) -> None:
        """Close the log behind the provider's own error, which stands in it."""


class Source(Tap):
    """The answer of one try; the story is told when the provider's part is over."""

    __slots__ = ("_desk", "_live", "_over", "_story", "_tail", "_translation", "began", "of")

    def __init__(
        self,
        desk: Desk,
        story: Story,
        of: Try,
        head: ResponseHead,
        strip_usage: bool,
        translation: Translation | None,
    ) -> None:
        self.of = of
        self._over = False  # the provider's part is
        self.began = False  # the log has an event of it
        self._desk = desk
        self._story = story
        self._live = live = story.live
        self._translation = translation  # where client and provider speak different dialects
        self._tail: asyncio.TimerHandle | None = None  # the wait for the body's end
        parser = of.taker = EventParser(
            head.framing,
            dialect=of.provider.dialect.parser,
            strip_usage=strip_usage,
            tight=of.provider.tight,
            gaps=of.target.metrics.gaps,
            overhead=desk.metrics.overhead_event,
        )
        Tap.__init__(self, parser, live.log, live.readers, LOG_CAP, desk.clock)

    @property
    def usage(self) -> Usage | None:
        """What the provider says it cost, None if it does not."""
        usage, read = self.parser.usage, self.of.provider.dialect.read_usage
        return None if usage is None else read(usage)

    @property
    def finish(self) -> str:
        """Why the answer ended, in the words of `chat`; "" if it has not said so."""
        return self.of.provider.dialect.reason(self.parser.finish or "")

    # Called by the connection, and by the tap.

    def lost(self, error: GatewayError | None) -> None:
        """Judge a stream whose connection is gone."""
        if error is None:
            self.parser.eof()
            self._judge(None, self._desk.clock())
        elif self._live.log.closed:
            self._end()  # all was said: only the connection is lost
        else:
            self._break(error)

    def attend(self, batch: Batch | None, now: float) -> None:
        """Take what the tap does not let pass: the first event, and any kind of end."""
        if self.parser.attention:
            self._judge(batch, now)
        elif self._translation is not None:
            self._interpret(self._translation, batch, now)
        elif batch is not None:
            self._pass_on(batch, now)

    def pump(self) -> None:
        """Let the readers have what the tap could not write to them."""
        self._live.pump()

    # Inside.

    def _pass_on(self, batch: Batch, now: float) -> None:
        """Let the readers have a batch as it came; those behind it do not come by here."""
        if self.began:  # but for a log whose pace is noted
            self.deliver(batch)
        elif self._begin(now):
            self.publish(batch)
            self.flowing = self._live.log.pace is None
        if not self.flowing:
            self._note(now)

    def _note(self, now: float) -> None:
        log = self._live.log
        if log.pace is not None:
            log.pace.note(now, log.tail, log.held)

    def _begin(self, now: float) -> bool:
        """Let all be ready for the first event; say whether the log still takes one.

        It does not if its only reader had a defect, and was cut.
        """
        if not self.began:
            self.began = True
            self._story.begins(self, now)
            self._live.ready()
        return not self._live.log.closed

    def _interpret(self, translation: Translation, batch: Batch | None, now: float) -> None:
        """Let the readers have a batch in the client's dialect."""
        batch = self._translated(translation, batch)
        if batch is not None and self._begin(now):
            self.deliver(batch)
            self._note(now)
        self._check(translation)

    def _check(self, translation: Translation) -> None:
        """Fail the stream if it cannot be translated any further."""
        if translation.fault is not None:
            self._break(translation.fault)

    def _translated(
        self, translation: Translation, batch: Batch | None, *, ends: bool = False
    ) -> Batch | None:
        """Return what a batch of the provider's comes to in the client's dialect."""
        blocks = translation.blocks(batch.data) if batch is not None else []
        blocks += translation.end() if ends else []
        return Batch(b"".join(blocks), self._live.log.tail + 1, len(blocks)) if blocks else None

    def _judge(self, batch: Batch | None, now: float) -> None:
        """Act on the end of the events, of the body, or of our trust in them."""
        if not self._live.log.closed:
            if batch is not None or self._translation is not None:
                self._take_last(batch, now)
            if not self._over:
                self._conclude(now)  # closing wakes the readers: last entries and end go as one
        parser, exchange = self.parser, self.of
        clean = parser.clean
        if self._over:
            exchange.clean = False  # bytes after the end, or an end that was not good
        elif clean or parser.ended or parser.fault is not None or parser.error is not None:
            exchange.clean = clean
            self._end()
        elif self._tail is None:
            self._tail = self._desk.loop.call_later(TAIL_TIMEOUT, self._end)

    def _take_last(self, batch: Batch | None, now: float) -> None:
        """Append the last entries; whoever closes the log wakes its readers."""
        parser = self.parser
        # An error as the first event is not published: it gets its true status instead.
        if batch is not None and parser.error is not None:
            data = self.of.provider.redacted(batch.data)
            batch = Batch(data, batch.first, batch.count) if parser.error_at != 1 else None
        translation = self._translation
        if translation is not None:
            batch = self._translated(translation, batch, ends=parser.complete)
        if batch is not None and self._begin(now):
            self._live.log.append(batch)
            self._note(now)
        if translation is not None:
            self._check(translation)

    def _conclude(self, now: float) -> None:
        """End the generation as the stream's last event deserves."""
        parser = self.parser
        if parser.complete:
            self._begin(now)
            self._story.finished()
            return
        fault = parser.fault
        if parser.error is not None:
            self._refuse(self.of.provider.redacted_error(parser.error))
        elif fault is not None and fault.kind != StreamInterrupted.kind:
            self._break(fault)
        elif parser.done or parser.ended or fault is not None:
            self._break(self._truncated())

    def _refuse(self, error: dict[str, object]) -> None:
        """End with the provider's own error."""
        refused = UpstreamRefused(self.of.provider.dialect.status_of(error), error)
        if self.parser.error_at == 1:
            self._break(refused)
        else:
            # Its event is in the log: the client needs no other.
            self._story.refused(self.of, refused)

    def _truncated(self) -> UpstreamError:
        if self.began:
            return StreamInterrupted("the upstream's stream ended before it was complete")
        kind = StreamInterrupted.kind
        return UpstreamUnavailable("the upstream's stream ended before it began", kind=kind)

    def _break(self, error: GatewayError) -> None:
        """End the provider's part with an error, unless it is over."""
        if not self._over:
            self._over = True
            self._story.failed(self.of, error)

    def _end(self) -> None:
        """End the provider's part, unless it is over."""
        if self._tail is not None:
            self._tail.cancel()
        if not self._over:
            self._over = True
            self._story.ended(self.of)
