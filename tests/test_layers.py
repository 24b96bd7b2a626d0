"""The table of layers in ARCHITECTURE.md is true: it is read, and held against the imports."""

import ast
import re
from graphlib import TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path
from typing import NamedTuple

import pytest


ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "gateway"

# What layers 0 and 1 may not know, under whatever name: `libc.time` is a clock too.
IMPURE = {
    *("asyncio", "uvloop", "socket", "ssl", "select", "selectors", "threading", "subprocess"),
    *("time", "datetime"),
}


class Row(NamedTuple):
    layer: int
    siblings: frozenset[str]  # modules of the same layer that it may import


# The table.

ENTRY = re.compile(r"(?P<name>\w+)(?P<kind>\.pyx?|/)(?: \((?:for )?(?P<named>[^)]*)\))?(?:\s+|$)")
LINE = re.compile(r"(?P<layer>[0-9-] \w+)? +(?P<entries>\S.*)")


def entries(text):
    """Yield (name, names in parentheses) of each entry of a line."""
    at = 0
    while at < len(text):
        entry = ENTRY.match(text, at)
        assert entry, f"not an entry of the table: {text[at:]!r}"
        yield entry["name"], frozenset(re.findall(r"\w+", entry["named"] or ""))
        at = entry.end()


def table(document):
    """Return the rows by module, and the visitors by island."""
    block = document.split("\n## Layers\n")[1].split("```")[1]
    rows, islands, layer = {}, {}, None
    for line in map(LINE.fullmatch, block.strip().splitlines()):
        layer = line["layer"] or layer
        for name, named in entries(line["entries"]):
            assert name not in rows, f"{name} stands in two places"
            if layer.startswith("-"):
                islands[name] = named
            else:
                rows[name] = Row(int(layer[0]), named)
    return rows, islands


ROWS, ISLANDS = table((ROOT / "ARCHITECTURE.md").read_text())


# The imports.


def python_imports(source, package="gateway"):
    """Yield the full name of all that a Python file imports, wherever it does so."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            dots = "." * node.level
            base = resolve_name(dots + (node.module or ""), package).rstrip(".")
            yield from (f"{base}.{alias.name}" for alias in node.names)


CYTHON_IMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+c?import\b|c?import\s+([\w., ]+))", re.M)


def cython_imports(source):
    """Yield the names of the modules that a Cython file imports or cimports."""
    for module, modules in CYTHON_IMPORT.findall(source):
        yield from re.split(r"\s*,\s*", module or modules.strip())


def imports(path):
    if path.suffix == ".pyx":
        return list(cython_imports(path.read_text()))
    return list(python_imports(path.read_text(), ".".join(path.relative_to(ROOT).parts[:-1])))


FILES = sorted(path for path in PACKAGE.rglob("*.py*") if path.suffix in {".py", ".pyi", ".pyx"})


def unit(path):
    """Return the entry of the table that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].partition(".")[0]


def units_imported(path):
    """Return the entries of the table that a file imports, its own left out."""
    inside = (name.split(".") for name in imports(path) if name.split(".")[0] == "gateway")
    found = {parts[1] if len(parts) > 1 else "__init__" for parts in inside}
    # `from gateway import __version__` names no module: that is the package itself.
    return {name for name in found if name in ROWS or name in ISLANDS} - {unit(path)}


def module(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


# What must hold.

each_file = pytest.mark.parametrize(
    "path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES]
)


def test_every_module_stands_in_the_table_and_no_other():
    assert {unit(path) for path in FILES} - {"__init__"} == {*ROWS, *ISLANDS}


@each_file
def test_imports_run_down_the_layers(path):
    name = unit(path)
    if name == "__init__":
        allowed = set()
    elif name in ISLANDS:
        allowed = {name}
    else:
        lower = {other for other, row in ROWS.items() if row.layer < ROWS[name].layer}
        allowed = lower | ROWS[name].siblings | {i for i, who in ISLANDS.items() if name in who}
    assert units_imported(path) <= allowed


@each_file
def test_words_and_thought_know_no_loop_no_socket_and_no_clock(path):
    if unit(path) in ROWS and ROWS[unit(path)].layer <= 1:
        assert not IMPURE & {part for name in imports(path) for part in name.split(".")}


EXTERN = re.compile(r"^cdef extern from \"<?([\w./]+)", re.M)


def test_of_the_compiled_module_only_the_writer_knows_a_socket():
    found = {path.name: EXTERN.findall(path.read_text()) for path in PACKAGE.glob("*.p[xy][ix]")}
    assert {name: headers for name, headers in found.items() if headers} == {
        "_lines.pxi": ["Python.h", "time.h"],  # of that only a calendar
        "_writer.pxi": ["sys/socket.h"],
    }


def test_no_module_imports_itself_by_way_of_others():
    modules = {module(path) for path in FILES}
    graph = {}
    for path in FILES:
        # A name is a module, or is in one.
        wanted = {n if n in modules else n.rpartition(".")[0] for n in imports(path)}
        graph.setdefault(module(path), set()).update(wanted & modules)
    TopologicalSorter(graph).prepare()  # raises CycleError, which shows the cycle


def test_what_the_table_allows_is_needed():
    used = {name: set() for name in ROWS}
    for path in FILES:
        used.setdefault(unit(path), set()).update(units_imported(path))
    for name, row in ROWS.items():
        assert row.siblings <= used[name], f"{name} does not import all that stands behind it"
        assert {ROWS[s].layer for s in row.siblings} <= {row.layer}, f"{name}: not siblings"
    for island, visitors in ISLANDS.items():
        assert all(island in used[visitor] for visitor in visitors)


# The readers above see what they must; a blind one would let everything pass.

SEEN = {
    "import asyncio": ["asyncio"],
    "import os, time as t": ["os", "time"],
    "from gateway.hub import Hub, Live": ["gateway.hub.Hub", "gateway.hub.Live"],
    "from gateway import hub": ["gateway.hub"],
    "from .hub import Hub": ["gateway.hub.Hub"],
    "from . import hub": ["gateway.hub"],
    "def f():\n    import gateway.relay": ["gateway.relay"],
    "if TYPE_CHECKING:\n    from gateway.relay import Desk": ["gateway.relay.Desk"],
}


@pytest.mark.parametrize(("source", "seen"), SEEN.items(), ids=SEEN.keys())
def test_python_imports_are_seen_wherever_they_stand(source, seen):
    assert list(python_imports(source)) == seen


def test_cython_imports_are_seen():
    source = "from libc.time cimport time\ncimport a.b, c\n  import d\nfrom e import (\n    f,\n)\n"
    assert list(cython_imports(source)) == ["libc.time", "a.b", "c", "d", "e"]


def test_the_table_is_read():
    rows, islands = table(
        "\n## Layers\n```\n"
        "1 work   b.py (c)  c.pyx\n         d/\n0 words  a.py\n- island x/ (for b)\n```"
    )
    assert rows == {
        "b": Row(1, frozenset({"c"})),
        "c": Row(1, frozenset()),
        "d": Row(1, frozenset()),
        "a": Row(0, frozenset()),
    }
    assert islands == {"x": frozenset({"b"})}
