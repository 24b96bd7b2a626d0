"""From one dialect into another: a request, a stream, a whole answer."""

from gateway._sseparse import Mould, entries
from gateway.chat import Answer, Delta, Event
from gateway.dialects.calls import Call, Heading, Written, encode, loads_event
from gateway.dialects.dialect import ClientDialect, UpstreamDialect
from gateway.upstream_errors import StreamInterrupted, UpstreamProtocolError


def translate_request(
    call: Call, ours: ClientDialect, theirs: UpstreamDialect, model: str
) -> Written:
    """Return a client's request as an upstream of another dialect wants it.

    Raises:
        ClientError: it says what cannot be said there; names the parameter.
    """
    request = ours.read_request(call.body)
    written = theirs.write_request(request, model)
    return Written(written.body, (*request.dropped, *written.dropped))


def read_answer(body: bytes, theirs: UpstreamDialect) -> Answer:
    """Return what an upstream's whole answer says.

    Raises:
        UpstreamError: it is an error, or no answer that can be read.
    """
    answer = loads_event(body)
    if answer is None:
        raise UpstreamProtocolError("the upstream's answer is not JSON")
    read = theirs.read_answer(answer)
    if not read.stop.reason:
        # As of a stream that has none: an end is never made up.
        message = "the upstream's answer does not say why it ended"
        raise UpstreamProtocolError(message, kind=StreamInterrupted.kind)
    return read


# A text to try a mould with; nothing else of an event is like it.
PROBE = "\x01probe"
# Texts that fit in no mould until the next is made: that costs what two of them do.
PATIENCE = 16


class Translation:
    """An upstream's stream, as it is said in the client's dialect.

    It never raises.  What cannot be read, or not be said, is its `fault`: then it has handed
    over what came before, and says nothing more.
    """

    def __init__(self, theirs: UpstreamDialect, ours: ClientDialect, heading: Heading) -> None:
        self.fault: UpstreamProtocolError | None = None
        self._read = theirs.reader()
        self._writer = ours.writer(heading)
        self._steady = theirs.steady and ours.steady
        self._mould: Mould | None = None  # of the latest text, for those that are like it
        self._misses = 0  # texts in a row that were none of a mould's

    def blocks(self, data: bytes) -> list[bytes]:
        """Return the blocks for some canonical events of the upstream."""
        blocks: list[bytes] = []
        if self.fault is not None:
            return blocks
        try:
            for _, payload in entries(data):
                block = self._mould.cast(payload) if self._mould is not None else None
                if block is not None:
                    blocks.append(block)
                else:
                    self._say(payload, blocks)
        except UpstreamProtocolError as error:
            self.fault = error
        return blocks

    def end(self) -> list[bytes]:
        """Return the blocks that are due when the stream has ended well."""
        if self.fault is not None:
            return []
        try:
            return self._writer.end()
        except UpstreamProtocolError as error:
            self.fault = error  # what waited for the end cannot be said
            return []

    def _say(self, payload: bytes, blocks: list[bytes]) -> None:
        event = loads_event(payload)
        if event is None:
            # To skip it would be to lose a part of the answer unsaid.
            raise UpstreamProtocolError("an event of the upstream cannot be read")
        events, before = self._read(event), len(blocks)
        for said in events:
            blocks += self._writer.write(said)
        # A text that waits for its turn was not said, and the next would wait as well.
        if self._steady and len(blocks) > before:
            self._remember(payload, events, blocks[-1])

    def _remember(self, payload: bytes, events: list[Event], block: bytes) -> None:
        """Keep how a text is said, as long as nothing else is."""
        match events:
            case [Delta(content=text) as said] if text:
                if self._misses % PATIENCE == 0:
                    self._mould = self._moulded(payload, said, block)
                self._misses += 1
            case _:
                self._mould, self._misses = None, 0

    def _moulded(self, payload: bytes, said: Delta, block: bytes) -> Mould | None:
        """Return the mould of a text; none, if another text would not just stand in its place."""
        text, other = encode(said.content), encode(PROBE)
        probe = Delta(said.choice, PROBE)
        before, _, after = payload.partition(text)
        event = loads_event(before + other + after)
        if event is None or self._read(event) != [probe]:
            return None
        left, _, right = b"".join(self._writer.write(probe)).partition(other)
        return Mould(before, after, left, right) if left + text + right == block else None
