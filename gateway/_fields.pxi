# The fields of a head: what a line of it is, and which there are.

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
