# Heads: where one ends, what stands in it; what that means is the guard's affair.

cdef Py_ssize_t head_end(
    bytes data, Py_ssize_t start, Py_ssize_t line_limit, Py_ssize_t limit, int most
):
    """Return where the head that begins at `start` ends, -1 if it does not within the limits."""
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


cdef class HeadCutter:
    """The short way of a head: nearly each comes whole, and is cut out of what was read.

    `before` may stand before it.  A head has at most `limit` bytes, `line_limit` of them in its
    first line, and `most` lines.  What is not whole, or more than that, goes to
    `feed_more(data)`, which a subclass has; it keeps the beginning of a head in `held`.
    """

    cdef:
        readonly bytearray held
        bytes _before
        Py_ssize_t _line_limit
        Py_ssize_t _limit
        int _most

    def __init__(
        self, bytes before not None, Py_ssize_t line_limit, Py_ssize_t limit, int most
    ):
        self.held = bytearray()
        self._before = before
        self._line_limit = line_limit
        self._limit = limit
        self._most = most

    def cut(self, bytes data not None):
        """Return the head that `data` begins with, and what follows it; None if there is none."""
        return self._cut(data)

    cdef tuple _cut(self, bytes data):
        cdef Py_ssize_t start = len(self._before) if data.startswith(self._before) else 0
        cdef Py_ssize_t end = head_end(data, start, self._line_limit, self._limit, self._most)
        return None if end < 0 else (data[start:end], data[end:])

    def feed(self, bytes data not None):
        """Return the next whole head, start line to empty line, and what followed it.

        None if more of it must come.  What followed is its body, or a next head: feed that
        when the body is over.  Raises what `feed_more` does.
        """
        cdef tuple found = None
        if not PyByteArray_GET_SIZE(self.held):
            found = self._cut(data)
        return self.feed_more(data) if found is None else found


cdef class Head:
    """The fields of a message, by their names in lower case.

    Everything that serves a request asks it something, some twenty times in all.
    """

    cdef:
        readonly bint http10
        public long long framing   # of the body: its length, CHUNKED or UNTIL_CLOSE
        public bint sized          # the length is the one in the field
        public bint keep_alive
        Fields _fields

    def __init__(self, Fields fields not None, *, bint http10):
        self._fields = fields
        self.http10 = http10
        # HTTP/1.0 gets one exchange per connection: its keep-alive was never specified.
        self.keep_alive = False

    cdef int _take(self, Head known, Fields fields) except -1:
        """Become what was known of the decisive fields among these."""
        cdef Field *length
        self._fields = fields
        self.http10 = known.http10
        self.keep_alive = known.keep_alive
        self.sized = known.sized
        self.framing = known.framing
        if known.sized:
            length = fields._find(LENGTH)
            self.framing = number_of(length.value, length.size)
        return 0

    @property
    def headers(self):
        """The fields as a list of (lower-case name, value), in their order."""
        return list(self._fields)

    def get(self, bytes name not None):
        """Return the first value of this lower-case name, b"" if there is none."""
        cdef Field *field = self._fields._find(name)
        return b"" if field is NULL else PyBytes_FromStringAndSize(field.value, field.size)

    def has(self, bytes name not None):
        """Tell whether there is a field of this lower-case name; its value may be empty."""
        return self._fields._find(name) is not NULL

    def has_any(self, Names names not None):
        """Tell whether there is a field of any of these names."""
        return self._fields._any(names)

    def members(self, bytes name not None):
        """Return the members of a comma-separated field over all its lines, in lower case."""
        lines = b",".join([value for found, value in self._fields if found == name])
        return {member.strip() for member in lines.lower().split(b",")}

    def lines(self, Names names not None):
        """Return the lines of the fields whose names are in `names`, as they are written."""
        return self._fields._lines(names, False)

    def repeated(self, Names single not None):
        """Return a name out of `single` that stands more than once; None if there is none."""
        return self._fields._repeated(single)

    def replace(self, bytes name not None, bytes value not None):
        """Let this be the only field of its name; both are as a field's line may have them."""
        kept = [b"%b: %b\r\n" % field for field in self._fields if field[0] != name]
        self._fields = fields(b"%b%b: %b\r\n\r\n" % (b"".join(kept), name, value), 0)

    cpdef Head alike(self, Fields fields):
        """Return a head that says the same with these fields, whose decisive ones are alike."""
        raise NotImplementedError

    def forget(self):
        """Let go of the fields: some KB, and credentials among them."""
        self._fields = NO_FIELDS


cdef Fields NO_FIELDS = Fields()


@final
cdef class RequestHead(Head):
    """What a client asks, as far as the head says it; the guard makes it."""

    cdef:
        public str method            # as it came: methods are case-sensitive
        public str path              # as it came, escapes and dots untouched; "*" for OPTIONS *
        public str query             # without its "?"
        public bint expect_continue  # the client waits for a 100 before it sends the body
        public bytes upgrade         # the protocol to switch to, lower case; asked for in due form
        public bytes authority       # in the request line, which counts and not Host; b"": none

    def __init__(
        self, str method not None, str path not None, str query not None,
        Fields fields not None, *, bint http10,
    ):
        Head.__init__(self, fields, http10=http10)
        self.method = method
        self.path = path
        self.query = query
        self.upgrade = self.authority = b""

    cpdef Head alike(self, Fields fields):
        cdef RequestHead head = RequestHead.__new__(RequestHead)
        head._take(self, fields)
        head.method = self.method
        head.path = self.path
        head.query = self.query
        head.expect_continue = self.expect_continue
        head.upgrade = self.upgrade
        head.authority = self.authority
        if self.authority:
            head.replace(b"host", self.authority)
        return head


@final
cdef class ResponseHead(Head):
    """What an upstream answers, as far as the head says it; the guard makes it."""

    cdef readonly int status

    def __init__(self, int status, Fields fields not None, *, bint http10):
        Head.__init__(self, fields, http10=http10)
        self.status = status

    cpdef Head alike(self, Fields fields):
        cdef ResponseHead head = ResponseHead.__new__(ResponseHead)
        head._take(self, fields)
        head.status = self.status
        return head


def read_head(bytes raw not None, judge, Names names not None):
    """Return what a whole head means; None if a field line of it is not one.

    `judge(line, lines)` says what the first line means with the lines of the fields in `names`;
    it is asked past its memory where there is a query: that hardly comes twice, and may hold a key.
    """
    cdef:
        Py_ssize_t end = raw.find(b"\n") + 1
        bytes line = raw[:end]
        Fields headers = fields(raw, end)
        Head known
    if headers is None:
        return None
    if memchr(PyBytes_AS_STRING(line), b'?', end) is not NULL:
        judge = judge.__wrapped__
    known = judge(line, headers._lines(names, True))
    return known.alike(headers)
