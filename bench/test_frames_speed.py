"""What it costs to frame an event for a reader that does not want it as it came.

`pytest bench/test_frames_speed.py` prints the time of one round; `extra_info` has it per event.
"""

import pytest
from test_parser_speed import EVENT, report

from gateway._sseparse import Batch, Entries, envelopes, json_array, skip, with_ids


EPOCH = b"abcd2345"
EVENTS = 512
FORMS = {
    "plain": EVENT,
    "with type": b"event: chunk\n" + EVENT,
    "two lines": EVENT.replace(b",", b",\ndata: ", 1),
    "not ASCII": EVENT.replace(b" token", " tökén".encode()),
    "no JSON": EVENT.replace(b"{", b"", 1),
    "broken": EVENT.replace(b" token", b" \xff"),
}
forms = pytest.mark.parametrize("event", FORMS.values(), ids=FORMS.keys())


@forms
def test_an_event_with_its_id(benchmark, event):
    assert len(benchmark(with_ids, event * EVENTS, 1, EPOCH)) > len(event) * EVENTS
    report(benchmark, EVENTS)


@forms
def test_an_event_as_a_websocket_frame(benchmark, event):
    assert benchmark(envelopes, event * EVENTS, 1, EPOCH).count(EPOCH) == EVENTS
    report(benchmark, EVENTS)


@pytest.mark.parametrize("frame", [with_ids, envelopes])
def test_one_event_of_a_live_stream(benchmark, frame):
    assert EPOCH in benchmark(frame, EVENT, 1, EPOCH)
    report(benchmark, 1)


@forms
def test_an_event_in_an_array(benchmark, event):
    assert benchmark(json_array, [event] * EVENTS).count(b"chatcmpl") == EVENTS
    report(benchmark, EVENTS)


def test_passing_over_an_event(benchmark):
    assert benchmark(skip, EVENT * EVENTS, EVENTS - 1) == EVENT
    report(benchmark, EVENTS)


@pytest.mark.parametrize("cursor", [0, 5_000, 9_999])
def test_what_comes_after_a_cursor_of_a_long_log(benchmark, cursor):
    log = Entries()
    for n in range(1, 10_001):
        log.append(Batch(EVENT, n, 1))
    assert len(benchmark(log.after, cursor)) == 10_000 - cursor
