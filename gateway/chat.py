"""The words between dialects: what can be asked of a model, and what it can say.

A request is messages, each a few parts, and what else shapes the answer.  An answer is
parts too, or, as a stream, events.  All dialects are read into these words and written from
them, so that n dialects need n readers and n writers.  Reasons of an end are OpenAI's:
stop, length, tool_calls, content_filter; any other is passed on as it came.
"""

from typing import Any, Literal

import msgspec


# What a message, or a whole answer, is made of.


class Text(msgspec.Struct, frozen=True):
    """A piece of text."""

    text: str


class Image(msgspec.Struct, frozen=True):
    """A picture: `data` in base64 with its `media` type, or where it is to be had."""

    url: str = ""
    media: str = ""
    data: str = ""


class Thinking(msgspec.Struct, frozen=True):
    """What a model thought: its text, or, `redacted`, only what the provider can read.

    `signature` proves to the provider that the text is its own; not a byte of it may change.
    """

    text: str = ""
    signature: str = ""
    redacted: str = ""


class ToolUse(msgspec.Struct, frozen=True):
    """A call of a tool; `arguments` is JSON."""

    id: str
    name: str
    arguments: str


class ToolResult(msgspec.Struct, frozen=True):
    """What a tool answered to the call of this id."""

    id: str
    parts: tuple["Text | Image", ...]
    failed: bool = False


class Refusal(msgspec.Struct, frozen=True):
    """Why a model does not answer, in its own words."""

    text: str


Part = Text | Image | Thinking | ToolUse | ToolResult | Refusal


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation; a tool's results are in a turn of the user."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[Part, ...]


# A request.


class Tool(msgspec.Struct, frozen=True):
    """A function that a model may call."""

    name: str
    description: str = ""
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class Choice(msgspec.Struct, frozen=True):
    """Which tools a model may call, or must: `tool` is the one called `name`."""

    mode: Literal["auto", "none", "any", "tool"]
    name: str = ""


class Format(msgspec.Struct, frozen=True):
    """The answer is to be JSON; of this schema, if there is one."""

    schema: dict[str, Any] | None = None
    name: str = ""
    strict: bool | None = None


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a model; None and the empty say nothing."""

    messages: tuple[Message, ...]
    stream: bool = False
    tools: tuple[Tool, ...] = ()
    choice: Choice | None = None
    parallel: bool | None = None  # whether tools may be called at once
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    format: Format | None = None
    effort: str = ""  # of thinking: none, minimal, low, medium, high, xhigh, max
    budget: int | None = None  # tokens that thinking may take
    user: str = ""
    dropped: tuple[str, ...] = ()  # parameters that have no word here, and are not missed


# An answer, whole or as a stream.


class Start(msgspec.Struct, frozen=True):
    """An answer begins: the role chunk of a choice."""

    choice: int
    role: str
    id: str = ""
    model: str = ""


class Delta(msgspec.Struct, frozen=True):
    """A piece of text; exactly one but `choice` is not empty.  For the last two see Thinking."""

    choice: int
    content: str = ""
    reasoning: str = ""
    refusal: str = ""
    signature: str = ""
    redacted: str = ""


class ToolCall(msgspec.Struct, frozen=True):
    """A fragment of a tool call; `id` and `name` stand in its first fragment only."""

    choice: int
    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


class Stop(msgspec.Struct, frozen=True):
    """A choice ended for this reason; `sequence` is the text that it was told to stop at."""

    choice: int
    reason: str
    sequence: str = ""


class Usage(msgspec.Struct, frozen=True):
    """What the provider counted; tokens.  `input` includes those `cached` and `written`."""

    input: int
    output: int
    cached: int = 0
    reasoning: int = 0
    written: int = 0  # to the provider's cache


class Fault(msgspec.Struct, frozen=True):
    """The provider reported an error inside the stream."""

    message: str
    type: str = ""
    code: str = ""


Event = Start | Delta | ToolCall | Stop | Usage | Fault


class Answer(msgspec.Struct, frozen=True):
    """A whole answer."""

    id: str
    model: str
    parts: tuple[Part, ...]
    stop: Stop
    usage: Usage | None = None
