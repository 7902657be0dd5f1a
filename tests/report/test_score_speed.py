"""The picture of a collection: drawn whatever the points, labels beside each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from destilo.figures import ScorePoint, plot_score_speed
from destilo.figures.score_speed import Box, _covered, _free_place


def draw(points: list[ScorePoint], target: Path) -> bytes:
    plot_score_speed(points, target, axis="speed-up", title="t", remark="r")
    return target.read_bytes()


POINTS = [
    ScorePoint("one", "a", 1.0, 0.8, 0.01, on_front=True),
    ScorePoint("the same place", "a", 1.0, 0.8),
    ScorePoint("elsewhere", "b", 16.0, 0.7, published=True, on_front=True),
]


@pytest.mark.parametrize("n_points", [0, 1, 2, 3])
def test_any_number_of_points_is_drawn(tmp_path: Path, n_points: int) -> None:
    assert draw(POINTS[:n_points], tmp_path / "x.png").startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


def test_the_same_points_give_the_same_picture(tmp_path: Path) -> None:
    assert draw(POINTS, tmp_path / "x.png") == draw(POINTS, tmp_path / "y.png")


def test_labels_find_room() -> None:
    """Twelve models in one spot: no label covers another, none leaves the page."""
    page = (0.0, 0.0, 500.0, 400.0)
    taken: list[Box] = [(245.0, 195.0, 255.0, 205.0)]
    for _ in range(12):
        box = _free_place(250, 200, width=60, height=10, taken=taken, page=page)
        assert _covered(box, taken) == 0
        assert box[0] >= 0
        assert box[2] <= 500
        taken.append(box)
