"""The operator's TOML file as frozen structs, or one line for each table that is wrong.

    text ── tomllib ── keys known, ${…} filled ── msgspec ── names agree ──► Config

A line says where (file, table, key), what was expected, what was found, and the
nearest name that would have done.  What was found is shown as it stands in the
file, before `${…}` was filled; of what may be a secret, only its type.  Parts of
the format that later versions bring are refused, never ignored.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gateway.addresses import Address, Systemd, Tcp, is_loopback
from gateway.errors import ConfigError
from gateway.settings import (
    LEAST_STORE,
    OPEN_TO_OTHERS,
    Channel,
    Config,
    Cors,
    Key,
    Logs,
    Model,
    Server,
    Upstream,
)
from gateway.tables import Fault, kind_of, nearest, quoted, read_table, title


# Some hundred upstreams and models are 100 KB; this stops a path like /dev/zero.
CONFIG_LIMIT = 1024 * 1024

# Among the models of a key: it may use whatever there is.
ALL_MODELS = "*"

# Calls that are pasted with a base URL; ours would be put behind them.
CALLS = ("/chat/completions", "/responses", "/messages", "/models")


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
_TABLES = ("server", "logs", "cors", "upstreams", "models", "keys", "channels")
_LATER_TABLES = {"records"}

_T = TypeVar("_T", bound=msgspec.Struct)


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
        keys = self._keys()
        found = Config(
            server=self._single(Server, "server"),
            logs=self._single(Logs, "logs"),
            cors=self._single(Cors, "cors"),
            upstreams=self._tables(Upstream, "upstreams"),
            models=self._tables(Model, "models"),
            keys=tuple(map(_without_wildcard, keys.values())),
            channels=self._tables(Channel, "channels"),
            warnings=(),
        )
        self._only_what_agrees(found, keys)
        if self.faults:
            raise ConfigError("\n".join(self.faults))
        return msgspec.structs.replace(found, warnings=self._warnings(found))

    def _only_what_agrees(self, found: Config, keys: dict[int, Key]) -> None:
        """Hold tables against each other; those with a fault of their own are left out."""
        self._only_known_upstreams(found.models)
        self._only_hedges_with_a_choice(found.models)
        self._only_known_models(keys)
        self._only_different_keys(keys)
        self._only_different_addresses(found.server)
        self._only_to_this_machine_without_keys(found.server)
        self._only_a_store_of_use(found.logs)
        self._only_answers_that_are_kept(found)

    def _only_known_tables(self) -> None:
        for key in self.document:
            if key in _LATER_TABLES:
                self._fault(title([key]), "not yet supported")
            elif key not in _TABLES:
                self._fault(title([key]), f"unknown table; {nearest(key, _TABLES)}")

    def _single(self, kind: type[_T], name: str) -> _T:
        """Return the table [NAME], or what holds without it also if it has a fault."""
        return self._table(kind, self.document.get(name, {}), f"[{name}]") or kind()

    def _tables(self, kind: type[_T], group: str) -> dict[str, _T]:
        """Return the tables [GROUP.NAME] by NAME, without those that have a fault."""
        tables = self.document.get(group, {})
        if not isinstance(tables, dict):
            self._fault(f"[{group}]", f"expected tables [{group}.NAME], found {kind_of(tables)}")
        elif not tables and group in _NONE:
            self._fault(f"[{group}]", _NONE[group])
        else:
            structs = {
                name: self._table(kind, table, title((group, name)), name)
                for name, table in tables.items()
            }
            return {name: struct for name, struct in structs.items() if struct is not None}
        return {}

    def _keys(self) -> dict[int, Key]:
        """Return the tables [[keys]] by their numbers, without those that have a fault."""
        tables = self.document.get("keys", [])
        if not isinstance(tables, list):
            self._fault("[[keys]]", f"expected tables [[keys]], found {kind_of(tables)}")
            return {}
        keys = {n: self._table(Key, table, f"[[keys]][{n}]") for n, table in enumerate(tables)}
        return {n: key for n, key in keys.items() if key is not None}

    def _table(
        self, kind: type[_T], table: object, where: str, name: str | None = None
    ) -> _T | None:
        """Return the table as a struct; None if it has a fault, which is then gathered."""
        try:
            return read_table(kind, table, self.env, name)
        except Fault as fault:
            self._fault(f"{where} {fault.path.lstrip('.')}".rstrip(), fault.what)
            return None

    def _only_known_upstreams(self, models: dict[str, Model]) -> None:
        known = self.document.get("upstreams")
        if not isinstance(known, dict) or not known:
            return  # told already
        for name, model in models.items():
            for number, target in enumerate(model.targets):
                if target.upstream not in known:
                    where = f"{title(('models', name))} targets[{number}].upstream"
                    raw = self.document["models"][name]["targets"][number]["upstream"]
                    what = f"unknown upstream {quoted(raw)}; {nearest(target.upstream, known)}"
                    self._fault(where, what)

    def _only_hedges_with_a_choice(self, models: dict[str, Model]) -> None:
        for name, model in models.items():
            if model.hedge is not None and len(model.targets) == 1:
                what = "needs two targets: the second request goes to another than the first"
                self._fault(f"{title(('models', name))} hedge", what)

    def _only_known_models(self, keys: dict[int, Key]) -> None:
        known = self.document.get("models")
        if not isinstance(known, dict) or not known:
            return  # told already
        for number, key in keys.items():
            for place, model in enumerate(key.models or ()):
                if model != ALL_MODELS and model not in known:
                    raw = self.document["keys"][number]["models"][place]
                    what = f"unknown model {quoted(raw)}; {nearest(model, known)}"
                    self._fault(f"[[keys]][{number}] models[{place}]", what)

    def _only_different_keys(self, keys: dict[int, Key]) -> None:
        first: dict[str, int] = {}
        for number, key in keys.items():
            earlier = first.setdefault(key.key.reveal(), number)
            if earlier != number:
                what = f"the key of [[keys]][{earlier}] once more; a key is of one subject"
                self._fault(f"[[keys]][{number}] key", what)

    def _only_different_addresses(self, server: Server) -> None:
        first: dict[Address, str] = {}
        listen = {f"listen[{number}]": address for number, address in enumerate(server.listen)}
        for where, address in {**listen, "admin": server.admin}.items():
            if isinstance(address, Systemd) or (isinstance(address, Tcp) and not address.port):
                continue  # what these are is seen at the start
            earlier = first.setdefault(address, where)
            if earlier != where:
                self._fault(f"[server] {where}", f'"{address}" is the address of {earlier}')

    def _only_to_this_machine_without_keys(self, server: Server) -> None:
        if self.document.get("keys"):
            return  # also if they have faults
        for number, address in enumerate(server.listen):
            # Of systemd's sockets nothing is known before the start, which looks at them.
            if isinstance(address, Tcp) and not is_loopback(address.host):
                self._fault(f"[server] listen[{number}]", OPEN_TO_OTHERS)

    def _only_a_store_of_use(self, logs: Logs) -> None:
        if logs.max_bytes < LEAST_STORE:
            raw = self.document["logs"]["max_bytes"]
            what = f'expected at least "{LEAST_STORE >> 20}MiB", found {quoted(raw)}'
            self._fault("[logs] max_bytes", what)

    def _only_answers_that_are_kept(self, found: Config) -> None:
        for name, model in found.models.items():
            if model.coalesce is not None and model.coalesce.ttl > found.logs.retain:
                raw = self.document["models"][name]["coalesce"]["ttl"]
                most = f"[logs] retain ({found.logs.retain:g} s), for which an answer is kept"
                what = f"expected at most {most}, found {quoted(raw)}"
                self._fault(f"{title(('models', name))} coalesce.ttl", what)

    def _fault(self, where: str, what: str) -> None:
        self.faults.append(f"{self.name}: {where}: {what}")

    def _warnings(self, config: Config) -> tuple[str, ...]:
        lines = []
        admin = config.server.admin
        if isinstance(admin, Tcp) and not is_loopback(admin.host):
            lines.append("[server] admin: other machines can reach it, and it asks for no key")
        for name, upstream in config.upstreams.items():
            where = f"{title(('upstreams', name))} base_url"
            lines += (f"{where}: {what}" for what in _doubts(upstream))
        if (
            sum(channel.retain.bytes for channel in config.channels.values())
            > config.logs.max_bytes
        ):
            lines.append("[logs] max_bytes: less than the channels together may retain")
        return tuple(f"{self.name}: {line}" for line in lines)


def _doubts(upstream: Upstream) -> Iterator[str]:
    url = upstream.base_url
    if upstream.keys and url.scheme == "http" and not is_loopback(url.host):
        yield f"http:// sends the key in clear text to {url.host}"
    if call := next((call for call in CALLS if url.path.endswith(call)), None):
        yield f'calls are put behind it: leave "{call}" out'


def _without_wildcard(key: Key) -> Key:
    return msgspec.structs.replace(key, models=None) if ALL_MODELS in (key.models or ()) else key
