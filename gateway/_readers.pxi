# From a batch to whoever reads it.

@final
cdef class Outlet:
    """The body of one streamed answer: each piece is framed, and put in one write.

    `put` takes bytes for the client, at best it is a Writer.  The first piece is preceded by
    `head`.  `cursor` is the last entry written; it is kept by whoever writes.  A Tap writes
    entries in `style` (see `Batch.framed`; `epoch` is that of the log); all others write
    what is in it already.
    """

    cdef:
        public long long cursor
        public bint paused          # the client takes nothing more for now
        readonly long long sent     # bytes so far, before HTTP's framing
        object _put
        bytes _head                 # None once it is out
        bint _chunked
        int _style
        bytes _epoch

    def __init__(
        self,
        put,
        bytes head not None,
        bint chunked,
        int style=_RAW,
        bytes epoch not None=b"",
    ):
        check_style(style)
        if style == _FRAMES and chunked:
            raise ValueError("WebSocket frames are not put in HTTP chunks")
        self._put = put
        self._head = head
        self._chunked = chunked
        self._style = style
        self._epoch = epoch

    def write(self, bytes data not None):
        """Write a piece, which is not empty."""
        self._emit(PyBytes_GET_SIZE(data), chunked(data) if self._chunked else data)

    def end(self, bytes data not None):
        """Write the last piece, which may be empty, and what ends the body."""
        cdef bytes piece = data
        if self._chunked:
            piece = (chunked(data) if data else b"") + b"0\r\n\r\n"
        self._emit(PyBytes_GET_SIZE(data), piece)

    def rest(self, Entries log not None, Py_ssize_t room):
        """Return what follows its cursor in `log`, framed, and advance to the tail.

        None, if that cannot be written at once: the client takes nothing more, some of it was
        trimmed, or it is more than `room` bytes in the log.
        """
        cdef:
            list left = log.after(self.cursor)
            Py_ssize_t size = 0
        for batch in left:
            size += (<Batch>batch)._size()
        if self.paused or self.cursor < log.base or size > room:
            return None
        self.cursor = log.tail
        return b"".join([(<Batch>batch)._framed(self._style, self._epoch) for batch in left])

    cdef int _emit(self, Py_ssize_t size, bytes piece) except -1:
        self.sent += size
        if self._head is not None:
            piece, self._head = self._head + piece, None
        if isinstance(self._put, Writer):
            (<Writer>self._put)._put(piece)
        else:
            self._put(piece)
        return 0

    cdef int _offer(self, Batch batch) except -1:
        """Write the newest entries, and return 1, if all before them are written."""
        cdef bytes data
        if self.paused or batch.first != self.cursor + 1:
            return 0
        if self._style == _RAW and self._chunked:
            self._emit(batch._size(), batch._chunk())
        else:
            data = batch._framed(self._style, self._epoch)
            self._emit(PyBytes_GET_SIZE(data), batch._chunk_of(data) if self._chunked else data)
        self.cursor += batch.count
        return 1


cdef class Follower:
    """What every view of a log has: how it begins and leaves, and an outlet that a Tap finds.

    `outlet` is where batches may be written as they come; None: nowhere.
    """

    cdef:
        public Outlet outlet
        public object subject       # who sees: entries of a channel may be for some only
        public object _live
        public object _desk
        public object _left         # called once, when it sees no more; None: nobody asks
        public long long _cursor    # of the last entry taken, while there is no outlet
        public bint _attached

    def __init__(self, live, desk, *, long long cursor=0, subject="", left=None):
        self._live = live
        self._desk = desk
        self._cursor = cursor
        self.subject = subject
        self._left = left

    @property
    def cursor(self):
        """Number of the last entry taken."""
        return self._cursor if self.outlet is None else self.outlet.cursor

    def attach(self):
        """Begin to follow the log, with what is in it already."""
        cdef Entries log = <Entries?>self._live.log
        self._attached = True
        self._live.follow(self)
        if log.tail > self._cursor or log.closed:
            self.wake()

    def ready(self):
        """Have an outlet from now on, if at all: the first entry is about to come."""

    def wake(self):
        """Take what is new in the log, and its end."""
        cdef Entries log
        if not self._attached:
            return
        log = <Entries?>self._live.log
        if log.closed and self._end_at_once(log):
            self.leave()
        else:
            self._catch_up()

    def leave(self):
        """Stop following: the client is gone, or has everything.  May be called twice."""
        self._leave()

    def _catch_up(self):
        """Take what is new, and the end, the long way."""
        raise NotImplementedError

    cdef bint _end_at_once(self, Entries log) except -1:
        """Write all that is left of a closed log at once, if there is a short way; say so."""
        return False

    cdef int _leave(self) except -1:
        if self._attached:
            self._attached = False
            self._live.leave(self)
            if self._left is not None:
                self._left()
        return 0


cdef class Streamed(Follower):
    """A follower that is the body of one answer: its reply tells it how its client is.

    With a `style`, which a subclass has, batches go to it through its outlet, and so does the end
    of a log if no more than `room` bytes are left of it.  With None it is woken for each.
    Until it has an alarm it stands in the desk's line of the young.
    """

    cdef:
        public object _reply
        public object _more     # returns fields of the head; asked once, when that is written
        public object _alarm    # once it is no longer young

    def __init__(
        self, live, reply, desk, fields=bytes, left=None, *, long long cursor=0, subject=""
    ):
        self._live = live
        self._desk = desk
        self._cursor = cursor
        self.subject = subject
        self._left = left
        self._reply = reply
        self._more = fields
        desk.young.add(self)
        reply.on_gone = self.leave
        reply.on_writable = self.wake

    def ready(self):
        """Have an outlet from now on, if at all: the first entry is about to come."""
        if self.style is not None and not self._reply.status and not self._reply.paused:
            self._start()

    def _start(self):
        """Let the head of the answer go out, with the first piece."""
        cdef Outlet outlet
        cdef Entries log
        if self.style is None:
            self._reply.start(200, self._fields())
        else:
            log = <Entries?>self._live.log
            epoch = (<str>log.epoch).encode()
            outlet = <Outlet?>self._reply.start(200, self._fields(), self.style, epoch)
            outlet.cursor = self._cursor
            self.outlet = outlet

    def _fields(self):
        """Return the fields of the head."""
        raise NotImplementedError

    def _ending(self):
        """Return what says that the log is closed."""
        raise NotImplementedError

    cdef bint _end_at_once(self, Entries log) except -1:
        # Of what people write, some is for others.
        if self.outlet is None or self._live.producer is None:
            return False
        rest = self.outlet.rest(log, self.room)
        if rest is None:
            return False
        self._reply.end(rest + self._ending())
        return True

    def leave(self):
        """Stop following: the client is gone, or has everything.  May be called twice."""
        self._desk.young.discard(self)
        if self._alarm is not None:
            self._alarm.cancel()
        self._reply.on_gone = self._reply.on_writable = None
        self._leave()


cdef class Tap:
    """The short way of an event: what an upstream sent goes to the log and to each reader.

    Only while it is `flowing`, and nothing is to be decided: a batch is appended to `log`
    and written through the `outlet` of each reader, without a step of Python.  All else
    is for a subclass: `attend(batch, now)` before it flows and when the parser wants
    attention; `pump()` when a reader was left behind or the log holds more than `room`
    bytes.  `clock` is read twice for each delivery.
    """

    cdef:
        public bint flowing
        readonly EventParser parser
        Entries _log
        list _readers               # the hub's own, so that it is always as it stands
        Py_ssize_t _room
        object _clock

    def __init__(
        self,
        EventParser parser not None,
        Entries log not None,
        list readers not None,
        Py_ssize_t room,
        clock,
    ):
        self.parser = parser
        self._log = log
        self._readers = readers
        self._room = room
        self._clock = clock

    def data(self, bytes data not None):
        """Take what the upstream sent."""
        self._data(data)

    def deliver(self, Batch batch not None):
        """Append a batch and write it to each reader, as is done with what flows."""
        self._deliver(batch)

    def publish(self, Batch batch not None):
        """Do the same with a batch whose delay is measured elsewhere."""
        self._publish(batch)

    cdef int _data(self, bytes data) except -1:
        cdef double now = self._clock()
        cdef Batch batch = self.parser._feed(data, now)
        if not self.flowing or self.parser.attention:
            self.attend(batch, now)
        elif batch is not None:
            self._deliver(batch)
        return 0

    cdef int _deliver(self, Batch batch) except -1:
        self._publish(batch)
        self.parser._sent(self._clock())
        return 0

    cdef int _publish(self, Batch batch) except -1:
        cdef bint behind = False
        cdef Outlet outlet
        self._log._append(batch)
        if PyList_GET_SIZE(self._readers) > 1:
            self._log._show()
        for reader in self._readers:
            if isinstance(reader, Follower):
                outlet = (<Follower>reader).outlet
            else:
                outlet = reader.outlet
            if outlet is None or not outlet._offer(batch):
                behind = True
        if behind or self._log.held > self._room:
            self.pump()
        return 0


cdef class Intake:
    """The compiled end of an upstream's connection: what came goes to its `sink`.

    A step of Python for each event would cost more than the event.  Without a sink it
    goes to `take(data)`, which the connection has.
    """

    cdef public object sink

    def data_received(self, bytes data not None):
        """Take what the socket gave, as asyncio.Protocol says."""
        sink = self.sink  # held here: it may be replaced while it takes this
        if isinstance(sink, Tap):
            (<Tap>sink)._data(data)
        elif sink is not None:
            sink.data(data)
        else:
            self.take(data)
