"""Stopping a generation, and the tickets by which a browser may read one."""

from typing import Any

import msgspec
import orjson

from gateway.client_errors import ClientError, MethodNotAllowed
from gateway.desk import STREAMS, Desk
from gateway.hub import Live
from gateway.tickets import Tickets
from gateway.visits import Visit


# Bytes of such a body: an id, or a path with a query.
MAX_BODY = 16 * 1024
# Characters of a path that a ticket opens, which is kept with it: that of a channel has 139.
MAX_OPENS = 256
CANCEL = "/cancel"


class Stop(msgspec.Struct):
    """What the aliases of `/cancel` take."""

    id: str


class Opening(msgspec.Struct):
    """What a ticket is asked for: a path below which nothing else opens."""

    opens: str


class Stops:
    """Handlers of `POST …/cancel`, its aliases, and `POST /v1/tickets`."""

    def __init__(self, desk: Desk, tickets: Tickets) -> None:
        self._desk = desk
        self._tickets = tickets

    def cancel(self, visit: Visit) -> None:
        """Stop the generation in the path; once it has ended, say how."""
        self._stop(visit, visit.request.head.path[len(STREAMS) : -len(CANCEL)])

    def alias(self, visit: Visit) -> None:
        """Stop the generation that the body names, by its id, its Location, or a cursor of it.

        A page with an EventSource sees no header: of its generation it knows `lastEventId`.
        """
        id = read_json(visit, Stop).id.removeprefix(STREAMS)
        live = self._desk.hub.of_cursor(id)
        self._stop(visit, live.log.id if live is not None else id)

    def ticket(self, visit: Visit) -> None:
        """Give the caller a ticket, for one request that can carry no key."""
        opens = read_json(visit, Opening).opens
        if not opens.startswith("/") or "?" in opens or len(opens) > MAX_OPENS:
            what = f"the path of a request, without its query, of at most {MAX_OPENS} characters"
            raise ClientError(f"opens is {what}", param="opens")
        now = self._desk.clock()
        ticket, expires = self._tickets.issue(visit.caller, opens, now)
        body = {"ticket": ticket, "opens": opens, "expires_in": round(expires - now)}
        visit.reply.send(200, orjson.dumps(body))

    def _stop(self, visit: Visit, id: str) -> None:
        live = visit.log(id)
        if live.producer is not None and not live.log.closed:
            live.producer.cancel("stop")
        elif not live.log.closed:
            raise MethodNotAllowed("a channel is closed, not cancelled", allow="GET, HEAD, POST")
        visit.reply.send(200, orjson.dumps(metadata(live)))


def metadata(live: Live) -> dict[str, Any]:
    """Return what there is to say of a log besides its entries."""
    log = live.log
    return {
        "id": log.id,
        "object": "stream",
        "state": log.state.value,
        "reason": log.reason or None,
        "entries": log.tail,
        "cursor": log.cursor(log.tail),
    }


def read_json(visit: Visit, kind: type[Any]) -> Any:
    """Return the body of a request as a `kind`.

    Raises:
        ClientError: it is none; says where.
    """
    try:
        return msgspec.json.decode(visit.request.body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ClientError(f"the body is not what this path takes: {error}") from error
