"""One table: what is wrong with it is told in full."""

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
    "allow_query_keys = 1": "allow_query_keys: expected true or false, found 1",
    "log_format = {}": 'log_format: expected "json" or "text", found a table',
    'lisen = ["127.0.0.1:8080"]': 'lisen: unknown key; did you mean "listen"?',
    "DRAIN = 1": 'DRAIN: unknown key; did you mean "drain"?',
    "port = 8080": (
        'port: unknown key; known are "listen", "admin", "workers", "drain", "log_format", '
        '"allow_query_keys"'
    ),
    "name = 1": (
        'name: unknown key; known are "listen", "admin", "workers", "drain", "log_format", '
        '"allow_query_keys"'
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


KEYS = 'an array of keys such as ["${OPENAI_API_KEY}"]'
TIMEOUTS = 'a table such as { connect = "5s", total = "1h" }'

UPSTREAMS = {
    'dialect = "cohere"': (
        'dialect: expected "openai", "anthropic", "responses" or "gemini", found "cohere"'
    ),
    f"keys = {['a'] * 101}": f"keys: expected {KEYS}, found an array of 101",
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
        '"max_connections", "ca_file", "health"'
    ),
    "health = true": (
        'health: expected a table such as { path = "/models", interval = "30s" }, found true'
    ),
    'health.path = "models"': 'health.path: expected a path such as "/models", found "models"',
    'health.every = "1s"': (
        'health.every: unknown key; known are "path", "interval", "timeout"'
    ),
    'health.interval = "0s"': (
        'health.interval: expected a duration longer than none, found "0s"'
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
    'targets = ["openai"]': (
        'targets[0]: expected a target such as { upstream = "openai" }, found "openai"'
    ),
    f"targets = [{'{ upstream = `openai` },' * 101}]".replace("`", '"'): (
        f"targets: expected {TARGETS}, found an array of 101"
    ),
    "targets = [{}]": "targets[0].upstream: missing; expected the name of an upstream",
    'targets = [{ upstream = "opneai" }]': (
        'targets[0].upstream: unknown upstream "opneai"; did you mean "openai"?'
    ),
    'targets = [{ upstream = "azure" }]': (
        'targets[0].upstream: unknown upstream "azure"; known are "openai"'
    ),
    'targets = [{ upstream = "openai", weight = 0 }]': (
        "targets[0].weight: expected an integer from 1 to 1000000, found 0"
    ),
    'targets = [{ upstream = "openai", weight = 0.5 }]': (
        "targets[0].weight: expected an integer from 1 to 1000000, found 0.5"
    ),
    'targets = [{ upstream = "openai", priority = 0 }]': (
        "targets[0].priority: expected an integer from 1 to 1000, found 0"
    ),
    'targets = [{ upstream = "openai" }]\nretry = 3': (
        'retry: expected a table such as { attempts = 3, backoff = "500ms" }, found 3'
    ),
    'targets = [{ upstream = "openai" }]\nretry.attempts = 0': (
        "retry.attempts: expected an integer from 1 to 10, found 0"
    ),
    'targets = [{ upstream = "openai" }]\nretry.backoff = "0s"': (
        'retry.backoff: expected a duration longer than none, found "0s"'
    ),
    'targets = [{ upstream = "openai" }]\nretry.tries = 3': (
        'retry.tries: unknown key; known are "attempts", "backoff"'
    ),
    'targets = [{ upstream = "openai" }]\nsticky = "header:"': (
        'sticky: expected "user", or "header:NAME" with the name of a field, found "header:"'
    ),
    'targets = [{ upstream = "openai" }]\nsticky = "cookie"': (
        'sticky: expected "user", or "header:NAME" with the name of a field, found "cookie"'
    ),
    'targets = [{ upstream = "openai" }]\nhedge = "0s"': (
        'hedge: expected a duration longer than none, found "0s"'
    ),
    'targets = [{ upstream = "openai" }]\nhedge = "800ms"': (
        "hedge: needs two targets: the second request goes to another than the first"
    ),
    'targets = [{ upstream = "openai", modle = "x" }]': (
        'targets[0].modle: unknown key; did you mean "model"?'
    ),
    'targets = [{ upstream = "openai", model = "" }]': (
        'targets[0].model: expected a name of printable characters, found ""'
    ),
    'targets = [{ upstream = "openai", model = "a\\u001b[2J" }]': (
        'targets[0].model: expected a name of printable characters, found "a\\u001b[2J"'
    ),
    'targets = [{ upstream = "openai" }]\non_disconnect = "detach"': (
        'on_disconnect: expected "cancel", or "detach:60s" with a duration, found "detach"'
    ),
    'targets = [{ upstream = "openai" }]\non_disconnect = "detach:0s"': (
        'on_disconnect: expected a duration longer than none, found "detach:0s"'
    ),
    'targets = [{ upstream = "openai" }]\non_disconnect = "keep"': (
        'on_disconnect: expected "cancel", or "detach:60s" with a duration, found "keep"'
    ),
    'targets = [{ upstream = "openai" }]\ncoalesce = "5m"': (
        'coalesce: expected a table such as { ttl = "5m", pace = "original" }, found "5m"'
    ),
    'targets = [{ upstream = "openai" }]\ncoalesce = {}': (
        'coalesce.ttl: missing; expected a duration such as "5m"'
    ),
    'targets = [{ upstream = "openai" }]\ncoalesce.ttl = 5': (
        'coalesce.ttl: expected a duration such as "500ms", "30s", "5m" or "1h", found 5'
    ),
    'targets = [{ upstream = "openai" }]\ncoalesce = { ttl = "5m", pace = "slow" }': (
        'coalesce.pace: expected "instant" or "original", found "slow"'
    ),
    'targets = [{ upstream = "openai" }]\ncoalesce = { ttl = "5m", for = "1h" }': (
        'coalesce.for: unknown key; known are "ttl", "pace"'
    ),
    'targets = [{ upstream = "openai" }]\ncoalesce.ttl = "6m"': (
        "coalesce.ttl: expected at most [logs] retain (300 s), for which an answer is kept,"
        ' found "6m"'
    ),
    'targets = [{ upstream = "openai" }]\nname = "x"': (
        'name: unknown key; known are "targets", "on_disconnect", "retry", "sticky", "hedge",'
        ' "coalesce"'
    ),
}


@pytest.mark.parametrize(("lines", "message"), MODELS.items())
def test_a_fault_of_a_model_is_told_in_full(lines, message):
    assert fault(f'{UPSTREAM}[models."gpt-4.1"]\n{lines}') == f'[models."gpt-4.1"] {message}'


SIZE = 'a size such as "512B", "64KiB", "20MiB" or "1GiB"'
DURATION = 'a duration such as "500ms", "30s", "5m" or "1h"'
ORIGIN = 'an origin such as "https://app.example.com", without a path'
STORE = '"memory:" (others are not yet supported)'

LOGS_AND_CORS = {
    '[logs]\nstore = "redis://host:6379/0"': (
        f'[logs] store: expected {STORE}, found "redis://host:6379/0"'
    ),
    '[logs]\nstore = "redis://:sk-live@host/0"': f"[logs] store: expected {STORE}, found a string",
    '[logs]\nretain = "5min"': f'[logs] retain: expected {DURATION}, found "5min"',
    "[logs]\nretain = { age = 1 }": f"[logs] retain: expected {DURATION}, found a table",
    "[logs]\nmax_bytes = 1000000": f"[logs] max_bytes: expected {SIZE}, found 1000000",
    '[logs]\nmax_bytes = "512MB"': f'[logs] max_bytes: expected {SIZE}, found "512MB"',
    '[logs]\nmax_bytes = "512B"': '[logs] max_bytes: expected at least "1MiB", found "512B"',
    '[logs]\nlong_poll = "0s"': (
        '[logs] long_poll: expected a duration longer than none, found "0s"'
    ),
    '[logs]\nmax_byte = "1MiB"': '[logs] max_byte: unknown key; did you mean "max_bytes"?',
    '[cors]\norigins = "*"': (
        '[cors] origins: expected an array of origins such as ["https://app.example.com"], '
        'found "*"'
    ),
    '[cors]\norigins = ["*"]': f'[cors] origins[0]: expected {ORIGIN}, found "*"',
    '[cors]\norigins = ["https://a.example", "null"]': (
        f'[cors] origins[1]: expected {ORIGIN}, found "null"'
    ),
    '[cors]\norigins = ["https://me:sk-live@a.example"]': (
        f"[cors] origins[0]: expected {ORIGIN}, found a string"
    ),
    '[cors]\ncookie = "a=b"': (
        '[cors] cookie: expected the name of a cookie such as "session", found "a=b"'
    ),
}


@pytest.mark.parametrize(("lines", "message"), LOGS_AND_CORS.items())
def test_a_fault_of_logs_or_cors_is_told_in_full(lines, message):
    assert fault(f"{lines}\n{UPSTREAM}{MODEL}") == message


LEAST = "key: expected a key of at least 16 characters"

KEYS_OF_CALLERS = {
    'subject = "web"': 'key: missing; expected a key such as "${credential:web_key}"',
    'key = "caller-canary-0001"': (
        'subject: missing; expected a name for those who hold the key, such as "web"'
    ),
    'key = ""\nsubject = "web"': f"{LEAST}, found an empty string",
    'key = "fifteen-of-them"\nsubject = "web"': f"{LEAST}, found a string",
    'key = "${WEB_KEY:-short}"\nsubject = "web"': f"{LEAST}, found ${{WEB_KEY}}",
    'key = 1234567890123456\nsubject = "web"': f"{LEAST}, found an integer",
    'key = "with a space in it"\nsubject = "web"': (
        "key: expected a key of visible ASCII characters, found a string"
    ),
    'key = "caller-canary-0001"\nsubject = ""': (
        'subject: expected a name of printable characters, found ""'
    ),
    'key = "caller-canary-0001"\nsubject = "web"\nmodels = "gpt-4.1"': (
        'models: expected an array of names of models such as ["gpt-4.1"], or ["*"] for all, '
        'found "gpt-4.1"'
    ),
    'key = "caller-canary-0001"\nsubject = "web"\nmodels = ["gpt-4.1", "gtp-4.1"]': (
        'models[1]: unknown model "gtp-4.1"; did you mean "gpt-4.1"?'
    ),
    'key = "caller-canary-0001"\nsubject = "web"\nmodel = []': (
        'model: unknown key; did you mean "models"?'
    ),
}


@pytest.mark.parametrize(("lines", "message"), KEYS_OF_CALLERS.items())
def test_a_fault_of_a_callers_key_is_told_in_full(lines, message):
    model = MODEL.replace("*", "gpt-4.1")

    assert fault(f"{UPSTREAM}{model}[[keys]]\n{lines}") == f"[[keys]][0] {message}"


CHANNELS = {
    'welcome = "yes"': 'welcome: expected true or false, found "yes"',
    'periodic = "0s"': 'periodic: expected a duration longer than none, found "0s"',
    'retain = "1h"': (
        'retain: expected a table such as { entries = 1000, bytes = "1MiB", age = "1h" }, '
        'found "1h"'
    ),
    "retain.entries = 0": "retain.entries: expected an integer of at least 1, found 0",
    'retain.bytes = "0B"': 'retain.bytes: expected a size larger than none, found "0B"',
    'retain.age = "0s"': 'retain.age: expected a duration longer than none, found "0s"',
    "retain.entry = 1": 'retain.entry: unknown key; did you mean "entries"?',
    'name = "x"': 'name: unknown key; known are "welcome", "periodic", "retain"',
}


@pytest.mark.parametrize(("line", "message"), CHANNELS.items())
def test_a_fault_of_a_channel_is_told_in_full(line, message):
    text = f"{UPSTREAM}{MODEL}[channels.events]\n{line}"

    assert fault(text) == f"[channels.events] {message}"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "%41", "ä", "a" * 129])
def test_a_channel_has_a_name_that_stands_in_a_path_as_it_is(name):
    assert fault(f'{UPSTREAM}{MODEL}[channels."{name}"]').endswith(
        'expected a name of at most 128 letters, digits, "-", "_", "." and "~"'
    )
