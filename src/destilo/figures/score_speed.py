"""Score against speed-up of a whole collection: each model a mark, the best of them joined."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from destilo.figures.drawing import GRID, INK, PALE, open_figure, save_figure, say

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Box: TypeAlias = tuple[float, float, float, float]
"""Left, bottom, right and top, in points of the page."""


@dataclass(frozen=True, slots=True)
class ScorePoint:
    """One model in the picture.

    Attributes:
        label: What stands beside it.
        group: What it has in common with others: those share a colour and a mark.
        speedup: Times as fast as the reference; more than 0.
        score: A fraction.
        half_width: Of its interval or its deviation; 0 where there is none.
        published: Drawn hollow: its figures come from elsewhere.
        on_front: No other of its kind is better on both axes.
    """

    label: str
    group: str
    speedup: float
    score: float
    half_width: float = 0.0
    published: bool = False
    on_front: bool = False


_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
_MARKS = ("o", "s", "^", "D")
_FONT_SIZE = 8.0


def plot_score_speed(
    points: Sequence[ScorePoint], target: Path, *, axis: str, title: str, remark: str
) -> None:
    """Draw score against speed-up as a PNG; speed on a scale of doublings.

    Args:
        points: The models; one that stands on another's place is drawn all the same.
        target: Where the PNG goes.
        axis: What the speed-up is a ratio of, and to whom it is relative.
        title: What is compared.
        remark: One line on where the figures come from.
    """
    with open_figure(width=9, height=6) as figure:
        axes = figure.subplots()
        axes.set_xscale("log", base=2)
        axes.set_xlabel(f"{axis} (doublings; faster to the right)")
        axes.set_ylabel("score, points")
        axes.set_title(title, loc="left", fontsize=13, fontweight="bold")
        figure.supxlabel(remark, fontsize=8, color=PALE, x=0.99, ha="right")
        if points:
            _frame(axes, points)
            _draw_front(axes, points)
            _draw_marks(axes, points)
            figure.draw_without_rendering()  # only now the axes have their place
            _label(axes, points)
        else:
            say(axes, "no model has both a score and a speed-up")
        save_figure(figure, target)


def _frame(axes: Axes, points: Sequence[ScorePoint]) -> None:
    """Leave room for labels at the sides, and for spreads above and below."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    speeds = [point.speedup for point in points]
    axes.set_xlim(min(speeds) / 1.5, max(speeds) * 1.8)
    low = min(100 * (point.score - point.half_width) for point in points)
    high = max(100 * (point.score + point.half_width) for point in points)
    room = max(0.5, 0.08 * (high - low))
    axes.set_ylim(low - room, high + room)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _draw_front(axes: Axes, points: Sequence[ScorePoint]) -> None:
    """Join the models that no other beats, as steps: what lies below them is covered."""
    for published, style in ((False, "-"), (True, "--")):
        front = sorted(
            (one for one in points if one.on_front and one.published == published),
            key=lambda one: one.speedup,
        )
        if len(front) > 1:
            axes.step(
                [one.speedup for one in front],
                [100 * one.score for one in front],
                where="pre",
                color=PALE,
                linewidth=1.2,
                linestyle=style,
                zorder=1.5,
                label="Pareto front" + (", published" if published else ""),
            )


def _draw_marks(axes: Axes, points: Sequence[ScorePoint]) -> None:
    groups = list(dict.fromkeys(point.group for point in points))
    series = dict.fromkeys((point.published, point.group) for point in points)
    for published, group in sorted(series, key=lambda one: (one[0], groups.index(one[1]))):
        own = [one for one in points if (one.published, one.group) == (published, group)]
        number = groups.index(group)
        colour, mark = _COLOURS[number % 4], _MARKS[number % 4]
        axes.errorbar(
            [point.speedup for point in own],
            [100 * point.score for point in own],
            yerr=[100 * point.half_width for point in own],
            fmt="none",
            ecolor=colour,
            elinewidth=1,
            capsize=2,
            zorder=2,
        )
        axes.scatter(
            [point.speedup for point in own],
            [100 * point.score for point in own],
            s=42,
            marker=mark,
            facecolor="white" if published else colour,
            edgecolor=colour,
            linewidth=1.4,
            zorder=3,
            label=f"{group}, published" if published else group,
        )
    axes.legend(loc="lower left", fontsize=9)
    axes.grid(visible=True, which="major", color=GRID)


def _label(axes: Axes, points: Sequence[ScorePoint]) -> None:
    """Name each mark beside it where there is room, else with a line from farther away."""
    from matplotlib.patheffects import withStroke

    scale = 72 / axes.figure.dpi
    at = [
        tuple(scale * value for value in axes.transData.transform((one.speedup, 100 * one.score)))
        for one in points
    ]
    taken: list[Box] = [(x - 5, y - 5, x + 5, y + 5) for x, y in at]
    corners = axes.transAxes.transform([(0, 0), (1, 1)]) * scale
    page = (*corners[0], *corners[1])
    order = sorted(range(len(points)), key=lambda number: -points[number].score)
    for number in order:
        point, (x, y) = points[number], at[number]
        width = 0.52 * _FONT_SIZE * len(point.label)
        box = _free_place(x, y, width=width, height=1.2 * _FONT_SIZE, taken=taken, page=page)
        taken.append(box)
        middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        far = math.hypot(max(abs(middle[0] - x) - width / 2, 0), middle[1] - y) > 16
        axes.annotate(
            point.label,
            (point.speedup, 100 * point.score),
            xytext=(middle[0] - x, middle[1] - y),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=_FONT_SIZE,
            color=INK,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            zorder=4,
            arrowprops={"arrowstyle": "-", "color": PALE, "linewidth": 0.6} if far else None,
        )


def _free_place(
    x: float, y: float, *, width: float, height: float, taken: Sequence[Box], page: Box
) -> Box:
    """The nearest place for a label that covers nothing; the one covering least where none is."""
    candidates = []
    for distance in (8, 14, 22, 32, 44, 58, 74, 92):
        for angle in (0, 180, 30, -30, 150, -150, 60, -60, 120, -120, 90, -90):
            across, up = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            middle_x = x + across * (distance + width / 2)
            middle_y = y + up * (distance + height / 2)
            candidates.append(
                (
                    middle_x - width / 2,
                    middle_y - height / 2,
                    middle_x + width / 2,
                    middle_y + height / 2,
                )
            )
    return min(candidates, key=lambda box: _covered(box, taken) + 10 * _outside(box, page))


def _covered(box: Box, taken: Sequence[Box]) -> float:
    return sum(
        max(0.0, min(box[2], other[2]) - max(box[0], other[0]))
        * max(0.0, min(box[3], other[3]) - max(box[1], other[1]))
        for other in taken
    )


def _outside(box: Box, page: Box) -> float:
    beyond = (page[0] - box[0], page[1] - box[1], box[2] - page[2], box[3] - page[3])
    return sum(max(0.0, distance) for distance in beyond)
