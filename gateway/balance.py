"""Which of a model's targets a request goes to.

    priority   strict: a later group only when no target of an earlier one can be used
    weight     within a group, how often each is drawn
    load       between targets of the same weight, of two that are drawn the less busy one
    stickiness instead of all drawing: whoever asks with the same word goes to the same target

When none can be used now, the one that can be soonest is tried all the same: an answer
that probably fails is worth more than one that surely does.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple


# Seconds until a target can be used again that no waiting makes usable.
NEVER = math.inf

Draw = Callable[[], float]  # a number of [0, 1), each as likely


class Candidate(NamedTuple):
    """A target as it stands at this moment."""

    place: int  # among the model's targets
    priority: int
    weight: float
    load: int  # requests on their way there
    wait: float  # seconds until it can be used; 0 is now


def choose(candidates: Sequence[Candidate], draw: Draw, sticky: bytes = b"") -> int | None:
    """Return the place of the target to ask, or None if none can be asked at all."""
    usable = [one for one in candidates if not one.wait]
    if not usable:
        return least_bad(candidates)
    first = min(one.priority for one in usable)
    group = [one for one in usable if one.priority == first]
    if len(group) == 1:
        return group[0].place
    if sticky:
        return max(group, key=lambda one: _affinity(one, sticky)).place
    return _drawn(group, draw).place


def least_bad(candidates: Sequence[Candidate]) -> int | None:
    """Return the place of the target that can be used soonest, None if none ever can."""
    hopeful = [one for one in candidates if one.wait < NEVER]
    if not hopeful:
        return None
    return min(hopeful, key=lambda one: (one.wait, one.priority)).place


def _drawn(group: list[Candidate], draw: Draw) -> Candidate:
    """Draw by weight; then, of this one and another of the same weight, take the less busy."""
    one = _by_weight(group, draw)
    equals = [other for other in group if other.weight == one.weight and other is not one]
    if not equals:
        return one
    # Always the less busy of all would send every worker's next request to the same one.
    other = equals[int(draw() * len(equals))]
    return other if other.load < one.load else one


def _by_weight(group: list[Candidate], draw: Draw) -> Candidate:
    point = draw() * sum(one.weight for one in group)
    for one in group:
        point -= one.weight
        if point < 0:
            return one
    return group[-1]  # what rounding has left


def _affinity(one: Candidate, sticky: bytes) -> float:
    """Return how much a target draws those with this word.

    Rendezvous hashing: when a target goes, only those who were with it move.  The
    logarithm makes shares follow the weights.
    """
    digest = hashlib.blake2b(b"%d:%b" % (one.place, sticky), digest_size=8).digest()
    uniform = (int.from_bytes(digest) + 1) / (2**64 + 1)
    return -one.weight / math.log(uniform)
