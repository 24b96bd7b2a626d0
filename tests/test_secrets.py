"""Our key is in no output, however a provider quotes it."""

import orjson
import pytest

from tests.scripted import Scripted
from tests.stand import Stand, chat


KEY = "sk-upstream-canary"
ERROR = orjson.dumps({"error": {"message": f"Incorrect API key: {KEY}", "code": KEY}})
# As it stands under a 200: in place of an answer, or within one that failed.
WHOLE = {
    "openai": ERROR,
    "anthropic": orjson.dumps({"error": f"Incorrect API key: {KEY}"}),
    "responses": orjson.dumps({
        "id": "resp_1", "object": "response", "status": "failed", "output": [],
        "error": {"message": f"Incorrect API key: {KEY}", "code": KEY},
    }),
    "gemini": orjson.dumps({"error": {"message": f"Incorrect API key: {KEY}", "status": KEY}}),
}  # fmt: skip
PATHS = ("/v1/chat/completions", "/v1/messages", "/v1/responses")
SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
SAYS = {
    "in an error's body": b"HTTP/1.1 400 Bad Request\r\ncontent-length: %d\r\n\r\n%b"
    % (len(ERROR), ERROR),
    "in the first event": SSE + b"data: " + ERROR + b"\n\n",
    "amid a stream": SSE + EVENT + b"data: " + ERROR + b"\n\n",
    "in an event of type error": SSE
    + b"event: error\ndata: Incorrect API key: %b\n\n" % KEY.encode(),
    "in one amid a stream": SSE + EVENT + b"event: error\ndata: " + ERROR[9:-1] + b"\n\n",
}


@pytest.mark.parametrize("said", SAYS.values(), ids=SAYS.keys())
async def test_a_key_that_the_provider_quotes_reaches_nobody(said):
    async with Scripted(said) as provider, Stand(url=provider.url) as stand:
        answer = await stand.answer("POST", "/v1/chat/completions", chat())
        metrics = await stand.metrics()

    assert b"Incorrect API key: ***" in answer.body
    for output in (answer.body.decode(), str(answer.headers), str(metrics), str(stand.log_lines)):
        assert KEY not in output


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dialect", WHOLE)
async def test_a_key_that_is_quoted_in_a_whole_answer_reaches_nobody_in_any_dialect(dialect, path):
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
    said = head + b"content-length: %d\r\n\r\n%b" % (len(WHOLE[dialect]), WHOLE[dialect])
    upstream = f'dialect = "{dialect}"'
    asked = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
    if path == "/v1/responses":
        asked = {"model": "m", "input": "hello"}
    async with Scripted(said) as provider, Stand(url=provider.url, upstream=upstream) as stand:
        answer = await stand.answer("POST", path, asked)

    assert b"Incorrect API key: ***" in answer.body
    for output in (answer.body.decode(), str(answer.headers), str(stand.log_lines)):
        assert KEY not in output
