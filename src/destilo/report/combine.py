"""Put several runs in one table: seeds of one recipe together, recipes below each other."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from destilo.report.contents import RunContents, read_run
from destilo.report.markdown import MISSING, points, table, times
from destilo.report.summary import SummaryRow, summarise
from destilo.runs import digest

_HEADER = (
    "recipe",
    "split",
    "metric",
    "seeds",
    "teacher",
    "student",
    "without distillation",
    "gain",
    "share of teacher",
    "faster by",
)


def combine_runs(runs: Sequence[Path]) -> str:
    """Tabulate several runs: mean ± standard deviation over the seeds of each recipe.

    Runs whose recipes differ in seeds and names alone are one experiment. Gains and shares are
    taken within each run and averaged afterwards, so that a seed is compared with itself.

    Args:
        runs: Run folders, in the order in which the recipes shall stand.

    Returns:
        A Markdown table; the deviation is that of the sample (n - 1) and left out for one seed.

    Raises:
        InputError: If one is no folder, or one of its files is damaged.
    """
    experiments: dict[str, list[RunContents]] = {}
    for path in runs:
        contents = read_run(path)
        experiments.setdefault(_experiment(contents), []).append(contents)
    body = [line for group in experiments.values() for line in _lines(group)]
    if not body:
        return "None of these runs has been evaluated yet."
    return table(_HEADER, body)


def _experiment(contents: RunContents) -> str:
    """Identify a recipe but for what tells repetitions apart."""
    if not contents.recipe:
        return str(contents.path.resolve())  # nothing to compare: an experiment of its own
    recipe: dict[str, Any] = copy.deepcopy(dict(contents.recipe))
    for key in ("name", "description"):
        recipe.pop(key, None)
    teachers = recipe.get("teacher") or []
    for teacher in teachers if isinstance(teachers, list) else [teachers]:
        (teacher.get("finetune") or {}).pop("seed", None)
    (recipe.get("training") or {}).pop("seed", None)
    return digest(recipe)


def _lines(group: Sequence[RunContents]) -> list[list[str]]:
    rows = [row for contents in group for row in summarise(contents)]
    lines = []
    for split in dict.fromkeys(row.split for row in rows):
        here = [row for row in rows if row.split == split]
        students = [row for row in here if row.model == "student"]
        by_model = {
            model: [row.main.value for row in here if row.model == model]
            for model in ("teacher", "student", "baseline")
        }
        lines.append(
            [
                group[0].name,
                split,
                here[0].main_metric,
                _seeds(group),
                *(_mean(values, points) for values in by_model.values()),
                _mean((row.gain for row in students), _signed),
                _mean((row.share_of_teacher for row in students), points) + _unit(students),
                _mean((row.speedup_by_time for row in students), times),
            ]
        )
    return lines


def _unit(students: Sequence[SummaryRow]) -> str:
    return "%" if any(row.share_of_teacher is not None for row in students) else ""


def _seeds(group: Sequence[RunContents]) -> str:
    seeds = [contents.setting("training", "seed") for contents in group]
    different = len({str(seed) for seed in seeds})
    # Repetitions of one seed say nothing about seeds.
    return str(different) if different == len(seeds) else f"{different} in {len(seeds)} runs"


def _signed(value: float | None) -> str:
    return MISSING if value is None else f"{100 * value:+.2f}"


def _mean(values: Iterable[float | None], write: Any) -> str:
    there = [value for value in values if value is not None]
    if not there:
        return MISSING
    mean: str = write(statistics.fmean(there))
    if len(there) == 1:
        return mean
    deviation: str = write(statistics.stdev(there))
    return f"{mean} ± {deviation.lstrip('+')}"
