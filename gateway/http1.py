"""HTTP/1.1 towards clients: one protocol per socket, one writer per socket.

    HEAD     a request head is awaited or arriving
    BODY     its body is arriving
    BUSY     the application has the request; a pipelined one waits its turn
    LINGER   a refusal is out and the write side shut; what still comes is read and
             dropped, so that a reset cannot overtake the answer
    CLOSED   the transport is gone

The guard judges heads, the compiled decoder bodies, both before anything acts on
them.  While the application has a request the socket is still read, never paused: a
paused transport sees neither FIN nor RST, and a client that went away must end its
upstream at once.
"""

import asyncio
import contextlib
import re
from enum import Enum
from math import inf
from typing import cast

from gateway._sseparse import Writer
from gateway.alarm import Alarm
from gateway.bodies import Arriving
from gateway.client_errors import ClientError, MalformedRequest, RequestTimeout, RequestTooLarge
from gateway.errors import GatewayError, Overloaded
from gateway.flow import STALL_LOOK, STALL_TIMEOUT, WRITE_HIGH, WRITE_LOW, Valve, unsent
from gateway.guard import RequestHead, read_request
from gateway.heads import HeadReader
from gateway.host import MAX_UNWANTED, NO_HEAD, Host, Request, Route
from gateway.reply import STATUS_LINES, Reply, Successor


# Seconds for a head to arrive in all, from the accept or its first byte (design §8).
HEAD_TIMEOUT = 10.0
# Seconds between two reads of a body: a phone in a tunnel, not a slow loris.
BODY_TIMEOUT = 10.0
# Seconds for a whole body: the largest there may be at a megabit a second, and twice that.
# Without it a byte every nine seconds would hold a connection for good.
BODY_TOTAL = 300.0
# Seconds an idle connection is kept: longer than the 60 s of common load balancers.
IDLE_TIMEOUT = 75.0
# Seconds for a refused client to read its answer before the socket goes.
LINGER_TIMEOUT = 2.0
# Bytes of a next request taken while one is being served; a client that sends more
# loses keep-alive, since pausing the socket would blind us to its leaving.
PIPELINE_LIMIT = 64 * 1024
# A client's request id is echoed and logged: bounded, and safe in a field and a line.
REQUEST_ID = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}")
CONTINUE = STATUS_LINES[100] + b"\r\n"


class Phase(Enum):
    HEAD = "head"
    BODY = "body"
    BUSY = "busy"
    LINGER = "linger"
    CLOSED = "closed"


# In Python 3.11 a member costs fifty times the steps of a global: EnumType has a __getattr__.
HEAD, BODY, BUSY, LINGER, CLOSED = Phase


class HttpConnection(asyncio.Protocol):
    """One client socket."""

    __slots__ = (
        "_alarm", "_arriving", "_begun", "_clogged", "_deadline", "_early", "_host", "_loop",
        "_moved", "_phase", "_reader", "_refused", "_reply", "_transport", "_unsent", "_valve",
        "client", "date", "keep_alive", "write",
    )  # fmt: skip

    def __init__(self, host: Host, loop: asyncio.AbstractEventLoop) -> None:
        self.client = ""
        # The transport's own method while there is one: a call less for every event.
        self.write = Writer()
        self.date = host.date
        self.keep_alive = True  # another request may follow
        self._host = host
        self._loop = loop
        self._transport: asyncio.Transport | None = None  # between made and lost
        self._valve: Valve  # of it; shut while a pipelined request waits its turn
        self._phase = HEAD
        self._reader = HeadReader()
        self._begun = False  # a head has
        self._refused = False  # what follows cannot be read as a request
        # The request whose body did not come with its head, until it is here.
        self._arriving: Arriving | None = None
        # The request that is being answered, and the bytes that came after it.
        self._reply: Reply | None = None
        self._early = b""
        # Loop time by which this phase must be over; BUSY may last.
        self._deadline = loop.time() + HEAD_TIMEOUT
        # Bytes unsent at the last look, inf if they cannot be compared with those of the next;
        # loop time of the last look that saw some taken.
        self._unsent: float = inf
        self._moved = 0.0
        self._clogged = False  # the client leaves so much unsent that it is asked for no more
        self._alarm = Alarm(loop, self._ring, self._deadline)

    # What the transport says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, since uvloop's transports do not derive from asyncio's.
        self._transport = transport = cast(asyncio.Transport, transport)
        self._valve = Valve(transport)
        self.write.open(transport)
        transport.set_write_buffer_limits(high=WRITE_HIGH, low=WRITE_LOW)
        peer = transport.get_extra_info("peername")
        self.client = peer[0] if isinstance(peer, tuple) else "unix"
        connections = self._host.connections
        connections.add(self)
        if len(connections) > self._host.limit + self._host.spare:
            self.abort()
        elif len(connections) > self._host.limit:
            self._refuse(Overloaded("too many connections; try again in a moment"))

    def data_received(self, data: bytes) -> None:
        """Take one request out of `data`; what follows waits until it is answered."""
        try:
            if self._phase is HEAD:
                if self._early:
                    data, self._early = self._early + data, b""
                self._read_head(data)
            elif self._phase is BODY:
                self._read_body(data)
            elif self._phase is BUSY:
                self._keep_early(data)
        except ClientError as error:
            self._refuse(error, data)

    def eof_received(self) -> None:
        if self._phase is BODY or (self._phase is HEAD and self._reader.pending):
            self._refuse(MalformedRequest("the request ended before it was complete"))
        # A half-closed client cannot be told from one that left (faults row 26).
        self._gone()
        self.write.close()
        # The transport closes when all is sent: somebody must cut a client that reads nothing.
        self._enter(LINGER, LINGER_TIMEOUT)

    def connection_lost(self, exc: Exception | None) -> None:
        self._phase = CLOSED
        self._transport = None
        self.write.close()
        self._host.connections.discard(self)
        self._alarm.cancel()
        self._gone()

    def pause_writing(self) -> None:
        self._clogged = True
        if self._reply is not None:
            self._reply.paused = True
        self._unsent = inf  # it has taken something since it was clogged before
        self._alarm.sooner(self._loop.time() + STALL_LOOK)

    def resume_writing(self) -> None:
        self._clogged = False
        reply = self._reply
        if reply is None:
            self.answered()
            return
        reply.paused = False
        if reply.on_writable is not None:
            reply.on_writable()

    # Reading requests.

    def _read_head(self, data: bytes) -> None:
        found = self._reader.feed(data)
        if found is None:
            self._await_head()
            return
        raw, rest = found
        self._begun = False
        head = NO_HEAD
        try:
            head = read_request(raw)
            self._take(head, rest)
        except ClientError as error:
            self._refuse(error, raw, head)

    def _take(self, head: RequestHead, rest: bytes) -> None:
        """Serve the request of this head, now or when its body is here; `rest` came behind it."""
        # After an upgrade that was not taken, intermediaries disagree on what follows.
        self.keep_alive = head.keep_alive and not (head.upgrade or self._host.draining)
        route_of, framing = self._host.route, head.framing
        route = route_of(head)
        if framing > route.max_body:
            raise RequestTooLarge(f"the body is larger than {route.max_body} bytes")
        if route.refusal and (head.expect_continue or framing > MAX_UNWANTED):
            raise route.refusal  # nobody needs to send the body for that
        if framing == len(rest):
            self._dispatch(head, route, rest)
        else:
            self._await_body(head, route, rest)

    def _await_head(self) -> None:
        if not self._begun and self._reader.pending:
            self._begun = True
            self._enter(HEAD, HEAD_TIMEOUT)

    def _await_body(self, head: RequestHead, route: Route, rest: bytes) -> None:
        """Take what is here of a body that came not, or not alone, with its head."""
        self._arriving = Arriving(head, route, self._loop.time() + BODY_TOTAL)
        self._phase = BODY
        if head.expect_continue and head.framing and not rest:
            self.write(CONTINUE)
        self._read_body(rest)

    def _read_body(self, data: bytes) -> None:
        arriving = self._arriving
        assert arriving is not None
        body = arriving.feed(data)
        if body is None:
            left = arriving.due - self._loop.time()
            self._enter(BODY, min(BODY_TIMEOUT, left))
        else:
            self._arriving = None
            self._early = arriving.surplus  # before it is served: an upgrade hands it over
            self._dispatch(arriving.head, arriving.route, body)

    def _dispatch(self, head: RequestHead, route: Route, body: bytes) -> None:
        """Hand the complete request to its route."""
        reply, clock = self._begin_reply(head), self._host.clock
        request = Request(head, body, reply.request_id, self.client, clock())
        try:
            route.handle(request, reply)
        except Exception as error:
            self._failed(reply, error)

    def _failed(self, reply: Reply, error: Exception) -> None:
        """Answer with an error, unless an answer is out: two would shift all that follow."""
        if not isinstance(error, GatewayError):
            self._host.on_crash(error)
            error = GatewayError("internal error")
        if not reply.status:
            reply.error(error)
            if reply.on_gone is not None:  # a view or a job was to answer, and goes on else
                reply.on_gone()
        elif not reply.ended:
            reply.abort()

    def _begin_reply(self, head: RequestHead) -> Reply:
        """Enter BUSY."""
        given, fresh = head.get(b"x-request-id"), self._host.request_id
        id = given.decode() if given and REQUEST_ID.fullmatch(given) else fresh()
        reply = self._reply = Reply(self, id, head.method, head.http10)
        self._phase = BUSY
        self._unsent = inf  # more is to be written
        return reply

    def _keep_early(self, data: bytes) -> None:
        if len(self._early) + len(data) > PIPELINE_LIMIT:
            self.keep_alive = False
            self._refused = True
        if not self._refused:
            self._early += data

    # Writing answers: the Wire of a Reply.

    def answered(self) -> None:
        """Go on with the next request, or close: the reply is complete."""
        self._reply = None
        if self._phase is not BUSY:
            return
        if self._refused:
            self._linger()
        elif not self.keep_alive:
            self.close()
        elif not self._clogged:  # or requests whose answers nobody reads would fill our memory
            self._phase = HEAD
            self._deadline = self._loop.time() + IDLE_TIMEOUT
            if self._alarm.handle is None:  # else it rings no later
                self._alarm.sooner(self._deadline)
            if self._early:
                # Not now: a thousand pipelined requests must neither nest a thousand calls nor
                # hold up all other clients; and no more are taken meanwhile.
                self._valve.pause()
                self._loop.call_soon(self._read_early)

    def upgrade(self, head: bytes, successor: Successor) -> None:
        """Leave the socket to `successor`, with what the client sent already."""
        transport, early = self._transport, self._early
        if transport is None or self._phase is not BUSY:
            return  # the client left, and `on_gone` has said so
        if self._refused:  # some of what came early was dropped
            self.abort()
            return
        connections = self._host.connections
        connections.add(successor)  # before we leave: a drain ends when the roster is empty
        self._reply, self._early = None, b""
        self.connection_lost(None)
        successor.take_over(
            transport,
            head,
            early,
            on_lost=connections.discard,
            on_stalled=self._host.stalled,
            on_crash=self._host.on_crash,
        )
        if self._host.draining:
            successor.retire()

    def retire(self) -> None:
        """Close now if no request is under way; the next answer closes otherwise."""
        self.keep_alive = False
        if self._phase is HEAD and not self._reader.pending and not self._early:
            self.close()

    def close(self) -> None:
        """Close once everything written is out."""
        if self._transport is not None:
            self._enter(LINGER, LINGER_TIMEOUT)
            self.write.close()
            self._transport.close()

    def abort(self) -> None:
        """Drop the connection and what is unsent."""
        if self._transport is not None:
            self.write.close()
            self._transport.abort()

    def _read_early(self) -> None:
        self._valve.resume()
        if self._early and self._phase is HEAD:
            self.data_received(b"")

    def _refuse(
        self, error: GatewayError, data: bytes = b"", head: RequestHead = NO_HEAD
    ) -> None:
        """Answer a request that cannot be read, and trust nothing that follows it.

        `data` is what came last, if that is why; `head` is that of the request, if it is known.
        """
        self.keep_alive = False
        self._refused = True
        arriving, self._arriving = self._arriving, None
        head = head if arriving is None else arriving.head
        reply = self._begin_reply(head)
        reply.error_body = self._host.error_body(head.path or self._reader.path(data))
        reply.error(error)
        self._host.on_refused(error, head, reply.request_id, self.client)

    def _linger(self) -> None:
        self._enter(LINGER, LINGER_TIMEOUT)
        if self._transport is not None and self._transport.can_write_eof():
            with contextlib.suppress(OSError, RuntimeError):  # it may be closing already
                self._transport.write_eof()

    def _gone(self) -> None:
        """Tell whoever is answering that nobody listens."""
        reply, self._reply = self._reply, None
        if reply is not None and reply.on_gone is not None:
            reply.on_gone()

    # Time.

    def _enter(self, phase: Phase, timeout: float) -> None:
        self._phase = phase
        self._deadline = self._loop.time() + timeout
        self._alarm.sooner(self._deadline)

    def _ring(self, now: float) -> float | None:
        if self._transport is not None and self._transport.get_write_buffer_size():
            return self._ring_unsent(now, unsent(self._transport))
        self._unsent = inf
        if self._phase is BUSY:
            return None
        if now < self._deadline:
            return self._deadline
        if self._phase is BODY or (self._phase is HEAD and self._reader.pending):
            self._refuse(RequestTimeout("the request did not arrive in time"))
            return self._deadline
        self.close()
        return None

    def _ring_unsent(self, now: float, waiting: int) -> float | None:
        """Cut a client that took nothing for STALL_TIMEOUT, whatever the phase.

        Less is unsent if it took some: nothing is written to one that is clogged or has its
        answer.  Any other that is being answered has no more unsent than it may have; it holds
        nobody up, and of one that reads a kilobyte a second TCP may say nothing for minutes.
        """
        if waiting < self._unsent or (self._phase is BUSY and not self._clogged):
            self._moved = now
        self._unsent = waiting
        due = self._moved + STALL_TIMEOUT
        if now < due:
            return min(now + STALL_LOOK, due)
        self._host.stalled()
        self.abort()
        return None
