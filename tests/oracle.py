"""What `gateway._sseparse` must do, as plainly as it can be said.

Everything is judged from the whole input at once, with regular expressions and byte
loops, as slowly as it likes.  Nothing here is shared with the compiled module, so that
the same slip is not made twice.
"""

import json
import re
import struct
from typing import Any, NamedTuple

import orjson


CHUNKED, UNTIL_CLOSE = -1, -2
LINE_LIMIT, TRAILER_LIMIT = 256, 8192
BOM = b"\xef\xbb\xbf"

# RFC 9110 §5.6: token, quoted-string; RFC 9112 §7.1: a chunk's line, a trailer field.
TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
BWS = rb"[ \t]*"
EXT = rb"%b;%b%b(?:%b=%b(?:%b|%b))?" % (BWS, BWS, TOKEN, BWS, BWS, TOKEN, QUOTED)
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]+)(?:%b)*\r\n" % EXT)
FIELD_LINE = re.compile(TOKEN + rb":[\t -~\x80-\xff]*\r\n")

# Whatever a lawful line was cut in, one of these completes it.
CHUNK_LINE_ENDS = (b"\r\n", b"\n", b"0\r\n", b";a\r\n", b"a\r\n", b'"\r\n', b'a"\r\n')
FIELD_LINE_ENDS = (b"\r\n", b"\n", b":\r\n", b"a:\r\n")

GEMINI = 2
TELLING_CONTENTS = re.compile(
    rb'"(?:finishReason|blockReason|error)"[ \t\r\n]*:[ \t\r\n]*+(?!null)[\x00-\xff]'
)
COUNTING = re.compile(rb'"usageMetadata"[ \t\r\n]*:[ \t\r\n]*+[\x00-\xff]')
TELLING = re.compile(rb'"(?:usage|finish_reason|error)"[ \t\r\n]*:[ \t\r\n]*+(?!null)[\x00-\xff]')


class Body(NamedTuple):
    """A message body as far as it is here; `state` is more, ended, bad or long."""

    payload: bytes
    state: str
    rest: bytes = b""


def body(raw: bytes, framing: int, limit: int) -> Body:
    """Take the framing off `raw`."""
    if framing == CHUNKED:
        return chunked_body(raw, limit)
    if framing > limit:
        return Body(b"", "long")
    payload, rest = (raw, b"") if framing == UNTIL_CLOSE else (raw[:framing], raw[framing:])
    if len(payload) > limit:
        return Body(b"", "long")
    return Body(payload, "ended" if len(payload) == framing else "more", rest)


def chunked_body(raw: bytes, limit: int) -> Body:
    """Take chunks off `raw`, one after the other."""
    payload = b""
    while True:
        match = CHUNK_LINE.match(raw[:LINE_LIMIT])
        if not match:
            return Body(payload, cut(raw, LINE_LIMIT, CHUNK_LINE, CHUNK_LINE_ENDS))
        raw = raw[match.end() :]
        size = int(match[1], 16)
        if size == 0:
            return trailers(payload, raw)
        if len(payload) + size > limit:
            return Body(payload, "long")
        payload += raw[:size]
        raw = raw[size:]
        if not b"\r\n".startswith(raw[:2]):
            return Body(payload, "bad")
        if len(raw) < 2:
            return Body(payload, "more")
        raw = raw[2:]


def trailers(payload: bytes, raw: bytes) -> Body:
    """Read the fields behind the last chunk."""
    room = TRAILER_LIMIT
    while True:
        if raw.startswith(b"\r\n") and room >= 2:
            return Body(payload, "ended", raw[2:])
        match = FIELD_LINE.match(raw[:room])
        if not match:
            state = "more" if raw == b"\r" and room >= 1 else None
            return Body(payload, state or cut(raw, room, FIELD_LINE, FIELD_LINE_ENDS))
        room -= match.end()
        raw = raw[match.end() :]


def cut(raw: bytes, room: int, line: re.Pattern[bytes], ends: tuple[bytes, ...]) -> str:
    """Say whether `raw`, which does not begin with a whole line, may yet become one."""
    viable = len(raw) <= room and any(line.fullmatch(raw + end) for end in ends)
    return "more" if viable else "bad"


def blocks(payload: bytes) -> tuple[list[bytes], bytes]:
    """Return the complete blocks, each with its blank line, and the unfinished rest."""
    found = []
    start, blank = 0, True
    for at, byte in enumerate(payload):
        if byte == 0x0A and payload[at - 1 : at] == b"\r":
            if start == at:
                start += 1  # the LF of a CR LF that ended the block before: of no block
        elif byte in b"\r\n":
            if blank:
                found.append(payload[start : at + 1])
                start = at + 1
            blank = True
        else:
            blank = False
    return found, payload[start:]


def read_block(block: bytes) -> tuple[bytes, bytes] | None:
    """Return event type and data of a block, None if it has no data."""
    event, data = b"", []
    for line in re.split(rb"\r\n|\r|\n", block):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            event = value
        elif name == b"data":
            data.append(value)
    return (event, b"\n".join(data)) if data else None


def canonical(event: bytes, data: bytes) -> bytes:
    """Write one event as the gateway does."""
    head = b"event: " + event + b"\n" if event else b""
    return head + b"".join(b"data: " + line + b"\n" for line in data.split(b"\n")) + b"\n"


def tells(data: bytes) -> dict[str, Any]:
    """Return what is to be read in an event's data, {} if nothing is."""
    return decoded(data) if TELLING.search(data) else {}


def decoded(data: bytes) -> dict[str, Any]:
    """Return the object in an event's data, {} if there is none; it has no half of a character."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            value = orjson.loads(without_halves(data))
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}


def without_halves(data: bytes) -> bytes:
    """Return a JSON text as a reader would that replaces what is no character."""
    text = data.decode("utf-8", "replace")
    plain = json.dumps(json.loads(text, parse_constant=int), ensure_ascii=False)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


class Story(NamedTuple):
    """All that one stream comes to."""

    data: bytes = b""
    events: int = 0
    done: bool = False
    ended: bool = False
    surplus: bool = False
    fault: str = ""
    error: dict[str, Any] | None = None
    error_at: int = 0
    finish: str | None = None
    usage: dict[str, Any] | None = None
    counting: bytes = b""  # the last event with a usage, where nothing else is told


def story(raw: bytes, framing: int, **settings: Any) -> Story:
    """Tell what comes of `raw`, and of the closing of the connection if `eof`."""
    told = read_stream(raw, framing, **settings)
    return counted(told, decoded(told.counting))._replace(counting=b"")


def read_stream(
    raw: bytes,
    framing: int,
    *,
    eof: bool,
    dialect: int = 0,
    strip_usage: bool = False,
    event_limit: int = 1 << 20,
) -> Story:
    """Read events until one of them, or the framing, ends them."""
    payload, state, rest = body(raw, framing, 1 << 60)
    ended = state == "ended" or (eof and framing == UNTIL_CLOSE)
    if payload.startswith(BOM):
        payload = payload[3:]
    elif BOM.startswith(payload):
        payload = b""  # it may become one
    found, unfinished = blocks(payload)

    told = Story()
    for block in found:
        if len(block) > event_limit:
            return told._replace(fault="event_too_long")
        told = take_contents(told, block) if dialect == GEMINI else take(told, block, strip_usage)
        if told.done or told.error:
            break
    else:
        if len(unfinished) > event_limit:
            return told._replace(fault="event_too_long")
        over = ended or (eof and state == "more")
        last = read_block(unfinished)
        if dialect == GEMINI:
            told = told._replace(done=bool(ended and told.finish and last is None))
        elif over and last and not last[0] and last[1].rstrip(b" \t") == b"[DONE]":
            told = told._replace(done=True)

    fault = "framing" if state in ("bad", "long") else "truncated" if eof and not ended else ""
    return told._replace(ended=ended, surplus=rest != b"", fault=fault)


def take(told: Story, block: bytes, strip_usage: bool) -> Story:
    """Go on with one block."""
    read = read_block(block)
    if read is None:
        return told
    if read[1].rstrip(b" \t\n") == b"[DONE]":
        return told._replace(done=True)
    if read[0] == b"error" and not decoded(read[1]).get("error"):
        read = (b"", orjson.dumps({"error": named_error(read[1])}))
    value = tells(read[1])
    choices, error, usage = value.get("choices"), value.get("error"), value.get("usage")
    if isinstance(usage, dict) and usage:
        told = told._replace(usage=usage)
        if strip_usage and choices == [] and not error:
            return told
    for choice in choices if isinstance(choices, list) else []:
        finish = choice.get("finish_reason") if isinstance(choice, dict) else None
        if isinstance(finish, str) and finish:
            told = told._replace(finish=finish)
    if error:
        wrapped = error if isinstance(error, dict) else {"message": str(error)}
        told = told._replace(error=wrapped, error_at=told.events + 1)
    return told._replace(data=told.data + canonical(*read), events=told.events + 1)


def named_error(data: bytes) -> dict[str, Any]:
    """Return the error that an event reports by its type alone."""
    value = decoded(data)
    message = value.get("message")
    if not isinstance(message, str) or not message:
        message = data.decode("utf-8", "replace").strip() or "the upstream reported an error"
    names = [name for name in ("type", "code", "status", "param") if name in value]
    rest = {name: value[name] for name in names if isinstance(value[name], str | int | float)}
    return {"message": message, **rest}


def take_contents(told: Story, block: bytes) -> Story:
    """Go on with one block of the Gemini dialect."""
    read = read_block(block)
    if read is None:
        return told
    value, error = {}, None
    if TELLING_CONTENTS.search(read[1]):
        value = decoded(read[1])
        told, error = counted(told, value), value.get("error")
    elif COUNTING.search(read[1]):
        told = told._replace(counting=read[1])
    for found, key in ((first_candidate(value), "finishReason"), (feedback(value), "blockReason")):
        if isinstance(found.get(key), str) and found[key]:
            told = told._replace(finish=found[key])
    if error:
        wrapped = error if isinstance(error, dict) else {"message": str(error)}
        told = told._replace(error=wrapped, error_at=told.events + 1)
    return told._replace(data=told.data + canonical(*read), events=told.events + 1)


def counted(told: Story, value: dict[str, Any]) -> Story:
    """Take note of the usage in an event, if there is one."""
    usage = value.get("usageMetadata")
    found = isinstance(usage, dict) and usage
    return told._replace(usage=usage, counting=b"") if found else told


def first_candidate(value: dict[str, Any]) -> dict[str, Any]:
    """Return the first object among the candidates."""
    candidates = value.get("candidates")
    for found in candidates if isinstance(candidates, list) else []:
        if isinstance(found, dict):
            return found
    return {}


def feedback(value: dict[str, Any]) -> dict[str, Any]:
    """Return what is said of the prompt."""
    found = value.get("promptFeedback")
    return found if isinstance(found, dict) else {}


# The views of canonical bytes.


def entries(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return event type and payload of every block."""
    return [read_block(block) or (b"", b"") for block in blocks(data)[0]]


def cursor(epoch: bytes, number: int) -> bytes:
    """Return what an entry's id says."""
    return epoch + b"_" + str(number).zfill(16).encode()


def with_ids(data: bytes, first: int, epoch: bytes) -> bytes:
    """Write the blocks again, each with its id."""
    return b"".join(
        b"id: " + cursor(epoch, number) + b"\n" + canonical(*entry)
        for number, entry in enumerate(entries(data), first)
    )


def is_json(text: str) -> bool:
    """Tell whether RFC 8259 takes the text, however large its numbers are."""
    try:
        json.loads(text, parse_int=str, parse_float=str, parse_constant=int)  # int("NaN") raises
    except ValueError:
        return False
    return True


def json_value(payload: bytes) -> bytes:
    """Return JSON as it is, anything else as a string."""
    text = payload.decode("utf-8", "replace")
    return (text if is_json(text) else json_string(text)).encode()


def json_string(text: str) -> str:
    """Write a string as JSON does."""
    return json.dumps(text, ensure_ascii=False)


def json_array(datas: list[bytes]) -> bytes:
    """Write all payloads as one array."""
    return b"[%b]" % b",".join(json_value(read[1]) for data in datas for read in entries(data))


def frame(text: bytes) -> bytes:
    """Write a text message as a server does: RFC 6455 §5.2."""
    size = len(text)
    if size < 126:
        return struct.pack("!BB", 0x81, size) + text
    if size < 1 << 16:
        return struct.pack("!BBH", 0x81, 126, size) + text
    return struct.pack("!BBQ", 0x81, 127, size) + text


def envelope(event: bytes, payload: bytes, id: bytes) -> bytes:
    """Write the text of one entry's frame."""
    kind = json_string(event.decode("utf-8", "replace")).encode()
    middle = b',"event":' + kind if event else b""
    return b'{"id":"' + id + b'"' + middle + b',"data":' + json_value(payload) + b"}"


def envelopes(data: bytes, first: int, epoch: bytes) -> bytes:
    """Write every block as a frame."""
    return b"".join(
        frame(envelope(*entry, cursor(epoch, number)))
        for number, entry in enumerate(entries(data), first)
    )
