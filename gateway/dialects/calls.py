"""What every dialect needs to read and write: bodies, shapes, events as JSON."""

import gc
import json
import math
import re
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
import orjson

from gateway._sseparse import depth, model_and_stream
from gateway.chat import Fault, ToolUse
from gateway.client_errors import ClientError
from gateway.upstream_errors import StreamInterrupted, UpstreamProtocolError, UpstreamRefused


# Nesting of a request's JSON; tool schemas reach 20 (design §8).
MAX_DEPTH = 64
# Bytes of a request from which the collector may begin time and again while it is decoded.
LARGE = 64 * 1024
# How msgspec says that something is not there.
MISSING = re.compile(r"Object missing required field `(\w+)`")
# Names of parameters come from outside, and go into a field of the answer's head.
SHOWN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")
# More of them than that are of no request that is meant.
MAX_SHOWN = 20
# Calls of tools in one answer; each is remembered to its end.
MAX_CALLS = 1024

# By the name of a parameter, the values besides null with which it asks for nothing.
Idle = dict[str, tuple[object, ...]]

_T = TypeVar("_T", bound=msgspec.Struct)


class Call(msgspec.Struct, frozen=True):
    """What a client asked for."""

    dialect: str
    model: str
    stream: bool
    wants_usage: bool  # the client asked for the usage chunk itself
    body: dict[str, Any]
    functions: bool = False  # calls of tools are to be told as calls of functions


class Written(msgspec.Struct, frozen=True):
    """A request in another dialect, and the parameters that are not in it."""

    body: dict[str, Any]
    dropped: tuple[str, ...] = ()


class Heading(msgspec.Struct, frozen=True):
    """What stands over an answer and is not of the model; `id` and `model` if it says none."""

    id: str
    model: str
    created: int  # seconds since 1970
    wants_usage: bool = True
    functions: bool = False  # the client knows calls of tools as calls of functions


def read_body(raw: bytes) -> dict[str, Any]:
    """Decode a request body.

    Raises:
        ClientError: it is no JSON object, or nested beyond reason.
    """
    if depth(raw) > MAX_DEPTH:
        raise ClientError(f"the body nests deeper than {MAX_DEPTH} levels")
    try:
        body = orjson.loads(raw) if len(raw) < LARGE else _loads_large(raw)
    except orjson.JSONDecodeError as error:
        raise ClientError(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise ClientError("the body must be a JSON object")
    return body


def read_call(dialect: str, raw: bytes, *, streams: bool = True, forced: bool = False) -> Call:
    """Decode and judge a request body of a dialect that tells usage unasked.

    `streams` says whether the answer can be a stream, `forced` that it always is.

    Raises:
        ClientError: the body is not such a request; names the parameter.
    """
    body = read_body(raw)
    body = body | {"stream": True} if forced else body
    model, stream = model_and_stream(body)
    return Call(dialect, model, stream and streams, wants_usage=True, body=body)


def upstream_body(call: Call, model: str) -> bytes:
    """Encode a request for a provider of the same dialect: its own model name."""
    return orjson.dumps({**call.body, "model": model})


def shaped(body: dict[str, Any], kind: type[_T]) -> _T:
    """Return a body as the struct it should be.

    Raises:
        ClientError: it is not of that shape, or has a part that no other dialect has words
            for; names the parameter.
    """
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `$")
        if missing := MISSING.match(what):
            what, path = "missing", f"{path.rstrip('`')}.{missing[1]}"
        param = path.rstrip("`").lstrip(".")
        raise ClientError(f"{param}: {what}", param=param) from None


def unexpressed(what: str, dialect: str = "") -> ClientError:
    """Return what is said of what the upstream has no word for: a parameter, or `param: …`."""
    speaks = f"the {dialect} dialect" if dialect else "the dialect"
    return ClientError(
        f"{what} cannot be expressed in {speaks} that this model's upstream speaks",
        param=what.partition(":")[0],
    )


def refuse(body: dict[str, Any], refused: Idle) -> None:
    """Make sure that nothing is asked for that would be missed.

    Raises:
        ClientError: names the first parameter that has no word here.
    """
    for name, idle in refused.items():
        if body.get(name) is not None and body[name] not in idle:
            raise unexpressed(name)


def unread(body: dict[str, Any], kind: type[msgspec.Struct], idle: Idle) -> tuple[str, ...]:
    """Return the parameters that ask for something and are none of `kind`."""
    known = kind.__struct_fields__
    return tuple(
        name
        for name, value in body.items()
        if name not in known and value is not None and value not in idle.get(name, ())
    )


class Gist(msgspec.Struct):
    """What concerns every dialect of a whole answer."""

    usage: Any = None
    error: Any = None  # of an answer that is one, if it has no id: a failed response has both
    id: Any = None
    status: Any = None  # of a response


def look_at(answer: bytes) -> Gist:
    """Return what concerns us of a whole answer of any dialect.

    Only that is built: an embeddings answer is megabytes of numbers.

    Raises:
        UpstreamProtocolError: it is not JSON; `kind` says whether that is for its end.
    """
    try:
        return _GIST.decode(answer)
    except (msgspec.ValidationError, RecursionError):
        return Gist()  # no object, or a deep one: it is passed on as it came
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # An answer that ends at its last token may end amid a character.
        if (found := loads_event(answer)) is not None:
            return Gist(*[found.get(name) for name in Gist.__struct_fields__])
        kind = StreamInterrupted.kind if str(error) == _CUT else None
        raise UpstreamProtocolError("the upstream's answer is not JSON", kind=kind) from error


def is_answer(body: bytes) -> bool:
    """Tell whether what came under the status of an answer is one that may be given again."""
    found = look_at(body)
    return body.lstrip().startswith(b"{") and not found.error and found.status not in _NO_ANSWER


_GIST = msgspec.json.Decoder(Gist)
# How a response stands that has failed, or has no end yet.
_NO_ANSWER = ("failed", "cancelled", "queued", "in_progress")
# How msgspec says that there should be more.
_CUT = "Input data was truncated"


def text(found: Any, key: str) -> str:
    """Return the text under a key of what should be an object, "" if there is none."""
    value = found.get(key) if isinstance(found, dict) else None
    return value if isinstance(value, str) else ""


def arguments(call: ToolUse) -> dict[str, Any]:
    """Return the arguments of a call as the object they are.

    Raises:
        ClientError: they are none.
    """
    try:
        found = orjson.loads(call.arguments or "{}")
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        found = None
    if not isinstance(found, dict):
        raise ClientError("the arguments of a tool call are not a JSON object", param="messages")
    return found


def refused(fault: Fault) -> UpstreamRefused:
    """Return the error that an upstream told in place of an answer."""
    told = {"message": fault.message, "type": fault.type, "code": fault.code}
    # An error goes into a log line too, which takes no halves of characters.
    whole = {key: text.encode(errors="replace").decode() or None for key, text in told.items()}
    return UpstreamRefused(502, {**whole})


def check_calls(number: int) -> None:
    """Take note of the number of a tool call, from 0.

    Raises:
        UpstreamProtocolError: nobody means so many.
    """
    if number >= MAX_CALLS:
        raise UpstreamProtocolError(f"the upstream calls more than {MAX_CALLS} tools")


def shown(names: Iterable[str]) -> list[str]:
    """Return those names of parameters that a client is told: fit for a field, and not too many."""
    return [name for name in dict.fromkeys(names) if SHOWN_NAME.fullmatch(name)][:MAX_SHOWN]


def _loads_large(raw: bytes) -> Any:
    """Decode JSON, with the collector off: a big body is a million objects and no garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        return orjson.loads(raw)
    finally:
        if enabled:
            gc.enable()


# A provider may cut a character between two events, which leaves half of a surrogate pair in
# each.  orjson refuses those, and a client puts them together again: hence the second ways.


def loads_event(payload: bytes) -> dict[str, Any] | None:
    """Return the object in an event; None if it is none, or nested beyond reason."""
    try:
        event = orjson.loads(payload)
    except orjson.JSONDecodeError:
        if depth(payload) > MAX_DEPTH:
            return None
        try:
            text = payload.decode("utf-8", "replace")
            event = json.loads(text, parse_float=_finite, parse_constant=_finite)
        except ValueError:
            return None
    return event if isinstance(event, dict) else None


def encode(value: object) -> bytes:
    """Return what `loads_event` would read."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"JSON has no {text}")
    return number
