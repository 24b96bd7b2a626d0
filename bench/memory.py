"""Measure what an open stream costs that says nothing: resident memory, by transport.

    python bench/memory.py [--streams 5000] [--transports post,eventsource,websocket]

README.md beside this file says what is done and how to read the figures.
Exit status: 0 measured, 1 above the mark or an answer was wrong, 2 usage or something is missing.
"""

import argparse
import json
import resource
import signal
import socket
import sys
import time

import targets
from programs import BuildError
from targets import StartError, Target


# KB of one stream beyond its log: what design.md §7 wants.
MUST_KB = 15
# Streams that come and go first, so that pools, caches and free lists are filled.
WARM_UP = 200
# Seconds for one read: the provider speaks at once.
PATIENCE = 10.0
POST = "/v1/chat/completions"
TRANSPORTS = ("post", "eventsource", "websocket")


class WrongError(Exception):
    """A stream did not open."""


class Opener:
    """Opens streams that get their first event, and then nothing for ten minutes."""

    def __init__(self, target: Target, transport: str) -> None:
        self._port = target.port
        self._transport = transport
        self._number = 0

    def open(self) -> socket.socket:
        """Return the connection of one more stream."""
        if self._transport == "post":
            return self._reader("POST", POST, body=self._body())
        place = self._begun()
        if self._transport == "eventsource":
            return self._reader("GET", place, "accept: text/event-stream")
        upgrade = ["upgrade: websocket", "connection: upgrade", "sec-websocket-version: 13"]
        key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="
        return self._reader("GET", place + "?live=websocket&offset=-1", *upgrade, key)

    def _begun(self) -> str:
        """Return the place of a generation that nobody reads yet."""
        with self._ask("POST", POST, "prefer: respond-async", body=self._body()) as asked:
            answer = self._until(asked, b'"state"')
        for line in answer.decode().split("\r\n"):
            name, _, value = line.partition(": ")
            if name == "location":
                return value
        raise WrongError(f"there is no log: {answer!r}")

    def _reader(self, method: str, path: str, *fields: str, body: str = "") -> socket.socket:
        """Return a connection on which the first event has come."""
        connection = self._ask(method, path, *fields, body=body)
        self._until(connection, b'"role"')
        return connection

    def _ask(self, method: str, path: str, *fields: str, body: str = "") -> socket.socket:
        lines = [f"{method} {path} HTTP/1.1", "host: localhost", *fields]
        lines += [f"content-length: {len(body)}", "", body]
        connection = socket.create_connection(("127.0.0.1", self._port), PATIENCE)
        connection.sendall("\r\n".join(lines).encode())
        return connection

    def _until(self, connection: socket.socket, end: bytes) -> bytes:
        data = b""
        while end not in data:
            piece = connection.recv(65536)
            data += piece
            if not piece:
                raise WrongError(f"it did not open: {data!r}")
        return data

    def _body(self) -> str:
        self._number += 1
        mock = {"stamp": True, "tag": f"s{self._number}", "tokens": 1, "interval": 600_000}
        messages = [{"role": "user", "content": "hello"}]
        return json.dumps({"model": "m", "stream": True, "messages": messages, "mock": mock})


def held(target: Target) -> float:
    """Ask how many bytes the logs hold."""
    return target.figures("log_bytes")["log_bytes"]


def measure(transport: str, streams: int) -> float:
    """Return the bytes of one stream beyond its log, on a gateway freshly started."""
    near, far, _ = targets.cores()
    with (
        targets.provider(far) as upstream,
        targets.headgate(upstream.port, near) as target,
    ):
        opener = Opener(target, transport)
        for connection in [opener.open() for _ in range(WARM_UP)]:
            connection.close()
        held(target)  # the first scrape imports and fills caches, too
        before = target.resident_bytes() - held(target)
        connections = [opener.open() for _ in range(streams)]
        after = target.resident_bytes() - held(target)
        for connection in connections:
            connection.close()
    return (after - before) / streams


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--streams", type=int, default=5000)
    parser.add_argument("--transports", default=",".join(TRANSPORTS))
    options = parser.parse_args()
    options.transports = options.transports.split(",")
    for name in options.transports:
        if name not in TRANSPORTS:
            parser.error(f"no transport {name!r}; known are {', '.join(TRANSPORTS)}")
    return options


def main() -> int:
    """Run the bench and return the exit status."""
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(f"{time.strftime('%Y-%m-%d')}  {' '.join(sys.argv)}\n\n| | KB |\n|---|---|")
    worst = 0.0
    try:
        for transport in options.transports:
            size = measure(transport, options.streams) / 1024
            worst = max(worst, size)
            print(f"| {transport} | {size:.1f} |", flush=True)
    except KeyboardInterrupt:
        return 130
    except (BuildError, StartError) as error:
        print(f"memory.py: {error}", file=sys.stderr)
        return 2
    except (WrongError, OSError) as error:
        print(f"memory.py: {error}", file=sys.stderr)
        return 1
    print(f"\nmust ≤ {MUST_KB} {'pass' if worst <= MUST_KB else 'FAIL'}")
    return 0 if worst <= MUST_KB else 1


if __name__ == "__main__":
    sys.exit(main())
