"""The operator's TOML file as frozen structs, or one line for each table that is wrong.

    text ── tomllib ── keys known, ${…} filled ── msgspec ── names agree ──► Config

A line says where (file, table, key), what was expected, what was found, and the
nearest name that would have done.  What was found is shown as it stands in the
file, before `${…}` was filled; of what may be a secret, only its type.  Parts of
the format that later versions bring are refused, never ignored.
"""

import difflib
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from gateway import units
from gateway.errors import ConfigError
from gateway.units import Address, Name, ReadableFile, Seconds, Secret, Tcp, Timeout, Url


# Some hundred upstreams and models are 100 KB; this stops a path like /dev/zero.
CONFIG_LIMIT = 1024 * 1024

# The metric label of every model that only [models."*"] knows: names come from outside there.
WILDCARD_LABEL = "other"

# What an error shows of a text: enough to find it in the file by.
SHOWN_LIMIT = 60


class Server(msgspec.Struct, frozen=True):
    """The table [server]."""

    # Loopback: a server that asks for no key is opened to others only in so many words.
    listen: Annotated[tuple[Address, ...], Meta(min_length=1)] = (Tcp("127.0.0.1", 8080),)
    # It shows metrics and live streams to whoever asks.
    admin: Address = Tcp("127.0.0.1", 9090)
    # One event loop, so one core, carries thousands of streams.
    workers: Literal[1] = 1
    # Nearly every answer is complete within ten minutes; a restart must end some day.
    drain: Seconds = Seconds(600)
    # Log collectors take JSON; people at a terminal ask for text.
    log_format: Literal["json", "text"] = "json"


class Timeouts(msgspec.Struct, frozen=True):
    """The waits of one exchange with an upstream, in seconds."""

    # TCP and TLS handshakes round the world take below 1 s; 5 s outlive two lost SYNs (1 s + 2 s).
    connect: Timeout = Timeout(5)
    # Reasoning models may think for more than a minute before their first event.
    first_event: Timeout = Timeout(120)
    # Between events, for the same reason: thinking may also come amid an answer.
    idle: Timeout = Timeout(120)
    # No answer takes an hour; a stream that does runs in circles and costs money.
    total: Timeout = Timeout(3600)


class Upstream(msgspec.Struct, frozen=True):
    """A table [upstreams.NAME]: one endpoint of a provider."""

    name: str
    base_url: Url
    # What most providers and all model servers speak.
    dialect: Literal["openai"] = "openai"
    # None: a model server on one's own network often wants no key.
    keys: Annotated[tuple[Secret, ...], Meta(max_length=1)] = ()
    timeouts: Timeouts = Timeouts()
    # A stream holds its connection: 1000 at once are many for one provider, and few against
    # the worker's file descriptors.  No address has more ports than 65535.
    max_connections: Annotated[int, Meta(ge=1, le=65535)] = 1000
    # None: the system's trust store.
    ca_file: ReadableFile | None = None


class Target(msgspec.Struct, frozen=True):
    """An upstream, and the name a model has there."""

    upstream: Name
    # None: the name that the client asked for.
    model: Name | None = None


class Model(msgspec.Struct, frozen=True):
    """A table [models.NAME]; `name` is fit for a metric label: "other" for [models."*"]."""

    name: str
    targets: Annotated[tuple[Target, ...], Meta(min_length=1, max_length=1)]
    # Tokens that nobody will read cost money.
    on_disconnect: Literal["cancel"] = "cancel"


class Config(msgspec.Struct, frozen=True):
    """The whole file; `upstreams` and `models` stand under the names of their tables."""

    server: Server
    upstreams: dict[str, Upstream]
    models: dict[str, Model]
    warnings: tuple[str, ...]  # allowed, and still likely a mistake: a line each

    def model(self, name: str) -> Model | None:
        """Return the model that a client means by `name`: its own, else "*", else None."""
        return self.models.get(name) or self.models.get("*")


def load(path: str | Path, env: Mapping[str, str] = os.environ) -> Config:
    """Read the configuration in the file at `path`.

    Raises:
        ConfigError: it cannot be read, or used; the message has a line for each table.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(CONFIG_LIMIT + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    if len(data) > CONFIG_LIMIT:
        raise ConfigError(f"{path}: larger than {CONFIG_LIMIT} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}") from None
    return parse(text, name=str(path), env=env)


def parse(text: str, *, name: str, env: Mapping[str, str]) -> Config:
    """Read a configuration from `text`; errors and warnings call it `name`.

    Raises:
        ConfigError: it cannot be used; the message has a line for each table.
    """
    try:
        return _Reading(name, env, _document(text, name)).config()
    except RecursionError:
        raise ConfigError(f"{name}: nested too deeply") from None


def _document(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError is one; so is an integer of 5000 digits
        raise ConfigError(f"{name}: not TOML: {error}") from None


_NONE = {
    "upstreams": 'no upstream; write [upstreams.NAME] with base_url = "https://…/v1"',
    "models": 'no model; write [models."*"] with targets = [{ upstream = "NAME" }]',
}
_LATER_TABLES = {"logs", "records", "cors", "keys", "channels"}
_LATER_KEYS = {"weight", "priority"}

# The tables inside of tables, by their keys.
_INNER: dict[str, type[msgspec.Struct]] = {"timeouts": Timeouts, "targets": Target}

# What a key wants, where the type alone says too little or the key is required.
_EXPECTED = {
    "listen": 'an array of addresses such as ["127.0.0.1:8080"]',
    "workers": "1 (more are not yet supported)",
    "log_format": '"json" or "text"',
    "base_url": 'a URL such as "https://api.openai.com/v1"',
    "dialect": '"openai" (others are not yet supported)',
    "keys": 'an array of one key such as ["${OPENAI_API_KEY}"] (more are not yet supported)',
    "timeouts": 'a table such as { connect = "5s", total = "1h" }',
    "max_connections": "an integer from 1 to 65535",
    "targets": 'an array of one target such as [{ upstream = "openai" }] '
    "(more are not yet supported)",
    "upstream": "the name of an upstream",
    "on_disconnect": '"cancel" ("detach" is not yet supported)',
}

_KINDS = {str: "a string", bool: "a boolean", int: "an integer", float: "a number", dict: "a table"}

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]{1,60}")
_PATH = re.compile(r" - at `\$([\w.\[\]]+)`\Z")  # msgspec's, at the end of its messages
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
_MISSING = re.compile(r"Object missing required field `(\w+)`")

_T = TypeVar("_T", bound=msgspec.Struct)


class _Fault(Exception):
    """The one thing told about a table: where in it (".timeouts.idle"), and what."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(path, what)
        self.path = path
        self.what = what


class _Reading:
    """One reading of one document; gathers a fault for each table that has any."""

    __slots__ = ("document", "env", "faults", "name")

    def __init__(self, name: str, env: Mapping[str, str], document: dict[str, Any]) -> None:
        self.name = name  # of the file, as the operator calls it
        self.env = env  # where ${NAME} is looked up
        self.document = document
        self.faults: list[str] = []  # one line each

    def config(self) -> Config:
        """Return the document as structs, or raise all its faults in one ConfigError."""
        self._only_known_tables()
        server = self._table(Server, self.document.get("server", {}), "server")
        upstreams = self._tables(Upstream, "upstreams")
        models = self._tables(Model, "models")
        self._only_known_upstreams(models)
        if self.faults or server is None:
            raise ConfigError("\n".join(self.faults))
        return Config(server, upstreams, models, self._warnings(server, upstreams))

    def _only_known_tables(self) -> None:
        known = ("server", "upstreams", "models")
        for key in self.document:
            if key in _LATER_TABLES:
                self._fault(_title([key]), "not yet supported")
            elif key not in known:
                self._fault(_title([key]), f"unknown table; {_nearest(key, known)}")

    def _tables(self, kind: type[_T], group: str) -> dict[str, _T]:
        """Return the tables [GROUP.NAME] by NAME, without those that have a fault."""
        tables = self.document.get(group, {})
        if not isinstance(tables, dict):
            self._fault(f"[{group}]", f"expected tables [{group}.NAME], found {_kind(tables)}")
        elif not tables:
            self._fault(f"[{group}]", _NONE[group])
        else:
            structs = {name: self._table(kind, tables[name], group, name) for name in tables}
            return {name: struct for name, struct in structs.items() if struct is not None}
        return {}

    def _table(self, kind: type[_T], table: object, *title: str) -> _T | None:
        """Return the table as a struct; None if it has a fault, which is then gathered."""
        try:
            return _struct(kind, table, title, self.env)
        except _Fault as fault:
            where = f"{_title(title)} {fault.path.lstrip('.')}".rstrip()
            self._fault(where, fault.what)
            return None

    def _only_known_upstreams(self, models: dict[str, Model]) -> None:
        known = self.document.get("upstreams")
        if not isinstance(known, dict) or not known:
            return  # told already
        for name, model in models.items():
            for number, target in enumerate(model.targets):
                if target.upstream not in known:
                    where = f"{_title(('models', name))} targets[{number}].upstream"
                    raw = self.document["models"][name]["targets"][number]["upstream"]
                    what = f"unknown upstream {_quoted(raw)}; {_nearest(target.upstream, known)}"
                    self._fault(where, what)

    def _fault(self, where: str, what: str) -> None:
        self.faults.append(f"{self.name}: {where}: {what}")

    def _warnings(self, server: Server, upstreams: dict[str, Upstream]) -> tuple[str, ...]:
        lines = []
        if isinstance(server.admin, Tcp) and not units.is_loopback(server.admin.host):
            lines.append("[server] admin: other machines can reach it, and it asks for no key")
        for name, upstream in upstreams.items():
            url = upstream.base_url
            if upstream.keys and url.scheme == "http" and not units.is_loopback(url.host):
                where = f"{_title(('upstreams', name))} base_url"
                lines.append(f"{where}: http:// sends the key in clear text to {url.host}")
        return tuple(f"{self.name}: {line}" for line in lines)


def _struct(kind: type[_T], table: object, title: tuple[str, ...], env: Mapping[str, str]) -> _T:
    """Return `table` as a `kind`; of [GROUP.NAME], NAME becomes its `name`.  Raises _Fault."""
    if not isinstance(table, dict):
        raise _Fault("", f"expected a table, found {_kind(table)}")
    if not title[-1] or not title[-1].isprintable():
        raise _Fault("", "expected a name of printable characters")
    filled = _fill(table, kind, env, "")
    if len(title) > 1:
        filled["name"] = WILDCARD_LABEL if title == ("models", "*") else title[1]
    try:
        return msgspec.convert(filled, kind, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise _explain(error, table) from None


def _fill(value: Any, kind: type[msgspec.Struct] | None, env: Mapping[str, str], path: str) -> Any:
    """Return `value` with its `${…}` filled; the keys of its tables must be those of `kind`."""
    if isinstance(value, str):
        try:
            return units.interpolate(value, env)
        except ConfigError as error:
            raise _Fault(path, error.message) from None
    if isinstance(value, list):
        return [_fill(item, kind, env, f"{path}[{n}]") for n, item in enumerate(value)]
    if isinstance(value, dict) and kind is not None:
        for key in value:
            _check_key(key, value[key], kind, path)
        return {key: _fill(value[key], _INNER.get(key), env, f"{path}.{key}") for key in value}
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        # TOML's own range; Python refuses to print some that are longer, also in errors.
        raise _Fault(path, "expected an integer of at most 64 bits")
    return value  # also a table where none belongs: msgspec says so


def _check_key(key: str, value: object, kind: type[msgspec.Struct], path: str) -> None:
    known = [field for field in kind.__struct_fields__ if field != "name"]
    if key in known:
        return
    path = f"{path}.{_key(key)}"
    if kind is Target and key in _LATER_KEYS:
        raise _Fault(path, "not yet supported")
    if kind is Model and isinstance(value, dict):
        raise _Fault(path, "unknown key; a model name with a dot stands in quotes")
    raise _Fault(path, f"unknown key; {_nearest(key, known)}")


def _decode(kind: type, value: object) -> Any:
    # Every reader says of the empty text what it expects.
    text = value if isinstance(value, str) else ""
    try:
        return _READERS[kind](text)
    except ConfigError as error:
        raise ValueError(error.message) from None


_READERS: dict[type, Callable[[str], object]] = {
    Address: units.address,
    Name: units.name,
    ReadableFile: units.readable_file,
    Seconds: units.duration,
    Secret: units.secret,
    Timeout: units.timeout,
    Url: units.url,
}


def _explain(error: msgspec.ValidationError, table: dict[str, Any]) -> _Fault:
    """Return what msgspec found wrong with `table`, in the words of the operator."""
    what = str(error)
    path = ""
    if match := _PATH.search(what):
        what, path = what[: match.start()], match[1]
    if match := _MISSING.match(what):
        return _Fault(f"{path}.{match[1]}", f"missing; expected {_EXPECTED[match[1]]}")
    steps = _STEP.findall(path)
    raw: Any = table
    for key, index in steps:
        raw = raw[key] if key else raw[int(index)]
    fields = [key for key, _ in steps if key]
    if not what.startswith("expected"):  # not from a reader of ours
        what = f"expected {_EXPECTED[fields[-1]]}"
    return _Fault(path, f"{what}, found {_found(fields[0], raw)}")


def _found(field: str, raw: object) -> str:
    """Return what may be shown of a value that stands under `field` in the file."""
    if isinstance(raw, str) and field == "keys":
        return ", ".join(units.references(raw)) or ("a string" if raw else "an empty string")
    # A user, a password or a key in a query may have been pasted with the URL.
    if field == "keys" or (field == "base_url" and isinstance(raw, str) and set("@?") & set(raw)):
        return _kind(raw)
    if isinstance(raw, str):
        return _quoted(raw)
    if isinstance(raw, bool | int | float) and abs(raw) < 1e15:
        return json.dumps(raw)
    return _kind(raw)


def _kind(raw: object) -> str:
    if isinstance(raw, list):
        return f"an array of {len(raw)}"
    return _KINDS.get(type(raw), "a date or a time")


def _title(names: Iterable[str]) -> str:
    return f"[{'.'.join(map(_key, names))}]"


def _key(text: str) -> str:
    return text if _BARE_KEY.fullmatch(text) else _quoted(text)


def _quoted(text: str) -> str:
    # Of JSON, not of TOML: escapes all that could fool a terminal.
    return json.dumps(text if len(text) <= SHOWN_LIMIT else f"{text[:SHOWN_LIMIT]}...")


def _nearest(word: str, known: Iterable[str]) -> str:
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), names, n=1)
    if close:
        return f"did you mean {_quoted(names[close[0]])}?"
    return f"known are {', '.join(map(_quoted, names.values()))}"
