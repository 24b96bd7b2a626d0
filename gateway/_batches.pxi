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
cdef class Batch:
    """The events that one upstream read completed; immutable, kept as long as its log.

    `data` is their canonical bytes, `first` the number of the first, `count` how many.
    """

    cdef:
        readonly bytes data
        readonly long long first
        readonly Py_ssize_t count
        bint _newest        # in its log; only then the rest is kept
        bytes _raw_chunk
        bytes _ids
        bytes _ids_chunk
        bytes _frames

    def __init__(self, bytes data not None, long long first, Py_ssize_t count):
        self.data = data
        self.first = first
        self.count = count

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
        cdef bytes framed = self.data
        if style == _IDS:
            framed = self._ids or with_ids(self.data, self.first, epoch)
            if self._newest:
                self._ids = framed
        elif style == _FRAMES:
            framed = self._frames or envelopes(self.data, self.first, epoch)
            if self._newest:
                self._frames = framed
        return framed

    cdef bytes _chunk(self, int style, bytes framed):
        """Return what `_framed` gave in this style, RAW or IDS, as an HTTP chunk."""
        cdef bytes kept = self._raw_chunk if style == _RAW else self._ids_chunk
        if kept is None:
            kept = chunked(framed)
            if not self._newest:
                return kept
            if style == _RAW:
                self._raw_chunk = kept
            else:
                self._ids_chunk = kept
        return kept

    cdef void _outdate(self) noexcept:
        """Forget what is only kept of the newest entries."""
        self._newest = False
        self._raw_chunk = self._ids = self._ids_chunk = self._frames = None

    cdef long long _last(self) noexcept:
        """Return the number of the last entry."""
        return self.first + self.count - 1

    cdef Batch _after(self, long long cursor):
        """Return the entries after `cursor`, which is amid the batch or before it."""
        if cursor < self.first:
            return self
        return Batch(
            skip(self.data, cursor + 1 - self.first), cursor + 1, <Py_ssize_t>(self._last() - cursor)
        )
