"""Let one answer in five of the providers fail, and see that no client is told anything untrue.

    python bench/failures.py [--seconds 60] [--streams 500] [--shaky 0.2] [--seed 1]

README.md beside this file says what is done and how to read the figures.
Exit status: 0 every client saw a whole answer or an honest error, 1 one did not, or
something stayed behind, or the providers were asked too often, 2 usage or something is missing.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

import targets
import uvloop
from targets import ROOT, StartError, Target


sys.path.insert(0, str(ROOT))  # what an honest answer is, the tests know

from gateway.mock import MockProvider, Options
from gateway.mock.words import tokens
from tests.fault_clients import KINDS, Seen, Wish
from tests.stand import Client


# Seconds for one client's whole story: three tries that stall, and an answer after that.
PATIENCE = 60.0
# Seconds after the last client, and the time for which logs stay, in which all must be gone.
QUIET = 15.0
# Requests that the providers get, of those that the clients send (design §6).
MOST_ASKED = 1.2
# Tokens of the shortest and of the longest answer.
LENGTHS = (3, 30)
# Wrong ones that are shown; the first says it all.
SHOWN = 10

CONFIG = """
[logs]
retain = "{retain}s"

[upstreams.gone]
base_url = "http://127.0.0.1:9/v1"
"""
UPSTREAM = """
[upstreams.{name}]
dialect = "{dialect}"
base_url = "http://127.0.0.1:{port}/v1"
keys = [{keys}]
max_connections = 2000
timeouts = {{ first_event = "{limit}ms", idle = "{limit}ms" }}
"""
MODEL = '\n[models."{name}"]\ntargets = [{{ upstream = "{first}" }}{more}]\n'
SPARE = ', { upstream = "spare", priority = 2 }'
DIALECTS = ("openai", "anthropic", "responses", "gemini")
# By name of the model: who is asked first, and whether there is another.
MODELS = {
    **{f"{name} alone": (name, False) for name in DIALECTS},
    **{name: (name, True) for name in (*DIALECTS, "gone")},
}
# An error may be told before the answer, or amid it.
WHOLE, BEFORE, AMID, WRONG = "whole", "error before", "error amid", "WRONG"
KEPT = (
    "streams_active", "logs_kept", "log_bytes", "pool_waiters",
    'connections_open{listener="public"', 'pool_connections{state="active"',
)  # fmt: skip
IDLE = 'pool_connections{state="idle"'


def config(port: int, options: argparse.Namespace) -> str:
    """Return tables with all models; keys are many, since one that gets a 429 rests."""
    # An answer in one piece comes when its last token would.
    limit = int(LENGTHS[1] * options.interval + options.stall)
    keys = ", ".join(f'"k{number}"' for number in range(20))
    text = CONFIG.format(retain=options.retain)
    for name, dialect in [*zip(DIALECTS, DIALECTS, strict=True), ("spare", "openai")]:
        text += UPSTREAM.format(name=name, dialect=dialect, port=port, keys=keys, limit=limit)
    for name, (first, spare) in MODELS.items():
        text += MODEL.format(name=name, first=first, more=SPARE if spare else "")
    return text


@dataclass(frozen=True)
class Gateway:
    """Where the clients go."""

    port: int

    async def open(self) -> Client:
        """Connect."""
        return await Client.to(f"http://127.0.0.1:{self.port}")


@dataclass
class Tally:
    """What the clients saw."""

    seen: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # client, model, what
    wrong: list[str] = field(default_factory=list)

    def count(self, kind: str, model: str, verdict: str, why: str = "") -> None:
        """Note what one saw."""
        self.seen[kind, model, verdict] += 1
        if verdict == WRONG:
            self.wrong.append(f"{kind} of {model}: {why}")

    def of(self, verdict: str, kind: str = "", model: str = "") -> int:
        """Return how many of these there are; of all clients and models if none is named."""
        return sum(
            count
            for (by, asked, what), count in self.seen.items()
            if what == verdict and kind in ("", by) and model in ("", asked)
        )


def judge(seen: Seen, expected: str) -> str:
    """Return what a client saw, in a word."""
    message = (seen.error or {}).get("message")
    if seen.finished and seen.error is None and seen.text == expected:
        return WHOLE
    honest = not seen.finished and isinstance(message, str) and message
    if not honest or not expected.startswith(seen.text):
        return WRONG
    return AMID if seen.text else BEFORE


async def client(gateway: Gateway, number: int, dice: random.Random, tally: Tally) -> None:
    """Ask once, and judge what came."""
    kind, model = dice.choice(list(KINDS)), dice.choice(list(MODELS))
    wish = Wish(model, said=f"s{number}.", limit=dice.randint(*LENGTHS))
    expected = "".join(tokens(Options(tag=wish.said, tokens=wish.limit)))
    try:
        async with asyncio.timeout(PATIENCE):
            seen = await KINDS[kind].ask(gateway, wish)
    except Exception as error:  # a client that fails has not been told the truth
        tally.count(kind, model, WRONG, f"{error!r}")
    else:
        tally.count(kind, model, judge(seen, expected), f"{seen}, and not {expected!r}")


async def crowd(gateway: Gateway, options: argparse.Namespace, tally: Tally) -> int:
    """Keep so many clients at work for so long; return how many there were."""
    dice = random.Random(options.seed)
    end = time.monotonic() + options.seconds
    begun = 0

    async def one_after_another() -> None:
        nonlocal begun
        while time.monotonic() < end:
            begun += 1
            await client(gateway, begun, random.Random(dice.random()), tally)

    async with asyncio.TaskGroup() as group:
        for _ in range(options.streams):
            group.create_task(one_after_another())
    return begun


# --- what is left behind --------------------------------------------------------------------------


def left(target: Target) -> dict[str, float]:
    """Scrape what must be gone when all have gone; descriptors without those of the pools."""
    found = target.figures(*KEPT, IDLE)
    idle = found.pop(IDLE)  # they are to stay, and how many is chance
    return {**found, "descriptors": len(os.listdir(f"/proc/{target.pid}/fd")) - idle}


async def leaks(target: Target, before: dict[str, float], retain: int) -> list[str]:
    """Wait until nothing is more than before, and return what still is."""
    deadline = time.monotonic() + retain + QUIET
    while True:
        now = await asyncio.to_thread(left, target)
        more = [f"{name} {now[name]:g}" for name in now if now[name] > before[name]]
        if not more or time.monotonic() > deadline:
            return more
        await asyncio.sleep(0.2)


# --- the command ----------------------------------------------------------------------------------


async def run(options: argparse.Namespace, near: int) -> int:
    """Let them fail, and tell what was seen; return the exit status."""
    shaky = Options(
        text="echo", tokens=LENGTHS[1], interval=options.interval, shaky=options.shaky
    )
    tally = Tally()
    async with MockProvider(shaky) as mock:
        with targets.headgate(mock.port, near, more=config(mock.port, options)) as target:
            before = await asyncio.to_thread(left, target)
            offered = await crowd(Gateway(target.port), options, tally)
            stayed = await leaks(target, before, options.retain)
    print(report(tally))
    print(f"\nfaults: {', '.join(f'{n} {name}' for name, n in mock.faults.most_common())}")
    ratio = mock.asked / offered
    print(f"{offered} requests; the providers got {mock.asked}, {ratio:.3f} of that")
    print(f"left behind: {', '.join(stayed) or 'nothing'}")
    for wrong in tally.wrong[:SHOWN]:
        print(f"wrong: {wrong}")
    return 1 if tally.wrong or stayed or ratio > MOST_ASKED else 0


def report(tally: Tally) -> str:
    """Return a table of what was seen, by client and by model."""
    verdicts = (WHOLE, BEFORE, AMID, WRONG)
    lines = [f"| | {' | '.join(verdicts)} |", "|---|" + "---|" * len(verdicts)]
    lines += [_line(kind, [tally.of(v, kind=kind) for v in verdicts]) for kind in KINDS]
    lines += [
        _line(f"model {model}", [tally.of(v, model=model) for v in verdicts]) for model in MODELS
    ]
    return "\n".join([*lines, _line("all", [tally.of(v) for v in verdicts])])


def _line(name: str, counts: list[int]) -> str:
    return f"| {name} | {' | '.join(f'{count:,}' for count in counts)} |"


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="in which clients begin")
    parser.add_argument("--streams", type=int, default=500, help="at once")
    parser.add_argument("--shaky", type=float, default=0.2, help="share of answers that fail")
    parser.add_argument("--interval", type=float, default=100.0, help="ms between tokens")
    parser.add_argument("--stall", type=float, default=2000.0, help="ms of patience with a stall")
    parser.add_argument("--retain", type=int, default=10, help="s for which logs are kept")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run and return the exit status."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"{time.strftime('%Y-%m-%d')}  failures.py {' '.join(arguments)}\n")
    try:
        cores = sorted(os.sched_getaffinity(0))
        with targets.pinned(cores[-1]):
            return uvloop.run(run(options, cores[0]))
    except KeyboardInterrupt:
        return 130
    except StartError as error:
        print(f"failures.py: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
