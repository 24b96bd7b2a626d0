"""How a client wants its answer: in which way, and what becomes of it when the client leaves."""

from typing import Final

import msgspec

from gateway._sseparse import Names
from gateway.guard import RequestHead


class Manner(msgspec.Struct, frozen=True):
    """What a head says about the manner of its answer."""

    key: bytes = b""  # the same request under the same key is answered once
    elsewhere: bool = False  # the client reads its answer elsewhere (RFC 7240 §4.1)
    resumes: bool | None = False  # it will come back if it is cut off; None: it says neither
    seen: str = ""  # the cursor up to which it has its answer
    leaving: bytes = b""  # what it wishes for when it leaves, in lower case


# What is said by a head that says nothing of it, as nearly all do.
USUAL: Final = Manner()
FIELDS: Final = (
    b"idempotency-key", b"prefer", b"headgate-resume", b"last-event-id", b"headgate-on-disconnect",
)  # fmt: skip
ASKED: Final = Names(FIELDS)
RESUMES: Final = {b"": False, b"true": True, b"false": False}


def read_manner(head: RequestHead) -> Manner:
    """Return what a head says about the manner of its answer."""
    if not head.has_any(ASKED):
        return USUAL
    return Manner(
        key=head.get(b"idempotency-key"),
        elsewhere=b"respond-async" in head.members(b"prefer"),
        resumes=RESUMES.get(head.get(b"headgate-resume").lower()),
        seen=head.get(b"last-event-id").decode("latin-1"),
        leaving=head.get(b"headgate-on-disconnect").lower(),
    )
