"""A generation whose answer is one body; in `kept.py` more than one client may wait for it."""

from collections.abc import Callable
from functools import partial

import msgspec

from gateway.desk import Desk
from gateway.dialects.calls import Heading, encode, look_at
from gateway.dialects.translation import read_answer
from gateway.errors import GatewayError
from gateway.guard import ResponseHead
from gateway.host import Request
from gateway.order import Order
from gateway.provider import Provider
from gateway.relay import Job
from gateway.reply import JSON, Reply
from gateway.tries import Try
from gateway.upstream_errors import UpstreamProtocolError, UpstreamRefused


# Bytes of an answer; embeddings of a large batch are the largest that are real.
MAX_ANSWER = 64 * 1024 * 1024


class Collector(Job):
    """A whole answer: nothing is given to anybody before it is complete."""

    __slots__ = ()

    @property
    def _heading(self) -> Heading:
        """What stands over the answer; by its id a response is found, so nobody may guess it."""
        return msgspec.structs.replace(super()._heading, id=self._desk.hub.id())

    def _receive(self, one: Try, head: ResponseHead) -> None:
        type = head.get(b"content-type")
        if type.lower().startswith(b"text/html"):
            # A page of something on the way; an SDK would hand it to the user as an answer.
            raise UpstreamProtocolError("the upstream answered with a web page", kind="media")
        self._collect(one, head, MAX_ANSWER, partial(self._pass_on, one, type))

    def _pass_on(self, one: Try, type: bytes, body: bytes) -> None:
        """Let whoever waits have a body, if it is a good answer."""
        came = self._desk.clock()
        body = self._judged(one, body)
        if self._translates(one):
            body, type = self._translated(one, body), JSON
        self._first = came
        self._chosen(one)
        self._record.end = "finished"
        one.release()  # the client's next request finds the connection idle
        self._give(body, type or JSON)
        self.ended(one)

    def _give(self, body: bytes, type: bytes) -> None:
        """Let whoever waits have the answer."""
        raise NotImplementedError

    def _judged(self, one: Try, body: bytes) -> bytes:
        """Note what an answer cost, and return it; an error in place of one gets its own status."""
        found = look_at(body)
        if isinstance(found.usage, dict):
            self._usage = one.provider.dialect.read_usage(found.usage)
        if found.error and found.id is None:
            raise _refused(one.provider, found.error)
        return one.provider.redacted(body) if found.error else body

    def _translated(self, one: Try, body: bytes) -> bytes:
        try:
            answer = read_answer(body, one.provider.dialect)
        except UpstreamRefused as error:
            raise _refused(one.provider, error.error) from None
        self._usage = answer.usage
        return encode(self._dialect.write_answer(answer, self._heading))

    def _delivered(self) -> tuple[int, int]:
        return 0, self._reply.bytes_sent


def _refused(provider: Provider, error: object) -> UpstreamRefused:
    """Return a provider's error with the status it should have had, and without our keys."""
    told = provider.redacted_error(error if isinstance(error, dict) else {"message": str(error)})
    return UpstreamRefused(provider.dialect.status_of(told), told)


class Unary(Collector):
    """A whole answer for one client; it is kept nowhere."""

    __slots__ = ("_client", "_told")

    def __init__(
        self,
        desk: Desk,
        order: Order,
        request: Request,
        reply: Reply,
        told: Callable[[bytes], None] | None = None,
    ) -> None:
        super().__init__(desk, order, request, reply)
        self._client = reply
        self._told = told  # who else wants the answer, once it is sent
        reply.on_gone = self._left
        self.begin()

    def _left(self) -> None:
        self._client.on_gone = None  # it leads back here: a cycle
        self._desk.metrics.disconnect(self.stage.value)
        self.cancel("disconnect")

    def _give(self, body: bytes, type: bytes) -> None:
        self._client.on_gone = None
        self._client.send(200, body, type=type, fields=self._answer_fields())
        if self._told is not None:
            self._told(body)

    def _failed(self, error: GatewayError) -> None:
        self._client.on_gone = None
        self._client.error(error, fields=self._answer_fields())

    def _break_off(self) -> None:
        self._client.on_gone = None
        self._client.abort()
