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


# What is kept of Anthropic's usage, which comes in pieces.
FIGURES = (
    "input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens",
    "output_tokens", "output_tokens_details",
)


cdef bint naming(const char *p, const char *end) noexcept:
    """Tell whether a key type with the value message_…, ping or error is in p..end.

    It searches as `telling` does.  What nests deeper may have such a key too: whoever
    decodes the event sees that.
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
        if not ends(start, key, b'"type"', 6):
            continue
        while value < end and is_blank(value[0]):
            value += 1
        if (
            begins(value, end, b'"message_', 9)
            or begins(value, end, b'"ping"', 6)
            or begins(value, end, b'"error"', 7)
        ):
            return True


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

    - `done`: the terminal event came: `[DONE]`, which is in no batch, or `message_stop`,
      which is in one if a stop reason came before it.
    - `error`: the upstream reported one; event `error_at` carries it, the last delivered.
      After either, events are dropped and only the framing is followed.
    - `fault`: what came cannot be read, or is too long.  Everything stops.
    - `ended`: the body is complete.  `surplus`: yet bytes came after it.

    `dialect` is OPENAI or ANTHROPIC; of the latter, pings are in no batch: we send our own.
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
        readonly str finish         # the last finish reason seen, in the upstream's word
        readonly dict usage         # the last usage seen, in the upstream's words
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
        int _dialect
        bint _strip_usage
        Py_ssize_t _event_limit
        Histogram _gaps
        Histogram _overhead

    def __init__(
        self,
        long long framing,
        *,
        int dialect=_OPENAI,
        bint strip_usage=False,
        Py_ssize_t event_limit=EVENT_LIMIT,
        Histogram gaps=None,
        Histogram overhead=None,
    ):
        start_framing(&self._framing, framing, FOREVER - 1)
        self._held = bytearray()
        self._dialect = dialect
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
        if self._dialect == _ANTHROPIC:
            if naming(p, end) and self._learn_message(p[:end - p]):
                return False
        elif end - p == 6 and memcmp(p, b"[DONE]", 6) == 0:
            self.done = self._deaf = True
            return False
        elif telling(p, end) and self._learn(p[:end - p]):
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
            self._report(event["error"])
            return False
        return self._strip_usage and bool(usage) and event.get("choices") == []

    cdef bint _learn_message(self, bytes data) except -1:
        """Do as `_learn` does, in Anthropic's dialect."""
        try:
            event = loads(data)
        except ValueError:
            return False
        kind = event.get("type") if isinstance(event, dict) else None
        if kind == "ping":
            return True
        if kind == "message_start":
            self._count(mapping(event.get("message")).get("usage"))
        elif kind == "message_delta":
            self.finish = text(mapping(event.get("delta")).get("stop_reason")) or self.finish
            self._count(event.get("usage"))
        elif kind == "message_stop":
            self.done = self._deaf = True
            return self.finish is None  # an end without a reason is none: the client gets ours
        elif kind == "error":
            self._report(event.get("error") or "the upstream reported an error")
        return False

    cdef int _count(self, usage) except -1:
        """Note the latest of each figure: they are totals, and what is left out still holds."""
        usage = mapping(usage)
        told = {key: usage[key] for key in FIGURES if usage.get(key) is not None}
        if told:
            self.usage = {**(self.usage or {}), **told}
        return 0

    cdef int _report(self, error) except -1:
        """Take note of an error of the upstream, in the event that is to be delivered next."""
        self.error = error_object(error)
        self.error_at = self.events + 1
        self._deaf = True
        return 0

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
