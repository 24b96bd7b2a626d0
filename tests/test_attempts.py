"""The tries of one request: who is asked next, when, and when no more; the clock is wound."""

from types import SimpleNamespace

import pytest

from gateway.attempts import Attempts
from gateway.breaker import LIMIT, Breaker, State
from gateway.client_errors import ClientError
from gateway.errors import Overloaded
from gateway.guard import RequestHead
from gateway.keyring import Key, Keyring
from gateway.retry import RESERVE, Budget
from gateway.settings import Model, Retry
from gateway.targets import Target, Targets
from gateway.tries import Try
from gateway.upstream_errors import (
    UpstreamAnswer,
    UpstreamKeysOut,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from tests.asking import fields_of


RECEIVED = 1000.0
TOTAL = 300.0


class FakeProvider:
    """What attempts ask of a provider, and no connection."""

    def __init__(self, name, keys=(b"key",)):
        self.name = name
        self.breaker = Breaker()
        self.keys = Keyring(keys)
        self.budget = Budget()
        self.load = 0
        self.timeouts = SimpleNamespace(total=TOTAL)

    def wait(self, now):
        return max(self.breaker.wait(now), self.keys.wait(now))


class Scene:
    """A request for a model at providers `a`, `b`, …, in this order of priority."""

    def __init__(self, count=2, *, attempts=3, fields=(), draw=lambda: 0.5):
        self.now = RECEIVED
        self.providers = [FakeProvider(name) for name in "abcd"[:count]]
        self.lines = []
        self.mute = ""  # names of those that cannot say what is asked for
        log = SimpleNamespace(warning=self.note, info=self.note)
        self.desk = SimpleNamespace(clock=lambda: self.now, draw=draw, log=log, loop=None)
        targets = [Target(p, None, 1, n, None) for n, p in enumerate(self.providers)]
        self.wish = SimpleNamespace(
            targets=Targets(Model("m", (), retry=Retry(attempts, 1.0)), tuple(targets)),
            write=self.write,
            missing=lambda target: self.write(target, Key(b""))[1],
            head=RequestHead("POST", "/x", "", fields_of(fields), http10=False),
            sticky=b"",
        )

    def note(self, text, **fields):
        self.lines.append((text, fields))

    def write(self, target, key):
        if target.provider.name in self.mute:
            raise ClientError(f"{target.provider.name} cannot say it")
        return b"%b under %b" % (target.provider.name.encode(), key.value), ()

    def begin(self):
        target = self.wish.targets.first(self.desk, self.wish.sticky)
        self.attempts = Attempts(self.desk, self.wish, target)
        return self.go()

    def go(self):
        """Begin a try at the target whose turn it is; return its request."""
        self.one = Try(self.desk, None, self.attempts.target, self.now, self.now)
        return self.attempts.begin(self.one)

    def failed(self, error):
        """Fail the latest try; return the seconds until the next."""
        return self.attempts.failed(self.one, error, RECEIVED)

    def fail(self, error):
        """Fail the latest try, begin the next; return in how many seconds, and at whom."""
        delay = self.failed(error)
        if delay is None:
            return None
        self.now += delay
        self.go()
        return delay, self.one.provider.name


def refused():
    return UpstreamUnavailable("x", kind="connect")


def answered(status, delay=None):
    error = UpstreamAnswer(status, b"text/plain", b"")
    error.delay = delay
    return error


def test_the_first_that_can_be_used_is_asked_with_its_own_request():
    assert Scene().begin() == b"a under key"


def test_all_others_are_asked_at_once_and_then_the_first_again_after_a_back_off():
    scene = Scene(3, attempts=5)
    scene.begin()

    assert [scene.fail(refused()) for _ in range(5)] == [
        (0, "b"), (0, "c"), (0.5, "a"), (1.0, "b"), None,
    ]  # fmt: skip


@pytest.mark.parametrize("attempts", [1, 2, 4])
def test_there_are_as_many_tries_as_the_model_says(attempts):
    scene = Scene(1, attempts=attempts)
    scene.begin()

    assert [bool(scene.fail(answered(500))) for _ in range(attempts)][-1] is False
    assert scene.attempts.failures == attempts


# Failures after which the same upstream is not asked again.
ONCE = {
    "cut": UpstreamUnavailable("x", kind="reset"),
    "slow": UpstreamTimeout("x", kind="first_event_timeout"),
    "nameless": UpstreamUnavailable("x", kind="dns"),
    "full": Overloaded("x"),
}


@pytest.mark.parametrize("error", ONCE.values(), ids=ONCE.keys())
def test_one_that_may_be_at_work_already_is_not_asked_again_but_another_is(error):
    scene = Scene(2, attempts=9)
    scene.begin()

    assert scene.fail(error) == (0, "b")
    assert scene.fail(error) is None


def test_of_those_that_were_asked_the_one_that_is_ready_first_is_asked_again():
    scene = Scene(3, attempts=9)
    scene.begin()
    scene.fail(answered(503, delay=40.0))
    scene.fail(answered(503, delay=20.0))

    assert scene.fail(UpstreamUnavailable("x", kind="dns")) == (20.0, "b")


def test_one_whose_keys_rest_is_asked_when_they_are_ready_if_there_is_nobody_else():
    scene = Scene(2)
    rests = scene.providers[1].keys
    rests.limited(rests.pick(scene.now), 12.0, scene.now)
    scene.begin()

    assert scene.fail(UpstreamUnavailable("x", kind="reset")) == (12.0, "b")


def test_one_that_is_left_alone_is_passed_over_and_not_asked_again():
    scene = Scene(3, attempts=9)
    for _ in range(LIMIT):
        scene.providers[1].breaker.failed(scene.now)
    scene.begin()

    assert scene.fail(UpstreamUnavailable("x", kind="dns")) == (0, "c")
    for _ in range(LIMIT):
        scene.providers[2].breaker.failed(scene.now)
    assert scene.fail(refused()) is None


def test_what_the_client_did_wrong_is_not_repeated_nor_held_against_anybody():
    scene = Scene()
    scene.begin()

    assert scene.fail(answered(400)) is None
    assert scene.providers[0].breaker.failures == 0
    assert not scene.attempts.spent


def test_once_a_reader_has_an_event_there_is_no_other_try():
    scene = Scene()
    scene.begin()
    scene.attempts.end()
    scene.one.answered()

    assert scene.fail(refused()) is None
    assert scene.providers[0].breaker.failures == 1


# What a target cannot say.


@pytest.mark.parametrize("mute", ["a", "ab"])
def test_one_that_cannot_say_what_is_asked_is_passed_over_and_it_counts_as_nothing(mute):
    scene = Scene(3, attempts=1)
    scene.mute = mute
    with pytest.raises(ClientError) as raised:
        scene.begin()

    assert scene.fail(raised.value) == (0, "abc"[len(mute)])
    assert scene.attempts.retries == 0
    assert not scene.attempts.spent
    assert [provider.breaker.failures for provider in scene.providers] == [0, 0, 0]


def test_when_none_can_say_it_the_first_says_why():
    scene = Scene()
    scene.mute = "ab"
    with pytest.raises(ClientError, match=r"^a cannot") as raised:
        scene.begin()

    assert scene.fail(raised.value) is None


def test_one_that_is_left_alone_is_asked_if_it_is_the_only_one_that_can_say_it():
    scene = Scene()
    for _ in range(LIMIT):
        scene.providers[1].breaker.failed(scene.now)
    scene.mute = "a"
    with pytest.raises(ClientError) as raised:
        scene.begin()

    assert scene.fail(raised.value) == (0, "b")


def test_a_request_that_failed_is_not_repeated_where_it_cannot_be_said():
    scene = Scene(3)
    scene.mute = "b"
    scene.begin()

    assert scene.fail(refused()) == (0, "c")
    assert scene.fail(UpstreamUnavailable("x", kind="dns")) == (0.5, "a")


# Time.


# What the client says, if anything that can be read.
@pytest.mark.parametrize("said", [b"", b"600", b"300.5", b"soon", b"-1"])
def test_nobody_waits_beyond_the_total_limit(said):
    scene = Scene(1, fields=[(b"x-stainless-read-timeout", said)] if said else [])
    scene.begin()
    scene.now += 250

    assert scene.fail(answered(503, delay=60.0)) is None


@pytest.mark.parametrize(("said", "waits"), [(b"31", True), (b"30", False), (b"29.9", False)])
def test_nobody_waits_beyond_what_the_client_says(said, waits):
    scene = Scene(1, fields=[(b"x-stainless-read-timeout", said)])
    scene.begin()

    assert (scene.fail(answered(503, delay=30.0)) is not None) is waits


# The budget.


def test_an_upstream_that_does_well_takes_over_whatever_another_drops():
    scene = Scene()
    for _ in range(100):
        scene.providers[0].breaker.succeeded()
        scene.begin()
        assert scene.fail(refused()) == (0, "b")
        scene.one.succeeded()


def test_one_that_fails_itself_takes_over_no_more_than_its_budget():
    scene = Scene()
    moved = 0
    for _ in range(40):
        for provider in scene.providers:
            provider.breaker.succeeded()
        scene.providers[1].breaker.failed(scene.now)
        scene.begin()
        moved += scene.fail(refused()) is not None

    assert moved == RESERVE, "none of these requests was first sent to it"
    assert scene.attempts.spent


# Hedges.


def beside(scene):
    """Return who is asked beside the present try, None: nobody."""
    entrant = scene.attempts.hedge(scene.one)
    return entrant and entrant[0].provider.name


def test_a_hedge_goes_to_the_next_that_can_be_used_and_can_say_it():
    scene = Scene(4)
    scene.mute = "b"
    scene.begin()
    assert beside(scene) == "c"

    for _ in range(LIMIT):
        scene.providers[2].breaker.failed(scene.now)
    assert beside(scene) == "d"


def test_a_hedge_is_no_repeat_and_pays_with_the_budget_of_the_slow_one():
    scene = Scene()
    scene.begin()
    for _ in range(int(RESERVE)):
        assert beside(scene) == "b"

    assert beside(scene) is None
    assert scene.attempts.failures == scene.attempts.retries == 0
    assert scene.providers[1].budget.spend(), "the budget of the other is as it was"


def test_who_was_asked_beside_and_failed_is_not_asked_as_if_for_the_first_time():
    scene = Scene(3)
    scene.begin()
    first, (second, _) = scene.one, scene.attempts.hedge(scene.one)
    scene.attempts.outlived(second, UpstreamTimeout("x", kind="first_event_timeout"))
    scene.one = first

    assert scene.fail(refused()) == (0, "c")
    assert scene.attempts.failures == 1


def test_there_is_no_hedge_once_a_reader_has_an_event():
    scene = Scene()
    scene.begin()
    scene.attempts.end()

    assert beside(scene) is None


# Breakers and keys.


def opened(scene):
    """Open the breaker of `a`, and let its rest pass."""
    breaker = scene.providers[0].breaker
    for _ in range(LIMIT):
        breaker.failed(scene.now)
    scene.now += breaker.wait(scene.now)
    return breaker


def test_a_probe_closes_the_breaker_with_its_first_event():
    scene = Scene()
    breaker = opened(scene)
    scene.begin()
    assert breaker.state is State.HALF_OPEN

    scene.attempts.end()
    scene.one.answered()

    assert breaker.state is State.CLOSED


def test_while_a_probe_is_out_others_go_elsewhere():
    scene = Scene()
    opened(scene)
    scene.begin()

    assert scene.wish.targets.first(scene.desk, b"").provider.name == "b"


# How a probe ends, and what that makes of the breaker.
PROBES = {
    "given up": (lambda s: s.one.close(), State.OPEN),
    "a client's error": (lambda s: s.failed(ClientError("x")), State.OPEN),
    "no room of ours": (lambda s: s.failed(Overloaded("x")), State.OPEN),
    "a refusal": (lambda s: s.failed(answered(400)), State.CLOSED),
    "a failure": (lambda s: s.failed(refused()), State.OPEN),
    "a success": (lambda s: s.one.succeeded(), State.CLOSED),
}


@pytest.mark.parametrize(("end", "state"), PROBES.values(), ids=PROBES.keys())
def test_however_a_probe_ends_the_breaker_is_not_left_half_open(end, state):
    scene = Scene()
    breaker = opened(scene)
    scene.begin()
    end(scene)
    scene.one.close()

    assert breaker.state is state


def test_the_opening_of_a_breaker_is_told_to_the_operator_once():
    scene = Scene(1, attempts=1)
    for _ in range(LIMIT + 3):
        scene.begin()
        scene.fail(refused())

    told = {"upstream": "a", "why": "x"}
    assert scene.lines == [("upstream is failing, left alone", told)]


def test_the_closing_of_a_breaker_is_told_too():
    scene = Scene()
    opened(scene)
    told = len(scene.lines)
    for _ in range(2):
        scene.begin()
        scene.one.answered()
        scene.one.succeeded()

    assert scene.lines[told:] == [("upstream does well, used again", {"upstream": "a"})]


def test_a_request_without_a_key_left_goes_elsewhere_or_says_so():
    scene = Scene()
    scene.begin()
    scene.providers[0].keys.refused(scene.one._key, scene.now)
    assert scene.begin() == b"b under key"

    for provider in scene.providers:
        provider.keys.refused(provider.keys.pick(scene.now) or provider.keys._keys[0], scene.now)
    with pytest.raises(UpstreamKeysOut) as raised:
        scene.begin()
    assert scene.attempts.last_word(scene.one, raised.value) is raised.value
    assert scene.attempts.spent


def test_a_key_that_is_taken_again_is_in_again():
    scene = Scene(1, attempts=1)
    scene.begin()
    scene.fail(answered(401))
    assert scene.providers[0].keys.out == 1

    scene.now += 60
    scene.begin()
    scene.one.succeeded()

    assert scene.providers[0].keys.out == 0
