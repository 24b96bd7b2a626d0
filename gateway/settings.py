"""What the operator's file says, as frozen structs: one for each kind of table.

Only what a table's keys are, what values fit, and what holds where nothing is said;
`tables.py` reads one table, `config.py` the file.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway.addresses import Address, Origin, Tcp, Url, UrlPath
from gateway.literals import CallerKey, CookieName, Name, ReadableFile, Secret, Segment, Sticky
from gateway.units import Grace, Seconds, Size, Timeout


# The metric label of every model that only [models."*"] knows: names come from outside there.
WILDCARD_LABEL = "other"

# One event of a provider may be as large: a store of less would hold no log that matters.
LEAST_STORE = Size(1024 * 1024)

# Choosing and redacting look at each.
MOST_KEYS = 100
MOST_TARGETS = 100

# What is wrong with a public listener while no key is configured, and what to do.
OPEN_TO_OTHERS = (
    "other machines can reach it, and no caller needs a key; "
    "write [[keys]] with key and subject, or listen on 127.0.0.1 or a unix socket"
)


class Server(msgspec.Struct, frozen=True):
    """The table [server]."""

    # Loopback: a server that asks for no key is open to its own machine only.
    listen: Annotated[tuple[Address, ...], Meta(min_length=1)] = (Tcp("127.0.0.1", 8080),)
    # It shows metrics and live streams to whoever asks.
    admin: Address = Tcp("127.0.0.1", 9090)
    # One event loop, so one core, carries thousands of streams.
    workers: Literal[1] = 1
    # Nearly every answer is complete within ten minutes; a restart must end some day.
    drain: Seconds = Seconds(600)
    # Log collectors take JSON; people at a terminal ask for text.
    log_format: Literal["json", "text"] = "json"
    # A key in a URL stays in histories and in the logs of whatever passes it on.
    allow_query_keys: bool = False


class Logs(msgspec.Struct, frozen=True):
    """The table [logs]: where generations and channels live."""

    store: Literal["memory:"] = "memory:"
    # A reload or a walk through a tunnel is over by then; the rest is for records.
    retain: Seconds = Seconds(300)
    # Thousands of answers of 100 KB, on a machine of 1 GiB.
    max_bytes: Size = Size(512 * 1024 * 1024)
    # Many proxies give up on an answer after 30 s of silence.
    long_poll: Timeout = Timeout(25)


class Cors(msgspec.Struct, frozen=True):
    """The table [cors]: which web pages may call, and the cookie that may carry a key."""

    origins: tuple[Origin, ...] = ()
    # None: cookies are not looked at.
    cookie: CookieName | None = None


class Timeouts(msgspec.Struct, frozen=True):
    """The waits of one exchange with an upstream, in seconds."""

    # Name and TCP: round the world below 1 s; 5 s outlive two lost SYNs (1 s + 2 s).
    connect: Timeout = Timeout(5)
    # The handshake is two more round trips, and as many packets to lose.
    tls: Timeout = Timeout(5)
    # Reasoning models may think for more than a minute before their first event.
    first_event: Timeout = Timeout(120)
    # Between events, for the same reason: thinking may also come amid an answer.
    idle: Timeout = Timeout(120)
    # No answer takes an hour; a stream that does runs in circles and costs money.
    total: Timeout = Timeout(3600)


class Health(msgspec.Struct, frozen=True):
    """How an upstream is asked whether it is alive."""

    # Providers and model servers have it, and it costs no tokens.
    path: UrlPath = UrlPath("/models")
    # As often as load balancers ask; a provider's limits on requests do not notice.
    interval: Timeout = Timeout(30)
    # A list of models takes a second; who needs more is not well.
    timeout: Timeout = Timeout(5)


class Upstream(msgspec.Struct, frozen=True):
    """A table [upstreams.NAME]: one endpoint of a provider."""

    name: str
    base_url: Url
    # What most providers and all model servers speak.
    dialect: Literal["openai", "anthropic", "responses", "gemini"] = "openai"
    # None: a model server on one's own network often wants no key.
    keys: Annotated[tuple[Secret, ...], Meta(max_length=MOST_KEYS)] = ()
    timeouts: Timeouts = Timeouts()
    # A stream holds its connection: 1000 at once are many for one provider, and few against
    # the worker's file descriptors.  No address has more ports than 65535.
    max_connections: Annotated[int, Meta(ge=1, le=65535)] = 1000
    # None: the system's trust store.
    ca_file: ReadableFile | None = None
    # None: only requests tell whether it is alive.
    health: Health | None = None


class Target(msgspec.Struct, frozen=True):
    """An upstream, and the name a model has there."""

    upstream: Name
    # None: the name that the client asked for.
    model: Name | None = None
    # Shares of 1: as many targets as there are share evenly.
    weight: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    # Lower first; the others only when none of these can be used.
    priority: Annotated[int, Meta(ge=1, le=1000)] = 1


class Retry(msgspec.Struct, frozen=True):
    """How often a request is sent until an answer begins, and how soon."""

    # In all; as SDKs do.
    attempts: Annotated[int, Meta(ge=1, le=10)] = 3
    # Before the same upstream is asked again; doubled each time, then drawn between 0 and this.
    backoff: Timeout = Timeout(0.5)


class Coalesce(msgspec.Struct, frozen=True):
    """How identical requests share one answer."""

    # Seconds a good answer is given again; of none only requests under way at once share one.
    ttl: Seconds
    # Who asks again wants the answer; a demonstration may want to look as it did.
    pace: Literal["instant", "original"] = "instant"


class Model(msgspec.Struct, frozen=True):
    """A table [models.NAME]; `name` is fit for a metric label: "other" for [models."*"]."""

    name: str
    targets: Annotated[tuple[Target, ...], Meta(min_length=1, max_length=MOST_TARGETS)]
    # Seconds of grace; None: what the way of asking implies.
    on_disconnect: Grace | None = None
    retry: Retry = Retry()
    # None: each request is drawn for itself.
    sticky: Sticky | None = None
    # Seconds without a first event until another target is asked as well; None: it costs what the
    # second one says until it is dropped, so whoever wants it says so.
    hedge: Timeout | None = None
    # None: each request is asked anew; a model that is asked twice may mean two answers.
    coalesce: Coalesce | None = None


class Key(msgspec.Struct, frozen=True):
    """A table [[keys]]: a key that callers present, and who they are by it."""

    key: CallerKey
    subject: Name
    # Names of configured models; None: all, as the file says by nothing or "*".
    models: tuple[Name, ...] | None = None


class Retain(msgspec.Struct, frozen=True):
    """What a channel keeps; whichever bound is met first counts."""

    # What a page shows that was away for a while; more is a history, which records are for.
    entries: Annotated[int, Meta(ge=1)] = 1000
    bytes: Size = Size(1024 * 1024)
    age: Timeout = Timeout(3600)


class Channel(msgspec.Struct, frozen=True):
    """A table [channels.NAME]: a log that people write, there from the start."""

    name: Segment
    welcome: bool = False
    # Seconds between entries of the server's own; None: it writes none.
    periodic: Timeout | None = None
    retain: Retain = Retain()


class Config(msgspec.Struct, frozen=True):
    """The whole file; upstreams, models and channels stand under the names of their tables."""

    server: Server
    logs: Logs
    cors: Cors
    upstreams: dict[str, Upstream]
    models: dict[str, Model]
    keys: tuple[Key, ...]  # none: whoever can connect may call
    channels: dict[str, Channel]
    warnings: tuple[str, ...]  # allowed, and still likely a mistake: a line each
