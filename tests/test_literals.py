"""Names, keys, files: taken as they stand, or refused in plain words."""

import pytest
from headgate_toml import refusal

from gateway import literals


def test_a_secret_shows_itself_only_when_asked():
    secret = literals.secret("sk-live")

    assert [repr(secret), str(secret), f"{secret}", f"{[secret]}"] == ["***", "***", "***", "[***]"]
    assert secret.reveal() == "sk-live"


@pytest.mark.parametrize("text", ["sk live", "sk\n", "sk\r\nx: y", "schlüssel", "sk\x7f", "\0"])
def test_a_key_that_no_header_can_carry_is_refused(text):
    assert refusal(literals.secret, text) == "expected a key of visible ASCII characters"


def test_an_empty_key_is_refused():
    wanted = 'expected a key such as "${OPENAI_API_KEY}"'

    assert refusal(literals.secret, "") == wanted


def test_a_callers_key_has_at_least_sixteen_characters():
    key = literals.caller_key("x" * 16)

    assert (repr(key), key.reveal()) == ("***", "x" * 16)
    assert refusal(literals.caller_key, "x" * 15) == "expected a key of at least 16 characters"
    assert refusal(literals.caller_key, "") == "expected a key of at least 16 characters"
    assert refusal(literals.caller_key, "x y" * 16) == "expected a key of visible ASCII characters"


@pytest.mark.parametrize("text", ["gpt-4.1", "org/model:free", "model 7", "模型"])
def test_a_name_may_be_anything_that_can_be_printed(text):
    assert literals.name(text) == text


@pytest.mark.parametrize("text", ["", "a\nb", "a\x1b[2J", "\u202egpt", "\ud800"])
def test_a_name_that_cannot_be_printed_is_refused(text):
    assert refusal(literals.name, text) == "expected a name of printable characters"


STICKY = {"user": "user", "header:X-User": "header:x-user", "header:x_1": "header:x_1"}


@pytest.mark.parametrize(("text", "word"), STICKY.items())
def test_a_word_that_ties_requests_together_is_a_user_or_a_field_of_any_case(text, word):
    assert literals.sticky(text) == word


@pytest.mark.parametrize(
    "text", ["", "User", "header", "header:", "header:a b", "header:a:b", "user:x", "cookie:x"]
)
def test_nothing_else_ties_requests_together(text):
    wanted = 'expected "user", or "header:NAME" with the name of a field'

    assert refusal(literals.sticky, text) == wanted


def test_a_readable_file_is_opened_at_once(tmp_path):
    path = tmp_path / "ca.pem"
    path.touch()

    assert literals.readable_file(str(path)) == str(path)


def test_a_file_that_cannot_be_opened_is_refused(tmp_path):
    missing = "expected a readable file (No such file or directory)"
    a_folder = "expected a readable file (Is a directory)"

    assert refusal(literals.readable_file, str(tmp_path / "none")) == missing
    assert refusal(literals.readable_file, "") == missing
    assert refusal(literals.readable_file, str(tmp_path)) == a_folder
    assert refusal(literals.readable_file, "/a\0b") == "expected a readable file"
