"""What the operator's file says, as frozen structs: one for each kind of table.

Only what a table's keys are, what values fit, and what holds where nothing is said;
`tables.py` reads one table, `config.py` the file.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway.units import Address, Name, ReadableFile, Seconds, Secret, Tcp, Timeout, Url


# The metric label of every model that only [models."*"] knows: names come from outside there.
WILDCARD_LABEL = "other"


class Server(msgspec.Struct, frozen=True):
    """The table [server]."""

    # Loopback: a server that asks for no key is opened to others only in so many words.
    listen: Annotated[tuple[Address, ...], Meta(min_length=1)] = (Tcp("127.0.0.1", 8080),)
    # It shows metrics and live streams to whoever asks.
    admin: Address = Tcp("127.0.0.1", 9090)
    # One event loop, so one core, carries thousands of streams.
    workers: Literal[1] = 1
    # Nearly every answer is complete within ten minutes; a restart must end some day.
    drain: Seconds = Seconds(600)
    # Log collectors take JSON; people at a terminal ask for text.
    log_format: Literal["json", "text"] = "json"


class Timeouts(msgspec.Struct, frozen=True):
    """The waits of one exchange with an upstream, in seconds."""

    # TCP and TLS handshakes round the world take below 1 s; 5 s outlive two lost SYNs (1 s + 2 s).
    connect: Timeout = Timeout(5)
    # Reasoning models may think for more than a minute before their first event.
    first_event: Timeout = Timeout(120)
    # Between events, for the same reason: thinking may also come amid an answer.
    idle: Timeout = Timeout(120)
    # No answer takes an hour; a stream that does runs in circles and costs money.
    total: Timeout = Timeout(3600)


class Upstream(msgspec.Struct, frozen=True):
    """A table [upstreams.NAME]: one endpoint of a provider."""

    name: str
    base_url: Url
    # What most providers and all model servers speak.
    dialect: Literal["openai"] = "openai"
    # None: a model server on one's own network often wants no key.
    keys: Annotated[tuple[Secret, ...], Meta(max_length=1)] = ()
    timeouts: Timeouts = Timeouts()
    # A stream holds its connection: 1000 at once are many for one provider, and few against
    # the worker's file descriptors.  No address has more ports than 65535.
    max_connections: Annotated[int, Meta(ge=1, le=65535)] = 1000
    # None: the system's trust store.
    ca_file: ReadableFile | None = None


class Target(msgspec.Struct, frozen=True):
    """An upstream, and the name a model has there."""

    upstream: Name
    # None: the name that the client asked for.
    model: Name | None = None


class Model(msgspec.Struct, frozen=True):
    """A table [models.NAME]; `name` is fit for a metric label: "other" for [models."*"]."""

    name: str
    targets: Annotated[tuple[Target, ...], Meta(min_length=1, max_length=1)]
    # Tokens that nobody will read cost money.
    on_disconnect: Literal["cancel"] = "cancel"


class Config(msgspec.Struct, frozen=True):
    """The whole file; `upstreams` and `models` stand under the names of their tables."""

    server: Server
    upstreams: dict[str, Upstream]
    models: dict[str, Model]
    warnings: tuple[str, ...]  # allowed, and still likely a mistake: a line each

    def model(self, name: str) -> Model | None:
        """Return the model that a client means by `name`: its own, else "*", else None."""
        return self.models.get(name) or self.models.get("*")
