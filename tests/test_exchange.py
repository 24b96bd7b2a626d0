"""Exchange: one request, repeated at most once, within its time limits, and nothing left behind."""

import asyncio
import gc
import socket

import pytest

from gateway.exchange import STALE_TIME, Collector
from gateway.upstream_errors import UpstreamProtocolError, UpstreamTimeout, UpstreamUnavailable
from tests.scenes import ANSWER, HEAD, ExchangeScene, settled
from tests.stand import Stand


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n"


# What the peer says, and what is left of its connection.
GOOD = {
    "a length": (ANSWER, "0 active, 1 idle, 0 waiting"),
    "no body at all": (HEAD.replace(b"5", b"0"), "0 active, 1 idle, 0 waiting"),
    "chunks": (CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", "0 active, 1 idle, 0 waiting"),
    "until the end": (UNTIL_CLOSE + b"hello", "0 active, 0 idle, 0 waiting"),
    "it wants to close": (
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello",
        "0 active, 0 idle, 0 waiting",
    ),
    "a byte too many": (ANSWER + b"!", "0 active, 0 idle, 0 waiting"),
    "an old one": (ANSWER.replace(b"1.1", b"1.0"), "0 active, 0 idle, 0 waiting"),
}


@pytest.mark.parametrize(("answer", "left"), GOOD.values(), ids=GOOD.keys())
async def test_a_whole_answer_comes_back_and_its_connection_is_kept_if_it_is_clean(answer, left):
    scene = ExchangeScene()
    task = asyncio.ensure_future(scene.story())
    await scene.connected(1)
    scene.peer.data_received(answer)
    await settled()
    if answer.startswith(UNTIL_CLOSE):
        scene.peer.eof_received()
    body = await task

    assert body == (b"" if b"-length: 0" in answer else b"hello")
    assert str(scene) == left
    assert scene.loop.timers == [due for due in scene.loop.timers if due >= scene.loop.now + 50]


async def test_a_whole_answer_is_let_go_of_with_its_exchange_and_not_by_a_collection_some_day():
    scene = ExchangeScene()
    gc.collect()  # what other tests have left
    gc.disable()
    try:
        task = asyncio.ensure_future(scene.story())
        await scene.connected(1)
        scene.peer.data_received(ANSWER)
        await task
        del task
        assert not [one for one in gc.get_objects() if isinstance(one, Collector)]
    finally:
        gc.enable()


async def test_surplus_that_comes_before_we_wake_makes_the_connection_worthless():
    scene = ExchangeScene()
    task = asyncio.ensure_future(scene.story())
    await scene.connected(1)
    scene.peer.data_received(HEAD)
    await settled()
    scene.peer.data_received(b"hello")
    scene.peer.data_received(b"HTTP/1.1 200 OK\r\n\r\n")
    await task

    assert str(scene) == "0 active, 0 idle, 0 waiting"


# What the peer does with the body, and the kind of error it makes.
BAD = {
    "cut": (CHUNKED + b"5\r\nhel", "truncated"),
    "short of its length": (HEAD + b"hel", "truncated"),
    "no chunk": (CHUNKED + b"five\r\nhello", "framing"),
    "too long": (HEAD.replace(b"5", b"101") + b"x" * 101, "body_too_long"),
    "endless": (UNTIL_CLOSE + b"x" * 101, "body_too_long"),
}


@pytest.mark.parametrize(("answer", "kind"), BAD.values(), ids=BAD.keys())
async def test_a_bad_body_fails_the_exchange(answer, kind):
    scene = ExchangeScene()
    task = asyncio.ensure_future(scene.story())
    await scene.connected(1)
    scene.peer.data_received(answer)
    await settled()
    scene.peer.eof_received()

    with pytest.raises(UpstreamProtocolError) as caught:
        await task
    assert caught.value.kind == kind
    assert str(scene) == "0 active, 0 idle, 0 waiting"


async def test_on_an_idle_connection_nothing_waits_for_a_turn_of_the_loop():
    scene = ExchangeScene()
    await scene.used()
    exchange = scene.exchange()
    head = exchange.head(b"request")
    assert scene.dial.transports[0].written == b"request"

    scene.peer.data_received(HEAD + b"he")
    body = exchange.body(head.result(), 100)
    scene.peer.data_received(b"llo")
    assert body.result() == b"hello"
    exchange.release()
    assert str(scene) == "0 active, 1 idle, 0 waiting"


async def test_a_reset_amid_a_body_is_not_its_end():
    scene = ExchangeScene()
    task = asyncio.ensure_future(scene.story())
    await scene.connected(1)
    scene.peer.data_received(UNTIL_CLOSE + b"hello")
    await settled()
    scene.peer.connection_lost(ConnectionResetError())

    with pytest.raises(UpstreamUnavailable):
        await task


# Repeating.

STALE = {
    "closed": lambda c: c.eof_received(),
    "reset": lambda c: c.connection_lost(ConnectionResetError()),
}


@pytest.mark.parametrize("go", STALE.values(), ids=STALE.keys())
async def test_a_kept_connection_that_proves_stale_is_replaced_unnoticed(go):
    scene = ExchangeScene()
    await scene.used()
    exchange = scene.exchange()
    task = asyncio.ensure_future(scene.story(exchange))
    await scene.connected(1)
    go(scene.peer)
    await scene.connected(2)
    scene.peer.data_received(ANSWER)

    assert await task == b"hello"
    assert exchange.retried
    assert scene.dial.transports[1].written == b"request"


async def test_a_connection_that_had_its_time_with_a_request_was_not_stale():
    """Whoever has the request may be at work: to send it again might be to pay twice."""
    scene = ExchangeScene()
    await scene.used()
    exchange = scene.exchange()
    task = asyncio.ensure_future(scene.story(exchange))
    await scene.connected(1)
    scene.loop.now += STALE_TIME
    scene.peer.eof_received()

    with pytest.raises(UpstreamUnavailable):
        await task
    assert not exchange.retried
    assert len(scene.dial.connections) == 1


async def test_others_are_served_between_a_request_and_the_opening_of_its_connection():
    scene = ExchangeScene()
    task = asyncio.ensure_future(scene.story())
    turns = 0
    while not scene.dial.connections:
        turns += 1
        await asyncio.sleep(0)
    await scene.connected(1)
    scene.peer.data_received(ANSWER)
    await task

    assert turns > 2, "the story's own, the exchange's, and one more"


async def test_a_request_is_repeated_once_only():
    scene = ExchangeScene()
    await scene.used()
    task = asyncio.ensure_future(scene.story())
    await scene.connected(1)
    scene.peer.eof_received()
    await scene.connected(2)
    scene.peer.eof_received()

    with pytest.raises(UpstreamUnavailable):
        await task
    assert len(scene.dial.connections) == 2
    assert str(scene) == "0 active, 0 idle, 0 waiting"


async def test_a_request_is_not_repeated_once_a_byte_was_answered():
    scene = ExchangeScene()
    await scene.used()
    task = asyncio.ensure_future(scene.story())
    await scene.connected(1)
    scene.peer.data_received(b"H")
    scene.peer.eof_received()

    with pytest.raises(UpstreamUnavailable):
        await task
    assert len(scene.dial.connections) == 1


async def test_a_request_is_not_repeated_if_its_connection_was_fresh():
    scene = ExchangeScene()
    task = asyncio.ensure_future(scene.story())
    await scene.connected(1)
    scene.peer.eof_received()

    with pytest.raises(UpstreamUnavailable):
        await task
    assert len(scene.dial.connections) == 1


async def test_a_request_is_not_repeated_after_a_time_limit():
    scene = ExchangeScene()
    await scene.used()
    task = asyncio.ensure_future(scene.story())
    await scene.connected(1)
    scene.loop.wind(20.0)

    with pytest.raises(UpstreamTimeout):
        await task
    assert len(scene.dial.connections) == 1


# Over real sockets.


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "unary"])
async def test_a_provider_that_closes_idle_connections_is_not_noticed(stream):
    async with Stand() as stand:
        client = await stand.open()
        statuses = [
            (await client.chat(stream=stream, tokens=2, fault="close-idle")).status
            for _ in range(5)
        ]
        await client.close()

    assert statuses == [200] * 5


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "unary"])
async def test_a_connection_that_proves_stale_over_a_real_socket_is_replaced(stream):
    async with Stand() as stand:
        client = await stand.open()
        await client.chat(tokens=1)
        answer = await client.chat(stream=stream, tokens=2, fault="stale")
        await client.close()
        metrics = await stand.metrics()

    assert answer.status == 200
    assert [request.reused for request in stand.mock.requests] == [False, True, False]
    assert metrics['headgate_retries_total{cause="stale"}'] == 1


async def test_a_peer_that_hangs_up_as_soon_as_it_is_connected_is_unavailable():
    """Two addresses of one name, so that a task or two lie between its end and its use."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        loop = asyncio.get_running_loop()

        async def hang_up():
            while True:
                peer, _ = await loop.sock_accept(listener)
                peer.close()

        rude = asyncio.ensure_future(hang_up())
        async with Stand(url=f"http://localhost:{listener.getsockname()[1]}") as stand:
            client = await stand.open()
            statuses = {(await client.chat()).status for _ in range(20)}
            await client.close()
        rude.cancel()

    assert statuses == {502}
