"""Live logs: who fills each, who reads it, and how long it is kept.

A reader has no queue.  It is a cursor: it is woken when there is more, takes what
it can from the log, and says how far it got.  A producer never waits for a reader,
except where what a reader has not taken yet fills the log.

A closed log stays for a while, for whoever comes back; when all logs together grow too
large, the one that closed first goes first.  A channel stays until it is deleted, or its
time is over.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from gateway._sseparse import Batch
from gateway.alarm import Alarm
from gateway.errors import GatewayError
from gateway.eventlog import EventLog, State, epoch_of
from gateway.names import draw
from gateway.parties import Producer, Reader
from gateway.series import TRANSPORTS


# Bytes of one log: hours of text.  Above it the oldest entries go, as far as all its readers
# have them; if they have not, the producer waits (design §8).
LOG_CAP = 8 * 1024 * 1024
# Bytes of an open log when all of them together are too many.
TIGHT_CAP = 256 * 1024
# What a closed log costs besides its bytes: some objects, and its places in dictionaries.  A long
# one has a batch for every 16 small entries besides, which takes less than these do.
LOG_COST = 2 * 1024
# Bytes of all logs (design §8).
ALL_LOGS = 512 * 1024 * 1024
# Seconds a closed log is kept (design §8): a phone comes out of its tunnel within that.
RETAIN = 300.0
# Seconds between two looks at the size of all logs; in one second no network fills a machine.
LOOK = 1.0


class Live(msgspec.Struct, eq=False):
    """One log with its producer, if it is a generation, and its readers."""

    log: EventLog
    _hub: "Hub"
    producer: Producer | None = None  # None: people write it
    # Seconds it may go on without a reader; None: to its end.
    grace: float | None = 0.0
    patience: float = 0.0  # what `grace` becomes with a reader that comes back
    readers: list[Reader] = []
    on_closed: "Callable[[Live], None] | None" = None  # called once, before readers are
    _paused: bool = False  # the producer, by us
    _alarm: Alarm | None = None  # while it waits for a reader

    @property
    def last(self) -> float:
        """When the last entry came, 0 before the first."""
        return self.producer.last if self.producer is not None else 0.0

    def ready(self) -> None:
        """Let every reader be ready for the first entry."""
        for reader in tuple(self.readers):
            try:
                reader.ready()
            except Exception as error:
                self._broken(reader, error)

    def publish(self, batch: Batch) -> None:
        """Append a batch and wake every reader; `_sseparse.Tap` is the short way of this."""
        self.log.append(batch)
        self.pump()

    def pump(self) -> None:
        """Wake the readers that lag, and keep the log within its bounds."""
        for reader in tuple(self.readers):
            if reader.cursor < self.log.tail:
                self._wake(reader)
        if self.log.held > LOG_CAP:
            self.bound()

    def close(self, state: State, reason: str, fault: GatewayError | None = None) -> None:
        """Close the log, once, and let every reader see its end."""
        if not self.log.close(state, reason, fault):
            return
        self._paused = False  # nothing more comes, so nothing has to go
        if self._alarm is not None:
            self._stop_waiting()
        if self.on_closed is not None:
            self.on_closed(self)
        for reader in tuple(self.readers):  # a reader leaves when it has seen the end
            self._wake(reader)
        self._hub.closed(self)

    def drop(self, reason: str) -> None:
        """Take the log away: a reader that is told of an end would believe it had it all."""
        self.log.close(State.CANCELLED, reason)
        self._hub.forget(self)
        for reader in tuple(self.readers):
            reader.cut()

    def expire(self, now: float, wall: float) -> bool:
        """Drop the log if its time is over, by either clock; say whether it was."""
        if self.readers:
            self.log.touch(now)  # somebody reads all the time
        over = self.log.expired(now, wall)
        if over:
            self.drop("expired")
        return over

    def _wake(self, reader: Reader) -> None:
        try:
            reader.wake()
        except Exception as error:
            self._broken(reader, error)

    def _broken(self, reader: Reader, error: Exception) -> None:
        """Cut a reader; a defect in one must not end the generation for all the others."""
        self._hub.on_crash(error)
        reader.cut()

    def follow(self, reader: Reader) -> None:
        """Add a reader; it is woken from now on."""
        if self._alarm is not None:
            self._stop_waiting()
        if reader.detaches and self.grace is not None:
            self.grace = max(self.grace, self.patience)
        self.readers.append(reader)

    def leave(self, reader: Reader) -> None:
        """Remove a reader; an open log without one goes on only as long as it may."""
        readers = self.readers
        try:
            readers.remove(reader)
        except ValueError:
            return
        if self.producer is None:
            self.log.touch(self._hub.loop.time())
        if readers:
            self.advanced()  # it may be the slow one, for which the producer was paused
        elif self.producer is not None and not self.log.closed:
            self._wait(self.producer)

    def advanced(self) -> None:
        """Take note that a reader got on: the producer may have waited for that."""
        if self._paused:
            self.bound()

    def bound(self, cap: int = LOG_CAP) -> None:
        """Trim the log to its `cap`, or hold the producer up while its readers need it all."""
        log, keep = self.log, cap - cap // 4  # not to `cap`, or the next entry would trim again
        if log.cost > cap or self._paused:
            needed = log.tail  # a channel does not wait for its readers
            if self.producer is not None:
                needed = min([reader.cursor for reader in self.readers], default=needed)
            before = log.base
            log.trim(min(needed, self._beyond(keep * log.held // (log.cost or 1))))
            log.tidy(self._hub.loop.time())
            self._hub.trims += log.base > before
        if log.cost > cap and not self._paused:
            self._paused = True
            if self.producer is not None:
                self.producer.pause()
        elif self._paused and log.cost <= keep:
            self._paused = False
            if self.producer is not None:
                self.producer.resume()

    def _beyond(self, keep: int) -> int:
        """Return the cursor up to which entries must go so that `keep` bytes stay."""
        cursor, surplus = self.log.base, self.log.held - keep
        for batch in self.log.after(cursor):
            if surplus <= 0:
                break
            surplus -= batch.size
            cursor = batch.first + batch.count - 1
        return cursor

    def _wait(self, producer: Producer) -> None:
        if self.grace == 0:
            producer.cancel("disconnect")
            return
        if self._paused:  # nobody is left to wait for
            self.bound()
        if self.grace is not None:
            loop = self._hub.loop
            self._alarm = Alarm(loop, self._abandon, loop.time() + self.grace)

    def _abandon(self, now: float) -> None:
        if self.producer is not None and not self.log.closed and self.grace is not None:
            self.producer.cancel("disconnect")

    def _stop_waiting(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None


def _raise(error: Exception) -> None:
    raise error


class Hub:
    """The logs by id."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        retain: float = RETAIN,
        max_bytes: int = ALL_LOGS,
        wall: Callable[[], float] = time.time,
        on_crash: Callable[[Exception], None] = _raise,
    ) -> None:
        self.loop = loop
        self.on_crash = on_crash  # a defect of ours, in a reader
        self.wall = wall  # a channel may have a date on which it ends
        self.trims = 0  # how often a log lost its oldest entries
        self.evicted = 0  # closed logs that went before their time
        self._retain = retain
        self._max_bytes = max_bytes
        self._live: dict[str, Live] = {}
        self._by_epoch: dict[str, Live] = {}
        self._open: set[Live] = set()  # and the closed channels
        self._channels: set[Live] = set()
        self._kept: OrderedDict[Live, float] = OrderedDict()  # closed ones, until when
        self._kept_bytes = 0
        self._names: dict[str, str] = {}  # ids by epochs, drawn and not given yet
        self._alarm = Alarm(loop, self._look, loop.time() + LOOK)

    def __len__(self) -> int:
        return len(self._live)

    def open(
        self,
        producer: Producer,
        *,
        subject: str = "",
        dialect: str = "openai",
        grace: float | None = 0.0,
        patience: float = 0.0,
        kind: type[EventLog] = EventLog,
    ) -> Live:
        """Create an empty log for `producer` to fill, under an id nobody can guess."""
        epoch, id = self._name()
        log = kind(id, epoch, subject, dialect)
        return self.add(Live(log, self, producer, grace, patience))

    def add(self, live: Live) -> Live:
        """Take a log in; another of its id must have been forgotten before."""
        if not self._live:  # else there is a look ahead
            self._alarm.sooner(self.loop.time() + LOOK)
        log = live.log
        self._live[log.id] = self._by_epoch[log.epoch] = live
        self._open.add(live)
        if live.producer is None:
            self._channels.add(live)
        return live

    def find(self, id: str) -> Live | None:
        """Return the log of this id, without what is not to be kept of it any longer."""
        live, now = self._live.get(id), self.loop.time()
        if live is None or live.expire(now, self.wall()):
            return None
        live.log.tidy(now)
        return live

    def of_cursor(self, cursor: str) -> Live | None:
        """Return the generation's log that a cursor belongs to.

        Channels are found by their ids alone: no view of a chat could show their entries.
        """
        live = self._by_epoch.get(epoch_of(cursor))
        return None if live in self._channels else live

    def id(self) -> str:
        """Return an id for a generation, which nobody can guess."""
        return self._name()[1]

    def epoch(self) -> str:
        """Return an epoch that no other log has."""
        return self._name()[0]

    def _name(self) -> tuple[str, str]:
        """Return an epoch and an id for a new log."""
        while not self._names:
            self._names = {epoch: id for id, epoch in draw() if epoch not in self._by_epoch}
        return self._names.popitem()

    @property
    def channels(self) -> int:
        """How many logs there are that people write."""
        return len(self._channels)

    def made_by(self, maker: str) -> int:
        """Return how many of these one subject made."""
        return sum([live.log.maker == maker for live in self._channels])

    @property
    def held(self) -> int:
        """Bytes of all logs."""
        return sum(live.log.held for live in self._live.values())

    def readers(self) -> dict[str, int]:
        """Return how many readers there are, by transport; also of those without any."""
        count = dict.fromkeys(TRANSPORTS, 0)
        for live in self._live.values():
            for reader in live.readers:
                if reader.transport:
                    count[reader.transport] += 1
        return count

    def closed(self, live: Live) -> None:
        """Keep a log that has just closed for its time; a channel stays until it is deleted."""
        if live.producer is None:
            return
        try:
            self._open.remove(live)
        except KeyError:  # it was forgotten
            return
        live.producer = None  # it leads to the request, the connection, and more
        log = live.log
        log.fold()
        self._kept[live] = self.loop.time() + self._retain
        self._kept_bytes += log.cost + LOG_COST
        while self._kept_bytes > self._max_bytes:
            self._evict()

    def forget(self, live: Live) -> None:
        """Drop a log.  May be called twice."""
        if self._live.get(live.log.id) is live:
            del self._live[live.log.id]
            del self._by_epoch[live.log.epoch]
            self._open.discard(live)
            self._channels.discard(live)
        if self._kept.pop(live, None) is not None:
            self._kept_bytes -= live.log.cost + LOG_COST

    def retire(self) -> None:
        """Let go of the readers of channels, which would never be done; generations finish."""
        for live in tuple(self._open):
            for reader in tuple(live.readers) if live.producer is None else ():
                reader.retire()

    def close(self) -> None:
        """Drop everything; nothing rings any more."""
        self._alarm.cancel()
        for live in tuple(self._live.values()):
            self.forget(live)

    def _evict(self) -> None:
        self.forget(next(iter(self._kept)))
        self.evicted += 1

    def _look(self, now: float) -> float | None:
        try:
            self._make_room(now)
        except Exception as error:  # a defect, after which there must be another look
            self.on_crash(error)
        return now + LOOK if self._live else None

    def _make_room(self, now: float) -> None:
        """Drop what was kept long enough, and more if all logs together are too large."""
        wall = self.wall()
        for live in tuple(self._channels):
            live.expire(now, wall)
        while self._kept and next(iter(self._kept.values())) <= now:
            self.forget(next(iter(self._kept)))
        used = sum([live.log.cost for live in self._open])
        while self._kept and used + self._kept_bytes > self._max_bytes:
            self._evict()
        if used > self._max_bytes:
            for live in tuple(self._open):
                live.bound(TIGHT_CAP)
