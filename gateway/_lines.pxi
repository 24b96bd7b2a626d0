# The log: its lines until they are written, and the line of a request whose values are plain.

@final
cdef class Backlog:
    """Lines for a writer that may lag, up to `room` bytes.

    Any thread may call it and so may a finalizer, amid whatever else: no call gives way to
    another, for none runs a step of Python before all is in order.
    """

    cdef:
        readonly Py_ssize_t room    # bytes that it takes yet
        list _lines
        object _wake                # called when there is something again

    def __init__(self, Py_ssize_t room, wake):
        self.room = room
        self._lines = []
        self._wake = wake

    def put(self, bytes line not None):
        """Take a line, and return whether there was room for it."""
        if PyBytes_GET_SIZE(line) > self.room:
            return False
        self.room -= PyBytes_GET_SIZE(line)
        self._lines.append(line)
        if PyList_GET_SIZE(self._lines) == 1:
            self._wake()
        return True

    def take(self):
        """Return all lines, in their order; their bytes count until they are `written`."""
        cdef list fresh = []
        lines, self._lines = self._lines, fresh
        return lines

    def written(self, Py_ssize_t size):
        """Have room again for so many bytes."""
        self.room += size

    def close(self):
        """Take no more."""
        self.room = -1 - FOREVER


# One is written for every request.  Each function points behind what it wrote, or is NULL
# if that takes more than copying, or the one before it was.

cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(str text)
    const unsigned char *PyUnicode_1BYTE_DATA(str text)
    Py_ssize_t PyUnicode_GET_LENGTH(str text)

cdef extern from "<time.h>":
    ctypedef long time_t
    cdef struct tm:
        int tm_sec, tm_min, tm_hour, tm_mday, tm_mon, tm_year
    tm *gmtime_r(const time_t *unix, tm *broken) noexcept

cdef enum:
    # Characters of one value: a model name or a path can be as long as a client likes.
    VALUE_LIMIT = 512
    # Bytes of a line: ten values as long as they may be, and 1 KB for names and numbers.
    LINE_ROOM = 10 * VALUE_LIMIT + 1024
    STAMP_ROOM = 32
    TIMING_ROOM = 160

MAX_VALUE = VALUE_LIMIT
cdef double YEAR_10000 = 253402300800
cdef double YEAR = 31536000


cdef inline char *say(char *at, const char *text) noexcept:
    if at is NULL:
        return NULL
    memcpy(at, text, strlen(text))
    return at + strlen(text)


cdef char *say_digits(char *at, unsigned long long number, int width) noexcept:
    """Write a number with zeros before it up to `width`, or as wide as it is."""
    cdef:
        unsigned long long rest = number
        int digits = 1
    if at is NULL:
        return NULL
    while rest >= 10:
        rest /= 10
        digits += 1
    digits = max(digits, width)
    at += digits
    for _ in range(digits):
        at -= 1
        at[0] = <char>b'0' + <char>(number % 10)
        number /= 10
    return at + digits


cdef char *say_count(char *at, number):
    """Write what is None or counts something."""
    if number is None:
        return say(at, b"null")
    return say_digits(at, number, 1) if 0 <= number <= FOREVER else NULL


cdef char *say_ms(char *at, seconds):
    """Write None or seconds: in milliseconds, with three digits behind the point and no zeros."""
    cdef:
        double micros
        long long whole
    if seconds is None:
        return say(at, b"null")
    micros = <double>seconds * 1e6 + 0.5
    if not 0 <= micros < 1e15:  # from there on a float has fewer digits than that
        return NULL
    whole = <long long>micros
    at = say(say_digits(at, whole // 1000, 1), b".")
    at = say_digits(at, whole % 1000, 3)
    if at is not NULL:
        while (at - 1)[0] == b'0' and (at - 2)[0] != b'.':
            at -= 1
    return at


cdef char *say_text(char *at, str text) noexcept:
    """Write a text that JSON and terminals take as it is; null in place of none."""
    cdef:
        const char *value
        Py_ssize_t size, i
    if at is NULL or not PyUnicode_IS_COMPACT_ASCII(text):
        return NULL
    value = <const char *>PyUnicode_1BYTE_DATA(text)
    size = PyUnicode_GET_LENGTH(text)
    if not size:
        return say(at, b"null")
    if size > VALUE_LIMIT:
        return NULL
    at[0] = b'"'
    for i in range(size):
        if value[i] < 32 or value[i] == 127 or value[i] == b'"' or value[i] == b'\\':
            return NULL
        at[i + 1] = value[i]
    at[size + 1] = b'"'
    return at + size + 2


cdef char *say_stamp(char *at, double unix) noexcept:
    """Write a time as RFC 3339 has it, in UTC, to the millisecond; 1970 for what it has not."""
    cdef:
        time_t whole
        tm time
    if not 0 <= unix < YEAR_10000:
        unix = 0
    whole = <time_t>unix
    gmtime_r(&whole, &time)
    at = say(say_digits(at, time.tm_year + 1900, 4), b"-")
    at = say(say_digits(at, time.tm_mon + 1, 2), b"-")
    at = say(say_digits(at, time.tm_mday, 2), b"T")
    at = say(say_digits(at, time.tm_hour, 2), b":")
    at = say(say_digits(at, time.tm_min, 2), b":")
    at = say(say_digits(at, time.tm_sec, 2), b".")
    return say(say_digits(at, <int>((unix - whole) * 1000), 3), b"Z")


def timing(double ours, double theirs):
    """Return the fields that say how many seconds we and the upstream took; none is below 0."""
    cdef char text[TIMING_ROOM]
    cdef char *at
    ours, theirs = min(max(ours, 0), YEAR), min(max(theirs, 0), YEAR)
    at = say_ms(say(text, b"headgate-overhead-ms: "), ours)
    at = say_ms(say(at, b"\r\nserver-timing: gateway;dur="), ours)
    at = say(say_ms(say(at, b", upstream;dur="), theirs), b"\r\n")
    return PyBytes_FromStringAndSize(text, at - text)


def stamp(double unix):
    """Return a Unix time, since 1970, as RFC 3339 has it, in UTC, to the millisecond."""
    cdef char text[STAMP_ROOM]
    return PyUnicode_DecodeUTF8(text, say_stamp(text, unix) - text, NULL)


def request_line(double now, tuple values not None):
    """Return the JSON line of a request that went well; None if a value is not to be copied.

    `values` are those of a RequestRecord; what they come to is for `logs.py` to say.
    """
    cdef:
        char line[LINE_ROOM]
        char *at
        str request_id, route, method, path, model, upstream, end, client, subject, generation
        str error
    (
        request_id, route, method, path, model, upstream, status, end, ttft, duration,
        events, tokens_in, tokens_out, size, overhead, client, subject, generation,
        retries, hedged, error,
    ) = values
    if retries or hedged or error or "?" in path or not (request_id and method and path and client):
        return None
    at = say(say_stamp(say(line, b'{"time":"'), now), b'","level":"info","msg":"request"')
    at = say_text(say(at, b',"request_id":'), request_id)
    at = say_text(say(at, b',"route":'), route)
    at = say_text(say(at, b',"method":'), method)
    at = say_text(say(at, b',"path":'), path)
    at = say_text(say(at, b',"model":'), model)
    at = say_text(say(at, b',"upstream":'), upstream)
    at = say_count(say(at, b',"status":'), status)
    at = say_text(say(at, b',"end":'), end)
    at = say_ms(say(at, b',"ttft_ms":'), ttft)
    at = say_ms(say(at, b',"duration_ms":'), duration)
    at = say_count(say(at, b',"events":'), events)
    at = say_count(say(at, b',"tokens_in":'), tokens_in)
    at = say_count(say(at, b',"tokens_out":'), tokens_out)
    at = say_count(say(at, b',"bytes":'), size)
    at = say_ms(say(at, b',"overhead_ms":'), overhead)
    at = say_text(say(at, b',"client":'), client)
    if subject:
        at = say_text(say(at, b',"subject":'), subject)
    if generation:
        at = say_text(say(at, b',"generation":'), generation)
    at = say(at, b"}\n")
    return None if at is NULL else PyBytes_FromStringAndSize(line, at - line)
