"""A client of a WebSocket without a socket: its frames, and a session that notes all it hears."""

import struct

from gateway.handshake import handshake
from gateway.host import Request
from gateway.reply import Reply
from gateway.websocket import MESSAGE_LIMIT, WebSocket
from tests.fake_client import FakeClient, Site, get


KEY = "dGhlIHNhbXBsZSBub25jZQ=="
FIELDS = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    f"Sec-WebSocket-Key: {KEY}",
    "Sec-WebSocket-Version: 13",
)
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
UPGRADE = get("/ws", *FIELDS)


def without(name: str) -> list[str]:
    return [field for field in FIELDS if not field.startswith(name)]


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bytes | None = b"\x01\x82\x03\xf4"
) -> bytes:
    """Return a client's frame; without a mask it is not legal from a client."""
    size = len(payload)
    first, second = opcode | (0x80 if fin else 0), 0x80 if mask else 0
    if size < 126:
        head = struct.pack("!BB", first, second | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, second | 126, size)
    else:
        head = struct.pack("!BBQ", first, second | 127, size)
    if mask is None:
        return head + payload
    keys = mask * (size // 4 + 1)
    return head + mask + bytes(byte ^ key for byte, key in zip(payload, keys, strict=False))


def closing(code: int, reason: str = "") -> bytes:
    """Return a client's close frame."""
    return frame(CLOSE, struct.pack("!H", code) + reason.encode())


def unframe(data: bytes) -> list[tuple[int, bytes]]:
    """Return opcode and payload of a server's frames, each whole, not masked, no bit reserved."""
    found = []
    while data:
        first, size = data[0], data[1]
        assert first & 0xF0 == 0x80
        at = 2
        if size >= 126:
            at = 4 if size == 126 else 10
            size = int.from_bytes(data[2:at])
        assert len(data) >= at + size
        found.append((first & 0x0F, data[at : at + size]))
        data = data[at + size :]
    return found


class FakeSession:
    """Notes what it is told."""

    def __init__(self, *, echoes: bool = False) -> None:
        self.told: list[object] = []
        self.socket: WebSocket | None = None
        self.echoes = echoes
        self.fails = False

    def opened(self, socket: WebSocket) -> None:
        self.socket = socket
        self.told.append("opened")

    def text(self, message: str) -> None:
        self.told.append(message)
        if self.fails:
            raise ZeroDivisionError("secret detail")
        if self.echoes:
            self.socket.send(message.encode())

    def binary(self, message: bytes) -> None:
        self.told.append(message)
        if self.echoes:
            self.socket.send_binary(message)

    def writable(self) -> None:
        self.told.append("writable")

    def retire(self) -> None:
        self.socket.go_away()

    def gone(self) -> None:
        self.told.append("gone")


class SocketRoute:
    """`/ws` upgrades at once, `/later` when `upgrade` is called, `/plain` never."""

    max_body = 0
    refusal = None

    def __init__(self, site: Site, session: FakeSession, message_limit: int) -> None:
        self.site = site
        self.session = session
        self.message_limit = message_limit
        self.replies: list[Reply] = []
        self._fields = b""

    def handle(self, request: Request, reply: Reply) -> None:
        self.replies.append(reply)
        if request.head.path == "/plain":
            reply.send(200, b"plain")
            return
        self._fields = handshake(request.head, allowed=lambda origin: True).fields
        if request.head.path == "/ws":
            self.upgrade()

    def upgrade(self) -> None:
        socket = WebSocket(self.session, self.site.loop, message_limit=self.message_limit)
        self.replies[-1].upgrade(self._fields, socket)


class SocketClient(FakeClient):
    """A client of a site where `/ws` is a WebSocket."""

    def __init__(
        self,
        *,
        site: Site | None = None,
        session: FakeSession | None = None,
        message_limit: int = MESSAGE_LIMIT,
    ) -> None:
        super().__init__(site or Site())
        self.session = session or FakeSession()
        self.route = SocketRoute(self.site, self.session, message_limit)
        self.site.host.route = lambda head: self.route

    @classmethod
    def open(cls, **settings: object) -> "SocketClient":
        """Return a client whose handshake is done."""
        client = cls(**settings)
        client.send(UPGRADE)
        assert client.session.told == ["opened"]
        return client

    @property
    def socket(self) -> WebSocket:
        return self.session.socket

    @property
    def heard(self) -> list[tuple[int, bytes]]:
        """Opcode and payload of all the frames that followed the 101."""
        return unframe(self.transport.written.partition(b"\r\n\r\n")[2])

    @property
    def close_codes(self) -> list[int]:
        """The codes of the close frames; 1005 is one without a code."""
        closes = [payload for opcode, payload in self.heard if opcode == CLOSE]
        return [int.from_bytes(payload[:2]) if payload else 1005 for payload in closes]
