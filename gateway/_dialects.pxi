# What the events of each dialect tell of the stream they are in.
#
# A byte search finds the events that may tell something; only those are decoded.

cdef inline bint next_key(const char **at, const char *end, const char **key, const char **value) noexcept:
    """Find the next colon in at..end: `key` ends before it, `value` begins behind it.

    Colons are what is searched for: there are fewer of them than of anything else a key
    has.  A quotation mark inside JSON text is escaped, so no word of an answer looks like
    a key.  What nests deeper may have such a key too: whoever decodes the event sees that.
    """
    cdef const char *start = at[0]
    cdef const char *p = <const char *>memchr(start, b':', end - start)
    if p is NULL:
        return False
    key[0] = p
    at[0] = p = p + 1
    while key[0] > start and is_blank((key[0] - 1)[0]):
        key[0] -= 1
    while p < end and is_blank(p[0]):
        p += 1
    value[0] = p
    return p < end


# Whether the data of an event may tell something: most tell nothing, and cost no more.
ctypedef bint (*_Search)(const char *p, const char *end) noexcept


cdef class _Story:
    """What the events of a stream told so far; one kind for each dialect."""

    cdef:
        bint done      # the terminal event came
        dict error     # the upstream's error object
        str finish     # the last finish reason, in the upstream's word
        dict usage     # the last usage that was decoded, in the upstream's words
        bytes latest   # what has the last usage, if that is not decoded

    cdef bint read(self, const char *p, const char *end) except -1:
        """Learn what the data p..end of an event tells; tell whether it is to be taken out."""
        return self.learn(self.decoded(p, end))

    cdef bint learn(self, dict event) except -1:
        """Learn what an event tells; tell whether it is to be taken out."""
        raise NotImplementedError

    cdef int close(self, bytes rest, bint whole) except -1:
        """Take note that no more comes, of which `rest` is a last event without its end.

        `whole` says whether the body is complete.
        """
        return 0

    cdef dict spent(self):
        """Return the last usage, in the upstream's words."""
        if self.latest is not None:
            latest, self.latest = self.latest, None
            self.usage = self.cost(object_in(latest)) or self.usage
        return self.usage

    cdef dict cost(self, dict latest):
        """Return the usage in what has the last, {} if there is none."""
        return latest

    cdef dict decoded(self, const char *p, const char *end):
        """Return the object p..end; {} if it is none: whoever reads it knows better."""
        return object_in(p[:end - p])


# What is kept of Anthropic's usage, which comes in pieces.
FIGURES = (
    "input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens",
    "output_tokens", "output_tokens_details",
)


cdef bint message_tells(const char *p, const char *end) noexcept:
    """Tell whether a key type with the value message_…, ping or error is in p..end."""
    cdef const char *start = p
    cdef const char *key
    cdef const char *value
    while next_key(&p, end, &key, &value):
        if ends(start, key, b'"type"', 6) and (
            begins(value, end, b'"message_', 9)
            or begins(value, end, b'"ping"', 6)
            or begins(value, end, b'"error"', 7)
        ):
            return True
        start = p
    return False


@final
cdef class _Messages(_Story):
    """Anthropic's messages, without its pings: we send our own."""

    cdef bint learn(self, dict event) except -1:
        kind = event.get("type")
        if kind == "ping":
            return True
        if kind == "message_start":
            self.count(mapping(event.get("message")).get("usage"))
        elif kind == "message_delta":
            self.finish = text(mapping(event.get("delta")).get("stop_reason")) or self.finish
            self.count(event.get("usage"))
        elif kind == "message_stop":
            self.done = True
            return self.finish is None  # an end without a reason is none: the client gets ours
        elif kind == "error":
            self.error = error_object(event.get("error") or "the upstream reported an error")
        return False

    cdef int count(self, usage) except -1:
        """Note the latest of each figure: they are totals, and what is left out still holds."""
        usage = mapping(usage)
        told = {key: usage[key] for key in FIGURES if usage.get(key) is not None}
        if told:
            self.usage = {**(self.usage or {}), **told}
        return 0


cdef bint response_tells(const char *p, const char *end) noexcept:
    """Tell whether a key type with the value of a last event is in p..end."""
    cdef const char *start = p
    cdef const char *key
    cdef const char *value
    while next_key(&p, end, &key, &value):
        if ends(start, key, b'"type"', 6) and (
            begins(value, end, b'"response.completed"', 20)
            or begins(value, end, b'"response.incomplete"', 21)
            or begins(value, end, b'"response.failed"', 17)
            or begins(value, end, b'"error"', 7)
        ):
            return True
        start = p
    return False


@final
cdef class _Responses(_Story):
    """OpenAI's responses: the last event has the whole answer, and is all that tells anything."""

    cdef bint learn(self, dict event) except -1:
        kind = event.get("type")
        response = mapping(event.get("response"))
        if kind == "error":
            # Some put what it is in an object, some beside the type.
            self.error = error_object(event.get("error") or failure(event))
        elif kind == "response.failed":
            self.error = mapping(response.get("error")) or {"message": "the response failed"}
        elif kind == "response.completed" or kind == "response.incomplete":
            self.done = True
            self.finish = ending(kind, response)
        self.usage = mapping(response.get("usage")) or self.usage
        return False


cdef dict failure(dict event):
    """Return what an event of type error tells of it."""
    told = {key: event.get(key) for key in ("code", "message", "param")}
    return {**told, "message": text(told["message"]) or "the upstream reported an error"}


cdef str ending(str kind, dict response):
    """Return why a response ended: an upstream's word, or OpenAI's for a call of tools."""
    if kind == "response.incomplete":
        return text(mapping(response.get("incomplete_details")).get("reason")) or "incomplete"
    if any(item.get("type") == "function_call" for item in objects(response.get("output"))):
        return "tool_calls"
    return "completed"


@final
cdef class _Contents(_Story):
    """Gemini's contents.  No event is their last: they are done when the body is, with a reason.

    Nearly every event has the usage so far.  Only the latest of them is kept, and decoded
    when somebody asks.
    """

    cdef bint read(self, const char *p, const char *end) except -1:
        cdef bint counts = False
        if self.tells(p, end, &counts):
            self.learn(self.decoded(p, end))
        elif counts:
            self.latest = p[:end - p]
        return False

    cdef bint tells(self, const char *p, const char *end, bint *counts) noexcept:
        """Tell whether a key finishReason, blockReason or error with a value is in p..end.

        `counts` says whether usageMetadata is.
        """
        cdef const char *start = p
        cdef const char *key
        cdef const char *value
        while next_key(&p, end, &key, &value):
            if (
                ends(start, key, b'"finishReason"', 14)
                or ends(start, key, b'"blockReason"', 13)
                or ends(start, key, b'"error"', 7)
            ) and not begins(value, end, b"null", 4):
                return True
            counts[0] = counts[0] or ends(start, key, b'"usageMetadata"', 15)
            start = p
        return False

    cdef bint learn(self, dict event) except -1:
        usage = self.cost(event)
        if usage:
            self.usage, self.latest = usage, None
        for candidate in objects(event.get("candidates"))[:1]:
            self.finish = text(candidate.get("finishReason")) or self.finish
        blocked = text(mapping(event.get("promptFeedback")).get("blockReason"))
        self.finish = blocked or self.finish
        if event.get("error"):
            self.error = error_object(event["error"])
        return False

    cdef dict cost(self, dict latest):
        return mapping(latest.get("usageMetadata"))

    cdef int close(self, bytes rest, bint whole) except -1:
        self.done = whole and rest is None and self.finish is not None
        return 0


cdef bint all_tell(const char *p, const char *end) noexcept:
    return True


cdef _Search search_of(int dialect) noexcept:
    """Return what finds the events of a dialect that may tell something."""
    if dialect == _ANTHROPIC:
        return message_tells
    if dialect == _RESPONSES:
        return response_tells
    return all_tell if dialect == _GEMINI else chunk_tells


cdef _Story story_of(int dialect, bint strip_usage):
    """Return the empty story of a stream of a dialect."""
    cdef _Chunks chunks
    if dialect == _ANTHROPIC:
        return _Messages.__new__(_Messages)
    if dialect == _RESPONSES:
        return _Responses.__new__(_Responses)
    if dialect == _GEMINI:
        return _Contents.__new__(_Contents)
    if dialect != _OPENAI:
        raise ValueError(f"{dialect} is no dialect")
    chunks = _Chunks.__new__(_Chunks)
    chunks.strip_usage = strip_usage
    return chunks
