"""What a machine adds to every latency by itself, and what can be done against it."""

import contextlib
import os
import struct
import time
from collections.abc import Callable, Iterator, Set
from pathlib import Path

import targets


# Who holds this open with a number of microseconds in it keeps cores from sleeping deeper than
# that takes to end (Linux: PM Quality of Service).  For root only.
DMA_LATENCY = Path("/dev/cpu_dma_latency")
# Seconds without our process on a core that nobody else wants: somebody outside has taken it.
GAP = 250e-6
# Share of its time that a core may lose in gaps before a p99 is theirs.
LOST = 0.01


@contextlib.contextmanager
def awake(knob: Path = DMA_LATENCY) -> Iterator[bool]:
    """Keep the cores from sleeping meanwhile, and say whether that is so.

    On a virtual machine a core that sleeps takes longer to wake than a proxy takes to relay an
    event, and finds its caches cold: that would be measured, of all targets alike.
    """
    try:
        held = os.open(knob, os.O_WRONLY)
    except OSError:
        yield False
        return
    try:
        os.write(held, struct.pack("i", 0))
        yield True
    finally:
        os.close(held)


def lost(core: int, seconds: float, clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the share of its time in which a core, with nothing else to do, did not run us."""
    with targets.pinned(core):
        begin = before = clock()
        taken = 0.0
        while (now := clock()) < begin + seconds:
            if now - before > GAP:
                taken += now - before
            before = now
    return taken / seconds


def stolen_ns(cores: Set[int], stat: Path = Path("/proc/stat")) -> int:
    """Return the time that any of these cores had work and the host ran others, so far."""
    lines = [line.split() for line in stat.read_text().splitlines()]
    names = {f"cpu{core}" for core in cores}
    ticks = sum(int(fields[8]) for fields in lines if fields[0] in names)
    return ticks * 10**9 // os.sysconf("SC_CLK_TCK")


def remarks(*, kept_awake: bool, share: float) -> Iterator[str]:
    """Yield what is to be known of the machine by who reads the figures."""
    if not kept_awake:
        yield f"Cores may sleep ({DMA_LATENCY} is not ours): latencies have their waking in them."
    if share > LOST:
        yield (
            f"Before the run the proxy's core was taken away for {share:.1%} of a second, each time"
            f" for more than {GAP * 1e6:.0f} µs: no p99 can be below that."
        )
