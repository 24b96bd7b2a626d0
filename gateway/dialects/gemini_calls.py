"""Calls whose arguments come piece by piece: each with the place where it belongs.

Only Vertex sends them, and only to those who ask.  Elsewhere a call is passed on as it comes;
here the order of the pieces is not that of a JSON text, so it waits until it is whole.
"""

import re
from io import StringIO
from itertools import pairwise
from typing import Any

from gateway.dialects.calls import MAX_DEPTH, text
from gateway.upstream_errors import UpstreamProtocolError


# Characters of texts and places in the arguments of one call: as many as one event may have.
MAX_HELD = 1024 * 1024
# A step of a JSON path (RFC 9535), of those that name one place.
_STEP = re.compile(r"\.([^.*\[\]]+)|\['([^'\\]*)'\]|\[\"([^\"\\]*)\"\]|\[(\d{1,6})\]")


class Pieces:
    """The arguments of one call, as far as they came."""

    def __init__(self, id: str, name: str) -> None:
        self.id = id
        self.name = name
        self._arguments: dict[str, Any] = {}  # a text is a StringIO, as long as it may go on
        self._size = 0

    def add(self, piece: Any) -> None:
        """Put a piece in its place; a text goes on where there is one.

        Raises:
            UpstreamProtocolError: it has no place, or there are too many.
        """
        path = text(piece, "jsonPath")
        self._size += len(path) + len(text(piece, "stringValue"))
        if self._size > MAX_HELD:
            raise UpstreamProtocolError("the arguments of a call of the upstream are too long")
        steps = _steps(path)
        found: Any = self._arguments
        for step, following in pairwise(steps):
            found = _within(found, step, [] if isinstance(following, int) else {})
        before = _within(found, steps[-1], None)
        said = _value(piece)
        if isinstance(said, str) and not isinstance(before, StringIO):
            before = found[steps[-1]] = StringIO()
        if isinstance(said, str):
            before.write(said)
        else:
            found[steps[-1]] = said

    @property
    def arguments(self) -> Any:
        """The object that they are so far."""
        return _plain(self._arguments)


def _steps(path: str) -> list[str | int]:
    """Return the steps of a path, of which the first is a name."""
    steps: list[str | int] = []
    at = 1
    while match := _STEP.match(path, at):
        steps.append(int(match[4]) if match[4] else match[1] or match[2] or match[3] or "")
        at = match.end()
    if path[:1] != "$" or at != len(path) or not 0 < len(steps) <= MAX_DEPTH:
        raise _misplaced(path)
    return steps


def _within(found: Any, step: str | int, empty: Any) -> Any:
    """Return what is at a step; made `empty` if there is nothing yet."""
    if isinstance(step, int) and isinstance(found, list) and step <= len(found):
        if step == len(found):
            found.append(empty)
        return found[step]
    if isinstance(step, str) and isinstance(found, dict):
        return found.setdefault(step, empty)
    raise _misplaced(str(step))


def _plain(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: _plain(value) for name, value in found.items()}
    if isinstance(found, list):
        return [_plain(value) for value in found]
    return found.getvalue() if isinstance(found, StringIO) else found


def _value(piece: dict[str, Any]) -> Any:
    """Return the one value of a piece; none of the names is null."""
    names = ("stringValue", "numberValue", "boolValue")
    return next((piece[name] for name in names if piece.get(name) is not None), None)


def _misplaced(path: str) -> UpstreamProtocolError:
    return UpstreamProtocolError(f"a piece of a call of the upstream has no place: {path[:40]!r}")
