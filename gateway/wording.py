"""One request, worded for each target that may be asked."""

from collections.abc import Callable

import msgspec
import orjson

from gateway.dialects.calls import Call
from gateway.dialects.dialect import UpstreamDialect
from gateway.dialects.known import CLIENTS
from gateway.dialects.translation import translate_request
from gateway.errors import ClientError
from gateway.guard import RequestHead
from gateway.keyring import Key
from gateway.targets import Target


# What is asked of one target, where others are asked something else.
Fit = Callable[[Target], Call]
Body = tuple[bytes, tuple[str, ...]]  # and the parameters that are not in it


class Wording(msgspec.Struct, eq=False):
    """A call for `path` below an upstream's base URL, in the dialect of whoever is asked."""

    call: Call
    path: str
    head: RequestHead  # of the client's request
    fit: Fit | None = None
    # Where one fails, each that might be asked is asked about in every round, and a large
    # body takes a second: what another dialect has for it is found out once.
    _translated: dict[tuple[int, str, str], Body | ClientError] = {}

    __repr__ = object.__repr__  # what is asked goes into no log

    def write(self, target: Target, key: Key) -> tuple[bytes, tuple[str, ...]]:
        """Return the whole request for a target, and the parameters that are not in it.

        Raises:
            ClientError: it asks for what cannot be said in the dialect of the target.
        """
        body, below, dropped = self._body(target)
        request = target.provider.request(
            below.encode(), self.head, body, stream=self.call.stream, key=key
        )
        return request, dropped

    def missing(self, target: Target) -> tuple[str, ...]:
        """Return the parameters that are not in the request for a target; raise as `write` does."""
        if target.provider.dialect.name == self.call.dialect:
            return ()
        return self._body(target)[2]

    def _body(self, target: Target) -> tuple[bytes, str, tuple[str, ...]]:
        call = self.call if self.fit is None else self.fit(target)
        ours, theirs = CLIENTS[call.dialect], target.provider.dialect
        model = target.model or call.model
        if ours.name == theirs.name:
            return ours.upstream_body(call, model), self.path, ()
        if self.path != ours.path:
            lacks = f"this model's upstream speaks {theirs.name}, which has no {self.path}"
            raise ClientError(lacks)
        body, dropped = self._translation(call, theirs, model)
        return body, theirs.wire.path(model, call.stream), dropped

    def _translation(self, call: Call, theirs: UpstreamDialect, model: str) -> Body:
        """Return what a call is in a dialect."""
        # It is ours, or one that `fit` has: its id is its own for as long as we are there.
        key = (id(call), theirs.name, model)
        known = self._translated.get(key)
        if known is None:
            known = self._translated[key] = _translate(call, theirs, model)
        if isinstance(known, ClientError):
            raise known
        return known


def _translate(call: Call, theirs: UpstreamDialect, model: str) -> Body | ClientError:
    try:
        written = translate_request(call, CLIENTS[call.dialect], theirs, model)
    except ClientError as error:
        return error
    return orjson.dumps(written.body), written.dropped
