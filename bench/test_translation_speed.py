"""What an event costs that is said in another dialect, beside one that passes through.

A whole way is from the bytes of one read to the bytes of one write to a client, without the
sockets: those cost some 13 µs more, either way.
"""

from collections.abc import Callable

import pytest

from gateway._sseparse import CHUNKED, Batch, Entries, EventParser, Outlet, Tap, chunk
from gateway.dialects.anthropic_writer import block
from gateway.dialects.calls import Heading
from gateway.dialects.known import CLIENTS, UPSTREAMS
from gateway.dialects.translation import Translation


EVENTS = 512
HEADING = Heading("id", "m", 0)
DELTA = {"type": "text_delta", "text": " token"}
STREAMS = {
    "openai": (
        b'data: {"id":"chatcmpl-AbCdEf0123456789","object":"chat.completion.chunk",'
        b'"created":1700000000,"model":"gpt-4.1-2025-04-14",'
        b'"service_tier":"default","system_fingerprint":"fp_0123456789",'
        b'"choices":[{"index":0,"delta":{"content":" token"},"logprobs":null,'
        b'"finish_reason":null}],"usage":null}\n\n'
    ),
    "anthropic": block("content_block_delta", index=0, delta=DELTA),
    "responses": (
        b"event: response.output_text.delta\n"
        b'data: {"type":"response.output_text.delta","sequence_number":9,'
        b'"item_id":"msg_67c9fdcf37fc8190ba82116e33fb28c507b8b0ad4e5eb654","output_index":0,'
        b'"content_index":0,"delta":" token","logprobs":[],"obfuscation":"0123456789"}\n\n'
    ),
    "gemini": (
        b'data: {"candidates": [{"content": {"parts": [{"text": " token"}],"role": "model"},'
        b'"index": 0}],"usageMetadata": {"promptTokenCount": 18,"candidatesTokenCount": 40,'
        b'"totalTokenCount": 158,"promptTokensDetails": [{"modality": "TEXT","tokenCount": 18}],'
        b'"thoughtsTokenCount": 100},"modelVersion": "gemini-2.5-flash",'
        b'"responseId": "AbCdEf0123456789AbCdEfg"}\n\n'
    ),
}


class Reader:
    """Who has an outlet that goes nowhere."""

    def __init__(self) -> None:
        self.outlet = Outlet(len, b"", True)


class Translating(Tap):
    """Lets through what is translated, as `source.Source` does."""

    log: Entries
    translation: Translation | None

    def attend(self, batch: Batch | None, now: float) -> None:
        if batch is not None and self.translation is not None:
            blocks = self.translation.blocks(batch.data)
            self.deliver(Batch(b"".join(blocks), self.log.tail + 1, len(blocks)))


def _translation(theirs: str, ours: str) -> Translation:
    return Translation(UPSTREAMS[theirs], CLIENTS[ours], HEADING)


def relay(theirs: str, event: bytes, ours: str) -> Entries:
    """Let a stream through, an event for each read, as `stream.Stream` does."""
    parser = EventParser(CHUNKED, dialect=UPSTREAMS[theirs].parser)
    translation = _translation(theirs, ours) if ours != theirs else None
    log, reader = Entries(), Reader()

    tap = Translating(parser, log, [reader], 1 << 30, float)
    tap.log, tap.translation = log, translation
    tap.flowing = translation is None
    data = chunk(event)
    for _ in range(EVENTS):
        tap.data(data)
    return log


@pytest.mark.parametrize("ours", CLIENTS)
@pytest.mark.parametrize("theirs", STREAMS)
def test_an_event_from_one_dialect_to_another(benchmark: Callable[..., Entries], theirs, ours):
    log = benchmark(relay, theirs, STREAMS[theirs], ours)
    assert log.tail >= EVENTS
    if benchmark.stats:  # None under --benchmark-disable
        least = benchmark.stats["min"]
        benchmark.extra_info["ns_per_event"] = round(least * 1e9 / EVENTS)
