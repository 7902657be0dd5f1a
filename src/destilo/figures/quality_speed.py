"""What quality costs in time: each model a bubble, its area by parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from destilo.figures.drawing import PALE, colours_of, open_figure, save_figure, say
from destilo.records import Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True)
class QualityPoint:
    """One model in the picture of quality against speed.

    Attributes:
        model: ``teacher``, ``student`` or ``baseline`` (other names get further colours).
        label: What stands beside the point.
        latency_ms: Median time of one pass.
        score: The main metric, a fraction.
        parameters: Bubble area is proportional to it.
    """

    model: str
    label: str
    latency_ms: float
    score: Score
    parameters: int


def plot_quality_speed(
    points: Sequence[QualityPoint],
    target: Path,
    *,
    metric: str,
    split: str,
    measured: str,
) -> None:
    """Draw quality against time as a PNG: each model a bubble, its area by parameters.

    Args:
        points: The models; those that stand for the same time or score are drawn all the same.
        target: Where the PNG goes.
        metric: The name of the score.
        split: Where it was measured.
        measured: One line on how times were taken (shape, threads, machine).
    """
    points = [point for point in points if math.isfinite(point.score.value)]
    with open_figure(width=8, height=5) as figure:
        axes = figure.subplots()
        axes.set_xscale("log")
        _frame_points(axes, points)
        largest = max((point.parameters for point in points), default=1)
        colours = colours_of([point.model for point in points])
        for point in sorted(points, key=lambda point: -point.parameters):
            _draw_point(axes, point, colour=colours[point.model], largest=largest)
        _label_points(axes, points, colours=colours, largest=largest)
        axes.set_ylabel(f"{metric} on {split}, points")
        axes.set_xlabel("median time of one pass, ms (log scale; faster to the left)")
        axes.set_title("Quality against time", loc="left", fontsize=13, fontweight="bold", pad=24)
        axes.text(0, 1.03, _key(), transform=axes.transAxes, fontsize=9, color=PALE)
        figure.supxlabel(measured, fontsize=8, color=PALE, x=0.99, ha="right")
        save_figure(figure, target)


_FAR_APART = 8.0
"""From here on the slowest and the fastest model leave room between them for their labels."""


def _key() -> str:
    return "bubble area: parameters · bars: 95% interval · hollow: without distillation"


def _bubble_area(parameters: int, *, largest: int) -> float:
    """In square points; never so small that the colour is lost."""
    return max(60.0, 1600.0 * parameters / max(largest, 1))


def _draw_point(axes: Axes, point: QualityPoint, *, colour: str, largest: int) -> None:
    value = 100 * point.score.value
    low, high = _bounds(point.score)
    axes.errorbar(
        [point.latency_ms],
        [value],
        yerr=[[value - low], [high - value]],
        color=colour,
        linewidth=1.6,
        capsize=5,
        zorder=3,
    )
    hollow = point.model == "baseline"
    axes.scatter(
        [point.latency_ms],
        [value],
        s=_bubble_area(point.parameters, largest=largest),
        facecolor="white" if hollow else colour,
        edgecolor=colour,
        linewidth=2,
        alpha=0.85,
        zorder=2 if hollow else 2.5,
    )


def _bounds(score: Score) -> tuple[float, float]:
    """The interval in points; the value itself where there is none."""
    finite = [bound for bound in (score.low, score.high) if math.isfinite(bound)]
    return 100 * min([score.value, *finite]), 100 * max([score.value, *finite])


def _frame_points(axes: Axes, points: Sequence[QualityPoint]) -> None:
    """Leave room for bubbles and labels; matplotlib knows only of centres."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if not points:
        say(axes, "no model has both a score and a profile")
        return
    times = [point.latency_ms for point in points]
    spread = max(times) / min(times)
    # Labels stand outside of what is close together, and between what is far apart.
    beside = 1.9 if spread >= _FAR_APART else max(1.9, spread**0.85)
    axes.set_xlim(min(times) / beside, max(times) * beside)
    low = min(_bounds(point.score)[0] for point in points)
    high = max(_bounds(point.score)[1] for point in points)
    room = max(1.0, 0.22 * (high - low))
    axes.set_ylim(low - room, high + room)
    # Room for bubbles is no room for scores: none is below 0 or above 100 points.
    least, most = max(low - room, 0.0), min(high + room, 100.0)
    axes.set_yticks([tick for tick in axes.get_yticks() if least <= tick <= most])
    axes.spines["left"].set_bounds(least, most)
    narrow = spread < 3
    marks = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0) if narrow else (1.0, 2.0, 5.0)
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=marks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _label_points(
    axes: Axes, points: Sequence[QualityPoint], *, colours: Mapping[str, str], largest: int
) -> None:
    """Name each bubble beside it, on the side where there is room."""
    from matplotlib.patheffects import withStroke

    times = [point.latency_ms for point in points]
    spread = max(times, default=1.0) / min(times, default=1.0)
    for point in points:
        left, right = axes.get_xlim()
        share = math.log(point.latency_ms / left) / math.log(right / left)
        radius = math.sqrt(_bubble_area(point.parameters, largest=largest) / math.pi)
        to_left = (share > 0.5) == (spread >= _FAR_APART)
        crowded = [other for other in points if other is not point and _close(other, point)]
        above = all(point.score.value >= other.score.value for other in crowded)
        axes.annotate(
            f"{point.label}\n{100 * point.score.value:.1f} · {_millions(point.parameters)} · "
            f"{_significant(point.latency_ms)} ms",
            (point.latency_ms, 100 * point.score.value),
            xytext=((-1 if to_left else 1) * (radius + 7), 9 if crowded and above else 0),
            textcoords="offset points",
            ha="right" if to_left else "left",
            va=("bottom" if above else "top") if crowded else "center",
            color=colours[point.model],
            fontsize=9.5,
            fontweight="bold",
            linespacing=1.35,
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )


def _close(one: QualityPoint, other: QualityPoint) -> bool:
    return abs(math.log(one.latency_ms / other.latency_ms)) < math.log(1.5)


def _significant(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _millions(parameters: int) -> str:
    return f"{parameters / 1e6:.3g}M" if parameters >= 1e5 else f"{parameters / 1e3:.3g}k"
