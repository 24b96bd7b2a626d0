"""Refusals: what providers say with a 403, and whether the key is at fault."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.refusals import Ground, ground
from gateway.retry import blames, judge
from gateway.upstream_errors import UpstreamAnswer, UpstreamRefused
from tests.scripted import Scripted
from tests.stand import Stand, chat, pair


def refusal(body: object, status: int = 403) -> UpstreamAnswer:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return UpstreamAnswer(status, b"application/json", raw)


# As they were reported: github.com/home-assistant/core/issues/120072 (OpenAI), cursor/cursor/2953
# (OpenAI, a project's models), orbi-build/orbi/561 (Groq), UKGovernmentBEIS/inspect_ai/2267 and
# Wei-Shaw/sub2api/5359 (xAI), openrouter.ai/docs/errors, google/generative-ai-docs/356,
# continuedev/continue/12781 (Google), memovai/mimiclaw/162 (Anthropic).
BODIES = {
    "openai, country": (
        {"error": {
            "code": "unsupported_country_region_territory",
            "message": "Country, region, or territory not supported",
            "param": None,
            "type": "request_forbidden",
        }},
        Ground.PLACE,
    ),
    "openai, country, bare": (
        {
            "code": "unsupported_country_region_territory",
            "message": "Country, region, or territory not supported",
            "param": None,
            "type": "request_forbidden",
        },
        Ground.PLACE,
    ),
    "openai, model": (
        {"error": {
            "message": "Project `proj_1` does not have access to model `gpt-4o-mini`",
            "type": "invalid_request_error",
            "param": None,
            "code": "model_not_found",
        }},
        Ground.REQUEST,
    ),
    "groq, model": (
        {"error": {
            "message": "The model `groq/compound` is blocked at the organization level.",
            "type": "permissions_error",
            "code": "model_permission_blocked_org",
        }},
        Ground.REQUEST,
    ),
    "xai, content": (
        {
            "code": "The caller does not have permission to execute the specified operation",
            "error": "Content violates usage guidelines. Team: t, API key ID: k, "
            "Model: grok-4-0709, Failed check: SAFETY_CHECK_TYPE_BIO",
        },
        Ground.REQUEST,
    ),
    "xai, content, newer": (
        {"code": "permission-denied", "error": "Content violates usage guidelines. "},
        Ground.REQUEST,
    ),
    "xai, key": (
        {"code": "permission-denied", "error": "Access to the chat endpoint is denied"},
        Ground.KEY,
    ),
    "openrouter, content": (
        {"error": {
            "code": 403,
            "message": "openai/gpt-4o requires moderation. Your input was flagged for \"violence\"",
            "metadata": {
                "reasons": ["violence"],
                "flagged_input": "...",
                "provider_name": "OpenAI",
                "model_slug": "openai/gpt-4o",
            },
        }},
        Ground.REQUEST,
    ),
    "openrouter, provider": (
        {"error": {
            "code": 403,
            "message": "Provider returned error",
            "metadata": {"raw": "no", "provider_name": "OpenAI"},
        }},
        Ground.KEY,
    ),
    "google, key suspended": (
        {"error": {
            "code": 403,
            "message": "Permission denied: Consumer 'api_key:k' has been suspended.",
            "status": "PERMISSION_DENIED",
            "details": [{"reason": "CONSUMER_SUSPENDED", "domain": "googleapis.com"}],
        }},
        Ground.KEY,
    ),
    "google, key of another service": (
        {"error": {
            "code": 403,
            "message": "Requests to this API generativelanguage.googleapis.com are blocked.",
            "status": "PERMISSION_DENIED",
            "details": [{"reason": "API_KEY_SERVICE_BLOCKED"}],
        }},
        Ground.KEY,
    ),
    "anthropic": (
        {"type": "error", "error": {"type": "permission_error", "message": "Request not allowed"}},
        Ground.KEY,
    ),
    "anthropic, older": (
        {"error": {"type": "forbidden", "message": "Request not allowed"}}, Ground.KEY
    ),
    "a page on the way": (b"<html><head><title>403 Forbidden</title></head></html>", Ground.KEY),
    "nothing": (b"", Ground.KEY),
    "a list": ([1], Ground.KEY),
}  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), BODIES.values(), ids=BODIES.keys())
def test_a_403_says_whose_fault_it_is_and_in_doubt_it_is_the_keys(body, expected):
    assert ground(refusal(body)) is expected


# continuedev/continue/issues/8516, google-gemini/gemini-cli/issues/24641.
GOOGLES = {
    "key unknown": (
        {"error": {
            "code": 400,
            "message": "API key not valid. Please pass a valid API key.",
            "status": "INVALID_ARGUMENT",
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "API_KEY_INVALID",
                    "domain": "googleapis.com",
                    "metadata": {"service": "generativelanguage.googleapis.com"},
                }
            ],
        }},
        Ground.KEY,
    ),
    "country": (
        [{"error": {
            "code": 400,
            "message": "User location is not supported for the API use.",
            "status": "FAILED_PRECONDITION",
        }}],
        Ground.PLACE,
    ),
    "request": (
        {"error": {
            "code": 400,
            "message": "Please use a valid role: user, model.",
            "status": "INVALID_ARGUMENT",
            "details": ["API_KEY_INVALID", {"reason": "OTHER"}],
        }},
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), GOOGLES.values(), ids=GOOGLES.keys())
def test_google_says_400_of_our_key_and_of_our_place_too(body, expected):
    assert ground(refusal(body, 400)) is expected


@pytest.mark.parametrize("status", [401, 402])
@pytest.mark.parametrize(("body", "_"), BODIES.values(), ids=BODIES.keys())
def test_401_and_402_are_about_the_key_whatever_they_say(body, _, status):
    assert ground(refusal(body, status)) is Ground.KEY


@pytest.mark.parametrize("status", [400, 404, 429, 500])
def test_other_errors_are_no_refusals(status):
    assert ground(refusal({}, status)) is None


def test_a_refusal_as_the_first_event_is_judged_alike():
    assert ground(UpstreamRefused(403, {"code": "content_policy_violation"})) is Ground.REQUEST
    assert ground(UpstreamRefused(403, {"message": "no"})) is Ground.KEY


def test_what_was_translated_for_the_client_is_judged_as_it_came():
    error = refusal(BODIES["groq, model"][0])
    error.translate(lambda error, id: {"type": "error"}, "r")

    assert error.payload() == b'{"type":"error"}'
    assert ground(error) is Ground.REQUEST


JSON = st.recursive(
    st.none() | st.integers(-9, 2**40) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["error", "code", "metadata", "type"]), inner),
    max_leaves=10,
)


@given(JSON)
def test_whatever_stands_in_a_403_it_is_judged(body):
    assert ground(refusal(body)) in Ground


def test_content_is_not_asked_about_again_and_a_place_is_the_upstreams_own_failure():
    content, place = refusal(BODIES["xai, content"][0]), refusal(BODIES["openai, country"][0])

    assert (judge(content), blames(content)) == (None, False)
    assert judge(place).again is False
    assert blames(place)


def answer(body: object) -> bytes:
    raw = orjson.dumps(body)
    return b"HTTP/1.1 403 No\r\ncontent-length: %d\r\n\r\n%b" % (len(raw), raw)


async def test_flagged_content_is_the_clients_and_our_key_stays():
    async with (
        Scripted(answer(BODIES["xai, content"][0])) as provider,
        Stand(url=provider.url) as stand,
    ):
        got = await stand.chat(stream=False)
        metrics = await stand.metrics()

    assert got.status == 403
    assert b"usage guidelines" in got.body
    assert metrics['headgate_upstream_keys_out{upstream="mock"}'] == 0


async def test_where_a_provider_serves_nobody_another_is_asked():
    async with Scripted(answer(BODIES["openai, country"][0])) as provider, Stand() as other:
        url = other.mock.url
        async with Stand(url=provider.url, more=pair(url)) as stand:
            got = await stand.answer("POST", "/v1/chat/completions", chat(model="pair", tokens=1))
            metrics = await stand.metrics()

    assert got.status == 200
    assert got.headers["headgate-upstream"] == "backup"
    assert metrics['headgate_upstream_keys_out{upstream="mock"}'] == 0
