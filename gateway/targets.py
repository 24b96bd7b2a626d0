"""Where a model is: the upstreams that have it."""

from typing import NamedTuple

import msgspec

from gateway.balance import Candidate, choose
from gateway.desk import Desk
from gateway.metrics import TargetMetrics
from gateway.provider import Provider
from gateway.settings import Model


# Seconds a generation waits for a reader that may come back (design §3).
GRACE = 60.0


class Target(msgspec.Struct, frozen=True):
    """An upstream, and how a model is there."""

    provider: Provider
    model: str | None  # its name there; None: the one that was asked for
    weight: float
    priority: int
    metrics: TargetMetrics


class Terms(NamedTuple):
    """For how long a generation may go on without readers; as hub.Live has both."""

    grace: float
    patience: float


class Targets:
    """All targets of a model."""

    __slots__ = ("_all", "lasting", "model", "only", "usual")

    def __init__(self, model: Model, targets: tuple[Target, ...]) -> None:
        allowed = GRACE if model.on_disconnect is None else model.on_disconnect
        self.model = model
        self.usual = Terms(model.on_disconnect or 0.0, allowed)
        self.lasting = Terms(allowed, allowed)  # where who reads is of a kind that comes back
        self.only = targets[0] if len(targets) == 1 else None
        self._all = targets

    def __getitem__(self, place: int) -> Target:
        return self._all[place]

    def __len__(self) -> int:
        return len(self._all)

    def place(self, target: Target) -> int:
        """Return which of all a target is."""
        return next(place for place, one in enumerate(self._all) if one is target)

    def first(self, desk: Desk, sticky: bytes) -> Target:
        """Return the target that a new request goes to."""
        # None can be asked: the first says why.
        return self._all[choose(self.candidates(desk.clock()), desk.draw, sticky) or 0]

    def candidates(self, now: float) -> list[Candidate]:
        """Return all targets as they stand."""
        return [
            Candidate(place, one.priority, one.weight, one.provider.load, one.provider.wait(now))
            for place, one in enumerate(self._all)
        ]
