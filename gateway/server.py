"""The life of one process, and the one place where its objects are built.

    start    names resolved, sockets open, READY
    serve    until a signal
    drain    not ready, no new connections; streams go on, up to the drain time
    stop     what is left ends honestly; everything closes, in order
"""

import asyncio
import gc
import itertools
import os
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import uvloop

from gateway import __version__, signals
from gateway.admin import Admin
from gateway.desk import Desk
from gateway.errors import GatewayError, UpstreamUnavailable
from gateway.guard import RequestHead
from gateway.health import HealthCheck
from gateway.host import OVERLOAD_ANSWERS, Host, Route
from gateway.http1 import HttpConnection
from gateway.hub import Hub
from gateway.logs import Log, RequestRecord, bridged
from gateway.metrics import Key, Metrics
from gateway.pool import Room
from gateway.provider import Provider
from gateway.resolver import Resolver
from gateway.routes import Api, error_body
from gateway.settings import Config, Upstream
from gateway.sockets import (
    ADMIN_CONNECTIONS,
    BACKLOG,
    SPARE_SHARE,
    Inherited,
    connection_limit,
    open_listener,
    refuse_others,
    shown,
    upstream_limit,
)
from gateway.systemd import Notifier, inherited_sockets, watchdog_interval
from gateway.units import Tcp


# Seconds for the last bytes to leave after the last answer is written.
FLUSH_TIME = 5.0
# Seconds between looks at how late the loop is.
LAG_PERIOD = 0.5
# Objects made and not yet freed that start a collection; Python's own 700 are two requests.
GC_THRESHOLD = 10_000


class Server:
    """One worker: two listeners, the upstreams, and what lies between."""

    def __init__(
        self,
        config: Config,
        *,
        log: Log,
        loop: asyncio.AbstractEventLoop,
        notifier: Notifier,
        watchdog: float | None,
        inherited: Inherited,
    ) -> None:
        self.addresses: dict[str, list[str]] = {"public": [], "admin": []}  # once started
        self._config = config
        self._log = log
        self._loop = loop
        self._notifier = notifier
        self._watchdog = watchdog  # seconds between signs of life
        self._inherited = inherited
        self._ready = False
        self._request_ids = request_ids()
        self._leaving = asyncio.Event()  # the first signal came
        self._hurry = asyncio.Event()  # the second
        self._servers: dict[str, list[asyncio.Server]] = {"public": [], "admin": []}
        self._ticks: dict[str, asyncio.TimerHandle] = {}
        models = [model.name for model in config.models.values()]
        self._metrics = Metrics(models, config.upstreams)
        self._resolver = Resolver()
        limit = connection_limit()
        spare = min(OVERLOAD_ANSWERS, limit // SPARE_SHARE)
        self._room = Room(upstream_limit(limit + spare), self._full)
        self.providers = {name: self._provider(u) for name, u in config.upstreams.items()}
        logs = config.logs
        self._hub = Hub(loop, retain=logs.retain, max_bytes=logs.max_bytes, on_crash=log.crash)
        self.desk = Desk(hub=self._hub, metrics=self._metrics, log=log, loop=loop)
        api = self._api = Api(config, self.providers, self.desk)
        self._health = [
            HealthCheck(self.providers[name], upstream.health, self.desk)
            for name, upstream in config.upstreams.items()
            if upstream.health is not None
        ]
        self.public = self._host(api.route, limit, spare)
        admin_host = config.server.admin.host if isinstance(config.server.admin, Tcp) else ""
        admin = Admin(self._metrics, self._checks, admin_host)
        self._admin = self._host(admin.route, ADMIN_CONNECTIONS, 0)
        self._lag = 0.0
        self._watch()

    def heed_signals(self) -> None:
        """Leave on SIGTERM and SIGINT, and when the terminal is gone; before READY is said."""
        signals.heed(self._loop, self.leave, self._hang_up)

    async def start(self) -> None:
        """Open everything and say READY.

        Raises:
            BindError: a listener cannot be opened.
            ConfigError: other machines reach a public one, and no caller needs a key.
        """
        server = self._config.server
        for address in server.listen:
            sockets = open_listener(address, self._inherited)
            if not self._config.keys:
                refuse_others(address, sockets)
            await self._listen("public", self.public, sockets)
        await self._listen("admin", self._admin, open_listener(server.admin, self._inherited))
        await asyncio.gather(*(self._resolve(p) for p in self.providers.values()))
        self._warn_of_limits()
        self._tick_lag(time.monotonic())
        self._tick_watchdog()
        for check in self._health:
            check.start()
        self._ready = True
        self._notifier.ready(f"listening on {', '.join(self.addresses['public'])}")
        self._log.info("started", version=__version__, pid=os.getpid())

    async def run(self) -> None:
        """Serve until a signal, then drain; return when all is closed."""
        await self._leaving.wait()
        await self._drain()
        await self._stop()

    def leave(self) -> None:
        """Begin to drain; called again, do not wait for anything."""
        (self._hurry if self._leaving.is_set() else self._leaving).set()

    def _hang_up(self, terminal: bool) -> None:
        """Begin to drain, if that says that our terminal is gone; it may say so twice."""
        if not terminal:
            # Who says that to a service wants the file read again, and no stream cut.
            self._log.warning("SIGHUP reads nothing anew: restart to change the configuration")
        elif not self._leaving.is_set():
            self.leave()

    # Leaving.

    async def _drain(self) -> None:
        """Let what is live finish, for the drain time at most."""
        self._ready = False
        for check in self._health:
            check.close()
        self._notifier.stopping(f"draining {len(self.desk.jobs)} requests")
        self._log.info("draining", requests=len(self.desk.jobs))
        for server in self._servers["public"]:
            server.close()
        self.public.drain()
        self._hub.retire()
        # Not for the jobs: one is over when its provider is, but a slow client is still reading.
        live = self.public.connections.empty()
        await self._first(live, self._hurry.wait(), self._config.server.drain)

    async def _stop(self) -> None:
        """End what is left, then close in the order in which things depend on each other."""
        for job in self.desk.jobs:
            job.shut_down()
        await self.desk.jobs.empty()
        await self._first(self.public.connections.empty(), None, FLUSH_TIME)
        self.close()
        # Who was cut just now still has a log line to write.
        await self._first(self.public.connections.empty(), None, FLUSH_TIME)
        self._log.info("stopped")

    def close(self) -> None:
        """Close whatever is open.  May be called twice."""
        for server in itertools.chain(*self._servers.values()):
            server.close()
        for host in (self.public, self._admin):
            for connection in host.connections:
                connection.abort()
        for check in self._health:
            check.close()
        for provider in self.providers.values():
            provider.pool.close()
            provider.young.close()
        self.desk.young.close()
        self._resolver.close()
        self._api.close()
        self._hub.close()
        for tick in self._ticks.values():
            tick.cancel()
        self._notifier.close()

    async def _first(
        self, one: Awaitable[object], other: Awaitable[object] | None, patience: float
    ) -> None:
        """Wait until either is done, `patience` seconds at most."""
        tasks = [asyncio.ensure_future(a) for a in (one, other) if a is not None]
        await asyncio.wait(tasks, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()

    # Building.

    def _host(self, route: Callable[[RequestHead], Route], limit: int, spare: int) -> Host:
        return Host(
            route,
            limit=limit,
            spare=spare,
            request_id=self._request_ids,
            on_refused=self._refused,
            on_crash=self._log.crash,
            error_body=error_body,
        )

    def _provider(self, upstream: Upstream) -> Provider:
        return Provider(
            upstream,
            resolver=self._resolver,
            metrics=self._metrics,
            room=self._room,
            loop=self._loop,
        )

    async def _listen(self, name: str, host: Host, sockets: list[socket.socket]) -> None:
        for sock in sockets:
            sock.setblocking(False)
            factory = partial(HttpConnection, host, self._loop)
            server = await self._create_server(factory, sock)
            self._servers[name].append(server)
            self.addresses[name].append(shown(sock))
            self._log.info("listening", listener=name, address=shown(sock))

    async def _create_server(
        self, factory: Callable[[], HttpConnection], sock: socket.socket
    ) -> asyncio.Server:
        if sock.family == socket.AF_UNIX:
            return await self._loop.create_unix_server(factory, sock=sock, backlog=BACKLOG)
        return await self._loop.create_server(factory, sock=sock, backlog=BACKLOG)

    async def _resolve(self, provider: Provider) -> None:
        """Learn an upstream's addresses before the first request needs them."""
        try:
            await self._resolver.resolve(provider.host)
        except UpstreamUnavailable as error:
            self._log.warning(error.message, upstream=provider.name)

    # Watching.

    def _warn_of_limits(self) -> None:
        for name, provider in self.providers.items():
            if provider.pool.limit < self._config.upstreams[name].max_connections:
                self._log.warning(
                    "max_connections is more than open files allow (LimitNOFILE=, ulimit -n)",
                    upstream=name,
                    limit=provider.pool.limit,
                )

    def _full(self) -> None:
        """Say, once, that requests are refused for want of file descriptors."""
        self._log.error(
            "no room for more connections to upstreams: more open files are needed (LimitNOFILE=)",
            limit=self._room.limit,
        )

    def _refused(
        self, error: GatewayError, head: RequestHead, request_id: str, client: str
    ) -> None:
        self._metrics.rejected(error.status)
        self._log.request(
            RequestRecord(
                request_id=request_id,
                client=client,
                method=head.method,
                path=head.path,
                status=error.status,
                error=error.message,
            )
        )

    def _checks(self) -> Mapping[str, bool]:
        return {"serving": self._ready}

    def _watch(self) -> None:
        watch = self._metrics.watch
        public, admin = self.public.connections, self._admin.connections
        watch("connections_open", lambda: {("public",): len(public), ("admin",): len(admin)})
        watch("pool_connections", self._pool_connections)
        watch("pool_waiters", self._pool_waiters)
        providers = self.providers.items()
        watch("breaker_state", lambda: {(n,): p.breaker.state.value for n, p in providers})
        watch("upstream_keys_out", lambda: {(n,): p.keys.out for n, p in providers})
        watch("loop_lag_seconds", lambda: self._lag)
        hub = self._hub
        watch("streams_active", lambda: {(name,): n for name, n in hub.readers().items()})
        watch("log_bytes", lambda: hub.held)
        watch("logs_kept", lambda: len(hub))
        watch("log_trims_total", lambda: hub.trims)
        watch("logs_evicted_total", lambda: hub.evicted)
        watch("reader_stalls_total", lambda: self.public.stalls)
        watch("log_lines_dropped_total", lambda: self._log.dropped)

    def _pool_connections(self) -> dict[Key, float]:
        figures: dict[Key, float] = {}
        for name, provider in self.providers.items():
            figures[name, "idle"] = len(provider.pool.idle)
            figures[name, "active"] = provider.pool.active
        return figures

    def _pool_waiters(self) -> dict[Key, float]:
        return {(name,): len(p.pool.waiters) for name, p in self.providers.items()}

    def _tick_lag(self, due: float) -> None:
        self._lag = max(0.0, time.monotonic() - due)
        due = self._loop.time() + LAG_PERIOD
        self._ticks["lag"] = self._loop.call_at(due, self._tick_lag, due)

    def _tick_watchdog(self) -> None:
        self._notifier.alive()
        if self._watchdog is not None:
            self._ticks["watchdog"] = self._loop.call_later(self._watchdog, self._tick_watchdog)


def serve(config: Config, *, log_format: str) -> int:
    """Run a worker until a signal; return the exit status.

    Raises:
        BindError: a listener cannot be opened.
        ConfigError: other machines reach a public one, and no caller needs a key.
    """
    log = Log(sys.stdout.fileno(), log_format)
    try:
        with bridged(log):
            uvloop.run(_serve(config, log))
    finally:
        signals.ignore()
        log.close()
    return 0


async def _serve(config: Config, log: Log) -> None:
    server = Server(
        config,
        log=log,
        loop=asyncio.get_running_loop(),
        notifier=Notifier(),
        watchdog=watchdog_interval(),
        inherited=inherited_sockets(),
    )
    server.heed_signals()
    try:
        await server.start()
        # All that is alive now stays: leave it out of every collection to come.
        gc.collect()
        gc.freeze()
        # A request makes no cycle unless it fails, so there is little to find.
        gc.set_threshold(GC_THRESHOLD, 20, 100)
        await server.run()
    finally:
        server.close()


def request_ids() -> Callable[[], str]:
    """Return a maker of ids for requests that come without one.

    They need not be hard to guess, only unlike those of any other process.
    """
    prefix, numbers = "req_" + os.urandom(8).hex(), itertools.count(1)
    return lambda: f"{prefix}{next(numbers):08x}"
