"""A stream of one dialect as another has it."""

import pytest

from gateway._sseparse import UNTIL_CLOSE, EventParser
from gateway.chat import Event
from gateway.dialects.calls import Heading
from gateway.dialects.known import CLIENTS, UPSTREAMS
from gateway.dialects.translation import Translation


HEADING = Heading("id-1", "m", 1_700_000_000)
EACH = pytest.mark.parametrize("dialect", CLIENTS)


def spoken(name: str) -> str:
    return name.partition("-")[0]


def others(dialect: str) -> list[str]:
    return [ours for ours in CLIENTS if ours != dialect]


PAIRS = pytest.mark.parametrize(
    ("dialect", "other"), [(dialect, other) for dialect in CLIENTS for other in others(dialect)]
)


def translation_of(theirs: str, ours: str) -> Translation:
    return Translation(UPSTREAMS[theirs], CLIENTS[ours], HEADING)


def written(dialect: str, events: list[Event], *, ends: bool = True) -> list[bytes]:
    writer = CLIENTS[dialect].writer(HEADING)
    blocks = [block for event in events for block in writer.write(event)]
    return blocks + (writer.end() if ends else [])


def parsed(dialect: str, pieces: list[bytes]) -> tuple[EventParser, list[bytes]]:
    parser = EventParser(UNTIL_CLOSE, dialect=UPSTREAMS[dialect].parser)
    batches = [parser.feed(piece, 0.0) for piece in pieces]
    parser.eof()
    return parser, [batch.data for batch in batches if batch is not None]
