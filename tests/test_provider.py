"""Provider: what goes to it and what comes back, field by field; never our key, never theirs."""

import pytest

from gateway.addresses import Url
from gateway.breaker import FIRST_REST, LIMIT
from gateway.guard import RequestHead, ResponseHead, read_request
from gateway.keyring import Key
from gateway.literals import Secret
from gateway.metrics import Metrics
from gateway.pool import Room
from gateway.provider import MAX_RETRY_AFTER, QUEUE_WAIT, Provider, passed_back, retry_after
from gateway.resolver import Resolver
from gateway.settings import Upstream
from tests.asking import fields_of
from tests.fakes import FakeLoop


KEY = Key(b"sk-ours")
NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


def provider(
    scheme="https", host="api.test", port=443, path="/v1", keys=("sk-ours",), dialect="openai"
):
    url = Url(scheme, host, port, path)
    config = Upstream(name="p", base_url=url, dialect=dialect, keys=tuple(map(Secret, keys)))
    loop = FakeLoop()
    room = Room(1000, lambda: None)
    return Provider(config, resolver=Resolver(), metrics=Metrics([], ["p"]), room=room, loop=loop)


def asked(*fields):
    return RequestHead("POST", "/x", "", fields_of(fields), http10=False)


def answered(*fields, status=200):
    return ResponseHead(status, fields_of(fields), http10=False)


def sent(raw):
    """Return start line, fields in their order, and body of a request."""
    head, _, body = raw.partition(b"\r\n\r\n")
    start, *lines = head.split(b"\r\n")
    return start, [tuple(line.split(b": ", 1)) for line in lines], body


def test_a_request_is_written_whole_and_in_order():
    raw = provider().request(b"/chat/completions", asked(), b"{}", stream=True, key=KEY)

    assert raw == (
        b"POST /v1/chat/completions HTTP/1.1\r\n"
        b"host: api.test\r\n"
        b"authorization: Bearer sk-ours\r\n"
        b"accept-encoding: identity\r\n"
        b"accept: text/event-stream\r\n"
        b"content-type: application/json\r\n"
        b"content-length: 2\r\n"
        b"\r\n"
        b"{}"
    )


def test_what_we_write_passes_our_own_guard():
    ours = provider(host="::1", port=8000)
    raw = ours.request(b"/embeddings", asked(), b"{}", stream=False, key=KEY)
    head = read_request(raw[:-2])

    assert head.path == "/v1/embeddings"
    assert head.framing == 2
    assert head.get(b"accept") == b"application/json"


# The URL's scheme, host and port, and the Host field it makes (RFC 9110 §7.2).
HOSTS = {
    ("https", "api.test", 443): b"api.test",
    ("http", "api.test", 80): b"api.test",
    ("https", "api.test", 80): b"api.test:80",
    ("http", "api.test", 443): b"api.test:443",
    ("http", "127.0.0.1", 8000): b"127.0.0.1:8000",
    ("http", "::1", 80): b"[::1]",
    ("http", "::1", 8000): b"[::1]:8000",
}


@pytest.mark.parametrize(("url", "host"), HOSTS.items())
def test_the_host_field_names_a_port_only_if_it_is_not_the_schemes(url, host):
    _, fields, _ = sent(provider(*url).request(b"/x", asked(), b"", stream=False, key=KEY))

    assert fields[0] == (b"host", host)


def test_a_look_is_a_get_with_what_the_dialect_wants_and_no_body():
    raw = provider(dialect="anthropic", path="").look(b"/models", KEY)

    assert raw == (
        b"GET /v1/models HTTP/1.1\r\n"
        b"host: api.test\r\n"
        b"x-api-key: sk-ours\r\n"
        b"accept-encoding: identity\r\n"
        b"anthropic-version: 2023-06-01\r\n"
        b"accept: */*\r\n"
        b"\r\n"
    )


def test_a_base_url_without_a_path_adds_none():
    start, *_ = sent(provider(path="").request(b"/x", asked(), b"", stream=False, key=KEY))

    assert start == b"POST /x HTTP/1.1"


def test_without_a_key_there_is_no_authorization():
    ours = provider(keys=())
    head = asked((b"authorization", b"x"))
    raw = ours.request(b"/x", head, b"", stream=False, key=ours.keys.pick(NOW))

    assert b"authorization" not in raw


def test_only_a_providers_own_fields_go_through_all_lines_of_them():
    fields = [
        (b"openai-organization", b"org"),
        (b"openai-project", b"proj"),
        (b"openai-beta", b"a=1"),
        (b"openai-beta", b"b=2"),
        (b"idempotency-key", b"k\t1"),
    ]
    others = [(b"anthropic-version", b"2023-06-01"), (b"anthropic-beta", b"tools")]
    raw = provider().request(b"/x", asked(*fields, *others), b"", stream=False, key=KEY)
    _, got, _ = sent(raw)

    assert [field for field in got if field in fields] == fields
    assert len(got) == 6 + len(fields)


def test_anthropic_is_sent_its_own_kind_of_key_and_a_version():
    theirs = provider(dialect="anthropic")
    beta = (b"anthropic-beta", b"tools")
    head = asked(beta, (b"openai-beta", b"a"))
    _, got, _ = sent(theirs.request(b"/x", head, b"", stream=False, key=KEY))

    assert (b"x-api-key", b"sk-ours") in got
    assert (b"anthropic-version", b"2023-06-01") in got
    assert beta in got
    assert not {name for name, _ in got} & {b"authorization", b"openai-beta"}


def test_the_clients_own_version_of_anthropics_api_counts():
    field = (b"anthropic-version", b"2099-01-01")
    theirs = provider(dialect="anthropic")
    _, got, _ = sent(theirs.request(b"/x", asked(field), b"", stream=False, key=KEY))

    assert [value for name, value in got if name == b"anthropic-version"] == [b"2099-01-01"]


@pytest.mark.parametrize(
    ("dialect", "path", "below"),
    [
        ("anthropic", "", b"/v1"),
        ("anthropic", "/v1", b"/v1"),
        ("anthropic", "/anthropic", b"/anthropic/v1"),
        ("gemini", "", b"/v1beta"),
        ("gemini", "/v1", b"/v1"),
        ("gemini", "/v1beta", b"/v1beta"),
        ("gemini", "/proxy", b"/proxy/v1beta"),
    ],
)
def test_a_base_url_is_good_with_and_without_the_version(dialect, path, below):
    theirs = provider(dialect=dialect, path=path)
    raw = theirs.request(b"/x", asked(), b"", stream=False, key=KEY)

    assert sent(raw)[0] == b"POST " + below + b"/x HTTP/1.1"


# What a client must not get past us.
WITHHELD = [
    b"authorization", b"x-api-key", b"api-key", b"cookie", b"proxy-authorization", b"connection",
    b"te", b"trailer", b"upgrade", b"keep-alive", b"transfer-encoding", b"content-length",
    b"content-type", b"accept", b"accept-encoding", b"host", b"forwarded", b"x-forwarded-for",
    b"via", b"user-agent", b"x-request-id", b"traceparent", b"x-anything",
]  # fmt: skip


@pytest.mark.parametrize("name", WITHHELD)
def test_a_clients_other_fields_stay_with_us(name):
    raw = provider().request(b"/x", asked((name, b"canary")), b"", stream=False, key=KEY)

    assert b"canary" not in raw
    assert raw == provider().request(b"/x", asked(), b"", stream=False, key=KEY)


PASSED_BACK = [
    b"openai-organization", b"openai-project", b"openai-version", b"openai-processing-ms",
    b"x-generation-id", b"x-should-retry",
]  # fmt: skip


@pytest.mark.parametrize("name", PASSED_BACK)
def test_a_field_for_the_client_comes_back_as_it_is(name):
    assert passed_back(answered((name, b"v \xe9"))) == name + b": v \xe9\r\n"


@pytest.mark.parametrize(
    "name",
    [
        b"set-cookie",
        b"server",
        b"connection",
        b"x-ratelimit-remaining-requests",
        b"anthropic-ratelimit-tokens-remaining",
        b"retry-after",
        b"location",
        b"access-control-allow-origin",
        b"content-type",
        b"transfer-encoding",
    ],
)
def test_any_other_field_of_an_answer_is_not_the_clients_business(name):
    assert passed_back(answered((name, b"v"))) == b""


@pytest.mark.parametrize("name", [b"x-request-id", b"request-id"])
def test_the_providers_request_id_comes_back_under_our_name(name):
    assert passed_back(answered((name, b"req-7"))) == b"headgate-upstream-request-id: req-7\r\n"


# Fields of an answer, and the whole seconds the client is told to wait.
DELAYS = {
    "none": ({}, None),
    "seconds": ({b"retry-after": b"7"}, 7),
    "a fraction": ({b"retry-after": b"1.5"}, 2),
    "zero is not at once": ({b"retry-after": b"0"}, 1),
    "at most a minute": ({b"retry-after": b"3600"}, MAX_RETRY_AFTER),
    "an absurd number": ({b"retry-after": b"9" * 18}, MAX_RETRY_AFTER),
    "milliseconds": ({b"retry-after-ms": b"2500"}, 2),
    "milliseconds come first": ({b"retry-after-ms": b"9000", b"retry-after": b"3"}, 9),
    "bad milliseconds are passed over": ({b"retry-after-ms": b"soon", b"retry-after": b"3"}, 3),
    "a date": ({b"retry-after": b"Tue, 14 Nov 2023 22:13:30 GMT"}, 10),
    "a date that is over": ({b"retry-after": b"Tue, 14 Nov 2023 22:00:00 GMT"}, 1),
    "a date far away": ({b"retry-after": b"Tue, 14 Nov 2073 22:00:00 GMT"}, MAX_RETRY_AFTER),
    "words": ({b"retry-after": b"later"}, None),
    "a negative number": ({b"retry-after": b"-1"}, None),
    "a number too long to be one": ({b"retry-after": b"9" * 5000}, None),
    "bytes": ({b"retry-after": b"\xff\xfe"}, None),
    "not a day": ({b"retry-after": b"Tue, 99 Nov 2023 22:13:30 GMT"}, None),
    "a zone beyond the world": (
        {b"retry-after": b"Tue, 14 Nov 2023 22:13:30 +99999999999999"},
        None,
    ),
    "a year beyond time": ({b"retry-after": b"Tue, 14 Nov 99999 22:13:30 GMT"}, None),
}


@pytest.mark.parametrize(("fields", "seconds"), DELAYS.values(), ids=DELAYS.keys())
def test_a_provider_says_how_long_to_wait_in_three_forms(fields, seconds):
    assert retry_after(answered(*fields.items(), status=429), NOW) == seconds


@pytest.mark.parametrize(("scheme", "tight"), [("http", True), ("https", False)])
def test_what_tls_gives_is_not_kept_as_it_came(scheme, tight):
    assert provider(scheme=scheme).tight is tight


def test_the_pool_has_the_limit_of_the_configuration():
    assert provider().pool.limit == 1000


def test_the_request_bears_the_key_that_was_picked_and_no_other():
    ours = provider(keys=("sk-one", "sk-two"))
    _, fields, _ = sent(ours.request(b"/x", asked(), b"", stream=False, key=Key(b"sk-two")))

    assert [value for name, value in fields if name == b"authorization"] == [b"Bearer sk-two"]


def test_none_of_our_keys_is_passed_on_not_even_one_that_begins_like_another():
    ours = provider(keys=("sk-a", "sk-a-long", "sk-b"))

    assert ours.redacted(b"sk-a-long, sk-a and sk-b") == b"***, *** and ***"
    assert ours.redacted_error({"message": "sk-a-long", "code": 7}) == {"message": "***", "code": 7}


def test_an_upstream_waits_for_its_breaker_and_for_its_keys():
    ours = provider(keys=("sk-one",))
    assert ours.wait(NOW) == 0

    ours.keys.limited(ours.keys.pick(NOW), 3.0, NOW)
    assert ours.wait(NOW) == 3.0
    for _ in range(LIMIT):
        ours.breaker.failed(NOW)
    assert ours.wait(NOW) == FIRST_REST


def test_an_upstream_without_a_free_connection_waits():
    ours = provider()
    ours.pool.active = 1000
    assert ours.wait(NOW) == QUEUE_WAIT

    ours.pool.idle = ["one"]
    assert ours.wait(NOW) == 0


def test_requests_that_wait_for_a_connection_are_load_too():
    ours = provider()
    ours.pool.active, ours.pool.waiters = 3, dict.fromkeys("ab")

    assert ours.load == 5
