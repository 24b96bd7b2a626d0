# The compiled end of a client's connection; the one part of this module that knows a socket.

cdef extern from "<sys/socket.h>" nogil:
    enum:
        MSG_DONTWAIT
        MSG_NOSIGNAL
    ssize_t send(int fd, const void *data, size_t size, int flags)


@final
cdef class Writer:
    """What is called with bytes for a client; what its socket takes of them is sent at once.

    A transport would hold all until everything else that came has been read, and that costs
    a tenth of an event.  So it gets only what the socket does not take, and nothing is sent
    past that; of errors it gets what met them, and finds them again.  Nobody else may write
    to the transport while this is open.  Before it is, and after that, what it gets is lost.
    """

    cdef:
        int _fd             # -1: there is none, the transport gets everything
        bint _queued        # the transport may hold something
        object _write       # None: closed
        object _unsent

    def open(self, transport not None):
        """Write to the socket of `transport` from now on, which is one without TLS."""
        socket = transport.get_extra_info("socket")
        self._fd = -1 if socket is None else socket.fileno()
        self._write = transport.write
        self._unsent = transport.get_write_buffer_size

    def close(self):
        """Leave the socket alone: it closes, and its number may be another's.  May come twice."""
        self._fd = -1
        self._write = self._unsent = None

    def __call__(self, bytes data not None):
        self._put(data)

    cdef int _put(self, bytes data) except -1:
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        cdef ssize_t sent = 0
        if self._write is None:
            return 0
        if self._fd >= 0 and not (self._queued and self._unsent()):
            sent = send(self._fd, PyBytes_AS_STRING(data), size, MSG_DONTWAIT | MSG_NOSIGNAL)
            self._queued = sent < size
            if not self._queued:
                return 0
        self._write(memoryview(data)[sent:] if sent > 0 else data)
        return 0
