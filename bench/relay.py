"""Measure what relaying a token stream costs, side by side with nginx, in one run.

    python bench/relay.py [--scenarios S2b,S3] [--targets direct,nginx,headgate]
                          [--upstream c|mock] [--rounds 3] [--duration 10] [--json FILE]

README.md beside this file says what the scenarios are and how to read the figures.
Exit status: 0 measured, 1 an answer was wrong, 2 usage or something is missing.
"""

import argparse
import json
import resource
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import loadgen
import machine
import targets
from loadgen import Load, LoadError
from programs import LOADGEN, BuildError
from rounds import Figures, Round, Rounds, most, undisturbed
from targets import TARGETS, UPSTREAMS, StartError, Target


# Above this share of their core, what upstream and load generator add is no longer small and
# steady.
BUSY = 0.85
# Above this share of the proxy's core, what others did there has slowed it and cooled its caches.
DISTURBED = 0.05
# Seconds in which the machine is looked at.
PROBE = 1.0
# Enough to import, open pools and fill caches; the same for everybody.
WARM_UP = Load("stream", connections=8, tokens=20, interval=2, seconds=1)


@dataclass(frozen=True)
class Scenario:
    """One kind of load, and what its cost is divided by."""

    name: str
    title: str
    load: Load
    unit: str  # event, request or stream
    paced: bool = False  # neither side is ever full, so latencies mean something


@dataclass(frozen=True)
class Goal:
    """What design.md §7 wants of one figure; `aim` is None where only the must is given."""

    scenario: str
    figure: str
    must: float
    aim: float | None = None
    target: str = "headgate"


GOALS = [
    Goal("S2b", "ratio", 1.30, 1.15),
    Goal("S2b", "added_p50_us", 40),
    Goal("S2b", "added_p99_us", 250),
    Goal("S2", "ratio", 1.35, 1.15),
    Goal("S2", "added_p99_us", 5000),
    Goal("S3", "ratio", 7, 4),
    Goal("S5", "ratio", 1.60, 1.25),
    Goal("S4", "kb", 15, 10),
    Goal("S2b", "to_passed", 4, target="translated"),
    Goal("S5", "to_passed", 4, target="translated"),
]

# What the upstream made for this bench can be put behind.
USUAL = [name for name in TARGETS if name != "translated"]

COLUMNS = {
    "cpu_us": "CPU µs",
    "ratio": "to nginx",
    "to_passed": "to headgate",
    "added_p50_us": "added p50 µs",
    "added_p99_us": "added p99 µs",
    "kb": "KB",
    "per_second": "per s",
    "loadgen_us": "loadgen µs",
    "upstream_us": "upstream µs",
    "far_core": "far core",
    "others": "others",
    "stolen": "stolen",
}

# Digits behind the point, where it is not one.
DIGITS = {"ratio": 2, "to_passed": 2, "far_core": 2, "others": 2, "stolen": 3, "per_second": 0}


def scenarios(duration: float) -> dict[str, Scenario]:
    """Return the scenarios by name; those that last, last `duration` seconds."""
    paced = int(duration * 1000 / 20)  # tokens in a stream that gives one every 20 ms
    # 20 ms more than a second: the starts, and so the events, drift once through the interval.
    ramp = 1020
    found = [
        Scenario("S1", "64 streams of 500 events, no interval", Load("stream", 64, 500), "event"),
        Scenario("S2b", "200 streams", Load("stream", 200, paced, 20, ramp), "event", True),
        Scenario("S2", "1,000 streams", Load("stream", 1000, paced, 20, ramp), "event", True),
        # 30 tokens with their stamps make an answer of about 1 KB.
        Scenario("S3", "unary, closed loop", Load("unary", 64, 30, 0, 100, duration), "request"),
        Scenario("S4", "2,000 streams that idle", Load("open", 2000, 1, 600_000, 4000), "stream"),
        Scenario("S5", "streams, closed loop", Load("stream", 64, 20, 2, 102, duration), "stream"),
    ]
    return {scenario.name: scenario for scenario in found}


# --- measuring ---------------------------------------------------------------------------------


def measure(scenario: Scenario, target: Target, upstream: Target, core: int) -> Figures:
    """Put the scenario's load on the target and return what it cost.

    Raises:
        LoadError: an answer was wrong; its cost means nothing.
    """
    with targets.pinned(core):
        loadgen.run(target.port, replace(WARM_UP, said=scenario.load.said))
        if scenario.load.mode == "open":
            return _memory(scenario.load, target)
        return _cost(scenario, target, upstream, core)


def _memory(load: Load, target: Target) -> Figures:
    before = target.resident_bytes()
    with loadgen.OpenStreams(target.port, load):
        grown = target.resident_bytes() - before
    return {"kb": grown / 1024 / load.connections} if target.pid else {}


def _cost(scenario: Scenario, target: Target, upstream: Target, core: int) -> Figures:
    ours, theirs, all_on_core = target.cpu_ns(), upstream.cpu_ns(), target.core_busy_ns()
    cores = {target.core, upstream.core, core}
    stolen = machine.stolen_ns(cores)
    report = loadgen.run(target.port, scenario.load)
    ours, theirs = target.cpu_ns() - ours, upstream.cpu_ns() - theirs
    stolen = machine.stolen_ns(cores) - stolen
    others = (target.core_busy_ns() - all_on_core - ours) / 1e9
    units = report["events" if scenario.unit == "event" else "answers"]
    figures = {
        "per_second": units / report["seconds"],
        "loadgen_us": report["cpu_seconds"] * 1e6 / units,
        "upstream_us": theirs / 1e3 / units,
        "stolen": stolen / 1e9 / report["seconds"],
    }
    if target.pid:
        figures["cpu_us"] = ours / 1e3 / units
        figures["others"] = max(0.0, others / report["seconds"])
    if scenario.paced:
        figures["far_core"] = (report["cpu_seconds"] + theirs / 1e9) / report["seconds"]
        figures |= {f"{name}_us": value for name, value in report["event_us"].items()}
    return figures


def compare(one_round: Round) -> None:
    """Add to each target's figures how they relate to nginx's and to the direct way's."""
    for name, figures in one_round.items():
        for figure in ("cpu_us", "kb"):
            if figure in figures and figure in one_round.get("nginx", {}):
                figures["ratio"] = figures[figure] / one_round["nginx"][figure]
        if name == "translated" and "cpu_us" in one_round.get("headgate", {}):
            figures["to_passed"] = figures["cpu_us"] / one_round["headgate"]["cpu_us"]
        for quantile in ("p50", "p99"):
            key = f"{quantile}_us"
            if name != "direct" and key in figures and "direct" in one_round:
                figures[f"added_{key}"] = figures[key] - one_round["direct"][key]


def run_round(scenario: Scenario, names: list[str], kind: str) -> Round:
    """Measure the targets in turn, each freshly started before an upstream of this kind."""
    near, far, load_core = targets.cores()
    results = {}
    for name in names:
        # Passed on or translated, all ask alike.
        asked = replace(scenario, load=replace(scenario.load, said=int("translated" in names)))
        with UPSTREAMS[kind](far) as upstream, TARGETS[name](upstream.port, near) as target:
            results[name] = measure(asked, target, upstream, load_core)
    compare(results)
    return results


# --- telling -----------------------------------------------------------------------------------


def table(scenario: Scenario, results: Round) -> str:
    """Return the results as a Markdown table."""
    known = set().union(*results.values())
    columns = {key: title for key, title in COLUMNS.items() if key in known}
    lines = [
        f"\n**{scenario.name}: {scenario.title}** (per {scenario.unit})\n",
        f"| | {' | '.join(columns.values())} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name, figures in results.items():
        cells = (f"{figures[k]:,.{_digits(k)}f}" if k in figures else "-" for k in columns)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _digits(column: str) -> int:
    return DIGITS.get(column, 1)


def verdicts(scenario: str, figures: Figures, target: str = "headgate") -> Iterator[str]:
    """Yield a line for each goal that these figures of a target can be held against."""
    for goal in GOALS:
        known = goal.scenario == scenario and goal.target == target
        if known and goal.figure in figures:
            value = figures[goal.figure]
            aim = "" if goal.aim is None else f", {_verdict('aim', value, goal.aim)}"
            yield f"{scenario} {goal.figure} {value:.2f}: {_verdict('must', value, goal.must)}{aim}"


def _verdict(word: str, value: float, limit: float) -> str:
    return f"{word} ≤ {limit:g} {'pass' if value <= limit else 'FAIL'}"


def warnings(rounds: Rounds) -> Iterator[str]:
    """Yield what is to be known by who reads these figures."""
    results = rounds.middle()
    if rounds.left_out:
        yield f"The host had our cores in {len(rounds.left_out)} more rounds, which do not count."
    if rounds.spoilt:
        yield f"It had them in {rounds.spoilt} of those that do: do not trust these figures."
    if most(results, "far_core") > BUSY:
        yield "Upstream and load generator filled their core: do not trust these latencies."
    if most(results, "others") > DISTURBED:
        yield "Other processes worked on the proxy's core: do not trust these figures."


def report(scenario: Scenario, rounds: Rounds) -> None:
    """Print what was measured in one scenario."""
    results = rounds.middle()
    print(table(scenario, results))
    for warning in warnings(rounds):
        print(f"\n{warning}")
    for name in ("headgate", "translated"):
        for line in verdicts(scenario.name, results.get(name, {}), name):
            print(f"\n{line}")
    sys.stdout.flush()


# --- the command -------------------------------------------------------------------------------


def _names(known: list[str], kind: str, text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"no {kind} {name!r}; known are {', '.join(known)}")
    return names


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    every = list(scenarios(1))
    parser.add_argument("--scenarios", default=every, type=lambda t: _names(every, "scenario", t))
    parser.add_argument(
        "--targets", default=USUAL, type=lambda t: _names(list(TARGETS), "target", t)
    )
    parser.add_argument("--upstream", default="c", choices=UPSTREAMS, help="who is relayed")
    parser.add_argument("--rounds", default=3, type=int, help="take the median of so many")
    parser.add_argument("--duration", default=10.0, type=float, help="seconds per measurement")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round there")
    options = parser.parse_args()
    if "translated" in options.targets and options.upstream != "mock":
        parser.error("translated: only the mock speaks another dialect; add --upstream mock")
    if options.rounds < 1 or options.duration < 1:
        parser.error("at least one round of one second is needed")
    return options


def _run(options: argparse.Namespace) -> dict[str, Any]:
    LOADGEN.build()
    with machine.awake() as kept_awake:
        share = machine.lost(targets.cores()[0], PROBE)
        for line in machine.remarks(kept_awake=kept_awake, share=share):
            print(f"\n{line}", flush=True)
        return _run_all(options)


def _run_all(options: argparse.Namespace) -> dict[str, Any]:
    everything = {}
    for name in options.scenarios:
        scenario = scenarios(options.duration)[name]
        run = partial(run_round, scenario, options.targets, options.upstream)
        rounds = undisturbed(run, options.rounds)
        report(scenario, rounds)
        everything[name] = asdict(rounds)
    return everything


def main() -> int:
    """Run the bench and return the exit status."""
    options = _options()
    # The same way out as Ctrl-C, so that everything started is ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # S4 needs 4,000 in the proxy
    print(f"{time.strftime('%Y-%m-%d')}  {' '.join(sys.argv)}")
    try:
        everything = _run(options)
    except KeyboardInterrupt:
        return 130
    except (BuildError, LoadError, StartError) as error:
        print(f"relay.py: {error}", file=sys.stderr)
        return 1 if isinstance(error, LoadError) else 2
    if options.json:
        options.json.write_text(json.dumps(everything, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
