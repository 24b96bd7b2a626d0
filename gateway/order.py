"""What a job is asked for, and the answer that it is asked for with."""

from typing import NamedTuple, Protocol

from gateway.dialects.dialect import ClientDialect
from gateway.settings import Coalesce
from gateway.targets import Targets
from gateway.wording import Wording


class Order(Wording, eq=False, kw_only=True):
    """What a route wants of the relay: to say something to a model, on these terms."""

    route: str  # a label
    targets: Targets  # where the model is
    dialect: ClientDialect  # the client's
    sticky: bytes = b""  # requests of one word go to one target
    subject: str = ""  # who asks, and may read the log
    coalesce: Coalesce | None = None  # how others that ask the same share the answer
    early: bool = False  # its answer begins before the request is written for whoever is asked
    grace: float | None = 0.0  # as hub.Live has it
    patience: float = 0.0


class Receipt(Protocol):
    """What a job must know of the answer to its request, when it accounts for it."""

    @property
    def request_id(self) -> str: ...

    @property
    def status(self) -> int: ...

    @property
    def ended(self) -> bool: ...

    @property
    def bytes_sent(self) -> int: ...


class Left(NamedTuple):
    """What is known of an answer for good, once its client sees no more of it."""

    request_id: str
    status: int
    ended: bool
    bytes_sent: int


def dropped_field(names: list[str]) -> bytes:
    """Return the field line that says what was left out of a request; none, if nothing was."""
    said = ", ".join(names).encode()
    return b"headgate-dropped-params: " + said + b"\r\n" if names else b""
