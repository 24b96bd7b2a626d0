"""The configuration: what stands in the file is what one gets, or one line says why not."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway import config
from gateway.errors import ConfigError
from tests.headgate_toml import MODEL, TARGETS, UPSTREAM, fault, faults, parse


NO_UPSTREAM = 'no upstream; write [upstreams.NAME] with base_url = "https://…/v1"'
NO_MODEL = 'no model; write [models."*"] with targets = [{ upstream = "NAME" }]'
TOP = '"server", "logs", "cors", "upstreams", "models", "keys", "channels"'

DOCUMENTS = {
    MODEL: f"[upstreams]: {NO_UPSTREAM}",
    UPSTREAM: f"[models]: {NO_MODEL}",
    "upstreams = []" + MODEL: "[upstreams]: expected tables [upstreams.NAME], found an array of 0",
    "models = 5" + UPSTREAM: "[models]: expected tables [models.NAME], found an integer",
    "server = 'sk-live'" + UPSTREAM + MODEL: "[server]: expected a table, found a string",
    "upstreams.openai = 'sk-live'" + MODEL: (
        "[upstreams.openai]: expected a table, found a string"
    ),
    "models.gpt-4.1.targets = []" + UPSTREAM: (
        "[models.gpt-4] 1: unknown key; a model name with a dot stands in quotes"
    ),
    UPSTREAM + '[models."a\\u0000b"]': (
        '[models."a\\u0000b"]: expected a name of printable characters'
    ),
    UPSTREAM + '[models.""]': '[models.""]: expected a name of printable characters',
    "[servr]" + UPSTREAM + MODEL: '[servr]: unknown table; did you mean "server"?',
    "listen = 1" + UPSTREAM + MODEL: f"[listen]: unknown table; known are {TOP}",
    "logs = 5" + UPSTREAM + MODEL: "[logs]: expected a table, found an integer",
    "[records]" + UPSTREAM + MODEL: "[records]: not yet supported",
    "[keys]\nkey = 'sk-live'" + UPSTREAM + MODEL: (
        "[[keys]]: expected tables [[keys]], found a table"
    ),
    "keys = ['sk-live']" + UPSTREAM + MODEL: "[[keys]][0]: expected a table, found a string",
    "[[channels]]" + UPSTREAM + MODEL: (
        "[channels]: expected tables [channels.NAME], found an array of 1"
    ),
    "[server\n": "not TOML: Expected ']' at the end of a table declaration (at line 1, column 8)",
    "a = 1\na = 2\n": "not TOML: Cannot overwrite a value (at line 2, column 6)",
    "a = " + "[" * 5000: "nested too deeply",
}


@pytest.mark.parametrize(("text", "message"), DOCUMENTS.items())
def test_a_fault_of_the_document_is_told_in_full(text, message):
    assert fault(text) == message


def test_an_endless_integer_is_a_fault_and_no_traceback():
    assert fault("a = " + "9" * 5000).startswith("not TOML: Exceeds the limit")


def test_each_table_has_one_line_and_all_tables_are_told_at_once():
    text = """
    [server]
    lisen = 1
    drian = 2
    [upstreams.a]
    base_url = "a"
    keys = "a"
    [upstreams.b]
    [upstreams.c]
    base_url = "https://c"
    [models.a]
    targets = [{ upstream = "a" }]
    [models.b]
    targets = [{ upstream = "x" }]
    [models.c]
    [records]
    [[keys]]
    key = "sk-live"
    [[keys]]
    subject = "web"
    """

    assert faults(text) == [
        "headgate.toml: [records]: not yet supported",
        "headgate.toml: [[keys]][0] key: expected a key of at least 16 characters, found a string",
        'headgate.toml: [[keys]][1] key: missing; expected a key such as "${credential:web_key}"',
        'headgate.toml: [server] lisen: unknown key; did you mean "listen"?',
        "headgate.toml: [upstreams.a] base_url: expected a URL that begins with https:// or "
        'http://, found "a"',
        "headgate.toml: [upstreams.b] base_url: missing; expected a URL such as "
        '"https://api.openai.com/v1"',
        f"headgate.toml: [models.c] targets: missing; expected {TARGETS}",
        'headgate.toml: [models.b] targets[0].upstream: unknown upstream "x"; '
        'known are "a", "b", "c"',
    ]


def test_the_same_key_twice_is_a_fault_that_does_not_show_it():
    text = """
    [[keys]]
    key = "caller-canary-0001"
    subject = "a"
    [[keys]]
    key = "caller-canary-0002"
    subject = "a"
    [[keys]]
    key = "${KEY}"
    subject = "b"
    """
    env = {"KEY": "caller-canary-0001"}

    assert fault(UPSTREAM + MODEL + text, env) == (
        "[[keys]][2] key: the key of [[keys]][0] once more; a key is of one subject"
    )


@pytest.mark.parametrize(
    ("server", "says"),
    [
        ('listen = ["[::1]:1", "[::1]:1"]', 'listen[1]: "[::1]:1" is the address of listen[0]'),
        ('listen = ["[::1]:1"]\nadmin = "[::1]:1"', 'admin: "[::1]:1" is the address of listen[0]'),
        ('listen = ["127.0.0.1:9090"]', 'admin: "127.0.0.1:9090" is the address of listen[0]'),
        ('listen = ["unix:/s"]\nadmin = "unix:/s"', 'admin: "unix:/s" is the address of listen[0]'),
    ],
)
def test_two_listeners_have_two_addresses(server, says):
    assert fault(f"[server]\n{server}\n{UPSTREAM}{MODEL}") == f"[server] {says}"


def test_the_system_picks_a_port_for_each_listener():
    server = 'listen = ["127.0.0.1:0", "127.0.0.1:0"]\nadmin = "127.0.0.1:0"'
    assert len(parse(f"[server]\n{server}\n{UPSTREAM}{MODEL}").server.listen) == 2


OPEN = (
    "other machines can reach it, and no caller needs a key; "
    "write [[keys]] with key and subject, or listen on 127.0.0.1 or a unix socket"
)
KEY = """
[[keys]]
key = "caller-canary-0001"
subject = "web"
"""


@pytest.mark.parametrize("address", ["0.0.0.0:80", "[::]:80", "10.0.0.1:80", "gateway.internal:80"])
def test_only_who_asks_for_keys_may_listen_to_others(address):
    server = f'[server]\nlisten = ["127.0.0.1:8080", "{address}"]\n'

    assert fault(server + UPSTREAM + MODEL) == f"[server] listen[1]: {OPEN}"
    assert fault("keys = []\n" + server + UPSTREAM + MODEL) == f"[server] listen[1]: {OPEN}"
    assert len(parse(server + UPSTREAM + MODEL + KEY).keys) == 1


@pytest.mark.parametrize(
    "address", ["127.0.0.2:80", "[::1]:80", "localhost:80", "unix:/run/x", "systemd:public"]
)
def test_without_keys_one_may_listen_to_ones_own_machine(address):
    assert parse(f'server.listen = ["{address}"]\n{UPSTREAM}{MODEL}').keys == ()


def test_a_key_with_a_fault_does_not_count_as_none():
    server = '[server]\nlisten = ["0.0.0.0:80"]\n'

    assert fault(server + UPSTREAM + MODEL + KEY.replace("subject", "sub")) == (
        '[[keys]][0] sub: unknown key; did you mean "subject"?'
    )


def test_channels_that_may_retain_more_than_there_is_are_a_warning():
    lines = """
    [logs]
    max_bytes = "2MiB"
    [channels.a]
    [channels.b]
    [channels.c]
    retain.bytes = "1B"
    """

    assert parse(UPSTREAM + MODEL + lines).warnings == (
        "headgate.toml: [logs] max_bytes: less than the channels together may retain",
    )


WARNINGS = {
    ("127.0.0.1:9090", "http://127.0.0.1:8000", "k"): [],
    ("[::1]:9090", "http://localhost:8000", "k"): [],
    ("unix:/run/admin.sock", "https://models.example", "k"): [],
    ("systemd:admin", "http://models.example", None): [],
    ("127.0.0.1:9090", "http://models.example", "k"): [
        "headgate.toml: [upstreams.x] base_url: http:// sends the key in clear text to "
        "models.example"
    ],
    ("127.0.0.1:9090", "https://models.example/v1/chat/completions/", "k"): [
        "headgate.toml: [upstreams.x] base_url: calls are put behind it: "
        'leave "/chat/completions" out'
    ],
    ("0.0.0.0:9090", "http://localhost", "k"): [
        "headgate.toml: [server] admin: other machines can reach it, and it asks for no key"
    ],
}


@pytest.mark.parametrize(("values", "lines"), WARNINGS.items())
def test_what_is_allowed_and_likely_a_mistake_is_a_warning(values, lines):
    admin, base_url, key = values
    keys = [key] if key else []

    loaded = parse(f"""
        server.admin = "{admin}"
        upstreams.x = {{ base_url = "{base_url}", keys = {keys} }}
        models.x.targets = [{{ upstream = "x" }}]
    """)

    assert list(loaded.warnings) == lines


def test_only_a_model_is_a_wildcard():
    loaded = parse("""
        upstreams."*".base_url = "http://localhost"
        models."*".targets = [{ upstream = "*" }]
    """)

    assert loaded.upstreams["*"].name == "*"
    assert loaded.models["*"].name == "other"


def test_a_file_may_be_as_large_as_the_limit(tmp_path):
    path = tmp_path / "headgate.toml"
    path.write_text((UPSTREAM + MODEL + "#").ljust(config.CONFIG_LIMIT, "x"))

    assert config.load(path, {}).models["*"]


def test_a_file_is_loaded_under_its_own_name(tmp_path):
    path = tmp_path / "headgate.toml"
    path.write_text(UPSTREAM + MODEL)

    assert list(config.load(path, {}).upstreams) == ["openai"]

    path.write_text(UPSTREAM)
    with pytest.raises(ConfigError) as caught:
        config.load(str(path), {})

    assert caught.value.message == f"{path}: [models]: {NO_MODEL}"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file or directory"),
        (b"# \xff", "not UTF-8 at byte 2"),
        (b"#" * (config.CONFIG_LIMIT + 1), "larger than 1048576 bytes"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path, content, why):
    path = tmp_path / "headgate.toml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        config.load(path, {})

    assert caught.value.message == f"{path}: {why}"


def test_a_directory_is_no_configuration(tmp_path):
    with pytest.raises(ConfigError) as caught:
        config.load(tmp_path, {})

    assert caught.value.message == f"{tmp_path}: Is a directory"


def toml(value):
    """Write a value as TOML; JSON's strings and numbers are TOML's, but for DEL."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["5s", "127.0.0.1:80", "http://x", "openai", "${EMPTY}", "${file:/dev/null}", " - at `$.y`"]
)
KNOWN = ["listen", "workers", "drain", "base_url", "keys", "timeouts", "idle", "max_connections"]
KNOWN += ["store", "retain", "max_bytes", "long_poll", "origins", "cookie", "key", "subject"]
KNOWN += ["models", "welcome", "periodic", "entries", "bytes", "age", "allow_query_keys"]
KNOWN += ["retry", "attempts", "backoff", "sticky", "weight", "priority", "hedge"]
KNOWN += ["coalesce", "ttl", "pace"]
KNOWN += ["ca_file", "targets", "upstream", "model", "on_disconnect", "log_format", "admin", "name"]
JUNK = st.recursive(
    TEXTS | st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KNOWN) | TEXTS, inner, max_size=3)
    ),
    max_leaves=8,
)
PLACES = {"server": None, "logs": None, "cors": None, "keys": 0}
PLACES |= {"upstreams": "openai", "models": "*", "channels": "events"}


@given(st.sampled_from(list(PLACES)), st.dictionaries(st.sampled_from(KNOWN) | TEXTS, JUNK))
@example("upstreams", {"x - at `$.y`": 1})
@example("models", {"targets": [{"upstream": "x` - at `$.z"}], "on_disconnect": "' - at `$.q`"})
def test_junk_in_any_key_loads_or_raises_a_config_error_and_nothing_else(place, junk):
    tables = {
        "server": {},
        "logs": {},
        "cors": {},
        "keys": [{"key": "caller-canary-0001", "subject": "web"}],
        "channels": {"events": {}},
        "upstreams": {"openai": {"base_url": "http://x"}},
        "models": {"*": {"targets": [{"upstream": "openai"}]}},
    }
    table = tables[place]
    (table if PLACES[place] is None else table[PLACES[place]]).update(junk)
    text = "\n".join(f"{toml(name)} = {toml(table)}" for name, table in tables.items())

    try:
        parse(text)
    except ConfigError as error:
        message = error.message
    else:
        message = ""

    assert "not TOML" not in message, "the test itself wrote this TOML"
    assert message.replace("\n", "").isprintable()


@given(st.text())
def test_any_text_loads_or_raises_a_config_error_and_nothing_else(text):
    with pytest.raises(ConfigError):
        parse(text)
