"""Who calls: a credential in a request head becomes a Caller, or a refusal.

    Authorization: Bearer, x-api-key, api-key    a key
    ?api_key=, ?key=                             a key, where the operator allows it
    cookie                                       a key, from a page of an origin we trust
    ?ticket=, subprotocol `ticket.…`             a ticket, for a GET

Two different credentials in one request are two opinions about who calls, and so none.
A key says by itself that its sender may use it.  What a browser adds unasked does
not: a cookie, and the nearness of a gateway that asks for no key.  There the page
that asks is judged, too.

Keys are known by their SHA-256 only.  A hash is looked up, so neither its time nor
what is kept in memory tells anything about a key.
"""

from collections.abc import Iterable
from hashlib import sha256
from hmac import compare_digest
from typing import Final, Protocol
from urllib.parse import parse_qsl

import msgspec

from gateway.client_errors import Forbidden, InvalidApiKey, Misdirected
from gateway.cors import SAFE, SAID_OF_PAGES, Cors
from gateway.guard import RequestHead
from gateway.literals import Secret


TICKET_PROTOCOL: Final = b"ticket."
NONE: Final = frozenset[bytes]()
TICKET: Final = frozenset(("ticket",))
QUERY_KEYS: Final = frozenset(("api_key", "key"))


class Caller(msgspec.Struct, frozen=True):
    """Who calls, and what that one may do."""

    subject: str = ""  # whose logs these are; "" where the gateway is open
    models: frozenset[str] | None = None  # public names; None: all
    opens: str | None = None  # the one path of a ticket; None: not bound

    def knows(self, model: str) -> bool:
        """Tell whether the model of this name exists as far as this caller can see."""
        return self.models is None or model in self.models


OPEN: Final = Caller()
# What an unknown key is compared with: the SHA-256 of nothing that anybody knows.
NOBODY: Final = (bytes(sha256().digest_size), OPEN)


class Key(Protocol):
    """A key as the operator configured it."""

    @property
    def key(self) -> Secret:
        """Visible ASCII characters."""

    @property
    def subject(self) -> str:
        """Whose it is; not empty."""

    @property
    def models(self) -> tuple[str, ...] | None:
        """Public names of models that it may use; None, or "*" among them: all."""


class Redeemer(Protocol):
    """What redeems a ticket."""

    def redeem(self, ticket: str, path: str, now: float) -> Caller | None:
        """Return who opens `path` by this ticket, or None; it is spent."""


class Callers:
    """All who may call.  Without any key the gateway is open to whoever reaches it."""

    __slots__ = ("_cookie", "_cors", "_known", "_query_keys", "_tickets")

    def __init__(
        self,
        keys: Iterable[Key],
        *,
        cookie: str | None,
        allow_query_keys: bool,
        cors: Cors,
        tickets: Redeemer,
    ) -> None:
        self._known = dict(map(_entry, keys))  # by hash: the hash, the caller
        self._cookie = cookie.encode() if cookie else b""  # its name
        self._query_keys = QUERY_KEYS if allow_query_keys else frozenset[str]()
        self._cors = cors
        self._tickets = tickets

    def identify(self, head: RequestHead, now: float) -> Caller:
        """Return who sends this request; a ticket in it is spent.

        Raises:
            InvalidApiKey: no credential, an unknown one, or two different ones.
            Forbidden: a page asks that is none of ours, by a ticket or of an open gateway.
            Misdirected: an open gateway is called by a name that somebody may have turned
                to it.
        """
        if not self._known:
            if head.has_any(SAID_OF_PAGES) or head.method in SAFE:
                self._keep_pages_out(head)
            return OPEN
        keys = self._keys(head)
        tickets = _tickets(head) if head.method == "GET" else NONE
        if len(keys) + len(tickets) != 1:
            raise InvalidApiKey
        if keys:
            return self._holder(keys.pop())
        (ticket,) = tickets
        return self._holder_of_ticket(ticket, head, now)

    def _keep_pages_out(self, head: RequestHead) -> None:
        # An SDK always sends some key.  It means nothing here, and so excuses nothing.
        if self._cors.foreign(head):
            raise Forbidden(
                "this gateway asks for no key, so no web page may use it"
                " whose origin is not configured"
            )
        if self._cors.rebound(head):
            raise Misdirected(
                "this gateway asks for no key, so it answers to no name but localhost,"
                " an address, or that of a configured origin"
            )

    def _keys(self, head: RequestHead) -> set[bytes]:
        """Return the different keys in a head."""
        # Another scheme than Bearer is for somebody on the way to us.
        scheme, _, token = head.get(b"authorization").partition(b" ")
        bearer = token.strip() if scheme.lower() == b"bearer" else b""
        found = {bearer, head.get(b"x-api-key"), head.get(b"api-key")}
        if head.query and self._query_keys:
            found.update(_query(head, self._query_keys))
        if self._cookie and self._cors.vouched(head):
            found.update(_cookies(head, self._cookie))
        found.discard(b"")
        return found

    def _holder(self, key: bytes) -> Caller:
        shown = sha256(key).digest()
        known, caller = self._known.get(shown, NOBODY)
        if not compare_digest(shown, known):
            raise InvalidApiKey
        return caller

    def _holder_of_ticket(self, ticket: bytes, head: RequestHead, now: float) -> Caller:
        if self._cors.foreign(head):
            raise Forbidden("pages of this origin may not use tickets here")
        caller = self._tickets.redeem(ticket.decode("latin-1"), head.path, now)
        if caller is None:
            raise InvalidApiKey
        return caller


def _entry(key: Key) -> tuple[bytes, tuple[bytes, Caller]]:
    models = None if key.models is None or "*" in key.models else frozenset(key.models)
    hash = sha256(key.key.reveal().encode()).digest()
    return hash, (hash, Caller(str(key.subject), models))


def _tickets(head: RequestHead) -> set[bytes]:
    """Return the different tickets in the head of a GET."""
    protocols = head.members(b"sec-websocket-protocol")
    found = {p.removeprefix(TICKET_PROTOCOL) for p in protocols if p.startswith(TICKET_PROTOCOL)}
    found.update(_query(head, TICKET))
    found.discard(b"")
    return found


def _query(head: RequestHead, names: frozenset[str]) -> list[bytes]:
    return [value.encode() for name, value in parse_qsl(head.query) if name in names]


def _cookies(head: RequestHead, wanted: bytes) -> list[bytes]:
    lines = [value for name, value in head.headers if name == b"cookie"]
    pairs = [pair.partition(b"=") for pair in b";".join(lines).split(b";")]
    return [value.strip() for name, _, value in pairs if name.strip() == wanted]
