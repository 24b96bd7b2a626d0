# The entries of a log.

cdef enum:
    # Small batches that become one: so few that it takes microseconds.
    FOLD = 16
    # Bytes of a small one: a token is some hundred, and what is larger gains nothing.
    SMALL = 4096


cdef class Entries:
    """The batches of a log, in order, and what is known of it; `eventlog.EventLog` adds the rest.

    Entries are numbered 1, 2, 3 …; a cursor is the number of the last entry a reader has.
    """

    cdef:
        readonly object id
        readonly object epoch       # 8 characters of base32, drawn for each incarnation
        readonly object subject     # who may read it; "": whoever knows its id
        readonly object dialect     # of its entries, if it is a generation
        public object reason        # why it closed; "" while it has not
        public object fault         # the error it closed with
        public object fields        # for others that are answered from it: field lines,
        public object dropped       # … and parameters it leaves out
        public object pace          # when its entries came, if that is noted
        public object _state        # None while it is open
        readonly long long tail     # number of the last entry
        readonly long long base     # number of the last entry that was trimmed
        readonly Py_ssize_t held    # bytes not yet trimmed
        public bint closed          # nothing may be appended any more
        bint _shown                 # the newest batch may keep what it was framed as
        bint _folds                 # batches may become one
        Py_ssize_t _small           # how many of the newest are to become one
        list _batches               # oldest first, without gaps

    def __cinit__(self):
        self._batches = []

    def __init__(self, id="", epoch="", subject="", dialect=""):
        self.id = id
        self.epoch = epoch
        self.subject = subject
        self.dialect = dialect
        self._folds = bool(dialect)  # else people write it, and a batch may be for some only
        self.reason = ""
        self.fields = b""
        self.dropped = []

    def append(self, Batch batch not None):
        """Add the next entries.

        Raises:
            ValueError: the log is closed, or their numbers do not follow its tail.
        """
        self._append(batch)

    cdef int _append(self, Batch batch) except -1:
        cdef:
            Py_ssize_t n = PyList_GET_SIZE(self._batches)
            Py_ssize_t size = batch._size()
            bint small = self._folds and size <= SMALL
        if self.closed:
            raise ValueError("the log is closed")
        if batch.first != self.tail + 1:
            raise ValueError(f"entry {batch.first} does not follow {self.tail}")
        if self._shown:  # else it is not touched: it may have left the caches
            (<Batch>self._batches[n - 1])._outdate()
            self._shown = False
        if self._small == FOLD or not small:
            self._fold()
        self._batches.append(batch)
        self.tail += batch.count
        self.held += size
        self._small += small
        return 0

    def close(self, state, reason, fault=None):
        """Close the log; say whether this call did it.  The first to close decides the state."""
        if self.closed:
            return False
        self._state, self.reason, self.fault = state, reason, fault
        if fault is not None:
            # It leads to the frames in which it was raised, and those to a request of 20 MB.
            fault.__traceback__ = fault.__cause__ = fault.__context__ = None
        self.closed = True
        return True

    cdef int _show(self) except -1:
        """Let the newest batch keep what it is framed as, until another is."""
        cdef Py_ssize_t n = PyList_GET_SIZE(self._batches)
        if n:
            (<Batch>self._batches[n - 1])._newest = self._shown = True
        return 0

    cdef Py_ssize_t _find(self, long long cursor) noexcept:
        """Return the index of the first batch with an entry after `cursor`."""
        cdef:
            Py_ssize_t low = 0
            Py_ssize_t high = PyList_GET_SIZE(self._batches)
            Py_ssize_t middle
        while low < high:
            middle = (low + high) >> 1
            if (<Batch>self._batches[middle])._last() <= cursor:
                low = middle + 1
            else:
                high = middle
        return low

    def after(self, long long cursor):
        """Return what comes after `cursor`, oldest first: batches, and a part if it is amid one.

        Of what was trimmed nothing comes back: the caller holds `cursor` against `base`.
        """
        cdef list found = self._batches[self._find(cursor):]
        if found:
            self._show()
            found[0] = (<Batch>found[0])._after(cursor)
        return found

    def trim(self, long long cursor):
        """Forget the batches of which `cursor` is not before the end."""
        cdef:
            Py_ssize_t gone = self._find(cursor)
            Py_ssize_t i
        if not gone:
            return
        for i in range(gone):
            self.held -= (<Batch>self._batches[i])._size()
        self.base = (<Batch>self._batches[gone - 1])._last()
        del self._batches[:gone]
        self._small = min(self._small, PyList_GET_SIZE(self._batches))
        self._shown = self._shown and PyList_GET_SIZE(self._batches) > 0

    def fold(self):
        """Make one batch of the small ones at the end: nothing more will come."""
        cdef Py_ssize_t n = PyList_GET_SIZE(self._batches)
        if n:
            (<Batch>self._batches[n - 1])._outdate()
        self._shown = False
        self._fold()

    cdef int _fold(self) except -1:
        """Make one batch of the newest small ones: a log is some objects, not hundreds.

        It is done as they come, while they are in the caches; all at once, when the log
        closes, it would hold up everybody else for longer than the rest of the end does.
        """
        cdef:
            Py_ssize_t n = PyList_GET_SIZE(self._batches)
            Py_ssize_t begin = n - self._small
            Py_ssize_t size = 0
            Py_ssize_t i
            bytes data
            char *at
            long long first
        self._small = 0
        if n - begin < 2:
            return 0
        first = (<Batch>self._batches[begin]).first
        for i in range(begin, n):
            size += (<Batch>self._batches[i])._size()
        data = PyBytes_FromStringAndSize(NULL, size)
        at = PyBytes_AS_STRING(data)
        for i in range(begin, n):
            at = put(at, (<Batch>self._batches[i])._at(), (<Batch>self._batches[i])._size())
        self._batches[begin:] = [Batch(data, first, <Py_ssize_t>(self.tail + 1 - first))]
        return 0
