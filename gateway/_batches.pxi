# What one read completed, in the styles its readers want.

cdef enum:
    # Styles: how a reader wants its entries.
    _RAW = 0     # as they stand in the log
    _IDS = 1     # each with its id
    _FRAMES = 2  # each an envelope in a WebSocket frame

RAW = _RAW
IDS = _IDS
FRAMES = _FRAMES


cdef int check_style(int style) except -1:
    if not _RAW <= style <= _FRAMES:
        raise ValueError(f"{style} is no style")
    return 0


@final
@freelist(64)  # they come and go by the event, and are folded by the dozen
cdef class Batch:
    """The events that one upstream read completed, or those of several; immutable.

    `data` is their canonical bytes, `size` how many of these, `first` the number of the
    first event, `count` how many.
    """

    cdef:
        readonly long long first
        readonly Py_ssize_t count
        bytes _bytes        # the data, bare or as an HTTP chunk: as they were last wanted
        int _head           # bytes of the chunk before the data; 0: they are bare
        bint _newest        # in its log, and several may want it; only then the rest is kept
        bytes _ids
        bytes _ids_chunk
        bytes _frames

    def __init__(self, bytes data not None, long long first, Py_ssize_t count):
        self._bytes = data
        self.first = first
        self.count = count

    @property
    def data(self):
        """The events, in their canonical form."""
        return self._data()

    @property
    def size(self):
        """How many bytes `data` has."""
        return self._size()

    cdef bytes _data(self):
        if self._head:
            self._bytes, self._head = self._at()[:self._size()], 0
        return self._bytes

    cdef const char *_at(self) noexcept:
        return PyBytes_AS_STRING(self._bytes) + self._head

    cdef Py_ssize_t _size(self) noexcept:
        return PyBytes_GET_SIZE(self._bytes) - (self._head + 2 if self._head else 0)

    def framed(self, int style, bytes epoch not None):
        """Return the entries in a style: RAW as they are, IDS, or FRAMES for a WebSocket.

        `epoch` is that of its log.  What one reader of the newest entries got is kept for
        the next; of older entries nothing is, or a long log would be held several times.

        Raises:
            ValueError: there is no such style, or `data` is not canonical.
        """
        check_style(style)
        return self._framed(style, epoch)

    cdef bytes _framed(self, int style, bytes epoch):
        cdef bytes framed
        if style == _IDS:
            framed = self._ids or put_ids(self._at(), self._at() + self._size(), self.first, epoch)
            if self._newest:
                self._ids = framed
        elif style == _FRAMES:
            framed = self._frames or put_frames(self._at(), self._at() + self._size(), self.first, epoch)
            if self._newest:
                self._frames = framed
        else:
            framed = self._data()
        return framed

    cdef bytes _chunk(self):
        """Return the entries as they are as an HTTP chunk, and hold them so from now on."""
        cdef Py_ssize_t size
        if not self._head:
            size = self._size()
            self._bytes = chunked(self._bytes)
            self._head = <int>(PyBytes_GET_SIZE(self._bytes) - size) - 2
        return self._bytes

    cdef bytes _chunk_of(self, bytes ids):
        """Return what `_framed` gave in the style IDS as an HTTP chunk."""
        cdef bytes kept = self._ids_chunk
        if kept is None:
            kept = chunked(ids)
            if self._newest:
                self._ids_chunk = kept
        return kept

    cdef void _outdate(self) noexcept:
        """Forget what is only kept of the newest entries."""
        self._newest = False
        self._ids = self._ids_chunk = self._frames = None

    cdef long long _last(self) noexcept:
        """Return the number of the last entry."""
        return self.first + self.count - 1

    cdef Batch _after(self, long long cursor):
        """Return the entries after `cursor`, which is amid the batch or before it."""
        if cursor < self.first:
            return self
        return Batch(
            skip(self._data(), cursor + 1 - self.first), cursor + 1, <Py_ssize_t>(self._last() - cursor)
        )
