"""What a WebSocket frame costs besides the write of the socket.

`pytest bench/test_frame_speed.py` prints the time of one round of FRAMES; what that comes to
per frame stands in the `extra_info` of `--benchmark-json FILE`.
"""

import asyncio

import pytest

from gateway._sseparse import text_frame
from gateway.websocket import WebSocket


FRAMES = 1000


class Nowhere:
    """A transport that takes everything, and a session that says nothing."""

    def set_protocol(self, protocol: object) -> None: ...

    def write(self, data: bytes) -> None: ...

    def opened(self, socket: WebSocket) -> None: ...

    def gone(self) -> None: ...


def frames(payload: bytes) -> None:
    for _ in range(FRAMES):
        text_frame(payload)


def sends(socket: WebSocket, payload: bytes) -> None:
    for _ in range(FRAMES):
        socket.send(payload)


def report(benchmark) -> None:
    """Note nanoseconds per frame, where anything was measured at all."""
    if benchmark.stats:  # None under --benchmark-disable
        benchmark.extra_info["ns_per_frame"] = round(benchmark.stats["min"] * 1e9 / FRAMES)


@pytest.mark.parametrize("size", [20, 125, 300, 4096, 65536])
def test_a_frame_by_its_size(benchmark, size):
    benchmark(frames, b"x" * size)
    report(benchmark)


def test_a_message_from_the_session_to_the_transport(benchmark):
    loop = asyncio.new_event_loop()
    nowhere = Nowhere()
    socket = WebSocket(nowhere, loop)
    ignore = lambda what: None  # noqa: E731
    socket.take_over(
        nowhere, b"", b"", on_lost=ignore, on_stalled=lambda: None, on_crash=ignore
    )
    try:
        benchmark(sends, socket, b"x" * 300)
        report(benchmark)
    finally:
        socket.connection_lost(None)
        loop.close()
