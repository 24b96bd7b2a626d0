"""Our key is in no output, however a provider quotes it."""

import orjson
import pytest

from tests.scripted import Scripted
from tests.stand import Stand, chat


KEY = "sk-upstream-canary"
ERROR = orjson.dumps({"error": {"message": f"Incorrect API key: {KEY}", "code": KEY}})
SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
SAYS = {
    "in an error's body": b"HTTP/1.1 400 Bad Request\r\ncontent-length: %d\r\n\r\n%b"
    % (len(ERROR), ERROR),
    "in the first event": SSE + b"data: " + ERROR + b"\n\n",
    "amid a stream": SSE + EVENT + b"data: " + ERROR + b"\n\n",
}


@pytest.mark.parametrize("said", SAYS.values(), ids=SAYS.keys())
async def test_a_key_that_the_provider_quotes_reaches_nobody(said):
    async with Scripted(said) as provider, Stand(url=provider.url) as stand:
        client = await stand.open()
        answer = await client.ask("POST", "/v1/chat/completions", chat())
        await client.close()
        metrics = await stand.metrics()

    assert b"Incorrect API key: ***" in answer.body
    for output in (answer.body.decode(), str(answer.headers), str(metrics), str(stand.log_lines)):
        assert KEY not in output
