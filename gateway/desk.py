"""What everything that serves a request shares."""

import asyncio
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from gateway.delay import Delay
from gateway.hub import Hub
from gateway.ledger import Ledger
from gateway.logs import Log
from gateway.metrics import Metrics
from gateway.roster import Roster


# Where logs are.
STREAMS = "/v1/stream/"
# Seconds of an answer before it has an alarm of its own: most are over by then, and none is
# silent for longer before it owes its client a heartbeat.
FIRST_LOOK = 10.0


class Work(Protocol):
    """A job, as far as the end of the process is concerned."""

    def shut_down(self) -> None:
        """End because the process ends; whoever waits is told so."""


class Desk:
    """The things there are one of."""

    def __init__(
        self,
        *,
        hub: Hub,
        metrics: Metrics,
        log: Log,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.hub = hub
        self.metrics = metrics
        self.log = log
        self.loop = loop
        self.clock = clock
        self.wall = wall
        self.draw = draw  # a number of [0, 1): for shares and jitter, never for secrets
        self.jobs: Roster[Work] = Roster()
        self.ledger = Ledger(loop, lambda defect: log.crash(defect))
        metrics.on_show = self.ledger.settle
        self.young = Delay(loop, FIRST_LOOK)  # answers that have no alarm yet

    def timestamp(self) -> str:
        """Return the wall time as RFC 3339 writes it, to the millisecond."""
        now = datetime.fromtimestamp(self.wall(), UTC)
        return now.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
