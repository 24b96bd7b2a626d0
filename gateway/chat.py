"""The words between dialects: what one event of a generation can say.

Whoever needs the text of a stream, not its bytes, gets these from
`_sseparse.deltas`.  `choice` is the index of the answer among the `n` asked for.
"""

import msgspec


class Start(msgspec.Struct, frozen=True):
    """An answer begins: the role chunk of a choice."""

    choice: int
    role: str


class Delta(msgspec.Struct, frozen=True):
    """A piece of text; exactly one of the three is not empty."""

    choice: int
    content: str = ""
    reasoning: str = ""
    refusal: str = ""


class ToolCall(msgspec.Struct, frozen=True):
    """A fragment of a tool call; `id` and `name` stand in its first fragment only."""

    choice: int
    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


class Stop(msgspec.Struct, frozen=True):
    """A choice ended for this reason: stop, length, tool_calls, content_filter …"""

    choice: int
    reason: str


class Usage(msgspec.Struct, frozen=True):
    """What the provider counted; tokens."""

    input: int
    output: int
    cached: int = 0
    reasoning: int = 0


class Fault(msgspec.Struct, frozen=True):
    """The provider reported an error inside the stream."""

    message: str
    type: str = ""
    code: str = ""


Event = Start | Delta | ToolCall | Stop | Usage | Fault
