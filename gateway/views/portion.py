"""As much of a log as is written at once, and what Durable Streams wants said of it.

A log is read in JSON, its entries in an array, or, where people write something else, in
the bytes they wrote.
"""

from typing import NamedTuple

from gateway._sseparse import Batch, json_array
from gateway.eventlog import EventLog


# Bytes of entries after which a portion ends: what is made of them is in memory for one
# client, which may take none of it, and holds up all others for some milliseconds.
PORTION = 256 * 1024


class Portion(NamedTuple):
    """Neighbouring entries; there may be none that this reader sees."""

    batches: list[Batch]
    start: int  # the cursor before them
    end: int  # the one behind
    subject: str  # who reads them

    @property
    def filtered(self) -> bool:
        """Whether others may see other entries here."""
        seen = sum([batch.count for batch in self.batches])
        return bool(self.subject) or seen < self.end - self.start

    def body(self, log: EventLog) -> bytes:
        """Return the entries as one body of the log's own type."""
        datas = [batch.data for batch in self.batches]
        return json_array(datas) if log.json else b"".join(datas)


def read(log: EventLog, cursor: int, subject: str) -> Portion:
    """Return what follows `cursor`, up to the entry that fills a portion."""
    if cursor == log.tail:
        return Portion([], cursor, cursor, subject)
    batches = log.visible(cursor, subject)
    taken, room = [], PORTION
    for batch in batches:
        front = batch if batch.size < room else _front(batch, room)
        taken.append(front)
        room -= front.size
        if room <= 0 and _end(front) < _end(batches[-1]):
            return Portion(taken, cursor, _end(front), subject)
    return Portion(taken, cursor, log.tail, subject)


def _end(batch: Batch) -> int:
    return batch.first + batch.count - 1


def _front(batch: Batch, room: int) -> Batch:
    """Return the entries of a batch up to the one that takes `room` bytes or goes beyond."""
    if batch.count == 1:  # and perhaps not of events
        return batch
    # A canonical event has its only empty line at its end.
    end = batch.data.index(b"\n\n", max(0, room - 2)) + 2
    data = batch.data[:end]
    return Batch(data, batch.first, data.count(b"\n\n"))
