"""Metrics: what is counted is shown, and nothing that comes from outside makes series."""

import os
import platform
import time

import prometheus_client
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway import __version__, metrics
from gateway.chat import Usage
from gateway.metrics import Metrics
from gateway.series import COUNTED, MEASURED


CHAT = "/v1/chat/completions"


def new():
    return Metrics(["gpt-4.1", "mini"], ["openai", "backup"])


def shown(figures):
    """Return the samples of a scrape, by everything that stands before the value."""
    lines = figures.render().decode().splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
    samples = {series: float(value) for series, value in pairs}
    assert len(samples) == len(pairs)  # no series twice
    return samples


COUNTS = {
    "a request": (
        lambda m: m.request(CHAT, "gpt-4.1", "openai", 200, 1.5),
        f'requests_total{{code="200",model="gpt-4.1",route="{CHAT}",upstream="openai"}}',
    ),
    "a request without a model": (
        lambda m: m.request("/v1/models", "", "", 200, 0.001),
        'requests_total{code="200",model="",route="/v1/models",upstream=""}',
    ),
    "a status that HTTP has not": (
        lambda m: m.request(CHAT, "mini", "openai", 999, 0.001),
        f'requests_total{{code="other",model="mini",route="{CHAT}",upstream="openai"}}',
    ),
    "an end": (lambda m: m.ended("truncated"), 'streams_ended_total{reason="truncated"}'),
    "a client that left": (
        lambda m: m.disconnect("waiting"),
        'client_disconnects_total{phase="waiting"}',
    ),
    "an upstream error": (
        lambda m: m.upstream_error("openai", "dns"),
        'upstream_errors_total{kind="dns",upstream="openai"}',
    ),
    "a retry": (lambda m: m.retried("stale"), 'retries_total{cause="stale"}'),
    "a hedge": (
        lambda m: m.hedged("mini", "won"),
        'hedges_total{model="mini",outcome="won"}',
    ),
    "a refusal": (lambda m: m.rejected(431), 'http_rejects_total{status="431"}'),
    "a token": (
        lambda m: m.tokens("mini", Usage(1, 0)),
        'tokens_total{model="mini",type="input"}',
    ),
}


@pytest.mark.parametrize(("count", "series"), COUNTS.values(), ids=COUNTS.keys())
def test_counts_are_shown(count, series):
    figures = new()
    count(figures)
    count(figures)

    assert shown(figures)["headgate_" + series] == 2


@pytest.mark.parametrize(
    "series",
    [
        'upstream_errors_total{kind="connect",upstream="backup"}',
        'streams_ended_total{reason="finished"}',
        'client_disconnects_total{phase="queued"}',
        'retries_total{cause="cut"}',
    ],
)
def test_what_has_not_happened_is_zero(series):
    assert shown(new())["headgate_" + series] == 0


def test_a_model_that_may_hedge_shows_so_before_it_has():
    figures = new()
    figures.may_hedge("mini")

    assert shown(figures)['headgate_hedges_total{model="mini",outcome="won"}'] == 0


TARGET = 'model="gpt-4.1",upstream="openai"'
MEASURES = {
    "duration": (
        lambda m: lambda value: m.request(CHAT, "gpt-4.1", "openai", 200, value),
        "request_duration_seconds",
        f'model="gpt-4.1",route="{CHAT}",upstream="openai"',
    ),
    "first token": (
        lambda m: m.for_target("gpt-4.1", "openai").ttft.observe,
        "time_to_first_token_seconds",
        TARGET,
    ),
    "gaps": (
        lambda m: m.for_target("gpt-4.1", "openai").gaps.observe,
        "inter_token_latency_seconds",
        TARGET,
    ),
    "overhead of a request": (
        lambda m: m.overhead_request.observe,
        "overhead_seconds",
        'phase="request"',
    ),
    "overhead of a first event": (
        lambda m: m.overhead_first.observe,
        "overhead_seconds",
        'phase="first_event"',
    ),
    "overhead of an event": (
        lambda m: m.overhead_event.observe,
        "overhead_seconds",
        'phase="event"',
    ),
    "wait for a connection": (
        lambda m: m.upstream("backup").pool_wait.observe,
        "pool_wait_seconds",
        'upstream="backup"',
    ),
    "connect": (
        lambda m: m.upstream("backup").connect.observe,
        "upstream_connect_seconds",
        'upstream="backup"',
    ),
}


@pytest.mark.parametrize(("measure", "name", "labels"), MEASURES.values(), ids=MEASURES.keys())
def test_every_bound_counts_what_is_not_above_it(measure, name, labels):
    figures = new()
    bounds = MEASURED[name].bounds
    for bound in (*bounds, 2 * bounds[-1]):
        measure(figures)(bound)

    samples = shown(figures)
    name = "headgate_" + name
    for seen, bound in enumerate(bounds, start=1):
        # Labels are shown in the order of their names.
        le = ",".join(sorted([f'le="{float(bound)!r}"', *labels.split(",")]))
        assert samples[f"{name}_bucket{{{le}}}"] == seen
    assert samples[f"{name}_count{{{labels}}}"] == len(bounds) + 1
    assert samples[f"{name}_sum{{{labels}}}"] == pytest.approx(sum(bounds) + 2 * bounds[-1])


def test_the_same_names_get_the_same_histograms():
    figures = new()

    assert figures.for_target("mini", "openai").gaps is figures.for_target("mini", "openai").gaps
    assert figures.upstream("openai").connect is figures.upstream("openai").connect
    assert figures.upstream("openai").connect is not figures.upstream("backup").connect
    assert figures.for_target("a", "openai").gaps is figures.for_target("b", "openai").gaps


def use_everything(figures, name):
    """Count and measure with `name` wherever a name can come from outside."""
    figures.request(name, name, name, 200, 1.0)
    figures.for_target(name, name).ttft.observe(1.0)
    figures.upstream(name).connect.observe(1.0)
    figures.ended(name)
    figures.disconnect(name)
    figures.resumed(name)
    figures.retried(name)
    figures.health_checked(name, name)
    figures.hedged(name, name)
    figures.coalesced(name, name)
    figures.upstream_error(name, name)
    figures.tokens(name, Usage(1, 1))
    figures.watch("pool_waiters", lambda: {(name,): 1})


def test_ten_thousand_names_from_outside_make_no_series():
    figures = new()
    use_everything(figures, "first")
    before = len(shown(figures))

    for number in range(10_000):
        use_everything(figures, f'{number}\n"\\{{}}')

    samples = shown(figures)
    assert len(samples) == before
    assert samples['headgate_streams_ended_total{reason="other"}'] == 10_001


def test_every_label_of_every_series_is_of_a_closed_set():
    figures = new()
    use_everything(figures, "unheard of")
    figures.rejected(7)

    assert b"unheard" not in figures.render()
    for name, spec in COUNTED.items():
        if spec.labels:
            assert any("other" in key for key in shown_keys(figures, name)), name


def shown_keys(figures, name):
    return [key for key in shown(figures) if key.startswith(f"headgate_{name}{{")]


# Watching.


def test_what_is_watched_is_asked_at_each_scrape():
    figures = new()
    lags = iter([0.25, 0.5])
    figures.watch("loop_lag_seconds", lambda: next(lags))

    assert shown(figures)["headgate_loop_lag_seconds"] == 0.25
    assert shown(figures)["headgate_loop_lag_seconds"] == 0.5


def test_watched_numbers_may_have_labels():
    figures = new()
    figures.watch("pool_connections", lambda: {("openai", "idle"): 3, ("openai", "active"): 4})
    figures.watch("log_lines_dropped_total", lambda: 5)

    samples = shown(figures)
    assert samples['headgate_pool_connections{state="idle",upstream="openai"}'] == 3
    assert samples['headgate_pool_connections{state="active",upstream="openai"}'] == 4
    assert samples["headgate_log_lines_dropped_total"] == 5


def test_a_later_reading_takes_the_place_of_an_earlier_one():
    figures = new()
    figures.watch("loop_lag_seconds", lambda: 1)
    figures.watch("loop_lag_seconds", lambda: 2)

    assert shown(figures)["headgate_loop_lag_seconds"] == 2


def test_only_named_series_can_be_watched():
    with pytest.raises(KeyError):
        new().watch("surprise", lambda: 1)


def test_the_process_is_watched():
    before = time.time()
    figures = new()
    samples = shown(figures)

    assert before <= samples["process_start_time_seconds"] <= time.time()
    assert 0 < samples["process_cpu_seconds_total"] <= time.process_time()
    assert samples["process_resident_memory_bytes"] > 1_000_000
    assert samples["headgate_fds_limit"] > samples["headgate_fds_open"] > 2


def test_file_descriptors_are_counted():
    figures = new()
    before = shown(figures)["headgate_fds_open"]
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(7)]
    try:
        assert shown(figures)["headgate_fds_open"] == before + 7
    finally:
        for file in files:
            os.close(file)


# The text.


def test_the_text_is_what_prometheus_reads():
    figures = new()
    use_everything(figures, "mini")

    families = list(text_string_to_metric_families(figures.render().decode()))

    assert {family.type for family in families} == {"counter", "gauge", "histogram"}
    assert all(family.documentation for family in families)
    assert all(family.name.startswith(("headgate_", "process_")) for family in families)


def test_a_family_reads_as_operators_know_it():
    figures = Metrics(["m"], ["u"])
    figures.rejected(400)

    text = figures.render().decode()

    assert (
        "# HELP headgate_http_rejects_total Requests refused before they reached a route: "
        "malformed, too large, too slow, or above the limit of connections (503).\n"
        "# TYPE headgate_http_rejects_total counter\n"
        'headgate_http_rejects_total{status="400"} 1.0\n'
    ) in text
    version = f'python="{platform.python_version()}",version="{__version__}"'
    assert f"headgate_build_info{{{version}}} 1.0\n" in text


def test_the_content_type_is_the_one_of_the_format():
    _, plain = prometheus_client.exposition.choose_encoder("")

    assert metrics.CONTENT_TYPE.decode() == plain


def test_processes_parts_do_not_share_figures():
    one, other = new(), new()
    one.ended("finished")

    assert shown(other)['headgate_streams_ended_total{reason="finished"}'] == 0
    assert b"headgate" not in prometheus_client.generate_latest()  # the global registry


# Tokens.


def test_each_type_of_token_is_counted():
    figures = new()

    figures.tokens("mini", Usage(input=10, output=20, cached=4, reasoning=5))

    samples = shown(figures)
    for type, count in {"input": 10, "output": 20, "cached": 4, "reasoning": 5}.items():
        assert samples[f'headgate_tokens_total{{model="mini",type="{type}"}}'] == count
