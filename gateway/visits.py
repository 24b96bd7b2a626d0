"""One request at one route: who came, what is answered, and the line in the log about it."""

from collections.abc import Callable, Mapping

import msgspec

from gateway.callers import Caller
from gateway.client_errors import ClientError, CursorGone, LogNotFound, MethodNotAllowed
from gateway.desk import Desk
from gateway.errors import GatewayError
from gateway.eventlog import NOW, START, EventLog
from gateway.guard import RequestHead
from gateway.host import Request
from gateway.hub import Live
from gateway.logs import RequestRecord
from gateway.reply import ErrorBody, Reply


# Bytes of a generation's body: some images in base64 (design §8).
MAX_BODY = 20 * 1024 * 1024


class Visit(msgspec.Struct, eq=False):
    """A request with its answer and its caller.

    Its line in the log is written once: when the answer is complete, by `account` when
    a view has given it, or by the job that took it.
    """

    _desk: Desk
    route: str  # a label
    request: Request
    reply: Reply
    caller: Caller
    accounted: bool = False  # or left to a job, which knows more
    _read: EventLog | None = None  # the log that it is answered from

    def log(self, id: str) -> Live:
        """Return the log of this id.

        Raises:
            LogNotFound: there is none, or it is another's: who asks cannot tell which.
        """
        live = self._desk.hub.find(id)
        if live is None or live.log.subject not in ("", self.caller.subject):
            raise LogNotFound
        return live

    def locate(self, log: EventLog, cursor: str) -> int:
        """Return the number of a cursor, and count what became of whoever came back with it.

        Raises:
            CursorGone: entries after it were trimmed, or it is of another log.
            ClientError: it is no cursor.
        """
        try:
            number = log.locate(cursor or START)
        except CursorGone:
            self._desk.metrics.resumed("gone")
            raise
        if cursor not in ("", START, NOW):
            ended = log.closed and number == log.tail
            self._desk.metrics.resumed("ended" if ended else "recovered")
        return number

    def begin_at(self, log: EventLog, cursor: str) -> tuple[int, bool]:
        """Return where a reader starts that must be told in the stream if its cursor is gone.

        Then it starts with what is left, and the second is False.

        Raises:
            ClientError: it is no cursor.
        """
        try:
            return self.locate(log, cursor), True
        except CursorGone:
            return log.base, False

    def ending(self, log: EventLog) -> Callable[[], None]:
        """Return what is to be called when the visit's view of `log` has ended.

        It may live for hours: the request's fields and body are let go of.
        """
        self._read = log
        self.request.head.forget()
        self.request.body = b""
        return self.account

    def account(self, error: str = "") -> None:
        """Count and log the request.  Only the first call counts."""
        if self.accounted:
            return
        self.accounted = True
        desk, request, reply = self._desk, self.request, self.reply
        duration = desk.clock() - request.received
        # Of a channel the path says which it is, and nobody ended it.
        read = self._read if self._read is not None and self._read.dialect else None
        desk.ledger.settle()  # lines stand in the order in which requests ended
        desk.metrics.request(self.route, "", "", reply.status, duration)
        desk.log.request(
            RequestRecord(
                request_id=request.id,
                client=request.client,
                route=self.route,
                method=request.head.method,
                path=request.head.path,
                status=reply.status,
                end=read.reason if read is not None else "",
                duration=duration,
                events=None,  # nobody counts what is said again
                bytes=reply.bytes_sent,
                subject=self.caller.subject,
                generation=read.id if read is not None else "",
                error=error,
            )
        )


Serve = Callable[[Visit], None]


class Endpoint(msgspec.Struct, eq=False):
    """One method of one path."""

    name: str  # a label
    serve: Serve
    max_body: int
    refusal: ClientError | None = None  # what will be answered whatever the body is
    public: bool = False  # served to whoever asks, without a key
    safe: bool = True  # a GET of it begins nothing, so HEAD may stand for it
    error_body: ErrorBody | None = None  # as Reply has it


class Entrance:
    """An endpoint, as one caller has it."""

    __slots__ = ("_caller", "_desk", "_endpoint", "_fields", "max_body", "refusal")

    def __init__(
        self, desk: Desk, endpoint: Endpoint, caller: Caller, fields: bytes = b""
    ) -> None:
        self.max_body = endpoint.max_body
        self.refusal = endpoint.refusal
        self._desk = desk
        self._endpoint = endpoint
        self._caller = caller
        self._fields = fields  # that any answer to it carries

    def handle(self, request: Request, reply: Reply) -> None:
        """Serve a request; a GatewayError is its answer."""
        endpoint = self._endpoint
        reply.fields = self._fields
        reply.error_body = endpoint.error_body
        visit = Visit(self._desk, endpoint.name, request, reply, self._caller)
        serve, error = endpoint.serve, ""
        try:
            serve(visit)
        except GatewayError as refusal:
            error = refusal.message
            reply.error(refusal)
        # After an upgrade the session accounts for it, when it is over.
        if reply.ended and reply.status != 101:
            visit.account(error)


def choose_method(methods: Mapping[str, Endpoint], head: RequestHead) -> Endpoint:
    """Return the endpoint of a head's method.

    Raises:
        MethodNotAllowed: there is none.
    """
    # HEAD is GET without its body (RFC 9110 §9.3.2); the reply leaves the body out.
    get = methods.get("GET")
    safe = get is not None and get.safe
    method = "GET" if head.method == "HEAD" and "HEAD" not in methods and safe else head.method
    endpoint = methods.get(method)
    if endpoint is not None:
        return endpoint
    allow = ", ".join(dict.fromkeys([*methods, *(["HEAD"] if safe else [])]))
    raise MethodNotAllowed(f"this path takes {allow}", allow=allow)


def refusing(error: ClientError, name: str, error_body: ErrorBody | None) -> Endpoint:
    """Return an endpoint that answers with `error`, whatever comes; `name` is a label."""

    def refuse(visit: Visit) -> None:
        raise error

    return Endpoint(name, refuse, MAX_BODY, error, public=True, error_body=error_body)
