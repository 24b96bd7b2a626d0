"""A channel, what is written to it, and what somebody sees of it."""

import orjson

from gateway.channel import Channel
from gateway.durable import Claim, Post, Terms


EPOCH = "abcdefgh"
JSON, TEXT = b"application/json", b"text/plain"


def channel(body=b"", *, now=0.0, retention=None, **terms):
    terms = Terms(**{"media": JSON, **terms})
    kept = {} if retention is None else {"retention": retention}
    return Channel("news", EPOCH, terms, now=now, body=body, **kept)


def text_channel(body=b"", **options):
    return channel(body, media=TEXT, **options)


def text_post(body=b"", **said):
    return Post(body, TEXT, **said)


def claimed(seq, epoch=0, id=b"me"):
    return Claim(id, epoch, seq)


def data(log, cursor=0):
    """All that the log delivers after a cursor, as one."""
    return b"".join(batch.data for batch in log.after(cursor))


def seen(log, subject, cursor=0):
    """The number and the JSON of each entry that a subscriber sees."""
    found = []
    for batch in log.visible(cursor, subject):
        blocks = batch.data.removesuffix(b"\n\n").split(b"\n\n")
        assert len(blocks) == batch.count
        for number, block in enumerate(blocks, batch.first):
            found.append((number, orjson.loads(block.rpartition(b"data: ")[2])))
    return found
