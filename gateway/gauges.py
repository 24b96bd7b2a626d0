"""The figures that nobody counts: each is read where it stands, when somebody looks."""

from collections.abc import Mapping

from gateway.host import Host
from gateway.hub import Hub
from gateway.logs import Log
from gateway.metrics import Key, Metrics
from gateway.provider import Provider
from gateway.pulse import Pulse


def watch_connections(metrics: Metrics, public: Host, admin: Host) -> None:
    """Show the clients of both listeners."""
    hosts = {"public": public, "admin": admin}.items()
    metrics.watch("connections_open", lambda: {(n,): len(h.connections) for n, h in hosts})
    metrics.watch("reader_stalls_total", lambda: public.stalls)


def watch_providers(metrics: Metrics, providers: Mapping[str, Provider]) -> None:
    """Show the pool, the breaker and the keys of each upstream."""
    all_of = providers.items()
    metrics.watch("pool_connections", lambda: _pool_connections(providers))
    metrics.watch("pool_waiters", lambda: {(n,): len(p.pool.waiters) for n, p in all_of})
    metrics.watch("breaker_state", lambda: {(n,): p.breaker.state.value for n, p in all_of})
    metrics.watch("upstream_keys_out", lambda: {(n,): p.keys.out for n, p in all_of})


def watch_logs(metrics: Metrics, hub: Hub) -> None:
    """Show the logs there are, and who reads them."""
    metrics.watch("streams_active", lambda: {(n,): count for n, count in hub.readers().items()})
    metrics.watch("log_bytes", lambda: hub.held)
    metrics.watch("logs_kept", lambda: len(hub))
    metrics.watch("log_trims_total", lambda: hub.trims)
    metrics.watch("logs_evicted_total", lambda: hub.evicted)


def watch_process(metrics: Metrics, pulse: Pulse, log: Log) -> None:
    """Show how this process keeps up."""
    metrics.watch("loop_lag_seconds", lambda: pulse.lag)
    metrics.watch("log_lines_dropped_total", lambda: log.dropped)


def _pool_connections(providers: Mapping[str, Provider]) -> dict[Key, float]:
    figures: dict[Key, float] = {}
    for name, provider in providers.items():
        figures[name, "idle"] = len(provider.pool.idle)
        figures[name, "active"] = provider.pool.active
    return figures
