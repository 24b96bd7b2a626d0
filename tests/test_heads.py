"""The compiled half of reading heads, against plain regular expressions."""

import re

from hypothesis import example, given
from hypothesis import strategies as st

from gateway._sseparse import Head, cut_head, decisive, fields, length_of


FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t -~\x80-\xff]*)\r\n")

BITS = [
    b"\r\n",
    b"\r",
    b"\n",
    b"X",
    b"x-Y",
    b":",
    b" ",
    b"\t",
    b"v",
    b"\x00",
    b"\x7f",
    b"\xff",
    b"\x0b",
]
messy = st.lists(st.sampled_from(BITS), max_size=24).map(b"".join)
names = st.from_regex(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,12}", fullmatch=True)
values = st.from_regex(rb"[ \t]*[!-~\x80-\xff]?[\t -~\x80-\xff]*", fullmatch=True)


def plain_fields(raw, start):
    found = []
    at = start
    while raw[at:] != b"\r\n":
        match = FIELD.match(raw, at)
        if match is None:
            return None
        found.append((match[1].lower(), match[2].rstrip(b" \t")))
        at = match.end()
    return found


def plain_head_end(data, start, line_limit, limit, most):
    lines = data[start:].split(b"\n")
    for count in range(2, len(lines)):
        head = b"\n".join(lines[:count]) + b"\n"
        if head.endswith(b"\r\n\r\n"):
            fits = len(lines[0]) < line_limit and len(head) <= limit and count <= most
            return start + len(head) if fits else -1
    return -1


@given(messy)
@example(b"\r\n")
@example(b"X:\r\n\r\n")
@example(b"X:v\r\n\r\n\x00")
def test_any_bytes_are_fields_or_not_as_the_grammar_says(raw):
    assert fields(raw, 0) == plain_fields(raw, 0)


@given(st.lists(st.tuples(names, values), max_size=5), messy)
def test_lawful_lines_are_read_and_one_wrong_byte_is_noticed(lines, more):
    raw = b"GET / HTTP/1.1\r\n" + b"".join(b"%b:%b\r\n" % line for line in lines)
    for end in (b"\r\n", more):
        assert fields(raw + end, 16) == plain_fields(raw + end, 16)
    assert fields(raw + b"\r\n", 16) == [(n.lower(), v.strip(b" \t")) for n, v in lines]


def test_a_name_of_one_letter_leaves_the_interpreters_own_bytes_alone():
    assert fields(b"Q: 1\r\n\r\n", 0) == [(b"q", b"1")]
    assert bytes([81]) == b"Q"


@given(
    messy,
    st.sampled_from([b"", b"\r\n", b"X"]),
    st.integers(0, 12),
    st.integers(0, 24),
    st.integers(0, 6),
)
@example(b"\r\n\r\n", b"\r\n", 1, 3, 2)
@example(b"a\r\nb:c\r\n\r\nrest", b"", 99, 99, 9)
def test_a_head_ends_where_the_first_empty_line_does(data, before, line_limit, limit, most):
    start = len(before) if data.startswith(before) else 0
    end = plain_head_end(data, start, line_limit, limit, most)
    found = cut_head(data, before, line_limit, limit, most)
    assert found == (None if end < 0 else (data[start:end], data[end:]))


@given(st.binary(max_size=20) | st.from_regex(rb"[0-9]{1,20}", fullmatch=True))
@example(b"+5")
@example(b"1_0")
@example(b" 5")
def test_a_length_is_up_to_eighteen_digits_and_nothing_else(text):
    lawful = re.fullmatch(rb"[0-9]{1,18}", text)
    assert length_of(text) == (int(text) if lawful else -1)


def test_of_decisive_fields_all_is_told_but_how_long_a_body_is():
    names = frozenset((b"content-length", b"host"))
    rest = (b"x", b"y")
    told = decisive([(b"host", b"a"), rest, (b"content-length", b"17")], names)
    assert told == b"host: a\r\ncontent-length: 1\r\n"
    assert decisive([(b"content-length", b"00")], names) == b"content-length: 0\r\n"
    assert decisive([(b"content-length", b"17x")], names) == b"content-length: 17x\r\n"


@given(
    lines=st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.sampled_from([b"", b"v"]))),
    asked=st.frozensets(st.sampled_from([b"b", b"c", b"d"])),
)
def test_a_head_has_any_of_some_names_if_one_of_its_fields_has_it(lines, asked):
    found = any(name in asked for name, _ in lines)
    assert Head(lines, http10=False).has_any(asked) is found
