"""The balance of speed and quality: who is worth having, and how much a collection offers.

A point is a model: how many times faster than the reference it is, and its score. Speed counts by
doublings (the logarithm to base 2), since twice as fast is worth as much from 1x to 2x as from 8x
to 16x; a score counts from a stated floor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from destilo.errors import InputError


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """A model on the two axes.

    Attributes:
        speedup: Times as fast as the reference model; more than 0.
        score: A fraction.
        parameters: What "smallest" goes by; then the faster one is the smaller.
    """

    speedup: float
    score: float
    name: str
    parameters: int = 0


@dataclass(frozen=True, slots=True)
class Floor:
    """The reference point of a hypervolume: what is not above both counts nothing.

    Attributes:
        speedup: Times as fast as the reference model; 1 is that model itself.
        score: A fraction.
    """

    speedup: float
    score: float

    def __str__(self) -> str:
        return f"{self.speedup:g}x and {100 * self.score:.2f} points"


def dominates(one: Point, other: Point) -> bool:
    """Whether one is at least as good on both axes and better on one of them."""
    at_least = one.speedup >= other.speedup and one.score >= other.score
    return at_least and (one.speedup > other.speedup or one.score > other.score)


def pareto_front(points: Iterable[Point]) -> tuple[Point, ...]:
    """Keep the models that no other beats on both axes.

    Args:
        points: In any order; equal ones all stay.

    Returns:
        The fastest first, then by rising score.
    """
    front: list[Point] = []
    best = -math.inf
    fastest_at_best = math.inf
    for point in sorted(points, key=lambda one: (-one.speedup, -one.score, one.name)):
        if point.score > best:
            best, fastest_at_best = point.score, point.speedup
            front.append(point)
        elif point.score == best and point.speedup == fastest_at_best:
            front.append(point)
    return tuple(front)


def hypervolume(points: Iterable[Point], floor: Floor) -> float:
    """Measure what a set of models covers above the floor: points times doublings.

    One model that is ``s`` times as fast and ``q`` points above the floor covers ``log2(s) q``;
    several cover the union of their rectangles. A model that another beats adds nothing.

    Args:
        points: In any order.
        floor: The reference point, which belongs beside every figure.

    Returns:
        The area, scores in points (hundredths).

    Raises:
        InputError: If a speed-up or the floor's is not positive.
    """
    found = list(points)
    if floor.speedup <= 0 or any(point.speedup <= 0 for point in found):
        raise InputError("A speed-up must be more than 0 to have a logarithm.")
    area, height = 0.0, floor.score
    above = [one for one in found if one.speedup > floor.speedup and one.score > floor.score]
    for point in pareto_front(above):  # ever slower, ever better: each adds a strip on top
        area += math.log2(point.speedup / floor.speedup) * 100 * (point.score - height)
        height = point.score
    return area


def smallest_within(points: Sequence[Point], *, target: float, percent: float) -> Point | None:
    """Find the smallest model that loses at most so many percent of a score.

    Args:
        points: The candidates.
        target: The teacher's score, a fraction.
        percent: 3 admits 97% of ``target``.

    Returns:
        Of the fewest parameters; where those are equal (ALBERT's layers share theirs) the
        fastest, then the best; ``None`` where no model is good enough.
    """
    least = target * (1 - percent / 100)
    enough = [one for one in points if one.score >= least]
    return min(
        enough, key=lambda one: (one.parameters, -one.speedup, -one.score, one.name), default=None
    )
