"""Logs at `/v1/stream/{id}`: made, written, read and deleted as Durable Streams has it.

People write channels; the log of a generation is written by its model alone.  A channel
is its maker's, or shared by all who may call: one from the file always is.  Only who made
a channel may delete it.

The channel `events` is always there; `/events` and `/trigger-event` are short for it.
"""

import re
from collections.abc import Mapping
from functools import partial

import msgspec
import orjson

from gateway.alarm import Alarm
from gateway.channel import Channel, Receipt, Retention
from gateway.client_errors import ClientError, Forbidden, MethodNotAllowed, NotAcceptable
from gateway.desk import STREAMS, Desk
from gateway.durable import JSON, Post, Terms, Wish, read_post, read_terms, read_wish
from gateway.errors import Overloaded
from gateway.eventlog import NOW, EventLog
from gateway.guard import RequestHead
from gateway.host import MAX_UNWANTED
from gateway.hub import Live
from gateway.literals import Segment
from gateway.names import GENERATION
from gateway.reply import field
from gateway.settings import Channel as Settings
from gateway.settings import Config
from gateway.stops import read_json
from gateway.upgrades import Upgrades
from gateway.views.channel_socket import ChannelSocket
from gateway.views.durable import DurableView
from gateway.views.eventsource import EventSourceView
from gateway.views.long_poll import LongPoll
from gateway.views.poll import CORP, catch_up
from gateway.views.socket import SocketView
from gateway.visits import Serve, Visit


# Bytes of one PUT or POST: what a WebSocket message may have, so that it is the same however
# an entry comes (design §8).
MAX_BODY = 1024 * 1024
# Channels at once: so many logs of 256 KiB are all that the hub holds (hub.ALL_LOGS).
MAX_CHANNELS = 2048
# … of one subject, where there are several: it shall not take the others' room.
MAX_OF_ONE = MAX_CHANNELS // 4

# What the id of a channel may be: it stands in a path as it is (RFC 3986 §2.3).
ID = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._~-]{1,128}")
READERS = "GET, HEAD"
# The WebSocket subprotocol of a log's envelopes.
SOCKET_PROTOCOL = "headgate.v1"
# The channel that is there without being configured, and has paths of its own.
EVENTS = "events"


class Trigger(msgspec.Struct):
    """What `POST /trigger-event` takes."""

    message: msgspec.Raw  # any JSON
    type: str = ""
    to: list[str] | None = None


class Streams:
    """Handlers of the logs' own path, and the channels that there are."""

    def __init__(self, config: Config, upgrades: Upgrades, desk: Desk) -> None:
        self._desk = desk
        self._upgrades = upgrades
        self._long_poll = config.logs.long_poll
        self._configured = {EVENTS: Settings(Segment(EVENTS))} | config.channels
        self._alarms: list[Alarm] = []  # of the channels that the server writes to
        for settings in self._configured.values():
            self._make_configured(settings)

    def close(self) -> None:
        """Let nothing ring any more."""
        for alarm in self._alarms:
            alarm.cancel()

    @property
    def methods(self) -> Mapping[str, tuple[Serve, int]]:
        """What serves each method, and the bytes of body it takes."""
        return {
            "GET": (self.get, MAX_UNWANTED),
            "HEAD": (self.head, MAX_UNWANTED),
            "PUT": (self.put, MAX_BODY),
            "POST": (self.post, MAX_BODY),
            "DELETE": (self.delete, MAX_UNWANTED),
        }

    # Writing.

    def put(self, visit: Visit) -> None:
        """Make a channel, or confirm that it is as the request wants it."""
        head = visit.request.head
        id = head.path[len(STREAMS) :]
        if not ID.fullmatch(id):
            raise ClientError("the id of a log has at most 128 letters, digits, and any of -._~")
        terms = read_terms(head)
        shared = head.get(b"headgate-shared").lower() == b"true"
        subject = "" if shared else visit.caller.subject
        if self._desk.hub.find(id) is None:
            channel, status, more = self._make(visit, id, terms, subject), 201, _location(head)
        else:
            channel, status, more = _written(visit.log(id)), 200, b""
            channel.confirm(terms, subject)
            channel.touch(self._desk.clock())
        fields = CORP + _lifetime(channel.terms) + channel.receipt(status).fields + more
        visit.reply.send(status, b"", fields=fields)

    def post(self, visit: Visit) -> None:
        """Append to a channel, or close it, or both."""
        post = read_post(visit.request.head, visit.request.body)
        live = _find(visit)
        if post.closes and live.log.id in self._configured:
            raise Forbidden("a configured channel stays open")
        receipt = self.publish(live, post)
        visit.reply.send(receipt.status, b"", fields=CORP + receipt.fields)

    def trigger(self, visit: Visit) -> None:
        """Publish a message to `events` with the time on it; say what it is, and its cursor."""
        asked: Trigger = read_json(visit, Trigger)
        event = {
            "type": asked.type or "notification",
            "message": asked.message,
            "timestamp": self._desk.timestamp(),
        } | ({} if asked.to is None else {"to": asked.to})
        receipt = self.publish(_find(visit), Post(msgspec.json.encode(event)))
        visit.reply.send(200, msgspec.json.encode({"id": receipt.cursor} | event))

    def publish(self, live: Live, post: Post) -> Receipt:
        """Append to a channel and wake its readers; `Channel.publish` says what it raises."""
        channel = _written(live)
        receipt = channel.publish(post, self._desk.clock())
        if channel.closed:
            for reader in tuple(live.readers):  # also those that have all: to see the end
                reader.wake()
        else:
            live.pump()
        return receipt

    def delete(self, visit: Visit) -> None:
        """Delete a channel; whoever reads it is cut, and finds nothing on coming back."""
        live = _find(visit)
        channel = _written(live)
        if channel.id in self._configured:
            raise MethodNotAllowed("a configured channel stays", allow="GET, HEAD, POST, PUT")
        if channel.maker != visit.caller.subject:
            raise Forbidden("only who made a channel may delete it")
        live.drop("deleted")
        visit.reply.send(204, b"", fields=CORP)

    # Reading.

    def head(self, visit: Visit) -> None:
        """Say how a log stands; that is not yet reading it."""
        log = _find(visit).log
        fields = b"content-type: application/json\r\n"
        if isinstance(log, Channel):
            fields = _lifetime(log.terms)
        stands = Receipt(200, log.cursor(log.tail), log.closed)
        visit.reply.send(200, b"", fields=CORP + fields + stands.fields)

    def get(self, visit: Visit) -> None:
        """Read a log, in the way the request asks for."""
        accepted = visit.request.head.members(b"accept")
        self._show(visit, as_events=b"text/event-stream" in accepted)

    def events(self, visit: Visit) -> None:
        """Read the channel `events`, by EventSource if the request asks for no other way."""
        self._show(visit, as_events=True)

    def _show(self, visit: Visit, *, as_events: bool) -> None:
        wish = read_wish(visit.request.head.query)
        live = _find(visit)
        live.log.touch(self._desk.clock())
        if wish.live == "websocket":
            self._upgrade(visit, live, wish)
        elif wish.live:
            self._follow(visit, live, wish)
        elif as_events:
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
        )  # fmt: skip

    def _follow(self, visit: Visit, live: Live, wish: Wish) -> None:
        cursor = visit.locate(live.log, wish.offset)
        subject, desk = visit.caller.subject, self._desk
        if wish.live == "sse":
            DurableView(
                live, visit.reply, desk, cursor=cursor, given_cursor=wish.cursor,
                subject=subject, left=visit.ending(live.log),
            ).attach()  # fmt: skip
        else:
            LongPoll(
                live, visit.reply, desk, cursor=cursor, wait=self._long_poll,
                given_cursor=wish.cursor, subject=subject, left=visit.ending(live.log),
            ).attach()  # fmt: skip

    def _upgrade(self, visit: Visit, live: Live, wish: Wish) -> None:
        """Show a log on a WebSocket."""

        def session() -> SocketView:
            _check_json(live.log)
            cursor, recovered = visit.begin_at(live.log, wish.offset)
            return SocketView(
                live, self._desk, cursor=cursor, recovered=recovered,
                subject=visit.caller.subject, left=visit.ending(live.log),
            )  # fmt: skip

        self._upgrades.upgrade(visit, SOCKET_PROTOCOL, session)

    def talk(self, visit: Visit) -> None:
        """Show the channel EVENTS on a plain WebSocket, and publish what is said on it."""
        live = visit.log(EVENTS)
        _check_json(_written(live))

        def publish(body: bytes) -> None:
            self.publish(live, Post(body))

        def session() -> ChannelSocket:
            return ChannelSocket(
                live, self._desk, publish,
                subject=visit.caller.subject, left=visit.ending(live.log),
            )  # fmt: skip

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
            subject=visit.caller.subject, left=visit.ending(live.log),
        ).attach()  # fmt: skip

    # The channels.

    def _make(self, visit: Visit, id: str, terms: Terms, subject: str) -> Channel:
        if id.startswith(GENERATION):
            raise ClientError(f"ids that begin with {GENERATION} are those of generations")
        hub = self._desk.hub
        if hub.channels >= MAX_CHANNELS:
            raise Overloaded("there are as many channels as there may be", retry_after=60)
        maker = visit.caller.subject
        if maker and hub.made_by(maker) >= MAX_OF_ONE:
            raise Overloaded(f"one subject has at most {MAX_OF_ONE} channels", retry_after=60)
        channel = Channel(
            id, hub.epoch(), terms, now=self._desk.clock(), body=visit.request.body,
            subject=subject, maker=maker,
        )  # fmt: skip
        hub.add(Live(channel, hub))
        return channel

    def _make_configured(self, settings: Settings) -> None:
        hub, keep = self._desk.hub, settings.retain
        retention = Retention(keep.entries, keep.bytes, keep.age)
        channel = Channel(
            settings.name, hub.epoch(), Terms(media=JSON), now=self._desk.clock(),
            retention=retention, welcome=settings.welcome,
        )  # fmt: skip
        live = hub.add(Live(channel, hub))
        if settings.periodic is not None:
            ring, loop = partial(self._say_time, live, settings.periodic), self._desk.loop
            self._alarms.append(Alarm(loop, ring, loop.time() + settings.periodic))

    def _say_time(self, live: Live, period: float, now: float) -> float:
        """Write an entry of the server's own; not to nobody, or it would push out people's."""
        if live.readers:
            told = {
                "type": "periodic",
                "readers": len(live.readers),
                "timestamp": self._desk.timestamp(),
            }
            try:
                self.publish(live, Post(orjson.dumps(told)))
            except ClientError as error:  # its `retain` is smaller than the entry
                self._desk.log.warning(error.message, channel=live.log.id)
        return now + period


def _find(visit: Visit) -> Live:
    """Return the log that the path means."""
    path = visit.request.head.path
    return visit.log(path[len(STREAMS) :] if path.startswith(STREAMS) else EVENTS)


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
    if not log.json:
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
