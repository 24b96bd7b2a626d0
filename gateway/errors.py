"""Every error the gateway knows, in one tree.

    GatewayError                    500  internal_error
     ├─ ConfigError                 the operator's file is wrong; exit status 78
     ├─ BindError                   a listener cannot be opened; exit status 69
     ├─ ClientError                 400  the client's request is at fault (client_errors.py)
     │   ├─ MalformedRequest        400  not HTTP as RFC 9112 has it; the connection closes
     │   ├─ InvalidApiKey           401  invalid_api_key
     │   ├─ Forbidden               403  known, and still not allowed
     │   │   └─ StaleEpoch          a producer that a later one of its name has replaced
     │   ├─ PreviousResponseNotFound  400  of a response that nobody remembers
     │   ├─ ConnectionTooOld        400  told on a WebSocket, which then closes
     │   ├─ RouteNotFound           404
     │   ├─ LogNotFound             404  no such log, or not this caller's
     │   ├─ ResponseNotFound        404  no such response, or not this caller's
     │   ├─ ModelNotFound           404  model_not_found: none, or none that this caller may use
     │   ├─ MethodNotAllowed        405
     │   ├─ NotAcceptable           406  the log cannot be shown in this form
     │   ├─ RequestTimeout          408
     │   ├─ Conflict                409  the log does not stand as the request presumes
     │   │   ├─ LogClosed           nothing may be appended any more
     │   │   └─ SequenceGap         what a producer sent before has not arrived
     │   ├─ CursorGone              410  cursor_gone: what follows it is not kept any more
     │   ├─ RequestTooLarge         413  request_too_large
     │   ├─ TargetTooLong           414
     │   ├─ UnsupportedMedia        415
     │   ├─ ExpectationFailed       417
     │   ├─ Misdirected             421  the Host is not one of ours
     │   ├─ Unprocessable           422  a key of idempotency used for another request
     │   ├─ UpgradeRequired         426  this path speaks WebSocket, version 13
     │   ├─ HeadTooLarge            431
     │   ├─ NotImplementedHere      501
     │   └─ VersionNotSupported     505
     ├─ Overloaded                  503  overloaded; carries Retry-After
     ├─ ShuttingDown                500  stream_interrupted; told in the stream
     ├─ BadChunk                    body framing that RFC 9112 §7.1 does not allow, either side
     ├─ BodyTooLong                 a body beyond the limit its reader set, either side
     └─ UpstreamError               502  the provider, or the way to it (upstream_errors.py)
         ├─ UpstreamUnavailable     502  upstream_unavailable: name, connect, TLS, reset
         ├─ UpstreamProtocolError   502  upstream_protocol_error: not HTTP, not SSE, too large
         │   └─ EventTooLong        an event outgrew its limit
         ├─ UpstreamTimeout         504  upstream_timeout: first event, idle, total
         ├─ UpstreamKeysOut         502  upstream_keys_out: the provider refuses our keys
         ├─ UpstreamAnswer          the provider's own error answer, passed through
         ├─ UpstreamRefused         the provider's own error, given as the first event of a 200
         └─ StreamInterrupted       the stream broke after its first event; told in the stream

A class knows its HTTP status, the `type` and `code` of the OpenAI error object,
and `kind`, of the closed set of words used as a metric label; it never holds text from
outside.
"""

from typing import ClassVar

import orjson


class GatewayError(Exception):
    """Something the gateway tells a client, or its operator, in plain words."""

    status: int = 500
    type: ClassVar[str] = "server_error"  # of the OpenAI error object, as `code`
    code: str | None = "internal_error"
    kind: str = "internal"
    source: ClassVar[str] = "gateway"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after: int | None = None  # seconds, where waiting helps
        self.delay: float | None = None  # seconds, as the provider asked; for us
        self.final = False  # the provider says that repeating is of no use
        self.media = b"application/json"  # content type of `payload`
        self.fields = b""  # field lines that the answer carries besides its own

    def body(self) -> dict[str, object]:
        """Return the OpenAI error object, `{"error": {...}}`."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }

    def payload(self) -> bytes:
        """Return what a client is sent: `body` as JSON."""
        return orjson.dumps(self.body())


class ConfigError(GatewayError):
    """The configuration cannot be used as it stands."""

    code = "config_error"


class BindError(GatewayError):
    """A listening socket cannot be opened."""

    code = "bind_error"


class Overloaded(GatewayError):
    """No room for this request now; it may be sent again."""

    status = 503
    code = "overloaded"
    kind = "overloaded"

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ShuttingDown(GatewayError):
    """We end before the answer does."""

    code = "stream_interrupted"
    kind = "shutdown"


class BadChunk(GatewayError):
    """A message body is not framed as RFC 9112 §6-7 want; the reader says whose fault it is."""


class BodyTooLong(GatewayError):
    """A message body is longer than its reader takes."""
