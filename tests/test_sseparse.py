"""The compiled hot path: whatever the network does to the bytes, the story is the same."""

import ast
import inspect
import json
import tracemalloc
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import oracle
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import gateway._sseparse as compiled
from gateway._sseparse import (
    ANTHROPIC,
    CHUNKED,
    GEMINI,
    RESPONSES,
    UNTIL_CLOSE,
    Batch,
    BodyDecoder,
    Count,
    Entries,
    EventParser,
    Fields,
    Histogram,
    chunk,
    deltas,
    mended,
)
from gateway.chat import Delta, Fault, Start, Stop, ToolCall, Usage
from gateway.errors import BadChunk, BodyTooLong
from gateway.upstream_errors import EventTooLong, UpstreamProtocolError


HERE = Path(__file__).parent
VECTORS = json.loads((HERE / "vectors" / "sse.json").read_text())
STUB = ast.parse(Path(compiled.__file__).with_name("_sseparse.pyi").read_text())
KIB = 1024
# A slow machine is no reason to fail.


def told(parser: EventParser, batches: list[Batch | None]) -> oracle.Story:
    """Tell a parser's story, and check what must hold of any."""
    delivered = [batch for batch in batches if batch is not None]
    data = b"".join(batch.data for batch in delivered)
    following = 1
    for batch in delivered:
        assert batch.first == following
        assert batch.count == batch.data.count(b"\n\n") > 0
        following += batch.count
    assert parser.events == following - 1
    assert parser.size == len(data)
    fault = parser.fault.kind if parser.fault else ""
    assert parser.attention == bool(parser.done or parser.ended or fault or parser.error)
    assert parser.complete == bool(parser.done and parser.finish and parser.error is None)
    assert parser.clean == (parser.ended and not parser.surplus)
    return oracle.Story(
        data, parser.events, parser.done, parser.ended, parser.surplus, fault, parser.error,
        parser.error_at, parser.finish, parser.usage,
    )  # fmt: skip


def parse(pieces: list[bytes], framing: int = UNTIL_CLOSE, *, eof=False, **settings):
    """Feed the pieces to a fresh parser and return its story."""
    parser = EventParser(framing, **settings)
    batches = [parser.feed(piece, 1.0) for piece in pieces]
    if eof:
        batches.append(parser.eof())
    return told(parser, batches)


def events(data: bytes) -> list[tuple[str, str]]:
    """Read canonical bytes back as (type, data)."""
    blocks = [oracle.read_block(block) for block in data.split(b"\n\n")[:-1]]
    return [
        (name.decode("utf-8", "replace") or "message", text.decode("utf-8", "replace"))
        for name, text in blocks
    ]


def cut_at(raw: bytes, cuts: list[int]) -> list[bytes]:
    """Cut `raw` at the given offsets; those beyond its end give empty pieces."""
    return [raw[start:stop] for start, stop in pairwise([0, *sorted(cuts), len(raw)])]


def bytewise(raw: bytes) -> list[bytes]:
    return [raw[at : at + 1] for at in range(len(raw))]


# The standard.


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_standard_vectors_hold_at_every_cut(vector):
    raw = bytes.fromhex(vector["input_hex"])
    expected = [(event["event"], event["data"]) for event in vector["events"]]
    texts = [text for _, text in expected]
    if "[DONE]" in texts:  # a convention of providers, not of the standard
        del expected[texts.index("[DONE]") :]

    assert events(parse(bytewise(raw)).data) == expected
    for cut in range(len(raw) + 1):
        assert events(parse([raw[:cut], raw[cut:]]).data) == expected
    for number, offset in enumerate(vector["complete_at"][: len(expected)], 1):
        assert parse([raw[:offset]]).events == number
        assert parse([raw[: offset - 1]]).events == number - 1


# The oracle.

FRAGMENTS = (
    b"data: ", b"data:", b"data", b"data: a\n\n", b"data: b\r\n\r\n", b"data:c\r\r", b"\n", b"\r",
    b"\r\n", b"\n\n", b"event: x\n", b"event:", b"event: \n", b": ping\n\n", b":", b" ", b"id: 1\n",
    b"\xef\xbb\xbf", b"\xef\xbb", b"\x00", b"\xff", b"retry: 3\n", b"x" * 40, b"data: [DONE]",
    b"[DONE]", b'data: {"error":{"message":"no"}}\n\n', b'data: {"error":"no"}\r\r', b"null",
    b'data: {"error" : null,"x":1}\n\n', b'data: {"choices":[],"usage":{"total_tokens":3}}\n\n',
    b'data: {"choices":[{"finish_reason":"stop"}, 1, {"finish_reason": null}]}\n\n',
    b'data: {"usage":{"a":1},"choices":[{"finish_reason" : "length"}]}\n\n',
    b'data: {\ndata: "usage"\ndata: :{"b":2}}\n\n', b'"usage"', b'"error":', b"{", b"}",
    b'data: {"usage":{"a":"\\ud83d"}}\n\n', b'data: {"error":"\\\\ude00\\ude00"}\n\n',
    b'data: {"error":"\xf0\x9f"}\n\n', b"data: [DONE] \n\n", b"event: error\n",
    b'data: {"message":"m","code":3,"param":[],"usage":{"a":1}}\n\n',
)  # fmt: skip
streams = st.lists(st.sampled_from(FRAGMENTS), max_size=14).map(b"".join)
cuts = st.lists(st.integers(0, 400), max_size=8)
extensions = st.sampled_from([b"", b"", b";a", b' ; a = "b\\"; c"', b";a=b;c"])
tails = st.sampled_from(
    [b"0\r\n\r\n", b"00;z\r\nX-Sum: 1\r\n\r\n", b"0\r\n\r\nHTTP", b"", b"0\r\n"]
)
slips = st.sampled_from([b"", b"\r", b"\n", b";", b"0"])


@st.composite
def chunked(draw) -> bytes:
    """A stream in random chunks, whole or broken in one place."""
    raw = draw(streams)
    parts = [part for part in cut_at(raw, draw(cuts)) if part]
    framed = b"".join(b"%x%b\r\n%b\r\n" % (len(p), draw(extensions), p) for p in parts)
    framed += draw(tails)
    if framed and draw(st.booleans()):
        at = draw(st.integers(0, len(framed) - 1))
        framed = framed[:at] + draw(slips) + framed[at + 1 :]
    return framed


@given(streams, cuts, st.booleans(), st.booleans(), st.sampled_from([5, 20, 60, KIB]))
def test_any_stream_cut_anywhere_is_what_the_oracle_says(raw, where, eof, strip, limit):
    options = {"strip_usage": strip, "event_limit": limit}
    expected = oracle.story(raw, UNTIL_CLOSE, eof=eof, **options)

    assert parse(cut_at(raw, where), eof=eof, **options) == expected
    assert parse(bytewise(raw), eof=eof, **options) == expected


# Of chunks, which are read without being decoded where nothing in them is unusual.

KEYS = ("usage", "choices", "error", "x", "usag\\u0065", "choic\\u0065s", "", "choices ")
CHOICES = (
    '{"finish_reason":"stop"}', '{"finish_reason" : "length", "index":0}', "1", "{}", "{ }", "[]",
    '{"delta":{"finish_reason":"no","usage":{"a":1}}}', '{"finish_reason":"","index":1}',
    '{"finish_reason":null}', '{"finish_reason":"a","finish_reason":"b"}', '{"a":"}]\\""}',
    '{"finish_reason":"tool_calls","delta":{"tool_calls":[]}}', '{"finish_reason":"a\\u0062"}',
    '{"finish_reason":"c","finish_reason":null}', '{"finish_reason":"\u00e9"}',
    '{"finish_reason":7}',
    '{"finish_\\u0072eason":"stop","finish_reason":null}', '{"finish_reason":["stop"]}', '"stop"',
)  # fmt: skip
VALUES = (
    "null", '{"total_tokens":3}', "{}", "{ }", "[]", '[{"usage":1}]', "1.5e3", "-0", "true", '""',
    '{"usage":{"b":2},"choices":[]}', '"\\ud83d"', '{"message":"no"}', '"{"', " [ ] ", "[[[]]]",
)  # fmt: skip
choices = st.lists(st.sampled_from(CHOICES), max_size=3).map(lambda of: f"[{','.join(of)}]")
members = st.tuples(
    st.sampled_from(KEYS), st.sampled_from([":", " : "]), choices | st.sampled_from(VALUES)
).map(lambda parts: f'"{parts[0]}"{parts[1]}{parts[2]}')
chunks = st.lists(members, max_size=4).flatmap(
    lambda of: st.sampled_from(
        [f"{{{','.join(of)}}}", f"{{ {' , '.join(of)} }} ", f"[{{{','.join(of)}}}]"]
    )
)


@example('{"choices":[{"finish_reason":"stop"}],"choices":[{"index":0}]}', False, 200, "")
@example('{"choices":[],"usage":{"a":1},"choices":[{"index":0}]}', True, 200, "")
@example('{"choices":[],"usage":{"a":1},"usage":null}', True, 200, "")
@given(chunks, st.booleans(), st.integers(0, 200), st.sampled_from(["", "}", "]", ",", " ", "7"]))
def test_a_chunk_tells_what_the_oracle_decodes(text, strip, at, slip):
    for data in (text, text[:at] + slip + text[at + 1 :], text[:-1]):
        for behind in (b"", b"}\n\n", b"data: {}\n\n"):
            raw = b"data: " + data.encode() + b"\n\n" + behind
            expected = oracle.story(raw, UNTIL_CLOSE, eof=False, strip_usage=strip)
            assert parse([raw], strip_usage=strip) == expected, data


@given(chunked(), cuts, st.booleans(), st.booleans(), st.sampled_from([20, 60, KIB]))
def test_any_chunked_stream_cut_anywhere_is_what_the_oracle_says(raw, where, eof, strip, limit):
    options = {"strip_usage": strip, "event_limit": limit}
    expected = oracle.story(raw, CHUNKED, eof=eof, **options)

    assert parse(cut_at(raw, where), CHUNKED, eof=eof, **options) == expected
    assert parse(bytewise(raw), CHUNKED, eof=eof, **options) == expected


@given(st.lists(streams.filter(bool)), st.sampled_from([b"", b"0\r\n\r\n"]), st.booleans())
def test_chunks_that_come_one_by_one_are_what_the_oracle_says(bodies, last, tight):
    reads = [*map(chunk, bodies), last]
    assert parse(reads, CHUNKED, tight=tight) == oracle.story(b"".join(reads), CHUNKED, eof=False)


@pytest.mark.parametrize("tight", [True, False])
def test_a_chunk_of_any_size_is_read_whole_however_it_is_framed(tight):
    sizes = [*range(9, 300), *range(4090, 4110), *range(65530, 65550)]
    for size in sizes:
        event = b"data: " + b"x" * (size - 8) + b"\n\n"
        for head in (b"%x\r\n", b"%X\r\n", b"0%x\r\n", b"%x;a=b\r\n"):
            framed = head % size + event + b"\r\n"
            for end in (b"", b"0\r\n\r\n"):
                found = parse([framed, framed + end], CHUNKED, tight=tight)
                assert found == oracle.Story(data=event * 2, events=2, ended=bool(end))


def test_no_end_of_a_body_is_taken_for_a_chunk():
    for zeros in (b"0", b"00", b"000", b"0000"):
        for size in range(600):
            last = zeros + b"\r\nA: " + b"x" * size + b"\r\n\r\n"
            assert parse([last], CHUNKED) == oracle.Story(ended=True)


@given(streams, st.integers(0, 300), cuts, st.booleans())
def test_any_stream_of_known_length_is_what_the_oracle_says(raw, length, where, eof):
    assert parse(cut_at(raw, where), length, eof=eof) == oracle.story(raw, length, eof=eof)


CONTENTS = (
    b'data: {"candidates":[{"content":{"parts":[{"text":"a: b"}]}}],"usageMetadata":{"a":1}}\n\n',
    b'data: {"candidates":[{"finishReason":"STOP"}],"usageMetadata" : {"a":2}}\r\n\r\n',
    b'data: {"candidates":[1,{"finishReason" : "MAX_TOKENS"},{"finishReason":"OTHER"}]}\n\n',
    b'data: {"candidates":[{"finishReason":null}],"usageMetadata":{},"error":null}\n\n',
    b'data: {"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"a":3}}\r\r',
    b'data: {"candidates":[{"content":{"parts":[{"args":{"finishReason":"no","error":1}}]}}]}\n\n',
    b'data: {"error":{"code":503,"status":"UNAVAILABLE"},"usageMetadata":{"a":4}}\n\n',
    b'data: {\ndata: "usageMetadata"\ndata: :{"b":2}}\n\n', b"data: ", b"{", b"\n\n", b"\r\n",
    b": ping\n\n", b"data: [DONE]\n\n", b'"finishReason": "', b"\xef\xbb\xbf",
    b'data: {"error":"no"}',
)  # fmt: skip
contents = st.lists(st.sampled_from(CONTENTS), max_size=8).map(b"".join)


@given(contents, cuts, st.booleans(), st.sampled_from([60, KIB]))
def test_any_stream_of_gemini_cut_anywhere_is_what_the_oracle_says(raw, where, eof, limit):
    options = {"dialect": GEMINI, "event_limit": limit}
    expected = oracle.story(raw, UNTIL_CLOSE, eof=eof, **options)

    assert parse(cut_at(raw, where), eof=eof, **options) == expected
    assert parse(bytewise(raw), eof=eof, **options) == expected


@given(contents, cuts, st.integers(0, 60), st.booleans())
def test_a_stream_of_gemini_is_done_when_its_body_is_complete(raw, where, missing, eof):
    options = {"dialect": GEMINI}
    framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(raw), raw) if raw else b"0\r\n\r\n"
    framed = framed[: len(framed) - missing]

    expected = oracle.story(framed, CHUNKED, eof=eof, **options)
    assert parse(cut_at(framed, where), CHUNKED, eof=eof, **options) == expected
    length = max(0, len(raw) + 30 - missing)
    expected = oracle.story(raw, length, eof=eof, **options)
    assert parse(cut_at(raw, where), length, eof=eof, **options) == expected


SYNTAX = (
    b"0", b"5", b"aF", b"\r\n", b"\r", b"\n", b";", b"=", b'"', b"\\", b" ", b"\t", b"n-v", b":",
    b"\x00", b"\x7f", b"\x80", b"(", b"5\r\nhello\r\n", b"0\r\n", b"X: y\r\n", b"\r\n\r\n",
    b"+", b"0x", b"_",
)  # fmt: skip


@given(st.lists(st.sampled_from(SYNTAX), max_size=12).map(b"".join), cuts, st.integers(0, 12))
@example(b"0" * 253 + b"5\r\nhello", [], 12)
@example(b"0" * 254 + b"5\r\nhello", [], 12)
def test_any_chunked_body_is_what_the_oracle_says(raw, where, limit):
    expected = oracle.body(raw, CHUNKED, limit)
    for pieces in (cut_at(raw, where), bytewise(raw)):
        decoder = BodyDecoder(CHUNKED, limit)
        payload, state = b"", "more"
        try:
            for piece in pieces:
                payload += decoder.feed(piece)
            state = "ended" if decoder.ended else "more"
        except BadChunk:
            state = "bad"
        except BodyTooLong:
            state = "long"
        assert (state, decoder.surplus) == (expected.state, expected.rest)
        assert expected.payload.startswith(payload)
        assert state in ("bad", "long") or payload == expected.payload


# Bodies.

BAD_CHUNKS = [
    b"0x5\r\n", b"+5\r\n", b"-0\r\n", b"0_5\r\n", b" 5\r\n", b"5 \r\n", b"\r\n", b";a=b\r\n",
    b"G\r\n", b"5\rh", b"5\n", b"5\r\r;A", b"5;\r\n", b"5;bad[=x\r\n", b"5;a\nb\r\n",
    b"5;a\rb\r\n", b"5;a\0\r\n", b'5;a="b\r\n', b"5;e=" + b"x" * 256, b"0" * 257,
    b"5\r\nhello\n", b"5\r\nhello!!\r\n", b"0\r\nbad trailer\r\n", b"0\r\n: v\r\n",
    b"0\r\nA: b\r\n c\r\n", b"0\r\nA: \x01\r\n", b"0\r\nA: " + b"x" * 8192,
]  # fmt: skip


@pytest.mark.parametrize("raw", BAD_CHUNKS, ids=lambda raw: repr(raw[:24]))
def test_malformed_framing_is_refused_at_once_and_for_good(raw):
    for pieces in ([raw], bytewise(raw)):
        decoder = BodyDecoder(CHUNKED, KIB)
        with pytest.raises(BadChunk):
            b"".join(map(decoder.feed, pieces))
        with pytest.raises(BadChunk):
            decoder.feed(b"0\r\n\r\n")
        assert not decoder.ended


@pytest.mark.parametrize("size", [b"6", b"80000000", b"f" * 15, b"f" * 16, b"1" + b"0" * 200])
def test_a_chunk_beyond_the_limit_is_refused_before_its_data(size):
    decoder = BodyDecoder(CHUNKED, 5)
    with pytest.raises(BodyTooLong):
        decoder.feed(size + b"\r\n")


def test_a_chunk_larger_than_any_body_ends_a_stream():
    assert parse([b"f" * 16 + b"\r\n"], CHUNKED).fault == "framing"


@pytest.mark.parametrize(("framing", "raw"), [(6, b""), (6, b"hello!"), (UNTIL_CLOSE, b"hello!")])
def test_a_body_beyond_the_limit_is_refused(framing, raw):
    with pytest.raises(BodyTooLong):
        BodyDecoder(framing, 5).feed(raw)


def test_a_body_of_known_length_ends_there_and_the_rest_is_surplus():
    decoder = BodyDecoder(5, 5)
    assert (decoder.feed(b"he"), decoder.ended, decoder.received) == (b"he", False, 2)
    assert (decoder.feed(b"lloGET"), decoder.ended, decoder.received) == (b"llo", True, 5)
    assert decoder.surplus == b"GET"


def test_no_body_is_complete_from_the_beginning():
    decoder = BodyDecoder(0, 0)
    assert decoder.ended
    assert (decoder.feed(b"GET"), decoder.surplus) == (b"", b"GET")
    assert EventParser(0).attention


def test_an_end_of_file_ends_only_a_body_without_a_length():
    decoder = BodyDecoder(UNTIL_CLOSE, 5)
    decoder.feed(b"hello")
    decoder.eof()
    assert decoder.ended
    for framing in (CHUNKED, 5):
        with pytest.raises(BadChunk):
            BodyDecoder(framing, 5).eof()


def test_a_framing_that_is_none_is_refused():
    for make in (lambda: BodyDecoder(-3, 5), lambda: EventParser(-3)):
        with pytest.raises(ValueError, match="-3"):
            make()


@pytest.mark.parametrize("size", [0, 1, 15, 16, 255, 256, 4095, 4096, 70000])
def test_a_chunk_is_framed_as_http_wants(size):
    assert chunk(b"x" * size) == b"%x\r\n" % size + b"x" * size + b"\r\n"


# Events.

CANONICAL = {
    "canonical": (b"data: {}\n\n", b"data: {}\n\n"),
    "canonical with type": (b"event: e\ndata: {}\n\n", b"event: e\ndata: {}\n\n"),
    "several lines": (b"data: a\ndata: \ndata: b\n\n", b"data: a\ndata: \ndata: b\n\n"),
    "no space": (b"data:a\n\n", b"data: a\n\n"),
    "two spaces": (b"data:  a\n\n", b"data:  a\n\n"),
    "an empty data field is an event": (b"data\n\n", b"data: \n\n"),
    "type comes first": (b"data: a\nevent: e\n\n", b"event: e\ndata: a\n\n"),
    "last type wins": (b"event: e\nevent: f\ndata: a\n\n", b"event: f\ndata: a\n\n"),
    "an empty type is none": (b"event: \ndata: a\n\n", b"data: a\n\n"),
    "crlf": (b"event: e\r\ndata: a\r\n\r\n", b"event: e\ndata: a\n\n"),
    "bare cr": (b"data: a\rdata: b\r\r", b"data: a\ndata: b\n\n"),
    "foreign fields and comments": (b": c\nid: 1\nretry: 5\nx: y\ndata: a\n\n", b"data: a\n\n"),
    "a type without data": (b"event: ping\n\n", b""),
    "nul and broken text": (b"data: \0\xff\n\n", b"data: \0\xff\n\n"),
    "one byte-order mark": (b"\xef\xbb\xbfdata: a\n\n", b"data: a\n\n"),
}


@pytest.mark.parametrize(("raw", "expected"), CANONICAL.values(), ids=CANONICAL.keys())
def test_every_event_is_delivered_in_canonical_form(raw, expected):
    for pieces in ([raw], bytewise(raw), [raw[:9], raw[9:]]):
        assert parse(pieces).data == expected


STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":12}}\n\n'
ERROR = b'data: {"error":{"message":"overloaded","code":529}}\n\n'
COUNTS = {"prompt_tokens": 9, "completion_tokens": 12}


def test_finish_and_usage_are_noted_without_calling_for_attention():
    parser = EventParser(UNTIL_CLOSE)
    parser.feed(STOP + USAGE, 1.0)
    assert (parser.finish, parser.usage, parser.events) == ("stop", COUNTS, 2)
    assert not parser.attention


def test_the_usage_chunk_is_taken_out_for_who_did_not_ask():
    story = parse([STOP + USAGE + b"data: last\n\n"], strip_usage=True)
    assert (story.data, story.events) == (STOP + b"data: last\n\n", 2)
    assert story.usage == COUNTS


def test_usage_beside_an_answer_stays_where_it_is():
    raw = USAGE.replace(b"[]", b'[{"delta":{"content":"x"}}]')
    assert parse([raw], strip_usage=True).data == raw


def test_the_terminal_event_ends_the_events_but_not_the_body():
    parser = EventParser(CHUNKED)
    batch = parser.feed(chunk(b"data: a\n\ndata: [DONE]\n\ndata: b\n\n"), 1.0)
    assert (batch and batch.data, parser.done, parser.ended) == (b"data: a\n\n", True, False)
    assert parser.feed(chunk(b"data: c\n\n") + b"0\r\n\r\n", 2.0) is None
    assert (parser.ended, parser.surplus) == (True, False)
    assert parser.feed(b"HTTP/1.1", 3.0) is None
    assert parser.surplus


@pytest.mark.parametrize("blanks", [b" ", b"\t", b" \r\ndata:", b"\ndata:\ndata: "])
def test_a_terminal_event_with_blanks_behind_it_is_one(blanks):
    story = parse([b"data: a\n\ndata: [DONE]" + blanks + b"\n\n"])
    assert (story.data, story.done) == (b"data: a\n\n", True)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b" ", b"\t\n"])
def test_a_terminal_event_without_its_blank_line_counts_when_the_body_ends(end):
    raw = b"data: a\n\ndata: [DONE]" + end
    for story in (
        parse([raw], eof=True),
        parse([raw], len(raw)),
        parse([chunk(raw), b"0\r\n\r\n"], CHUNKED),
    ):
        assert story.done
        assert story.ended
    assert not parse([raw]).done
    assert not parse([b"data: [DONE]x" + end], eof=True).done


def test_nothing_follows_an_error():
    story = parse([b"data: a\n\n" + ERROR + b"data: b\n\ndata: [DONE]\n\n"])
    assert story.data == b"data: a\n\n" + ERROR
    assert (story.error, story.error_at) == ({"message": "overloaded", "code": 529}, 2)
    assert not story.done


@pytest.mark.parametrize(
    ("value", "error"),
    [(b'"no"', {"message": "no"}), (b"5", {"message": "5"}), (b"null", None), (b"{}", None)],
)
def test_an_error_of_any_shape_is_an_object(value, error):
    assert parse([b'data: {"error":' + value + b"}\n\n"]).error == error


@given(st.lists(st.sampled_from(["\\ud83d", "\\uDE00", "\\\\", "\\n", "ud83d", "\\u00e9", "x"])))
def test_of_half_a_character_a_mark_is_left_and_all_else_as_it_is(parts):
    text = f'"{"".join(parts)}"'
    assert json.loads(mended(text.encode())) == orjson.loads(oracle.without_halves(text.encode()))


@pytest.mark.parametrize("half", [rb"\ud83d", b"\xf0\x9f", b"\xed\xa0\xbd", b"\xff"])
def test_an_end_that_has_half_a_character_is_an_end_all_the_same(half):
    raw = b'data: {"choices":[{"delta":{"content":"%b"},"finish_reason":"length"}]}\n\n' % half
    found = parse([raw])
    assert (found.data, found.finish) == (raw, "length")


@pytest.mark.parametrize(
    "data", [b'{"error":', b'["error":1]', b'"error":1', b'["error"]', b'{"x":"\\"error\\":1"}']
)
def test_what_is_not_such_json_passes_as_it_came(data):
    raw = b"data: " + data + b"\n\n"
    assert parse([raw]) == oracle.Story(data=raw, events=1)


@pytest.mark.parametrize("framing", [CHUNKED, 100])
def test_an_early_end_of_file_is_a_truncation(framing):
    parser = EventParser(framing)
    parser.eof()
    assert (parser.fault and parser.fault.kind, parser.ended) == ("truncated", False)
    assert type(parser.fault) is UpstreamProtocolError


# Hostile input.


@pytest.mark.parametrize("line", [b"data: x\n", b": x\n", b": x", b"x", b"id: 7\r"])
def test_an_endless_block_is_refused_at_the_same_byte_however_it_is_cut(line):
    raw = (line * 1001)[:1001]
    for pieces in ([raw], bytewise(raw)):
        parser = EventParser(UNTIL_CLOSE, event_limit=KIB - 24)
        for piece in pieces[:-1]:
            parser.feed(piece, 1.0)
            assert not parser.attention
        parser.feed(pieces[-1], 1.0)
        assert type(parser.fault) is EventTooLong


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_an_event_at_the_limit_passes_and_one_byte_more_does_not(end):
    raw = b"event: x" + end + b"data: y" + end + end
    size = len(raw) - (len(end) - 1)  # the LF of the last CR LF is of no block
    for pieces in ([raw], bytewise(raw)):
        assert parse(pieces, event_limit=size).data == b"event: x\ndata: y\n\n"
        story = parse([b"data: a\n\n", *pieces], event_limit=size - 1)
        assert (story.data, story.fault) == (b"data: a\n\n", "event_too_long")


HOSTILE = {
    "an endless line": (b"x", False),
    "an endless comment": (b":" + b"x" * 63, False),
    "carriage returns": (b"\r", True),
    "line feeds": (b"\n", True),
    "comment blocks": (b":\n\n", True),
    "comments": (b": ping\n", False),
    "events without data": (b"event: x\r\r", True),
}


@pytest.mark.parametrize(("unit", "goes_on"), HOSTILE.values(), ids=HOSTILE.keys())
def test_memory_stays_bounded(unit, goes_on):
    limit = 64 * KIB
    read = unit * (256 * KIB // len(unit))
    pieces = [read[at : at + KIB] for at in range(0, len(read), KIB)]
    pieces += [read, read * 4]
    parser = EventParser(UNTIL_CLOSE, event_limit=limit)
    tracemalloc.start()
    try:
        batches = {parser.feed(piece, 1.0) for piece in pieces}
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert batches == {None}
    assert parser.attention != goes_on
    assert held < 8 * KIB
    assert peak < 3 * limit


def test_no_line_is_searched_for_through_all_that_follow():
    """This takes a blink; if each CR looked for its LF to the end, it would take an hour."""
    assert parse([b"\r" * 16 * KIB * KIB]) == oracle.Story()


def test_a_million_tiny_events_in_tiny_chunks_are_all_counted():
    read = chunk(b"data:\n\n") * 10_000
    parser = EventParser(CHUNKED)
    for _ in range(100):
        batch = parser.feed(read, 1.0)
        assert batch is not None
        assert batch.data == b"data: \n\n" * 10_000
    assert parser.events == 1_000_000


def test_a_stream_in_chunks_of_one_byte_is_the_same_stream():
    raw = b"".join(chunk(bytes([byte])) for byte in STOP * 500)
    assert parse([raw], CHUNKED).data == STOP * 500


# What is measured.


def test_a_count_counts():
    count = Count()
    count.add()
    count.add(2.5)
    count.add(-1)

    assert count.value == 2.5


def test_a_histogram_counts_a_value_in_the_bucket_whose_bound_it_does_not_exceed():
    histogram = Histogram([0.1, 1.0])
    for value in (0.05, 0.1, 0.5, 1.0, 2.0):
        histogram.observe(value)
    histogram.observe(0.2, 3)
    histogram.observe(float("nan"), 0)
    assert histogram.bounds == (0.1, 1.0)
    counts, total = Histogram.snapshot(histogram)
    assert counts == [2, 5, 1]
    assert total != total or total == pytest.approx(4.25)


@pytest.mark.parametrize("bounds", [[1.0, 1.0], [2.0, 1.0], list(range(33))])
def test_bounds_that_make_no_histogram_are_refused(bounds):
    with pytest.raises(ValueError, match="bounds"):
        Histogram(bounds)


def test_gaps_are_spread_over_the_events_of_a_read():
    gaps = Histogram([0.5, 2.0])
    parser = EventParser(UNTIL_CLOSE, gaps=gaps)
    parser.feed(b"data: a\n\n", 10.0)
    assert gaps.snapshot() == ([0, 0, 0], 0.0)
    parser.feed(b": ping\n\n", 11.0)
    parser.feed(b"data: b\n\n" * 4, 14.0)
    assert gaps.snapshot() == ([0, 4, 0], 4.0)
    assert parser.last == 14.0


def test_overhead_is_from_the_delivering_read_to_its_write():
    overhead = Histogram([0.5, 2.0])
    parser = EventParser(UNTIL_CLOSE, overhead=overhead)
    parser.sent(9.0)
    parser.feed(b"data: a\n\n", 10.0)
    parser.feed(b": ping\n\n", 10.75)
    parser.sent(11.0)
    assert overhead.snapshot() == ([0, 1, 0], 1.0)


# What is said.


def says(value: object) -> list[object]:
    return deltas(b"data: " + json.dumps(value).encode() + b"\n\n")


def choice(delta: object = None, **more: object) -> dict[str, object]:
    return {"choices": [{"index": 1, "delta": delta, **more}]}


SAID = {
    "role": (choice({"role": "assistant", "content": ""}), [Start(1, "assistant")]),
    "content": (choice({"content": "Hi"}), [Delta(1, content="Hi")]),
    "reasoning": (choice({"reasoning_content": "r"}), [Delta(1, reasoning="r")]),
    "reasoning, other name": (choice({"reasoning": "r"}), [Delta(1, reasoning="r")]),
    "refusal": (choice({"refusal": "no"}), [Delta(1, refusal="no")]),
    "finish": (choice({}, finish_reason="length"), [Stop(1, "length")]),
    "legacy text": (choice(text="Hi"), [Delta(1, content="Hi")]),
    "tool call": (
        choice({"tool_calls": [{"index": 2, "id": "c", "function": {"name": "f"}}]}),
        [ToolCall(1, 2, "c", "f")],
    ),
    "tool call, more": (
        choice({"tool_calls": [{"index": 2, "function": {"arguments": "{"}}]}),
        [ToolCall(1, 2, arguments="{")],
    ),
    "usage": (
        {
            "usage": {
                "prompt_tokens": 9,
                "completion_tokens": 12,
                "prompt_tokens_details": {"cached_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 5},
            }
        },
        [Usage(9, 12, 4, 5)],
    ),
    "error": ({"error": {"message": "m", "type": "t", "code": 5}}, [Fault("m", "t", "5")]),
    "error, a word": ({"error": "m"}, [Fault("m")]),
    "nothing": (choice({"content": None}, finish_reason=None), []),
}


@pytest.mark.parametrize(("event", "expected"), SAID.values(), ids=SAID.keys())
def test_an_event_says(event, expected):
    assert says(event) == expected


# Data of an event of the type error, and the error object that it comes to.
NAMED_ERRORS = {
    "an object": (b'{"message":"m","type":"t","code":5}', {"message": "m", "type": "t", "code": 5}),
    "no message": (b'{"detail":"m"}', {"message": '{"detail":"m"}'}),
    "what nests": (b'{"message":"m","code":{"a":[]}}', {"message": "m"}),
    "a null": (b'{"message":"m","error":null}', {"message": "m"}),
    "text": (b" the model\ndata: is gone ", {"message": "the model\nis gone"}),
    "bytes": (b"gone \xff", {"message": "gone \ufffd"}),
    "nothing": (b"", {"message": "the upstream reported an error"}),
}


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize(("data", "error"), NAMED_ERRORS.values(), ids=NAMED_ERRORS.keys())
def test_an_event_of_the_type_error_is_one_whatever_its_data(data, error, end):
    """As openai-node has it; what is delivered is one to all others, too."""
    block = b"event: error\ndata: " + data + b"\n\n"
    raw = b'data: {"choices":[]}\n\n' + block + b"data: {}\n\n"
    told = parse(bytewise(raw.replace(b"\n", end)))

    assert (told.error, told.error_at, told.events) == (error, 2, 2)
    _, (kind, last) = events(told.data)
    assert (kind, orjson.loads(last)) == ("message", {"error": error})
    code = str(error.get("code") or "")
    assert deltas(block) == [Fault(error["message"], error.get("type", ""), code)]


@pytest.mark.parametrize("dialect", [ANTHROPIC, GEMINI, RESPONSES])
def test_other_dialects_say_in_the_data_what_is_an_error(dialect):
    raw = b"event: error\ndata: {}\n\n"
    told = parse([raw], dialect=dialect)
    assert (told.error, told.data) == (None, raw)


def test_an_error_that_says_so_in_its_data_is_delivered_as_it_came():
    raw = b'event: error\ndata: {"error" : "m"}\n\n'
    told = parse([raw])
    assert (told.error, told.data) == ({"message": "m"}, raw)


def test_the_end_is_the_end_whatever_its_type():
    assert parse([b"event: error\ndata: [DONE]\n\n"]).done


def test_a_batch_says_what_its_events_say_in_order():
    first, second = (json.dumps(choice({"content": word})).encode() for word in "ab")
    data = b"event: e\ndata: %b\n\ndata: not json\n\ndata: %b\n\n" % (first, second)
    pretty = b"data: {\ndata: " + second[1:] + b"\n\n"
    assert deltas(data + pretty) == [Delta(1, content=word) for word in "abb"]
    assert deltas(b"") == []
    halved = data.replace(b'"a"', rb'"a\ud83d"').replace(b'"b"', b'"b\xf0\x9f"')
    assert deltas(halved) == [Delta(1, content=word) for word in ("a\ufffd", "b\ufffd")]


KEYS = (
    "choices", "delta", "index", "role", "content", "tool_calls", "function", "name", "id",
    "arguments", "error", "usage", "message", "prompt_tokens", "prompt_tokens_details",
    "cached_tokens", "finish_reason", "text",
)  # fmt: skip
shapes = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2)
    | st.dictionaries(
        st.sampled_from(KEYS),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)


@given(shapes)
def test_no_odd_shape_raises(value):
    says(value)
    says({"choices": [{"delta": value}], "usage": value, "error": value})
    parse([b"data: " + json.dumps({"choices": value, "usage": value}).encode() + b"\n\n"])


# The stub.

PUBLIC = [node for node in STUB.body if not getattr(node, "name", "").startswith("_")]
CLASSES = [node for node in PUBLIC if isinstance(node, ast.ClassDef)]
ARGUMENTS = {
    "framing": 5, "limit": 5, "data": b"", "first": 1, "count": 1, "bounds": (1.0,),
    "dialect": 0, "strip_usage": True, "event_limit": 5, "gaps": None, "overhead": None,
    "tight": True,
    "wake": print, "put": print, "head": b"", "chunked": True, "parser": EventParser(UNTIL_CLOSE),
    "log": Entries(), "readers": [], "room": 1, "clock": print, "attend": print, "pump": print,
    "lost": print, "style": 0, "epoch": b"abcdefgh",
    "before": b"", "after": b"", "left": b"", "right": b"",
    "fields": Fields(), "http10": False, "names": (b"host",),
    "method": "", "path": "", "query": "", "status": 200, "seconds": 1.0,
    "line_limit": 5, "most": 5, "id": "gen_1", "subject": "",
    "live": None, "desk": SimpleNamespace(young=set()), "reply": SimpleNamespace(), "cursor": 0,
}  # fmt: skip


def parameters(node: ast.FunctionDef) -> list[str]:
    return [arg.arg for arg in (*node.args.args, *node.args.kwonlyargs)]


def test_the_stub_names_all_that_is_public():
    stubbed = {node.name for node in PUBLIC if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    stubbed |= {node.target.id for node in PUBLIC if isinstance(node, ast.AnnAssign)}
    ours = {
        name
        for name, value in vars(compiled).items()
        if getattr(value, "__module__", compiled.__name__) == compiled.__name__
    }
    assert stubbed == {name for name in ours if not name.startswith("_")}


@pytest.mark.parametrize("stub", CLASSES, ids=lambda stub: stub.name)
def test_a_class_is_as_its_stub_says(stub):
    cls = getattr(compiled, stub.name)
    methods = {node.name: node for node in stub.body if isinstance(node, ast.FunctionDef)}
    maker = methods.pop("__new__", None) or methods.pop("__init__", None)
    made = cls(**{name: ARGUMENTS[name] for name in parameters(maker)[1:]} if maker else {})

    fields = {node.target.id: node for node in stub.body if isinstance(node, ast.AnnAssign)}
    stubbed = {name for name in fields.keys() | methods.keys() if name[0] != "_"}
    assert stubbed == {name for name in vars(cls) if name[0] != "_"}
    for field, node in fields.items():
        if ast.unparse(node.annotation).startswith("Final"):
            with pytest.raises(AttributeError):
                setattr(made, field, getattr(made, field))
    methods.pop("__call__", None)  # of which Cython keeps no signature
    for name, node in methods.items():
        assert list(inspect.signature(getattr(cls, name)).parameters) == parameters(node)
    if "final" in [ast.unparse(decorator) for decorator in stub.decorator_list]:
        with pytest.raises(TypeError):
            type("Derived", (cls,), {})
