"""Paths to handlers: a table of the public listener.

A head is resolved before its body is read: who calls, which route it is, and so how
large the body may be.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from typing import NamedTuple
from urllib.parse import unquote

import orjson

from gateway.callers import OPEN, Callers
from gateway.chat_socket import ChatSockets
from gateway.client_errors import ClientError, ModelNotFound, RouteNotFound
from gateway.cors import Cors
from gateway.desk import STREAMS, Desk
from gateway.dialects import anthropic
from gateway.doors import CHAT, Doors
from gateway.guard import RequestHead
from gateway.host import MAX_UNWANTED
from gateway.provider import Provider
from gateway.reply import ErrorBody
from gateway.responses import RESPONSES, Responses
from gateway.responses_socket import ResponsesSockets
from gateway.settings import Config
from gateway.stops import CANCEL, Stops
from gateway.stops import MAX_BODY as STOP_BODY
from gateway.streams import MAX_BODY as CHANNEL_BODY
from gateway.streams import Streams
from gateway.tickets import Tickets
from gateway.upgrades import Upgrades
from gateway.visits import MAX_BODY, Endpoint, Entrance, Serve, Visit, choose_method, refusing


MODELS = "/v1/models/"
# Paths with a part that varies; these are their labels, too.
MODEL = MODELS + "{id}"
LOG = STREAMS + "{id}"
RESPONSE = RESPONSES + "/{id}"
MESSAGES = "/v1/messages"
COUNT = "/v1/messages/count_tokens"
TALK = "/ws"
STOP_ALIASES = ("/stop-generation", "/v1/stop-generation", "/api/stop-generation")
TEXT = b"text/plain; charset=utf-8"
# Entrances kept for the next request: most clients come in by a few, again and again.
ENTRANCES = 256


class Row(NamedTuple):
    """One method of one path; the path is its label, unless it has another."""

    method: str
    path: str
    serve: Serve
    max_body: int = MAX_UNWANTED
    name: str = ""
    public: bool = False
    safe: bool = True

    def endpoint(self) -> Endpoint:
        """Return what serves it."""
        return Endpoint(
            self.name or self.path, self.serve, self.max_body,
            public=self.public, safe=self.safe, error_body=error_body(self.path),
        )  # fmt: skip


def error_body(path: str) -> ErrorBody | None:
    """Return how errors look there: Anthropic's SDKs read a shape of their own."""
    return anthropic.error_body if path.startswith(MESSAGES) else None


class Api:
    """The routes of the public listener."""

    def __init__(self, config: Config, providers: Mapping[str, Provider], desk: Desk) -> None:
        self._config = config
        self._desk = desk
        self._cors = Cors(config.cors.origins)
        self._tickets = Tickets()
        self._callers = Callers(
            config.keys,
            cookie=config.cors.cookie,
            allow_query_keys=config.server.allow_query_keys,
            cors=self._cors,
            tickets=self._tickets,
        )
        self._created = int(desk.wall())  # of the models; OpenAI's list has the field
        models = [name for name in config.models if name != "*"]
        self._models = {name: self._model_card(name) for name in models}
        doors, upgrades = Doors(config, providers, desk), Upgrades(desk, self._cors)
        responses = Responses(doors, desk)
        self._streams = Streams(config, upgrades, desk)
        self._table: dict[str, dict[str, Endpoint]] = {}
        for row in (
            *_generations(doors, ChatSockets(doors, upgrades, desk)),
            *_responses(responses, ResponsesSockets(doors, responses, upgrades, desk)),
            *_logs(self._streams, Stops(desk, self._tickets)),
            Row("GET", "/v1/models", self._list_models),
            Row("GET", MODEL, self._show_model),
            Row("GET", "/healthz", _healthz, public=True),
        ):
            self._table.setdefault(row.path, {})[row.method] = row.endpoint()
        self._options = Row("OPTIONS", "*", _options, public=True).endpoint()
        self._entrance = lru_cache(ENTRANCES)(partial(Entrance, desk))

    def route(self, head: RequestHead) -> Entrance:
        """Return where a request goes; a wrong path, method or caller goes to its refusal."""
        fields, method, path = self._cors.fields(head), head.method, head.path
        if method == "OPTIONS":
            return Entrance(
                self._desk, self._options, OPEN, self._cors.preflight(head) or fields
            )
        name = "other"
        try:
            methods = self._table.get(path) or self._varying(head)
            endpoint = methods.get(method) or choose_method(methods, head)
            name, clock = endpoint.name, self._desk.clock
            caller = OPEN if endpoint.public else self._callers.identify(head, clock())
        except ClientError as error:
            refusal = refusing(error, name, error_body(path))
            return Entrance(self._desk, refusal, OPEN, fields)
        entrance = self._entrance
        return entrance(endpoint, caller, fields)

    def close(self) -> None:
        """Let nothing ring any more."""
        self._streams.close()

    def _varying(self, head: RequestHead) -> Mapping[str, Endpoint]:
        """Return the methods of a path with a part that varies, or that means several things.

        Raises:
            RouteNotFound: there is no such path.
        """
        path = head.path
        if path == "/" and head.upgrade:
            return self._table[TALK]
        if path.startswith(STREAMS) and path[len(STREAMS) :].endswith(CANCEL):
            return self._table[LOG + CANCEL]
        if path.startswith(STREAMS) and len(path) > len(STREAMS):
            return self._table[LOG]
        if path.startswith(MODELS) and len(path) > len(MODELS):
            return self._table[MODEL]
        id = path[len(RESPONSES) + 1 :] if path.startswith(RESPONSES + "/") else ""
        if id and "/" not in id.removesuffix(CANCEL):
            return self._table[RESPONSE + CANCEL if id.endswith(CANCEL) else RESPONSE]
        raise RouteNotFound("no such path")

    def _model_card(self, name: str) -> dict[str, object]:
        return {"id": name, "object": "model", "created": self._created, "owned_by": "headgate"}

    def _list_models(self, visit: Visit) -> None:
        cards = [card for name, card in self._models.items() if visit.caller.knows(name)]
        visit.reply.send(200, orjson.dumps({"object": "list", "data": cards}))

    def _show_model(self, visit: Visit) -> None:
        name = unquote(visit.request.head.path[len(MODELS) :])
        if name not in self._models or not visit.caller.knows(name):
            raise ModelNotFound(name)
        visit.reply.send(200, orjson.dumps(self._models[name]))


def _generations(doors: Doors, chats: ChatSockets) -> Iterator[Row]:
    """Yield the ways to ask a provider for something."""
    posted = doors.posted
    yield Row("POST", CHAT, posted("/chat/completions"), MAX_BODY)
    yield Row("GET", CHAT + "/stream", doors.event_source, safe=False)
    yield Row("POST", CHAT + "/stream", posted("/chat/completions", forced=True), MAX_BODY)
    yield Row("GET", "/v1/ws/chat", chats.serve)
    yield Row("POST", "/v1/completions", posted("/completions"), MAX_BODY)
    yield Row("POST", "/v1/embeddings", posted("/embeddings", streams=False), MAX_BODY)
    yield Row("POST", MESSAGES, posted("/messages", dialect="anthropic"), MAX_BODY)
    count = posted("/messages/count_tokens", dialect="anthropic", streams=False)
    yield Row("POST", COUNT, count, MAX_BODY)


def _responses(responses: Responses, sockets: ResponsesSockets) -> Iterator[Row]:
    """Yield the ways to ask for a response, to look one up, and to be rid of it."""
    yield Row("GET", RESPONSES, sockets.serve)
    yield Row("POST", RESPONSES, responses.create, MAX_BODY)
    yield Row("GET", RESPONSE, responses.show)
    yield Row("DELETE", RESPONSE, responses.delete)
    yield Row("POST", RESPONSE + CANCEL, responses.cancel, STOP_BODY)


def _logs(streams: Streams, stops: Stops) -> Iterator[Row]:
    """Yield the ways to read logs, to write channels, and to stop generations."""
    for method, (serve, size) in streams.methods.items():
        yield Row(method, LOG, serve, size)
    yield Row("POST", LOG + CANCEL, stops.cancel, STOP_BODY)
    for alias in STOP_ALIASES:
        yield Row("POST", alias, stops.alias, STOP_BODY, name="/stop-generation")
    yield Row("GET", "/events", streams.events)
    yield Row("HEAD", "/events", streams.head)
    yield Row("POST", "/trigger-event", streams.trigger, CHANNEL_BODY)
    yield Row("GET", TALK, streams.talk)
    yield Row("POST", "/v1/tickets", stops.ticket, STOP_BODY)


def _healthz(visit: Visit) -> None:
    visit.reply.send(200, b"ok\n", type=TEXT)


def _options(visit: Visit) -> None:
    visit.reply.send(204, b"")
