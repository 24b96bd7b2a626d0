"""The JSON and the server-sent events of the OpenAI dialect.

A stream is a chunk with the role, the deltas, a chunk with the finish reason, a
chunk with the usage and no choices if the request asked for it, and `[DONE]`.
"""

import base64
import hashlib
import struct
import time
from abc import abstractmethod
from collections.abc import Iterator
from itertools import islice
from typing import Any, ClassVar

import orjson

from . import words
from .exchange import Exchange
from .options import Options
from .tools import called, must_call


DONE = b"data: [DONE]\n\n"
MODEL = "mock-1"
_FRAGMENT = 6  # characters of tool arguments per chunk: cuts words, escapes and numbers
_DIMENSIONS = 8  # of an embedding, unless the request says


class Answer:
    """The answer to one generation request, as a stream or as a document; use one of the two."""

    name: ClassVar[str]  # of the object, and the prefix of its id
    document_object: ClassVar[str]
    chunk_object: ClassVar[str]
    opening: ClassVar[bytes]  # the member a stream's first chunk has, if there is one
    closing: ClassVar[bytes]  # and the one beside the finish reason

    def __init__(self, exchange: Exchange, options: Options, number: int) -> None:
        self.exchange = exchange
        self.body: dict[str, Any] = exchange.json
        self.options = options
        self.number = number  # of this answer, for its ids
        self.created = int(time.time())
        limit = self.body.get("max_completion_tokens") or self.body.get("max_tokens")
        self.limit = limit if isinstance(limit, int) else None
        over = self.limit is not None and words.count(options) > self.limit
        self.finish = "length" if over else "stop"

    def blocks(self) -> Iterator[bytes]:
        """Yield the events of the stream, each as a whole block of SSE."""
        usage: dict[str, None] = {"usage": None} if self._wants_usage() else {}
        before, _, after = self._json(self.chunk_object, choices=[], **usage).rpartition(b"[]")
        left = b'data: %b[{"index":0,' % before
        right = b',"logprobs":null,"finish_reason":null}]%b\n\n' % after
        if self.opening:
            yield left + self.opening + right
        for member in self._members():
            yield left + member + right
            # Whoever plays this asks for the next block when it has written the last.
            self.exchange.tokens += 1
        finish = b'"finish_reason":"%b"' % self.finish.encode()
        yield left + self.closing + right.replace(b'"finish_reason":null', finish)
        if usage:
            yield b"data: %b\n\n" % self._json(self.chunk_object, choices=[], usage=self._usage())
        yield DONE

    def document(self) -> bytes:
        """Return the whole answer as JSON."""
        said = self._said()
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": self.finish}
        return self._json(self.document_object, choices=[choice], usage=self._usage())

    @abstractmethod
    def _members(self) -> Iterator[bytes]:
        """Yield what each chunk's choice has: `"delta":{...}` or `"text":"..."`."""

    @abstractmethod
    def _said(self) -> dict[str, object]:
        """Return what the document's choice has, and count its tokens."""

    def _content(self) -> Iterator[str]:
        return islice(words.tokens(self.options), self.limit)

    def _counted(self, tokens: Iterator[str]) -> str:
        said = list(tokens)
        self.exchange.tokens += len(said)
        return "".join(said)

    def _json(self, kind: str, **members: object) -> bytes:
        head = {
            "id": f"{self.name}-mock{self.number:08d}",
            "object": kind,
            "created": self.created,
            "model": self.body.get("model", MODEL),
            "system_fingerprint": "fp_mock",
        }
        return orjson.dumps(head | members)

    def _wants_usage(self) -> bool:
        wanted = self.body.get("stream_options")
        return isinstance(wanted, dict) and wanted.get("include_usage") is True

    def _usage(self) -> dict[str, object]:
        prompt = _prompt_tokens(self.body.get("messages") or self.body.get("prompt"))
        return {
            "prompt_tokens": prompt,
            "completion_tokens": self.exchange.tokens,
            "total_tokens": prompt + self.exchange.tokens,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": self.options.reasoning,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }


class ChatAnswer(Answer):
    """`/v1/chat/completions`."""

    name = "chatcmpl"
    document_object = "chat.completion"
    chunk_object = "chat.completion.chunk"
    opening = b'"delta":{"role":"assistant","content":"","refusal":null}'
    closing = b'"delta":{}'

    def __init__(self, exchange: Exchange, options: Options, number: int) -> None:
        super().__init__(exchange, options, number)
        self.calls = options.tools or (1 if must_call(self.body) else 0)
        if self.calls:
            self.finish = "tool_calls"

    def _members(self) -> Iterator[bytes]:
        for token in words.reasoning(self.options):
            yield b'"delta":{"reasoning_content":%b}' % orjson.dumps(token)
        if self.calls:
            for fragment in self._fragments():
                yield b'"delta":%b' % orjson.dumps({"tool_calls": [fragment]})
            return
        member = b"refusal" if self.options.refusal else b"content"
        for token in self._content():
            yield b'"delta":{"%b":%b}' % (member, orjson.dumps(token))

    def _said(self) -> dict[str, object]:
        message: dict[str, object] = {"role": "assistant", "content": None, "refusal": None}
        if self.options.reasoning:
            message["reasoning_content"] = self._counted(words.reasoning(self.options))
        if self.calls:
            self.exchange.tokens += sum(1 for _ in self._fragments())
            message["tool_calls"] = [self._call(i) for i in range(self.calls)]
        else:
            member = "refusal" if self.options.refusal else "content"
            message[member] = self._counted(self._content())
        return {"message": message}

    def _call(self, i: int) -> dict[str, Any]:
        function = {
            "name": _function_name(self.body, i),
            "arguments": words.arguments(i, self.options),
        }
        return {"id": f"call_{self.number:08d}_{i}", "type": "function", "function": function}

    def _fragments(self) -> Iterator[dict[str, object]]:
        for i in range(self.calls):
            call = self._call(i)
            whole = call["function"]["arguments"]
            call["function"]["arguments"] = ""
            yield {"index": i, **call}
            for start in range(0, len(whole), _FRAGMENT):
                yield {"index": i, "function": {"arguments": whole[start : start + _FRAGMENT]}}


class TextAnswer(Answer):
    """`/v1/completions`, the older API."""

    name = "cmpl"
    document_object = "text_completion"
    chunk_object = "text_completion"
    opening = b""
    closing = b'"text":""'

    def _members(self) -> Iterator[bytes]:
        for token in self._content():
            yield b'"text":%b' % orjson.dumps(token)

    def _said(self) -> dict[str, object]:
        return {"text": self._counted(self._content())}


def embeddings(body: dict[str, Any]) -> bytes:
    """Return the answer of `/v1/embeddings`: vectors that depend on the input alone."""
    given = body.get("input", "")
    # A string, or a list of token numbers, is one input; any other list is several.
    several = isinstance(given, list) and not all(isinstance(item, int) for item in given)
    dimensions = body.get("dimensions")
    if not isinstance(dimensions, int) or not 0 < dimensions <= 4096:
        dimensions = _DIMENSIONS
    vectors = [_vector(text, dimensions) for text in (given if several else [given])]
    prompt = _prompt_tokens(given)
    answer = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": i, "embedding": _packed(vector, body)}
            for i, vector in enumerate(vectors)
        ],
        "model": body.get("model", MODEL),
        "usage": {"prompt_tokens": prompt, "total_tokens": prompt},
    }
    return orjson.dumps(answer)


def models() -> bytes:
    """Return the answer of `/v1/models`; any other name is served too."""
    model = {"id": MODEL, "object": "model", "created": 1_700_000_000, "owned_by": "mock"}
    return orjson.dumps({"object": "list", "data": [model]})


def error(message: str, *, kind: str, code: str | None, param: str | None = None) -> bytes:
    """Return an error object as OpenAI has it."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})


def _vector(text: object, dimensions: int) -> list[float]:
    digest = hashlib.shake_128(orjson.dumps(text)).digest(dimensions)
    return [(byte - 128) / 128 for byte in digest]  # exact in 32-bit floats


def _packed(vector: list[float], body: dict[str, Any]) -> list[float] | str:
    if body.get("encoding_format") != "base64":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _prompt_tokens(prompt: object) -> int:
    # Of the prompt alone: a gateway may add members to the request, but not change this.
    return len(str(prompt or "").split())


def _function_name(body: dict[str, Any], i: int) -> str:
    tool = called(body, i)
    try:
        return str(tool["function"]["name"]) if tool else "mock_tool"
    except (KeyError, TypeError):
        return "mock_tool"
