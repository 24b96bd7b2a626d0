"""The operator's TOML file as frozen structs, or one line for each table that is wrong.

    text ── tomllib ── keys known, ${…} filled ── msgspec ── names agree ──► Config

A line says where (file, table, key), what was expected, what was found, and the
nearest name that would have done.  What was found is shown as it stands in the
file, before `${…}` was filled; of what may be a secret, only its type.  Parts of
the format that later versions bring are refused, never ignored.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gateway import units
from gateway.errors import ConfigError
from gateway.settings import Config, Model, Server, Upstream
from gateway.tables import Fault, kind_of, nearest, quoted, read_table, title
from gateway.units import Tcp


# Some hundred upstreams and models are 100 KB; this stops a path like /dev/zero.
CONFIG_LIMIT = 1024 * 1024


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
                self._fault(title([key]), "not yet supported")
            elif key not in known:
                self._fault(title([key]), f"unknown table; {nearest(key, known)}")

    def _tables(self, kind: type[_T], group: str) -> dict[str, _T]:
        """Return the tables [GROUP.NAME] by NAME, without those that have a fault."""
        tables = self.document.get(group, {})
        if not isinstance(tables, dict):
            self._fault(f"[{group}]", f"expected tables [{group}.NAME], found {kind_of(tables)}")
        elif not tables:
            self._fault(f"[{group}]", _NONE[group])
        else:
            structs = {name: self._table(kind, tables[name], group, name) for name in tables}
            return {name: struct for name, struct in structs.items() if struct is not None}
        return {}

    def _table(self, kind: type[_T], table: object, *names: str) -> _T | None:
        """Return the table as a struct; None if it has a fault, which is then gathered."""
        try:
            return read_table(kind, table, names, self.env)
        except Fault as fault:
            where = f"{title(names)} {fault.path.lstrip('.')}".rstrip()
            self._fault(where, fault.what)
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

    def _fault(self, where: str, what: str) -> None:
        self.faults.append(f"{self.name}: {where}: {what}")

    def _warnings(self, server: Server, upstreams: dict[str, Upstream]) -> tuple[str, ...]:
        lines = []
        if isinstance(server.admin, Tcp) and not units.is_loopback(server.admin.host):
            lines.append("[server] admin: other machines can reach it, and it asks for no key")
        for name, upstream in upstreams.items():
            url = upstream.base_url
            if upstream.keys and url.scheme == "http" and not units.is_loopback(url.host):
                where = f"{title(('upstreams', name))} base_url"
                lines.append(f"{where}: http:// sends the key in clear text to {url.host}")
        return tuple(f"{self.name}: {line}" for line in lines)
