# cython: language_level=3, boundscheck=False, wraparound=False
# cython: auto_pickle=False, autotestdict=False
"""The hot path: bytes of an HTTP body in, batches of server-sent events out.

Every token of every answer passes through `EventParser.feed`, so this file works on
C pointers and makes no Python object per event.  Three layers, each blind to the next:

    framing   `next_span` takes HTTP chunking away and points at runs of payload inside
              the fed bytes.  One table of states is the whole grammar of RFC 9112 §7.1.
    blocks    `EventParser._split` finds the blank line that ends a block (HTML standard
              §9.2.6).  What a cut left unfinished waits in one bytearray.
    events    a block that is canonical already is delivered as it stands, any other is
              rendered anew from its raw bytes; only an event in which a byte search
              finds usage, a finish reason or an error is decoded.

Canonical is: LF only, `event: X` first and only if X is not empty, one `data: ` line per
line of data, a blank line.  Bytes are never decoded on the way: whatever stands in a
line, NUL and broken UTF-8 included, passes.

No byte is searched again because of how the stream was cut, and whatever waits is
bounded, so no peer can make parsing quadratic or memory grow.
"""

from cpython.bytearray cimport (
    PyByteArray_AS_STRING,
    PyByteArray_GET_SIZE,
    PyByteArray_Resize,
)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cython cimport final
from libc.string cimport memchr, memcmp, memcpy

from orjson import loads

from gateway.chat import Delta, Fault, Start, Stop, ToolCall, Usage
from gateway.errors import BadChunk, BodyTooLong, EventTooLong, UpstreamProtocolError


cdef enum:
    # What a message's head can say of its body where it does not give a length.
    _CHUNKED = -1
    _UNTIL_CLOSE = -2
    # Bytes of one event: an image in a tool's arguments fits, an endless line does not.
    EVENT_LIMIT = 1 << 20
    # Bytes of a chunk's line, CR LF included: 20 would do, extensions are never used.
    LINE_LIMIT = 256
    # Bytes of all trailers, which nobody reads.
    TRAILER_LIMIT = 8192
    # Most bounds of a histogram, so that its slots are part of the object.
    BOUNDS_LIMIT = 32

# Larger than any length that is meant: where chunk sizes saturate, what no body reaches.
cdef long long FOREVER = 1 << 60

CHUNKED = _CHUNKED
UNTIL_CLOSE = _UNTIL_CLOSE


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
    cdef:
        Py_ssize_t n = PyBytes_GET_SIZE(data)
        Py_ssize_t rest = n >> 4
        Py_ssize_t digits = 1
        const char *hexadecimal = b"0123456789abcdef"
        bytes framed
        char *at
    while rest:
        digits += 1
        rest >>= 4
    framed = PyBytes_FromStringAndSize(NULL, digits + n + 4)
    at = PyBytes_AS_STRING(framed)
    rest = n
    for i in range(digits - 1, -1, -1):
        at[i] = hexadecimal[rest & 15]
        rest >>= 4
    at += digits
    memcpy(at, b"\r\n", 2)
    memcpy(at + 2, PyBytes_AS_STRING(data), n)
    memcpy(at + 2 + n, b"\r\n", 2)
    return framed


# Blocks and events: functions of bytes alone.

cdef inline int add_bytes(list parts, const char *p, const char *end) except -1:
    """Append p..end to `parts`, unless it is empty."""
    if p < end:
        parts.append(p[:end - p])
    return 0


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


cdef bint telling(const char *p, const char *end) noexcept:
    """Tell whether a key usage, finish_reason or error with a value but null is in p..end.

    Colons are what is searched for: there are fewer of them than of anything else a key
    has.  A quotation mark inside JSON text is escaped, so no word of an answer looks like
    a key.
    """
    cdef const char *start = p
    cdef const char *key   # its end
    cdef const char *value
    while True:
        key = <const char *>memchr(p, b':', end - p)
        if key is NULL:
            return False
        p = value = key + 1
        while key > start and is_blank((key - 1)[0]):
            key -= 1
        if (
            ends(start, key, b'"usage"', 7)
            or ends(start, key, b'"error"', 7)
            or ends(start, key, b'"finish_reason"', 15)
        ):
            while value < end and is_blank(value[0]):
                value += 1
            if value < end and not begins(value, end, b"null", 4):
                return True


@final
cdef class Batch:
    """The events that one upstream read completed; immutable, kept as long as its log.

    `data` is their canonical bytes, `first` the number of the first, `count` how many.
    """

    cdef:
        readonly bytes data
        readonly long long first
        readonly Py_ssize_t count

    def __cinit__(self, bytes data not None, long long first, Py_ssize_t count):
        self.data = data
        self.first = first
        self.count = count


@final
cdef class Histogram:
    """Counts of observations per bucket, in plain slots; `bounds` rise strictly.

    A value belongs to the first bucket whose bound is not below it, as `le` in
    Prometheus says, or else to the last, which has none.
    """

    cdef:
        readonly tuple bounds
        double _bounds[BOUNDS_LIMIT]
        long long _counts[BOUNDS_LIMIT + 1]
        double _sum
        int _n

    def __init__(self, bounds):
        cdef int i
        self.bounds = tuple(bounds)
        self._n = len(self.bounds)
        if self._n > BOUNDS_LIMIT:
            raise ValueError(f"more than {BOUNDS_LIMIT} bounds")
        for i in range(self._n):
            self._bounds[i] = self.bounds[i]
            if i and self._bounds[i] <= self._bounds[i - 1]:
                raise ValueError("bounds must rise")

    def observe(self, double value, long long n=1):
        """Add n observations of `value`."""
        self.add(value, n)

    cdef void add(self, double value, long long n) noexcept:
        cdef int i = 0
        while i < self._n and not value <= self._bounds[i]:
            i += 1
        self._counts[i] += n
        self._sum += value * n

    def snapshot(self):
        """Return the counts, one per bucket and not cumulative, and the sum of all values."""
        return [self._counts[i] for i in range(self._n + 1)], self._sum


@final
cdef class EventParser:
    """Cut one upstream's stream into batches of events.

    Feed it what the socket gave, however it was cut; it returns the events which those
    bytes completed.  It never raises for bad input.  It stops, after handing over what
    came before, and says why; then `attention` is true:

    - `done`: the terminal event came (`data: [DONE]`; it is in no batch).
    - `error`: the upstream reported one; event `error_at` carries it, the last delivered.
      After either, events are dropped and only the framing is followed.
    - `fault`: what came cannot be read, or is too long.  Everything stops.
    - `ended`: the body is complete.  `surplus`: yet bytes came after it.

    With `strip_usage`, the extra chunk of `stream_options.include_usage` is taken out,
    for a client that did not ask for it.  `event_limit` bounds the raw bytes of a block.
    `gaps` and `overhead` are observed in seconds, of whatever clock `now` is read from.
    """

    cdef:
        readonly bint attention     # any of the next five
        readonly bint done
        readonly bint ended
        readonly bint surplus
        readonly object fault       # UpstreamProtocolError
        readonly dict error         # the upstream's error object
        readonly long long error_at # number of its event; 0: none
        readonly str finish         # the last finish reason seen
        readonly dict usage         # the last usage object seen
        readonly long long events   # delivered so far
        readonly long long size     # bytes delivered so far
        readonly double last        # `now` of the last feed that delivered
        Framing _framing
        bint _deaf                  # after done, error and fault: deliver nothing
        bytearray _held             # the unfinished block, raw
        bint _amid                  # inside a line: it has a byte already
        bint _after_cr              # the last line ended in CR: an LF belongs to it
        bint _has_cr                # the unfinished block has a CR
        int _bom                    # bytes of the byte-order mark met so far; 3: past it
        bint _strip_usage
        Py_ssize_t _event_limit
        Histogram _gaps
        Histogram _overhead

    def __init__(
        self,
        long long framing,
        *,
        bint strip_usage=False,
        Py_ssize_t event_limit=EVENT_LIMIT,
        Histogram gaps=None,
        Histogram overhead=None,
    ):
        start_framing(&self._framing, framing, FOREVER - 1)
        self._held = bytearray()
        self._strip_usage = strip_usage
        self._event_limit = event_limit
        self._gaps = gaps
        self._overhead = overhead
        self._judge(False)

    def feed(self, bytes data not None, double now):
        """Return the batch of events that `data` completes, None if there is none."""
        cdef:
            const char *at = PyBytes_AS_STRING(data)
            const char *end = at + PyBytes_GET_SIZE(data)
            const char *span
            Py_ssize_t size = 0
            long long before = self.events
            list parts = []
        while True:
            span = next_span(&self._framing, &at, end, &size)
            if span is NULL:
                break
            if not self._deaf:
                self._split(span, span + size, parts)
        if self._deaf or self._framing.state <= ENDED:
            self._judge(at < end)
        if not parts:
            return None
        return self._batch(parts, self.events - before, now)

    def sent(self, double now):
        """Take note that the latest batch was written: `overhead` learns what we added."""
        if self._overhead is not None and self.events:
            self._overhead.add(now - self.last, 1)

    def eof(self):
        """Take note that the upstream closed; an unfinished event is dropped, as SSE wants."""
        if self._framing.state > ENDED and not close_framing(&self._framing):
            self._settle_held()
            self._fail(UpstreamProtocolError("the upstream closed too early", kind="truncated"))
        self._judge(False)
        return None

    cdef int _split(self, const char *p, const char *end, list parts) except -1:
        """Append what the payload p..end completes to `parts`; hold the unfinished rest."""
        cdef:
            const char *lf = NULL  # kept for line_end
            const char *block      # begin of the present block, or of its part behind _held
            const char *run        # run..block is delivered as it stands
            const char *stop
        if self._bom < 3:
            p = self._skip_bom(p, end)
        run = block = p
        while block < end:
            if self._after_cr and block[0] == b'\n' and not PyByteArray_GET_SIZE(self._held):
                # The second half of the CR LF that ended the last block: of no block.  That
                # block had a CR, so it was rendered, and no run is open.
                self._after_cr = False
                run = block = block + 1
                continue
            stop = self._block_end(block, end, &lf)
            if self._outgrown((end if stop is NULL else stop) - block) or stop is NULL:
                break
            event = self._take(block, stop)
            if event is not True:
                add_bytes(parts, run, block)
                run = stop
                if event is not None:
                    parts.append(event)
            block = stop
            if self._deaf:
                break
        add_bytes(parts, run, block)
        if not self._deaf:
            self._hold(block, end)
        return 0

    cdef const char *_skip_bom(self, const char *p, const char *end) except NULL:
        """Point behind what of the byte-order mark stands at p, at the very beginning."""
        cdef const char *mark = b"\xef\xbb\xbf"
        cdef int met
        while p < end and self._bom < 3:
            if p[0] != mark[self._bom]:
                met, self._bom = self._bom, 3
                self._hold(mark, mark + met)
                break
            self._bom += 1
            p += 1
        return p

    cdef const char *_block_end(self, const char *p, const char *end, const char **lf) noexcept:
        """Point behind the blank line that ends the block, or NULL if it is not in p..end."""
        cdef const char *eol
        cdef bint blank = False
        while p < end and not blank:
            if self._after_cr:
                self._after_cr = False
                if p[0] == b'\n':
                    p += 1
                    continue
            eol = line_end(p, end, lf)
            if eol is NULL:
                self._amid = True
                return NULL
            if eol[0] == b'\r':
                self._after_cr = self._has_cr = True
            blank = eol == p and not self._amid
            self._amid = False
            p = eol + 1
        return p if blank else NULL

    cdef bint _outgrown(self, Py_ssize_t more) except -1:
        """Tell whether `more` bytes make the block too long, and if so stop."""
        if PyByteArray_GET_SIZE(self._held) + more <= self._event_limit:
            return False
        self._fail(EventTooLong(f"an event of the upstream exceeds {self._event_limit} bytes"))
        return True

    cdef int _hold(self, const char *p, const char *end) except -1:
        """Keep p..end of the unfinished block."""
        cdef Py_ssize_t held = PyByteArray_GET_SIZE(self._held)
        if p < end:
            PyByteArray_Resize(self._held, held + (end - p))
            memcpy(PyByteArray_AS_STRING(self._held) + held, p, end - p)
        return 0

    cdef object _take(self, const char *p, const char *end):
        """Return what is delivered of the block that ends with p..end.

        That is None, or its bytes; True stands for p..end just as they are.
        """
        cdef object event
        cdef bytearray held = self._held
        if not PyByteArray_GET_SIZE(held):
            event = self._event(p, end)
        else:
            self._hold(p, end)
            p = PyByteArray_AS_STRING(held)
            event = self._event(p, p + PyByteArray_GET_SIZE(held))
            if event is True:
                event = bytes(held)
            PyByteArray_Resize(held, 0)
        self._has_cr = False
        return event

    cdef object _event(self, const char *p, const char *end):
        """Return what is delivered of the raw block p..end, as `_take` does."""
        cdef bytes event
        if not self._has_cr and canonical(p, end):
            return True if self._deliverable(p, end) else None
        event = render(p, end)
        if event is None:
            return None
        p = PyBytes_AS_STRING(event)
        return event if self._deliverable(p, p + PyBytes_GET_SIZE(event)) else None

    cdef bint _deliverable(self, const char *p, const char *end) except -1:
        """Learn what a canonical event tells; count it if it is to be delivered."""
        cdef bytes data = None
        p = data_lines(p, end) + 6
        end -= 2
        if memchr(p, b'\n', end - p) is not NULL:
            # No line holds an LF, so what is replaced stands at the start of a line.
            data = p[:end - p].replace(b"\ndata: ", b"\n")
            p = PyBytes_AS_STRING(data)
            end = p + PyBytes_GET_SIZE(data)
        if end - p == 6 and memcmp(p, b"[DONE]", 6) == 0:
            self.done = self._deaf = True
            return False
        if telling(p, end) and self._learn(p[:end - p]):
            return False
        self.events += 1
        return True

    cdef bint _learn(self, bytes data) except -1:
        """Note usage, finish reason and error; tell whether the event is to be taken out."""
        try:
            event = loads(data)
        except ValueError:
            return False  # passed on as it came: whoever reads it knows better
        if not isinstance(event, dict):
            return False
        usage = mapping(event.get("usage"))
        self.usage = usage or self.usage
        for choice in objects(event.get("choices")):
            self.finish = text(choice.get("finish_reason")) or self.finish
        if event.get("error"):
            self.error = error_object(event["error"])
            self.error_at = self.events + 1
            self._deaf = True
            return False
        return self._strip_usage and bool(usage) and event.get("choices") == []

    cdef Batch _batch(self, list parts, Py_ssize_t count, double now):
        """Return `parts` as the batch of the latest `count` events."""
        cdef Batch batch = Batch.__new__(
            Batch,
            parts[0] if len(parts) == 1 else b"".join(parts),
            self.events - count + 1,
            count,
        )
        if self._gaps is not None and self.events > count:
            self._gaps.add((now - self.last) / count, count)
        self.last = now
        self.size += PyBytes_GET_SIZE(batch.data)
        return batch

    cdef int _judge(self, bint more) except -1:
        """Say what the state of the body means; `more` bytes are left of the last feed."""
        if self._framing.state == ENDED:
            self._settle_held()
            self.ended = True
            self.surplus = self.surplus or more
        elif self._framing.state < ENDED and self.fault is None:
            self._fail(UpstreamProtocolError("the upstream's framing is malformed", kind="framing"))
        self.attention = self._deaf or self.ended
        return 0

    cdef int _settle_held(self) except -1:
        """Drop the unfinished block: the body is over."""
        cdef const char *p = PyByteArray_AS_STRING(self._held)
        # Kong ends its streams without the last blank line.
        if render(p, p + PyByteArray_GET_SIZE(self._held)) == b"data: [DONE]\n\n":
            self.done = self._deaf = True
        PyByteArray_Resize(self._held, 0)
        return 0

    cdef int _fail(self, error) except -1:
        """Stop for good: nothing after this can be trusted."""
        self.fault = error
        self._deaf = True
        self._framing.state = BAD
        PyByteArray_Resize(self._held, 0)
        return 0


# From a batch to whoever reads it.

cdef class Entries:
    """The batches of a log, in order; `eventlog.EventLog` adds how it begins and ends.

    Entries are numbered 1, 2, 3 …; a cursor is the number of the last entry a reader has.
    """

    cdef:
        readonly long long tail     # number of the last entry
        readonly long long base     # number of the last entry that was trimmed
        readonly Py_ssize_t held    # bytes not yet trimmed
        public bint closed          # nothing may be appended any more
        list _batches               # oldest first, without gaps

    def __cinit__(self, *args, **kwargs):
        self._batches = []

    def append(self, Batch batch not None):
        """Add the next entries.

        Raises:
            ValueError: the log is closed, or their numbers do not follow its tail.
        """
        self._append(batch)

    cdef int _append(self, Batch batch) except -1:
        if self.closed:
            raise ValueError("the log is closed")
        if batch.first != self.tail + 1:
            raise ValueError(f"entry {batch.first} does not follow {self.tail}")
        self._batches.append(batch)
        self.tail += batch.count
        self.held += PyBytes_GET_SIZE(batch.data)
        return 0

    def after(self, long long cursor):
        """Return the batches after `cursor`, which is the end of a batch, oldest first."""
        return [batch for batch in self._batches if (<Batch>batch).first > cursor]

    def trim(self, long long cursor):
        """Forget the batches up to `cursor`, which is the end of one: every reader has them."""
        if cursor > self.base:
            self._batches = self.after(cursor)
            self.held = sum([len((<Batch>batch).data) for batch in self._batches])
            self.base = cursor


@final
cdef class Outlet:
    """The body of one streamed answer: each piece is framed, and put in one write.

    `put` takes bytes for the client.  The first piece is preceded by `head`.  `cursor` is
    the last entry written; it is kept by whoever writes.
    """

    cdef:
        public long long cursor
        public bint paused          # the client takes nothing more for now
        readonly long long sent     # bytes so far, before framing
        object _put
        bytes _head                 # None once it is out
        bint _chunked

    def __init__(self, put, bytes head not None, bint chunked):
        self._put = put
        self._head = head
        self._chunked = chunked

    def write(self, bytes data not None):
        """Write a piece, which is not empty."""
        self._write(data)

    def end(self, bytes data not None):
        """Write the last piece, which may be empty, and what ends the body."""
        cdef bytes piece = data
        if self._chunked:
            piece = (chunk(data) if data else b"") + b"0\r\n\r\n"
        self._emit(data, piece)

    cdef int _write(self, bytes data) except -1:
        return self._emit(data, chunk(data) if self._chunked else data)

    cdef int _emit(self, bytes data, bytes piece) except -1:
        self.sent += PyBytes_GET_SIZE(data)
        if self._head is not None:
            piece, self._head = self._head + piece, None
        self._put(piece)
        return 0

    cdef int _offer(self, Batch batch) except -1:
        """Write the newest entries, and return 1, if all before them are written."""
        if self.paused or batch.first != self.cursor + 1:
            return 0
        self._write(batch.data)
        self.cursor += batch.count
        return 1


@final
cdef class Tap:
    """The short way of an event: what an upstream sent goes to the log and to each reader.

    Only while it is `flowing`, and nothing is to be decided: a batch is appended to `log`
    and written through the `outlet` of each reader, without a step of Python.  All else
    is handed on: to `attend(batch, now)` before it flows and when the parser wants
    attention; to `pump()` when a reader was left behind or the log holds more than `room`
    bytes.  `clock` is read twice for each delivery; `lost` is what the sink of an
    upstream's connection must have besides `data`.
    """

    cdef:
        public bint flowing
        readonly object lost
        EventParser _parser
        Entries _log
        list _readers               # the hub's own, so that it is always as it stands
        Py_ssize_t _room
        object _clock
        object _attend
        object _pump

    def __init__(
        self,
        EventParser parser not None,
        Entries log not None,
        list readers not None,
        *,
        Py_ssize_t room,
        clock,
        attend,
        pump,
        lost,
    ):
        self._parser = parser
        self._log = log
        self._readers = readers
        self._room = room
        self._clock = clock
        self._attend = attend
        self._pump = pump
        self.lost = lost

    def data(self, bytes data not None):
        """Take what the upstream sent."""
        cdef bint behind = False
        now = self._clock()
        batch = self._parser.feed(data, now)
        if not self.flowing or self._parser.attention:
            self._attend(batch, now)
        elif batch is not None:
            self._log._append(batch)
            for reader in self._readers:
                outlet = reader.outlet
                if outlet is None or not (<Outlet>outlet)._offer(batch):
                    behind = True
            if behind or self._log.held > self._room:
                self._pump()
            self._parser.sent(self._clock())


# JSON.

def depth(bytes text not None):
    """Return how deep the brackets of a JSON text nest; of what is no JSON, some number.

    To be asked before a text from outside is decoded: deep nesting costs seconds there.
    """
    cdef:
        const char *at = PyBytes_AS_STRING(text)
        const char *end = at + PyBytes_GET_SIZE(text)
        Py_ssize_t level = 0
        Py_ssize_t deepest = 0
        bint quoted = False
    while at < end:
        if quoted:
            if at[0] == b'\\':
                at += 1  # whatever is escaped, it does not end the string
            elif at[0] == b'"':
                quoted = False
        elif at[0] == b'"':
            quoted = True
        elif at[0] == b'{' or at[0] == b'[':
            level += 1
            deepest = max(deepest, level)
        elif at[0] == b'}' or at[0] == b']':
            level -= 1
        at += 1
    return deepest


# What the events say.

def deltas(bytes data not None):
    """Return what the canonical events in `data` say, in OpenAI's chat dialect, in order.

    Reads chat chunks and legacy completions (`choices[].text`).  A provider that repeats
    the role in each chunk gives a Start each time.  Never raises: what is not JSON, or not
    of the shape it should have, is skipped.
    """
    cdef list events = []
    for block in data.split(b"\n\n"):
        if block.startswith(b"event: "):
            block = block[block.find(b"\n") + 1:]
        try:
            event = loads(block[6:].replace(b"\ndata: ", b"\n"))
        except ValueError:
            continue
        if not isinstance(event, dict):
            continue
        for choice in objects(event.get("choices")):
            read_choice(choice, events)
        read_totals(event, events)
    return events


cdef int read_choice(dict choice, list events) except -1:
    """Append what one choice of a chunk says."""
    cdef dict delta = mapping(choice.get("delta"))
    index = number(choice.get("index"))
    if text(delta.get("role")):
        events.append(Start(index, delta["role"]))
    if reasoning := text(delta.get("reasoning_content")) or text(delta.get("reasoning")):
        events.append(Delta(index, reasoning=reasoning))
    if content := text(delta.get("content")) or text(choice.get("text")):
        events.append(Delta(index, content=content))
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
        cached = mapping(usage.get("prompt_tokens_details")).get("cached_tokens")
        reasoning = mapping(usage.get("completion_tokens_details")).get("reasoning_tokens")
        events.append(
            Usage(
                number(usage.get("prompt_tokens")),
                number(usage.get("completion_tokens")),
                number(cached),
                number(reasoning),
            )
        )
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
