"""A whole answer: nothing is written before it is complete."""

import orjson
import pytest

import gateway.unary
from tests.fakes import until, wind_by_hand
from tests.scripted import DOCUMENT, Scripted, chunk, document
from tests.stand import Answer, Stand


ANSWER = b'{"choices":[],"usage":{"prompt_tokens":2,"completion_tokens":3}}'
GOOD = document(ANSWER)


# A provider that stops at its last token may leave half a character, as JSON can say it.
HALF = ANSWER.replace(b"[]", rb'[{"message":{"content":"\ud83d"}}]')


async def given(body: bytes) -> Answer:
    """Return what a client gets whose provider answers with these bytes."""
    async with Scripted(document(body)) as provider, Stand(url=provider.url) as stand:
        return await stand.chat(stream=False)


@pytest.mark.parametrize("whole", [ANSWER, HALF], ids=["an answer", "one amid a character"])
async def test_an_answer_is_passed_on_byte_for_byte_with_its_usage_counted(whole):
    async with Scripted(document(whole)) as provider, Stand(url=provider.url) as stand:
        answer = await stand.chat(stream=False)
        metrics = await stand.metrics()

    assert answer.status == 200
    assert answer.body == whole
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == str(len(whole))
    assert metrics['headgate_tokens_total{model="other",type="output"}'] == 3
    assert (stand.log_lines[-1]["tokens_in"], stand.log_lines[-1]["tokens_out"]) == (2, 3)


WITHOUT_USAGE = {
    "no object": b"[1]",
    "usage that is none": b'{"usage":7}',
    "counts that are none": b'{"usage":{"prompt_tokens":"many","completion_tokens":-1}}',
}


@pytest.mark.parametrize("body", WITHOUT_USAGE.values(), ids=WITHOUT_USAGE.keys())
async def test_an_answer_that_cannot_be_counted_is_passed_on_all_the_same(body):
    async with Scripted(document(body)) as provider, Stand(url=provider.url) as stand:
        got = await stand.chat(stream=False)
        metrics = await stand.metrics()

    assert (got.status, got.body) == (200, body)
    assert not [name for name in metrics if "tokens_total" in name and metrics[name]]


@pytest.mark.parametrize("body", [b"", b"hello", ANSWER[:-1]], ids=["nothing", "text", "half"])
async def test_what_is_not_json_is_an_honest_error_however_whole_its_framing_is(body):
    got = await given(body)

    assert got.status == 502
    assert got.json["error"]["code"] == "upstream_protocol_error"


@pytest.mark.parametrize("id", [b"", b'"id":"resp_1",'], ids=["no id", "an id"])
async def test_an_error_under_a_200_gets_its_status_unless_it_is_told_within_an_answer(id):
    body = b'{%b"error":{"message":"sk-upstream-canary is over","type":"rate_limit_error"}}' % id
    got = await given(body)

    if id:
        assert (got.status, got.body) == (200, body.replace(b"sk-upstream-canary", b"***"))
    else:
        assert got.status == 429
        assert got.json["error"]["message"] == "*** is over"


async def test_an_error_under_a_200_that_is_a_mere_text_is_an_error_all_the_same():
    body = b'{"error":"out of order"}'
    got = await given(body)

    assert got.status == 502
    assert got.json["error"]["message"] == "out of order"


async def test_a_number_in_an_error_that_cannot_be_passed_on_is_left_out():
    body = b'{"error":{"message":"busy","type":"rate_limit_error","code":1%b}}' % (b"0" * 30)
    got = await given(body)

    assert got.status == 429
    assert got.json["error"]["message"] == "busy"
    assert got.json["error"]["code"] is None


# Half of an answer, after which the connection ends: the kind of error that is counted.
BROKEN = {
    "cut short of its length": (DOCUMENT + b"content-length: 99\r\n\r\n{", "truncated"),
    "cut amid a chunk": (DOCUMENT + b"transfer-encoding: chunked\r\n\r\n9\r\n{", "truncated"),
    "no last chunk": (DOCUMENT + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n", "truncated"),
    "a bad chunk": (DOCUMENT + b"transfer-encoding: chunked\r\n\r\n0x1\r\n{\r\n", "framing"),
    "too long": (DOCUMENT + b"content-length: 1001\r\n\r\n" + b"x" * 1001, "body_too_long"),
}


@pytest.mark.parametrize(("answer", "kind"), BROKEN.values(), ids=BROKEN.keys())
async def test_half_an_answer_is_a_bad_gateway_and_not_one_byte_of_it(answer, kind, monkeypatch):
    monkeypatch.setattr(gateway.unary, "MAX_ANSWER", 1000)
    async with Scripted(answer, closes=True) as provider, Stand(url=provider.url) as stand:
        got = await stand.chat(stream=False)
        metrics = await stand.metrics()

    assert got.status == 502
    assert got.json["error"]["code"] == "upstream_protocol_error"
    assert got.headers["headgate-error-source"] == "gateway"
    assert metrics[f'headgate_upstream_errors_total{{kind="{kind}",upstream="mock"}}'] == 1


async def test_the_connection_is_idle_again_before_the_client_has_its_answer():
    async with Scripted(GOOD) as provider, Stand(url=provider.url) as stand:
        client = await stand.open()
        for _ in range(5):
            assert (await client.chat(stream=False)).body == ANSWER
        await client.close()
        assert (provider.connections, provider.requests) == (1, 5)


async def test_bytes_after_the_answer_cost_the_connection():
    async with Scripted(GOOD + b"HTTP/1.1") as provider, Stand(url=provider.url) as stand:
        client = await stand.open()
        for _ in range(2):
            assert (await client.chat(stream=False)).body == ANSWER
        await client.close()
        assert provider.connections == 2


# Time limits: what had come, which limit, seconds.
LIMITS = {
    "no head": ((), "first_event = '3s'", 3.0),
    "a head and no byte": ((DOCUMENT + b"content-length: 9\r\n\r\n",), "first_event = '3s'", 3.0),
    "half of it": ((DOCUMENT + b"content-length: 9\r\n\r\n{}",), "idle = '3s'", 3.0),
    "in all": ((), "total = '4s'", 4.0),
}


@pytest.mark.parametrize(("steps", "limit", "after"), LIMITS.values(), ids=LIMITS.keys())
async def test_a_provider_that_comes_to_a_halt_is_given_up(steps, limit, after):
    limits = f"timeouts = {{ {limit} }}"
    async with Scripted(*steps) as provider, Stand(url=provider.url, upstream=limits) as stand:
        loop = wind_by_hand(stand.server)
        client = await stand.open()
        client.send("POST", "/v1/chat/completions", {"model": "m"})
        await provider.asked.wait()
        (job,) = stand.server.desk.jobs
        if b"{}" in b"".join(steps):
            await until(lambda: job._try.exchange.taker and job._try.exchange.taker.last)
        loop.wind(after - 0.01)
        assert len(stand.server.desk.jobs) == 1
        loop.wind(0.02)
        answer = await client.answer()
        await client.close()

    assert answer.status == 504
    assert answer.json["error"]["code"] == "upstream_timeout"
    assert f"timeout after {after:g} s" in answer.json["error"]["message"]


async def test_a_stream_may_not_be_asked_of_embeddings():
    async with Scripted(GOOD) as provider, Stand(url=provider.url) as stand:
        client = await stand.open()
        body = {"model": "m", "input": "a", "stream": True}
        answer = await client.ask("POST", "/v1/embeddings", body)
        await client.close()

    assert answer.headers["content-type"] == "application/json"
    assert orjson.loads(answer.body) == orjson.loads(ANSWER)


# What the provider says of its answer, and what the client is told.
TYPES = {
    b"content-type: text/plain\r\n": "text/plain",
    b"content-type: application/json; charset=utf-8\r\n": "application/json; charset=utf-8",
    b"": "application/json",
}


@pytest.mark.parametrize("field", TYPES)
async def test_an_answer_keeps_its_type(field):
    answer = b"HTTP/1.1 200 OK\r\n" + field + b"content-length: 2\r\n\r\n{}"
    async with Scripted(answer) as provider, Stand(url=provider.url) as stand:
        got = await stand.chat(stream=False)

    assert got.headers["content-type"] == TYPES[field]


async def test_chunks_of_the_provider_become_one_body_with_a_length():
    chunks = b"".join(chunk(ANSWER[i : i + 7]) for i in range(0, len(ANSWER), 7))
    answer = DOCUMENT + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    async with Scripted(answer) as provider, Stand(url=provider.url) as stand:
        got = await stand.chat(stream=False)

    assert got.body == ANSWER
    assert "transfer-encoding" not in got.headers
