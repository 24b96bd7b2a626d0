"""What the compiled hot path costs, by the way the bytes arrive.

`pytest bench/test_parser_speed.py` prints the time of one round; what that comes to per event
stands in the `extra_info` of `--benchmark-json FILE`.
"""

import pytest

from gateway._sseparse import CHUNKED, EventParser, Histogram, chunk, deltas


# As OpenAI sends it: every chunk has the null fields that a byte search must pass over.
EVENT = (
    b'data: {"id":"chatcmpl-AbCdEf0123456789","object":"chat.completion.chunk",'
    b'"created":1700000000,"model":"gpt-4.1-2025-04-14",'
    b'"service_tier":"default","system_fingerprint":"fp_0123456789",'
    b'"choices":[{"index":0,"delta":{"content":" token"},"logprobs":null,"finish_reason":null}],'
    b'"usage":null}\n\n'
)
EVENTS = 512
STREAM = chunk(EVENT) * EVENTS
HOSTILE = {
    "one-byte chunks": b"1\r\nx\r\n" * 40_000,
    "carriage returns": chunk(b"\r" * 256 * 1024),
    "tiny events": chunk(b"data:\n\n" * 36_000),
    "comments": chunk(b":\n\n" * 85_000),
    "one line": chunk(b"x" * 256 * 1024),
    "quotation marks": chunk(b"data: " + b'"":' * 85_000 + b"\n\n"),
}


def feed(pieces: list[bytes]) -> EventParser:
    parser = EventParser(CHUNKED, gaps=Histogram([0.001, 0.01, 0.1]))
    for piece in pieces:
        parser.feed(piece, 1.0)
    return parser


def report(benchmark, events: int) -> None:
    """Note nanoseconds per event, where anything was measured at all."""
    benchmark.extra_info["events"] = events
    if benchmark.stats:  # None under --benchmark-disable
        benchmark.extra_info["ns_per_event"] = round(benchmark.stats["min"] * 1e9 / events)


@pytest.mark.parametrize("size", [1, 64, len(chunk(EVENT)), 4096, 65536])
def test_an_event_by_the_size_of_the_reads(benchmark, size):
    """One event per read is the case of a live stream; the rest says how far cuts matter."""
    pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
    assert benchmark(feed, pieces).events == EVENTS
    report(benchmark, EVENTS)


@pytest.mark.parametrize(
    "event",
    [EVENT.replace(b"\n", b"\r\n"), EVENT.replace(b"data: ", b"data:"), b"event: delta\n" + EVENT],
    ids=["crlf", "no space", "with type"],
)
def test_an_event_by_its_form(benchmark, event):
    assert benchmark(feed, [chunk(event)] * EVENTS).events == EVENTS
    report(benchmark, EVENTS)


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_quarter_of_a_megabyte_of_spite(benchmark, data):
    benchmark(feed, [data])


@pytest.mark.parametrize("size", [16, 300, 65536])
def test_framing_a_chunk(benchmark, size):
    data = b"x" * size
    assert benchmark(chunk, data).endswith(data + b"\r\n")


def test_reading_the_text_of_a_batch(benchmark):
    assert len(benchmark(deltas, EVENT * 16)) == 16
    report(benchmark, 16)
