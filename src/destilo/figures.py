"""Pictures of a Run: how training went, and what quality costs in time.

Colours are of the Okabe-Ito palette, which colour-blind readers tell apart; every model is also
named where it stands. matplotlib is imported when a picture is drawn, never before.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from destilo.errors import DestiloError
from destilo.records import Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Series: TypeAlias = list[tuple[int, float]]

INK, PALE, GRID = "#222222", "#6B6B6B", "#E4E4E4"
MODEL_COLOURS = {"teacher": "#0072B2", "student": "#D55E00", "baseline": "#6B6B6B"}
_OTHER_COLOURS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": PALE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": PALE,
    "ytick.color": PALE,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.dpi": 160,
}


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


@dataclass(frozen=True, slots=True)
class TrainingCurves:
    """What ``log.jsonl`` holds, as series over optimiser steps.

    Attributes:
        loss: The weighted total.
        terms: Each term, not weighted.
        validation: Each validation metric.
        best_step: The last step marked as best; ``None`` where none is.
    """

    loss: Series
    terms: dict[str, Series]
    validation: dict[str, Series]
    best_step: int | None


def read_training_log(log: Path) -> TrainingCurves:
    """Read a training log; a line cut off by a kill is passed over."""
    curves = TrainingCurves(loss=[], terms={}, validation={}, best_step=None)
    best: int | None = None
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
            step = int(record["step"])
        except (ValueError, KeyError, TypeError):
            continue
        if record.get("loss") is not None:
            curves.loss.append((step, float(record["loss"])))
        for name, value in (record.get("terms") or {}).items():
            curves.terms.setdefault(name, []).append((step, float(value)))
        for name, value in (record.get("validation") or {}).items():
            curves.validation.setdefault(name, []).append((step, float(value)))
        if record.get("best"):
            best = step
    return TrainingCurves(curves.loss, curves.terms, curves.validation, best)


def plot_training(log: Path, target: Path, *, select_by: str | None = None) -> None:
    """Draw a training's loss and validation as a PNG.

    Above: the total loss (thick: its running mean; faint: every logged value) and each term
    before its weight. Below: the validation metrics, the one that selects drawn strongest.

    Args:
        log: A ``log.jsonl``, even an empty one or one with a single step.
        target: Where the PNG goes.
        select_by: The validation metric that chose the best step; by default the first
            that is no loss.
    """
    curves = read_training_log(log)
    with _figure(width=9.5, height=5.6) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        _draw_loss(upper, curves)
        _draw_validation(lower, curves, select_by=select_by)
        lower.set_xlabel("optimiser step")
        lower.set_xlim(left=0)
        lower.xaxis.get_major_locator().set_params(integer=True)
        _save(figure, target)


def _draw_loss(axes: Axes, curves: TrainingCurves) -> None:
    axes.set_ylabel("training loss")
    names = list(curves.terms)
    colours = _colours(names)
    for name in names if len(names) > 1 else []:
        steps, values = _columns(_running_mean(curves.terms[name]))
        axes.plot(steps, values, color=colours[name], linewidth=1.3, label=f"{name}, not weighted")
        _dots_if_few(axes, curves.terms[name], colours[name])
    steps, values = _columns(curves.loss)
    axes.plot(steps, values, color=INK, linewidth=0.8, alpha=0.25)
    steps, values = _columns(_running_mean(curves.loss))
    axes.plot(steps, values, color=INK, linewidth=2.4, label="total" if names[1:] else "loss")
    _dots_if_few(axes, curves.loss, INK)
    broken = [step for step, value in curves.loss if not math.isfinite(value)]
    for step in broken[:1]:
        axes.axvline(step, color="#D55E00", linewidth=1.2, linestyle=":")
        axes.annotate(
            f"not finite from step {step}",
            (step, 0.92),
            xycoords=("data", "axes fraction"),
            xytext=(-5, 0),
            textcoords="offset points",
            ha="right",
            color="#D55E00",
        )
    if any(math.isfinite(value) for _, value in curves.loss):
        _legend(axes)
    else:
        _say(axes, "no finite loss was logged")


def _draw_validation(axes: Axes, curves: TrainingCurves, *, select_by: str | None) -> None:
    axes.set_ylabel("validation")
    metrics = {name: curves.validation[name] for name in sorted(curves.validation)}
    main = select_by if select_by in metrics else _first_metric(curves.validation)
    if main is None:
        _say(axes, "not validated during training")
        return
    # A loss and a share of right answers have no common scale.
    shown = [name for name in metrics if (name == "validation_loss") == (main == "validation_loss")]
    colours = _colours([name for name in shown if name != main])
    for name in sorted(shown, key=lambda name: name == main):
        steps, values = _columns(metrics[name])
        strong = name == main
        axes.plot(
            steps,
            values,
            color=INK if strong else colours[name],
            linewidth=2.2 if strong else 1.2,
            marker="o",
            markersize=5 if strong else 3,
            clip_on=False,
            label=name,
        )
    at_best = [(step, value) for step, value in metrics[main] if step == curves.best_step]
    for step, value in at_best[-1:]:
        axes.plot(
            [step],
            [value],
            marker="o",
            markersize=12,
            markerfacecolor="none",
            markeredgecolor="#D55E00",
            markeredgewidth=2,
            linestyle="none",
            clip_on=False,
            label=f"best: {value:.4f}\nat step {step}",
        )
    axes.margins(y=0.15)
    low, high = axes.get_ylim()
    most = math.inf if main == "validation_loss" else 1.0
    axes.set_ylim(max(low, 0.0), min(high, most))
    _legend(axes)


def _legend(axes: Axes) -> None:
    """Name the lines beside the picture, where none of them is covered."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0, fontsize=9)


def _first_metric(validation: Mapping[str, Series]) -> str | None:
    return min(validation, key=lambda name: name == "validation_loss", default=None)


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
    with _figure(width=8, height=5) as figure:
        axes = figure.subplots()
        axes.set_xscale("log")
        _frame_points(axes, points)
        largest = max((point.parameters for point in points), default=1)
        colours = _colours([point.model for point in points])
        for point in sorted(points, key=lambda point: -point.parameters):
            _draw_point(axes, point, colour=colours[point.model], largest=largest)
        _label_points(axes, points, colours=colours, largest=largest)
        axes.set_ylabel(f"{metric} on {split}, points")
        axes.set_xlabel("median time of one pass, ms (log scale; faster to the left)")
        axes.set_title("Quality against time", loc="left", fontsize=13, fontweight="bold", pad=24)
        axes.text(0, 1.03, _key(), transform=axes.transAxes, fontsize=9, color=PALE)
        figure.supxlabel(measured, fontsize=8, color=PALE, x=0.99, ha="right")
        _save(figure, target)


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
        _say(axes, "no model has both a score and a profile")
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


def _colours(names: Sequence[str]) -> dict[str, str]:
    others = [name for name in dict.fromkeys(names) if name not in MODEL_COLOURS]
    extra = {name: _OTHER_COLOURS[i % len(_OTHER_COLOURS)] for i, name in enumerate(others)}
    return MODEL_COLOURS | extra


def _columns(series: Series) -> tuple[list[int], list[float]]:
    return [step for step, _ in series], [value for _, value in series]


def _dots_if_few(axes: Axes, series: Series, colour: str) -> None:
    if len(series) <= 12:  # a line through one point is invisible
        axes.plot(*_columns(series), marker="o", markersize=4, color=colour, linestyle="none")


def _running_mean(series: Series, *, points: int = 40) -> Series:
    """Average each value with its neighbours, so that about ``points`` are independent."""
    reach = len(series) // (2 * points)
    values = [value for _, value in series]
    windows = (values[max(0, i - reach) : i + reach + 1] for i in range(len(values)))
    return [
        (step, sum(window) / len(window)) for (step, _), window in zip(series, windows, strict=True)
    ]


def _say(axes: Axes, sentence: str) -> None:
    axes.text(0.5, 0.5, sentence, transform=axes.transAxes, ha="center", va="center", color=PALE)


@contextmanager
def _figure(*, width: float, height: float) -> Iterator[Figure]:
    """Open a figure in destilo's style, without matplotlib's global state or a window."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DestiloError(
            "Drawing needs matplotlib. Install it: pip install 'destilo[train]'."
        ) from error
    with mpl.rc_context(_STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def _save(figure: Figure, target: Path) -> None:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    partial = target.with_name(f".{target.name}.partial")
    partial.write_bytes(picture.getvalue())
    partial.replace(target)
