# OpenAI's chat completions: what chunks tell of their stream.

cdef inline bint ends_all(const char *p, const char *end) noexcept:
    """Tell whether this is OpenAI's end; blanks behind it hide it from none of its SDKs."""
    while end > p and is_blank((end - 1)[0]):
        end -= 1
    return end - p == 6 and memcmp(p, b"[DONE]", 6) == 0


cdef bint chunk_tells(const char *p, const char *end) noexcept:
    """Look for a key usage, finish_reason or error with a value but null, and the end."""
    cdef const char *start = p
    cdef const char *colon
    if ends_all(p, end):
        return True
    while True:
        colon = <const char *>memchr(p, b':', end - p)
        if colon is NULL:
            return False
        # An event has a dozen keys, and none or one of these: two bytes rule most others out.
        if colon - start >= 7 and may_be_told(colon) and chunk_key_tells(p, end):
            return True
        p = colon + 1


cdef inline bint may_be_told(const char *colon) noexcept:
    """Tell whether usage, finish_reason or error may end before a colon."""
    cdef char last = (colon - 1)[0]
    cdef char letter = (colon - 2)[0]
    if last == b'"':
        return letter == b'e' or letter == b'n' or letter == b'r'
    return is_blank(last)


cdef bint chunk_key_tells(const char *p, const char *end) noexcept:
    """Tell whether the next key in p..end is one of these, with a value but null."""
    cdef const char *start = p
    cdef const char *key
    cdef const char *value
    return next_key(&p, end, &key, &value) and (
        ends(start, key, b'"usage"', 7)
        or ends(start, key, b'"error"', 7)
        or ends(start, key, b'"finish_reason"', 15)
    ) and not begins(value, end, b"null", 4)


cdef struct Told:
    const char *finish  # the last reason, behind its quotation mark; NULL if there is none
    Py_ssize_t size     # of the reason
    const char *usage   # the last one, NULL if there is none, or nothing in it
    const char *end     # of that
    bint bare           # there are choices, and none among them


cdef bint read_chunk(const char *p, const char *end, Told *told) noexcept:
    """Read the chunk p..end; say if that can be done without decoding it.

    Nearly all can, and a decoder makes thirty objects of one, for a word and three numbers.
    """
    cdef Member member
    memset(told, 0, sizeof(Told))
    p = over_blanks(p)
    if p[0] != b'{':
        return False
    while p[0] != b'}':
        p = next_member(p, &member)
        if p is NULL or not read_member(&member, told):
            return False
    return p < end and over_blanks(p + 1) >= end


cdef bint read_member(Member *member, Told *told) noexcept:
    """Read a member of a chunk, of several with one key the last; say if that can be done."""
    cdef const char *value = member.value
    if is_key(member, b'"usage"', 7):
        told.usage, told.end = NULL, member.end
        if value[0] == b'{' and over_blanks(value + 1)[0] != b'}':
            told.usage = value
    elif is_key(member, b'"choices"', 9):
        told.finish, told.bare = NULL, False
        return value[0] == b'[' and read_choices(over_blanks(value + 1), told)
    return not is_key(member, b'"error"', 7) or strncmp(value, b"null", 4) == 0


cdef bint read_choices(const char *p, Told *told) noexcept:
    """Read the choices from p on, behind their bracket; say if that can be done.

    Whoever asks has found that they are JSON, so what follows each is a comma or the end.
    """
    told.bare = p[0] == b']'
    while p[0] != b']':
        p = over_blanks(p + (p[0] == b','))
        if p[0] != b'{':
            return False
        p = read_reason(p, told)
        if p is NULL:
            return False
        p = over_blanks(p + 1)
    return True


cdef const char *read_reason(const char *p, Told *told) noexcept:
    """Read the reason in the choice at p; point at the bracket that ends the choice."""
    cdef Member member
    cdef const char *reason = NULL
    while p[0] != b'}':
        p = next_member(p, &member)
        if p is NULL:
            return NULL
        if is_key(&member, b'"finish_reason"', 15):
            reason = member.value if member.value[0] == b'"' else NULL
    if reason is not NULL and reason[1] != b'"':  # an empty one is none
        told.finish = reason + 1
        told.size = word_size(told.finish)
    return p if told.finish is NULL or told.finish[told.size] == b'"' else NULL


cdef Py_ssize_t word_size(const char *p) noexcept:
    """Return how many bytes at p are letters, digits, `_` or others that no text escapes."""
    cdef const char *start = p
    while b' ' <= p[0] <= b'~' and p[0] != b'"' and p[0] != b'\\':
        p += 1
    return p - start


@final
cdef class _Chunks(_Story):
    """OpenAI's chat completions; with `strip_usage`, without the extra chunk of usage.

    Usage is decoded when somebody asks.
    """

    cdef bint strip_usage

    cdef bint read(self, const char *p, const char *end) except -1:
        cdef Told told
        if ends_all(p, end):
            self.done = True
            return True
        if not read_chunk(p, end, &told):
            return self.learn(self.decoded(p, end))
        if told.finish is not NULL:
            self.finish = told.finish[:told.size].decode("ascii")
        if told.usage is not NULL:
            self.latest = told.usage[:told.end - told.usage]
        return self.strip_usage and told.usage is not NULL and told.bare

    cdef bint learn(self, dict event) except -1:
        usage = mapping(event.get("usage"))
        if usage:
            self.usage, self.latest = usage, None
        for choice in objects(event.get("choices")):
            self.finish = text(choice.get("finish_reason")) or self.finish
        if event.get("error"):
            self.error = error_object(event["error"])
            return False
        return self.strip_usage and bool(usage) and event.get("choices") == []

    cdef int close(self, bytes rest, bint whole) except -1:
        # Kong ends its streams without the last blank line.
        self.done = self.done or rest is not None and rest.rstrip(b" \t\n") == b"data: [DONE]"
        return 0
