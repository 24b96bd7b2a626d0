"""What `${…}` stands for inside a string: a variable, a file, a credential of systemd.

No error of this file shows what a reference stands for, nor a default: either may be a
secret.  The name or path of a reference is shown.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from gateway.errors import ConfigError


_REFERENCE = re.compile(r"\$\{([^}]*)(\}?)")
# Errors repeat names and paths, so no control character may pass as part of one,
# nor a default behind a path: only variables have them, and it may be a secret.
_FORM = re.compile(
    r"(?P<name>[A-Za-z_]\w*)(?::-(?P<default>.*))?"
    r"|file:(?P<file>/(?!.*:-)[^\x00-\x1f\x7f-\x9f]+)"
    r"|credential:(?P<credential>[\w.-]+)",
    re.ASCII | re.DOTALL,
)

# A referred file holds one key or one URL; 64 KiB stops a path like /dev/zero.
FILE_LIMIT = 64 * 1024


def interpolate(text: str, env: Mapping[str, str]) -> str:
    """Return `text` with each `${…}` replaced by what it refers to.

    `${NAME}` is a variable of `env`, which must be set and not empty;
    `${NAME:-default}` may be either; `${file:/path}` is a file's content and
    `${credential:name}` that of a file systemd laid into $CREDENTIALS_DIRECTORY,
    both without the line end that editors add.  What comes in is not searched
    again for references.

    Raises:
        ConfigError: a reference of another form, or nothing behind it.
    """
    return _REFERENCE.sub(lambda match: _resolve(match[1], match[2] == "}", env), text)


def references(text: str) -> list[str]:
    """Return the references in `text` in order, without their defaults: those may be secrets."""
    return [f"${{{body.partition(':-')[0]}}}" for body, _ in _REFERENCE.findall(text)]


def _resolve(body: str, closed: bool, env: Mapping[str, str]) -> str:
    form = _FORM.fullmatch(body)
    if form is None or not closed:
        raise ConfigError(
            "expected ${NAME}, ${NAME:-default}, ${file:/path} or ${credential:name} after a ${"
        )
    if form["name"]:
        return _variable(form["name"], form["default"], env)
    if form["file"]:
        return _content(body, Path(form["file"]))
    directory = env.get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise ConfigError(
            f"${{{body}}}: CREDENTIALS_DIRECTORY is not set; systemd sets it for LoadCredential="
        )
    return _content(body, Path(directory, form["credential"]))


def _variable(name: str, default: str | None, env: Mapping[str, str]) -> str:
    # Empty counts as unset, as in a shell's ${NAME:?} and ${NAME:-default}: an
    # empty key or host is never meant, and `${NAME:-}` says so when it is.
    value = env.get(name) or default
    if value is None:
        state = "empty" if name in env else "not set"
        raise ConfigError(f"${{{name}}}: the environment variable is {state}")
    try:
        value.encode()
    except UnicodeEncodeError:  # Python keeps bytes that are not UTF-8 as lone surrogates
        raise ConfigError(f"${{{name}}}: the environment variable is not UTF-8") from None
    return value


def _content(reference: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_LIMIT + 1)
    except OSError as error:
        raise ConfigError(f"${{{reference}}}: {error.strerror}") from None
    if len(data) > FILE_LIMIT:
        raise ConfigError(f"${{{reference}}}: the file is larger than {FILE_LIMIT} bytes")
    try:
        text = data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ConfigError(f"${{{reference}}}: the file is not UTF-8 text") from None
    if not text:
        raise ConfigError(f"${{{reference}}}: the file is empty")
    return text
