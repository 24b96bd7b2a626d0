# Views of a log: its canonical blocks with ids, as WebSocket frames, as JSON.

cdef enum:
    # Digits of the number in a cursor.
    CURSOR_DIGITS = 16


cdef struct Block:
    const char *event       # its type
    Py_ssize_t event_size   # 0: it has none
    const char *data        # from the first line of data to the end of the last
    Py_ssize_t size
    Py_ssize_t lines


cdef const char *read_block(const char *p, const char *end, Block *block) except NULL:
    """Read the block at p and point behind it.  Raises ValueError unless it is canonical."""
    cdef const char *eol
    block.event_size = block.lines = 0
    if begins(p, end, b"event: ", 7):
        eol = <const char *>memchr(p, b'\n', end - p)
        if eol is not NULL:
            block.event = p + 7
            block.event_size = eol - block.event
            p = eol + 1
    block.data = p + 6
    while begins(p, end, b"data: ", 6):
        eol = <const char *>memchr(p, b'\n', end - p)
        if eol is NULL:
            break
        block.size = eol - block.data
        block.lines += 1
        p = eol + 1
    if not block.lines or not begins(p, end, b"\n", 1):
        raise ValueError("the data are not canonical events")
    return p + 1


cdef bytes payload(const Block *block):
    """Return the payload of a block as it came, its lines joined by LF."""
    cdef bytes data = block.data[:block.size]
    # No line holds an LF, so what is replaced stands at the start of a line.
    return data if block.lines == 1 else data.replace(b"\ndata: ", b"\n")


def skip(bytes data not None, Py_ssize_t n):
    """Return canonical events without the first n; all that follow take n as bytes as well.

    Raises:
        ValueError: the data are not canonical.
    """
    cdef:
        const char *p = PyBytes_AS_STRING(data)
        const char *end = p + PyBytes_GET_SIZE(data)
        Block block
    if n <= 0:
        return data
    while n > 0 and p < end:
        p = read_block(p, end, &block)
        n -= 1
    return p[:end - p]


def entries(bytes data not None):
    """Return (event type or b"", payload) of each canonical event.

    Raises:
        ValueError: the data are not canonical.
    """
    cdef:
        const char *p = PyBytes_AS_STRING(data)
        const char *end = p + PyBytes_GET_SIZE(data)
        Block block
        list found = []
    while p < end:
        p = read_block(p, end, &block)
        found.append((block.event[:block.event_size] if block.event_size else b"", payload(&block)))
    return found


# Ids.

cdef inline char *put(char *at, const char *p, Py_ssize_t n) noexcept:
    """Copy n bytes to `at` and point behind them."""
    memcpy(at, p, n)
    return at + n


cdef char *put_cursor(char *at, bytes epoch, long long number) noexcept:
    """Write the cursor of an entry to `at` and point behind it."""
    cdef int i
    at = put(at, PyBytes_AS_STRING(epoch), PyBytes_GET_SIZE(epoch))
    at[0] = b'_'
    for i in range(CURSOR_DIGITS, 0, -1):
        at[i] = <char>(<char>b'0' + number % 10)
        number //= 10
    return at + 1 + CURSOR_DIGITS


cdef Py_ssize_t count_blocks(const char *p, const char *end) except -1:
    cdef Block block
    cdef Py_ssize_t n = 0
    while p < end:
        p = read_block(p, end, &block)
        n += 1
    return n


def with_ids(bytes data not None, long long first, bytes epoch not None):
    """Return canonical events, each with its id before it; `first` is the number of the first.

    Raises:
        ValueError: the data are not canonical.
    """
    cdef const char *p = PyBytes_AS_STRING(data)
    return put_ids(p, p + PyBytes_GET_SIZE(data), first, epoch)


cdef bytes put_ids(const char *p, const char *end, long long first, bytes epoch):
    cdef:
        const char *stop
        Block block
        Py_ssize_t id_size = 4 + PyBytes_GET_SIZE(epoch) + 1 + CURSOR_DIGITS + 1
        bytes framed = PyBytes_FromStringAndSize(NULL, end - p + count_blocks(p, end) * id_size)
        char *at = PyBytes_AS_STRING(framed)
    while p < end:
        stop = read_block(p, end, &block)
        at = put_cursor(put(at, b"id: ", 4), epoch, first)
        at = put(put(at, b"\n", 1), p, stop - p)
        p = stop
        first += 1
    return framed


# JSON.

cdef bytes sound(bytes text):
    """Return the text as valid UTF-8: what is broken becomes U+FFFD, as in a browser."""
    try:
        if not text.isascii():
            text.decode()
    except UnicodeDecodeError:
        return text.decode("utf-8", "replace").encode()
    return text


cdef bytes json_value(const Block *block):
    """Return the payload of a block if it is JSON, else as a JSON string."""
    cdef bytes value = sound(payload(block))
    return value if is_json(value) else dumps(value.decode())


def json_array(list datas not None):
    """Return one JSON array of the payloads of all canonical events in `datas`.

    A payload that is not JSON is a string in it, and broken UTF-8 becomes U+FFFD.

    Raises:
        ValueError: the data are not canonical.
    """
    cdef:
        const char *p
        const char *end
        Block block
        list values = []
    for data in datas:
        p = PyBytes_AS_STRING(data)
        end = p + PyBytes_GET_SIZE(data)
        while p < end:
            p = read_block(p, end, &block)
            values.append(json_value(&block))
    return b"[" + b",".join(values) + b"]"


# WebSocket.

cdef bytes envelope(const Block *block, long long number, bytes epoch):
    """Return an entry as a WebSocket frame."""
    cdef:
        bytes event = b'"'
        bytes value = json_value(block)
        char head[FRAME_HEAD]
        Py_ssize_t size
        bytes frame
        char *at
    if block.event_size:
        event = b'","event":' + dumps(sound(block.event[:block.event_size]).decode())
    size = 7 + PyBytes_GET_SIZE(epoch) + 1 + CURSOR_DIGITS
    size += PyBytes_GET_SIZE(event) + 8 + PyBytes_GET_SIZE(value) + 1
    head_size = frame_head(head, size)
    frame = PyBytes_FromStringAndSize(NULL, head_size + size)
    at = put(PyBytes_AS_STRING(frame), head, head_size)
    at = put_cursor(put(at, b'{"id":"', 7), epoch, number)
    at = put(at, PyBytes_AS_STRING(event), PyBytes_GET_SIZE(event))
    at = put(put(at, b',"data":', 8), PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
    at[0] = b'}'
    return frame


def envelopes(bytes data not None, long long first, bytes epoch not None):
    """Return canonical events as WebSocket text frames; `first` is the number of the first.

    Each is `{"id":CURSOR,"event":TYPE,"data":JSON}`, without `event` where it has none.  A
    payload that is not JSON is a string in it, and broken UTF-8 becomes U+FFFD, so that a
    frame is always valid text.  `epoch` has no character that JSON escapes.

    Raises:
        ValueError: the data are not canonical.
    """
    cdef const char *p = PyBytes_AS_STRING(data)
    return put_frames(p, p + PyBytes_GET_SIZE(data), first, epoch)


cdef bytes put_frames(const char *p, const char *end, long long first, bytes epoch):
    cdef:
        Block block
        list frames = []
    while p < end:
        p = read_block(p, end, &block)
        frames.append(envelope(&block, first, epoch))
        first += 1
    return frames[0] if len(frames) == 1 else b"".join(frames)
