"""Whether a request may be sent once more, whereto, and when.

Nothing is repeated once a reader has an event of an answer.  Before that a failure
says by its kind, or the status that the provider gave, whether another upstream may be
asked, and whether the same one: not where it may be at work on the request already.
"""

from collections.abc import Callable
from typing import NamedTuple

from gateway.errors import GatewayError, Overloaded
from gateway.refusals import Ground, ground
from gateway.upstream_errors import UpstreamAnswer, UpstreamError, UpstreamKeysOut, UpstreamRefused


# Requests sent once more, of those sent first: above it repeating makes an outage worse.
SHARE = 0.2
# Repeats a quiet upstream has in hand …
RESERVE = 10.0
# … and those that it can save up, against an instant in which hundreds fail at once.
SAVINGS = 100.0
# Seconds the longest back-off may be; SDKs stop at the same.
LONGEST_BACKOFF = 8.0
# Seconds: a provider that asks for more patience than this is not waited for (design §8).
LONGEST_WAIT = 60.0

# What SDKs repeat, besides 500 and above.
REPEATED = frozenset({408, 409, 429})


class Verdict(NamedTuple):
    """What follows from a failure."""

    cause: str  # a label
    again: bool  # the same upstream may be asked once more


_BY_KIND = {
    "connect": Verdict("connect", again=True),
    "connect_timeout": Verdict("connect", again=True),
    # A name or a certificate is not better in a second.
    "dns": Verdict("connect", again=False),
    "tls": Verdict("connect", again=False),
    "tls_timeout": Verdict("connect", again=False),
    # It may have begun to work on the request.
    "reset": Verdict("cut", again=False),
    "truncated": Verdict("cut", again=False),
    "first_event_timeout": Verdict("timeout", again=False),
    "idle_timeout": Verdict("timeout", again=False),
}
_STATUS = Verdict("status", again=True)
_REFUSED = {
    None: None,
    Ground.KEY: Verdict("key", again=True),
    Ground.REQUEST: None,
    Ground.PLACE: Verdict("status", again=False),
}
_FULL = Verdict("full", again=False)


def judge(error: GatewayError) -> Verdict | None:
    """Return what may be done about a failure before the first event; None: nothing."""
    if isinstance(error, UpstreamAnswer | UpstreamRefused):
        repeated = error.status in REPEATED or error.status >= 500
        return _STATUS if repeated else _REFUSED[ground(error)]
    if isinstance(error, UpstreamKeysOut):
        return _REFUSED[Ground.KEY]
    if isinstance(error, Overloaded):
        return _FULL  # our own limit for this upstream
    return _BY_KIND.get(error.kind) if isinstance(error, UpstreamError) else None


def blames(error: GatewayError) -> bool:
    """Tell whether a failure says that the upstream is not well; its breaker counts those."""
    if isinstance(error, UpstreamAnswer | UpstreamRefused):
        return error.status >= 500 or ground(error) is Ground.PLACE
    # An answer that never ends fails at the total limit; who is slow is not known.
    skipped = isinstance(error, UpstreamKeysOut) or error.kind == "total_timeout"
    return isinstance(error, UpstreamError) and not skipped


def backoff(base: float, repeats: int, draw: Callable[[], float]) -> float:
    """Return the seconds to wait before repeat number `repeats`, from 0: full jitter."""
    return draw() * min(LONGEST_BACKOFF, base * (1 << repeats))


class Budget:
    """How many requests may be sent once more to one upstream: a bucket of tokens."""

    __slots__ = ("_tokens", "earned")

    def __init__(self) -> None:
        self.earned = 0  # requests sent for the first time; whoever sends one counts it here
        self._tokens = RESERVE

    def spend(self) -> bool:
        """Take what one more costs; False: there is not enough."""
        self._tokens = min(SAVINGS, self._tokens + SHARE * self.earned)
        self.earned = 0
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
