"""Which web pages may use the gateway: CORS, and what a browser says about who asks.

A page cannot forge what is read here: `Origin` and `Sec-Fetch-Site` are set by the
browser alone.  Other clients send neither, or anything; they hold no authority of
their user's, so they gain nothing by it.
"""

import re
from collections.abc import Iterable
from typing import Final

from gateway._sseparse import Names
from gateway.guard import RequestHead


METHODS: Final = b"GET, HEAD, POST, PUT, DELETE"
# What wire-api and Durable Streams let a client send, besides what SDKs add on their own.
REQUEST_FIELDS: Final = (
    b"authorization, x-api-key, api-key, content-type, if-none-match, last-event-id,"
    b" idempotency-key, prefer, x-request-id, headgate-resume, headgate-on-disconnect,"
    b" headgate-shared, stream-seq, stream-closed, stream-ttl, stream-expires-at,"
    b" stream-forked-from, stream-fork-offset, stream-fork-sub-offset,"
    b" producer-id, producer-epoch, producer-seq,"
    b" openai-organization, openai-project, openai-beta, anthropic-version, anthropic-beta,"
    b" anthropic-dangerous-direct-browser-access"
)
# The official SDKs describe themselves in fields that come and go with their releases.
SDK_FIELD = re.compile(rb"\bx-stainless-[a-z-]{1,40}")
# A preflight may name as many as a head has room for; the SDKs send a dozen.
MAX_SDK_FIELDS: Final = 32
# What a page may read of an answer.
ANSWER_FIELDS: Final = (
    b"location, etag, content-encoding, x-request-id, request-id, server-timing,"
    b" headgate-upstream, headgate-upstream-request-id, headgate-overhead-ms,"
    b" headgate-error-source, headgate-dropped-params, headgate-coalesced,"
    b" retry-after, retry-after-ms, x-should-retry,"
    b" x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests,"
    b" x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens,"
    b" stream-next-offset, stream-cursor, stream-up-to-date, stream-closed, stream-ttl,"
    b" stream-expires-at, stream-sse-data-encoding, producer-epoch, producer-seq,"
    b" producer-expected-seq, producer-received-seq"
)
# Seconds that a browser may keep an answer to a preflight; Chromium cuts it to two hours.
MAX_AGE: Final = 86400

# What a browser says of the page that asks: with a POST at least one of these.
SAID_OF_PAGES: Final = Names((b"origin", b"sec-fetch-site"))
SAFE: Final = ("GET", "HEAD")

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_WEB_ORIGIN = re.compile(rb"https?://([^/]+)")
# Hosts that no name server answers for; the last label of a name is never a number.
_LOCAL = re.compile(rb"(?:(?:[^:]+\.)?localhost|[0-9.]+|\[[0-9a-f:.]+\])?(?::[0-9]*)?")


class Cors:
    """The origins whose pages may use the gateway; with none of them, CORS is off."""

    __slots__ = ("_allowing", "_hosts", "_other")

    def __init__(self, origins: Iterable[str]) -> None:
        listed = [_serialized(origin) for origin in origins]
        self._allowing = {origin: _allowing(origin) for origin in listed}
        self._hosts = {origin.partition(b"://")[2] for origin in listed}
        self._other = b"vary: origin\r\n" if listed else b""  # to all others, if CORS is on

    def allowed(self, origin: bytes) -> bool:
        """Tell whether `origin`, as a request has it, is on the list; "null" never is."""
        return origin in self._allowing

    def fields(self, head: RequestHead) -> bytes:
        """Return the field lines that every answer to this request carries."""
        if not self._allowing:
            return self._other
        allowing = self._allowing.get(head.get(b"origin"))
        if allowing is None:
            return self._other
        return allowing + b"access-control-expose-headers: " + ANSWER_FIELDS + b"\r\n"

    def preflight(self, head: RequestHead) -> bytes | None:
        """Return the field lines of the 204 that answers a preflight, None if this is none.

        It is none, too, if its origin is not on the list: without these fields the
        browser does not go on.
        """
        allowing = self._allowing.get(head.get(b"origin"))
        asks = head.method == "OPTIONS" and head.get(b"access-control-request-method")
        if allowing is None or not asks:
            return None
        wanted = SDK_FIELD.findall(head.get(b"access-control-request-headers").lower())
        sent = b", ".join([REQUEST_FIELDS, *sorted(set(wanted))[:MAX_SDK_FIELDS]])
        return allowing + (
            b"access-control-allow-methods: %b\r\n"
            b"access-control-allow-headers: %b\r\n"
            b"access-control-max-age: %d\r\n" % (METHODS, sent, MAX_AGE)
        )

    def no_page(self, head: RequestHead) -> bool:
        """Tell whether no page can have sent this: with a POST all browsers say where from."""
        named = head.get(b"origin") or head.get(b"sec-fetch-site")
        return not named and head.method not in SAFE

    def vouched(self, head: RequestHead) -> bool:
        """Tell whether the browser says that a page asks which we trust with a cookie.

        Such a page is of a listed origin, or of the gateway's own: EventSource sends no
        Origin there, but Sec-Fetch-Site.
        """
        origin = head.get(b"origin")
        if self.allowed(origin):
            return True
        return origin != b"null" and head.get(b"sec-fetch-site") == b"same-origin"

    def foreign(self, head: RequestHead) -> bool:
        """Tell whether a page asks that is neither of a listed origin nor of the gateway's own.

        Its own is what the browser calls so.  An old browser, or one that does not trust
        the connection, says nothing: then the Origin must name the Host.
        """
        origin, site = head.get(b"origin"), head.get(b"sec-fetch-site")
        if self.vouched(head):
            return False
        if origin and not site:
            web = _WEB_ORIGIN.fullmatch(origin)
            return web is None or web[1] != head.get(b"host").lower()
        # "none": the reader typed the address.  Extensions send that too, with their Origin.
        return bool(origin) or site not in (b"", b"none")

    def rebound(self, head: RequestHead) -> bool:
        """Tell whether a page may ask that had its own name resolved to this machine.

        To the browser that page is of the gateway's own origin (DNS rebinding).  Its name
        is all that gives it away: no Sec-Fetch-Site is sent to it, and no Origin with a GET.
        """
        origin = head.get(b"origin")
        if self.no_page(head) or head.get(b"sec-fetch-site") or self.allowed(origin):
            return False
        host = head.get(b"host").lower()
        return host not in self._hosts and _LOCAL.fullmatch(host) is None


def _serialized(origin: str) -> bytes:
    """Return an origin as browsers write it: in lower case, without a default port."""
    scheme, _, host = origin.lower().partition("://")
    return f"{scheme}://{host.removesuffix(_DEFAULT_PORTS.get(scheme, ''))}".encode()


def _allowing(origin: bytes) -> bytes:
    return (
        b"vary: origin\r\n"
        b"access-control-allow-origin: %b\r\n"
        b"access-control-allow-credentials: true\r\n" % origin
    )
