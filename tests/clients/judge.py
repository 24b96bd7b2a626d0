"""What a client said it saw, line by line, and what can be read from that."""

import asyncio
import json
from collections.abc import Sequence
from types import TracebackType
from typing import Any


# Seconds for a client to come as far as it is waited for; it takes one to come back.
PATIENCE = 20.0
# Characters of a line: an event with a tool call, in JSON.
LINE = 1 << 20

Line = dict[str, Any]


class Client:
    """`async with Client(command) as client`: a client library, in a process of its own.

    It prints a line of JSON for each event: `event`, `id`, `data`; `lost` when its
    connection broke; and `end` when it will not come back.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.lines: list[Line] = []
        self._command = command

    async def __aenter__(self) -> "Client":
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdout=asyncio.subprocess.PIPE, limit=LINE
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()

    async def until(self, said: str) -> None:
        """Read lines until the text it has seen is `said`."""
        async with asyncio.timeout(PATIENCE):
            while text(self.lines) != said:
                assert await self._next(), f"it ended, and has seen {text(self.lines)!r}"

    async def hear(self, event: str) -> None:
        """Read lines up to the first event of this name."""
        async with asyncio.timeout(PATIENCE):
            while event not in [line.get("event") for line in self.lines]:
                assert await self._next(), f"it ended, and has said {self.lines}"

    async def end(self) -> Line:
        """Read all lines that are left; return the last, once the client has ended."""
        async with asyncio.timeout(PATIENCE):
            while await self._next():
                pass
            assert await self._process.wait() == 0
        return self.lines[-1]

    async def _next(self) -> bool:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if line:
            self.lines.append(json.loads(line))
        return bool(line)


def deltas(lines: Sequence[Line]) -> list[Line]:
    """Return what the answer grew by, whichever way it was told."""
    return [delta for line in lines for delta in _deltas(line.get("data"))]


def text(lines: Sequence[Line]) -> str:
    """Return the text of the answer."""
    return "".join(delta.get("content") or "" for delta in deltas(lines))


def arguments(lines: Sequence[Line]) -> list[str]:
    """Return the arguments of each tool call of the answer."""
    calls: dict[int, str] = {}
    for delta in deltas(lines):
        for call in delta.get("tool_calls") or ():
            calls[call["index"]] = calls.get(call["index"], "") + call["function"]["arguments"]
    return [calls[index] for index in sorted(calls)]


def finishes(lines: Sequence[Line]) -> list[str]:
    """Return the finish reasons: one, if the answer is whole."""
    told = [data for line in lines if isinstance(data := line.get("data"), dict)]
    choices = [choice for data in told for choice in [data, *data.get("choices", [])]]
    return [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]


def errors(lines: Sequence[Line]) -> list[Line]:
    """Return the errors that were told in the stream."""
    return [
        data["error"]
        for line in lines
        if isinstance(data := line.get("data"), dict) and data.get("error")
    ]


def entries(lines: Sequence[Line]) -> list[tuple[str, Any]]:
    """Return ids and data of the log's entries, without what is said of the log itself."""
    told = [line for line in lines if "data" in line and line.get("event") != "control"]
    return [(line["id"], line["data"]) for line in told]


def lost(lines: Sequence[Line]) -> int:
    """Return how often the connection was lost."""
    return sum("lost" in line for line in lines)


def _deltas(data: Any) -> list[Line]:
    if not isinstance(data, dict):
        return []
    if data.get("type") == "chunk":  # of a chat over WebSocket
        return [data]
    choices = [data] if "delta" in data else data.get("choices", [])
    return [choice["delta"] for choice in choices]
