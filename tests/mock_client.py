"""A client of the mock provider that hides nothing, and what it makes of an answer."""

import asyncio
import contextlib

import orjson

from gateway.mock import Exchange, MockProvider, Options


CHAT = "/v1/chat/completions"


def request_bytes(path=CHAT, *, headers=None, version="HTTP/1.1", **body):
    """Return a POST with a JSON body, or a GET if there is none."""
    content = orjson.dumps(body) if body else b""
    fields = {"host": "mock", "content-length": len(content)} | (headers or {})
    lines = [f"{'POST' if body else 'GET'} {path} {version}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


async def read_all(reader):
    """Return all bytes up to the end, and whether that was a FIN or an RST."""
    received = b""
    try:
        while data := await reader.read(1 << 16):
            received += data
    except ConnectionResetError:
        return received, "reset"
    return received, "fin"


@contextlib.asynccontextmanager
async def connected(mock, request, **how):
    reader, writer = await asyncio.open_connection("127.0.0.1", mock.port, **how)
    writer.write(request)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def ask(provider, /, path=CHAT, *, headers=None, **body):
    """Ask on a connection of its own; return what came, and how it ended."""
    wanted = request_bytes(path, headers={"connection": "close"} | (headers or {}), **body)
    async with connected(provider, wanted) as (reader, _):
        return await read_all(reader)


def answer(run, path=CHAT, *, headers=None, defaults=None, **body):
    """Return status, header fields and decoded body of one good answer."""

    async def story():
        async with MockProvider(defaults or Options()) as mock:
            received, end = await ask(mock, path, headers=headers, **body)
            assert end == "fin"
            return parsed(received)

    return run(story())


def parsed(received):
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines[1:])
    if fields.get("transfer-encoding") == "chunked":
        body = dechunked(body)
    elif "content-length" in fields:
        assert len(body) == int(fields["content-length"])
    return int(lines[0].split()[1]), fields, body


def dechunked(body):
    whole = b""
    while True:
        size, _, body = body.partition(b"\r\n")
        n = int(size, 16)
        assert body[n : n + 2] == b"\r\n"
        if n == 0:
            assert body == b"\r\n"
            return whole
        whole, body = whole + body[:n], body[n + 2 :]


def chunks(body):
    """Return the JSON of every event of a stream that is as it should be."""
    blocks = body.split(b"\n\n")
    assert blocks.pop() == b""
    assert blocks.pop() == b"data: [DONE]"
    return [orjson.loads(block.removeprefix(b"data: ")) for block in blocks]


def deltas(body, name="content"):
    """Return this member of all the deltas that have it, the first chunk's left out."""
    found = [chunk["choices"][0]["delta"] for chunk in chunks(body)[1:] if chunk["choices"]]
    return [delta[name] for delta in found if name in delta]


async def one_answer(reader):
    """Read one answer with a content-length, on a connection that stays."""
    head = await reader.readuntil(b"\r\n\r\n")
    _, fields, _ = parsed(head.replace(b"content-length", b"length"))
    return head + await reader.readexactly(int(fields["length"]))


def exchange_of(**body):
    exchange = Exchange(b"POST /v1/chat/completions HTTP/1.1\r\nhost: mock")
    exchange.body = orjson.dumps(body)
    return exchange
