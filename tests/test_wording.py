"""Wording: one request as each target wants it."""

from types import SimpleNamespace
from typing import Any

import msgspec
import orjson
import pytest

from gateway.client_errors import ClientError
from gateway.dialects.calls import Call
from gateway.dialects.known import CLIENTS, UPSTREAMS
from gateway.wording import Wording
from tests.asking import head


class Upstream:
    """A provider that shows what it would be sent."""

    def __init__(self, dialect: str) -> None:
        self.dialect = UPSTREAMS[dialect]

    def request(self, path: bytes, head: Any, body: bytes, *, stream: bool, key: Any) -> Any:
        return path.decode(), orjson.loads(body), stream


def target(dialect: str, model: str | None = None) -> Any:
    return SimpleNamespace(provider=Upstream(dialect), model=model)


def call(**members: Any) -> Call:
    body = orjson.dumps({"model": "m", "input": "hello", "stream": True, **members})
    return CLIENTS["responses"].read_call(body)


def wording(asked: Call, **settings: Any) -> Wording:
    return Wording(asked, "/responses", head(), **settings)


def test_to_its_own_dialect_a_request_goes_as_it_is_but_for_the_model():
    asked = call(previous_response_id="resp_1", metadata={"a": "b"})
    (path, body, stream), dropped = wording(asked).write(target("responses", "theirs"), None)

    assert (path, stream, dropped) == ("/responses", True, ())
    assert body == {**asked.body, "model": "theirs"}
    assert wording(asked).missing(target("responses")) == ()


def test_to_another_it_is_translated_and_what_is_left_out_is_named():
    asked = wording(call(metadata={"a": "b"}))
    (path, body, _), dropped = asked.write(target("openai"), None)

    assert (path, dropped) == ("/chat/completions", ("metadata",))
    assert body["messages"] == [{"role": "user", "content": "hello"}]
    assert asked.missing(target("openai")) == ("metadata",)


@pytest.mark.parametrize("path", ["/responses", "/embeddings"])
def test_what_another_cannot_be_told_is_refused(path):
    asked = Wording(call(previous_response_id="resp_1"), path, head())
    with pytest.raises(ClientError):
        asked.missing(target("anthropic"))
    with pytest.raises(ClientError):
        asked.write(target("anthropic"), None)


def test_each_target_may_be_asked_something_else():
    short, whole = call(previous_response_id="resp_1"), call(input="all of it")
    asked = wording(
        whole, fit=lambda one: short if one.provider.dialect.name == "responses" else whole
    )

    assert asked.write(target("responses"), None)[0][1]["previous_response_id"] == "resp_1"
    assert asked.write(target("openai"), None)[0][1]["messages"][0]["content"] == "all of it"
    assert asked.missing(target("openai")) == ()


@pytest.mark.parametrize("more", [{}, {"previous_response_id": "resp_1"}])
def test_a_request_is_translated_once_however_often_it_is_asked_about(more):
    asked, one, read = wording(call(**more)), target("openai", "theirs"), []
    dialect = one.provider.dialect
    one.provider.dialect = msgspec.structs.replace(
        dialect, write_request=lambda *what: read.append(1) or dialect.write_request(*what)
    )
    refusals = 0
    for _ in range(3):
        try:
            asked.missing(one)
            asked.write(one, None)
        except ClientError:
            refusals += 1

    assert (len(read), refusals) == ((0, 3) if more else (1, 0))
    # Another model of the same dialect may be told otherwise.
    if not more:
        assert asked.write(target("openai", "other"), None)[0][1]["model"] == "other"
