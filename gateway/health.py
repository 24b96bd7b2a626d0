"""Asking an upstream how it is, so that no user's request has to find out.

Off unless it is configured.  A check is a GET through the upstream's own pool, under one of
its keys, and its breaker learns of it: failures open it as those of requests do.  Whatever
answers below 500 is alive: what a key may do is for requests to find out, since many a key
may chat and not list.
"""

import asyncio
import contextlib

from gateway.desk import Desk
from gateway.errors import GatewayError, Overloaded
from gateway.exchange import Awaited
from gateway.provider import Provider
from gateway.series import CHECKS
from gateway.settings import Health
from gateway.upstream_errors import UpstreamProtocolError


# Bytes of an answer that are read so that its connection can be kept; the longest lists of
# models have a quarter.  Of a longer one the status counts all the same.
MOST = 4 * 1024 * 1024


class HealthCheck:
    """The checks of one upstream, one after the other."""

    __slots__ = ("_alive", "_desk", "_health", "_provider", "_task")

    def __init__(self, provider: Provider, health: Health, desk: Desk) -> None:
        self._provider = provider
        self._health = health
        self._desk = desk
        self._alive = True  # when it was last seen
        self._task: asyncio.Task[None] | None = None
        for outcome in CHECKS:
            desk.metrics.health_checked(provider.name, outcome, 0)

    def start(self) -> None:
        """Check from now on, until `close`."""
        self._task = self._desk.loop.create_task(self._run())

    def close(self) -> None:
        """Check no more; what is under way is dropped.  May be called twice."""
        if self._task is not None:
            self._task.cancel()

    async def check(self) -> None:
        """Ask once, and let the breaker know."""
        breaker = self._provider.breaker
        probe = breaker.began(self._desk.clock())
        try:
            self._learn(await self._complaint())
        except BaseException as error:
            if probe:
                breaker.given_up()
            if not isinstance(error, Overloaded):  # ours to bear, and says nothing of them
                raise
            self._desk.metrics.health_checked(self._provider.name, "busy")

    async def _run(self) -> None:
        # Upstreams and workers that start together do not ask together.
        await asyncio.sleep(self._health.interval * self._desk.draw())
        while True:
            try:
                await self.check()
            except Exception as error:  # a defect of ours: the next check may have none
                self._desk.log.crash(error)
            await asyncio.sleep(self._health.interval)

    async def _complaint(self) -> str:
        """Ask, and return what is wrong; nothing if the upstream is alive.

        Raises:
            Overloaded: all our connections to it are in use.
        """
        desk = self._desk
        exchange = Awaited(self._provider, desk.loop, desk.clock, desk.clock())
        request = self._provider.look(self._health.path.encode(), self._provider.keys.spare())
        try:
            async with asyncio.timeout(self._health.timeout):
                head = await exchange.head(request)
                with contextlib.suppress(UpstreamProtocolError):
                    await exchange.body(head, MOST)
        except TimeoutError:
            return f"no whole answer in {self._health.timeout:g} s"
        except Overloaded:
            raise
        except GatewayError as error:
            return error.message
        finally:
            exchange.release()
        return f"status {head.status}" if head.status >= 500 else ""

    def _learn(self, complaint: str) -> None:
        provider, log = self._provider, self._desk.log
        self._desk.metrics.health_checked(provider.name, "failed" if complaint else "alive")
        if complaint and self._alive:
            log.warning("upstream fails its health check", upstream=provider.name, why=complaint)
        elif not complaint and not self._alive:
            log.info("upstream passes its health check again", upstream=provider.name)
        self._alive = not complaint
        if not complaint:
            if provider.breaker.revived():
                log.info("upstream is alive, used again", upstream=provider.name)
        elif provider.breaker.failed(self._desk.clock()):
            log.warning("upstream is failing, left alone", upstream=provider.name, why=complaint)
