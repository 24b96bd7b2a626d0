"""Paths to handlers: a table, and handlers that say what each route does.

A head is resolved before its body is read, so that the body's limit is the route's.
"""

from collections.abc import Callable, Mapping
from urllib.parse import unquote

import orjson

from gateway.dialects import openai
from gateway.errors import ClientError, GatewayError, MethodNotAllowed, ModelNotFound, RouteNotFound
from gateway.guard import RequestHead
from gateway.host import MAX_UNWANTED, Request
from gateway.logs import RequestRecord
from gateway.provider import Provider
from gateway.relay import Desk, Order
from gateway.reply import Reply
from gateway.settings import Config, Model
from gateway.stream import Stream
from gateway.unary import Unary


# Bytes of a generation's body: some images in base64 (design §8).
MAX_BODY = 20 * 1024 * 1024
# Characters of an unknown model's name that its refusal repeats: a body may be 20 MB of it.
SHOWN_NAME = 200
MODELS = "/v1/models/"
TEXT = b"text/plain; charset=utf-8"

Serve = Callable[[Request, Reply], None]


class Endpoint:
    """One method of one path."""

    __slots__ = ("_desk", "_name", "_serve", "max_body", "refusal")

    def __init__(
        self,
        desk: Desk,
        name: str,
        serve: Serve,
        max_body: int = MAX_UNWANTED,
        refusal: ClientError | None = None,
    ) -> None:
        self.max_body = max_body
        self.refusal = refusal  # what will be answered whatever the body is
        self._desk = desk
        self._name = name  # a label
        self._serve = serve

    def handle(self, request: Request, reply: Reply) -> None:
        """Serve a request; a GatewayError is its answer."""
        error = ""
        try:
            self._serve(request, reply)
        except GatewayError as refusal:
            error = refusal.message
            reply.error(refusal)
        if reply.ended:  # if not, a job has it, and accounts for it
            self._account(request, reply, error)

    def _account(self, request: Request, reply: Reply, error: str) -> None:
        desk = self._desk
        duration = desk.clock() - request.received
        desk.metrics.request(self._name, "", "", reply.status, duration)
        desk.log.request(
            RequestRecord(
                request_id=request.id,
                client=request.client,
                route=self._name,
                method=request.head.method,
                path=request.head.path,
                status=reply.status,
                duration=duration,
                bytes=reply.bytes_sent,
                error=error,
            )
        )


class Api:
    """The routes of the public listener."""

    def __init__(self, config: Config, providers: Mapping[str, Provider], desk: Desk) -> None:
        self._config = config
        self._providers = providers
        self._desk = desk
        self._created = int(desk.wall())  # of the models; OpenAI's list has the field
        models = [name for name in config.models if name != "*"]
        self._models = {name: self._model_card(name) for name in models}
        self._table = {
            "/v1/chat/completions": {"POST": self._generation("/chat/completions")},
            "/v1/completions": {"POST": self._generation("/completions")},
            "/v1/embeddings": {"POST": self._generation("/embeddings", streams=False)},
            "/v1/models": {"GET": Endpoint(desk, "/v1/models", self._list_models)},
            "/healthz": {"GET": Endpoint(desk, "/healthz", _healthz)},
            "*": {"OPTIONS": Endpoint(desk, "*", _options)},
        }
        self._model = {"GET": Endpoint(desk, "/v1/models/{id}", self._show_model)}

    def route(self, head: RequestHead) -> Endpoint:
        """Return where a request goes; a wrong path or method goes to its refusal."""
        path = head.path
        methods = self._table.get(path)
        if methods is None and path.startswith(MODELS) and len(path) > len(MODELS):
            methods = self._model
        return choose_method(self._desk, methods, head)

    def _generation(self, path: str, *, streams: bool = True) -> Endpoint:
        """Return the endpoint of a route that is relayed to a provider."""
        name, below = "/v1" + path, path.encode()

        def serve(request: Request, reply: Reply) -> None:
            call = openai.read_call(request.body, streams=streams)
            model = self._config.model(call.model)
            if model is None:
                raise _unknown(call.model)
            order = self._order(call, request.head, model, name, below)
            (Stream if call.stream else Unary)(self._desk, order, request, reply)

        return Endpoint(self._desk, name, serve, MAX_BODY)

    def _order(
        self, call: openai.Call, head: RequestHead, model: Model, route: str, path: bytes
    ) -> Order:
        target = model.targets[0]
        provider = self._providers[target.upstream]
        body = openai.upstream_body(call, target.model or call.model)
        return Order(
            route=route,
            asked=call.model,
            model=model.name,
            provider=provider,
            wants_usage=call.wants_usage,
            wire=provider.request(path, head, body, stream=call.stream),
        )

    def _model_card(self, name: str) -> dict[str, object]:
        return {"id": name, "object": "model", "created": self._created, "owned_by": "headgate"}

    def _list_models(self, request: Request, reply: Reply) -> None:
        cards = list(self._models.values())
        reply.send(200, orjson.dumps({"object": "list", "data": cards}))

    def _show_model(self, request: Request, reply: Reply) -> None:
        name = unquote(request.head.path[len(MODELS) :])
        if name not in self._models:
            raise _unknown(name)
        reply.send(200, orjson.dumps(self._models[name]))


def choose_method(
    desk: Desk, methods: Mapping[str, Endpoint] | None, head: RequestHead
) -> Endpoint:
    """Return the endpoint of a head's method, or one that refuses it."""
    if methods is None:
        return _refusal(desk, RouteNotFound("no such path"))
    # HEAD is GET without its body (RFC 9110 §9.3.2); the reply leaves the body out.
    method = "GET" if head.method == "HEAD" else head.method
    endpoint = methods.get(method)
    if endpoint is not None:
        return endpoint
    allow = ", ".join([*methods, *(["HEAD"] if "GET" in methods else [])])
    return _refusal(desk, MethodNotAllowed(f"this path takes {allow}", allow=allow))


def _refusal(desk: Desk, error: ClientError) -> Endpoint:
    def refuse(request: Request, reply: Reply) -> None:
        raise error

    return Endpoint(desk, "other", refuse, MAX_BODY, refusal=error)


def _unknown(name: str) -> ModelNotFound:
    shown = repr(name if len(name) <= SHOWN_NAME else name[:SHOWN_NAME] + "...")
    return ModelNotFound(f"no model {shown} is configured", param="model")


def _healthz(request: Request, reply: Reply) -> None:
    reply.send(200, b"ok\n", type=TEXT)


def _options(request: Request, reply: Reply) -> None:
    reply.send(204, b"")
