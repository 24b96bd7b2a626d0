"""The tries of one request: whom to ask, and whether and when once more.

    first try ── chosen by priority, weight, load
       │ fails before a reader has an event, and another try may help
       ├─► a target that was not asked yet, and can be used: at once
       └─► the one that is ready first: after what its provider asks for, and a back-off

A hedge runs beside a try, and is none of these: what fails is repeated when both have failed.
"""

import re
from collections.abc import Callable
from typing import Protocol

import msgspec

from gateway.balance import NEVER, choose
from gateway.client_errors import ClientError
from gateway.desk import Desk
from gateway.errors import GatewayError
from gateway.guard import RequestHead
from gateway.retry import LONGEST_WAIT, Verdict, backoff, judge
from gateway.targets import Target, Targets
from gateway.tries import Try, Write
from gateway.upstream_errors import UpstreamKeysOut


# When a tried target may be asked again: now, and without a back-off.
AT_ONCE = 0.0
# What SDKs say of the seconds after which they give up waiting.
_PATIENCE = re.compile(rb"[0-9]{1,9}(\.[0-9]{1,9})?")


class Wish(Protocol):
    """What is asked for, and where it may be had."""

    targets: Targets
    head: RequestHead  # of the client's request
    sticky: bytes  # requests of one word go to one target; empty: any

    @property
    def write(self) -> Write:
        """What makes the whole request for a target."""

    @property
    def missing(self) -> Callable[[Target], tuple[str, ...]]:
        """What tells of a target what its request would lack.

        It raises a ClientError if the target cannot say what is asked at all.
        """


class Attempts(msgspec.Struct, eq=False):
    """The tries of one request, and what failed before."""

    _desk: Desk
    # Until an event is here: a request may be 20 MB.
    _wish: Wish | None
    target: Target  # of the latest, or of the next
    failures: int = 0
    cause: str = ""  # of the latest failure, a label
    retries: int = 0  # tries that followed, and requests sent anew
    spent: bool = False  # we did what can be done: a client that repeats it makes it worse
    _repeats: int = 0  # of the retries, those that came after a back-off
    _tried: dict[int, float] = {}  # by place of a target: when it may be asked again

    def begin(self, one: Try) -> bytes:
        """Begin a try, and return its request.

        Raises:
            UpstreamKeysOut, ClientError: as Try.begin does.
        """
        assert self._wish is not None
        request = one.begin(self._wish.write)
        if self.failures:
            self.retries += 1
        else:
            one.provider.budget.earned += 1
        return request

    def rehearse(self) -> tuple[str, ...]:
        """Find who can say what is asked, and send nothing; return what the request lacks there.

        Raises:
            ClientError: nobody can.
        """
        wish = self._wish
        assert wish is not None
        try:
            return wish.missing(self.target)
        except ClientError:
            if self._say_elsewhere(wish, self.target) is None:
                raise
        return wish.missing(self.target)

    def hedge(self, first: Try) -> tuple[Try, bytes] | None:
        """Begin a try elsewhere while the first goes on; return it and its request.

        None: nobody else can be asked, or there were too many.  It spends the budget of the
        first one's provider, as a repeat there would: when all are slow, hedges are a share
        of the load and do not double it.
        """
        if self._wish is None:
            return None
        tried = dict(self._tried)
        tried[self._wish.targets.place(first.target)] = NEVER
        place = self._fresh(self._wish, tried, usable=True)
        if place is None or not first.provider.budget.spend():
            return None
        target, began = self._wish.targets[place], first.began
        one = Try(self._desk, first.story, target, self._desk.clock(), began)
        return one, one.begin(self._wish.write)

    def end(self) -> None:
        """Note that there is no other try."""
        self._wish = None

    def failed(self, one: Try, error: GatewayError, received: float) -> float | None:
        """Note that a try failed; return the seconds until the next one, None: there is none.

        `received` is when the request was here.
        """
        verdict = self.outlived(one, error)
        if self._wish is None:
            return None
        if isinstance(error, ClientError):
            return self._say_elsewhere(self._wish, one.target)
        if verdict is None:
            return None
        self.failures += 1
        self.cause = verdict.cause
        if self.failures >= self._wish.targets.model.retry.attempts:
            return None
        return self._move_on(self._wish, self._desk.clock(), received)

    def outlived(self, one: Try, error: GatewayError) -> Verdict | None:
        """Note that a try failed, whether or not another goes on; return what may be done."""
        one.failed(error)
        verdict = judge(error)
        if self._wish is not None:
            due = _due(one, error, verdict, self._desk.clock())
            self._tried[self._wish.targets.place(one.target)] = due
        return verdict

    def last_word(self, one: Try, error: GatewayError) -> GatewayError:
        """Return what the client is told of the last failure."""
        word = one.last_word(error)
        if isinstance(word, UpstreamKeysOut):
            self.spent = True
        return word

    # Inside.

    def _say_elsewhere(self, wish: Wish, mute: Target) -> float | None:
        """Make one the next that can say what is asked for: that this cannot is no failure."""
        tried = self._tried
        tried[wish.targets.place(mute)] = NEVER
        place = self._fresh(wish, tried, usable=True)
        if place is None:
            place = self._fresh(wish, tried, usable=False)
        if place is None:
            return None
        self.target = wish.targets[place]
        return AT_ONCE

    def _fresh(self, wish: Wish, tried: dict[int, float], *, usable: bool) -> int | None:
        """Return the place of a target that was not tried and can say what is asked for."""
        now = self._desk.clock()
        while True:
            fresh = [
                one
                for one in wish.targets.candidates(now)
                if one.place not in tried and not (usable and one.wait)
            ]
            place = choose(fresh, self._desk.draw, wish.sticky)
            if place is None or _can_say(wish, wish.targets[place]):
                return place
            tried[place] = NEVER

    def _move_on(self, wish: Wish, now: float, received: float) -> float | None:
        """Make the next target the one to ask; return the seconds until then."""
        place, delay = self._fresh(wish, self._tried, usable=True), 0.0
        if place is None:
            place, delay = self._again(wish, now)
        if now + delay >= received + self._patience(wish.head):
            return None
        self.spent = True
        target = wish.targets[place]
        # An upstream that does well takes over what another drops; one that does not is spared.
        free = place not in self._tried and not target.provider.breaker.failures
        if not free and not target.provider.budget.spend():
            return None
        self.target = target
        return delay

    def _again(self, wish: Wish, now: float) -> tuple[int, float]:
        """Return the target that may be asked first of all, and in how many seconds."""
        places = range(len(wish.targets))
        ready = [self._ready(wish, place, now) for place in places]
        due = min(ready)
        place = ready.index(due)
        if due == AT_ONCE:
            return place, 0.0
        pause = backoff(wish.targets.model.retry.backoff, self._repeats, self._desk.draw)
        self._repeats += 1
        return place, max(due - now, pause)

    def _ready(self, wish: Wish, place: int, now: float) -> float:
        """Return when a target may be asked, tried or not."""
        target = wish.targets[place]
        if target.provider.breaker.wait(now):
            return NEVER  # if all waited for it, all would come in the same moment
        if place not in self._tried and not _can_say(wish, target):
            return NEVER
        due, rest = self._tried.get(place, now), target.provider.keys.wait(now)
        return max(due, now + rest) if rest and due != AT_ONCE else due

    def _patience(self, head: RequestHead) -> float:
        """Return the seconds that the client, and we, wait for an answer in all."""
        total: float = self.target.provider.timeouts.total
        said = head.get(b"x-stainless-read-timeout")
        return min(total, float(said)) if _PATIENCE.fullmatch(said) else total


def _can_say(wish: Wish, target: Target) -> bool:
    try:
        wish.missing(target)
    except ClientError:
        return False
    return True


def _due(one: Try, error: GatewayError, verdict: Verdict | None, now: float) -> float:
    """Return when the target of a try that failed may be asked again."""
    if verdict is None or not verdict.again:
        return NEVER
    keys = one.provider.keys
    if verdict.cause == "key" or getattr(error, "status", 0) == 429:
        if not keys.wait(now) and not keys.none:
            return AT_ONCE  # under another key
        if verdict.cause == "key":
            return NEVER
    delay = error.delay or 0.0
    return NEVER if error.final or delay > LONGEST_WAIT else now + delay
