"""Pictures: drawn from whatever a log holds, and never with a window or global state."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from destilo.figures import (
    QualityPoint,
    plot_quality_speed,
    plot_training,
    read_training_log,
)
from destilo.records import Score

SCORE = Score(value=0.6, low=0.57, high=0.63, n=100)
LESS = Score(value=0.595, low=0.565, high=0.625, n=100)
PNG = b"\x89PNG\r\n\x1a\n"


def write_log(path: Path, lines: list[dict[str, Any]], *, tail: str = "") -> Path:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines) + tail, encoding="utf-8")
    return path


def step(number: int, loss: float, **terms: float) -> dict[str, Any]:
    return {"step": number, "epoch": number / 10, "loss": loss, "terms": terms}


def validation(number: int, *, best: bool = False, **metrics: float) -> dict[str, Any]:
    return {"step": number, "validation": metrics, "best": best}


def point(model: str, *, latency_ms: float = 3.0, value: float = 0.8, low: float = 0.75) -> Any:
    score = Score(value=value, low=low, high=2 * value - low, n=100)
    return QualityPoint(model, model, latency_ms, score, 1_000_000)


def test_a_log_reads_as_series(tmp_path: Path) -> None:
    log = write_log(
        tmp_path / "log.jsonl",
        [
            step(1, 2.0, kl=1.5, labels=2.5),
            validation(1, best=True, f1=0.3),
            step(2, 1.0, kl=1.0),
            validation(2, best=True, f1=0.5),
            validation(3, f1=0.4),
        ],
        tail='{"step": 4, "lo',  # cut off by a kill
    )
    curves = read_training_log(log)
    assert curves.loss == [(1, 2.0), (2, 1.0)]
    assert curves.terms == {"kl": [(1, 1.5), (2, 1.0)], "labels": [(1, 2.5)]}
    assert curves.validation == {"f1": [(1, 0.3), (2, 0.5), (3, 0.4)]}
    assert curves.best_step == 2


LOGS = {
    "empty": [],
    "one step": [step(1, 2.0, labels=2.0)],
    "no validation": [step(n, 1 / n, kl=1 / n, labels=2 / n) for n in range(1, 400)],
    "validation alone": [validation(5, best=True, accuracy=0.7, validation_loss=0.9)],
    "validation loss alone": [step(1, 2.0), validation(1, best=True, validation_loss=0.9)],
    "not finite": [step(1, 2.0, kl=2.0), step(2, math.nan, kl=math.inf)],
    "never finite": [step(1, math.nan, kl=math.nan), validation(1, best=True, f1=math.nan)],
}


@pytest.mark.parametrize("name", sorted(LOGS))
def test_training_is_drawn_from_any_log(tmp_path: Path, name: str) -> None:
    target = tmp_path / "curve.png"
    plot_training(write_log(tmp_path / "log.jsonl", LOGS[name]), target)
    assert target.read_bytes().startswith(PNG)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_same_log_gives_the_same_picture(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.jsonl", LOGS["no validation"])
    for name in ("one.png", "two.png"):
        plot_training(log, tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


@pytest.mark.parametrize(
    "points",
    [
        [],
        [point("student")],
        [point("teacher"), point("student"), point("baseline")],  # all in one place
        [point("teacher", latency_ms=900.0), point("student", latency_ms=0.2, value=0.0, low=0.0)],
        [point("student", low=math.nan)],
        [point("student", value=math.nan), point("teacher", value=1.0, low=1.0)],
        [point("teacher-2"), point("another")],
    ],
    ids=["none", "one", "same", "far apart", "no interval", "no value", "other names"],
)
def test_quality_against_speed_is_drawn(tmp_path: Path, points: list[QualityPoint]) -> None:
    target = tmp_path / "quality_speed.png"
    plot_quality_speed(points, target, metric="f1", split="test", measured="batch 1")
    assert target.read_bytes().startswith(PNG)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved, laid out as they were."""
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *args: Any, **kwargs: Any) -> None:
        save(figure, *args, **kwargs)
        figure.draw_without_rendering()  # in the resolution that extents are asked in
        figures.append(figure)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def test_no_axis_goes_where_no_score_can_be(tmp_path: Path, drawn: list[Figure]) -> None:
    perfect = [validation(n, best=n == 2, f1=1.0, em=0.97) for n in (1, 2)]
    plot_training(write_log(tmp_path / "log.jsonl", perfect), tmp_path / "a.png")
    _, lower = drawn[0].axes
    assert lower.get_ylim()[1] == 1.0
    nothing = [validation(n, f1=0.0) for n in (1, 2)]
    plot_training(write_log(tmp_path / "log.jsonl", nothing), tmp_path / "a.png")
    assert drawn[1].axes[1].get_ylim()[0] == 0.0
    loss = [validation(1, validation_loss=2.5), validation(2, validation_loss=0.1)]
    plot_training(write_log(tmp_path / "log.jsonl", loss), tmp_path / "a.png")
    assert drawn[2].axes[1].get_ylim()[1] > 2.5
    points = [point("teacher", value=1.0, low=0.9), point("student", value=0.0, low=0.0)]
    plot_quality_speed(points, tmp_path / "a.png", metric="f1", split="test", measured="")
    (axes,) = drawn[3].axes
    assert axes.spines["left"].get_bounds() == (0.0, 100.0)
    assert all(0 <= tick <= 100 for tick in axes.get_yticks())


def test_legends_stand_beside_the_curves(tmp_path: Path, drawn: list[Figure]) -> None:
    lines = [*LOGS["no validation"], validation(200, best=True, f1=0.5), validation(399, f1=0.4)]
    plot_training(write_log(tmp_path / "log.jsonl", lines), tmp_path / "a.png")
    for axes in drawn[0].axes:
        legend = axes.get_legend()
        assert legend is not None
        box = legend.get_window_extent()
        assert box.x0 >= axes.bbox.x1
        assert box.x1 <= drawn[0].bbox.x1


@pytest.mark.parametrize("slower", [1.0, 1.3, 1.9, 3.0, 5.0, 9.0, 50.0])
def test_names_of_models_do_not_stand_on_each_other(
    slower: float, tmp_path: Path, drawn: list[Figure]
) -> None:
    points = [
        QualityPoint("teacher", "teacher", 1.5 * slower, SCORE, 600_000),
        QualityPoint("student", "student", 1.48, SCORE, 300_000),
        QualityPoint("baseline", "student without distillation", 1.49, LESS, 300_000),
    ]
    if slower < 1.5:  # three in one place are more than there is room for
        points.pop()
    plot_quality_speed(points, tmp_path / "a.png", metric="f1", split="test", measured="")
    (axes,) = drawn[0].axes
    boxes = [text.get_window_extent() for text in axes.texts if "ms" in text.get_text()]
    assert len(boxes) == len(points)
    for one, two in combinations(boxes, 2):
        assert not one.overlaps(two)


def test_drawing_needs_neither_torch_nor_the_global_state_of_pyplot() -> None:
    code = "import sys, destilo.figures; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    code = (
        "import sys, pathlib, tempfile; from destilo.figures import plot_training\n"
        "folder = pathlib.Path(tempfile.mkdtemp()); log = folder / 'log.jsonl'; log.touch()\n"
        "plot_training(log, folder / 'curve.png')\n"
        "sys.exit(bool({'torch', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_two_lines_of_a_training_look_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["labels", "kl", *(f"hidden-mse {n}:{2 * n}" for n in range(1, 7))]
    lines = [
        {"step": step, "loss": 1.0, "terms": dict.fromkeys(names, 1.0 / step)} for step in (1, 2, 3)
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    looks: list[tuple[str, str]] = []

    def keep(figure: Figure, *_: Any, **__: Any) -> None:
        upper = figure.axes[0]
        looks.extend(
            (str(line.get_color()), str(line.get_linestyle()))
            for line in upper.get_lines()
            if str(line.get_label()).endswith("not weighted")
        )

    monkeypatch.setattr(Figure, "savefig", keep)
    plot_training(tmp_path / "log.jsonl", tmp_path / "curve.png")
    assert len(looks) == len(set(looks)) == len(names)
