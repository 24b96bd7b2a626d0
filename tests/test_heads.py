"""The compiled half of reading heads, against plain regular expressions."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway._sseparse import Head, HeadCutter, Names, fields, length_of
from tests.asking import fields_of


FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t -~\x80-\xff]*)\r\n")

LENGTH = b"content-length"

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


def read(raw, start):
    found = fields(raw, start)
    return None if found is None else list(found)


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
    assert read(raw, 0) == plain_fields(raw, 0)


@given(st.lists(st.tuples(names, values), max_size=5), messy)
def test_lawful_lines_are_read_and_one_wrong_byte_is_noticed(lines, more):
    raw = b"GET / HTTP/1.1\r\n" + b"".join(b"%b:%b\r\n" % line for line in lines)
    for end in (b"\r\n", more):
        assert read(raw + end, 16) == plain_fields(raw + end, 16)
    assert read(raw + b"\r\n", 16) == [(n.lower(), v.strip(b" \t")) for n, v in lines]


def test_a_name_of_one_letter_leaves_the_interpreters_own_bytes_alone():
    assert read(b"Q: 1\r\n\r\n", 0) == [(b"q", b"1")]
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
    found = HeadCutter(before, line_limit, limit, most).cut(data)
    assert found == (None if end < 0 else (data[start:end], data[end:]))


@given(st.binary(max_size=20) | st.from_regex(rb"[0-9]{1,20}", fullmatch=True))
@example(b"+5")
@example(b"1_0")
@example(b" 5")
def test_a_length_is_up_to_eighteen_digits_and_nothing_else(text):
    lawful = re.fullmatch(rb"[0-9]{1,18}", text)
    assert length_of(text) == (int(text) if lawful else -1)


def test_of_decisive_fields_all_is_told_but_how_long_a_body_is():
    names = Names((b"content-length", b"host"))
    found = fields_of([(b"Host", b"a"), (b"x", b"y"), (b"Content-Length", b"17")])
    assert found.decisive(names) == b"host: a\r\ncontent-length: 1\r\n"
    assert fields_of([(LENGTH, b"00")]).decisive(names) == b"content-length: 0\r\n"
    assert fields_of([(LENGTH, b"17x")]).decisive(names) == b"content-length: 17x\r\n"


# Of all lengths there are, and of two cases.
few = st.sampled_from([b"a", b"B", b"bb", b"Bb", b"c" * 63, b"C" * 70, b"d" * 70])


@given(
    lines=st.lists(st.tuples(few, st.sampled_from([b"", b"v", b"w"])), max_size=40),
    asked=st.frozensets(few.map(bytes.lower)),
)
@example([(b"a", b"")] * 100, frozenset((b"a",)))
def test_a_head_answers_as_a_list_of_its_fields_would(lines, asked):
    head, names = Head(fields_of(lines), http10=False), Names(asked)
    plain = [(name.lower(), value) for name, value in lines]
    found = [name for name, _ in plain]

    assert head.headers == plain
    assert head.has_any(names) is any(name in asked for name in found)
    assert head.lines(names) == b"".join(
        [name + b": " + value + b"\r\n" for name, value in plain if name in asked]
    )
    again = [name for i, name in enumerate(found) if name in asked and name in found[:i]]
    assert head.repeated(names) == (again[0] if again else None)
    for name in asked:
        values = [value for other, value in plain if other == name]
        assert head.has(name) is bool(values)
        assert head.get(name) == (values[0] if values else b"")
        assert head.members(name) == set(values or [b""])


def test_a_field_that_is_replaced_is_the_only_one_of_its_name():
    head = Head(fields_of([(b"Host", b"a"), (b"x", b"y"), (b"host", b"b")]), http10=False)
    head.replace(b"host", b"c")
    assert head.headers == [(b"x", b"y"), (b"host", b"c")]


def test_a_head_that_forgets_has_no_fields():
    head = Head(fields_of([(b"authorization", b"secret")]), http10=False)
    head.forget()
    assert head.headers == []
    assert not head.has(b"authorization")


def test_names_are_bytes():
    with pytest.raises(TypeError):
        Names(["host"])
