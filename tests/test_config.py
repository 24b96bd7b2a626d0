"""The configuration: what stands in the file is what one gets, or one line says why not."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway import config
from gateway.config import Model, Target, Timeouts
from gateway.errors import ConfigError
from gateway.units import Systemd, Tcp, Unix


ENV = {"OPENAI_API_KEY": "sk-live", "EMPTY": ""}

# Each table as an operator's first file has it; a case replaces what it is about.
UPSTREAM = """
[upstreams.openai]
base_url = "https://api.openai.com/v1"
"""
MODEL = """
[models."*"]
targets = [{ upstream = "openai" }]
"""

FULL = """
[server]
listen = ["127.0.0.1:8080", "[::]:0", "unix:/run/headgate/http.sock", "systemd:public"]
admin = "localhost:9091"
workers = 1
drain = "90s"
log_format = "text"

[upstreams.openai]
dialect = "openai"
base_url = "https://api.openai.com/v1/"
keys = ["${OPENAI_API_KEY}"]
timeouts = { connect = "500ms", first_event = "1m", idle = "30s", total = "2h" }
max_connections = 50
ca_file = "CA_FILE"

[upstreams.local]
base_url = "http://127.0.0.1:${PORT:-8000}"

[models."gpt-4.1"]
targets = [{ upstream = "openai", model = "gpt-4.1-2025-04-14" }]
on_disconnect = "cancel"

[models."*"]
targets = [{ upstream = "local" }]
"""


def parse(text, env=ENV):
    return config.parse(text, name="headgate.toml", env=env)


def faults(text, env=ENV):
    """Return the lines of the error that `text` raises."""
    with pytest.raises(ConfigError) as caught:
        parse(text, env)
    return caught.value.message.split("\n")


def fault(text, env=ENV):
    """Return the only line of the error, without the name of the file."""
    [line] = faults(text, env)
    return line.removeprefix("headgate.toml: ")


@pytest.fixture
def full(tmp_path):
    ca_file = tmp_path / "ca.pem"
    ca_file.touch()
    return parse(FULL.replace("CA_FILE", str(ca_file))), str(ca_file)


def test_every_key_of_the_server_is_read(full):
    server = full[0].server

    assert server.listen == (
        Tcp("127.0.0.1", 8080),
        Tcp("::", 0),
        Unix("/run/headgate/http.sock"),
        Systemd("public"),
    )
    assert server.admin == Tcp("localhost", 9091)
    assert (server.workers, server.drain, server.log_format) == (1, 90.0, "text")


def test_every_key_of_an_upstream_is_read(full):
    loaded, ca_file = full
    upstream = loaded.upstreams["openai"]
    url = upstream.base_url

    assert (upstream.name, upstream.dialect) == ("openai", "openai")
    assert (url.scheme, url.host, url.port, url.path) == ("https", "api.openai.com", 443, "/v1")
    assert [key.reveal() for key in upstream.keys] == ["sk-live"]
    assert upstream.timeouts == Timeouts(connect=0.5, first_event=60.0, idle=30.0, total=7200.0)
    assert (upstream.max_connections, upstream.ca_file) == (50, ca_file)


def test_a_model_knows_its_label_and_its_target(full):
    assert full[0].models == {
        "gpt-4.1": Model("gpt-4.1", (Target("openai", "gpt-4.1-2025-04-14"),), "cancel"),
        "*": Model("other", (Target("local", None),), "cancel"),
    }


def test_what_is_left_out_has_its_default():
    loaded = parse(UPSTREAM + MODEL)
    upstream = loaded.upstreams["openai"]

    assert loaded.server.listen == (Tcp("127.0.0.1", 8080),)
    assert loaded.server.admin == Tcp("127.0.0.1", 9090)
    assert (loaded.server.workers, loaded.server.drain, loaded.server.log_format) == (
        1,
        600.0,
        "json",
    )
    assert upstream.timeouts == Timeouts(connect=5.0, first_event=120.0, idle=120.0, total=3600.0)
    assert (upstream.dialect, upstream.keys) == ("openai", ())
    assert (upstream.max_connections, upstream.ca_file) == (1000, None)
    assert loaded.warnings == ()


def test_a_model_is_found_by_its_own_name_first(full):
    loaded = full[0]

    assert loaded.model("gpt-4.1") is loaded.models["gpt-4.1"]
    assert loaded.model("gpt-5") is loaded.models["*"]


def test_without_a_wildcard_other_names_are_unknown():
    loaded = parse(UPSTREAM + MODEL.replace("*", "gpt-4.1"))

    assert loaded.model("gpt-5") is None


def test_nothing_that_prints_a_config_prints_a_key(full):
    assert "sk-live" not in repr(full[0])
    assert "keys=(***,)" in repr(full[0])


SERVER = {
    'listen = "127.0.0.1:8080"': (
        'listen: expected an array of addresses such as ["127.0.0.1:8080"], found "127.0.0.1:8080"'
    ),
    "listen = []": (
        'listen: expected an array of addresses such as ["127.0.0.1:8080"], found an array of 0'
    ),
    'listen = ["127.0.0.1:8080", "8081"]': (
        'listen[1]: expected "host:port", "[::]:port", "unix:/path" or "systemd:NAME", found "8081"'
    ),
    "admin = 9090": (
        'admin: expected "host:port", "[::]:port", "unix:/path" or "systemd:NAME", found 9090'
    ),
    'admin = "127.0.0.1:65536"': 'admin: expected a port from 0 to 65535, found "127.0.0.1:65536"',
    "workers = 2": "workers: expected 1 (more are not yet supported), found 2",
    'workers = "auto"': 'workers: expected 1 (more are not yet supported), found "auto"',
    "workers = true": "workers: expected 1 (more are not yet supported), found true",
    "drain = 600": ('drain: expected a duration such as "500ms", "30s", "5m" or "1h", found 600'),
    "drain = 1979-05-27": (
        'drain: expected a duration such as "500ms", "30s", "5m" or "1h", found a date or a time'
    ),
    'log_format = "xml"': 'log_format: expected "json" or "text", found "xml"',
    "log_format = {}": 'log_format: expected "json" or "text", found a table',
    'lisen = ["127.0.0.1:8080"]': 'lisen: unknown key; did you mean "listen"?',
    "DRAIN = 1": 'DRAIN: unknown key; did you mean "drain"?',
    "port = 8080": (
        'port: unknown key; known are "listen", "admin", "workers", "drain", "log_format"'
    ),
    "name = 1": (
        'name: unknown key; known are "listen", "admin", "workers", "drain", "log_format"'
    ),
    '"dra\\u0000in" = 1': '"dra\\u0000in": unknown key; did you mean "drain"?',
    'log_format = "${FORMAT}"': "log_format: ${FORMAT}: the environment variable is not set",
    'log_format = "${EMPTY}"': "log_format: ${EMPTY}: the environment variable is empty",
    'log_format = "${FORMAT:-xml}"': (
        'log_format: expected "json" or "text", found "${FORMAT:-xml}"'
    ),
    f"workers = 0x{'f' * 5000}": ("workers: expected an integer of at most 64 bits"),
}


@pytest.mark.parametrize(("line", "message"), SERVER.items())
def test_a_fault_of_the_server_is_told_in_full(line, message):
    assert fault(f"[server]\n{line}\n{UPSTREAM}{MODEL}") == f"[server] {message}"


KEYS = 'an array of one key such as ["${OPENAI_API_KEY}"] (more are not yet supported)'
TIMEOUTS = 'a table such as { connect = "5s", total = "1h" }'

UPSTREAMS = {
    'dialect = "anthropic"': (
        'dialect: expected "openai" (others are not yet supported), found "anthropic"'
    ),
    'dialect = "gemini"': (
        'dialect: expected "openai" (others are not yet supported), found "gemini"'
    ),
    'keys = ["a", "b"]': f"keys: expected {KEYS}, found an array of 2",
    'keys = "sk-live"': f"keys: expected {KEYS}, found a string",
    "keys = 12345678": f"keys: expected {KEYS}, found an integer",
    "keys = [12345678]": ('keys[0]: expected a key such as "${OPENAI_API_KEY}", found an integer'),
    'keys = [["sk-live"]]': (
        'keys[0]: expected a key such as "${OPENAI_API_KEY}", found an array of 1'
    ),
    'keys = [""]': 'keys[0]: expected a key such as "${OPENAI_API_KEY}", found an empty string',
    'keys = ["${KEY:-}"]': 'keys[0]: expected a key such as "${OPENAI_API_KEY}", found ${KEY}',
    'keys = ["${KEY}"]': "keys[0]: ${KEY}: the environment variable is not set",
    'keys = ["${EMPTY}"]': "keys[0]: ${EMPTY}: the environment variable is empty",
    'keys = ["${KEY:-sk live}"]': (
        "keys[0]: expected a key of visible ASCII characters, found ${KEY}"
    ),
    'keys = ["sk live"]': "keys[0]: expected a key of visible ASCII characters, found a string",
    'keys = ["${sk-live}"]': (
        "keys[0]: expected ${NAME}, ${NAME:-default}, ${file:/path} or ${credential:name} "
        "after a ${"
    ),
    'keys = ["${file:/nowhere}"]': "keys[0]: ${file:/nowhere}: No such file or directory",
    'key = "sk-live"': 'key: unknown key; did you mean "keys"?',
    'timeouts = "5s"': f'timeouts: expected {TIMEOUTS}, found "5s"',
    'timeouts = { conect = "5s" }': 'timeouts.conect: unknown key; did you mean "connect"?',
    'timeouts = { idle = "0s" }': (
        'timeouts.idle: expected a duration longer than none, found "0s"'
    ),
    'timeouts.idle = "2"': (
        'timeouts.idle: expected a duration such as "500ms", "30s", "5m" or "1h", found "2"'
    ),
    "timeouts.total = {}": (
        'timeouts.total: expected a duration such as "500ms", "30s", "5m" or "1h", found a table'
    ),
    "max_connections = 0": "max_connections: expected an integer from 1 to 65535, found 0",
    "max_connections = 65536": (
        "max_connections: expected an integer from 1 to 65535, found 65536"
    ),
    "max_connections = 1.5": "max_connections: expected an integer from 1 to 65535, found 1.5",
    "max_connections = inf": (
        "max_connections: expected an integer from 1 to 65535, found a number"
    ),
    'ca_file = "/nowhere"': (
        'ca_file: expected a readable file (No such file or directory), found "/nowhere"'
    ),
    'ca_file = "/"': 'ca_file: expected a readable file (Is a directory), found "/"',
    f'ca_file = "/{"x" * 60}"': (
        f'ca_file: expected a readable file (No such file or directory), found "/{"x" * 59}..."'
    ),
    'name = "x"': (
        'name: unknown key; known are "base_url", "dialect", "keys", "timeouts", '
        '"max_connections", "ca_file"'
    ),
}


@pytest.mark.parametrize(("line", "message"), UPSTREAMS.items())
def test_a_fault_of_an_upstream_is_told_in_full(line, message):
    assert fault(f"{UPSTREAM}{line}\n{MODEL}") == f"[upstreams.openai] {message}"


BASE_URLS = {
    "base_url = 80": ("base_url: expected a URL that begins with https:// or http://, found 80"),
    'base_url = "api.openai.com"': (
        'base_url: expected a URL that begins with https:// or http://, found "api.openai.com"'
    ),
    'base_url = "https://user:sk-live@host"': (
        "base_url: expected a URL without user and password (the key belongs in keys), "
        "found a string"
    ),
    'base_url = "https://host/?key=sk-live"': (
        "base_url: expected a URL without query and fragment, found a string"
    ),
    'base_url = "${OPENAI_API_KEY}"': (
        'base_url: expected a URL that begins with https:// or http://, found "${OPENAI_API_KEY}"'
    ),
    "": 'base_url: missing; expected a URL such as "https://api.openai.com/v1"',
}


@pytest.mark.parametrize(("line", "message"), BASE_URLS.items())
def test_a_fault_of_a_base_url_is_told_in_full(line, message):
    assert fault(f"[upstreams.openai]\n{line}\n{MODEL}") == f"[upstreams.openai] {message}"


TARGETS = 'an array of one target such as [{ upstream = "openai" }] (more are not yet supported)'

MODELS = {
    "": f"targets: missing; expected {TARGETS}",
    "targets = []": f"targets: expected {TARGETS}, found an array of 0",
    'targets = "openai"': f'targets: expected {TARGETS}, found "openai"',
    'targets = ["openai"]': f'targets[0]: expected {TARGETS}, found "openai"',
    'targets = [{ upstream = "openai" }, { upstream = "openai" }]': (
        f"targets: expected {TARGETS}, found an array of 2"
    ),
    "targets = [{}]": "targets[0].upstream: missing; expected the name of an upstream",
    'targets = [{ upstream = "opneai" }]': (
        'targets[0].upstream: unknown upstream "opneai"; did you mean "openai"?'
    ),
    'targets = [{ upstream = "azure" }]': (
        'targets[0].upstream: unknown upstream "azure"; known are "openai"'
    ),
    'targets = [{ upstream = "openai", weight = 9 }]': "targets[0].weight: not yet supported",
    'targets = [{ upstream = "openai", priority = 2 }]': "targets[0].priority: not yet supported",
    'targets = [{ upstream = "openai", modle = "x" }]': (
        'targets[0].modle: unknown key; did you mean "model"?'
    ),
    'targets = [{ upstream = "openai", model = "" }]': (
        'targets[0].model: expected a name of printable characters, found ""'
    ),
    'targets = [{ upstream = "openai", model = "a\\u001b[2J" }]': (
        'targets[0].model: expected a name of printable characters, found "a\\u001b[2J"'
    ),
    'targets = [{ upstream = "openai" }]\non_disconnect = "detach:60s"': (
        'on_disconnect: expected "cancel" ("detach" is not yet supported), found "detach:60s"'
    ),
    'targets = [{ upstream = "openai" }]\nname = "x"': (
        'name: unknown key; known are "targets", "on_disconnect"'
    ),
}


@pytest.mark.parametrize(("lines", "message"), MODELS.items())
def test_a_fault_of_a_model_is_told_in_full(lines, message):
    assert fault(f'{UPSTREAM}[models."gpt-4.1"]\n{lines}') == f'[models."gpt-4.1"] {message}'


NO_UPSTREAM = 'no upstream; write [upstreams.NAME] with base_url = "https://…/v1"'
NO_MODEL = 'no model; write [models."*"] with targets = [{ upstream = "NAME" }]'
TOP = '"server", "upstreams", "models"'

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
    "[logs]\nstore = 'redis://host'" + UPSTREAM + MODEL: "[logs]: not yet supported",
    "[records]" + UPSTREAM + MODEL: "[records]: not yet supported",
    "[cors]" + UPSTREAM + MODEL: "[cors]: not yet supported",
    "[[keys]]" + UPSTREAM + MODEL: "[keys]: not yet supported",
    "[channels.events]" + UPSTREAM + MODEL: "[channels]: not yet supported",
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
    [logs]
    """

    assert faults(text) == [
        "headgate.toml: [logs]: not yet supported",
        'headgate.toml: [server] lisen: unknown key; did you mean "listen"?',
        "headgate.toml: [upstreams.a] base_url: expected a URL that begins with https:// or "
        'http://, found "a"',
        "headgate.toml: [upstreams.b] base_url: missing; expected a URL such as "
        '"https://api.openai.com/v1"',
        f"headgate.toml: [models.c] targets: missing; expected {TARGETS}",
        'headgate.toml: [models.b] targets[0].upstream: unknown upstream "x"; '
        'known are "a", "b", "c"',
    ]


WARNINGS = {
    ("127.0.0.1:9090", "http://127.0.0.1:8000", "k"): [],
    ("[::1]:9090", "http://localhost:8000", "k"): [],
    ("unix:/run/admin.sock", "https://models.example", "k"): [],
    ("systemd:admin", "http://models.example", None): [],
    ("127.0.0.1:9090", "http://models.example", "k"): [
        "headgate.toml: [upstreams.x] base_url: http:// sends the key in clear text to "
        "models.example"
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

    assert config.load(path, {}).model("any")


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
KNOWN += ["ca_file", "targets", "upstream", "model", "on_disconnect", "log_format", "admin", "name"]
JUNK = st.recursive(
    TEXTS | st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KNOWN) | TEXTS, inner, max_size=3)
    ),
    max_leaves=8,
)
PLACES = {"server": None, "upstreams": "openai", "models": "*"}


@settings(deadline=None)  # a busy machine is no failure
@given(st.sampled_from(list(PLACES)), st.dictionaries(st.sampled_from(KNOWN) | TEXTS, JUNK))
@example("upstreams", {"x - at `$.y`": 1})
@example("models", {"targets": [{"upstream": "x` - at `$.z"}], "on_disconnect": "' - at `$.q`"})
def test_junk_in_any_key_loads_or_raises_a_config_error_and_nothing_else(place, junk):
    tables = {
        "server": {},
        "upstreams": {"openai": {"base_url": "http://x"}},
        "models": {"*": {"targets": [{"upstream": "openai"}]}},
    }
    table = tables[place]
    (table[PLACES[place]] if PLACES[place] else table).update(junk)
    text = "\n".join(f"{toml(name)} = {toml(table)}" for name, table in tables.items())

    try:
        parse(text)
    except ConfigError as error:
        message = error.message
    else:
        message = ""

    assert "not TOML" not in message, "the test itself wrote this TOML"
    assert message.replace("\n", "").isprintable()


@settings(deadline=None)  # a busy machine is no failure
@given(st.text())
def test_any_text_loads_or_raises_a_config_error_and_nothing_else(text):
    with pytest.raises(ConfigError):
        parse(text)


SECRET = "sk-4f3c2a"
LEAKS = [
    f'keys = "{SECRET}"',
    f'keys = ["{SECRET} "]',
    f'keys = [["{SECRET}"]]',
    f'keys = ["{SECRET}", "{SECRET}"]',
    f'keys = ["${{{SECRET}}}"]',
    f'keys = ["${{{SECRET}"]',
    f'keys = ["${{NONE:-{SECRET} }}"]',
    f'keys = ["${{file:/nowhere:-{SECRET}}}"]',
    f'keys = [{{ key = "{SECRET}" }}]',
    'keys = ["${SPACED}"]',
    'ca_file = "${SPACED}"',
    'dialect = "${SPACED}"',
    'timeouts.idle = "${SPACED}"',
]


@pytest.mark.parametrize("line", LEAKS)
def test_an_error_shows_no_secret(line):
    message = fault(f"{UPSTREAM}{line}\n{MODEL}", {"SPACED": f"{SECRET} "})

    assert SECRET not in message
