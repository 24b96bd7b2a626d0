"""Requests that become WebSockets: whom we let do so."""

from collections.abc import Callable

from gateway.cors import Cors
from gateway.desk import Desk
from gateway.handshake import handshake
from gateway.visits import Visit
from gateway.websocket import Session, WebSocket


class Upgrades:
    """Makes WebSockets of requests, for the routes that have a session to offer."""

    def __init__(self, desk: Desk, cors: Cors) -> None:
        self._desk = desk
        self._cors = cors

    def upgrade(self, visit: Visit, protocol: str, session: Callable[[], Session]) -> None:
        """Give the connection to what `session` returns, which accounts for the visit.

        Raises:
            ClientError: the request is no handshake, as `handshake.py` judges, or a
                page asks that is none of ours; then `session` is not called.
        """
        head = visit.request.head
        known = (protocol,) if protocol else ()
        shake = handshake(head, known, allowed=lambda origin: not self._cors.foreign(head))
        visit.reply.upgrade(shake.fields, WebSocket(session(), self._desk.loop))
