# cython: language_level=3, boundscheck=False, wraparound=False
# cython: auto_pickle=False, autotestdict=False
"""The hot path: bytes of an HTTP body in, batches of server-sent events out.

Every token of every answer passes through `EventParser.feed`, so this file works on
C pointers and makes no Python object per event.  Three layers, each blind to the next:

    framing   `next_span` takes HTTP chunking away and points at runs of payload inside
              the fed bytes.  One table of states is the whole grammar of RFC 9112 §7.1.
    blocks    `EventParser._split` finds the blank line that ends a block (HTML standard
              §9.2.6).  What a cut left unfinished waits in one bytearray.
    events    a block that is canonical already is delivered as it stands, any other is
              rendered anew from its raw bytes; only an event in which a byte search
              finds usage, a finish reason or an error is decoded.  Which words are
              searched for is a matter of the dialect.

Canonical is: LF only, `event: X` first and only if X is not empty, one `data: ` line per
line of data, a blank line.  Bytes are never decoded on the way: whatever stands in a
line, NUL and broken UTF-8 included, passes.

No byte is searched again because of how the stream was cut, and whatever waits is
bounded, so no peer can make parsing quadratic or memory grow.
"""

from cpython.bytearray cimport (
    PyByteArray_AS_STRING,
    PyByteArray_GET_SIZE,
    PyByteArray_Resize,
)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.unicode cimport PyUnicode_DecodeUTF8
from cython cimport final, freelist
from libc.string cimport memchr, memcmp, memcpy, memset, strchr, strlen, strncmp

from re import compile as regex

from orjson import dumps, loads

from gateway.chat import Delta, Fault, Start, Stop, ToolCall, Usage
from gateway.client_errors import ClientError
from gateway.errors import BadChunk, BodyTooLong
from gateway.upstream_errors import EventTooLong, UpstreamProtocolError


cdef enum:
    # What a message's head can say of its body where it does not give a length.
    _CHUNKED = -1
    _UNTIL_CLOSE = -2
    # Dialects of a stream: what ends it, and which of its events tell something.
    _OPENAI = 0
    _ANTHROPIC = 1
    _GEMINI = 2
    _RESPONSES = 3
    # Bytes of one event: an image in a tool's arguments fits, an endless line does not.
    EVENT_LIMIT = 1 << 20
    # Bytes of a chunk's line, CR LF included: 20 would do, extensions are never used.
    LINE_LIMIT = 256
    # Bytes of all trailers, which nobody reads.
    TRAILER_LIMIT = 8192
    # Tokens in one answer; above it is a provider's slip, which must not bury the true total.
    TOKENS_LIMIT = 1_000_000_000
    # Digits of a Content-Length: the number stays below 2^63 for whoever reads it next.
    LENGTH_DIGITS = 18
    # Most bounds of a histogram, so that its slots are part of the object.
    BOUNDS_LIMIT = 32

# Larger than any length that is meant: where chunk sizes saturate, what no body reaches.
cdef long long FOREVER = 1 << 60

CHUNKED = _CHUNKED
UNTIL_CLOSE = _UNTIL_CLOSE
OPENAI = _OPENAI
ANTHROPIC = _ANTHROPIC
GEMINI = _GEMINI
RESPONSES = _RESPONSES


include "_fields.pxi"     # RFC 9112: the fields of a head
include "_heads.pxi"      # RFC 9112: where a head ends, and what it comes to
include "_bodies.pxi"     # RFC 9112: chunks and lengths
include "_batches.pxi"    # events as a log keeps them
include "_entries.pxi"    # a log
include "_histogram.pxi"  # counts and observations
include "_blocks.pxi"     # the HTML standard: blocks
include "_json.pxi"       # RFC 8259: whether a text is JSON, and what is in it
include "_dialects.pxi"   # what events tell of their stream
include "_chunks.pxi"     # what OpenAI's tell
include "_events.pxi"     # the HTML standard: events, in batches
include "_websocket.pxi"  # RFC 6455: frames to clients
include "_frames.pxi"     # the ways a reader may want its entries
include "_writer.pxi"     # a client's socket
include "_readers.pxi"    # the ways from an upstream to whoever reads a log
include "_texts.pxi"      # what the JSON in an event says
include "_moulds.pxi"     # events that differ only by a text, in another dialect
include "_lines.pxi"      # the log: lines that wait, and the one of a request
include "_waiting.pxi"    # those who wait equally long
