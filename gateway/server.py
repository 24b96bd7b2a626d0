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
import sys
from collections.abc import Awaitable, Callable, Mapping

import uvloop

from gateway import __version__, signals
from gateway.addresses import Tcp
from gateway.admin import Admin
from gateway.desk import Desk
from gateway.errors import GatewayError
from gateway.gauges import watch_connections, watch_logs, watch_process, watch_providers
from gateway.guard import RequestHead
from gateway.health import HealthCheck
from gateway.host import OVERLOAD_ANSWERS, Host, Route
from gateway.hub import Hub
from gateway.listener import Listener
from gateway.logs import Log, RequestRecord, bridged
from gateway.metrics import Metrics
from gateway.pool import Room
from gateway.provider import Provider
from gateway.pulse import Pulse
from gateway.resolver import Resolver
from gateway.routes import Api, error_body
from gateway.settings import Config
from gateway.sockets import (
    ADMIN_CONNECTIONS,
    SPARE_SHARE,
    Inherited,
    connection_limit,
    make_table,
    open_listener,
    refuse_others,
    upstream_limit,
)
from gateway.systemd import Notifier, inherited_sockets, watchdog_interval
from gateway.upstream_errors import UpstreamUnavailable


# Seconds for the last bytes to leave after the last answer is written.
FLUSH_TIME = 5.0
# When cycles are looked for: after so many objects made and not yet freed (Python's own 700 are a
# dozen streams that begin); every so many times also among what was looked at since the last of
# these; and every so many of these among everything.  What ends sets the first figure back, so
# only more streams, or more kept logs, get there.  Everybody waits meanwhile, for the first kind
# a millisecond: at 10,000 it was two.
GC_THRESHOLDS = 5_000, 20, 200


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
        self._config = config
        self._log = log
        self._loop = loop
        self._notifier = notifier
        self._inherited = inherited
        self._ready = False
        self._leaving = asyncio.Event()  # the first signal came
        self._hurry = asyncio.Event()  # the second
        self._request_ids = request_ids()
        self._pulse = Pulse(loop, notifier, watchdog)
        self._resolver = Resolver()
        models = [model.name for model in config.models.values()]
        self._metrics = Metrics(models, config.upstreams)
        self._limit = connection_limit()
        self._spare = min(OVERLOAD_ANSWERS, self._limit // SPARE_SHARE)
        self._room = Room(upstream_limit(self._limit + self._spare), self._full)
        self.providers = self._all_providers()
        self.desk = self._desk()
        self._api = Api(config, self.providers, self.desk)
        self._health = self._health_checks()
        self.public = self._public_listener()
        self.admin = self._admin_listener()
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
        # A client has one to an upstream, as a rule.
        make_table(2 * self._limit + self._spare)
        server = self._config.server
        for address in server.listen:
            sockets = open_listener(address, self._inherited)
            if not self._config.keys:
                refuse_others(address, sockets)
            await self.public.open(sockets)
        await self.admin.open(open_listener(server.admin, self._inherited))
        await asyncio.gather(*(self._resolve(p) for p in self.providers.values()))
        self._warn_of_limits()
        self._pulse.start()
        for check in self._health:
            check.start()
        self._ready = True
        self._notifier.ready(f"listening on {', '.join(self.public.addresses)}")
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
        self.public.drain()
        self.desk.hub.retire()
        # Not for the jobs: one is over when its provider is, but a slow client is still reading.
        live = self.public.host.connections.empty()
        await self._first(live, self._hurry.wait(), self._config.server.drain)

    async def _stop(self) -> None:
        """End what is left, then close in the order in which things depend on each other."""
        for job in self.desk.jobs:
            job.shut_down()
        await self.desk.jobs.empty()
        await self._first(self.public.host.connections.empty(), None, FLUSH_TIME)
        self.close()
        # Who was cut just now still has a log line to write.
        await self._first(self.public.host.connections.empty(), None, FLUSH_TIME)
        self.desk.ledger.close()
        self._log.info("stopped")

    def close(self) -> None:
        """Close whatever is open.  May be called twice."""
        self.public.close()
        self.admin.close()
        for check in self._health:
            check.close()
        for provider in self.providers.values():
            provider.pool.close()
            provider.young.close()
        self.desk.young.close()
        self._resolver.close()
        self._api.close()
        self.desk.hub.close()
        self.desk.ledger.close()
        self._pulse.close()
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

    def _all_providers(self) -> dict[str, Provider]:
        return {
            name: Provider(
                upstream,
                resolver=self._resolver,
                metrics=self._metrics,
                room=self._room,
                loop=self._loop,
            )
            for name, upstream in self._config.upstreams.items()
        }

    def _desk(self) -> Desk:
        logs, log = self._config.logs, self._log
        hub = Hub(self._loop, retain=logs.retain, max_bytes=logs.max_bytes, on_crash=log.crash)
        return Desk(hub=hub, metrics=self._metrics, log=log, loop=self._loop)

    def _health_checks(self) -> list[HealthCheck]:
        return [
            HealthCheck(self.providers[name], upstream.health, self.desk)
            for name, upstream in self._config.upstreams.items()
            if upstream.health is not None
        ]

    def _public_listener(self) -> Listener:
        return self._listener("public", self._host(self._api.route, self._limit, self._spare))

    def _admin_listener(self) -> Listener:
        address = self._config.server.admin
        name = address.host if isinstance(address, Tcp) else ""
        admin = Admin(self._metrics, self._checks, name)
        return self._listener("admin", self._host(admin.route, ADMIN_CONNECTIONS, 0))

    def _listener(self, name: str, host: Host) -> Listener:
        return Listener(name, host, log=self._log, loop=self._loop)

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

    def _watch(self) -> None:
        metrics = self._metrics
        watch_connections(metrics, self.public.host, self.admin.host)
        watch_providers(metrics, self.providers)
        watch_logs(metrics, self.desk.hub)
        watch_process(metrics, self._pulse, self._log)

    # Working.

    async def _resolve(self, provider: Provider) -> None:
        """Learn an upstream's addresses before the first request needs them."""
        try:
            await self._resolver.resolve(provider.host)
        except UpstreamUnavailable as error:
            self._log.warning(error.message, upstream=provider.name)

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
        self.desk.ledger.settle()  # lines stand in the order in which requests ended
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
        gc.set_threshold(*GC_THRESHOLDS)
        await server.run()
    finally:
        server.close()


def request_ids() -> Callable[[], str]:
    """Return a maker of ids for requests that come without one.

    They need not be hard to guess, only unlike those of any other process.
    """
    write = ("req_" + os.urandom(8).hex() + "{:08x}").format
    return map(write, itertools.count(1)).__next__
