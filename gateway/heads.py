"""Heads of HTTP/1.1 messages, cut out of what a connection sends; the guard judges them.

The readers count (bytes, fields) and give up at the first byte after which no legal
head can come any more, so nobody waits for the end of what is lost already.  The
verdict depends on the bytes alone, never on how they arrived.
"""

import re
from typing import ClassVar, Final

from gateway._sseparse import HeadCutter
from gateway.client_errors import HeadTooLarge, MalformedRequest, TargetTooLong
from gateway.errors import GatewayError
from gateway.upstream_errors import UpstreamProtocolError


# Bytes of a request or status line with its CRLF: RFC 9112 §3 wants 8000 at least.
LINE_LIMIT: Final = 8 * 1024
# Bytes of a head: four times what nginx takes, room for a fat cookie and a long token.
HEAD_LIMIT: Final = 32 * 1024
# Fields of a head: SDKs send about 20, a browser behind two proxies about 40.
FIELD_LIMIT: Final = 100
# Lines of a head: the first, the fields, and the empty one.
LINES_LIMIT: Final = FIELD_LIMIT + 2

# Possessive quantifiers everywhere: no input makes a pattern go back over it.
_TCHAR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"  # RFC 9110 §5.6.2
_TOKEN = _TCHAR + rb"++"
REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([!-~]++) HTTP/([0-9]\.[0-9])\r\n")
# A request line as far as its path, for those who only want to know what a lost head was about.
_PATH = re.compile(rb"(?:\r\n)?" + _TOKEN + rb" (/[!->@-~]*+)")
# RFC 9112 §4 wants the space even before an empty reason; servers forget it.
STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [\t -~\x80-\xff]*+)?\r\n")
# A control byte, or a CR or LF outside a CRLF; a CR at the very end may yet get its LF.
ILLEGAL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n|\Z)|(?<!\r)\n")
# The first line, all the fields a head may have, and one more that has begun.
TOO_MANY = re.compile(rb"(?:[^\n]*+\n){%d}(?=[^\r])" % (1 + FIELD_LIMIT))


class HeadReader(HeadCutter):
    """
    Cut request heads out of what one connection sends.

    One empty line before a request line is dropped (RFC 9112 §2.2).  `feed` raises, and after
    an error the reader is spent: close the connection.

        MalformedRequest   no legal head begins like this
        TargetTooLong      the request line exceeds LINE_LIMIT
        HeadTooLarge       the head exceeds HEAD_LIMIT or FIELD_LIMIT
    """

    __slots__ = ("_judged", "_lines")

    _empty_line: ClassVar = b"\r\n"  # what may stand before the first line, once
    _opening: ClassVar = re.compile(rb"(?:\r\n)?(?:" + _TCHAR + rb"|\r?\Z)")
    _start_line: ClassVar = REQUEST_LINE
    _malformed: ClassVar[type[GatewayError]] = MalformedRequest
    _line_too_long: ClassVar[type[GatewayError]] = TargetTooLong
    _too_large: ClassVar[type[GatewayError]] = HeadTooLarge

    def __init__(self) -> None:
        # The unfinished head, `held`, has at most HEAD_LIMIT bytes and CRLF.
        super().__init__(self._empty_line, LINE_LIMIT, HEAD_LIMIT, LINES_LIMIT)
        self._judged = 0  # how many bytes of it were found harmless
        self._lines = 0  # how many LFs are among these

    @property
    def pending(self) -> bool:
        """Whether a head has begun; the empty line before it does not count."""
        return self.held not in (b"", self._empty_line)

    def feed_more(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Do as `feed` does with what is no whole head."""
        held = self.held
        if not held:
            self._wait(data)
            return None
        held += data
        if b"\n" not in data:  # nothing ends here: a head in tiny pieces is not copied for each
            self._wait(held)
            return None
        found = self.cut(bytes(held))
        if found is None:
            self._wait(held)
        else:
            held.clear()
            self._judged = self._lines = 0
        return found

    def path(self, data: bytes) -> str:
        """Return the path of a head that is refused or not whole, unjudged; "" if none is there.

        `data` is the head, or what was fed last of one that is not whole.
        """
        found = _PATH.match(self.held or data)
        return found[1].decode() if found else ""

    def _wait(self, found: bytes | bytearray) -> None:
        """Keep what may still become a head."""
        self._judge(found, len(self._empty_line) if found.startswith(self._empty_line) else 0)
        if not self.held:
            self.held.extend(found)

    def _judge(self, found: bytes | bytearray, start: int) -> None:
        """Raise what the first wrong byte deserves, wherever the reads were cut."""
        cut, over = self._over(found, start)
        if not self._opening.match(found):
            raise self._malformed("this does not begin like HTTP/1.1")
        if ILLEGAL.search(found, max(self._judged - 1, 0), cut):
            raise self._malformed("a control byte, or a CR or LF that is not a CRLF, in the head")
        line_end = found.find(b"\n", start, cut)
        # Once, when it has just become complete: it may be long, and reads may be short.
        if line_end >= self._judged and not self._start_line.match(found, start):
            raise self._malformed("the first line is not one of HTTP/1.1")
        if over is not None:
            raise over
        self._judged = len(found)

    def _over(self, found: bytes | bytearray, start: int) -> tuple[int, GatewayError | None]:
        """Return where the first limit is passed, and what to say then."""
        size = len(found)
        if size - start > LINE_LIMIT and found.find(b"\n", start, start + LINE_LIMIT) < 0:
            error = self._line_too_long(f"the first line is longer than {LINE_LIMIT} bytes")
            return start + LINE_LIMIT, error
        cut = min(size, start + HEAD_LIMIT)
        self._lines += found.count(b"\n", self._judged)
        if self._lines > FIELD_LIMIT and (many := TOO_MANY.match(found, start, cut)):
            return many.end(), self._too_large(f"the head has more than {FIELD_LIMIT} fields")
        if size > cut:
            return cut, self._too_large(f"the head is longer than {HEAD_LIMIT} bytes")
        return size, None


class ResponseReader(HeadReader):
    """
    Cut response heads, interim ones too, out of what one upstream sends.

    As HeadReader, but `feed` raises UpstreamProtocolError and nothing else.
    """

    __slots__ = ()

    _empty_line = b""
    _opening = re.compile(rb"H|\Z")
    _start_line = STATUS_LINE
    _malformed = UpstreamProtocolError
    _line_too_long = UpstreamProtocolError
    _too_large = UpstreamProtocolError
