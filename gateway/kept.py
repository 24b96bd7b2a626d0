"""A generation whose answer is one body, which is kept for others who ask for the same."""

from gateway._sseparse import Batch
from gateway.desk import Desk
from gateway.dialects.calls import is_answer
from gateway.eventlog import State, Whole
from gateway.filling import Filler
from gateway.host import Request
from gateway.hub import LOG_CAP
from gateway.order import Order, Receipt
from gateway.unary import Collector


class Kept(Collector, Filler):
    """The producer of a log whose only entry is the answer's body."""

    __slots__ = ()

    def __init__(self, desk: Desk, order: Order, request: Request, reply: Receipt) -> None:
        super().__init__(desk, order, request, reply, Whole)

    def _give(self, body: bytes, type: bytes) -> None:
        log = self.live.log
        log.media = type.decode("latin-1")
        log.append(Batch(body, 1, 1))
        self._tell()
        if is_answer(body):
            self.finished()
        else:  # it goes to those who wait, as it came; who comes next asks anew
            self._close(State.FAILED, "upstream_error")
        if len(body) > LOG_CAP:  # who waited has it; so large a one is not kept
            self._desk.hub.forget(self.live)
