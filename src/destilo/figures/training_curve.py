"""How training went: the log read back, loss and validation over optimiser steps."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from destilo.figures.drawing import INK, N_COLOURS, colours_of, open_figure, save_figure, say

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Series: TypeAlias = list[tuple[int, float]]
_DASHES = ("-", "--", ":", "-.")


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
    with open_figure(width=9.5, height=5.6) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        _draw_loss(upper, curves)
        _draw_validation(lower, curves, select_by=select_by)
        lower.set_xlabel("optimiser step")
        lower.set_xlim(left=0)
        lower.xaxis.get_major_locator().set_params(integer=True)
        save_figure(figure, target)


def _draw_loss(axes: Axes, curves: TrainingCurves) -> None:
    axes.set_ylabel("training loss")
    names = list(curves.terms)
    colours = colours_of(names)
    for rank, name in enumerate(names if len(names) > 1 else []):
        steps, values = _columns(_running_mean(curves.terms[name]))
        axes.plot(
            steps,
            values,
            color=colours[name],
            linewidth=1.3,
            linestyle=_DASHES[rank // N_COLOURS % len(_DASHES)],
            label=f"{name}, not weighted",
        )
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
        say(axes, "no finite loss was logged")


def _draw_validation(axes: Axes, curves: TrainingCurves, *, select_by: str | None) -> None:
    axes.set_ylabel("validation")
    metrics = {name: curves.validation[name] for name in sorted(curves.validation)}
    main = select_by if select_by in metrics else _first_metric(curves.validation)
    if main is None:
        say(axes, "not validated during training")
        return
    # A loss and a share of right answers have no common scale.
    shown = [name for name in metrics if (name == "validation_loss") == (main == "validation_loss")]
    colours = colours_of([name for name in shown if name != main])
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
