"""The turns of a conversation, written in the Gemini dialect."""

import re
from collections import deque
from typing import Any

from gateway.chat import (
    ChatRequest,
    Image,
    Message,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
)
from gateway.client_errors import ClientError
from gateway.dialects.calls import arguments, unexpressed


# What stands where a model of generation 3 or later asks for the proof of a call, and there is
# none: the call is another provider's, or the client dropped it.  Without it: a 400.
# https://ai.google.dev/gemini-api/docs/thought-signatures
UNPROVEN = "skip_thought_signature_validator"
_OLD = re.compile(r"\bgemini-[12]\b")
# What a picture is that is only named, by the end of its path.
_MEDIA = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "heic": "image/heic",
    "heif": "image/heif",
}

Written = dict[str, Any]


def is_old(model: str) -> bool:
    """Tell whether a model is older than generation 3, as its name says."""
    return _OLD.search(model) is not None


def write_turns(request: ChatRequest, model: str, dropped: list[str]) -> Written:
    """Return `contents`, and `systemInstruction` if there is one.

    Raises:
        ClientError: something in there cannot be said, or answers no call.
    """
    if request.messages and request.messages[-1].role == "assistant":
        raise unexpressed("messages: a last one of the assistant, to go on from,", "gemini")
    names: dict[str, str] = {}  # of the functions, by the ids of their calls
    system: list[Written] = []
    contents: list[Written] = []
    for message in request.messages:
        if message.role == "system":
            # There is one place for it, whenever it was said.
            system += _texts(message.parts)
        elif message.role == "assistant":
            contents.append(_write_model(message, names, model, dropped))
        else:
            contents.append(_write_user(message, names))
    written: Written = {"contents": [turn for turn in contents if turn["parts"]]}
    return {**written, "systemInstruction": {"parts": system}} if system else written


def _texts(parts: tuple[Part, ...]) -> list[Written]:
    return [{"text": part.text} for part in parts if isinstance(part, Text) and part.text]


# A turn of the user.


def _write_user(message: Message, names: dict[str, str]) -> Written:
    """Return a turn of the user; results go first, for they must follow their calls."""
    results = [_write_result(part, names) for part in message.parts if isinstance(part, ToolResult)]
    rest: list[Written] = []
    for part in message.parts:
        if isinstance(part, Text) and part.text:
            rest.append({"text": part.text})
        elif isinstance(part, Image):
            rest.append(_write_image(part))
    return {"role": "user", "parts": results + rest}


def _write_result(result: ToolResult, names: dict[str, str]) -> Written:
    name = names.get(result.id)
    if name is None:
        raise ClientError("a tool result is of no call before it", param="messages")
    said = "".join(part.text for part in result.parts if isinstance(part, Text))
    response: Written = {"id": result.id, "name": name}
    response["response"] = {"error" if result.failed else "output": said}
    images = [_write_image(part) for part in result.parts if isinstance(part, Image)]
    return {"functionResponse": {**response, **({"parts": images} if images else {})}}


def _write_image(image: Image) -> Written:
    if not image.url:
        return {"inlineData": {"mimeType": image.media, "data": image.data}}
    path = image.url.partition("#")[0].partition("?")[0]
    media = _MEDIA.get(path.rpartition(".")[2].lower())
    return {"fileData": {**({"mimeType": media} if media else {}), "fileUri": image.url}}


# A turn of the model.


def _write_model(
    message: Message, names: dict[str, str], model: str, dropped: list[str]
) -> Written:
    """Return a turn of the model.

    A call takes the oldest proof before it.  Those that are left go last, as those of texts
    come.  Thoughts themselves are no input of this dialect.
    """
    proofs: deque[str] = deque()
    parts: list[Written] = []
    for part in message.parts:
        match part:
            case Thinking():
                if part.signature:
                    proofs.append(part.signature)
                else:
                    dropped.append("thinking")
            case ToolUse():
                names[part.id] = part.name
                parts.append(_write_call(part, proofs.popleft() if proofs else ""))
            case Text() | Refusal() if part.text:
                parts.append({"text": part.text})
    parts += [{"text": "", "thoughtSignature": proof} for proof in proofs]
    if not is_old(model):
        _prove(parts)
    return {"role": "model", "parts": parts}


def _write_call(call: ToolUse, proof: str) -> Written:
    written = {"functionCall": {"id": call.id, "name": call.name, "args": arguments(call)}}
    return {**written, **({"thoughtSignature": proof} if proof else {})}


def _prove(parts: list[Written]) -> None:
    """Say that there is no proof, where one must be: at the first call of a turn."""
    for part in parts:
        if "functionCall" in part:
            part.setdefault("thoughtSignature", UNPROVEN)
            return
