"""A board: models of a collection side by side, wherever their figures come from.

A sweep's trials and a paper's tables become the same thing here, so that one set of tables shows
either, or both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev
from typing import TypeVar

from destilo.records import Role, Score, TrialStage
from destilo.report.markdown import points

T = TypeVar("T")
NOT_RUN, FAILED, PRUNED, NOT_PUBLISHED = "not run", "failed", "pruned", "not published"


@dataclass(frozen=True, slots=True)
class Cell:
    """A score, or why there is none.

    Attributes:
        value: A fraction; the mean over seeds where there are several.
        low, high: A 95% interval, of one seed or of independent data sets together.
        deviation: Standard deviation over seeds (n - 1).
        n_seeds: Seeds it is the mean of.
        missing: Why there is no value, in words.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    deviation: float | None = None
    n_seeds: int = 0
    missing: str = NOT_RUN

    def markdown(self) -> str:
        """Write it in points, with its spread over seeds or its interval."""
        if self.value is None:
            return self.missing
        if self.deviation is not None:
            return f"{points(self.value)} ± {points(self.deviation)} (n = {self.n_seeds})"
        if self.low is None or self.high is None or math.isnan(self.low):
            return points(self.value)
        return f"{points(self.value)} [{points(self.low)}, {points(self.high)}]"

    def plain(self) -> str:
        """Write the value alone, in points."""
        return self.missing if self.value is None else points(self.value)


@dataclass(frozen=True, slots=True)
class Column:
    """A metric of a data set on one of its test splits.

    Attributes:
        dataset: Its name in the collection.
        title: What heads the column.
        main: Whether it stands for the data set in a mean.
    """

    dataset: str
    split: str
    metric: str
    task: str
    title: str
    main: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the board: a model after one stage.

    Attributes:
        role: A model may have been fine-tuned both as a candidate teacher and as a student.
        source: Where its figures come from; empty: the collection itself.
    """

    stage: TrialStage
    role: Role
    model: str
    title: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class Size:
    """What a model weighs, and how much faster than the reference it is.

    Attributes:
        by_macs: Ratio of all multiply-accumulates.
        by_modules: Ratio of what a counter of modules sees, as papers print it.
        by_time: Ratio of measured times at ``condition``.
    """

    parameters: int | None = None
    macs: int | None = None
    by_macs: float | None = None
    by_modules: float | None = None
    by_time: float | None = None


@dataclass(frozen=True, slots=True)
class Rate:
    """Inferences per second.

    Attributes:
        per_second: From the median of all samples.
        by_paper: By the protocol of Speedy Gonzales, where it was asked for.
    """

    per_second: float
    by_paper: float | None = None


@dataclass(frozen=True, slots=True)
class Hours:
    """Mean hours of a student's training, the teacher's outputs read from disk or computed."""

    cached: float | None = None
    uncached: float | None = None


@dataclass(frozen=True)
class Board:
    """Models side by side.

    Attributes:
        reference: The model that speed-ups are relative to.
        entries: The lines, fine-tuned models first.
        students: Names of those that Tables 5 to 8 compare.
        cells: Scores; one that is not there was not run.
        conditions: Where inferences per second were taken, in words; the first one's times give
            ``Size.by_time``.
        rates: By model and condition.
        teachers: The selected teacher of each data set.
        remarks: What a reader must know of the figures.
    """

    name: str
    reference: str
    columns: tuple[Column, ...]
    entries: tuple[Entry, ...]
    students: tuple[str, ...]
    cells: Mapping[tuple[Entry, Column], Cell]
    sizes: Mapping[str, Size] = field(default_factory=dict)
    conditions: tuple[str, ...] = ()
    rates: Mapping[tuple[str, str], Rate] = field(default_factory=dict)
    teachers: Mapping[str, str] = field(default_factory=dict)
    hours: Mapping[str, Hours] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names, in the order of the columns."""
        return tuple(dict.fromkeys(column.dataset for column in self.columns))

    def cell(self, entry: Entry, column: Column) -> Cell:
        """A score, or that it was not run."""
        missing = NOT_PUBLISHED if entry.source else NOT_RUN
        return self.cells.get((entry, column), Cell(missing=missing))

    def find(self, stage: TrialStage, model: str, role: Role = "student") -> Entry | None:
        """A model's line; in the other role where it has none in this one."""
        there = [one for one in self.entries if (one.stage, one.model) == (stage, model)]
        return next((one for one in there if one.role == role), there[0] if there else None)

    def dataset_cell(self, entry: Entry, dataset: str) -> Cell:
        """A data set's main metric, the mean over its test splits."""
        main = [one for one in self.columns if one.dataset == dataset and one.main]
        return mean_cell([self.cell(entry, column) for column in main])

    def score(self, entry: Entry) -> Cell:
        """The mean of the main metric over all data sets; none where one is missing."""
        return mean_cell([self.dataset_cell(entry, dataset) for dataset in self.datasets])

    def teacher_score(self) -> Cell:
        """The score of the selected teachers, each on its own data set."""
        cells = []
        for dataset in self.datasets:
            model = self.teachers.get(dataset)
            entry = self.find("finetune", model, "teacher") if model else None
            cells.append(self.dataset_cell(entry, dataset) if entry else Cell())
        return mean_cell(cells)


def cell_over_seeds(scores: Sequence[Score]) -> Cell:
    """Join one score a seed: mean and deviation, or the interval where there is one seed."""
    if len(scores) == 1:
        one = scores[0]
        return Cell(one.value, low=one.low, high=one.high, n_seeds=1)
    values = [one.value for one in scores]
    return Cell(fmean(values), deviation=stdev(values), n_seeds=len(values))


def mean_cell(cells: Sequence[Cell]) -> Cell:
    """Average scores of different test sets; one that is missing leaves nothing to compare.

    Spreads are joined as those of independent means: the root of the sum of squares, over n.
    """
    if len(cells) == 1:
        return cells[0]
    values = [cell.value for cell in cells if cell.value is not None]
    if not cells or len(values) < len(cells):
        return Cell(missing=_why(cells, there=len(values)))
    mean = fmean(values)
    deviations = [cell.deviation for cell in cells]
    seeds = min(cell.n_seeds for cell in cells)
    if all(deviation is not None for deviation in deviations):
        return Cell(mean, deviation=_joint(deviations), n_seeds=seeds)
    halves = [
        (cell.high - cell.low) / 2 if cell.low is not None and cell.high is not None else None
        for cell in cells
    ]
    half = _joint(halves)
    if half is None or math.isnan(half):
        return Cell(mean, n_seeds=seeds)
    return Cell(mean, low=mean - half, high=mean + half, n_seeds=seeds)


def _joint(spreads: Sequence[float | None]) -> float | None:
    there = [one for one in spreads if one is not None]
    if len(there) < len(spreads):
        return None
    return math.sqrt(sum(one**2 for one in there)) / len(there)


def _why(cells: Sequence[Cell], *, there: int) -> str:
    reasons = dict.fromkeys(cell.missing for cell in cells if cell.value is None)
    if not there and len(reasons) == 1:
        return next(iter(reasons))
    return f"{there} of {len(cells)} ({', '.join(reasons)})" if reasons else NOT_RUN


def beside(board: Board, other: Board) -> Board:
    """Put another board's lines below a board's own, marked by their source.

    Only columns of the first are shown; the sizes and rates of the other go under the names
    ``model (source)`` so that nothing is mixed.
    """
    renamed = {
        entry: replace(entry, model=_marked(entry.model), title=_marked(entry.title))
        for entry in other.entries
    }
    return replace(
        board,
        entries=(*board.entries, *renamed.values()),
        cells={
            **board.cells,
            **{(renamed[entry], column): cell for (entry, column), cell in other.cells.items()},
        },
        sizes={**board.sizes, **_mark_keys(other.sizes)},
        conditions=tuple(dict.fromkeys((*board.conditions, *other.conditions))),
        rates={
            **board.rates,
            **{(_marked(model), where): rate for (model, where), rate in other.rates.items()},
        },
        students=(*board.students, *(_marked(name) for name in other.students)),
        hours={**board.hours, **_mark_keys(other.hours)},
        remarks=(*board.remarks, *other.remarks),
    )


def _marked(name: str) -> str:
    return f"{name} (published)"


def _mark_keys(values: Mapping[str, T]) -> dict[str, T]:
    return {_marked(key): value for key, value in values.items()}


def models_of(entries: Iterable[Entry]) -> tuple[str, ...]:
    """Names, each once, in the order of the lines."""
    return tuple(dict.fromkeys(entry.model for entry in entries))
