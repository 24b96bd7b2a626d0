# JSON.

cdef const char *string_end(const char *start, const char *end) noexcept:
    """Point at the quotation mark that ends the string which begins at `start`, or at `end`."""
    cdef:
        const char *quote = start
        const char *slash
    while True:
        quote = <const char *>memchr(quote, b'"', end - quote)
        if quote is NULL:
            return end
        slash = quote
        while slash > start and (slash - 1)[0] == b'\\':
            slash -= 1
        if (quote - slash) % 2 == 0:  # each of a pair is for the other
            return quote
        quote += 1


def depth(bytes text not None):
    """Return how deep the brackets of a JSON text nest; of what is no JSON, some number.

    To be asked before a text from outside is decoded: deep nesting costs seconds there.
    """
    cdef:
        const char *at = PyBytes_AS_STRING(text)
        const char *end = at + PyBytes_GET_SIZE(text)
        Py_ssize_t level = 0
        Py_ssize_t deepest = 0
    while at < end:
        if at[0] == b'"':
            at = string_end(at + 1, end)
        elif at[0] == b'{' or at[0] == b'[':
            level += 1
            deepest = max(deepest, level)
        elif at[0] == b'}' or at[0] == b']':
            level -= 1
        at += 1
    return deepest


# An escape; it is in the group unless it is half of a surrogate pair without the other.
cdef _HALVES = regex(
    rb"(\\(?:[^u]|u(?![dD][89a-fA-F])"
    rb"|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))"
    rb"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)


def mended(bytes text not None):
    """Return a JSON text with U+FFFD for what is only half of a character.

    A provider that stops amid one may say its half, as an escape or as it is; orjson reads no
    text with such.
    """
    text = text.decode("utf-8", "replace").encode()
    return _HALVES.sub(lambda found: found[1] or rb"\ufffd", text)


def model_and_stream(dict body not None):
    """Return the model that the body of a request names, and whether it asks for a stream.

    Raises:
        ClientError: it names none, or says neither yes nor no; names the parameter.
    """
    model, stream = body.get("model"), body.get("stream")
    if not isinstance(model, str) or not model:
        raise ClientError("you must provide a model parameter", param="model")
    if stream is not None and not isinstance(stream, bool):
        raise ClientError("stream must be true or false", param="stream")
    return model, stream is True


def chat_asked(dict body not None):
    """Return what the body of a chat asks for beside the chat.

    That is the model, and whether it wants a stream, to be told of usage in it, and calls of
    tools as those of functions.

    Raises:
        ClientError: as `model_and_stream`, or its stream_options are none; names the parameter.
    """
    model, stream = model_and_stream(body)
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise ClientError("stream_options must be an object", param="stream_options")
    return model, stream, bool(options and options.get("include_usage")), bool(body.get("functions"))


cdef dict object_in(bytes text):
    """Return the object that a JSON text is, mended if need be; {} if it is none."""
    try:
        return mapping(loads(text))
    except ValueError:
        pass
    try:
        return mapping(loads(mended(text)))
    except ValueError:
        return {}


cpdef count(found, str key):
    """Return the number of tokens under a key of what should be an object; 0 if it is none."""
    number = found.get(key) if isinstance(found, dict) else None
    return number if type(number) is int and 0 <= number <= TOKENS_LIMIT else 0


cpdef read_usage(dict usage):
    """Return what a usage object of OpenAI's says, in tokens."""
    prompt = usage.get("prompt_tokens_details")
    return Usage(
        count(usage, "prompt_tokens"),
        count(usage, "completion_tokens"),
        count(prompt, "cached_tokens"),
        count(usage.get("completion_tokens_details"), "reasoning_tokens"),
        count(prompt, "cache_write_tokens"),
    )


# What the events say.

# What is told of an error besides its message, where its event has it.
cdef tuple NAMED = ("type", "code", "status", "param")
cdef bytes BLANKS = b" \t\n"


def deltas(bytes data not None):
    """Return what the canonical events in `data` say, in OpenAI's chat dialect, in order.

    Reads chat chunks and legacy completions (`choices[].text`).  A provider that repeats
    the role in each chunk gives a Start each time.  Never raises: what is not JSON, or not
    of the shape it should have, is skipped.
    """
    cdef list events = []
    for block in data.split(b"\n\n"):
        events += said(object_in(data_of(told_error(block))))
    return events


cdef bytes data_of(bytes block):
    """Return the data of a canonical event, whether its last line is still ended or not."""
    if block.startswith(b"event: "):
        block = block[block.find(b"\n") + 1:]
    return block[6:].removesuffix(b"\n\n").replace(b"\ndata: ", b"\n")


cdef bytes told_error(bytes block):
    """Return a canonical event as it is; one that is an error by its type alone, so that all see it.

    Of OpenAI's SDKs some heed the type and some the key `error` of the data (facts §2.1).
    """
    cdef dict event
    if not block.startswith(b"event: error\n"):
        return block
    data = data_of(block)
    event = object_in(data)
    if event.get("error") or data.rstrip(BLANKS) == b"[DONE]":
        return block
    message = text(event.get("message")) or data.decode("utf-8", "replace").strip()
    error = {"message": message or "the upstream reported an error"}
    for key in NAMED:
        if isinstance(event.get(key), (str, int, float)):
            error[key] = event[key]
    return b"data: " + dumps({"error": error}) + b"\n\n"


def said(dict event not None):
    """Return what one decoded event says, as `deltas` does."""
    cdef list events = []
    for choice in objects(event.get("choices")):
        read_choice(event, choice, events)
    read_totals(event, events)
    return events


cdef int read_choice(dict event, dict choice, list events) except -1:
    """Append what one choice of a chunk says."""
    cdef dict delta = mapping(choice.get("delta"))
    index = number(choice.get("index"))
    if text(delta.get("role")):
        events.append(
            Start(index, delta["role"], text(event.get("id")), text(event.get("model")))
        )
    if reasoning := text(delta.get("reasoning_content")) or text(delta.get("reasoning")):
        events.append(Delta(index, reasoning=reasoning))
    for detail in objects(delta.get("reasoning_details")):
        if signature := text(detail.get("signature")):
            events.append(Delta(index, signature=signature))
        if redacted := text(detail.get("data")):
            events.append(Delta(index, redacted=redacted))
    if content := text(delta.get("content")) or text(choice.get("text")):
        events.append(Delta(index, content))
    if refusal := text(delta.get("refusal")):
        events.append(Delta(index, refusal=refusal))
    for call in objects(delta.get("tool_calls")):
        function = mapping(call.get("function"))
        events.append(
            ToolCall(
                index,
                number(call.get("index")),
                text(call.get("id")),
                text(function.get("name")),
                text(function.get("arguments")),
            )
        )
    if reason := text(choice.get("finish_reason")):
        events.append(Stop(index, reason))
    return 0


cdef int read_totals(dict event, list events) except -1:
    """Append what a chunk says besides its choices: usage and error."""
    cdef dict usage = mapping(event.get("usage"))
    if usage:
        events.append(read_usage(usage))
    if event.get("error"):
        error = error_object(event["error"])
        events.append(Fault(*[str(error.get(key) or "") for key in ("message", "type", "code")]))
    return 0


cdef inline dict error_object(error):
    """Return an upstream's `error` as the object it should have been."""
    return error if isinstance(error, dict) else {"message": str(error)}


cdef inline dict mapping(value):
    return value if isinstance(value, dict) else {}


cdef inline list objects(value):
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


cdef inline str text(value):
    return value if isinstance(value, str) else ""


cdef inline number(value):
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
