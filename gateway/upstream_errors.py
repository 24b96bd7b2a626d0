"""What an upstream, or the way to it, did wrong: the branch UpstreamError of errors.py."""

import contextlib
from collections.abc import Callable

import orjson

from gateway.errors import GatewayError


class UpstreamError(GatewayError):
    """The provider, or the way to it, failed."""

    status = 502
    type = "upstream_error"
    code = "upstream_unavailable"
    kind = "upstream"

    def __init__(self, message: str, *, kind: str | None = None) -> None:
        super().__init__(message)
        if kind is not None:
            self.kind = kind


class UpstreamUnavailable(UpstreamError):
    """No answer could be had: name, connection, TLS, or a reset before the head."""

    kind = "connect"


class UpstreamProtocolError(UpstreamError):
    """What the provider sent is not what HTTP or SSE allow, or goes past a limit."""

    code = "upstream_protocol_error"
    kind = "protocol"


class EventTooLong(UpstreamProtocolError):
    """One event outgrew its limit."""

    kind = "event_too_long"


class UpstreamTimeout(UpstreamError):
    """The provider was silent for too long."""

    status = 504
    code = "upstream_timeout"
    kind = "timeout"


class UpstreamKeysOut(UpstreamError):
    """The provider refuses our keys; what it said of them is not the client's business."""

    code = "upstream_keys_out"
    kind = "keys_out"


class UpstreamAnswer(UpstreamError):
    """The provider answered with an error of its own; its status and body are the client's."""

    source = "upstream"

    def __init__(self, status: int, media: bytes, payload: bytes) -> None:
        super().__init__(f"the upstream answered {status}")
        self.status = status
        self.kind = "status_429" if status == 429 else f"status_{status // 100}xx"
        self.media = media
        self.said = payload  # the provider's body, byte for byte
        self._translated: bytes | None = None

    def payload(self) -> bytes:
        """Return the provider's body, byte for byte, unless it was translated."""
        return self.said if self._translated is None else self._translated

    def body(self) -> dict[str, object]:
        """Return the error object in the provider's body, or one that says as much."""
        error: object = None
        with contextlib.suppress(orjson.JSONDecodeError):
            said = orjson.loads(self.said)
            # Google's errors come in a list where an answer would.
            said = said[0] if isinstance(said, list) and said else said
            error = said.get("error") if isinstance(said, dict) else None
        found = error if isinstance(error, dict) else {}
        body = super().body()["error"]
        assert isinstance(body, dict)
        texts = {key: found[key] for key in body if isinstance(found.get(key), str)}
        # Google's codes are numbers, its word for them is its status.
        word = found.get("status")
        return {"error": {**body, "code": word if isinstance(word, str) else None, **texts}}

    def translate(
        self, body: Callable[["GatewayError", str], dict[str, object]], request_id: str
    ) -> None:
        """Let the client have it in its own dialect."""
        self._translated = orjson.dumps(body(self, request_id))
        self.media = b"application/json"


class UpstreamRefused(UpstreamError):
    """The provider answered 200 and then an error as its first event."""

    kind = "inband_error"
    source = "upstream"

    def __init__(self, status: int, error: dict[str, object]) -> None:
        message = error.get("message")
        super().__init__(message if isinstance(message, str) else "the upstream reported an error")
        self.status = status
        self.error = error

    def body(self) -> dict[str, object]:
        """Return the provider's own error object, without what is nested in it.

        A provider may nest deeper than can be encoded; a message, type and code do not nest.
        An error of nothing would be none to a page, which would come back for the end.
        """
        told = {k: v for k, v in self.error.items() if _is_plain(v)}
        whole = {"message": self.message, "type": self.type, "param": None, "code": None}
        return {"error": {**whole, **told}}


def _is_plain(value: object) -> bool:
    """Tell whether a value neither nests nor is a number that JSON's readers cannot hold."""
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return value is None or isinstance(value, str | float)


class StreamInterrupted(UpstreamError):
    """The provider's stream ended before its terminal event."""

    code = "stream_interrupted"
    kind = "truncated"
