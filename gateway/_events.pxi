# The HTML standard: events, cut out of a stream.

@final
cdef class EventParser:
    """Cut one upstream's stream into batches of events.

    Feed it what the socket gave, however it was cut; it returns the events which those
    bytes completed.  It never raises for bad input.  It stops, after handing over what
    came before, and says why; then `attention` is true:

    - `done`: the terminal event came: `[DONE]`, which is in no batch, or `message_stop`,
      which is in one if a stop reason came before it, or a response that is over, which is.
      Gemini has none: there it is the end of the body, after a finish reason.
    - `error`: the upstream reported one; event `error_at` carries it, the last delivered.
      Where OpenAI's says so by its type alone, it is delivered as one that says so in its data.
      After either, events are dropped and only the framing is followed.
    - `fault`: what came cannot be read, or is too long.  Everything stops.
    - `ended`: the body is complete.  `surplus`: yet bytes came after it.

    `dialect` is OPENAI, ANTHROPIC, RESPONSES or GEMINI; what each tells, and what of it is in no batch, stands
    in `_dialects.pxi`.  With `strip_usage`, the extra chunk of `stream_options.include_usage` is taken out,
    for a client that did not ask for it.  `event_limit` bounds the raw bytes of a block.
    What is fed may be kept as it is if it is `tight`: if it holds no more memory than it has bytes.
    `gaps` and `overhead` are observed in seconds, of whatever clock `now` is read from.
    """

    cdef:
        readonly bint attention     # any of the next five
        readonly bint ended
        readonly bint surplus
        readonly object fault       # UpstreamProtocolError
        readonly long long error_at # number of the event that reported an error; 0: none
        readonly long long events   # delivered so far
        readonly long long size     # bytes delivered so far
        readonly double last        # `now` of the last feed that delivered
        Framing _framing
        bint _deaf                  # after done, error and fault: deliver nothing
        bytearray _held             # the unfinished block, raw; None: nothing is
        bint _amid                  # inside a line: it has a byte already
        bint _after_cr              # the last line ended in CR: an LF belongs to it
        bint _has_cr                # the unfinished block has a CR
        int _bom                    # bytes of the byte-order mark met so far; 3: past it
        bint _names_errors          # an event may say by its type alone that it is one
        _Search _may_tell
        _Story _story
        Py_ssize_t _event_limit
        bint _tight
        Histogram _gaps
        Histogram _overhead
        const char *_run            # what of a feed is delivered as it stands, if not in _parts
        const char *_run_end
        list _parts                 # None: the run is all that is delivered

    def __init__(
        self,
        long long framing,
        *,
        int dialect=_OPENAI,
        bint strip_usage=False,
        Py_ssize_t event_limit=EVENT_LIMIT,
        bint tight=False,
        Histogram gaps=None,
        Histogram overhead=None,
    ):
        start_framing(&self._framing, framing, FOREVER - 1)
        self._story = story_of(dialect, strip_usage)
        self._names_errors = dialect == _OPENAI
        self._may_tell = search_of(dialect)
        self._event_limit = event_limit
        self._tight = tight
        self._gaps = gaps
        self._overhead = overhead
        self._judge(False)

    @property
    def done(self):
        """Whether the terminal event came."""
        return self._story.done

    @property
    def complete(self):
        """Whether all was said: the terminal event came, a reason before it, and no error."""
        return self._story.done and bool(self._story.finish) and self._story.error is None

    @property
    def clean(self):
        """Whether the body is complete, and nothing came after it."""
        return self.ended and not self.surplus

    @property
    def error(self):
        """The upstream's error object, if it reported one."""
        return self._story.error

    @property
    def finish(self):
        """The last finish reason seen, in the upstream's word."""
        return self._story.finish

    @property
    def usage(self):
        """The last usage seen, in the upstream's words."""
        return self._story.spent()

    def feed(self, bytes data not None, double now):
        """Return the batch of events that `data` completes, None if there is none."""
        return self._feed(data, now)

    def sent(self, double now):
        """Take note that the latest batch was written: `overhead` learns what we added."""
        self._sent(now)

    cdef Batch _feed(self, bytes data, double now):
        cdef:
            const char *at = PyBytes_AS_STRING(data)
            const char *end = at + PyBytes_GET_SIZE(data)
            const char *span
            Py_ssize_t size = 0
            long long before = self.events
            int head = 0
        self._run, self._parts = NULL, None
        if self._framing.state == SIZE_FIRST:
            head = own_head(data)
        if head and not self._deaf and end - at < self._framing.room:
            # The usual read: what is framed as we do it needs no look at each byte of the framing.
            self._framing.room -= end - at - head - 2
            self._split(at + head, end - 2)
            at = end
        while True:
            span = next_span(&self._framing, &at, end, &size)
            if span is NULL:
                break
            if not self._deaf:
                self._split(span, span + size)
        if self._deaf or self._framing.state <= ENDED:
            self._judge(at < end)
        if self._run is NULL and self._parts is None:
            return None
        return self._batch(data, head, self.events - before, now)

    cdef void _sent(self, double now) noexcept:
        if self._overhead is not None and self.events:
            self._overhead.add(now - self.last, 1)

    def eof(self):
        """Take note that the upstream closed; an unfinished event is dropped, as SSE wants."""
        if self._framing.state > ENDED and not close_framing(&self._framing):
            self._settle_held(False)
            self._fail(UpstreamProtocolError("the upstream closed too early", kind="truncated"))
        self._judge(False)
        return None

    cdef int _split(self, const char *p, const char *end) except -1:
        """Pass what the payload p..end completes; hold the unfinished rest."""
        cdef:
            const char *lf = NULL  # kept for line_end
            const char *block      # begin of the present block, or of its part behind _held
            const char *run        # run..block is delivered as it stands
            const char *stop
        if self._bom < 3:
            p = self._skip_bom(p, end)
        run = block = p
        while block < end:
            if self._after_cr and block[0] == b'\n' and self._held is None:
                # The second half of the CR LF that ended the last block: of no block.  That
                # block had a CR, so it was rendered, and no run is open.
                self._after_cr = False
                run = block = block + 1
                continue
            stop = NULL
            if self._held is None and not self._after_cr:
                stop = usual_block(block, end, &lf)
            if stop is not NULL:
                # One look, where the steps below take four; most of OpenAI's and Gemini's are so.
                if self._outgrown(stop - block):
                    break
                if not self._delivers(block + 6, stop - 2):
                    self._pass(run, block)
                    run = stop
                block = stop
                if self._deaf:
                    break
                continue
            stop = self._block_end(block, end, &lf)
            if self._outgrown((end if stop is NULL else stop) - block) or stop is NULL:
                break
            event = self._take(block, stop)
            if event is not True:
                self._pass(run, block)
                run = stop
                if event is not None:
                    self._store()
                    self._parts.append(event)
            block = stop
            if self._deaf:
                break
        self._pass(run, block)
        if not self._deaf:
            self._hold(block, end)
        return 0

    cdef int _pass(self, const char *p, const char *end) except -1:
        """Deliver p..end of what was fed as it stands."""
        if p < end:
            if self._run is not NULL:
                self._store()
            self._run, self._run_end = p, end
        return 0

    cdef int _store(self) except -1:
        """Put the run among the parts: it is not all that is delivered."""
        if self._parts is None:
            self._parts = []
        if self._run is not NULL:
            self._parts.append(self._run[:self._run_end - self._run])
            self._run = NULL
        return 0

    cdef const char *_skip_bom(self, const char *p, const char *end) except NULL:
        """Point behind what of the byte-order mark stands at p, at the very beginning."""
        cdef const char *mark = b"\xef\xbb\xbf"
        cdef int met
        while p < end and self._bom < 3:
            if p[0] != mark[self._bom]:
                met, self._bom = self._bom, 3
                self._hold(mark, mark + met)
                self._amid = met > 0
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
        if self._held is not None:
            more += PyByteArray_GET_SIZE(self._held)
        if more <= self._event_limit:
            return False
        self._fail(EventTooLong(f"an event of the upstream exceeds {self._event_limit} bytes"))
        return True

    cdef int _hold(self, const char *p, const char *end) except -1:
        """Keep p..end of the unfinished block."""
        cdef Py_ssize_t held
        if p < end:
            if self._held is None:
                self._held = bytearray()
            held = PyByteArray_GET_SIZE(self._held)
            PyByteArray_Resize(self._held, held + (end - p))
            memcpy(PyByteArray_AS_STRING(self._held) + held, p, end - p)
        return 0

    cdef object _take(self, const char *p, const char *end):
        """Return what is delivered of the block that ends with p..end.

        That is None, or its bytes; True stands for p..end just as they are.
        """
        cdef object event
        cdef bytearray held
        if self._held is None:
            event = self._event(p, end)
        else:
            self._hold(p, end)
            held, self._held = self._held, None
            p = PyByteArray_AS_STRING(held)
            event = self._event(p, p + PyByteArray_GET_SIZE(held))
            if event is True:
                event = bytes(held)
        self._has_cr = False
        return event

    cdef object _event(self, const char *p, const char *end):
        """Return what is delivered of the raw block p..end, as `_take` does."""
        cdef bytes event
        if not self._has_cr and canonical(p, end):
            if self._names_errors and begins(p, end, b"event: error\n", 13):
                return self._rendered(told_error(p[:end - p]))
            return True if self._deliverable(p, end) else None
        event = render(p, end)
        if event is None:
            return None
        return self._rendered(told_error(event) if self._names_errors else event)

    cdef bytes _rendered(self, bytes event):
        """Return a canonical event if it is to be delivered, else None."""
        cdef const char *p = PyBytes_AS_STRING(event)
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
        return self._delivers(p, end)

    cdef bint _delivers(self, const char *p, const char *end) except -1:
        """Learn what an event's data tells; count the event if it is to be delivered."""
        if self._may_tell(p, end) and self._told(p, end):
            return False
        self.events += 1
        return True

    cdef bint _told(self, const char *p, const char *end) except -1:
        """Learn from an event's data; tell whether it is to be taken out."""
        cdef bint hidden = self._story.read(p, end)
        if self._story.error is not None:
            self.error_at = self.events + 1
        self._deaf = self._story.done or self._story.error is not None
        return hidden

    cdef Batch _batch(self, bytes data, int head, Py_ssize_t count, double now):
        """Return what was passed as the batch of the latest `count` events.

        If that is all of what was fed, it is taken as it came: bare, or as the chunk it is
        behind this `head`, which saves to write one.
        """
        cdef:
            Batch batch = Batch.__new__(Batch)
            Py_ssize_t size = self._run_end - self._run
        if self._parts is not None:
            self._store()
            batch._bytes = b"".join(self._parts)
            self._parts = None
        elif PyBytes_GET_SIZE(data) == (size + head + 2 if head else size):
            batch._bytes = data if self._tight else PyBytes_AS_STRING(data)[:PyBytes_GET_SIZE(data)]
            batch._head = head
        else:
            batch._bytes = self._run[:size]
        batch.first = self.events - count + 1
        batch.count = count
        if self._gaps is not None and self.events > count:
            self._gaps.add((now - self.last) / count, count)
        self.last = now
        self.size += batch._size()
        return batch

    cdef int _judge(self, bint more) except -1:
        """Say what the state of the body means; `more` bytes are left of the last feed."""
        if self._framing.state == ENDED:
            if not self.ended:
                self._settle_held(True)
            self.ended = True
            self.surplus = self.surplus or more
        elif self._framing.state < ENDED and self.fault is None:
            self._fail(UpstreamProtocolError("the upstream's framing is malformed", kind="framing"))
        self.attention = self._deaf or self.ended
        return 0

    cdef int _settle_held(self, bint whole) except -1:
        """Drop the unfinished block: the body is over, or cut if it is not `whole`."""
        cdef bytearray held = self._held or bytearray()
        cdef const char *p = PyByteArray_AS_STRING(held)
        if not self._deaf:
            self._story.close(render(p, p + PyByteArray_GET_SIZE(held)), whole)
            self._deaf = self._story.done
        self._held = None
        return 0

    cdef int _fail(self, error) except -1:
        """Stop for good: nothing after this can be trusted."""
        self.fault = error
        self._deaf = True
        self._framing.state = BAD
        self._held = None
        return 0
