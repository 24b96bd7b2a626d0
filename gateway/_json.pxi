# RFC 8259: whether a text is JSON.
#
# Nothing is decoded and no object is made, so a view may ask it of every entry.  Each
# function points behind what it read, or is NULL if that is not there.  None needs to know
# where the text ends: a bytes object has a NUL behind it, which no JSON goes past.  Who has
# but a part of one looks whether it ended where it should.

cdef enum:
    # Levels of nesting: what is meant has ten, and readers' own parsers give up near 1,000.
    LEVELS_LIMIT = 512


cdef inline const char *over_blanks(const char *p) noexcept:
    while is_blank(p[0]):
        p += 1
    return p


cdef inline const char *over_digits(const char *p) noexcept:
    if not b'0' <= p[0] <= b'9':
        return NULL
    while b'0' <= p[0] <= b'9':
        p += 1
    return p


cdef const char *over_number(const char *p) noexcept:
    if p[0] == b'-':
        p += 1
    p = p + 1 if p[0] == b'0' else over_digits(p)
    if p is not NULL and p[0] == b'.':
        p = over_digits(p + 1)
    if p is not NULL and (p[0] == b'e' or p[0] == b'E'):
        p += 1
        if p[0] == b'+' or p[0] == b'-':
            p += 1
        p = over_digits(p)
    return p


cdef inline bint is_hex(char byte) noexcept:
    return b'0' <= byte <= b'9' or b'a' <= byte <= b'f' or b'A' <= byte <= b'F'


cdef const char *over_escape(const char *p) noexcept:
    """Point behind the escape whose backslash is at p."""
    if p[1] == b'u':
        # Halves of a surrogate pair pass alone: providers cut them apart between events.
        return p + 6 if is_hex(p[2]) and is_hex(p[3]) and is_hex(p[4]) and is_hex(p[5]) else NULL
    return p + 2 if p[1] and strchr(b'"\\/bfnrt', p[1]) is not NULL else NULL


cdef const char *over_string(const char *p) noexcept:
    if p[0] != b'"':
        return NULL
    p += 1
    while p[0] != b'"':
        if p[0] == b'\\':
            p = over_escape(p)
            if p is NULL:
                return NULL
        elif <unsigned char>p[0] < 0x20:
            return NULL
        else:
            p += 1
    return p + 1


cdef const char *over_key(const char *p) noexcept:
    """Point behind the colon of the key that is due at p."""
    p = over_string(over_blanks(p))
    if p is NULL:
        return NULL
    p = over_blanks(p)
    return p + 1 if p[0] == b':' else NULL


cdef const char *over_scalar(const char *p) noexcept:
    if p[0] == b'"':
        return over_string(p)
    if strncmp(p, b"null", 4) == 0 or strncmp(p, b"true", 4) == 0:
        return p + 4
    return p + 5 if strncmp(p, b"false", 5) == 0 else over_number(p)


cdef const char *into_value(const char *p, char *closers, Py_ssize_t *depth) noexcept:
    """Point behind the value at p: all of a scalar or empty bracket, else up to what is in it."""
    if p[0] != b'{' and p[0] != b'[':
        return over_scalar(p)
    if depth[0] == LEVELS_LIMIT:
        return NULL
    closers[depth[0]] = p[0] + 2  # of { and of [, in ASCII
    depth[0] += 1
    return p + 1


cdef const char *over_value(const char *p) noexcept:
    """Point behind the value at p, of at most LEVELS_LIMIT levels, and the blanks behind it."""
    cdef:
        const char *value
        char closers[LEVELS_LIMIT]
        Py_ssize_t depth = 0
        bint first  # in its bracket
    while True:
        value = over_blanks(p)
        p = into_value(value, closers, &depth)
        if p is NULL:
            return NULL
        first = value[0] == b'{' or value[0] == b'['
        p = over_blanks(p)
        while depth and p[0] == closers[depth - 1]:
            depth -= 1
            first = False
            p = over_blanks(p + 1)
        if not depth:
            return p
        if not first:
            if p[0] != b',':
                return NULL
            p += 1
        if closers[depth - 1] == b'}':
            p = over_key(p)
            if p is NULL:
                return NULL


cdef bint is_json(bytes text) noexcept:
    """Tell whether the text, which is UTF-8, is one JSON value of at most LEVELS_LIMIT levels."""
    return over_value(PyBytes_AS_STRING(text)) == PyBytes_AS_STRING(text) + PyBytes_GET_SIZE(text)


cdef struct Member:
    const char *key  # its quotation mark
    Py_ssize_t size  # of the key with both quotation marks
    const char *value
    const char *end  # of the value, and of blanks behind it


cdef const char *next_member(const char *p, Member *member) noexcept:
    """Read the member behind the bracket or comma at p; point at the one behind the member.

    A key that is written with an escape is not read.
    """
    member.key = over_blanks(p + 1)
    p = over_string(member.key)
    if p is NULL or memchr(member.key, b'\\', p - member.key) is not NULL:
        return NULL
    member.size = p - member.key
    p = over_blanks(p)
    if p[0] != b':':
        return NULL
    member.value = over_blanks(p + 1)
    member.end = p = over_value(member.value)
    return p if p is not NULL and (p[0] == b',' or p[0] == b'}') else NULL


cdef inline bint is_key(Member *member, const char *key, Py_ssize_t size) noexcept:
    return member.size == size and memcmp(member.key, key, size) == 0
