"""What is ordered of the relay: by whom, of which model, and how it may outlive its readers."""

from collections.abc import Mapping

from gateway.callers import Caller
from gateway.client_errors import ClientError, ModelNotFound
from gateway.desk import Desk
from gateway.dialects.calls import Call
from gateway.dialects.known import CLIENTS
from gateway.guard import RequestHead
from gateway.manner import Manner
from gateway.order import Order
from gateway.provider import Provider
from gateway.settings import Config, Model
from gateway.targets import Target, Targets, Terms
from gateway.visits import Visit
from gateway.wording import Fit


# Of a generation that ends as soon as nobody reads it.
AT_ONCE = Terms(0.0, 0.0)


class Ordering:
    """Makes orders of calls."""

    def __init__(self, config: Config, providers: Mapping[str, Provider], desk: Desk) -> None:
        self._targets = {
            name: _targets(model, providers, desk) for name, model in config.models.items()
        }
        self._any = self._targets.get("*")

    def where(self, name: str, caller: Caller) -> Targets:
        """Return where the model of this name is.

        Raises:
            ModelNotFound: there is none that the caller knows of.
        """
        targets = self._targets.get(name, self._any)
        if targets is None or not caller.knows(name):
            raise ModelNotFound(name)
        return targets

    def order(
        self,
        visit: Visit,
        call: Call,
        path: str,
        manner: Manner,
        *,
        comes_back: bool = False,
        endless: bool = False,
        early: bool = False,
        fit: Fit | None = None,
    ) -> Order:
        """Return what is ordered by a call, relayed to `path` below an upstream's base URL.

        `comes_back`: who reads it is of a kind that does.  `endless`: it goes on to its end
        without readers.  `early` is as Order has it, `fit` as Wording.

        Raises:
            ModelNotFound: there is none that the caller knows of.
            ClientError: the request wants what there is not on disconnect.
        """
        targets, head = self.where(call.model, visit.caller), visit.request.head
        model = targets.model
        grace, patience = _terms(targets, manner.leaving, comes_back=comes_back)
        return Order(
            call, path, head, fit,
            route=visit.route,
            targets=targets,
            dialect=CLIENTS[call.dialect],
            sticky=_sticky(model, call, head) if model.sticky else b"",
            subject=visit.caller.subject,
            # A key says which requests are the same: then nothing else does.
            coalesce=None if manner.key else model.coalesce,
            early=early,
            grace=None if endless else grace,
            patience=patience,
        )  # fmt: skip


def _targets(model: Model, providers: Mapping[str, Provider], desk: Desk) -> Targets:
    if model.hedge is not None:
        desk.metrics.may_hedge(model.name)
    targets = (
        Target(
            providers[one.upstream],
            one.model,
            one.weight,
            one.priority,
            desk.metrics.for_target(model.name, one.upstream),
        )
        for one in model.targets
    )
    return Targets(model, tuple(targets))


def _sticky(model: Model, call: Call, head: RequestHead) -> bytes:
    """Return the word that ties a request to a target; none, and it is drawn like any other."""
    if model.sticky == "user":
        user = CLIENTS[call.dialect].read_user(call.body)
        return user.encode(errors="replace")
    return head.get((model.sticky or "").removeprefix("header:").encode())


def _terms(targets: Targets, leaving: bytes, *, comes_back: bool) -> Terms:
    """Return the terms of a generation, within what the model allows."""
    if leaving not in (b"", b"cancel", b"detach"):
        raise ClientError("headgate-on-disconnect is cancel or detach")
    if leaving == b"cancel":
        return AT_ONCE
    return targets.lasting if leaving or comes_back else targets.usual
