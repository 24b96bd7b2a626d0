# Heads: where one ends, what stands in it; what that means is the guard's affair.

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


def cut_head(
    bytes data not None, bytes before not None, Py_ssize_t line_limit, Py_ssize_t limit, int most
):
    """Return the head that `data` begins with, and what follows it; None if it is not one.

    `before` may stand before it.  None: it is not whole yet, or its first line has more than
    `line_limit` bytes, all of it more than `limit` bytes or more than `most` lines; which of
    these, and whether more may come, is the caller's to find.
    """
    cdef Py_ssize_t start = PyBytes_GET_SIZE(before) if data.startswith(before) else 0
    cdef Py_ssize_t end = head_end(data, start, line_limit, limit, most)
    return None if end < 0 else (data[start:end], data[end:])


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


def decisive(list headers not None, frozenset names not None):
    """Return the lines of those fields that are in `names`, as a text that repeats itself.

    Of a length that can be one only stays whether it is zero: no two bodies are as long.
    """
    cdef list lines = []
    for name, value in headers:
        if name in names:
            if name == LENGTH and length_of(value) >= 0:
                value = b"1" if length_of(value) else b"0"
            lines += (name, b": ", value, b"\r\n")
    return b"".join(lines)


cdef bytes LENGTH = b"content-length"


cpdef long long length_of(bytes digits) except -2:
    """Return the number that a Content-Length is, -1 if it is none or out of range."""
    cdef:
        const char *at = PyBytes_AS_STRING(digits)
        Py_ssize_t size = PyBytes_GET_SIZE(digits)
        long long length = 0
    if not 0 < size <= LENGTH_DIGITS:
        return -1
    while size:
        if not c'0' <= at[0] <= c'9':
            return -1
        length = length * 10 + (at[0] - c'0')
        at += 1
        size -= 1
    return length


cdef class Head:
    """The fields of a message, by their names in lower case.

    Everything that serves a request asks it something, some twenty times in all.
    """

    cdef:
        readonly list headers      # (lower-case name, value), in their order
        readonly bint http10
        public long long framing   # of the body: its length, CHUNKED or UNTIL_CLOSE
        public bint sized          # the length is the one in the field
        public bint keep_alive
        dict _first                # by name, the first value

    def __init__(self, list headers not None, *, bint http10):
        self.http10 = http10
        # HTTP/1.0 gets one exchange per connection: its keep-alive was never specified.
        self.keep_alive = False
        self._index(headers)

    cdef int _index(self, list headers) except -1:
        self.headers = headers
        self._first = {}
        for name, value in headers:
            self._first.setdefault(name, value)
        return 0

    cdef int _take(self, Head known, list headers) except -1:
        """Become what was known of the decisive fields among these."""
        self._index(headers)
        self.http10 = known.http10
        self.keep_alive = known.keep_alive
        self.sized = known.sized
        self.framing = length_of(self._first[LENGTH]) if known.sized else known.framing
        return 0

    def get(self, bytes name not None):
        """Return the first value of this lower-case name, b"" if there is none."""
        return self._first.get(name, b"")

    def has(self, bytes name not None):
        """Tell whether there is a field of this lower-case name; its value may be empty."""
        return name in self._first

    def has_any(self, frozenset names not None):
        """Tell whether there is a field of any of these lower-case names."""
        for name in self._first:
            if name in names:
                return True
        return False

    def members(self, bytes name not None):
        """Return the members of a comma-separated field over all its lines, in lower case."""
        cdef bytes lines = self._first.get(name, b"")
        if len(self._first) != PyList_GET_SIZE(self.headers):
            lines = b",".join([value for found, value in self.headers if found == name])
        return {member.strip() for member in lines.lower().split(b",")}

    def lines(self, frozenset names not None):
        """Return the lines of the fields whose names are in `names`, as they are written."""
        return b"".join([b"%b: %b\r\n" % field for field in self.headers if field[0] in names])

    def repeated(self, frozenset single not None):
        """Return a name out of `single` that stands more than once; None if there is none."""
        if len(self._first) == PyList_GET_SIZE(self.headers):
            return None
        seen = set()
        for name, _ in self.headers:
            if name in seen:
                return name
            if name in single:
                seen.add(name)
        return None

    def replace(self, bytes name not None, bytes value not None):
        """Let this be the only field of its name."""
        self.headers = [field for field in self.headers if field[0] != name]
        self.headers.append((name, value))
        self._first[name] = value

    def forget(self):
        """Let go of the fields: some KB, and credentials among them."""
        self.headers = []
        self._first = {}


@final
cdef class RequestHead(Head):
    """What a client asks, as far as the head says it; the guard makes it."""

    cdef:
        public str method            # as it came: methods are case-sensitive
        public str path              # as it came, escapes and dots untouched; "*" for OPTIONS *
        public str query             # without its "?"
        public bint expect_continue  # the client waits for a 100 before it sends the body
        public bytes upgrade         # the protocol to switch to, lower case; asked for in due form

    def __init__(
        self, str method not None, str path not None, str query not None,
        list headers not None, *, bint http10,
    ):
        Head.__init__(self, headers, http10=http10)
        self.method = method
        self.path = path
        self.query = query
        self.upgrade = b""

    def alike(self, list headers not None):
        """Return a head that says the same with these fields, whose decisive ones are alike."""
        cdef RequestHead head = RequestHead.__new__(RequestHead)
        head._take(self, headers)
        head.method = self.method
        head.path = self.path
        head.query = self.query
        head.expect_continue = self.expect_continue
        head.upgrade = self.upgrade
        return head


@final
cdef class ResponseHead(Head):
    """What an upstream answers, as far as the head says it; the guard makes it."""

    cdef readonly int status

    def __init__(self, int status, list headers not None, *, bint http10):
        Head.__init__(self, headers, http10=http10)
        self.status = status

    def alike(self, list headers not None):
        """Return a head that says the same with these fields, whose decisive ones are alike."""
        cdef ResponseHead head = ResponseHead.__new__(ResponseHead)
        head._take(self, headers)
        head.status = self.status
        return head
