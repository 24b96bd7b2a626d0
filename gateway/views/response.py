"""A generation answered by one object: the response as it is after its first event."""

from collections.abc import Callable

from gateway.client_errors import ResponseNotFound
from gateway.desk import Desk
from gateway.dialects.calls import encode
from gateway.hub import Live
from gateway.reply import Reply
from gateway.snapshots import snapshot
from gateway.upstream_errors import UpstreamProtocolError
from gateway.views.portion import Portion
from gateway.views.view import View


class ResponseView(View):
    """One answer, as soon as the log tells a response; how that goes on is asked for later.

    A generation that fails before keeps its true status.
    """

    transport = "response"

    __slots__ = ("_more", "_reply")

    def __init__(
        self,
        live: Live,
        reply: Reply,
        desk: Desk,
        *,
        fields: Callable[[], bytes],
        left: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(live, desk, left=left)
        self._reply = reply
        self._more = fields  # asked once, when the head is written
        reply.on_gone = self.leave

    def leave(self) -> None:
        """Stop waiting: the client is gone, or has its answer.  May be called twice."""
        self._reply.on_gone = None
        super().leave()

    def _paused(self) -> bool:
        return False  # it is one answer, and not much

    def _cut(self) -> None:
        self._reply.error(ResponseNotFound())

    def _take(self, portion: Portion) -> None:
        self._advance(portion.end)
        response = snapshot(self._live.log)
        if response:
            # Whoever polls asks this of it, and no provider was told.
            body = encode({**response, "background": True})
            self._reply.send(200, body, fields=self._more())
            self.leave()

    def _finish(self, portion: Portion) -> None:
        log = self._live.log
        if log.fault is None or log.tail > 1:
            self._take(portion)
        if not self._reply.ended:
            silent = UpstreamProtocolError("the upstream's events tell no response")
            self._reply.error(log.fault or silent, fields=self._more())
