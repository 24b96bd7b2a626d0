# Framing.

# The states of a body.  BAD is 0, so that a move which no row allows leads there.
cdef enum:
    BAD, TOO_LONG, ENDED, DATA
    SIZE_FIRST, SIZE, EXT_DUE, EXT, NAME, NAME_END, VALUE, TOKEN, QUOTED, ESCAPED, UNQUOTED
    LINE_LF, DATA_CR, DATA_LF
    TRAILER, TRAILER_NAME, TRAILER_VALUE, TRAILER_LF, LAST_LF
    STATES

# The kinds of bytes which the grammar tells apart; CTL is 0, so what no row names.
cdef enum:
    CTL, HEX, TCHAR, SEMI, EQUALS, QUOTE, BACKSLASH, COLON, BLANK, CR, LF, OTHER
    KINDS

cdef unsigned char KIND[256]
cdef unsigned char NEXT[STATES][KINDS]


cdef int fill_tables() except -1:
    """Write KIND and NEXT out of the grammar: RFC 9112 §7.1, RFC 9110 §5.6."""
    cdef int byte, state, after, kind
    for byte in range(0x21, 0x100):
        KIND[byte] = OTHER  # visible, or obs-text
    KIND[0x7F] = CTL
    for kind, members in (
        (TCHAR, b"!#$%&'*+-.^_`|~GHIJKLMNOPQRSTUVWXYZghijklmnopqrstuvwxyz"),
        (HEX, b"0123456789ABCDEFabcdef"),
        (SEMI, b";"), (EQUALS, b"="), (QUOTE, b'"'), (BACKSLASH, b"\\"), (COLON, b":"),
        (BLANK, b" \t"), (CR, b"\r"), (LF, b"\n"),
    ):
        for byte in members:
            KIND[byte] = kind

    token = (HEX, TCHAR)
    qdtext = (HEX, TCHAR, SEMI, EQUALS, COLON, BLANK, OTHER)
    text = (*qdtext, QUOTE, BACKSLASH)
    for states, kinds, after in (
        # chunk-size [ chunk-ext ] CRLF
        ((SIZE_FIRST, SIZE), (HEX,), SIZE),
        ((SIZE, NAME, TOKEN, UNQUOTED), (CR,), LINE_LF),
        ((LINE_LF,), (LF,), DATA),
        # chunk-ext = *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )
        ((SIZE, TOKEN, UNQUOTED, EXT_DUE), (BLANK,), EXT_DUE),
        ((SIZE, NAME, NAME_END, TOKEN, UNQUOTED, EXT_DUE), (SEMI,), EXT),
        ((EXT,), (BLANK,), EXT),
        ((EXT, NAME), token, NAME),
        ((NAME, NAME_END), (BLANK,), NAME_END),
        ((NAME, NAME_END), (EQUALS,), VALUE),
        ((VALUE,), (BLANK,), VALUE),
        ((VALUE, TOKEN), token, TOKEN),
        ((VALUE,), (QUOTE,), QUOTED),
        ((QUOTED,), qdtext, QUOTED),
        ((QUOTED,), (BACKSLASH,), ESCAPED),
        ((ESCAPED,), text, QUOTED),
        ((QUOTED,), (QUOTE,), UNQUOTED),
        # chunk-data CRLF
        ((DATA_CR,), (CR,), DATA_LF),
        ((DATA_LF,), (LF,), SIZE_FIRST),
        # *( token ":" text CRLF ) CRLF; a line that begins with a blank is obs-fold
        ((TRAILER, TRAILER_NAME), token, TRAILER_NAME),
        ((TRAILER_NAME,), (COLON,), TRAILER_VALUE),
        ((TRAILER_VALUE,), text, TRAILER_VALUE),
        ((TRAILER_VALUE,), (CR,), TRAILER_LF),
        ((TRAILER_LF,), (LF,), TRAILER),
        ((TRAILER,), (CR,), LAST_LF),
        ((LAST_LF,), (LF,), ENDED),
    ):
        for state in states:
            for kind in kinds:
                NEXT[state][kind] = after
    return 0


fill_tables()

cdef enum:
    # Bytes of a chunk's head as we write it: 16 digits, CR LF.
    HEAD_ROOM = 18


cdef struct Framing:
    long long kind   # CHUNKED, UNTIL_CLOSE or the content length
    int state        # a row of NEXT, or one of its four ways out
    int line         # bytes of the present chunk line, or of all trailers
    long long left   # payload bytes still due, of this chunk or of the body
    long long room   # payload bytes the reader still takes


cdef int start_framing(Framing *f, long long kind, long long room) except -1:
    """Set `f` to the beginning of a body."""
    if kind < _UNTIL_CLOSE:
        raise ValueError(f"framing {kind} is neither a length nor CHUNKED nor UNTIL_CLOSE")
    f.kind = kind
    f.line = 0
    f.room = room
    if kind == _CHUNKED:
        f.left, f.state = 0, SIZE_FIRST
    elif kind == _UNTIL_CLOSE:
        f.left, f.state = FOREVER, DATA
    else:
        f.left = kind
        f.state = TOO_LONG if kind > room else DATA if kind else ENDED
    return 0


cdef const char *next_span(
    Framing *f, const char **at, const char *end, Py_ssize_t *size
) noexcept:
    """Point at the next payload bytes of at[0]..end, or NULL if there are none.

    Moves at[0] behind what was used: up to `end`, or to where the state became ENDED, BAD
    or TOO_LONG.
    """
    cdef const char *span
    while at[0] < end and f.state > ENDED:
        if f.state != DATA:
            step(f, at[0][0])
            at[0] += 1
            continue
        span = at[0]
        size[0] = min(f.left, end - span)
        if size[0] > f.room:
            f.state = TOO_LONG
            return NULL
        at[0] += size[0]
        f.left -= size[0]
        f.room -= size[0]
        if f.left == 0:
            f.state = DATA_CR if f.kind == _CHUNKED else ENDED
        return span
    return NULL


cdef void step(Framing *f, unsigned char byte) noexcept:
    """Move over one byte that is framing, not payload."""
    cdef int state = NEXT[f.state][KIND[byte]]
    f.line += 1
    if f.line > (LINE_LIMIT if f.state < TRAILER else TRAILER_LIMIT):
        state = BAD
    elif state == SIZE:
        # Leading zeros are legal: the line bounds the digits, saturation the size.
        f.left = FOREVER if f.left >= FOREVER >> 4 else f.left << 4 | digit(byte)
    elif state == SIZE_FIRST:
        f.line = 0
    elif state == DATA:
        f.line = 0
        # Refused before its data are here: they would only be thrown away.
        state = TRAILER if f.left == 0 else TOO_LONG if f.left > f.room else DATA
    f.state = state


cdef inline int digit(unsigned char byte) noexcept:
    """Return the value of a hexadecimal digit."""
    return byte - c'0' if byte <= c'9' else (byte | 0x20) - c'a' + 10


cdef bint close_framing(Framing *f) noexcept:
    """Take note that the peer closed; tell whether the body is thereby complete."""
    if f.kind == _UNTIL_CLOSE and f.state == DATA:
        f.state = ENDED
    return f.state == ENDED


@final
cdef class BodyDecoder:
    """Take the framing off one message body, in either direction.

    `framing` is CHUNKED, UNTIL_CLOSE or a content length; `limit` the payload bytes
    taken at most.  Trailers are checked and dropped.  Once `ended`, feed no more:
    `surplus` holds what came after the body.

    Raises (the caller says whose fault it is; the decoder is spent):
        BadChunk: framing that RFC 9112 §7.1 does not allow, or an early end.
        BodyTooLong: more than `limit`, known by the length before the bytes are here.
    """

    cdef:
        Framing _framing
        readonly bytes surplus       # what came behind the end
        readonly long long received  # payload bytes so far

    def __init__(self, long long framing, long long limit):
        start_framing(&self._framing, framing, limit)
        self.surplus = b""

    @property
    def ended(self):
        """Whether the body is complete."""
        return self._framing.state == ENDED

    def feed(self, bytes data not None):
        """Return the payload in `data`."""
        cdef:
            const char *at = PyBytes_AS_STRING(data)
            const char *end = at + PyBytes_GET_SIZE(data)
            const char *span
            Py_ssize_t size = 0
            list parts = []
        while True:
            span = next_span(&self._framing, &at, end, &size)
            if span is NULL:
                break
            self.received += size
            # The usual body lies in its reads without framing between: not copied.
            parts.append(data if size == len(data) else PyBytes_FromStringAndSize(span, size))
        if self._framing.state == BAD:
            raise BadChunk("the chunked framing is malformed")
        if self._framing.state == TOO_LONG:
            raise BodyTooLong("the body is longer than its limit")
        if at < end:
            self.surplus += at[:end - at]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def eof(self):
        """Take note that the peer closed.  Raises BadChunk unless that ends the body."""
        if not close_framing(&self._framing):
            raise BadChunk("the connection closed before the body was complete")


def chunk(bytes data not None):
    """Return `data` as an HTTP chunk; of no data that is the last one, the end of a body."""
    return chunked(data)


cdef bytes chunked(bytes data):
    cdef:
        Py_ssize_t n = PyBytes_GET_SIZE(data)
        int head = hex_digits(n) + 2
        bytes framed = PyBytes_FromStringAndSize(NULL, head + n + 2)
        char *at = PyBytes_AS_STRING(framed)
    put_head(at, n, head)
    memcpy(at + head, PyBytes_AS_STRING(data), n)
    memcpy(at + head + n, b"\r\n", 2)
    return framed


cdef int own_head(bytes data) noexcept:
    """Return the length of the head if `data` is one chunk as `chunk` writes it, else 0."""
    cdef:
        Py_ssize_t n = PyBytes_GET_SIZE(data)
        const char *at = PyBytes_AS_STRING(data)
        char head[HEAD_ROOM]
        int digits = hex_digits(n)
    if n - digits - 4 < 1 << 4 * (digits - 1):
        digits -= 1  # what is around the data has led to one more
    n -= digits + 4
    if n <= 0 or hex_digits(n) != digits:
        return 0
    put_head(head, n, digits + 2)
    if memcmp(at, head, digits + 2) == 0 and memcmp(at + digits + 2 + n, b"\r\n", 2) == 0:
        return digits + 2
    return 0


cdef inline int hex_digits(Py_ssize_t n) noexcept:
    cdef int digits = 1
    while n >> 4:
        n >>= 4
        digits += 1
    return digits


cdef inline void put_head(char *at, Py_ssize_t n, int size) noexcept:
    """Write the head, of `size` bytes, of a chunk of n."""
    cdef int i
    for i in range(size - 3, -1, -1):
        at[i] = b"0123456789abcdef"[n & 15]
        n >>= 4
    memcpy(at + size - 2, b"\r\n", 2)
