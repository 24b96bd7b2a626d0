"""Callers: who a request is from; no key is accepted that was not configured, and none is shown."""

import gc
import logging
from hashlib import sha256
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.callers import OPEN, Caller, Callers
from gateway.client_errors import Forbidden, InvalidApiKey, Misdirected
from gateway.cors import Cors
from gateway.errors import GatewayError
from gateway.literals import Secret
from gateway.tickets import Tickets
from tests.asking import head, head_of


class Key(NamedTuple):
    key: Secret
    subject: str
    models: tuple[str, ...] | None = None


ANNA, BERT = "sk-canary-of-anna", "sk-canary-of-bert"
KEYS = [Key(Secret(ANNA), "anna"), Key(Secret(BERT), "bert", ("small",))]
APP = "https://app.example.com"
EVIL = "https://evil.example"
NOW = 1000.0
PATH = "/v1/stream/one"


def callers(keys=KEYS, *, cookie="session", query=True, tickets=None) -> Callers:
    return Callers(
        keys,
        cookie=cookie,
        allow_query_keys=query,
        cors=Cors([APP]),
        tickets=Tickets() if tickets is None else tickets,
    )


def subject(asked, known=None) -> str:
    return (known or callers()).identify(asked, NOW).subject


# Keys.

SHOWN = {
    "Bearer": head(authorization=f"Bearer {ANNA}"),
    "bearer in any case": head(authorization=f"bEARER  {ANNA}"),
    "x-api-key": head(x_api_key=ANNA),
    "api-key": head(api_key=ANNA),
    "the same key thrice": head(authorization=f"Bearer {ANNA}", x_api_key=ANNA, api_key=ANNA),
    "a key, and a scheme of somebody else's": head(authorization="Basic YTpi", api_key=ANNA),
    "a key from a page of another origin": head(api_key=ANNA, origin=EVIL),
    "?api_key=": head(f"GET /v1/x?a=1&api_key={ANNA}"),
    "?key=": head(f"POST /v1/x?key={ANNA}"),
    "an escaped key in the query": head("GET /v1/x?key=%73k-canary-of-anna"),
    "a cookie of a listed origin": head(origin=APP, cookie=f"a=b; session={ANNA}; c"),
    "a cookie in a line of its own": head_of(
        "GET /", [("cookie", "a=b"), ("origin", APP), ("cookie", f"session={ANNA}")]
    ),
    "a cookie of its own page": head(sec_fetch_site="same-origin", cookie=f"session={ANNA}"),
}


@pytest.mark.parametrize("asked", SHOWN.values(), ids=SHOWN.keys())
def test_a_configured_key_says_who_calls(asked):
    assert callers().identify(asked, NOW) == Caller("anna", None, None)


UNKNOWN = {
    "none": head(),
    "an unknown key": head(authorization="Bearer sk-nobody"),
    "an empty key": head(authorization="Bearer", x_api_key=""),
    "a key without its scheme": head(authorization=ANNA),
    "another scheme": head(authorization=f"Basic {ANNA}"),
    "two keys": head(authorization=f"Bearer {ANNA}", x_api_key=BERT),
    "a known and an unknown key": head(authorization=f"Bearer {ANNA}", api_key="sk-nobody"),
    "a key and another in the query": head(f"GET /?key={BERT}", api_key=ANNA),
    "a key and another in a cookie": head(origin=APP, api_key=ANNA, cookie=f"session={BERT}"),
    "a key and a ticket": head("GET /?ticket=abc", api_key=ANNA),
    "a part of a key": head(api_key=ANNA[:-1]),
    "a longer key": head(api_key=ANNA + "x"),
    "another case": head(api_key=ANNA.upper()),
    "the hash of a key": head(api_key=sha256(ANNA.encode()).hexdigest()),
    "SQL": head(authorization="Bearer ' OR '1'='1"),
    "a very long key": head(authorization="Bearer " + "x" * 30_000),
    "a cookie that nobody vouches for": head(cookie=f"session={ANNA}"),
    "a cookie of another origin": head(origin=EVIL, cookie=f"session={ANNA}"),
    "a cookie of a sandbox": head(origin="null", cookie=f"session={ANNA}"),
    "a cookie of another site": head(sec_fetch_site="cross-site", cookie=f"session={ANNA}"),
    "another cookie": head(origin=APP, cookie=f"Session={ANNA}; x={ANNA}; session"),
    "two cookies": head(origin=APP, cookie=f"session={ANNA}; session={BERT}"),
    "an unknown ticket": head("GET /v1/x?ticket=abc"),
}


@pytest.mark.parametrize("asked", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_whoever_is_not_known_hears_always_the_same(asked):
    with pytest.raises(InvalidApiKey) as refusal:
        callers().identify(asked, NOW)

    assert refusal.value.status == 401
    assert refusal.value.payload() == InvalidApiKey().payload()
    assert refusal.value.fields == b"www-authenticate: Bearer\r\n"


def test_keys_in_the_query_count_only_where_the_operator_says_so():
    strict = callers(query=False)

    with pytest.raises(InvalidApiKey):
        strict.identify(head(f"GET /v1/x?api_key={ANNA}"), NOW)
    assert subject(head(f"GET /v1/x?api_key={BERT}", api_key=ANNA), strict) == "anna"


def test_cookies_count_only_where_the_operator_named_one():
    with pytest.raises(InvalidApiKey):
        callers(cookie=None).identify(head(origin=APP, cookie=f"session={ANNA}"), NOW)


def test_bytes_that_are_no_text_are_no_key():
    with pytest.raises(InvalidApiKey):
        callers().identify(head_of("GET /", [("x-api-key", "sk-\xff")]), NOW)


# Models.


def test_a_caller_without_a_list_may_use_every_model():
    for models in (None, ("*",), ("small", "*")):
        caller = callers([Key(Secret(ANNA), "anna", models)]).identify(head(api_key=ANNA), NOW)

        assert caller.knows("large")


def test_a_model_that_a_caller_may_not_use_does_not_exist_for_it():
    bert = callers().identify(head(api_key=BERT), NOW)

    assert (bert.knows("small"), bert.knows("large")) == (True, False)


# Tickets.

DOORS = {
    "in the query": lambda ticket: head(f"GET {PATH}?ticket={ticket}"),
    "as a subprotocol": lambda ticket: head(
        f"GET {PATH}", sec_websocket_protocol=f"headgate.v1, ticket.{ticket}"
    ),
    "both": lambda ticket: head(
        f"GET {PATH}?ticket={ticket}", sec_websocket_protocol=f"ticket.{ticket}"
    ),
    "from a listed origin": lambda ticket: head(f"GET {PATH}?ticket={ticket}", origin=APP),
    "from its own page": lambda ticket: head(
        f"GET {PATH}?ticket={ticket}", host="gate.example", origin="https://gate.example"
    ),
}


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS.keys())
def test_a_ticket_says_in_whose_name_its_path_is_opened_once(door):
    tickets = Tickets()
    known = callers(tickets=tickets)
    ticket, _ = tickets.issue(known.identify(head(api_key=BERT), NOW), PATH, NOW)

    assert known.identify(door(ticket), NOW) == Caller("bert", frozenset({"small"}), PATH)
    with pytest.raises(InvalidApiKey):
        known.identify(door(ticket), NOW)


USELESS = {
    "another path": lambda ticket: head(f"GET /v1/stream/two?ticket={ticket}"),
    "another method": lambda ticket: head(f"POST {PATH}?ticket={ticket}"),
    "HEAD": lambda ticket: head(f"HEAD {PATH}?ticket={ticket}"),
    "with another ticket": lambda ticket: head(f"GET {PATH}?ticket={ticket}&ticket=abc"),
    "as a key": lambda ticket: head(f"GET {PATH}", api_key=ticket),
    "as a subprotocol by another name": lambda ticket: head(
        f"GET {PATH}", sec_websocket_protocol=ticket
    ),
}


@pytest.mark.parametrize("door", USELESS.values(), ids=USELESS.keys())
def test_a_ticket_opens_nothing_else(door):
    tickets = Tickets()
    ticket, _ = tickets.issue(Caller("bert"), PATH, NOW)

    with pytest.raises(InvalidApiKey):
        callers(tickets=tickets).identify(door(ticket), NOW)


@pytest.mark.parametrize("origin", [EVIL, "null"])
def test_a_ticket_that_a_foreign_page_shows_is_refused_and_stays_good(origin):
    tickets = Tickets()
    known = callers(tickets=tickets)
    ticket, _ = tickets.issue(Caller("bert"), PATH, NOW)

    with pytest.raises(Forbidden):
        known.identify(head(f"GET {PATH}?ticket={ticket}", origin=origin), NOW)
    assert subject(head(f"GET {PATH}?ticket={ticket}"), known) == "bert"


# An open gateway.

WELCOME = {
    "nobody in particular": head(),
    "an SDK with some key": head("POST /v1/x", authorization="Bearer sk-anything"),
    "two keys": head(x_api_key="a", api_key="b"),
    "a listed origin": head("POST /v1/x", origin=APP),
    "its own page": head("POST /v1/x", origin="http://127.0.0.1:8080"),
    "its own page by name": head("POST /v1/x", host="localhost:1", origin="http://localhost:1"),
    "a service behind a proxy": head("POST /v1/x", host="gate.example.com"),
}


@pytest.mark.parametrize("asked", WELCOME.values(), ids=WELCOME.keys())
def test_without_keys_all_are_the_same_caller(asked):
    assert callers([]).identify(asked, NOW) == OPEN == Caller("", None, None)


KEPT_OUT = {
    "a foreign page": head("POST /v1/x", origin=EVIL),
    "a foreign page with a key": head("POST /v1/x", origin=EVIL, api_key=ANNA),
    "a foreign page on this machine": head("POST /v1/x", origin="http://127.0.0.1:3000"),
    "a file or a sandbox": head("POST /v1/x", origin="null"),
    "an image on a foreign page": head("GET /v1/x?messages=[]", sec_fetch_site="cross-site"),
}


@pytest.mark.parametrize("asked", KEPT_OUT.values(), ids=KEPT_OUT.keys())
def test_no_web_page_spends_money_through_an_open_gateway_on_its_readers_machine(asked):
    with pytest.raises(Forbidden) as refusal:
        callers([]).identify(asked, NOW)

    assert refusal.value.status == 403


def test_nor_does_a_page_whose_name_was_turned_to_that_machine():
    rebound = "evil.example:8080"

    for asked in (head(host=rebound), head("POST /", host=rebound, origin=f"http://{rebound}")):
        with pytest.raises(Misdirected):
            callers([]).identify(asked, NOW)
    assert subject(head(host=rebound, api_key=ANNA)) == "anna"


# Whatever comes.

NAMES = ["authorization", "x-api-key", "api-key", "cookie", "origin", "sec-fetch-site"]
NAMES += ["sec-websocket-protocol"]
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"))
PARTS = ["Bearer ", "ticket.", "session=", "; ", ", ", APP, "null", "same-origin", "sk-", " "]
VALUES = st.lists(st.sampled_from(PARTS) | TEXT, max_size=5).map("".join)
QUERY = st.text("?&=%+;abkeypi_tc0" + "ticket", max_size=30)
SOUP = st.builds(
    lambda method, query, fields: head_of(f"{method} /v1/x?{query}", list(fields.items())),
    st.sampled_from(["GET", "POST", "OPTIONS"]),
    QUERY,
    st.dictionaries(st.sampled_from(NAMES), VALUES),
)


@given(SOUP, st.booleans())
def test_no_head_raises_anything_but_what_is_documented(asked, is_open):
    try:
        caller = callers([] if is_open else KEYS).identify(asked, NOW)
    except (InvalidApiKey, Forbidden, Misdirected):
        return
    assert is_open
    assert caller == OPEN


KEY = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)


@given(st.lists(KEY, min_size=1, unique=True), KEY)
def test_a_key_is_accepted_if_it_is_configured_and_only_then(configured, shown):
    known = callers([Key(Secret(key), f"of {key}") for key in configured])

    for key in (*configured, shown):
        asked = head_of("GET /", [("authorization", f"Bearer {key}")])
        if key in configured:
            assert known.identify(asked, NOW).subject == f"of {key}"
        else:
            with pytest.raises(InvalidApiKey):
                known.identify(asked, NOW)


# Keys are never shown.


def reachable(root: object) -> list[object]:
    """All that an object refers to, on however many ways."""
    seen: dict[int, object] = {}
    rest = [root]
    while rest:
        item = rest.pop()
        if id(item) not in seen and not isinstance(item, type):
            seen[id(item)] = item
            rest += gc.get_referents(item)
    return list(seen.values())


def test_neither_a_key_nor_a_ticket_is_kept_or_written_anywhere(caplog, capsys):
    caplog.set_level(logging.DEBUG)
    tickets = Tickets()
    known = callers(tickets=tickets)
    caller = known.identify(head(api_key=ANNA), NOW)
    ticket, _ = tickets.issue(caller, PATH, NOW)
    outputs = [repr(known), repr(tickets), repr(caller), str(KEYS)]
    for asked in UNKNOWN.values():
        with pytest.raises(GatewayError) as refusal:
            known.identify(asked, NOW)
        error = refusal.value
        outputs += [repr(error), str(error), str(error.payload()), str(error.fields)]
    outputs += [repr(item) for item in reachable(known) if isinstance(item, str | bytes)]
    outputs += [caplog.text, *capsys.readouterr()]

    for output in outputs:
        assert "canary" not in output
        assert ticket not in output
