"""What a client did wrong: the branch ClientError of errors.py."""

from gateway.errors import GatewayError


# Characters of an unknown model's name that its refusal repeats: a body may be 20 MB of it.
SHOWN_NAME = 200


class ClientError(GatewayError):
    """The request cannot be served as the client sent it."""

    status = 400
    type = "invalid_request_error"
    code: str | None = None
    kind = "client"


class MalformedRequest(ClientError):
    """The bytes are not an HTTP/1.1 request; nothing after them can be trusted."""

    code = "malformed_request"


class InvalidApiKey(ClientError):
    """Nobody is known by the credential, or none was sent; the words are always the same."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"

    def __init__(self) -> None:
        super().__init__("a valid API key is required")
        self.fields = b"www-authenticate: Bearer\r\n"


class Forbidden(ClientError):
    """The caller may not do this from here."""

    status = 403
    type = "permission_error"
    code = "forbidden"


class StaleEpoch(Forbidden):
    """A producer writes under an epoch that a later one has ended."""

    code = "stale_epoch"

    def __init__(self, epoch: int) -> None:
        super().__init__(f"this producer goes on in epoch {epoch}")
        self.fields = b"producer-epoch: %d\r\n" % epoch


class RouteNotFound(ClientError):
    """No route has this path."""

    status = 404
    code = "not_found"


class LogNotFound(ClientError):
    """No log has this id, or this caller may not know of it."""

    status = 404
    code = "stream_not_found"

    def __init__(self) -> None:
        super().__init__("no such stream")


class ResponseNotFound(ClientError):
    """No response has this id, or none is kept any more, or this caller may not know of it."""

    status = 404
    code = "response_not_found"

    def __init__(self) -> None:
        super().__init__("no such response: it is not this key's, or not kept any more")


class PreviousResponseNotFound(ClientError):
    """A request goes on from a response that neither the gateway nor its upstream remembers."""

    code = "previous_response_not_found"

    def __init__(self) -> None:
        what = "the previous response is not known here: send the whole input, without its id"
        super().__init__(what, param="previous_response_id")


class ModelNotFound(ClientError):
    """No configured model has this name, or this caller may not know of it."""

    status = 404
    code = "model_not_found"

    def __init__(self, name: str) -> None:
        shown = repr(name if len(name) <= SHOWN_NAME else name[:SHOWN_NAME] + "...")
        super().__init__(f"no model {shown} is configured", param="model")


class MethodNotAllowed(ClientError):
    """The path exists, under other methods."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, message: str, *, allow: str) -> None:
        super().__init__(message)
        self.fields = b"allow: " + allow.encode() + b"\r\n"


class NotAcceptable(ClientError):
    """What is asked for cannot be shown in the form that is asked for."""

    status = 406
    code = "not_acceptable"


class RequestTimeout(ClientError):
    """The request did not arrive in time."""

    status = 408
    code = "request_timeout"


class Conflict(ClientError):
    """The log is not as the request presumes: closed, of another type, further on."""

    status = 409
    code = "conflict"


class LogClosed(Conflict):
    """The log is closed for good; `cursor` is its end."""

    code = "stream_closed"

    def __init__(self, cursor: str) -> None:
        super().__init__("the log is closed; nothing can be appended")
        self.fields = b"stream-closed: true\r\nstream-next-offset: %b\r\n" % cursor.encode()


class SequenceGap(Conflict):
    """A producer's request came before the one that it follows."""

    code = "sequence_gap"

    def __init__(self, expected: int, received: int) -> None:
        super().__init__(f"this producer's next sequence number is {expected}, not {received}")
        self.fields = b"producer-expected-seq: %d\r\nproducer-received-seq: %d\r\n" % (
            expected,
            received,
        )


class CursorGone(ClientError):
    """What follows the cursor is not kept any more, or it is of another log."""

    status = 410
    code = "cursor_gone"


class RequestTooLarge(ClientError):
    """The body is larger than this route takes."""

    status = 413
    code = "request_too_large"


class TargetTooLong(ClientError):
    """The request line is longer than its limit."""

    status = 414
    code = "uri_too_long"


class UnsupportedMedia(ClientError):
    """The body is encoded in a way this gateway does not take."""

    status = 415
    code = "unsupported_media_type"


class ExpectationFailed(ClientError):
    """The client expects something other than 100-continue."""

    status = 417
    code = "expectation_failed"


class Misdirected(ClientError):
    """The Host names a server that this one is not."""

    status = 421
    code = "misdirected_request"


class ConnectionTooOld(ClientError):
    """A WebSocket was open for as long as one may be."""

    code = "websocket_connection_limit_reached"


class Unprocessable(ClientError):
    """An idempotency key came with another request than before."""

    status = 422
    code = "idempotency_key_reused"


class UpgradeRequired(ClientError):
    """The path speaks WebSocket, in the one version that is a standard."""

    status = 426
    code = "upgrade_required"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.fields = b"upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"


class HeadTooLarge(ClientError):
    """The fields of the head are too many or too large."""

    status = 431
    code = "head_too_large"


class NotImplementedHere(ClientError):
    """A method or transfer coding that this server does not have."""

    status = 501
    code = "not_implemented"


class VersionNotSupported(ClientError):
    """An HTTP version other than 1.0 and 1.1."""

    status = 505
    code = "http_version_not_supported"
