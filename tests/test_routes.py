"""The public listener's table: every path, every method, and what a refusal says."""

import re

import orjson
import pytest

from gateway.client_errors import SHOWN_NAME
from gateway.host import MAX_UNWANTED
from gateway.routes import MAX_BODY
from gateway.series import ROUTES
from tests.stand import Stand, chat


GENERATIONS = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"]
READ = "GET, HEAD"

# Path, method, what it takes.
WRONG_METHODS = [
    *((path, method, "POST") for path in GENERATIONS for method in ("GET", "HEAD", "DELETE")),
    ("/v1/models", "POST", READ),
    ("/v1/models/alias", "DELETE", READ),
    ("/v1/stream/a", "PATCH", "GET, HEAD, PUT, POST, DELETE"),
    ("/healthz", "PUT", READ),
    ("/healthz", "get", READ),  # methods are case-sensitive
]

NO_PATHS = [
    "/",
    "/v1",
    "/v1/",
    "/v1/chat/completions/",
    "/v1//chat/completions",
    "/v1/chat/completions/x",
    "/V1/CHAT/COMPLETIONS",
    "/v1/models/",
    "/v1/stream",
    "/v1/stream/",
    "/v1/../v1/models",
    "/v1/%6dodels",
    "/metrics",
    "/livez",
    "/readyz",
    "/admin/config",
]


async def refused(stand: Stand, method: str, path: str) -> dict[str, object]:
    client = await stand.open()
    client.send(method, path)
    status, headers = await client.head()
    body = b""
    if method != "HEAD":
        body = await client.reader.readexactly(int(headers["content-length"]))
    await client.close()
    return {"status": status, "allow": headers.get("allow"), "body": body, "headers": headers}


@pytest.mark.parametrize(("path", "method", "allow"), WRONG_METHODS)
async def test_a_wrong_method_is_told_which_are_right(path, method, allow):
    async with Stand() as stand:
        answer = await refused(stand, method, path)

    assert (answer["status"], answer["allow"]) == (405, allow)
    if method != "HEAD":
        assert orjson.loads(answer["body"])["error"] == {
            "message": f"this path takes {allow}",
            "type": "invalid_request_error",
            "param": None,
            "code": "method_not_allowed",
        }


@pytest.mark.parametrize("path", NO_PATHS)
async def test_a_path_is_known_exactly_or_not_at_all(path):
    async with Stand() as stand:
        answer = await refused(stand, "GET", path)

    assert answer["status"] == 404
    assert orjson.loads(answer["body"])["error"] == {
        "message": "no such path",
        "type": "invalid_request_error",
        "param": None,
        "code": "not_found",
    }


async def test_a_channel_may_be_called_cancel():
    async with Stand() as stand:
        client = await stand.open()
        made = await client.ask("PUT", "/v1/stream/cancel")
        stopped = await client.ask("POST", "/v1/stream/cancel/cancel")
        await client.close()

    assert made.status == 201
    assert stopped.json["error"]["message"] == "a channel is closed, not cancelled"


async def test_paths_that_are_not_there_make_one_series_however_many_they_are():
    async with Stand() as stand:
        client = await stand.open()
        for n in range(50):
            await client.ask("GET", f"/probe/{n}?key=canary")
        await client.close()
        metrics = await stand.metrics()

    assert metrics['headgate_requests_total{code="404",model="",route="other",upstream=""}'] == 50
    assert "probe" not in str(metrics)
    assert "canary" not in str(stand.log_lines)


# Of each route a method, a path, and the label that figures have of it.
LABELS = {
    "/v1/chat/completions": ("POST", "/v1/chat/completions"),
    "/v1/chat/completions/stream": ("GET", "/v1/chat/completions/stream"),
    "/v1/completions": ("POST", "/v1/completions"),
    "/v1/embeddings": ("POST", "/v1/embeddings"),
    "/v1/messages": ("POST", "/v1/messages"),
    "/v1/messages/count_tokens": ("POST", "/v1/messages/count_tokens"),
    "/v1/responses": ("POST", "/v1/responses"),
    "/v1/responses/{id}": ("DELETE", "/v1/responses/resp_x"),
    "/v1/responses/{id}/cancel": ("POST", "/v1/responses/resp_x/cancel"),
    "/v1/stream/{id}": ("GET", "/v1/stream/x"),
    "/v1/stream/{id}/cancel": ("POST", "/v1/stream/x/cancel"),
    "/stop-generation": ("POST", "/api/stop-generation"),
    "/v1/tickets": ("POST", "/v1/tickets"),
    "/events": ("HEAD", "/events"),
    "/trigger-event": ("POST", "/trigger-event"),
    "/ws": ("GET", "/ws"),
    "/v1/ws/chat": ("GET", "/v1/ws/chat"),
    "/v1/models": ("GET", "/v1/models"),
    "/v1/models/{id}": ("GET", "/v1/models/x"),
    "/healthz": ("GET", "/healthz"),
    "*": ("OPTIONS", "/v1/models"),
}


def test_every_label_of_a_route_is_asked_for():
    assert set(LABELS) == set(ROUTES)


async def test_every_route_is_counted_under_its_own_label():
    async with Stand() as stand:
        for method, path in LABELS.values():
            client = await stand.open()
            client.send(method, path)
            await client.head()
            await client.close()
        metrics = await stand.metrics()

    series = [name for name in metrics if name.startswith("headgate_requests_total")]
    assert {re.search('route="(.*?)"', name)[1] for name in series} == set(LABELS)


# What is wrong with a body: the parameter that is named, and part of what is said.
BODIES = {
    "nothing": (b"", None, "not JSON"),
    "not JSON": (b"{", None, "not JSON"),
    "not UTF-8": (b'{"model":"\xff"}', None, "not JSON"),
    "NaN": (b'{"model":"m","temperature":NaN}', None, "not JSON"),
    "a list": (b"[]", None, "must be a JSON object"),
    "no model": (b"{}", "model", "provide a model"),
    "an empty model": (b'{"model":""}', "model", "provide a model"),
    "a model that is none": (b'{"model":7}', "model", "provide a model"),
    "a stream of words": (b'{"model":"m","stream":"yes"}', "stream", "true or false"),
    "options that are none": (b'{"model":"m","stream_options":1}', "stream_options", "an object"),
    "too deep": (b'{"model":"m","x":' + b"[" * 65 + b"]" * 65 + b"}", None, "64 levels"),
    "far too deep": (b"[" * 100_000, None, ""),
}


@pytest.mark.parametrize("path", GENERATIONS)
@pytest.mark.parametrize(("body", "param", "says"), BODIES.values(), ids=BODIES.keys())
async def test_a_body_that_cannot_be_is_refused_by_name(body, param, says, path):
    async with Stand() as stand:
        client = await stand.open()
        answer = await client.ask("POST", path, body)
        again = await client.ask("GET", "/healthz")
        await client.close()
        reached = len(stand.mock.requests)

    error = answer.json["error"]
    assert answer.status == 400
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert says in error["message"]
    assert answer.headers["headgate-error-source"] == "gateway"
    assert again.status == 200, "the connection lives on"
    assert reached == 0


NO_WILDCARD = ('[models."*"]', "[models.only]")


async def test_a_model_nobody_configured_is_not_found(monkeypatch):
    monkeypatch.setattr("tests.stand.CONFIG", without_wildcard())
    async with Stand() as stand:
        answer = await stand.chat(model="nope")

    assert answer.status == 404
    assert answer.json["error"] == {
        "message": "no model 'nope' is configured",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }
    line = stand.log_lines[-1]
    assert (line["status"], line["route"], line["error"], line["level"]) == (
        404,
        "/v1/chat/completions",
        "no model 'nope' is configured",
        "info",
    )


async def test_a_refusal_does_not_repeat_a_name_of_megabytes(monkeypatch):
    monkeypatch.setattr("tests.stand.CONFIG", without_wildcard())
    async with Stand() as stand:
        client = await stand.open()
        answers = [
            await client.chat(model="x" * 1_000_000),
            await client.ask("GET", "/v1/models/" + "x" * 5000),
        ]
        await client.close()

    for answer in answers:
        assert answer.status == 404
        assert len(answer.body) < SHOWN_NAME + 200


def without_wildcard() -> str:
    from tests.stand import CONFIG

    return CONFIG.replace(*NO_WILDCARD)


async def test_the_list_of_models_has_the_configured_names_and_not_the_wildcard():
    async with Stand() as stand:
        client = await stand.open()
        listed = (await client.ask("GET", "/v1/models")).json
        shown = (await client.ask("GET", "/v1/models/alias")).json
        escaped = (await client.ask("GET", "/v1/models/al%69as")).json
        unlisted = await client.ask("GET", "/v1/models/other")
        await client.close()

    assert listed["object"] == "list"
    assert listed["data"] == [shown] == [escaped]
    assert (shown["id"], shown["object"], shown["owned_by"]) == ("alias", "model", "headgate")
    assert isinstance(shown["created"], int)
    assert unlisted.status == 404


@pytest.mark.parametrize("path", ["/healthz", "/v1/models", "/v1/models/alias"])
async def test_head_is_get_without_its_body(path):
    async with Stand() as stand:
        client = await stand.open()
        client.send("HEAD", path)
        status, head = await client.head()
        whole = await client.ask("GET", path)
        await client.close()

    assert status == whole.status == 200
    head.pop("x-request-id"), head.pop("request-id")
    assert head.items() <= whole.headers.items()
    assert head["content-length"] == str(len(whole.body)) != "0"


async def test_health_says_ok_and_nothing_more():
    async with Stand() as stand:
        client = await stand.open()
        answer = await client.ask("GET", "/healthz?verbose")
        options = await client.ask("OPTIONS", "*")
        await client.close()

    assert (answer.status, answer.body) == (200, b"ok\n")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert (options.status, options.body) == (204, b"")


# Path, the length that is announced, the status, its code.
LENGTHS = [
    ("/v1/chat/completions", MAX_BODY + 1, 413, "request_too_large"),
    ("/nope", MAX_BODY + 1, 413, "request_too_large"),
    # What is wrong whatever the body is, is told without reading it.
    ("/v1/models", MAX_UNWANTED + 1, 405, "method_not_allowed"),
    ("/nope", MAX_UNWANTED + 1, 404, "not_found"),
]


@pytest.mark.parametrize(("path", "length", "status", "code"), LENGTHS)
async def test_a_body_that_is_too_long_is_refused_by_its_head(path, length, status, code):
    async with Stand() as stand:
        client = await stand.open()
        client.send("POST", path, b"", {"content-length": str(length)})
        answer = await client.answer()
        await client.close()

    assert answer.status == status
    assert answer.json["error"]["code"] == code


@pytest.mark.parametrize("path", GENERATIONS)
async def test_each_generation_goes_to_its_own_path_of_the_provider(path):
    async with Stand() as stand:
        client = await stand.open()
        body = {"model": "alias", "messages": [], "prompt": "a", "input": "a"}
        answer = await client.ask("POST", path, body)
        await client.close()
        request = stand.mock.requests[-1]

    assert answer.status == 200
    assert (request.method, request.path) == ("POST", path)
    assert request.json["model"] == "real-name"
    assert (stand.log_lines[-1]["route"], stand.log_lines[-1]["model"]) == (path, "alias")


CALLERS = """
[models.other]
targets = [{ upstream = "mock" }]

[cors]
origins = ["https://a.example", "https://b.example"]

[[keys]]
key = "sk-a-0123456789abcdef"
subject = "a"
models = ["alias"]

[[keys]]
key = "sk-b-0123456789abcdef"
subject = "b"
models = ["other"]
"""


async def test_who_is_refused_is_counted_where_it_wanted_to_go():
    async with Stand(more=CALLERS) as stand:
        client = await stand.open()
        answer = await client.ask("POST", "/v1/chat/completions", {"model": "alias"})
        await client.close()
        metrics = await stand.metrics()

    assert answer.status == 401
    labels = 'code="401",model="",route="/v1/chat/completions",upstream=""'
    assert metrics[f"headgate_requests_total{{{labels}}}"] == 1


async def test_what_is_kept_of_one_caller_is_of_no_other():
    async with Stand(more=CALLERS) as stand:
        client = await stand.open()

        async def asked(name: str, page: str) -> tuple[int, list[str], str | None]:
            key, origin = f"sk-{name}-0123456789abcdef", f"https://{page}.example"
            answer = await client.ask("GET", "/v1/models", x_api_key=key, origin=origin)
            body = [model["id"] for model in answer.json.get("data", [])]
            return answer.status, body, answer.headers.get("access-control-allow-origin")

        for _ in range(2):
            assert await asked("a", "a") == (200, ["alias"], "https://a.example")
            assert await asked("a", "b") == (200, ["alias"], "https://b.example")
            assert await asked("b", "a") == (200, ["other"], "https://a.example")
            assert await asked("c", "a") == (401, [], "https://a.example")
            assert await asked("a", "c") == (200, ["alias"], None)
        await client.close()


async def test_the_log_says_whose_key_it_was():
    async with Stand(more=CALLERS) as stand:
        client = await stand.open()
        key = "sk-a-0123456789abcdef"
        await client.ask("GET", "/v1/models", x_api_key=key)
        await client.ask("POST", "/v1/chat/completions", chat(model="alias"), x_api_key=key)
        await client.close()

    listed, asked = stand.log_lines[-2:]
    assert (listed["path"], listed["subject"]) == ("/v1/models", "a")
    assert (asked["path"], asked["subject"]) == ("/v1/chat/completions", "a")
    assert key not in str(stand.log_lines)
