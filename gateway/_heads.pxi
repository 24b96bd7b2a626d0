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


def fields(bytes raw not None, Py_ssize_t start):
    """Return the Fields of a whole head, None if a line is not one.

    From `start` on `raw` is field lines, each exactly as RFC 9112 §5 has it, and one empty line.
    """
    cdef:
        const char *begin = PyBytes_AS_STRING(raw)
        const char *p = begin + start
        const char *end = begin + PyBytes_GET_SIZE(raw)
        const char *name
        const char *colon
        const char *value
        const char *last        # of the value
        Fields found = Fields.__new__(Fields)
    found._text = raw
    while end - p > 2:
        name = p
        while LOWER[<unsigned char>p[0]]:  # the CR LF at the end stops it, and the NUL behind that
            p += 1
        if p == name or p[0] != b':':
            return None
        colon = p
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
        found._add(name, colon - name, value, last - value)
        p += 2
    return found if end - p == 2 and p[0] == b'\r' and p[1] == b'\n' else None


cdef inline bint is_space(char byte) noexcept:
    """Say whether HTTP takes the byte as a space within a line."""
    return byte == b' ' or byte == b'\t'


cdef inline bint visible(char byte) noexcept:
    """Say whether a field's value may have this byte (RFC 9110 §5.5)."""
    return <unsigned char>byte >= 32 and byte != 127 or byte == b'\t'


cdef inline bint named(const char *name, Py_ssize_t size, bytes wanted) noexcept:
    """Say whether a field's name is `wanted`, which is in lower case."""
    cdef const char *lower = PyBytes_AS_STRING(wanted)
    if size != PyBytes_GET_SIZE(wanted):
        return False
    while size:
        size -= 1
        if LOWER[<unsigned char>name[size]] != <unsigned char>lower[size]:
            return False
    return True


cdef inline char *put_lowered(char *at, const char *name, Py_ssize_t size) noexcept:
    """Write a field's name in lower case, and point behind it."""
    cdef Py_ssize_t i
    for i in range(size):
        at[i] = LOWER[<unsigned char>name[i]]
    return at + size


@final
cdef class Names:
    """Some names of fields, to be looked for among those of a head."""

    cdef:
        tuple _names
        # A bit for each length that one begun by this byte has, below 64: it rules out most.
        unsigned long long[256] _sizes

    def __init__(self, names):
        self._names = tuple(names)
        memset(self._sizes, 0, sizeof(self._sizes))
        for name in self._names:
            self._sizes[<unsigned char>PyBytes_AS_STRING(<bytes?>name)[0]] |= self._bit(len(name))

    cdef unsigned long long _bit(self, Py_ssize_t size) noexcept:
        return <unsigned long long>1 << min(size, 63)

    cdef bint _hold(self, const char *name, Py_ssize_t size) noexcept:
        """Say whether the name is one of these, in lower case or not."""
        if not self._sizes[LOWER[<unsigned char>name[0]]] & self._bit(size):
            return False
        for wanted in self._names:
            if named(name, size, <bytes>wanted):
                return True
        return False


cdef struct Field:
    const char *name    # as it came
    Py_ssize_t name_size
    const char *value
    Py_ssize_t size


cdef enum:
    # Fields for which there is room at first: an SDK sends some 15, and a provider as many.
    FIELDS_ROOM = 16


@final
cdef class Fields:
    """The fields of one head: places in its bytes, of which nothing is copied until it is asked for.

    Iterated over, it gives (lower-case name, value), in their order.
    """

    cdef:
        bytes _text         # what the places are in
        Field *_fields
        Py_ssize_t _count
        Py_ssize_t _room

    def __dealloc__(self):
        PyMem_Free(self._fields)

    cdef int _add(
        self, const char *name, Py_ssize_t name_size, const char *value, Py_ssize_t size
    ) except -1:
        cdef Field *grown
        if self._count == self._room:
            self._room = self._room * 2 or FIELDS_ROOM
            grown = <Field *>PyMem_Realloc(self._fields, self._room * sizeof(Field))
            if grown is NULL:
                raise MemoryError
            self._fields = grown
        self._fields[self._count] = Field(name, name_size, value, size)
        self._count += 1
        return 0

    def __len__(self):
        return self._count

    def __iter__(self):
        return iter([self._pair(i) for i in range(self._count)])

    cdef tuple _pair(self, Py_ssize_t i):
        cdef:
            Field *field = self._fields + i
            # Made empty and then filled: one of a single byte would be the interpreter's own.
            bytes name = PyBytes_FromStringAndSize(NULL, field.name_size)
        put_lowered(PyBytes_AS_STRING(name), field.name, field.name_size)
        return name, PyBytes_FromStringAndSize(field.value, field.size)

    cdef Field *_find(self, bytes name) noexcept:
        """Point at the first field of this lower-case name; NULL if there is none."""
        cdef Py_ssize_t i
        for i in range(self._count):
            if named(self._fields[i].name, self._fields[i].name_size, name):
                return self._fields + i
        return NULL

    cdef bint _any(self, Names names) noexcept:
        cdef Py_ssize_t i
        for i in range(self._count):
            if names._hold(self._fields[i].name, self._fields[i].name_size):
                return True
        return False

    cdef bytes _repeated(self, Names single):
        """Return the name of the first field of `single` that stands more than once, or None."""
        cdef Py_ssize_t i
        cdef Field *field
        for i in range(1, self._count):
            field = self._fields + i
            if single._hold(field.name, field.name_size) and self._before(i):
                return self._pair(i)[0]
        return None

    cdef bint _before(self, Py_ssize_t place):
        """Say whether the name of the field at `place` stands before it too."""
        cdef bytes name = self._pair(place)[0]
        return self._find(name) != self._fields + place

    cdef bytes _lines(self, Names names, bint alike):
        """Return the lines of those in `names`; if `alike`, lengths of bodies as in `decisive`."""
        cdef:
            bytes lines
            char *at
            Field *field
            Py_ssize_t size = 0
            Py_ssize_t i
        for i in range(self._count):
            field = self._fields + i
            size += field.name_size + field.size + 4
        lines = PyBytes_FromStringAndSize(NULL, size)
        at = PyBytes_AS_STRING(lines)
        for i in range(self._count):
            field = self._fields + i
            if names._hold(field.name, field.name_size):
                at = put(put_lowered(at, field.name, field.name_size), b": ", 2)
                if alike and named(field.name, field.name_size, LENGTH):
                    at = put_alike(at, field)
                else:
                    at = put(at, field.value, field.size)
                at = put(at, b"\r\n", 2)
        return lines[:at - PyBytes_AS_STRING(lines)]

    def decisive(self, Names names not None):
        """Return the lines of those fields that are in `names`, as a text that repeats itself.

        Of a length that can be one only stays whether it is zero: no two bodies are as long.
        """
        return self._lines(names, True)


cdef char *put_alike(char *at, Field *length) noexcept:
    """Write a length as `decisive` does."""
    cdef long long number = number_of(length.value, length.size)
    if number < 0:
        return put(at, length.value, length.size)
    return put(at, b"1" if number else b"0", 1)


cdef bytes LENGTH = b"content-length"


def length_of(bytes digits not None):
    """Return the number that a Content-Length is, -1 if it is none or out of range."""
    return number_of(PyBytes_AS_STRING(digits), PyBytes_GET_SIZE(digits))


cdef long long number_of(const char *at, Py_ssize_t size) noexcept:
    cdef long long length = 0
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
