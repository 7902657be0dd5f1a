"""Tables 1 to 8 of a collection, after those of Speedy Gonzales."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from destilo.report.board import NOT_RUN, Board, Cell, Column, Entry, Hours
from destilo.report.markdown import MISSING, table, three_digits
from destilo.report.markdown import cell as text_cell
from destilo.report.measured import title

STAGES = {
    ("finetune", "teacher"): "fine-tuning",
    ("finetune", "student"): "without distillation",
    ("distil", "student"): "distillation",
}


@dataclass(frozen=True, slots=True)
class CollectionTable:
    """One table, as it stands in the document and as plain figures.

    Attributes:
        number: As in the paper.
        slug: Its part of the file's name.
        markdown: Cells with intervals.
        plain: The same cells with the value alone.
        note: How to read it.
    """

    number: int
    slug: str
    title: str
    header: tuple[str, ...]
    markdown: tuple[tuple[str, ...], ...]
    plain: tuple[tuple[str, ...], ...]
    note: str = ""

    @property
    def filename(self) -> str:
        """Where the plain figures are kept."""
        return f"table-{self.number}-{self.slug}.csv"

    def document(self) -> str:
        """Write the table with its title and note as Markdown."""
        body = table(self.header, self.markdown) if self.markdown else "Nothing to show."
        parts = [f"### Table {self.number}. {self.title}", body, self.note]
        return "\n\n".join(filter(None, parts))

    def csv(self) -> str:
        """Write the plain figures as CSV."""
        written = io.StringIO()
        rows = csv.writer(written, lineterminator="\n")
        rows.writerow(self.header)
        rows.writerows(self.plain)
        return written.getvalue()


def collection_tables(board: Board) -> tuple[CollectionTable, ...]:
    """Make all eight tables of a board; what was not run says so."""
    return (
        _inferences(board),
        _quality(board),
        _summary(board),
        _teachers(board),
        _compared(board, 5, "classification", "text-classification"),
        _compared(board, 6, "tagging", "token-classification"),
        _compared(board, 7, "question-answering", "question-answering"),
        _cache(board),
    )


def _inferences(board: Board) -> CollectionTable:
    """Table 1: how many rows a second, and against the reference."""
    names = {entry.model: entry.title for entry in board.entries}
    by_paper = any(rate.by_paper is not None for rate in board.rates.values())
    header = ["model"]
    for where in board.conditions:
        header += [f"{where}: inferences/s", f"{where}: of {title(board.reference)}"]
        header += [f"{where}: by the paper's protocol"] if by_paper else []
    rows = []
    for model, shown in names.items():
        row = [shown]
        for where in board.conditions:
            row += _rate_cells(board, model, where, by_paper=by_paper)
        rows.append(row)
    if not rows or not board.conditions:
        note = "No selected trial was profiled."
    elif _all_published(board):
        note = "Rows of 512 pieces, one at a time, by the paper's protocol."
    else:
        note = (
            "From the median of all samples of one pass, none dropped, but under the paper's "
            "protocol. Models of different runs were not timed turn about."
        )
    return _same(
        1,
        "inferences",
        "Inferences per second",
        header,
        rows if board.conditions else [],
        note=note,
    )


def _rate_cells(board: Board, model: str, where: str, *, by_paper: bool) -> list[str]:
    """Inferences per second, those of the reference, and by the paper's protocol."""
    rate = board.rates.get((model, where))
    if rate is None:
        # What was measured elsewhere was not left out here.
        here = {at for name, at in board.rates if not _published(name)}
        none = NOT_RUN if where in here and not _published(model) else MISSING
        return [none] * (2 + by_paper)
    base = board.rates.get((board.reference, where))
    base = base or board.rates.get((f"{board.reference} (published)", where))
    cells = [
        three_digits(rate.per_second),
        MISSING if base is None else ratio(rate.per_second / base.per_second),
    ]
    if by_paper:
        cells.append(MISSING if rate.by_paper is None else three_digits(rate.by_paper))
    return cells


def _published(model: str) -> bool:
    return model.endswith("(published)")


def _all_published(board: Board) -> bool:
    return all(entry.source for entry in board.entries)


def _quality(board: Board) -> CollectionTable:
    """Table 2: every model on every data set."""
    header = ["model", "stage", *(column.title for column in board.columns)]
    return _cells(
        2,
        "quality",
        "Quality on the test sets",
        header,
        [
            (
                [entry.title, STAGES[entry.stage, entry.role]],
                [board.cell(entry, column) for column in board.columns],
            )
            for entry in board.entries
        ],
        note="Points. Several seeds: mean ± standard deviation; one seed: 95% interval from "
        "resampling rows.",
    )


def _summary(board: Board) -> CollectionTable:
    """Table 3: size, speed and score."""
    header = ["model", "stage", "parameters, M", "speed-up by MACs"]
    header += ["speed-up by MACs of modules", "speed-up by time", "score"]
    markdown, plain = [], []
    for entry in board.entries:
        size, score = board.sizes.get(entry.model), board.score(entry)
        none = NOT_RUN
        figures = [
            none if size is None or size.parameters is None else _millions(size.parameters),
            none if size is None or size.by_macs is None else ratio(size.by_macs),
            none if size is None or size.by_modules is None else f"{cut(size.by_modules):.2f}",
            none if size is None or size.by_time is None else ratio(size.by_time),
        ]
        lead = [entry.title, STAGES[entry.stage, entry.role], *figures]
        markdown.append((*lead, score.markdown()))
        plain.append((*lead, score.plain()))
    where = f" ({board.conditions[0]})" if board.conditions else ""
    return CollectionTable(
        3,
        "summary",
        "Parameters, speed-up and score",
        tuple(header),
        tuple(markdown),
        tuple(plain),
        note=f"Relative to {title(board.reference)}. *By MACs*: all multiply-accumulates, those of "
        "attention included; *of modules*: what THOP counts, cut to two decimals as the paper "
        f"prints it; *by time*: measured{where}. *Score*: the mean over data sets of the main "
        "metric (F1 in question answering), several test splits of a data set averaged first; "
        "none where a data set is missing.",
    )


def _teachers(board: Board) -> CollectionTable:
    """Table 4: the teacher of each data set."""
    rows = []
    for dataset in board.datasets:
        model = board.teachers.get(dataset)
        entry = board.find("finetune", model, "teacher") if model else None
        own = board.dataset_cell(entry, dataset) if entry else Cell(missing=NOT_RUN)
        shown = "not selected" if model is None else title(model)
        rows.append(([dataset, shown], [own]))
    header = ["data set", "teacher", "its score on the test sets"]
    return _cells(4, "teachers", "The selected teachers", header, rows, note="")


def _compared(board: Board, number: int, slug: str, task: str) -> CollectionTable:
    """Tables 5 to 7: students without and with distillation, by task."""
    columns = [column for column in board.columns if column.task == task]
    header = ["model"]
    for column in columns:
        header += [f"{column.title} FT", f"{column.title} KD", "gain"]
    markdown, plain = [], []
    for model in board.students if columns else ():
        pair = (board.find("finetune", model), board.find("distil", model))
        lines: tuple[list[str], list[str]] = ([], [])
        for column in columns:
            alone, distilled = (_cell_of(board, entry, column) for entry in pair)
            gain = _gain(alone, distilled)
            lines[0].extend((alone.markdown(), distilled.markdown(), gain))
            lines[1].extend((alone.plain(), distilled.plain(), gain))
        shown = next((entry.title for entry in pair if entry), title(model))
        markdown.append((shown, *lines[0]))
        plain.append((shown, *lines[1]))
    names = {5: "Classification", 6: "Tagging", 7: "Question answering"}
    return CollectionTable(
        number,
        slug,
        f"{names[number]}: students without (FT) and with (KD) distillation",
        tuple(header),
        tuple(markdown),
        tuple(plain),
        note="" if columns else f"The collection has no data set of {task}.",
    )


def _cache(board: Board) -> CollectionTable:
    """Table 8: hours with and without a cache of the teacher's outputs."""
    names = {entry.model: entry.title for entry in board.entries}
    rows = []
    for model in board.students:
        hours = board.hours.get(model, Hours())
        both = hours.cached is not None and hours.uncached is not None and hours.cached > 0
        rows.append(
            [
                names.get(model, title(model)),
                NOT_RUN if hours.cached is None else _digits(hours.cached),
                NOT_RUN if hours.uncached is None else _digits(hours.uncached),
                ratio((hours.uncached or 0) / (hours.cached or 1)) if both else NOT_RUN,
            ]
        )
    header = ["model", "cached, hours", "not cached, hours", "times as long"]
    return _same(
        8,
        "cache",
        "Hours of a student's training with and without a cached teacher",
        header,
        rows,
        note=""
        if _all_published(board)
        else "Means over finished trials. Filling a cache is done once for all students and is "
        "not in the hours measured here.",
    )


def _cell_of(board: Board, entry: Entry | None, column: Column) -> Cell:
    return Cell(missing=NOT_RUN) if entry is None else board.cell(entry, column)


def _gain(alone: Cell, distilled: Cell) -> str:
    if alone.value is None or distilled.value is None:
        return MISSING
    # Differences of what is printed, so that the table adds up.
    return f"{round(100 * distilled.value, 2) - round(100 * alone.value, 2) + 0.0:+.2f}"


def cut(value: float) -> float:
    """Cut a ratio to two decimals, as the paper does."""
    return math.floor(100 * value + 1e-9) / 100


def ratio(value: float) -> str:
    """Write a ratio with two decimals, small ones with two digits."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def _millions(count: int) -> str:
    return _digits(count / 1e6)


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _same(
    number: int,
    slug: str,
    shown: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    note: str,
) -> CollectionTable:
    """A table whose cells have no interval."""
    body = tuple(tuple(row) for row in rows)
    return CollectionTable(number, slug, shown, tuple(header), body, body, note)


def _cells(
    number: int,
    slug: str,
    shown: str,
    header: Sequence[str],
    rows: Sequence[tuple[Sequence[str], Sequence[Cell]]],
    *,
    note: str,
) -> CollectionTable:
    """A table of scores after some columns of text."""

    def body(write: Callable[[Cell], str]) -> tuple[tuple[str, ...], ...]:
        return tuple((*lead, *(write(one) for one in cells)) for lead, cells in rows)

    return CollectionTable(
        number,
        slug,
        shown,
        tuple(header),
        tuple(tuple(text_cell(one) for one in line) for line in body(Cell.markdown)),
        body(Cell.plain),
        note,
    )
