"""One request at one route: who came, what is answered, and the line in the log about it."""

from collections.abc import Callable, Mapping

from gateway.callers import Caller
from gateway.desk import Desk
from gateway.errors import (
    ClientError,
    CursorGone,
    GatewayError,
    LogNotFound,
    MethodNotAllowed,
    RouteNotFound,
)
from gateway.eventlog import NOW, START, EventLog
from gateway.guard import RequestHead
from gateway.host import MAX_UNWANTED, Request
from gateway.hub import Live
from gateway.logs import RequestRecord
from gateway.reply import Reply


# Bytes of a generation's body: some images in base64 (design §8).
MAX_BODY = 20 * 1024 * 1024


class Visit:
    """A request with its answer and its caller.

    Its line in the log is written once: when the answer is complete, by `account` when
    a view has given it, or by the job that took it.
    """

    __slots__ = ("_accounted", "_desk", "_name", "caller", "reply", "request")

    def __init__(
        self, desk: Desk, name: str, request: Request, reply: Reply, caller: Caller
    ) -> None:
        self.request = request
        self.reply = reply
        self.caller = caller
        self._desk = desk
        self._name = name  # of the route; a label
        self._accounted = False

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

    def taken(self) -> None:
        """Leave the line in the log to a job, which knows more."""
        self._accounted = True

    def ending(self) -> Callable[[], None]:
        """Return what is to be called when the visit's view has ended.

        It may live for hours: the request's fields and body are let go of.
        """
        self.request.head.forget()
        self.request.body = b""
        return self.account

    def account(self, error: str = "") -> None:
        """Count and log the request.  Only the first call counts."""
        if self._accounted:
            return
        self._accounted = True
        desk, request, reply = self._desk, self.request, self.reply
        duration = desk.clock() - request.received
        desk.metrics.request(self._name, "", "", reply.status, duration)
        desk.log.request(
            RequestRecord(
                request_id=request.id,
                client=request.client,
                route=self._name,
                method=request.head.method,
                path=request.head.path,
                status=reply.status,
                duration=duration,
                bytes=reply.bytes_sent,
                error=error,
            )
        )


Serve = Callable[[Visit], None]


class Endpoint:
    """One method of one path."""

    __slots__ = ("_desk", "_name", "_serve", "max_body", "public", "refusal", "safe")

    def __init__(
        self,
        desk: Desk,
        name: str,
        serve: Serve,
        max_body: int = MAX_UNWANTED,
        *,
        refusal: ClientError | None = None,
        public: bool = False,
        safe: bool = True,
    ) -> None:
        self.max_body = max_body
        self.refusal = refusal  # what will be answered whatever the body is
        self.public = public  # served to whoever asks, without a key
        self.safe = safe  # a GET of it begins nothing, so HEAD may stand for it
        self._desk = desk
        self._name = name  # a label
        self._serve = serve

    def handle(self, request: Request, reply: Reply, caller: Caller) -> None:
        """Serve a request; a GatewayError is its answer."""
        visit = Visit(self._desk, self._name, request, reply, caller)
        error = ""
        try:
            self._serve(visit)
        except GatewayError as refusal:
            error = refusal.message
            reply.error(refusal)
        # After an upgrade the session accounts for it, when it is over.
        if reply.ended and reply.status != 101:
            visit.account(error)


def choose_method(
    desk: Desk, methods: Mapping[str, Endpoint] | None, head: RequestHead
) -> Endpoint:
    """Return the endpoint of a head's method, or one that refuses it."""
    if methods is None:
        return refusing(desk, RouteNotFound("no such path"))
    # HEAD is GET without its body (RFC 9110 §9.3.2); the reply leaves the body out.
    get = methods.get("GET")
    safe = get is not None and get.safe
    method = "GET" if head.method == "HEAD" and "HEAD" not in methods and safe else head.method
    endpoint = methods.get(method)
    if endpoint is not None:
        return endpoint
    allow = ", ".join(dict.fromkeys([*methods, *(["HEAD"] if safe else [])]))
    return refusing(desk, MethodNotAllowed(f"this path takes {allow}", allow=allow))


def refusing(desk: Desk, error: ClientError) -> Endpoint:
    """Return an endpoint that answers with `error`, whatever comes."""

    def refuse(visit: Visit) -> None:
        raise error

    return Endpoint(desk, "other", refuse, MAX_BODY, refusal=error, public=True)
