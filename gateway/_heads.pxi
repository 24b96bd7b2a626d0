# Heads: two questions about bytes; what a head means is the guard's affair.

# What a byte of a field's name is in lower case, 0 if it cannot be one (RFC 9110 §5.6.2).
cdef unsigned char LOWER[256]


cdef int fill_names() except -1:
    cdef int byte
    for byte in b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz":
        LOWER[byte] = byte
    for byte in b"ABCDEFGHIJKLMNOPQRSTUVWXYZ":
        LOWER[byte] = byte + 32
    return 0


fill_names()


def head_end(
    bytes data not None, Py_ssize_t start, Py_ssize_t line_limit, Py_ssize_t limit, int most
):
    """Return where the head that begins at `start` ends, -1 if it is not whole or too large.

    Too large is a first line of more than `line_limit` bytes, more than `limit` bytes in all,
    more than `most` lines; which of these, and whether more may come, is the caller's to find.
    """
    cdef:
        const char *begin = PyBytes_AS_STRING(data) + start
        const char *end = PyBytes_AS_STRING(data) + PyBytes_GET_SIZE(data)
        const char *p = begin
        const char *lf
        int lines = 0
    if end - begin > limit:
        end = begin + limit
    while True:
        lf = <const char *>memchr(p, b'\n', end - p)
        if lf == NULL:
            return -1
        lines += 1
        if lines == 1 and lf - begin >= line_limit:
            return -1
        if lf - p == 1 and p[0] == b'\r' and p - begin > 1 and (p - 2)[0] == b'\r':
            return -1 if lines > most else start + (lf + 1 - begin)
        p = lf + 1


def fields(bytes raw not None, Py_ssize_t start):
    """Return the fields of a whole head as (lower-case name, value), None if a line is not one.

    From `start` on `raw` is field lines, each exactly as RFC 9112 §5 has it, and one empty line.
    """
    cdef:
        const char *p = PyBytes_AS_STRING(raw) + start
        const char *end = PyBytes_AS_STRING(raw) + PyBytes_GET_SIZE(raw)
        const char *name
        const char *value
        const char *last        # of the value
        list found = []
    while end - p > 2:
        name = p
        while LOWER[<unsigned char>p[0]]:  # the CR LF at the end stops it, and the NUL behind that
            p += 1
        if p == name or p[0] != b':':
            return None
        value = p + 1
        while is_space(value[0]):
            value += 1
        last = p = value
        while visible(p[0]):
            p += 1
            if not is_space((p - 1)[0]):
                last = p
        if p + 1 >= end or p[0] != b'\r' or p[1] != b'\n':
            return None
        found.append((lowered(name, value), PyBytes_FromStringAndSize(value, last - value)))
        p += 2
    return found if end - p == 2 and p[0] == b'\r' and p[1] == b'\n' else None


cdef inline bint is_space(char byte) noexcept:
    """Say whether HTTP takes the byte as a space within a line."""
    return byte == b' ' or byte == b'\t'


cdef inline bint visible(char byte) noexcept:
    """Say whether a field's value may have this byte (RFC 9110 §5.5)."""
    return <unsigned char>byte >= 32 and byte != 127 or byte == b'\t'


cdef bytes lowered(const char *name, const char *end):
    """Return the field name at `name` in lower case; its colon lies before `end`."""
    cdef:
        bytes lower
        char *at
        Py_ssize_t size = 0
    while name[size] != b':':
        size += 1
    # Made empty and then filled: one of a single byte would be the interpreter's own, shared.
    lower = PyBytes_FromStringAndSize(NULL, size)
    at = PyBytes_AS_STRING(lower)
    while size:
        size -= 1
        at[size] = LOWER[<unsigned char>name[size]]
    return lower
