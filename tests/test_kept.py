"""A whole answer under a key of idempotency: asked once, whoever repeats the request."""

import asyncio

import pytest

from tests.fakes import until
from tests.scripted import Scripted, document
from tests.stand import Answer, Stand, chat


CHAT = "/v1/chat/completions"
KEY = {"idempotency-key": "k1"}
BODY = b'{"choices":[]}'
WHOLE = document(BODY)
FAILURE = b"HTTP/1.1 500 \r\ncontent-length: 0\r\n\r\n"


async def asked(stand: Stand, *bodies: object, **fields: str) -> list[Answer]:
    """Ask under the same key one after the other, and return the answers."""
    client = await stand.open()
    answers = [await client.ask("POST", CHAT, body, **KEY, **fields) for body in bodies]
    await client.close()
    return answers


async def test_a_repeated_request_gets_the_same_answer():
    async with Stand() as stand:
        first, again = await asked(stand, *[chat(stream=False)] * 2)
        metrics = await stand.metrics()

    assert first.body == again.body
    assert first.json["object"] == "chat.completion"
    assert "location" not in first.headers
    assert len(stand.mock.requests) == 1
    lines = [line for line in stand.log_lines if line.get("route") == CHAT]
    assert [line["status"] for line in lines] == [200, 200]
    assert metrics['headgate_streams_ended_total{reason="finished"}'] == 1


async def test_a_request_that_is_repeated_too_soon_waits_for_the_same_answer():
    go_on = asyncio.Event()
    async with Scripted(go_on, WHOLE) as provider, Stand(url=provider.url) as stand:
        clients = []
        for number in range(1, 4):
            clients.append(await stand.open())
            clients[-1].send("POST", CHAT, chat(stream=False), KEY)
            (job,) = await job_of(stand)
            await until(lambda job=job, number=number: len(job.live.readers) == number)
        go_on.set()
        answers = [await client.answer() for client in clients]
        for client in clients:
            await client.close()

    assert [answer.body for answer in answers] == [BODY] * 3
    assert provider.requests == 1


async def job_of(stand: Stand) -> list[object]:
    await until(lambda: stand.server.desk.jobs)
    return list(stand.server.desk.jobs)


async def test_another_body_under_the_key_is_refused():
    async with Stand() as stand:
        _, other = await asked(stand, chat(stream=False), chat(stream=False, tokens=3))

    assert other.status == 422
    assert other.json["error"]["code"] == "idempotency_key_reused"


ERROR = b'{"error":"overloaded"}'
FAILURES = {
    "a status": (FAILURE, 500),
    "an error as a text": (document(ERROR), 502),
}


@pytest.mark.parametrize(("failure", "status"), FAILURES.values(), ids=FAILURES.keys())
async def test_what_failed_is_asked_anew(failure, status):
    async with Scripted(failure, then=(WHOLE,)) as provider, Stand(url=provider.url) as stand:
        first, again, once_more = await asked(stand, *[chat(stream=False)] * 3)

    assert [first.status, again.status, once_more.status] == [status, 200, 200]
    assert provider.requests == 2


NO_ANSWERS = {
    "an error that has an id": b'{"id":"x","error":{"message":"overloaded"}}',
    "a response that failed": b'{"id":"resp_1","status":"failed","error":null}',
    "a response that is on its way": b'{"id":"resp_1","status":"in_progress"}',
    "no object": b"[]",
}


@pytest.mark.parametrize("body", NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
async def test_what_is_no_answer_goes_to_who_waits_and_is_asked_anew(body):
    bad = document(body)
    async with Scripted(bad, then=(WHOLE,)) as provider, Stand(url=provider.url) as stand:
        first, again, once_more = await asked(stand, *[chat(stream=False)] * 3)

    assert [first.body, again.body, once_more.body] == [body, BODY, BODY]
    assert provider.requests == 2


async def test_who_leaves_ends_it_and_what_was_left_is_asked_anew():
    async with Scripted(asyncio.Event(), then=(WHOLE,)) as provider, Stand(url=provider.url) as it:
        client = await it.open()
        client.send("POST", CHAT, chat(stream=False), KEY)
        await provider.asked.wait()
        await client.close()
        await it.server.desk.jobs.empty()
        (again,) = await asked(it, chat(stream=False))

    assert again.body == BODY
    assert provider.requests == 2


@pytest.mark.parametrize("first", ["", "respond-async"])
async def test_a_stream_and_a_whole_answer_are_not_the_same(first):
    other = "" if first else "respond-async"
    async with Stand() as stand:
        (begun,) = await asked(stand, chat(stream=False), prefer=first)
        (refused,) = await asked(stand, chat(stream=False), prefer=other)

    assert begun.status == (202 if first else 200)
    assert refused.status == 422
    assert "stream" in refused.json["error"]["message"]


async def test_an_answer_that_is_not_kept_any_more_is_gone():
    async with Stand() as stand:
        await asked(stand, chat(stream=False))
        hub = stand.server.desk.hub
        for live in tuple(hub._kept):
            hub.forget(live)
        (gone,) = await asked(stand, chat(stream=False))

    assert gone.status == 410
    assert gone.json["error"]["code"] == "cursor_gone"
