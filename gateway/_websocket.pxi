# WebSocket: the frames we send (RFC 6455 §5.2); what we receive, wsproto judges.

cdef enum:
    # Bytes of the longest head of a frame that is not masked.
    FRAME_HEAD = 10


cdef int frame_head(char *head, Py_ssize_t size) noexcept:
    """Write the head of a whole text frame from a server to `head`; return its length."""
    cdef:
        int digits = 0 if size < 126 else 2 if size < 1 << 16 else 8
        int i
    head[0] = <char>0x81  # the last of its message; text
    head[1] = <char>(size if digits == 0 else 126 if digits == 2 else 127)
    for i in range(digits):
        head[2 + i] = <char>((size >> 8 * (digits - 1 - i)) & 0xFF)
    return 2 + digits


def text_frame(bytes payload not None):
    """Return one whole text message as one frame; `payload` is UTF-8, which is not checked."""
    cdef:
        char head[FRAME_HEAD]
        Py_ssize_t size = PyBytes_GET_SIZE(payload)
        int head_size = frame_head(head, size)
        bytes frame = PyBytes_FromStringAndSize(NULL, head_size + size)
        char *at = PyBytes_AS_STRING(frame)
    memcpy(at, head, head_size)
    memcpy(at + head_size, PyBytes_AS_STRING(payload), size)
    return frame
