"""What a dialect is to the gateway: tables of functions, whichever it is.

There are two, for clients may speak one and upstreams another: what is needed of an upstream's
dialect, and what of a client's.  Most dialects have both.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from gateway.chat import Answer, ChatRequest, Event, Usage
from gateway.dialects.calls import Call, Heading, Written
from gateway.errors import GatewayError


Read = Callable[[dict[str, Any]], list[Event]]


class Writer(Protocol):
    """Says events in one dialect; each block is a whole one of SSE, canonical.

    Whatever comes, in whatever order, what is said is a stream of that dialect: opened
    before it goes on, closed once.
    """

    def write(self, event: Event) -> list[bytes]:
        """Return the blocks that say an event; some wait for others, or for the end.

        Raises:
            UpstreamProtocolError: it cannot be said after what was said before.
        """

    def end(self) -> list[bytes]:
        """Return the blocks that are still due when the stream has ended well."""


class ReadCall(Protocol):
    """Decodes and judges a request body; `streams` and `forced` are a matter of the route."""

    def __call__(self, raw: bytes, *, streams: bool = True, forced: bool = False) -> Call: ...


class CancelledEvents(Protocol):
    """Makes the blocks that end a stopped stream, like those that were said before them.

    `said` has these, as far as they are kept: batches, the oldest first.  `finish` is why the
    answer had ended already, if it had, in the words of `chat`; `tokens`, where it is to be
    told, is our estimate.
    """

    def __call__(
        self, said: Sequence[bytes], heading: Heading, *, finish: str, tokens: int | None
    ) -> list[bytes]: ...


class Wire(NamedTuple):
    """How requests in a dialect go to a provider, besides their bodies."""

    root: str  # added to a base URL that ends with no version, as some SDKs want them
    path: Callable[[str, bool], str]  # of a generation, below that: of which model, streamed or not
    credentials: Callable[[bytes], tuple[bytes, bytes]]  # the field that carries a key
    passed: frozenset[bytes]  # fields of a client's request that go on
    fields: tuple[tuple[bytes, bytes], ...] = ()  # that a request must have, unless it has them


class UpstreamDialect(msgspec.Struct, frozen=True):
    """How to ask an upstream in a dialect, and to read what it says.

    Whatever reads an answer raises UpstreamError.
    """

    name: str
    wire: Wire
    parser: int  # what EventParser calls it
    write_request: Callable[[ChatRequest, str], Written]  # raises ClientError
    reader: Callable[[], Read]
    read_answer: Callable[[dict[str, Any]], Answer]
    read_usage: Callable[[dict[str, Any]], Usage]
    reason: Callable[[str], str]  # why an answer ended, in the words of `chat`
    status_of: Callable[[dict[str, Any]], int]  # that an error in a 200 should have had
    # A text after a text is read by itself: what came before matters not, nor what will.
    steady: bool = False


class ClientDialect(msgspec.Struct, frozen=True):
    """How a client asks in a dialect, and how it is answered.

    Whatever reads a request raises ClientError, naming the parameter.
    """

    name: str
    path: str  # of a generation, as a client asks for it, below `/v1`
    heartbeat: bytes
    done: bytes  # what ends a good stream after its last event, in the bytes of a client
    read_call: ReadCall
    read_user: Callable[[dict[str, Any]], str]  # who asks, as the client says; "" if it does not
    upstream_body: Callable[[Call, str], bytes]  # for an upstream of the same dialect
    read_request: Callable[[dict[str, Any]], ChatRequest]
    writer: Callable[[Heading], Writer]
    write_answer: Callable[[Answer, Heading], dict[str, Any]]
    error_body: Callable[[GatewayError, str], dict[str, Any]]  # with the request's id
    # The block that ends a broken stream; what was said before as CancelledEvents has it.
    error_event: Callable[[GatewayError, Sequence[bytes], Heading], bytes]
    cancelled_events: CancelledEvents
    # A text after a text is said by itself: as one block, which has no number or clock.
    steady: bool = False
