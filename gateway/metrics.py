"""What the gateway counts and measures, as `/metrics` shows it.

Counting is a dictionary's `+= 1` and measuring a compiled slot; prometheus-client has
the names, types and text format, at scrape, through its Collector.  Its own objects
would cost 622 ns an observation.

`series.py` names everything.  A label value that is not of its closed set counts as
`other`; "" stands where a label does not apply.
"""

import os
import platform
import resource
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import NamedTuple

from prometheus_client import generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from gateway import __version__
from gateway._sseparse import Histogram
from gateway.chat import Usage
from gateway.series import (
    CAUSES,
    CHECKS,
    CODES,
    COUNTED,
    ENDINGS,
    HEDGES,
    LISTENERS,
    MEASURED,
    NONE,
    OTHER,
    OUTCOMES,
    OVERHEAD_PHASES,
    POOL_STATES,
    RESUMES,
    ROUTES,
    STAGES,
    TOKEN_TYPES,
    TRANSPORTS,
    WATCHED,
    Spec,
    upstream_kinds,
)


CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


Key = tuple[str | int, ...]  # label values, in the order of the spec
Reading = Callable[[], float | Mapping[Key, float]]


class Counter:
    """Numbers by label values."""

    __slots__ = ("_closed", "values")

    def __init__(self, closed: tuple[Container[object], ...]) -> None:
        self.values: dict[Key, float] = {}
        self._closed = closed  # what each label may be

    def add(self, key: Key, n: float = 1) -> None:
        """Add `n`; a value that its label may not have counts as `other`."""
        # A key that is there was judged before; judging each would cost more than counting.
        try:
            self.values[key] += n
        except KeyError:
            key = _close(key, self._closed)
            self.values[key] = self.values.get(key, 0) + n


class Histograms:
    """Histograms by label values."""

    __slots__ = ("_bounds", "_closed", "values")

    def __init__(self, closed: tuple[Container[object], ...], bounds: tuple[float, ...]) -> None:
        self.values: dict[Key, Histogram] = {}
        self._closed = closed  # what each label may be
        self._bounds = bounds

    def at(self, key: Key) -> Histogram:
        """Return the histogram of these label values, `other` for those that may not be."""
        found = self.values.get(key)
        if found is None:
            key = _close(key, self._closed)
            found = self.values.setdefault(key, Histogram(self._bounds))
        return found


class TargetMetrics(NamedTuple):
    """What is measured about one model at one upstream; seconds."""

    ttft: Histogram
    gaps: Histogram


class UpstreamMetrics(NamedTuple):
    """What is measured about one upstream; seconds."""

    pool_wait: Histogram
    connect: Histogram


class Metrics(Collector):
    """All figures of one process."""

    def __init__(self, models: Iterable[str], upstreams: Iterable[str]) -> None:
        """Count for these configured names."""
        self._sets: dict[str, Container[object]] = {
            "route": frozenset(ROUTES),
            "model": frozenset({*models, NONE}),
            "upstream": (names := frozenset({*upstreams, NONE})),
            "code": CODES,
            "status": CODES,
            "reason": frozenset(ENDINGS),
            "outcome": frozenset(RESUMES + CHECKS + HEDGES + OUTCOMES),
            "cause": frozenset(CAUSES),
            "phase": frozenset(STAGES + OVERHEAD_PHASES),
            "kind": (kinds := upstream_kinds()),
            "type": frozenset(TOKEN_TYPES),
            "transport": frozenset(TRANSPORTS),
            "listener": frozenset(LISTENERS),
            "state": frozenset(POOL_STATES),
        }
        self._counted = {name: Counter(self._closed(spec)) for name, spec in COUNTED.items()}
        self._measured = {
            name: Histograms(self._closed(spec), spec.bounds) for name, spec in MEASURED.items()
        }
        self._watched: dict[str, tuple[Spec, Reading]] = {}
        # By name above for the scrape; by attribute for those who count.
        self._requests = self._counted["requests_total"]
        self._ended = self._counted["streams_ended_total"]
        self._tokens = self._counted["tokens_total"]
        self._durations = self._measured["request_duration_seconds"]
        overhead = self._measured["overhead_seconds"]
        self.overhead_request = overhead.at(("request",))
        self.overhead_first = overhead.at(("first_event",))
        self.overhead_event = overhead.at(("event",))
        self._begin_at_zero(names - {NONE}, kinds)
        self._watch_process()

    # Counting.

    def for_target(self, model: str, upstream: str) -> TargetMetrics:
        """Return the histograms of a model at an upstream; the same ones each time."""
        key = (model, upstream)
        return TargetMetrics(
            ttft=self._measured["time_to_first_token_seconds"].at(key),
            gaps=self._measured["inter_token_latency_seconds"].at(key),
        )

    def upstream(self, name: str) -> UpstreamMetrics:
        """Return the histograms of an upstream; the same ones each time."""
        return UpstreamMetrics(
            pool_wait=self._measured["pool_wait_seconds"].at((name,)),
            connect=self._measured["upstream_connect_seconds"].at((name,)),
        )

    def request(self, route: str, model: str, upstream: str, code: int, duration: float) -> None:
        """Count an answered request; `duration` in seconds."""
        self._requests.add((route, model, upstream, code))
        self._durations.at((route, model, upstream)).observe(duration)

    def ended(self, reason: str) -> None:
        """Count the end of a generation."""
        self._ended.add((reason,))

    def tokens(self, model: str, read: Usage) -> None:
        """Count the tokens of an answer."""
        self._tokens.add((model, "input"), read.input)
        self._tokens.add((model, "output"), read.output)
        if read.cached:
            self._tokens.add((model, "cached"), read.cached)
        if read.reasoning:
            self._tokens.add((model, "reasoning"), read.reasoning)

    def upstream_error(self, upstream: str, kind: str) -> None:
        """Count a failure of an upstream; `kind` as its error has it."""
        self._counted["upstream_errors_total"].add((upstream, kind))

    def health_checked(self, upstream: str, outcome: str, n: int = 1) -> None:
        """Count `n` health checks of an upstream; of 0 the figure is shown before the first."""
        self._counted["health_checks_total"].add((upstream, outcome), n)

    def resumed(self, outcome: str) -> None:
        """Count a reader that came with a cursor, by what became of it."""
        self._counted["resumes_total"].add((outcome,))

    def coalesced(self, model: str, outcome: str, n: int = 1) -> None:
        """Count requests of a model that coalesces, by whether another's answer answered them."""
        self._counted["coalesced_total"].add((model, outcome), n)

    def retried(self, cause: str) -> None:
        """Count a request that is sent once more, by what had failed."""
        self._counted["retries_total"].add((cause,))

    def may_hedge(self, model: str) -> None:
        """Show hedges of this model from now on, also while there are none."""
        for outcome in HEDGES:
            self._counted["hedges_total"].add((model, outcome), 0)

    def hedged(self, model: str, outcome: str) -> None:
        """Count a second request that was sent beside a slow one, by what became of it."""
        self._counted["hedges_total"].add((model, outcome))

    def disconnect(self, phase: str) -> None:
        """Count a client that left in this stage of its request."""
        self._counted["client_disconnects_total"].add((phase,))

    def rejected(self, status: int) -> None:
        """Count a request that was refused before it reached a route."""
        self._counted["http_rejects_total"].add((status,))

    # Showing.

    def watch(self, name: str, reading: Reading) -> None:
        """Ask `reading` at each scrape: a number, or numbers by label values.

        A later reading of the same name takes the place of an earlier one.

        Raises:
            KeyError: WATCHED has no such name.
        """
        self._watched[name] = (WATCHED[name], reading)

    def render(self) -> bytes:
        """Return the text of `/metrics`, in the format CONTENT_TYPE names."""
        # All it asks of its argument is `collect`: no registry, and not the global one.
        return generate_latest(self)

    def collect(self) -> Iterator[Metric]:
        """Yield every family, for prometheus-client."""
        for name, spec in COUNTED.items():
            yield _numbers(name, spec, self._counted[name].values)
        for name, spec in MEASURED.items():
            yield _histograms(name, spec, self._measured[name].values)
        for name, (spec, reading) in self._watched.items():
            yield _numbers(name, spec, self._read(spec, reading))
        yield InfoMetricFamily(
            "headgate_build",
            "The version that runs.",
            {"version": __version__, "python": platform.python_version()},
        )

    def _read(self, spec: Spec, reading: Reading) -> dict[Key, float]:
        value = reading()
        total = Counter(self._closed(spec))
        for key, number in value.items() if isinstance(value, Mapping) else [((), value)]:
            total.add(key, number)
        return total.values

    def _closed(self, spec: Spec) -> tuple[Container[object], ...]:
        return tuple(self._sets[label] for label in spec.labels)

    def _begin_at_zero(self, upstreams: Iterable[str], kinds: Iterable[str]) -> None:
        """Show what has not happened yet: `rate()` does not see a series' first value."""
        for cause in CAUSES:
            self._counted["retries_total"].add((cause,), 0)
        for reason in ENDINGS:
            self._ended.add((reason,), 0)
        for outcome in RESUMES:
            self._counted["resumes_total"].add((outcome,), 0)
        for stage in STAGES:
            self._counted["client_disconnects_total"].add((stage,), 0)
        for upstream in sorted(upstreams):
            for kind in sorted(kinds):
                self._counted["upstream_errors_total"].add((upstream, kind), 0)

    def _watch_process(self) -> None:
        started = time.time()
        self.watch("fds_open", _fds_open)
        self.watch("fds_limit", lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self.watch("process_cpu_seconds_total", time.process_time)
        self.watch("process_resident_memory_bytes", _resident)
        self.watch("process_start_time_seconds", lambda: started)


def _close(key: Key, closed: tuple[Container[object], ...]) -> Key:
    return tuple(
        value if value in allowed else OTHER for value, allowed in zip(key, closed, strict=True)
    )


def _full(name: str) -> str:
    return name if name.startswith("process_") else f"headgate_{name}"


def _numbers(name: str, spec: Spec, values: Mapping[Key, float]) -> Metric:
    counter = name.endswith("_total")
    family = (CounterMetricFamily if counter else GaugeMetricFamily)(
        _full(name), spec.help, labels=spec.labels
    )
    for key, value in values.items():
        family.add_metric([str(label) for label in key], value)
    return family


def _histograms(name: str, spec: Spec, values: Mapping[Key, Histogram]) -> Metric:
    family = HistogramMetricFamily(_full(name), spec.help, labels=spec.labels)
    edges = [*(repr(float(bound)) for bound in spec.bounds), "+Inf"]
    for key, histogram in values.items():
        counts, total = histogram.snapshot()
        # The slots count each bucket alone; the format wants all up to each edge.
        buckets = list(zip(edges, accumulate(counts), strict=True))
        family.add_metric([str(label) for label in key], buckets, total)
    return family


def _fds_open() -> int:
    # Since Linux 6.2 the size is the count; listing 20,000 takes 10 ms and more.
    return os.stat("/proc/self/fd").st_size or len(os.listdir("/proc/self/fd"))


def _resident() -> int:
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()
