"""What the gateway counts and measures, as `/metrics` shows it.

Counting and measuring is done in compiled slots, which whoever often counts has at hand;
prometheus-client has the names, types and text format, at scrape, through its Collector.
Its own objects would cost 622 ns an observation.

`series.py` names everything.  A label value that is not of its closed set counts as
`other`; "" stands where a label does not apply.
"""

import os
import platform
import resource
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from functools import partial
from itertools import accumulate
from typing import Generic, TypeVar

import msgspec
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
from gateway._sseparse import Count, Histogram
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


Slot = TypeVar("Slot", Count, Histogram)
Key = tuple[str | int, ...]  # label values, in the order of the spec
Reading = Callable[[], float | Mapping[Key, float]]


class Series(Generic[Slot]):
    """Slots by label values."""

    __slots__ = ("_closed", "_make", "slots")

    def __init__(self, closed: tuple[Container[object], ...], make: Callable[[], Slot]) -> None:
        self.slots: dict[Key, Slot] = {}
        self._closed = closed  # what each label may be
        self._make: Callable[[], Slot] = make

    def at(self, key: Key) -> Slot:
        """Return the slot of these label values, `other` for those that may not be."""
        # A key that is there was judged before; judging each would cost more than counting.
        found = self.slots.get(key)
        if found is None:
            key = _close(key, self._closed)
            found = self.slots.get(key) or self.slots.setdefault(key, self._make())
        return found


class TargetMetrics(msgspec.Struct, frozen=True):
    """What is measured about one model at one upstream; seconds."""

    ttft: Histogram
    gaps: Histogram


class UpstreamMetrics(msgspec.Struct, frozen=True):
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
        self._counted = {name: Series(self._closed(spec), Count) for name, spec in COUNTED.items()}
        self._measured = {
            name: Series(self._closed(spec), partial(Histogram, spec.bounds))
            for name, spec in MEASURED.items()
        }
        self._watched: dict[str, tuple[Spec, Reading]] = {}
        self.on_show: Callable[[], None] = _nothing  # counts what is still to be
        # By name above for the scrape; here what is counted in every request.
        self._served: dict[tuple[str, str, str, int], tuple[Count, Histogram]] = {}
        self._spent: dict[str, tuple[Count, Count]] = {}
        self._ended = self._single("streams_ended_total", ENDINGS)
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
        key = (route, model, upstream, code)
        requests, durations = self._served.get(key) or self._serve(key)
        requests.add()
        durations.observe(duration)

    def ended(self, reason: str) -> None:
        """Count the end of a generation."""
        (self._ended.get(reason) or self._at("streams_ended_total", reason)).add()

    def tokens(self, model: str, read: Usage) -> None:
        """Count the tokens of an answer."""
        taken, given = self._spent.get(model) or self._spend(model)
        taken.add(read.input)
        given.add(read.output)
        if read.cached:
            self._at("tokens_total", model, "cached").add(read.cached)
        if read.reasoning:
            self._at("tokens_total", model, "reasoning").add(read.reasoning)

    def upstream_error(self, upstream: str, kind: str) -> None:
        """Count a failure of an upstream; `kind` as its error has it."""
        self._at("upstream_errors_total", upstream, kind).add()

    def health_checked(self, upstream: str, outcome: str, n: int = 1) -> None:
        """Count `n` health checks of an upstream; of 0 the figure is shown before the first."""
        self._at("health_checks_total", upstream, outcome).add(n)

    def resumed(self, outcome: str) -> None:
        """Count a reader that came with a cursor, by what became of it."""
        self._at("resumes_total", outcome).add()

    def coalesced(self, model: str, outcome: str, n: int = 1) -> None:
        """Count requests of a model that coalesces, by whether another's answer answered them."""
        self._at("coalesced_total", model, outcome).add(n)

    def retried(self, cause: str) -> None:
        """Count a request that is sent once more, by what had failed."""
        self._at("retries_total", cause).add()

    def may_hedge(self, model: str) -> None:
        """Show hedges of this model from now on, also while there are none."""
        for outcome in HEDGES:
            self._at("hedges_total", model, outcome).add(0)

    def hedged(self, model: str, outcome: str) -> None:
        """Count a second request that was sent beside a slow one, by what became of it."""
        self._at("hedges_total", model, outcome).add()

    def disconnect(self, phase: str) -> None:
        """Count a client that left in this stage of its request."""
        self._at("client_disconnects_total", phase).add()

    def rejected(self, status: int) -> None:
        """Count a request that was refused before it reached a route."""
        self._at("http_rejects_total", status).add()

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
        self.on_show()
        for name, spec in COUNTED.items():
            yield _numbers(name, spec, self.counts(name))
        for name, spec in MEASURED.items():
            yield _histograms(name, spec, self._measured[name].slots)
        for name, (spec, reading) in self._watched.items():
            yield _numbers(name, spec, self._read(spec, reading))
        yield InfoMetricFamily(
            "headgate_build",
            "The version that runs.",
            {"version": __version__, "python": platform.python_version()},
        )

    def counts(self, name: str) -> dict[Key, float]:
        """Return what was counted so far under a name of COUNTED, by label values."""
        self.on_show()
        return _values(self._counted[name])

    def _read(self, spec: Spec, reading: Reading) -> dict[Key, float]:
        value = reading()
        total = Series(self._closed(spec), Count)
        for key, number in value.items() if isinstance(value, Mapping) else [((), value)]:
            total.at(key).add(number)
        return _values(total)

    def _closed(self, spec: Spec) -> tuple[Container[object], ...]:
        return tuple(self._sets[label] for label in spec.labels)

    def _at(self, name: str, *labels: str | int) -> Count:
        return self._counted[name].at(labels)

    def _single(self, name: str, labels: Iterable[str]) -> dict[str, Count]:
        """Return the counts of these values of the only label there is, shown from now on."""
        return {label: self._at(name, label) for label in labels}

    def _serve(self, key: tuple[str, str, str, int]) -> tuple[Count, Histogram]:
        """Return where requests of this route, model, upstream and code are counted."""
        route, model, upstream, _ = key
        requests = self._counted["requests_total"]
        durations = self._measured["request_duration_seconds"].at((route, model, upstream))
        served = requests.at(key), durations
        if key in requests.slots:  # else it is of a name that nobody configured
            self._served[key] = served
        return served

    def _spend(self, model: str) -> tuple[Count, Count]:
        """Return where what a model took and gave is counted."""
        spent = self._at("tokens_total", model, "input"), self._at("tokens_total", model, "output")
        if (model, "input") in self._counted["tokens_total"].slots:
            self._spent[model] = spent
        return spent

    def _begin_at_zero(self, upstreams: Iterable[str], kinds: Iterable[str]) -> None:
        """Show what has not happened yet: `rate()` does not see a series' first value."""
        for cause in CAUSES:
            self._at("retries_total", cause)
        for outcome in RESUMES:
            self._at("resumes_total", outcome)
        for stage in STAGES:
            self._at("client_disconnects_total", stage)
        for upstream in sorted(upstreams):
            for kind in sorted(kinds):
                self._at("upstream_errors_total", upstream, kind)

    def _watch_process(self) -> None:
        started = time.time()
        self.watch("fds_open", _fds_open)
        self.watch("fds_limit", lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self.watch("process_cpu_seconds_total", time.process_time)
        self.watch("process_resident_memory_bytes", _resident)
        self.watch("process_start_time_seconds", lambda: started)


def _nothing() -> None:
    """Be what is done where there is nothing to do."""


def _close(key: Key, closed: tuple[Container[object], ...]) -> Key:
    return tuple(
        value if value in allowed else OTHER for value, allowed in zip(key, closed, strict=True)
    )


def _values(counts: Series[Count]) -> dict[Key, float]:
    return {key: count.value for key, count in counts.slots.items()}


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
