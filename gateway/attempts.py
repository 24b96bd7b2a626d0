"""The tries of one request: whom to ask, under which key, and whether and when once more.

    first try ── chosen by priority, weight, load
       │ fails before a reader has an event, and another try may help
       ├─► a target that was not asked yet, and can be used: at once
       └─► one that was: after what its provider asks for, or a back-off
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from gateway.balance import NEVER, Candidate, choose
from gateway.desk import Desk
from gateway.errors import GatewayError, UpstreamAnswer, UpstreamKeysOut, UpstreamRefused
from gateway.guard import RequestHead
from gateway.keyring import Key
from gateway.provider import Provider
from gateway.retry import KEY_REFUSED, LONGEST_WAIT, Verdict, backoff, blames, judge
from gateway.settings import Retry


# When a tried target may be asked again: now, and without a back-off.
AT_ONCE = 0.0
# Seconds a key cools down when the provider does not say for how long.
LEAST_COOLING = 1.0
# What SDKs say of the seconds after which they give up waiting.
_PATIENCE = re.compile(rb"[0-9]{1,9}(\.[0-9]{1,9})?")


class Target(NamedTuple):
    """An upstream, and how a model is there."""

    provider: Provider
    model: str | None  # its name there; None: the one that was asked for
    weight: float
    priority: int


class Targets:
    """Where a model is."""

    __slots__ = ("_all", "retry")

    def __init__(self, targets: tuple[Target, ...], retry: Retry) -> None:
        self._all = targets
        self.retry = retry

    def __getitem__(self, place: int) -> Target:
        return self._all[place]

    def first(self, desk: Desk, sticky: bytes) -> int:
        """Return the place of the target that a new request goes to."""
        if len(self._all) == 1:
            return 0
        # None can be asked: the first says why.
        return choose(self.candidates(desk.clock()), desk.draw, sticky) or 0

    def candidates(self, now: float) -> list[Candidate]:
        """Return all targets as they stand."""
        return [
            Candidate(place, one.priority, one.weight, one.provider.load, one.provider.wait(now))
            for place, one in enumerate(self._all)
        ]


# Writes the whole request for a target, under one of its keys.
Write = Callable[[Target, Key], bytes]


class Attempts:
    """The tries of one request; `target` is that of the latest, or of the next."""

    __slots__ = (
        "_desk", "_head", "_key", "_place", "_probe", "_received", "_repeats", "_sticky",
        "_targets", "_told", "_tried", "_write", "cause", "count", "spent", "target",
    )  # fmt: skip

    def __init__(
        self,
        desk: Desk,
        targets: Targets,
        write: Write,
        head: RequestHead,
        received: float,
        sticky: bytes = b"",
    ) -> None:
        self.count = 0  # tries begun
        self.cause = ""  # of the try that is next, a label
        self.spent = False  # we did what can be done: a client that repeats it makes it worse
        self._desk = desk
        self._targets = targets
        # Until an event is here; both may be large.
        self._write: Write | None = write
        self._head = head
        self._received = received
        self._sticky = sticky
        self._tried: dict[int, float] = {}  # by place: when it may be asked again
        self._repeats = 0
        self._place = targets.first(desk, sticky)
        self.target = targets[self._place]
        self._key: Key | None = None
        self._probe = False  # this try is a breaker's
        self._told = False  # what became of this try is known

    def wire(self) -> bytes:
        """Begin a try, and return its request.

        Raises:
            UpstreamKeysOut: the provider refuses all of its keys.
        """
        assert self._write is not None
        now, provider = self._desk.clock(), self.target.provider
        self.count += 1
        self._told = self._probe = False
        self._key = provider.keys.pick(now)
        if self._key is None:
            raise self._keys_out()
        self._probe = provider.breaker.began(now)
        if self.count == 1:
            provider.budget.earn()
        return self._write(self.target, self._key)

    def answered(self) -> None:
        """Note that a reader has, or is about to have, an event: there is no other try."""
        self._write = None
        if self._key is not None and self._key.out:
            self.target.provider.keys.accepted(self._key)
        if self._probe:  # its stream may last an hour
            self.target.provider.breaker.succeeded()

    def succeeded(self) -> None:
        """Note that the provider did all it was asked."""
        if not self._told:
            self._told = True
            self.target.provider.breaker.succeeded()

    def failed(self, error: GatewayError) -> float | None:
        """Note that the try failed; return the seconds until the next one, None: there is none."""
        now = self._desk.clock()
        verdict = judge(error)
        self._note(error, now)
        if self._write is None or verdict is None or self.count >= self._targets.retry.attempts:
            return None
        self._tried[self._place] = self._due(error, verdict, now)
        self.cause = verdict.cause
        return self._move_on(now)

    def told(self, error: GatewayError) -> GatewayError:
        """Return what the client is told of the last failure: our keys are not its business."""
        refused = isinstance(error, UpstreamAnswer | UpstreamRefused)
        if not refused or error.status not in KEY_REFUSED or not self._key or not self._key.value:
            return error
        self.spent = True
        return self._keys_out()

    def close(self) -> None:
        """Note that nothing more comes of it; a try without an outcome is nobody's fault."""
        self._write = None
        if self._probe and not self._told:
            self.target.provider.breaker.given_up()
        self._told = True

    # Inside.

    def _keys_out(self) -> UpstreamKeysOut:
        provider = self.target.provider
        self.spent = True
        return UpstreamKeysOut(
            f"upstream {provider.name}: the provider refuses our key "
            f"({provider.keys.out} of {len(provider.keys)} are out)"
        )

    def _note(self, error: GatewayError, now: float) -> None:
        """Let the upstream's breaker and keys learn from a failure."""
        if self._told:
            return
        self._told = True
        provider = self.target.provider
        if blames(error):
            if provider.breaker.failed(now):
                self._desk.log.warning("upstream is failing, left alone", upstream=provider.name)
        elif self._probe and not isinstance(error, UpstreamAnswer | UpstreamRefused):
            provider.breaker.given_up()
        elif self._probe:
            provider.breaker.succeeded()  # it answers, if only to refuse
        if self._key is not None and isinstance(error, UpstreamAnswer | UpstreamRefused):
            self._note_key(self._key, error, now)

    def _note_key(self, key: Key, error: UpstreamAnswer | UpstreamRefused, now: float) -> None:
        provider = self.target.provider
        if error.status in KEY_REFUSED:
            if provider.keys.refused(key, now):
                self._desk.log.warning(
                    "upstream refuses a key, taken out",
                    upstream=provider.name, status=error.status, out=provider.keys.out,
                )  # fmt: skip
        elif error.status == 429:
            delay = max(LEAST_COOLING, error.delay or 0.0)
            provider.keys.limited(key, min(LONGEST_WAIT, delay), now)

    def _due(self, error: GatewayError, verdict: Verdict, now: float) -> float:
        """Return when the target that failed may be asked again."""
        if not verdict.again:
            return NEVER
        keys = self.target.provider.keys
        if verdict.cause == "key" or getattr(error, "status", 0) == 429:
            if not keys.wait(now):
                return AT_ONCE  # under another key
            if verdict.cause == "key":
                return NEVER
        delay = error.delay or 0.0
        return NEVER if error.final or delay > LONGEST_WAIT else now + delay

    def _move_on(self, now: float) -> float | None:
        """Make the next target the one to ask; return the seconds until then."""
        fresh = [
            one
            for one in self._targets.candidates(now)
            if one.place not in self._tried and not one.wait
        ]
        place = choose(fresh, self._desk.draw, self._sticky)
        if place is not None:
            delay, free = 0.0, self._targets[place].provider.breaker.well
        else:
            place, delay, free = self._again(now)
        if delay >= self._left(now):
            return None
        # An upstream that does well takes over what another drops; one that does not is spared.
        if not free and not self._targets[place].provider.budget.spend():
            self.spent = True
            return None
        self.spent = True
        self._place, self.target = place, self._targets[place]
        return delay

    def _again(self, now: float) -> tuple[int, float, bool]:
        """Return the target that may be asked again first, and in how many seconds."""
        place = min(self._tried, key=self._tried.__getitem__)
        due = self._tried[place]
        if due == AT_ONCE:
            return place, 0.0, False
        if self._targets[place].provider.breaker.wait(now):
            return place, NEVER, False
        pause = backoff(self._targets.retry.backoff, self._repeats, self._desk.draw)
        self._repeats += 1
        return place, max(due - now, pause), False

    def _left(self, now: float) -> float:
        """Return the seconds that the client, and we, wait for this request from now on."""
        patience: float = self.target.provider.timeouts.total
        said = self._head.get(b"x-stainless-read-timeout")
        if _PATIENCE.fullmatch(said):
            patience = min(patience, float(said))
        return self._received + patience - now
