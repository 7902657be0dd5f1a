"""Laws of the front and of what it covers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from destilo.errors import InputError
from destilo.report.balance import (
    Floor,
    Point,
    dominates,
    hypervolume,
    pareto_front,
    smallest_within,
)

FLOOR = Floor(speedup=1.0, score=0.4)
# Few values, so that ties are common.
POINTS = st.lists(
    st.builds(
        Point,
        speedup=st.sampled_from([0.25, 0.5, 1.0, 2.0, 3.0, 8.0]),
        score=st.sampled_from([0.3, 0.4, 0.5, 0.7, 0.9]),
        name=st.sampled_from("abcdefgh"),
        parameters=st.integers(1, 9),
    ),
    max_size=12,
    unique=True,
)


@given(POINTS)
def test_the_front_is_not_beaten_and_complete(points: list[Point]) -> None:
    front = pareto_front(points)
    assert not any(dominates(other, one) for one in front for other in points)
    for left_out in set(points) - set(front):
        assert any(dominates(one, left_out) for one in front)


@given(POINTS, st.randoms(use_true_random=False))
def test_order_does_not_matter(points: list[Point], random: object) -> None:
    turned = points[::-1]
    assert set(pareto_front(turned)) == set(pareto_front(points))
    assert hypervolume(turned, FLOOR) == pytest.approx(hypervolume(points, FLOOR))


@given(POINTS, POINTS)
def test_more_models_never_cover_less(points: list[Point], more: list[Point]) -> None:
    before, after = hypervolume(points, FLOOR), hypervolume(points + more, FLOOR)
    assert after >= before - 1e-9
    assert after <= before + hypervolume(more, FLOOR) + 1e-9  # a union is no more than the sum


@given(POINTS)
def test_only_the_front_counts(points: list[Point]) -> None:
    assert hypervolume(pareto_front(points), FLOOR) == pytest.approx(hypervolume(points, FLOOR))


@given(POINTS)
def test_a_higher_floor_leaves_less(points: list[Point]) -> None:
    higher = Floor(speedup=2.0, score=0.5)
    assert hypervolume(points, higher) <= hypervolume(points, FLOOR) + 1e-9


def test_areas_worked_by_hand() -> None:
    """4x at 50 covers 2 doublings x 10 points; 2x at 60 adds 1 x 10 above that."""
    fast, good = Point(4.0, 0.5, "fast"), Point(2.0, 0.6, "good")
    assert hypervolume([fast], FLOOR) == pytest.approx(20)
    assert hypervolume([good], FLOOR) == pytest.approx(20)
    assert hypervolume([fast, good], FLOOR) == pytest.approx(30)
    assert hypervolume([Point(1.0, 0.9, "the reference"), Point(9.0, 0.4, "bad")], FLOOR) == 0
    assert hypervolume([], FLOOR) == 0
    assert hypervolume([fast], Floor(0.5, 0.4)) == pytest.approx(30)
    assert str(FLOOR) == "1x and 40.00 points"


@pytest.mark.parametrize("speedup", [0.0, -1.0])
def test_a_speed_without_a_logarithm_is_refused(speedup: float) -> None:
    with pytest.raises(InputError, match="more than 0"):
        hypervolume([Point(speedup, 0.5, "x")], FLOOR)


def test_the_smallest_within_a_share_of_the_teacher() -> None:
    points = [
        Point(1.0, 0.90, "large", 100),
        Point(2.0, 0.88, "slow twin", 12),
        Point(3.0, 0.875, "fast twin", 12),
        Point(9.0, 0.70, "tiny", 5),
    ]
    found = smallest_within(points, target=0.90, percent=3)  # 0.873 is enough
    assert found is not None
    assert found.name == "fast twin"
    assert smallest_within(points, target=0.90, percent=100) == points[3]
    assert smallest_within(points, target=0.99, percent=1) is None
    assert smallest_within(points, target=0.90, percent=0) == points[0]


@given(POINTS, st.floats(0, 50), st.floats(0, 50))
def test_asking_for_less_never_gives_a_larger_model(
    points: list[Point], one: float, other: float
) -> None:
    strict, loose = sorted((one, other))
    first = smallest_within(points, target=0.9, percent=strict)
    second = smallest_within(points, target=0.9, percent=loose)
    sizes = [math.inf if found is None else found.parameters for found in (second, first)]
    assert sizes[0] <= sizes[1]
