"""Rounds of a measurement: which of them count."""

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median


Figures = dict[str, float]
Round = dict[str, Figures]  # by target

# Above this share of a measurement, time that the host gave to others while we had work is what
# the slowest hundredth of the events waited for, and cools the caches behind it.  The kernel
# counts it in steps of 10 ms: of ten seconds these are five.
STOLEN = 0.005
# Rounds that are measured anew for that, for each that is wanted: it comes and goes by minutes.
AGAIN = 2


@dataclass
class Rounds:
    """What was measured, and what of it counts."""

    counted: list[Round] = field(default_factory=list)
    left_out: list[Round] = field(default_factory=list)

    @property
    def spoilt(self) -> int:
        """How many of those that count the host took part of, all the same."""
        return sum(spoils(one) for one in self.counted)

    def middle(self) -> Round:
        """Return the median of every figure over the rounds that count."""
        return {
            name: {key: median(one[name][key] for one in self.counted) for key in figures}
            for name, figures in self.counted[0].items()
        }


def undisturbed(run: Callable[[], Round], wanted: int) -> Rounds:
    """Return so many rounds that count; left out is one in which the host had our cores.

    No cost and no latency decides it.  On a host that is never quiet the last ones count.
    """
    rounds = Rounds()
    while len(rounds.counted) < wanted:
        one = run()
        again = spoils(one) and len(rounds.left_out) < AGAIN * wanted
        (rounds.left_out if again else rounds.counted).append(one)
    return rounds


def spoils(one: Round) -> bool:
    """Say whether the host had our cores while any target was measured."""
    return most(one, "stolen") > STOLEN


def most(one: Round, figure: str) -> float:
    """Return the largest such figure of any target, 0 if none has it."""
    return max(figures.get(figure, 0.0) for figures in one.values())
