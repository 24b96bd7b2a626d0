"""The ways a reader may want entries: the same bytes as the oracle, however a log was cut."""

import json
from collections.abc import Iterator

import oracle
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway._sseparse import (
    FRAMES,
    IDS,
    RAW,
    Batch,
    entries,
    envelopes,
    json_array,
    skip,
    with_ids,
)


EPOCH = b"abcd2345"
# A slow machine is no reason to fail.

# Pieces that JSON, and what is nearly JSON, is made of; an LF is the border of two data lines.
TOKENS = (
    b"{", b"}", b"[", b"]", b",", b":", b'"', b'"a"', b'"a":', b"\\", b"\\u00e", b"\\ud800", b"\\n",
    b"0", b"-", b"1.5", b".", b"e+9", b"E", b"true", b"false", b"null", b"NaN", b" ", b"\t", b"\n",
    b"\x00", b"\x1f", b"\x7f", b"\xe2\x80\xa8", b"\xc3\xa9", b"\xff", b"\xed\xa0\x80", b"data: ",
    b"id: 1", b"\xef\xbb\xbf",
)  # fmt: skip
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
payloads = st.one_of(
    st.lists(st.sampled_from(TOKENS), max_size=8).map(b"".join),
    st.tuples(documents, st.sampled_from([None, 1])).map(
        lambda it: json.dumps(it[0], indent=it[1]).encode()
    ),
    st.binary(max_size=20).map(lambda data: data.replace(b"\r", b"")),
    st.sampled_from([92, 93, 65_487, 65_488]).map(lambda size: b"x" * size),
)
types = st.sampled_from([b"", b"", b"delta", b'"', b"\\", b"\xff", b"\xc3\xa9", b" "])
logs = st.lists(st.tuples(types, payloads), max_size=5)


def log_of(read: list[tuple[bytes, bytes]]) -> bytes:
    """Write entries as they stand in a log."""
    return b"".join(oracle.canonical(*entry) for entry in read)


@given(logs)
@example([(b"", b"")])
@example([(b"e", b"\n\n")])
@example([(b"", b"event: x\ndata: y")])
def test_what_was_written_is_read_back(read):
    assert entries(log_of(read)) == read


@given(logs, st.integers(1, 10**15))
@example([(b"", b"[1"), (b"", b"2]"), (b"", b"3,4")], 1)  # JSON only together
def test_every_style_is_what_the_oracle_says(read, first):
    data = log_of(read)

    assert with_ids(data, first, EPOCH) == oracle.with_ids(data, first, EPOCH)
    assert envelopes(data, first, EPOCH) == oracle.envelopes(data, first, EPOCH)
    assert json_array([data]) == oracle.json_array([data])


@given(logs)
def test_a_log_cut_between_any_entries_is_framed_as_the_whole(read):
    data = log_of(read)

    for n in range(len(read) + 1):
        rest = skip(data, n)
        begin = data.removesuffix(rest)
        assert rest == log_of(read[n:])
        assert json_array([begin, rest]) == json_array([data])
        for style in (with_ids, envelopes):
            assert style(begin, 1, EPOCH) + style(rest, 1 + n, EPOCH) == style(data, 1, EPOCH)


# All that reads a log to its end.
READERS = [
    entries,
    lambda data: skip(data, len(data)),
    lambda data: with_ids(data, 1, EPOCH),
    lambda data: envelopes(data, 1, EPOCH),
    lambda data: json_array([data]),
]


@given(logs)
def test_a_log_cut_amid_an_entry_is_refused(read):
    data = log_of(read)
    borders = {len(log_of(read[:n])) for n in range(len(read) + 1)}

    for cut in set(range(min(len(data), 300))) - borders:
        for read_all in READERS:
            with pytest.raises(ValueError, match="not canonical"):
                read_all(data[:cut])


@pytest.mark.parametrize(
    "data",
    [b"\n", b"event: x\n\n", b"id: 1\ndata: x\n\n", b"data:x\n\n", b"data: x\r\n\r\n"],
)
def test_what_no_log_holds_is_refused(data):
    for read_all in READERS:
        with pytest.raises(ValueError, match="not canonical"):
            read_all(data)


@pytest.mark.parametrize("n", [-1, 0])
def test_to_skip_nothing_copies_nothing(n):
    data = b"data: 1\n\n"

    assert skip(data, n) is data


def test_to_skip_more_than_there_is_leaves_nothing():
    assert skip(b"data: 1\n\n", 2) == b""


def texts(frames: bytes) -> Iterator[str]:
    """Read text frames of a server."""
    while frames:
        assert frames[0] == 0x81
        extended = {126: 2, 127: 8}.get(frames[1], 0)
        size = int.from_bytes(frames[2 : 2 + extended]) if extended else frames[1]
        yield frames[2 + extended : 2 + extended + size].decode()
        frames = frames[2 + extended + size :]


@given(logs)
def test_a_frame_is_valid_text_and_json_whatever_it_carries(read):
    found = [json.loads(text) for text in texts(envelopes(log_of(read), 1, EPOCH))]

    assert [one["id"].encode() for one in found] == [
        oracle.cursor(EPOCH, number) for number in range(1, len(read) + 1)
    ]
    assert [one.get("event", "") for one in found] == [
        event.decode("utf-8", "replace") for event, _ in read
    ]


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (b"", b'""'),
        (b"[DONE]", b'"[DONE]"'),
        (b'{"a":1', b'"{\\"a\\":1"'),
        (b' {"a":1} ', b' {"a":1} '),
        (b'"\\ud83d"', b'"\\ud83d"'),
        (b"1e400", b"1e400"),
        ('"\u2028"'.encode(), '"\u2028"'.encode()),
        (b'"\xff"', '"\ufffd"'.encode()),
        (b"\xff", '"\ufffd"'.encode()),
        (b"[" * 512 + b"]" * 512, b"[" * 512 + b"]" * 512),
        (b"[" * 513 + b"]" * 513, b'"' + b"[" * 513 + b"]" * 513 + b'"'),
    ],
)
def test_a_payload_is_json_or_becomes_a_string(payload, value):
    assert json_array([oracle.canonical(b"", payload)]) == b"[" + value + b"]"


def test_an_array_of_nothing_is_empty():
    assert json_array([]) == json_array([b""]) == b"[]"


DATA = b'event: x\ndata: {"a":1}\n\ndata: 2\n\n'


@pytest.mark.parametrize(
    ("style", "framed"),
    [
        (RAW, DATA),
        (IDS, oracle.with_ids(DATA, 7, EPOCH)),
        (FRAMES, oracle.envelopes(DATA, 7, EPOCH)),
    ],
)
def test_a_batch_is_framed_in_a_style(style, framed):
    assert Batch(DATA, 7, 2).framed(style, EPOCH) == framed


@pytest.mark.parametrize("style", [-1, 3])
def test_there_are_three_styles(style):
    with pytest.raises(ValueError, match=f"{style} is no style"):
        Batch(DATA, 7, 2).framed(style, EPOCH)
