"""References: each form is filled, and what is behind none is told without its content."""

import contextlib

import pytest
from headgate_toml import refusal
from hypothesis import given
from hypothesis import strategies as st

from gateway import references
from gateway.errors import ConfigError


ENV = {"HOST": "example.com", "EMPTY": "", "NESTED": "${HOST}"}

INTERPOLATED = {
    "no reference here": "no reference here",
    "$HOST costs 5 $": "$HOST costs 5 $",
    "${HOST}": "example.com",
    "https://${HOST}/${HOST}": "https://example.com/example.com",
    "${HOST:-other}": "example.com",
    "${NONE:-other}": "other",
    "${NONE:-a:-b c}": "a:-b c",
    "${EMPTY:-other}": "other",
    "${NONE:-}": "",
    "${NESTED}": "${HOST}",
}


@pytest.mark.parametrize(("text", "filled"), INTERPOLATED.items())
def test_references_are_replaced_by_what_they_refer_to(text, filled):
    assert references.interpolate(text, ENV) == filled


FORM = "expected ${NAME}, ${NAME:-default}, ${file:/path} or ${credential:name} after a ${"
BAD_REFERENCES = {
    "${}": FORM,
    "${HOST": FORM,
    "${sk-live}": FORM,
    "${1A}": FORM,
    "${HOST:other}": FORM,
    "${file:relative}": FORM,
    "${file:/a\x1b}": FORM,
    "${file:/a:-sk-live}": FORM,
    "${credential:a/b}": FORM,
    "${credential:}": FORM,
    "${${HOST}}": FORM,
    "${NONE}": "${NONE}: the environment variable is not set",
    "${EMPTY}": "${EMPTY}: the environment variable is empty",
    "${credential:key}": (
        "${credential:key}: CREDENTIALS_DIRECTORY is not set; systemd sets it for LoadCredential="
    ),
}


@pytest.mark.parametrize(("text", "message"), BAD_REFERENCES.items())
def test_a_reference_to_nothing_is_refused(text, message):
    assert refusal(references.interpolate, text, ENV) == message


def test_an_environment_that_is_not_utf8_is_refused():
    message = "${HOST}: the environment variable is not UTF-8"

    assert refusal(references.interpolate, "${HOST}", {"HOST": "\udcff"}) == message


@pytest.mark.parametrize("content", [b"sk-live", b"sk-live\n", b"sk-live\r\n"])
def test_the_line_end_of_a_file_is_not_part_of_its_content(tmp_path, content):
    (tmp_path / "web.key").write_bytes(content)

    by_path = references.interpolate(f"<${{file:{tmp_path}/web.key}}>", {})
    by_name = references.interpolate(
        "<${credential:web.key}>", {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    )

    assert by_path == by_name == "<sk-live>"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\n", "the file is empty"),
        (b"\xff", "the file is not UTF-8 text"),
        (b"x" * (references.FILE_LIMIT + 1), "the file is larger than 65536 bytes"),
        (None, "No such file or directory"),
    ],
)
def test_a_file_without_usable_content_is_refused(tmp_path, content, why):
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)

    message = refusal(references.interpolate, f"${{file:{path}}}", {})

    assert message == f"${{file:{path}}}: {why}"


def test_a_directory_is_no_file(tmp_path):
    env = {"CREDENTIALS_DIRECTORY": str(tmp_path)}

    message = refusal(references.interpolate, "${credential:..}", env)
    assert message == "${credential:..}: Is a directory"


def test_references_are_listed_without_their_defaults():
    assert references.references("a ${HOST} ${KEY:-sk-live} ${file:/a}") == [
        "${HOST}",
        "${KEY}",
        "${file:/a}",
    ]


@given(text=st.text() | st.from_regex(r"\A[a-z:/.${}-]{0,12}\Z"))
def test_a_text_is_filled_or_raises_a_config_error_and_nothing_else(text):
    with contextlib.suppress(ConfigError):
        references.interpolate(text, {})
