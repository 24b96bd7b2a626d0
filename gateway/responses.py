"""The Responses API: asked for, looked up by the response's id, stopped, deleted.

POST   /v1/responses               as every dialect is asked (`doors.py`); and
  background: true                 … it goes on to its end, whoever reads it
GET    /v1/responses/{id}          the response as it is by now
  ?stream=true&starting_after=N    … its events from there, live to the end
POST   /v1/responses/{id}/cancel   stop it
DELETE /v1/responses/{id}          forget it

A response is kept as long as its log is, and nowhere else; with `store: false` these
paths do not know it.  That it runs in the background is our doing: no provider is told.
"""

import re
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from gateway._sseparse import Batch
from gateway.client_errors import ClientError, ResponseNotFound
from gateway.desk import Desk
from gateway.dialects.calls import Call, encode, loads_event
from gateway.dialects.known import CLIENTS
from gateway.doors import Doors
from gateway.eventlog import State
from gateway.hub import LOG_CAP, Live
from gateway.manner import Manner, read_manner
from gateway.response_logs import Noted, ResponseLogs
from gateway.snapshots import STATUS, cursor_after, snapshot
from gateway.stops import CANCEL
from gateway.views.sse import SseView
from gateway.views.view import location
from gateway.visits import Visit


RESPONSES = "/v1/responses"
DIALECT = "responses"
PATH = "/responses"
NUMBER = re.compile(r"[0-9]{1,15}")
# The terminal events, by how the response stands.
TERMINAL = {"failed": "response.failed", "incomplete": "response.incomplete"}


class Responses:
    """Handlers of the paths of responses."""

    def __init__(self, doors: Doors, desk: Desk) -> None:
        self._doors = doors
        self._desk = desk
        self._logs = ResponseLogs(desk.hub)

    def create(self, visit: Visit) -> None:
        """Begin a response, or repeat one asked for before."""
        manner = read_manner(visit.request.head)
        # Who does not wait reads events: there is no log of a whole answer.
        call = CLIENTS[DIALECT].read_call(visit.request.body, forced=manner.elsewhere)
        subject, stored = visit.caller.subject, is_stored(call.body)
        if _in_background(call.body):
            self._in_background(visit, call, manner)
        elif call.stream:
            live = self._doors.stream(visit, call, PATH, manner)
            if stored:
                self.note(live)
        else:
            told = partial(self._keep, subject) if stored else None
            self._doors.whole(visit, call, PATH, manner, told)

    def note(self, live: Live, *, background: bool = False) -> None:
        """Let these paths know the response that a log will tell."""
        log = live.log
        self._logs.note(Noted(log.id, log.subject, background=background))

    def show(self, visit: Visit) -> None:
        """Answer with a response, or with its events."""
        head = visit.request.head
        query = dict(parse_qsl(head.query))
        live, noted = self._find(visit)
        if query.get("stream", "").lower() == "true" and head.method != "HEAD":
            self._tell(visit, live, noted, query.get("starting_after"))
        else:
            self._answer(visit, live, noted)

    def cancel(self, visit: Visit) -> None:
        """Stop a response; one that has ended is shown as it ended."""
        live, noted = self._find(visit)
        _stop(live)
        self._answer(visit, live, noted)

    def delete(self, visit: Visit) -> None:
        """Forget a response; one that has not ended is stopped."""
        live, _ = self._find(visit)
        _stop(live)
        live.drop("deleted")
        told = {"id": _id(visit), "object": "response", "deleted": True}
        visit.reply.send(200, encode(told))

    # Inside.

    def _in_background(self, visit: Visit, call: Call, manner: Manner) -> None:
        if not is_stored(call.body):
            raise ClientError("a response in the background must be stored", param="background")
        body = {name: value for name, value in call.body.items() if name != "background"}
        events = msgspec.structs.replace(call, stream=True, body=body | {"stream": True})
        live = self._doors.stream(
            visit, events, PATH, manner, endless=True, first=not call.stream
        )
        self.note(live, background=True)

    def _keep(self, subject: str, body: bytes) -> None:
        """Keep a whole answer, as the log of one event; once, if several asked for it."""
        response = loads_event(body) if len(body) < LOG_CAP else None
        id = response.get("id") if response is not None else None
        if response is None or not isinstance(id, str) or self._logs.find(subject, id):
            return
        kind = TERMINAL.get(str(response.get("status")), "response.completed")
        event = {"type": kind, "sequence_number": 0, "response": response}
        data = b"event: %b\ndata: %b\n\n" % (kind.encode(), encode(event))
        live = self._desk.hub.open(WRITTEN, subject=subject, dialect=DIALECT)
        live.log.append(Batch(data, 1, 1))
        live.close(State.FINISHED, "finished")
        self._logs.note(Noted(live.log.id, subject, streamed=False))

    def _find(self, visit: Visit) -> tuple[Live, Noted]:
        found = self._logs.find(visit.caller.subject, _id(visit))
        if found is None:
            raise ResponseNotFound
        return found

    def _tell(self, visit: Visit, live: Live, noted: Noted, after: str | None) -> None:
        if not noted.streamed:
            raise ClientError("this response was not made with stream=true", param="stream")
        if after is None:
            cursor = live.log.locate(live.log.cursor(0))  # from the beginning, or not at all
        elif NUMBER.fullmatch(after):
            cursor = visit.locate(live.log, live.log.cursor(cursor_after(live.log, int(after))))
        else:
            raise ClientError("starting_after is a sequence number", param="starting_after")
        SseView(
            live, visit.reply, self._desk,
            fields=lambda: location(live.log), cursor=cursor, left=visit.ending(live.log),
        ).attach()  # fmt: skip

    def _answer(self, visit: Visit, live: Live, noted: Noted) -> None:
        log = live.log
        # The events that tell it may be trimmed; who knows its id asks of one that there is.
        told = snapshot(log) or {
            "id": _id(visit), "object": "response", "status": STATUS[log.state],
        }  # fmt: skip
        if noted.background:
            told = {**told, "background": True}
        visit.reply.send(200, encode(told), fields=location(log))


class _Written:
    """The producer of a log that is written at once: it has nothing to do."""

    last = 0.0

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def cancel(self, reason: str) -> None: ...


WRITTEN = _Written()


def is_stored(body: dict[str, Any]) -> bool:
    """Tell whether the response to this request may be kept for later requests."""
    return body.get("store") is not False


def _in_background(body: dict[str, Any]) -> bool:
    background = body.get("background")
    if background is not None and not isinstance(background, bool):
        raise ClientError("background must be true or false", param="background")
    return bool(background)


def _stop(live: Live) -> None:
    if live.producer is not None and not live.log.closed:
        live.producer.cancel("stop")


def _id(visit: Visit) -> str:
    """Return the id in the path."""
    return unquote(visit.request.head.path[len(RESPONSES) + 1 :].removesuffix(CANCEL))
