"""One table: what is wrong with it is told in full, and no secret with it."""

import pytest

from tests.headgate_toml import MODEL, TARGETS, UPSTREAM, fault


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
