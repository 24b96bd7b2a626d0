"""Series: the tables agree with one another and with the code that counts."""

import ast
import re
from pathlib import Path

import gateway
from gateway.series import COUNTED, MEASURED, WATCHED, upstream_kinds
from gateway.upstream_errors import UpstreamAnswer


TABLES = (COUNTED, MEASURED, WATCHED)
SPECS = [spec for table in TABLES for spec in table.values()]


def test_no_name_stands_twice():
    names = [name for table in TABLES for name in table]

    assert len(names) == len(set(names))


def test_names_say_what_they_are():
    """By Prometheus' rules for names: base units, and `_total` only where it never falls."""
    for name in MEASURED:
        assert name.endswith("_seconds")
    for name in (*COUNTED, *WATCHED):
        assert re.fullmatch("[a-z]+(_[a-z]+)*", name)
        assert name.endswith("_total") or name in WATCHED


def test_every_help_is_a_sentence():
    for spec in SPECS:
        assert spec.help[0].isupper()
        assert re.search(r"[.)]$", spec.help)


def test_buckets_rise():
    for spec in MEASURED.values():
        assert list(spec.bounds) == sorted(set(spec.bounds))
        assert spec.bounds


def test_every_kind_the_code_raises_is_a_label():
    """A kind that is missing here would be counted as `other`, and nobody would notice."""
    raised = set()
    for path in Path(gateway.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "kind":
                raised |= {leaf.value for leaf in ast.walk(node) if _is_word(leaf)}

    assert {"dns", "encoding"} <= raised  # or this test looks for the wrong thing
    assert raised - {"_timeout"} <= upstream_kinds()


def _is_word(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_every_status_of_a_provider_has_a_kind():
    for status in range(400, 600):
        assert UpstreamAnswer(status, b"", b"").kind in upstream_kinds()
