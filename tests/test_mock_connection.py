"""The mock provider: its framing, its connections, and clients that leave."""

import asyncio
import datetime
import ipaddress
import socket
import ssl
import struct

import pytest
import uvloop

from gateway.mock import MockProvider, Options, words
from gateway.mock.exchange import BadRequest, RequestReader
from tests.mock_client import answer, connected, deltas, one_answer, parsed, read_all, request_bytes


# --- framing, and the connection


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "document"])
def test_every_framing_carries_the_same_body(run, framing, stream):
    mock = {"tokens": 3, "framing": framing}
    _, fields, body = answer(run, stream=stream, mock=mock)

    framed = {name for name in ("transfer-encoding", "content-length") if name in fields}
    assert framed == {"chunked": {"transfer-encoding"}, "length": {"content-length"}}.get(
        framing, set()
    )
    assert b"t2" in body


def test_a_client_of_http_1_0_gets_no_chunks(run):
    async def story():
        async with MockProvider() as mock:
            wanted = request_bytes(version="HTTP/1.0", stream=True, mock={"tokens": 1})
            async with connected(mock, wanted) as (reader, _):
                return parsed((await read_all(reader))[0])

    _, fields, body = run(story())
    assert "transfer-encoding" not in fields
    assert deltas(body) == ["t0"]


def test_a_connection_is_kept_and_requests_are_answered_in_order(run):
    async def story():
        async with MockProvider() as mock:
            wanted = [request_bytes(mock={"tokens": 1, "tag": tag}) for tag in "abc"]
            async with connected(mock, b"".join(wanted)) as (reader, _):
                for tag in "abc":
                    assert f"{tag}t0".encode() in await one_answer(reader)
            await mock.until(lambda: not mock.connections.open)
            return mock

    mock = run(story())
    assert [exchange.reused for exchange in mock.requests] == [False, True, True]
    assert [exchange.connection for exchange in mock.requests] == [1, 1, 1]
    assert (mock.connections.total, mock.tokens_sent) == (1, 3)


def test_ten_thousand_requests_in_a_row_do_not_nest(run):
    async def story():
        async with MockProvider() as mock:
            wanted = request_bytes("/healthz") * 9_999
            last = request_bytes("/healthz", headers={"connection": "close"})
            async with connected(mock, wanted + last) as (reader, _):
                received, _ = await read_all(reader)
            return received.count(b"\r\n\r\nok\n")

    assert run(story()) == 10_000


BODIES = {
    "by its length": b"content-length: 17\r\n\r\n" + b'{"mock":{"at":1}}',
    "in chunks": (
        b"Transfer-Encoding: chunked\r\n\r\n" + b'7\r\n{"mock"\r\n0A;x=y\r\n:{"at":1}}\r\n0\r\n\r\n'
    ),
    "in chunks, with trailers": (
        b"Transfer-Encoding: chunked\r\n\r\n"
        b'11\r\n{"mock":{"at":1}}\r\n0\r\ntrailer: x\r\nmore: y\r\n\r\n'
    ),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_request_is_the_same_however_it_is_cut(body):
    message = b"POST /v1/x HTTP/1.1\r\nHost: mock\r\n" + body
    for size in (1, 2, 7, len(message) * 2):
        reader, found = RequestReader(), []
        stream = message * 2
        for start in range(0, len(stream), size):
            reader.feed(stream[start : start + size])
            while exchange := reader.next():
                found.append(exchange)
        assert [exchange.body for exchange in found] == [b'{"mock":{"at":1}}'] * 2
        assert [exchange.headers["host"] for exchange in found] == ["mock"] * 2
        assert reader.held == 0


MALFORMED = {
    "no request line": b"hello\r\n\r\n",
    "no field": b"GET / HTTP/1.1\r\nnonsense\r\n\r\n",
    "no length": b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n",
    "a huge length": b"POST / HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n",
    "an endless head": b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000,
    "no chunk size": b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    "an endless chunk size": b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" + b"0" * 300,
    "a huge chunk": b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nFFFFFFFF\r\n",
}


@pytest.mark.parametrize("message", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_no_request_is_refused(run, message):
    reader = RequestReader()
    reader.feed(message)
    with pytest.raises(BadRequest):
        reader.next()

    async def story():
        async with MockProvider() as mock, connected(mock, message) as (stream, _):
            return await stream.read(12)

    assert run(story()) == b"HTTP/1.1 400"


def test_a_body_held_back_is_called_for_once(run):
    async def story():
        async with MockProvider() as mock:
            wanted = request_bytes(headers={"expect": "100-continue"}, mock={"tokens": 1})
            head, _, body = wanted.partition(b"\r\n\r\n")
            async with connected(mock, head + b"\r\n\r\n") as (reader, writer):
                assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
                writer.write(body)
                return await one_answer(reader)

    assert run(story()).startswith(b"HTTP/1.1 200 OK")


# --- clients that leave


def reset(writer):
    writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    writer.transport.abort()


LEAVES = {
    "by FIN": lambda writer: writer.write_eof(),
    "by RST": reset,
    "by closing": lambda writer: writer.close(),
}
MOMENTS = {
    "before the first byte": ({"first-delay": "60s"}, 0),
    "amid a slow stream": ({"tokens": 1_000_000, "interval": 1}, 2),
    "amid a fast stream": ({"tokens": 1_000_000}, 2),
}


@pytest.mark.parametrize("leave", LEAVES.values(), ids=LEAVES.keys())
@pytest.mark.parametrize(("options", "tokens"), MOMENTS.values(), ids=MOMENTS.keys())
def test_a_client_that_leaves_cancels(run, leave, options, tokens):
    async def story():
        async with MockProvider() as mock:
            async with connected(mock, request_bytes(stream=True, mock=options)) as (
                reader,
                writer,
            ):
                await mock.until(lambda: bool(mock.requests) and mock.tokens_sent >= tokens)
                if tokens:
                    await reader.read(1)
                leave(writer)
                await mock.until(lambda: not mock.open_streams)
            await mock.until(lambda: not mock.connections.open)
            return mock

    mock = run(story())
    exchange = mock.requests[0]
    assert (exchange.cancelled, exchange.ended) == (True, False)
    assert (exchange.answered is None) == (tokens == 0)
    assert exchange.ended_at >= exchange.received
    assert mock.tokens_sent == exchange.tokens < 1_000_000


def test_closing_the_provider_ends_what_is_open(run):
    async def story():
        mock = MockProvider()
        await mock.start()
        wanted = request_bytes(stream=True, mock={"first-delay": "60s"})
        async with connected(mock, wanted) as (reader, _):
            await mock.until(lambda: mock.open_streams == 1)
            await mock.close()
            await mock.close()
            await read_all(reader)
        assert (mock.open_streams, mock.connections.open) == (0, 0)
        with pytest.raises(OSError, match=r"."):
            await asyncio.open_connection("127.0.0.1", mock.port)

    run(story())


# --- TLS


@pytest.fixture(scope="module")
def contexts(tmp_path_factory):
    """Return a server's and a client's context, of a certificate made for this run."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mock")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "mock.pem"
    pem = serialization.Encoding.PEM
    file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(pem)
    )
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cafile=str(file))


def test_a_stream_over_tls(run, contexts):
    server, client = contexts

    async def story():
        mock = MockProvider()
        await mock.start(ssl=server)
        assert mock.url == f"https://127.0.0.1:{mock.port}"
        wanted = request_bytes(
            headers={"connection": "close"}, stream=True, mock={"text": "unicode"}
        )
        async with connected(mock, wanted, ssl=client) as (reader, _):
            received, _ = await read_all(reader)
        await mock.close()
        return parsed(received)[2]

    expected = list(words.tokens(Options(text="unicode")))
    assert deltas(run(story())) == expected


def test_a_deaf_peer_over_tls_stops_only_at_an_abort(contexts):
    """On uvloop close() leaves such a peer generating: the trap that this fault is for."""
    server, client = contexts
    options = {"fault": "deaf", "tokens": 1_000_000, "interval": 1}

    async def story():
        mock = MockProvider()
        await mock.start(ssl=server)
        async with connected(mock, request_bytes(stream=True, mock=options), ssl=client) as (
            _,
            writer,
        ):
            await mock.until(lambda: mock.tokens_sent >= 3)
            writer.transport.close()
            sent = mock.tokens_sent
            await mock.until(lambda: mock.tokens_sent >= sent + 50)
            assert mock.open_streams == 1
            writer.transport.abort()
            await mock.until(lambda: not mock.open_streams)
        assert mock.requests[0].cancelled
        await mock.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(story())
