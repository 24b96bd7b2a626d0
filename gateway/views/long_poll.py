"""A log in plain answers that wait for something to say (Durable Streams §5.7)."""

from collections.abc import Callable

from gateway.alarm import Alarm
from gateway.client_errors import CursorGone, LogNotFound
from gateway.desk import Desk
from gateway.eventlog import TOO_OLD
from gateway.hub import Live
from gateway.reply import Reply
from gateway.views.durable import stream_cursor
from gateway.views.poll import CORP, answer, standing
from gateway.views.portion import Portion
from gateway.views.view import View


class LongPoll(View):
    """One answer: with what there is, or with the first that comes within `wait` seconds.

    204 if nothing came, and at once if nothing ever will.
    """

    transport = "long_poll"

    __slots__ = ("_alarm", "_given", "_reply")

    def __init__(
        self,
        live: Live,
        reply: Reply,
        desk: Desk,
        *,
        cursor: int,
        wait: float,
        given_cursor: str = "",
        subject: str = "",
        left: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(live, desk, cursor=cursor, subject=subject, left=left)
        self._reply = reply
        self._given = given_cursor  # the stream cursor of the client's last answer
        self._alarm = Alarm(desk.loop, self._ring, desk.loop.time() + wait)
        reply.on_gone = self.leave

    def leave(self) -> None:
        """Stop waiting: the client is gone, or has its answer.  May be called twice."""
        self._alarm.cancel()
        self._reply.on_gone = None
        super().leave()

    def retire(self) -> None:
        """Answer that nothing came; the client asks again, this process or the next."""
        self._say_nothing()
        self.leave()

    def _paused(self) -> bool:
        return False  # it is one answer, and not much

    def _cut(self) -> None:
        behind = self.cursor < self._live.log.base
        self._reply.error(CursorGone(TOO_OLD) if behind else LogNotFound())

    def _take(self, portion: Portion) -> None:
        if portion.batches:
            self._answer(portion)
            self.leave()
        self._advance(portion.end)

    def _finish(self, portion: Portion) -> None:
        if portion.batches:
            self._answer(portion)
        else:
            self._say_nothing()
        self._advance(portion.end)

    def _answer(self, portion: Portion) -> None:
        answer(self._reply, self._live.log, portion, self._fields(portion.end))

    def _say_nothing(self) -> None:
        log = self._live.log
        lines = standing(log, log.tail) + self._fields(log.tail)
        self._reply.send(204, b"", fields=lines + CORP)

    def _fields(self, end: int) -> bytes:
        """Return the field lines that only an answer that may wait has."""
        log = self._live.log
        if log.closed and end == log.tail:
            return b""  # there is nothing to ask for again
        cursor = stream_cursor(self._desk.wall(), self._given)
        return b"stream-cursor: %b\r\n" % cursor.encode()

    def _ring(self, now: float) -> None:
        self.retire()
