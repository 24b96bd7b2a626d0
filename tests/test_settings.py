"""The settings: each key of the file has its field, and each field its default."""

import pytest

from gateway.addresses import Systemd, Tcp, Unix
from gateway.settings import (
    Channel,
    Coalesce,
    Cors,
    Health,
    Logs,
    Model,
    Retain,
    Retry,
    Target,
    Timeouts,
)
from gateway.units import Seconds, Size, Timeout
from tests.headgate_toml import ENV, MODEL, UPSTREAM, parse


FULL = """
[server]
listen = ["127.0.0.1:8080", "[::]:0", "unix:/run/headgate/http.sock", "systemd:public"]
admin = "localhost:9091"
workers = 1
drain = "90s"
log_format = "text"
allow_query_keys = true

[logs]
store = "memory:"
retain = "10m"
max_bytes = "1GiB"
long_poll = "1s"

[cors]
origins = ["https://App.example.com:443", "http://localhost:3000"]
cookie = "session"

[upstreams.openai]
dialect = "openai"
base_url = "https://api.openai.com/v1/"
keys = ["${OPENAI_API_KEY}", "second"]
timeouts = { connect = "500ms", first_event = "1m", idle = "30s", total = "2h" }
max_connections = 50
ca_file = "CA_FILE"
health = { path = "/health?deep=1", interval = "10s", timeout = "1s" }

[upstreams.local]
base_url = "http://127.0.0.1:${PORT:-8000}"

[models."gpt-4.1"]
targets = [
  { upstream = "openai", model = "gpt-4.1-2025-04-14", weight = 9, priority = 1 },
  { upstream = "local", priority = 2 },
]
on_disconnect = "cancel"
retry = { attempts = 5, backoff = "100ms" }
sticky = "header:X-Session"
coalesce = { ttl = "10m", pace = "original" }
hedge = "800ms"

[models.patient]
targets = [{ upstream = "local" }]
on_disconnect = "detach:90s"
coalesce.ttl = "1m"

[models."*"]
targets = [{ upstream = "local" }]

[[keys]]
key = "${WEB_KEY}"
subject = "web"
models = ["gpt-4.1", "patient"]

[[keys]]
key = "caller-canary-0002"
subject = "batch"
models = ["patient", "*"]

[[keys]]
key = "caller-canary-0003"
subject = "sensor"
models = []

[channels.events]
welcome = true
periodic = "10s"
retain = { entries = 10, bytes = "64KiB", age = "5m" }

[channels."a.b~c"]
"""


@pytest.fixture
def full(tmp_path):
    env = {**ENV, "WEB_KEY": "caller-canary-0001"}
    ca_file = tmp_path / "ca.pem"
    ca_file.touch()
    return parse(FULL.replace("CA_FILE", str(ca_file)), env), str(ca_file)


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
    assert server.allow_query_keys is True


def test_every_key_of_the_logs_is_read(full):
    assert full[0].logs == Logs("memory:", Seconds(600), Size(1024**3), Timeout(1))


def test_origins_stand_as_browsers_send_them(full):
    assert full[0].cors == Cors(("https://app.example.com", "http://localhost:3000"), "session")


def test_every_key_of_an_upstream_is_read(full):
    loaded, ca_file = full
    upstream = loaded.upstreams["openai"]
    url = upstream.base_url

    assert (upstream.name, upstream.dialect) == ("openai", "openai")
    assert (url.scheme, url.host, url.port, url.path) == ("https", "api.openai.com", 443, "/v1")
    assert [key.reveal() for key in upstream.keys] == ["sk-live", "second"]
    assert upstream.timeouts == Timeouts(connect=0.5, first_event=60.0, idle=30.0, total=7200.0)
    assert (upstream.max_connections, upstream.ca_file) == (50, ca_file)
    assert upstream.health == Health("/health?deep=1", 10.0, 1.0)


def test_a_model_knows_its_label_its_targets_and_its_patience(full):
    targets = (Target("openai", "gpt-4.1-2025-04-14", 9, 1), Target("local", None, 1, 2))
    shared = Coalesce(600.0, "original")
    assert full[0].models == {
        "gpt-4.1": Model("gpt-4.1", targets, 0.0, Retry(5, 0.1), "header:x-session", 0.8, shared),
        "patient": Model("patient", (Target("local", None),), 90.0, coalesce=Coalesce(60.0)),
        "*": Model("other", (Target("local", None),), None),
    }


def test_a_caller_has_a_key_a_name_and_models(full):
    assert [(key.key.reveal(), key.subject, key.models) for key in full[0].keys] == [
        ("caller-canary-0001", "web", ("gpt-4.1", "patient")),
        ("caller-canary-0002", "batch", None),
        ("caller-canary-0003", "sensor", ()),
    ]


def test_a_channel_keeps_what_is_said_or_what_is_usual(full):
    assert full[0].channels == {
        "events": Channel("events", True, 10.0, Retain(10, 65536, 300.0)),
        "a.b~c": Channel("a.b~c", False, None, Retain(1000, 1048576, 3600.0)),
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
    assert upstream.health is None
    assert parse(UPSTREAM + "health = {}\n" + MODEL).upstreams["openai"].health == Health(
        "/models", 30.0, 5.0
    )
    assert loaded.server.allow_query_keys is False
    assert loaded.logs == Logs("memory:", Seconds(300), Size(512 * 1024**2), Timeout(25))
    assert loaded.cors == Cors((), None)
    assert (loaded.keys, loaded.channels) == ((), {})
    assert loaded.warnings == ()


def test_nothing_that_prints_a_config_prints_a_key(full):
    assert "sk-live" not in repr(full[0])
    assert "keys=(***, ***)" in repr(full[0])
    assert "canary" not in repr(full[0])
    assert "Key(key=***, subject='web'" in repr(full[0])
