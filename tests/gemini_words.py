"""What both halves of the tests of Gemini say."""

from typing import Any

import pytest

from gateway.dialects.known import CLIENTS


OLD, NEW = "gemini-2.5-flash", "gemini-3-pro-preview"
USER = {"role": "user", "content": "hi"}
HI = {"role": "user", "parts": [{"text": "hi"}]}
EACH = pytest.mark.parametrize("ours", CLIENTS)


def response(*parts: Any, finish: str = "STOP", **more: Any) -> dict[str, Any]:
    candidate = {"content": {"parts": list(parts), "role": "model"}, "finishReason": finish}
    return {"candidates": [candidate], "responseId": "r", "modelVersion": OLD, **more}
