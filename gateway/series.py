"""Every series `/metrics` can show: names, labels, buckets, and what they say.

Three tables: COUNTED and MEASURED are written as things happen, WATCHED is asked of
its owners at scrape.  A label takes values of a closed set only, known when the
process starts; any other is `other`, so no client and no provider can make series.
"""

from typing import NamedTuple

from gateway.upstream_errors import UpstreamError


OTHER = "other"
NONE = ""  # Prometheus takes an empty label as an absent one

# The closed sets that no configuration changes.
ROUTES = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/responses",
    "/v1/responses/{id}",
    "/v1/responses/{id}/cancel",
    "/v1/chat/completions/stream",
    "/v1/stream/{id}",
    "/v1/stream/{id}/cancel",
    "/stop-generation",
    "/v1/tickets",
    "/events",
    "/trigger-event",
    "/ws",
    "/v1/ws/chat",
    "/v1/models",
    "/v1/models/{id}",
    "/healthz",
    "*",
)
CODES = range(100, 600)
ENDINGS = (
    "finished",
    "stop",
    "disconnect",
    "failed",
    "upstream_error",
    "timeout",
    "protocol",
    "truncated",
    "overloaded",
    "shutdown",
)
STAGES = ("queued", "waiting", "streaming")  # of a job, when its client left
CAUSES = ("stale", "connect", "cut", "timeout", "status", "key", "full")  # of another try
CHECKS = ("alive", "failed", "busy")  # of an upstream's health
HEDGES = ("won", "lost", "failed")  # what became of a second request beside a slow one
RESUMES = ("recovered", "gone", "ended")
HIT, MISS = OUTCOMES = ("hit", "miss")  # of requests that may be answered together
OVERHEAD_PHASES = ("request", "first_event", "event")
TRANSPORTS = ("sse", "eventsource", "durable", "long_poll", "chat_events", "response", "websocket")
LISTENERS = ("public", "admin")
POOL_STATES = ("idle", "active")
TOKEN_TYPES = ("input", "output", "cached", "reasoning")

TTFT_BOUNDS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
    1, 2.5, 5, 7.5, 10, 20, 40, 80,
)  # fmt: skip
GAP_BOUNDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75,
    1, 2.5,
)  # fmt: skip
OVERHEAD_BOUNDS = (
    0.00002, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
)  # fmt: skip
# From a refusal to the longest stream there may be (design §8: total 3600 s).
DURATION_BOUNDS = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600,
)  # fmt: skip
# From loopback to the 5 s after which a connection is given up (design §8).
CONNECT_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

# Kinds that are given to a class of upstream_errors.py where it is raised; a test compares.
RAISED_KINDS = (
    "body_too_long",
    "connect_timeout",
    "dns",
    "encoding",
    "first_event_timeout",
    "framing",
    "idle_timeout",
    "interim",
    "media",
    "reset",
    "shutdown",
    "status",
    "status_429",
    "status_4xx",
    "status_5xx",
    "tls",
    "tls_timeout",
    "total_timeout",
    "truncated",
)


class Spec(NamedTuple):
    """What one metric is called, says and is divided by."""

    labels: tuple[str, ...]
    help: str
    bounds: tuple[float, ...] = ()


COUNTED = {
    "requests_total": Spec(
        ("route", "model", "upstream", "code"),
        "Requests answered, by the HTTP status the client got.  A rise of code 5xx is ours or "
        "the upstream's: see upstream_errors_total.",
    ),
    "streams_ended_total": Spec(
        ("reason",),
        "Generations that ended, by reason.  truncated and upstream_error are answers that were "
        "cut short and reported as such.",
    ),
    "client_disconnects_total": Spec(
        ("phase",),
        "Clients that left before their answer was complete.  A rise of queued or waiting means "
        "that answers begin too late for them.",
    ),
    "resumes_total": Spec(
        ("outcome",),
        "Readers that came with a cursor.  recovered: went on without a gap; ended: there was "
        "nothing more; gone: what they missed is not kept any more, so raise [logs] retain.",
    ),
    "coalesced_total": Spec(
        ("model", "outcome"),
        "Requests of models that coalesce.  hit: answered from another's log, under way or "
        "finished; miss: asked of the provider.",
    ),
    "upstream_errors_total": Spec(
        ("upstream", "kind"),
        "Failures of an upstream or of the way to it.  dns, connect, tls: the network or its "
        "configuration; *_timeout: the provider is slow, or the limit is short.",
    ),
    "retries_total": Spec(
        ("cause",),
        "Requests sent once more, to the same upstream or another, by what had failed.  When stale "
        "grows with the requests, the upstream closes idle connections sooner than we expect.",
    ),
    "health_checks_total": Spec(
        ("upstream", "outcome"),
        "Health checks of upstreams that are asked for them.  busy: none went, since all our "
        "connections to it are in use.",
    ),
    "hedges_total": Spec(
        ("model", "outcome"),
        "Second requests sent beside a slow one.  won: it answered first; lost: it was of no use; "
        "failed: it did.  When most are lost, raise the model's hedge.",
    ),
    "tokens_total": Spec(
        ("model", "type"),
        "Tokens as the providers counted them.  cached is part of input, reasoning of output.",
    ),
    "http_rejects_total": Spec(
        ("status",),
        "Requests refused before they reached a route: malformed, too large, too slow, or above "
        "the limit of connections (503).",
    ),
}
MEASURED = {
    "request_duration_seconds": Spec(
        ("route", "model", "upstream"),
        "Seconds from a request's last byte to its answer's last byte.",
        DURATION_BOUNDS,
    ),
    "time_to_first_token_seconds": Spec(
        ("model", "upstream"),
        "Seconds from a request's last byte to the first event of its stream.  Mostly the "
        "provider's: compare overhead_seconds and pool_wait_seconds.",
        TTFT_BOUNDS,
    ),
    "inter_token_latency_seconds": Spec(
        ("model", "upstream"),
        "Seconds between the events of a stream as they came from the upstream.",
        GAP_BOUNDS,
    ),
    "overhead_seconds": Spec(
        ("phase",),
        "Seconds the gateway itself added: to a request before it went upstream, to the first "
        "event, to each event.  When it grows the CPU is short: see loop_lag_seconds.",
        OVERHEAD_BOUNDS,
    ),
    "pool_wait_seconds": Spec(
        ("upstream",),
        "Seconds requests waited for a connection to the upstream, connecting included.  When it "
        "grows and connections do not, raise max_connections.",
        CONNECT_BOUNDS,
    ),
    "upstream_connect_seconds": Spec(
        ("upstream",),
        "Seconds to open a connection to the upstream: name, TCP and TLS.",
        CONNECT_BOUNDS,
    ),
}
WATCHED = {
    "connections_open": Spec(
        ("listener",), "Client connections open now.  At its limit new ones get 503."
    ),
    "streams_active": Spec(
        ("transport",), "Streams being delivered now.  Must return to 0 when clients are gone."
    ),
    "pool_connections": Spec(
        ("upstream", "state"),
        "Connections to the upstream.  When active stays at max_connections, requests wait.",
    ),
    "breaker_state": Spec(
        ("upstream",),
        "Whether the upstream is asked: 0 yes, 1 it fails and is left alone, 2 one request went to "
        "see.  Above 0 for long: look at upstream_errors_total.",
    ),
    "upstream_keys_out": Spec(
        ("upstream",),
        "Keys that the upstream refuses (401, 402, 403).  Above 0: replace them, or pay the bill.",
    ),
    "pool_waiters": Spec(
        ("upstream",), "Requests that wait for a connection to the upstream.  Should be 0."
    ),
    "loop_lag_seconds": Spec(
        (), "How late the event loop ran its last check.  Above 0.05 tokens are visibly late."
    ),
    "log_bytes": Spec((), "Bytes of all logs, open and closed.  Stays below [logs] max_bytes."),
    "logs_kept": Spec((), "Logs that can be read: generations, open and closed, and channels."),
    "log_trims_total": Spec(
        (), "Times a log lost its oldest entries because it was full.  Late readers miss them."
    ),
    "logs_evicted_total": Spec(
        (), "Closed logs dropped before their time.  When it grows, raise [logs] max_bytes."
    ),
    "reader_stalls_total": Spec(
        (), "Clients cut because they took nothing for 30 s.  They may resume from their cursor."
    ),
    "log_lines_dropped_total": Spec(
        (), "Log lines lost because whoever reads the log does not keep up."
    ),
    "fds_open": Spec((), "File descriptors open.  Near fds_limit connections fail."),
    "fds_limit": Spec((), "File descriptors this process may have (LimitNOFILE)."),
    # By the names every exporter uses.  Not by prometheus-client's ProcessCollector: it
    # needs /proc/stat, which ProcSubset=pid hides, and then shows nothing at all.
    "process_cpu_seconds_total": Spec((), "User and system CPU time spent, in seconds."),
    "process_resident_memory_bytes": Spec((), "Resident memory, in bytes."),
    "process_start_time_seconds": Spec((), "When the process started, in Unix time."),
}


def upstream_kinds() -> frozenset[str]:
    """Return every `kind` an UpstreamError may have."""
    kinds = set(RAISED_KINDS)
    classes: list[type[UpstreamError]] = [UpstreamError]
    for cls in classes:  # grows as it goes
        kinds.add(cls.kind)
        classes += cls.__subclasses__()
    return frozenset(kinds)
