"""One table: whatever is wrong with it, no secret is told."""

import pytest

from tests.headgate_toml import MODEL, UPSTREAM, fault


SECRET = "sk-4f3c2a"
LEAKS = [
    f'keys = "{SECRET}"',
    f'keys = ["{SECRET} "]',
    f'keys = [["{SECRET}"]]',
    f'keys = ["{SECRET}", "{SECRET} "]',
    f'keys = ["${{{SECRET}}}"]',
    f'keys = ["${{{SECRET}"]',
    f'keys = ["${{NONE:-{SECRET} }}"]',
    f'keys = ["${{file:/nowhere:-{SECRET}}}"]',
    f'keys = [{{ key = "{SECRET}" }}]',
    'keys = ["${SPACED}"]',
    'ca_file = "${SPACED}"',
    'dialect = "${SPACED}"',
    'timeouts.idle = "${SPACED}"',
]


@pytest.mark.parametrize("line", LEAKS)
def test_an_error_shows_no_secret(line):
    message = fault(f"{UPSTREAM}{line}\n{MODEL}", {"SPACED": f"{SECRET} "})

    assert SECRET not in message


CALLER_LEAKS = [
    f'key = "{SECRET}"',
    f'key = "{SECRET} {SECRET} {SECRET}"',
    f'key = ["{SECRET}"]',
    f'key = {{ value = "{SECRET}" }}',
    f'key = "${{{SECRET}}}"',
    f'key = "${{NONE:-{SECRET}}}"',
    'key = "${SPACED}"',
    f'keys = ["{SECRET}"]',
]


@pytest.mark.parametrize("line", CALLER_LEAKS)
def test_an_error_shows_no_key_of_a_caller(line):
    lines = f'[[keys]]\nsubject = "web"\n{line}'

    assert SECRET not in fault(f"{UPSTREAM}{MODEL}{lines}", {"SPACED": f"{SECRET} "})
