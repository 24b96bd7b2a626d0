"""A whole answer, for one of those who wait for it."""

from collections.abc import Callable

from gateway.hub import Live
from gateway.reply import Reply


class WholeView:
    """A wait for the only entry of a log: all of it is sent once the log has closed."""

    transport = ""  # it is no stream
    outlet = None
    detaches = False  # who asks for a whole answer asks again, if at all

    __slots__ = ("_attached", "_left", "_live", "_more", "_reply", "cursor")

    def __init__(
        self,
        live: Live,
        reply: Reply,
        *,
        fields: Callable[[], bytes],
        left: Callable[[], None],
    ) -> None:
        self.cursor = 0
        self._live = live
        self._reply = reply
        self._more = fields  # asked once, when the answer is sent
        self._left = left  # called once, when it sees no more
        self._attached = False

    def attach(self) -> None:
        """Begin to wait; for what has ended already nobody waits."""
        self._attached = True
        self._reply.on_gone = self.leave
        self._live.follow(self)
        self.wake()

    def ready(self) -> None:
        """Go on waiting."""

    def wake(self) -> None:
        """Send the answer, or why there is none, if it is known."""
        log = self._live.log
        if not log.closed:
            return
        if log.fault is not None:
            self._reply.error(log.fault, fields=self._more())
        elif log.tail:
            body, type = log.after(0)[0].data, log.media.encode()
            self._reply.send(200, body, type=type, fields=self._more())
        else:
            self._reply.abort()  # it was stopped: there is neither
        self.cursor = log.tail
        self.leave()

    def retire(self) -> None:
        """Stay: what one waits for has an end."""

    def cut(self) -> None:
        """Break off, and leave."""
        self._reply.abort()
        self.leave()

    def leave(self) -> None:
        """Stop waiting.  May be called twice."""
        if self._attached:
            self._attached = False
            self._reply.on_gone = None
            self._live.leave(self)
            self._left()
