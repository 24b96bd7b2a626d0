# The HTML standard: blocks, as functions of bytes alone.

cdef inline const char *line_end(const char *p, const char *end, const char **lf) noexcept:
    """Point at the first CR or LF in p..end, or NULL.

    lf[0] is kept by the caller from line to line: the first LF not before p, or `end`.
    Without it, on a stream with CR alone, each line would search through all that follow.
    """
    cdef const char *cr
    if lf[0] < p:
        lf[0] = <const char *>memchr(p, b'\n', end - p)
        if lf[0] is NULL:
            lf[0] = end
    cr = <const char *>memchr(p, b'\r', lf[0] - p)
    if cr is not NULL:
        return cr
    return lf[0] if lf[0] < end else NULL


cdef inline bint begins(const char *p, const char *end, const char *word, Py_ssize_t n) noexcept:
    """Tell whether the bytes p..end begin with the n bytes at `word`."""
    return end - p >= n and memcmp(p, word, n) == 0


cdef inline const char *usual_block(const char *p, const char *end, const char **lf) noexcept:
    """Point behind a block of one line of data that ends in LF; NULL if there is no such at p."""
    cdef const char *eol
    if not begins(p, end, b"data: ", 6):
        return NULL
    eol = line_end(p, end, lf)
    if eol is NULL or eol[0] == b'\r' or eol + 1 == end or eol[1] != b'\n':
        return NULL
    return eol + 2


cdef inline const char *data_lines(const char *p, const char *end) noexcept:
    """Point behind the event line of a canonical block, if it has one."""
    if begins(p, end, b"event: ", 7):
        return <const char *>memchr(p, b'\n', end - p) + 1
    return p


cdef bint canonical(const char *p, const char *end) noexcept:
    """Tell whether a complete block without CR is canonical and carries data."""
    if begins(p, end, b"event: \n", 8):
        return False
    p = data_lines(p, end)
    if not begins(p, end, b"data: ", 6):
        return False
    while begins(p, end, b"data: ", 6):
        p = <const char *>memchr(p, b'\n', end - p) + 1
    return p == end - 1


cdef bytes render(const char *p, const char *end):
    """Return the canonical form of a raw block, None if it has no data.

    The block may lack its blank line and the end of its last line.
    """
    cdef:
        const char *lf = NULL
        const char *eol
        const char *colon
        const char *value
        bytes event = b""
        list lines = []
    while p < end:
        eol = line_end(p, end, &lf)
        if eol is NULL:
            eol = end
        colon = <const char *>memchr(p, b':', eol - p)
        value = eol if colon is NULL else colon + 1
        if colon is NULL:
            colon = eol
        if value < eol and value[0] == b' ':
            value += 1
        if colon - p == 4 and memcmp(p, b"data", 4) == 0:
            lines.append(b"data: %b\n" % value[:eol - value])
        elif colon - p == 5 and memcmp(p, b"event", 5) == 0:
            event = value[:eol - value]
        p = eol + 1
        if p < end and eol[0] == b'\r' and p[0] == b'\n':
            p += 1
    if not lines:
        return None
    lines.append(b"\n")
    return (b"event: %b\n" % event if event else b"") + b"".join(lines)


cdef inline bint is_blank(char byte) noexcept:
    """Tell whether JSON takes the byte for whitespace."""
    return byte == b' ' or byte == b'\n' or byte == b'\t' or byte == b'\r'


cdef inline bint ends(const char *p, const char *end, const char *word, Py_ssize_t n) noexcept:
    """Tell whether the bytes p..end end with the n bytes at `word`."""
    return end - p >= n and memcmp(end - n, word, n) == 0
