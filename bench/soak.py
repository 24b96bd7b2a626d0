"""Serve many short streams whose clients come and go at random, and look for what stays behind.

    python bench/soak.py [--streams 20000] [--at-once 50] [--seed 1]

README.md beside this file says what is done and how to read the figures.
Exit status: 0 all is as it was, 1 something stayed or an answer was wrong, 2 usage or
something is missing.
"""

import argparse
import gc
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import targets
import uvloop
from programs import BuildError
from soak_clients import crowd
from targets import ROOT, StartError, Target


# Looks at the memory after the warm-up, which is a round like the others: it fills pools and
# caches, and takes from the kernel what the logs of a second need at this pace.
ROUNDS = 4
# Seconds after the last client in which all must be gone: logs stay one, heads linger two.
QUIET = 15.0
# Objects of one type that may be more after thousands of streams: caches, and the look itself.
SLACK = 100
# Bytes that may be more: what the allocators keep in another order.  A leak of one object
# for each stream is several times this.
GROWTH = 2 << 20
KEPT = ("streams_active", "logs_kept", "log_bytes", 'connections_open{listener="public"}')
POOLED = 'pool_connections{state="idle",upstream="mock"}'
LOGS = '\n[logs]\nretain = "1s"\n'


# --- the gateway, with a spy ---------------------------------------------------------------------


def serve(report: Path, arguments: list[str]) -> int:
    """Run the gateway; on SIGUSR1 write down which objects it has."""
    from gateway.cli import main

    def spy(*_: object) -> None:
        garbage = gc.collect()
        names = Counter(f"{type(o).__module__}.{type(o).__qualname__}" for o in gc.get_objects())
        part = report.with_suffix(".part")
        part.write_text(json.dumps({"garbage": garbage, "types": names}))
        part.replace(report)

    signal.signal(signal.SIGUSR1, spy)
    return main(arguments)


class Look:
    """How the gateway stands: memory, descriptors, objects, and what its metrics say."""

    def __init__(self, target: Target, report: Path) -> None:
        assert target.pid is not None
        report.unlink(missing_ok=True)
        os.kill(target.pid, signal.SIGUSR1)
        deadline = time.monotonic() + QUIET
        while not report.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        told = json.loads(report.read_text())
        self.types: Counter[str] = Counter(told["types"])
        self.garbage: int = told["garbage"]
        self.bytes = target.resident_bytes()
        self.kept = target.figures(*KEPT, POOLED)
        pooled = int(self.kept.pop(POOLED))  # they are to stay, and how many is chance
        self.descriptors = len(os.listdir(f"/proc/{target.pid}/fd")) - pooled

    def __str__(self) -> str:
        told = ", ".join(f"{name} {value:g}" for name, value in self.kept.items())
        return (
            f"{self.bytes / 1024:,.0f} KB resident, {self.descriptors} descriptors, "
            f"{self.types['_asyncio.Task']} tasks, {self.types['uvloop.loop.TimerHandle']} timers, "
            f"{sum(self.types.values()):,} objects, {self.garbage} in cycles; {told}"
        )

    def grown(self, before: "Look") -> dict[str, int]:
        """Return the types of which there are notably more than before."""
        more = self.types - before.types
        return {name: count for name, count in more.most_common() if count > SLACK}


def quiet(target: Target, idle: dict[str, float]) -> None:
    """Wait until no more is served or kept than at first; what does not go will be seen."""
    deadline = time.monotonic() + QUIET
    while _more(target.figures(*KEPT), idle) and time.monotonic() < deadline:
        time.sleep(0.2)


def _more(now: dict[str, float], before: dict[str, float]) -> list[str]:
    return [name for name in KEPT if now[name] > before[name]]


# --- the command ---------------------------------------------------------------------------------


def soak(target: Target, report: Path, options: argparse.Namespace) -> bool:
    """Put all clients on the gateway and tell how it stands; return whether it is as before."""
    dice = random.Random(options.seed)
    size = options.streams // ROUNDS
    looks: list[Look] = []
    idle = target.figures(*KEPT)
    for number in range(1 + ROUNDS):
        began = time.monotonic()
        numbers = range(number * size, (number + 1) * size)
        stories = uvloop.run(crowd(target, numbers, options.at_once, dice))
        quiet(target, idle)
        looks.append(Look(target, report))
        lasted = time.monotonic() - began
        told = ", ".join(f"{count} {name}" for name, count in sorted(stories.items()))
        print(f"\n{size} streams in {lasted:.0f} s: {told}\n  {looks[-1]}", flush=True)
    return judge(looks[0], looks[-1], idle)


def judge(before: Look, after: Look, idle: dict[str, float]) -> bool:
    """Tell what is more than before; return whether that is nothing."""
    grown = after.grown(before)
    bytes_more = after.bytes - before.bytes
    print(f"\nsince the warm-up: {bytes_more / 1024:+,.0f} KB, objects {grown or 'as before'}")
    left = _more(after.kept, idle)
    for name in left:
        print(f"left: {name}")
    stayed = left or grown or after.descriptors > before.descriptors
    return not stayed and bytes_more < GROWTH


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--streams", type=int, default=20_000, help="after the warm-up")
    parser.add_argument("--at-once", type=int, default=50, help="how many clients there are")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main() -> int:
    """Run the soak and return the exit status."""
    if sys.argv[1:2] == ["--gateway"]:
        return serve(Path(sys.argv[2]), sys.argv[3:])
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"{time.strftime('%Y-%m-%d')}  {' '.join(sys.argv)}")
    try:
        near, far, load = targets.cores()
        with tempfile.TemporaryDirectory(prefix="headgate-soak-") as folder:
            report = Path(folder) / "report"
            program = [sys.executable, str(ROOT / "bench/soak.py"), "--gateway", str(report)]
            with (
                targets.provider(far) as upstream,
                targets.headgate(upstream.port, near, more=LOGS, program=program) as target,
                targets.pinned(load),
            ):
                return 0 if soak(target, report, options) else 1
    except KeyboardInterrupt:
        return 130
    except (BuildError, StartError) as error:
        print(f"soak.py: {error}", file=sys.stderr)
        return 2
    except ExceptionGroup as group:  # of the clients
        print(f"soak.py: {group.exceptions[0]!r}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
