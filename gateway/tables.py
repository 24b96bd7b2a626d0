"""One table of the operator's file as a struct, or a Fault that says where and what.

    table ── keys known ── ${…} filled ── msgspec ──► struct

What was found is shown as it stands in the file, before `${…}` was filled; of what may be
a secret, only its type.
"""

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from gateway import addresses, literals, units
from gateway.errors import ConfigError
from gateway.references import interpolate, references
from gateway.settings import (
    WILDCARD_LABEL,
    Channel,
    Coalesce,
    Health,
    Model,
    Retain,
    Retry,
    Target,
    Timeouts,
    Upstream,
)


# What an error shows of a text: enough to find it in the file by.
SHOWN_LIMIT = 60

# The tables inside of tables.
_INNER: dict[tuple[object, str], type[msgspec.Struct]] = {
    (Upstream, "timeouts"): Timeouts,
    (Upstream, "health"): Health,
    (Model, "targets"): Target,
    (Model, "retry"): Retry,
    (Model, "coalesce"): Coalesce,
    (Channel, "retain"): Retain,
}

# What a key wants, where the type alone says too little or the key is required.
_EXPECTED = {
    "listen": 'an array of addresses such as ["127.0.0.1:8080"]',
    "workers": "1 (more are not yet supported)",
    "log_format": '"json" or "text"',
    "allow_query_keys": "true or false",
    "store": '"memory:" (others are not yet supported)',
    "origins": 'an array of origins such as ["https://app.example.com"]',
    "base_url": 'a URL such as "https://api.openai.com/v1"',
    "dialect": '"openai", "anthropic", "responses" or "gemini"',
    "keys": 'an array of keys such as ["${OPENAI_API_KEY}"]',
    "timeouts": 'a table such as { connect = "5s", total = "1h" }',
    "max_connections": "an integer from 1 to 65535",
    "health": 'a table such as { path = "/models", interval = "30s" }',
    "targets": 'an array of targets such as [{ upstream = "openai" }]',
    "weight": "an integer from 1 to 1000000",
    "priority": "an integer from 1 to 1000",
    "retry": 'a table such as { attempts = 3, backoff = "500ms" }',
    "attempts": "an integer from 1 to 10",
    "coalesce": 'a table such as { ttl = "5m", pace = "original" }',
    "ttl": 'a duration such as "5m"',
    "pace": '"instant" or "original"',
    "upstream": "the name of an upstream",
    "key": 'a key such as "${credential:web_key}"',
    "subject": 'a name for those who hold the key, such as "web"',
    "models": 'an array of names of models such as ["gpt-4.1"], or ["*"] for all',
    "welcome": "true or false",
    "retain": 'a table such as { entries = 1000, bytes = "1MiB", age = "1h" }',
    "entries": "an integer of at least 1",
}

# What one of an array wants, where no reader of ours says it.
_EACH = {"targets": 'a target such as { upstream = "openai" }'}

_SECRET = {"keys", "key"}
_URLS = {"base_url", "origins", "store"}

_KINDS = {str: "a string", bool: "a boolean", int: "an integer", float: "a number", dict: "a table"}

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]{1,60}")
_PATH = re.compile(r" - at `\$([\w.\[\]]+)`\Z")  # msgspec's, at the end of its messages
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
_MISSING = re.compile(r"Object missing required field `(\w+)`")

_T = TypeVar("_T", bound=msgspec.Struct)


class Fault(Exception):
    """The one thing told about a table: where in it (".timeouts.idle"), and what."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(path, what)
        self.path = path
        self.what = what


def read_table(
    kind: type[_T], table: object, env: Mapping[str, str], name: str | None = None
) -> _T:
    """Return `table` as a `kind`; of [GROUP.NAME], `name` becomes its field of that name.

    Raises:
        Fault: it has an unknown key, a value that does not fit, a reference to nothing.
    """
    if not isinstance(table, dict):
        raise Fault("", f"expected a table, found {kind_of(table)}")
    if name is not None:
        _check_name(name, kind)
    filled = _fill(table, kind, env, "")
    if name is not None:
        filled["name"] = WILDCARD_LABEL if kind is Model and name == "*" else name
    try:
        return msgspec.convert(filled, kind, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise _explain(error, table) from None


def _check_name(name: str, kind: type[msgspec.Struct]) -> None:
    try:
        (literals.segment if kind is Channel else literals.name)(name)
    except ConfigError as error:
        raise Fault("", error.message) from None


def _fill(value: Any, kind: type[msgspec.Struct] | None, env: Mapping[str, str], path: str) -> Any:
    """Return `value` with its `${…}` filled; the keys of its tables must be those of `kind`."""
    if isinstance(value, str):
        try:
            return interpolate(value, env)
        except ConfigError as error:
            raise Fault(path, error.message) from None
    if isinstance(value, list):
        return [_fill(item, kind, env, f"{path}[{n}]") for n, item in enumerate(value)]
    if isinstance(value, dict) and kind is not None:
        for key in value:
            _check_key(key, value[key], kind, path)
        return {
            key: _fill(value[key], _INNER.get((kind, key)), env, f"{path}.{key}") for key in value
        }
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        # TOML's own range; Python refuses to print some that are longer, also in errors.
        raise Fault(path, "expected an integer of at most 64 bits")
    return value  # also a table where none belongs: msgspec says so


def _check_key(key: str, value: object, kind: type[msgspec.Struct], path: str) -> None:
    known = [field for field in kind.__struct_fields__ if field != "name"]
    if key in known:
        return
    path = f"{path}.{_key(key)}"
    if kind is Model and isinstance(value, dict):
        raise Fault(path, "unknown key; a model name with a dot stands in quotes")
    raise Fault(path, f"unknown key; {nearest(key, known)}")


def _decode(kind: type, value: object) -> Any:
    # Every reader says of the empty text what it expects.
    text = value if isinstance(value, str) else ""
    try:
        return _READERS[kind](text)
    except ConfigError as error:
        raise ValueError(error.message) from None


_READERS = {**units.READERS, **addresses.READERS, **literals.READERS}


def _explain(error: msgspec.ValidationError, table: dict[str, Any]) -> Fault:
    """Return what msgspec found wrong with `table`, in the words of the operator."""
    what = str(error)
    path = ""
    if match := _PATH.search(what):
        what, path = what[: match.start()], match[1]
    if match := _MISSING.match(what):
        return Fault(f"{path}.{match[1]}", f"missing; expected {_EXPECTED[match[1]]}")
    steps = _STEP.findall(path)
    raw: Any = table
    for key, index in steps:
        raw = raw[key] if key else raw[int(index)]
    fields = [key for key, _ in steps if key]
    if not what.startswith("expected"):  # not from a reader of ours
        expected = _EXPECTED if steps[-1][0] else _EACH
        what = f"expected {expected[fields[-1]]}"
    return Fault(path, f"{what}, found {_found(fields[0], raw)}")


def _found(field: str, raw: object) -> str:
    """Return what may be shown of a value that stands under `field` in the file."""
    if isinstance(raw, str) and field in _SECRET:
        return ", ".join(references(raw)) or ("a string" if raw else "an empty string")
    if field in _SECRET:
        return kind_of(raw)
    if isinstance(raw, str):
        # A user, a password or a key in a query may have been pasted with a URL.
        return kind_of(raw) if field in _URLS and set("@?") & set(raw) else quoted(raw)
    if isinstance(raw, bool | int | float) and abs(raw) < 1e15:
        return json.dumps(raw)
    return kind_of(raw)


def kind_of(raw: object) -> str:
    """Return what sort of value `raw` is: all that is shown of one that may be a secret."""
    if isinstance(raw, list):
        return f"an array of {len(raw)}"
    return _KINDS.get(type(raw), "a date or a time")


def title(names: Iterable[str]) -> str:
    """Return a table's title as it stands in the file."""
    return f"[{'.'.join(map(_key, names))}]"


def _key(text: str) -> str:
    return text if _BARE_KEY.fullmatch(text) else quoted(text)


def quoted(text: str) -> str:
    """Return `text` in quotes, cut at SHOWN_LIMIT, safe for a terminal."""
    # Of JSON, not of TOML: escapes all that could fool a terminal.
    return json.dumps(text if len(text) <= SHOWN_LIMIT else f"{text[:SHOWN_LIMIT]}...")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return what `word` was likely meant to be, of all that is `known`, as a question."""
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), names, n=1)
    if close:
        return f"did you mean {quoted(names[close[0]])}?"
    return f"known are {', '.join(map(quoted, names.values()))}"
