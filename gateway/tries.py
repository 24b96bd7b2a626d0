"""One try: a request to one target, under one key; and what its end teaches of both."""

from collections.abc import Callable
from typing import Protocol

from gateway.desk import Desk
from gateway.errors import GatewayError
from gateway.exchange import Exchange
from gateway.guard import ResponseHead
from gateway.keyring import Key
from gateway.refusals import Ground, ground
from gateway.retry import LONGEST_WAIT, blames
from gateway.targets import Target
from gateway.upstream_errors import UpstreamAnswer, UpstreamKeysOut, UpstreamRefused


# Seconds a key cools down when the provider does not say for how long.
USUAL_COOLING = 1.0

# Makes the whole request for a target, under one of its keys; and names what is not in it.
Write = Callable[[Target, Key], tuple[bytes, tuple[str, ...]]]


class Story(Protocol):
    """Whose tries they are."""

    def headed(self, one: "Try", head: ResponseHead) -> None:
        """Take the head of the answer to a try."""

    def failed(self, one: "Try", error: Exception) -> None:
        """Take note that there is no good answer to a try, or no more of it."""

    def resent(self) -> None:
        """Take note that a try, now closed, sent its request once more."""


class Try(Exchange):
    """An exchange with a target's provider.  Whoever makes one must `close` it."""

    __slots__ = (
        "_closed", "_desk", "_key", "_probe", "_told",
        "dropped", "fields", "overhead", "since", "story", "target",
    )  # fmt: skip

    def __init__(
        self, desk: Desk, story: Story | None, target: Target, since: float, began: float
    ) -> None:
        """Make one that has not begun; `began` is when the first of its request did."""
        Exchange.__init__(self, target.provider, desk.loop, desk.clock, began)
        self.target = target
        self.story = story  # until it is closed: it knows us
        self.since = since  # when it was up to us to send it
        self.dropped: tuple[str, ...] = ()  # parameters that are not in the request as sent
        self.fields = b""  # of the provider's answer, for the client
        self.overhead: float | None = None  # seconds we added, so far; None: no answer has come
        self._desk = desk
        self._key: Key | None = None
        self._probe = False  # it is a breaker's
        self._told = True  # there is nothing to tell of it, or it was told
        self._closed = False

    def begin(self, write: Write) -> bytes:
        """Return the request; from here on the provider is answerable for what becomes of it.

        Raises:
            UpstreamKeysOut: the provider refuses all of its keys.
            ClientError: the target cannot say what is asked for.
        """
        clock, provider = self._desk.clock, self.provider
        now = clock()
        key = provider.keys.pick(now)
        if key is None:
            raise self._keys_out()
        request, self.dropped = write(self.target, key)
        self._key = key
        self._told = False
        self._probe = provider.breaker.failures > 0 and provider.breaker.began(now)
        return request

    def answered(self) -> None:
        """Note that a reader has, or is about to have, an event of it."""
        if self._probe:  # its stream may last an hour
            self._well()

    def succeeded(self) -> None:
        """Note that the provider did all it was asked."""
        if self._told:  # an error amid its stream was
            return
        self._told = True
        if self._key is not None and self._key.out:
            self.provider.keys.accepted(self._key)
        if self.provider.breaker.failures:
            self._well()

    def failed(self, error: GatewayError) -> None:
        """Let the provider's breaker and keys learn from a failure, once."""
        if self._told:
            return
        self._told = True
        now, breaker = self._desk.clock(), self.provider.breaker
        if blames(error):
            if breaker.failed(now):
                self._desk.log.warning(
                    "upstream is failing, left alone",
                    upstream=self.provider.name, why=error.message,
                )  # fmt: skip
        elif self._probe and not isinstance(error, UpstreamAnswer | UpstreamRefused):
            breaker.given_up()
        elif self._probe:
            self._well()  # it answers, if only to refuse
        if self._key is not None and isinstance(error, UpstreamAnswer | UpstreamRefused):
            self._note_key(self._key, error, now)

    def close(self) -> None:
        """End it; without an outcome it is nobody's fault.  May be called twice."""
        story, self.story = self.story, None
        self.release()
        if self._closed:
            return
        self._closed = True
        if self._probe and not self._told:
            self.provider.breaker.given_up()
        self._told = True
        if self.sent or self.waited:
            self.provider.metrics.pool_wait.observe(self.waited)
        if self.retried:
            self._desk.metrics.retried("stale")
            if story is not None:
                story.resent()

    def last_word(self, error: GatewayError) -> GatewayError:
        """Return what the client is told of its failure: our keys are not its business.

        Nor that we have none: its own was not passed on, and a 401 would speak of that.
        """
        if not isinstance(error, UpstreamAnswer | UpstreamRefused):
            return error
        return self._keys_out() if self._key and ground(error) is Ground.KEY else error

    # Inside.

    def _answered(self, head: ResponseHead) -> None:
        if self.story is not None:
            self.story.headed(self, head)

    def _unanswered(self, error: Exception) -> None:
        if self.story is not None:
            self.story.failed(self, error)

    def _well(self) -> None:
        if self.provider.breaker.succeeded():
            self._desk.log.info("upstream does well, used again", upstream=self.provider.name)

    def _keys_out(self) -> UpstreamKeysOut:
        keys = self.provider.keys
        why = "the provider wants a key, and none is configured"
        if not keys.none:
            why = f"the provider refuses our key ({keys.out} of {len(keys)} are out)"
        return UpstreamKeysOut(f"upstream {self.provider.name}: {why}")

    def _note_key(self, key: Key, error: UpstreamAnswer | UpstreamRefused, now: float) -> None:
        provider = self.provider
        if ground(error) is Ground.KEY:
            if provider.keys.refused(key, now):
                self._desk.log.warning(
                    "upstream refuses a key, taken out",
                    upstream=provider.name, key=f"keys[{provider.keys.place(key)}]",
                    status=error.status, out=provider.keys.out,
                )  # fmt: skip
        elif error.status == 429:
            delay = USUAL_COOLING if error.delay is None else error.delay
            provider.keys.limited(key, min(LONGEST_WAIT, delay), now)
