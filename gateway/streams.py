"""Logs at `/v1/stream/{id}`: made, written, read and deleted as Durable Streams has it.

People write channels; the log of a generation is written by its model alone.  A channel
is everybody's who may call: entries for some only say so themselves (`to`), and only who
made a channel may delete it.
"""

import re
from collections.abc import Mapping

from gateway.channel import Channel, Receipt, Retention
from gateway.desk import Desk
from gateway.durable import JSON, Post, Terms, Wish, read_post, read_terms, read_wish
from gateway.errors import (
    ClientError,
    Forbidden,
    MethodNotAllowed,
    NotAcceptable,
    Overloaded,
)
from gateway.eventlog import NOW, EventLog, State
from gateway.guard import RequestHead
from gateway.hub import Live
from gateway.reply import field
from gateway.settings import Channel as Settings
from gateway.settings import Config
from gateway.stops import STREAMS
from gateway.upgrades import Upgrades
from gateway.views.channel_socket import ChannelSocket
from gateway.views.durable import DurableView
from gateway.views.eventsource import EventSourceView
from gateway.views.long_poll import LongPoll
from gateway.views.poll import catch_up
from gateway.views.socket import SocketView
from gateway.visits import Serve, Visit


# Bytes of one PUT or POST: what a WebSocket message may have, so that it is the same however
# an entry comes (design §8).
MAX_BODY = 1024 * 1024
# Channels at once: so many logs of 256 KiB are all that the hub holds (hub.ALL_LOGS).
MAX_CHANNELS = 2048
# Channels from which on a new one makes us look for those whose time is over.
SWEEP_FROM = 64

# What the id of a channel may be: it stands in a path as it is (RFC 3986 §2.3).
ID = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._~-]{1,128}")
# Ids of generations begin so.
GENERATION = "gen_"
READERS = "GET, HEAD"
# The channel that has paths of its own, for those who know nothing of logs.
EVENTS = "events"
# The WebSocket subprotocol of a log's envelopes.
SOCKET_PROTOCOL = "headgate.v1"

CORP = b"cross-origin-resource-policy: same-origin\r\n"
# People choose the content type: what they wrote must not run as a page of ours.
SANDBOX = b"content-security-policy: default-src 'none'; sandbox\r\n"


class Streams:
    """Handlers of the logs' own path, and the channels that there are."""

    def __init__(self, config: Config, upgrades: Upgrades, desk: Desk) -> None:
        self._desk = desk
        self._upgrades = upgrades
        self._long_poll = config.logs.long_poll
        self._configured = config.channels
        self._owners: dict[str, str] = {}  # subjects, by the ids of their channels
        self._sweep_at = SWEEP_FROM
        for settings in config.channels.values():
            self._make_configured(settings)

    @property
    def methods(self) -> Mapping[str, tuple[Serve, int]]:
        """What serves each method, and the bytes of body it takes."""
        return {
            "GET": (self.get, 0),
            "HEAD": (self.head, 0),
            "PUT": (self.put, MAX_BODY),
            "POST": (self.post, MAX_BODY),
            "DELETE": (self.delete, 0),
        }

    # Writing.

    def put(self, visit: Visit) -> None:
        """Make a channel, or confirm that it is as the request wants it."""
        head = visit.request.head
        id = head.path[len(STREAMS) :]
        if not ID.fullmatch(id):
            raise ClientError("the id of a log has at most 128 letters, digits, and any of -._~")
        terms = read_terms(head)
        self._expire(id)
        if self._desk.hub.find(id) is None:
            channel, status, more = self._make(visit, id, terms), 201, _location(head)
        else:
            channel, status, more = _written(visit.log(id)), 200, b""
            channel.confirm(terms)
            channel.touch(self._desk.wall())
        fields = CORP + _lifetime(channel.terms) + channel.receipt(status).fields + more
        visit.reply.send(status, b"", fields=fields)

    def post(self, visit: Visit) -> None:
        """Append to a channel, or close it, or both."""
        receipt = self.publish(self._find(visit), read_post(visit.request.head, visit.request.body))
        visit.reply.send(receipt.status, b"", fields=CORP + receipt.fields)

    def publish(self, live: Live, post: Post) -> Receipt:
        """Append to a channel and wake its readers; `Channel.publish` says what it raises."""
        channel = _written(live)
        receipt = channel.publish(post, self._desk.wall())
        if channel.closed:
            for reader in tuple(live.readers):  # also those that have all: to see the end
                reader.wake()
        else:
            live.pump()
        return receipt

    def delete(self, visit: Visit) -> None:
        """Delete a channel; whoever reads it sees its end."""
        live = self._find(visit)
        id = _written(live).id
        if id in self._configured:
            raise MethodNotAllowed("a configured channel stays", allow="GET, HEAD, POST, PUT")
        if self._owners[id] != visit.caller.subject:
            raise Forbidden("only who made a channel may delete it")
        self._drop(live, "deleted")
        visit.reply.send(204, b"", fields=CORP)

    # Reading.

    def head(self, visit: Visit) -> None:
        """Say how a log stands; that is not yet reading it."""
        log = self._find(visit).log
        fields = b"content-type: application/json\r\n"
        if isinstance(log, Channel):
            fields = _lifetime(log.terms)
        stands = Receipt(200, log.cursor(log.tail), log.closed)
        visit.reply.send(200, b"", fields=CORP + fields + stands.fields)

    def get(self, visit: Visit) -> None:
        """Read a log, in the way the request asks for."""
        wish = read_wish(visit.request.head.query)
        live = self._find(visit)
        if isinstance(live.log, Channel):
            live.log.touch(self._desk.wall())
        if wish.live == "websocket":
            self._upgrade(visit, live, wish)
        elif wish.live:
            self._follow(visit, live, wish)
        elif b"text/event-stream" in visit.request.head.members(b"accept"):
            self._tell(visit, live, wish)
        else:
            self._catch_up(visit, live, wish)

    def _catch_up(self, visit: Visit, live: Live, wish: Wish) -> None:
        catch_up(
            live, visit.reply,
            cursor=visit.locate(live.log, wish.offset),
            subject=visit.caller.subject,
            now=wish.offset == NOW,
            if_none_match=visit.request.head.get(b"if-none-match"),
            fields=SANDBOX,
        )  # fmt: skip

    def _follow(self, visit: Visit, live: Live, wish: Wish) -> None:
        cursor = visit.locate(live.log, wish.offset)
        subject, desk = visit.caller.subject, self._desk
        if wish.live == "sse":
            DurableView(
                live, visit.reply, desk, cursor=cursor, given_cursor=wish.cursor,
                subject=subject, left=visit.account,
            ).attach()  # fmt: skip
        else:
            LongPoll(
                live, visit.reply, desk, cursor=cursor, wait=self._long_poll,
                given_cursor=wish.cursor, subject=subject, left=visit.account,
            ).attach()  # fmt: skip

    def _upgrade(self, visit: Visit, live: Live, wish: Wish) -> None:
        """Show a log on a WebSocket."""

        def session() -> SocketView:
            _check_json(live.log)
            cursor, recovered = visit.begin_at(live.log, wish.offset)
            return SocketView(
                live, self._desk, cursor=cursor, recovered=recovered,
                subject=visit.caller.subject, left=visit.account,
            )  # fmt: skip

        self._upgrades.upgrade(visit, SOCKET_PROTOCOL, session)

    def talk(self, visit: Visit) -> None:
        """Show the channel EVENTS on a plain WebSocket, and publish what is said on it."""
        live = self._find(visit, EVENTS)
        _check_json(_written(live))

        def publish(body: bytes) -> None:
            self.publish(live, Post(body))

        def session() -> ChannelSocket:
            subject = visit.caller.subject
            return ChannelSocket(live, self._desk, publish, subject=subject, left=visit.account)

        self._upgrades.upgrade(visit, "", session)

    def _tell(self, visit: Visit, live: Live, wish: Wish) -> None:
        """Show a log to an EventSource, which cannot be told of a cursor that is gone by a 410."""
        _check_json(live.log)
        seen = visit.request.head.get(b"last-event-id").decode("latin-1") or wish.last_event_id
        cursor, recovered = visit.begin_at(live.log, seen or wish.offset)
        if live.log.closed and cursor == live.log.tail and recovered:
            visit.reply.send(204, b"", fields=CORP)  # so it stops coming back
            return
        EventSourceView(
            live, visit.reply, self._desk, cursor=cursor, recovered=recovered,
            subject=visit.caller.subject, left=visit.account,
        ).attach()  # fmt: skip

    # The channels.

    def _make(self, visit: Visit, id: str, terms: Terms) -> Channel:
        if id.startswith(GENERATION):
            raise ClientError(f"ids that begin with {GENERATION} are those of generations")
        self._make_room()
        hub = self._desk.hub
        channel = Channel(
            id, hub.epoch(), terms, now=self._desk.wall(), body=visit.request.body
        )  # fmt: skip
        hub.add(Live(channel, hub))
        self._owners[id] = visit.caller.subject
        return channel

    def _make_configured(self, settings: Settings) -> None:
        hub, keep = self._desk.hub, settings.retain
        retention = Retention(keep.entries, keep.bytes, keep.age)
        terms = Terms(media=JSON)
        now = self._desk.wall()
        hub.add(Live(Channel(settings.name, hub.epoch(), terms, now=now, retention=retention), hub))

    def _make_room(self) -> None:
        """Drop channels whose time is over, now and then; refuse one more than there may be."""
        if len(self._owners) >= self._sweep_at:
            for id in tuple(self._owners):
                self._expire(id)
            self._sweep_at = max(SWEEP_FROM, 2 * len(self._owners))
        if len(self._owners) >= MAX_CHANNELS:
            raise Overloaded("there are as many channels as there may be", retry_after=60)

    def _find(self, visit: Visit, id: str = "") -> Live:
        """Return a log, that in the path if no other is meant; an expired one is none."""
        id = id or visit.request.head.path[len(STREAMS) :]
        self._expire(id)
        live = visit.log(id)
        if isinstance(live.log, Channel):
            live.log.tidy(self._desk.wall())
        return live

    def _expire(self, id: str) -> None:
        live, now = self._desk.hub.find(id), self._desk.wall()
        if live is None or not isinstance(live.log, Channel):
            return
        if live.readers:
            live.log.touch(now)  # somebody reads all the time
        if live.log.expired(now):
            self._drop(live, "expired")

    def _drop(self, live: Live, reason: str) -> None:
        live.close(State.CANCELLED, reason)
        self._desk.hub.forget(live)
        self._owners.pop(live.log.id, None)


def _written(live: Live) -> Channel:
    """Return the channel that a log is.

    Raises:
        MethodNotAllowed: it is a generation's.
    """
    if not isinstance(live.log, Channel):
        raise MethodNotAllowed("a generation's log is written by its model", allow=READERS)
    return live.log


def _check_json(log: EventLog) -> None:
    """Return if each entry of a log can be shown on its own.

    Raises:
        NotAcceptable: it is not of JSON.
    """
    if isinstance(log, Channel) and not log.json:
        raise NotAcceptable("only a log of JSON is shown so; live=sse shows any")


def _lifetime(terms: Terms) -> bytes:
    """Return the field lines of a channel's type and of how long it lives."""
    fields = field(b"content-type", terms.media)
    if terms.ttl is not None:
        fields += b"stream-ttl: %d\r\n" % terms.ttl
    if terms.expires_text:
        fields += field(b"stream-expires-at", terms.expires_text)
    return fields


def _location(head: RequestHead) -> bytes:
    """Return where a channel is, as an absolute URL: clients of Durable Streams want one."""
    # Whoever ends TLS before us knows better how it was asked for.
    scheme = b"https" if head.get(b"x-forwarded-proto").lower() == b"https" else b"http"
    return field(b"location", b"%b://%b%b" % (scheme, head.get(b"host"), head.path.encode()))
