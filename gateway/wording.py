"""One request, worded for each target that may be asked."""

from collections.abc import Callable

import msgspec
import orjson

from gateway.client_errors import ClientError
from gateway.dialects.calls import Call
from gateway.dialects.dialect import UpstreamDialect
from gateway.dialects.known import CLIENTS
from gateway.dialects.translation import translate_request
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
        call = self.call if self.fit is None else self.fit(target)
        path, provider = self.path, target.provider
        dropped: tuple[str, ...] = ()
        if call.dialect == provider.dialect.name:
            write = CLIENTS[call.dialect].upstream_body
            body = write(call, target.model or call.model)
        else:
            body, path, dropped = self._translation(call, target)
        stream = self.call.stream
        request = provider.request(path.encode(), self.head, body, stream=stream, key=key)
        return request, dropped

    def missing(self, target: Target) -> tuple[str, ...]:
        """Return the parameters that are not in the request for a target; raise as `write` does."""
        if self.call.dialect == target.provider.dialect.name:
            return ()
        call = self.call if self.fit is None else self.fit(target)
        return self._translation(call, target)[2]

    def _translation(self, call: Call, target: Target) -> tuple[bytes, str, tuple[str, ...]]:
        """Return body and path of a call in the dialect of a target, and what is not in it."""
        ours, theirs = CLIENTS[call.dialect], target.provider.dialect
        if self.path != ours.path:
            lacks = f"this model's upstream speaks {theirs.name}, which has no {self.path}"
            raise ClientError(lacks)
        model = target.model or call.model
        # It is ours, or one that `fit` has: its id is its own for as long as we are there.
        key = (id(call), theirs.name, model)
        known = self._translated.get(key)
        if known is None:
            known = self._translated[key] = _translate(call, theirs, model)
        if isinstance(known, ClientError):
            raise known
        return known[0], theirs.wire.path(model, call.stream), known[1]


def _translate(call: Call, theirs: UpstreamDialect, model: str) -> Body | ClientError:
    try:
        written = translate_request(call, CLIENTS[call.dialect], theirs, model)
    except ClientError as error:
        return error
    return orjson.dumps(written.body), written.dropped
