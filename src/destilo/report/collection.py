"""Write the report of a collection: tables, pictures, the balance of speed and quality."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from destilo.catalogue import published
from destilo.figures import ScorePoint, plot_score_speed
from destilo.report.balance import Floor, Point, hypervolume, pareto_front, smallest_within
from destilo.report.board import Board, Cell, Entry, Size, beside
from destilo.report.collection_tables import (
    STAGES,
    CollectionTable,
    collection_tables,
    cut,
    ratio,
)
from destilo.report.markdown import points, table
from destilo.report.measured import measured_board, read_collection, title
from destilo.report.paper import paper_board, published_beside
from destilo.runs import write_text

REPORT, TABLES = "report.md", "tables"
WITHIN = 3.0
"""Percent of the teacher's score that the smallest model may lose."""


@dataclass(frozen=True, slots=True)
class CollectionReport:
    """What was written.

    Attributes:
        report: The document.
        tables: One CSV a table.
        pictures: Score against speed-up by MACs, and by time where that was measured.
        board: What they show.
    """

    report: Path
    tables: tuple[Path, ...]
    pictures: tuple[Path, ...]
    board: Board


@dataclass(frozen=True, slots=True)
class _Axis:
    """A way to say how fast a model is."""

    name: str
    picture: str
    of: Callable[[Size], float | None]


_AXES = (
    _Axis("speed-up by MACs of modules", "figure-1.png", lambda size: size.by_modules),
    _Axis("speed-up by MACs", "figure-1-all-macs.png", lambda size: size.by_macs),
    _Axis("speed-up by time", "figure-1-time.png", lambda size: size.by_time),
)


def build_collection_report(
    folder: Path, *, paper: bool = False, within: float = WITHIN
) -> CollectionReport:
    """Write a sweep's report into its folder; what was not run says so.

    Args:
        folder: The sweep's folder, which holds ``results.json``.
        paper: Put the published rows of Speedy Gonzales below the sweep's own.
        within: Percent of the teacher's score that the smallest model may lose.

    Raises:
        InputError: If the folder is no sweep's, or its results are damaged.
    """
    board = measured_board(read_collection(folder), folder=folder)
    shown = beside(board, published_beside(board.columns)) if paper else board
    same_reference = board.reference in (published.REFERENCE, "beto-uncased")
    return _write(
        shown,
        folder,
        within=within,
        drawn=shown if same_reference else board,
        extra=[_BESIDE if same_reference else _BESIDE_OTHER] if paper else [],
    )


def build_paper_report(output: Path, *, within: float = WITHIN) -> CollectionReport:
    """Write the same report from the published figures, with how they agree with Table 3."""
    board = paper_board()
    return _write(board, output, within=within, drawn=board, extra=[_agreement(board)])


_BESIDE = (
    "Rows marked *(published)* were measured elsewhere, on other data and another machine. Scores "
    "are comparable where the data set is really the same; times only through their ratios."
)
_BESIDE_OTHER = (
    f"{_BESIDE} Their speed-ups are relative to {published.REFERENCE}, not to this collection's "
    "reference, so the pictures leave them out."
)


def _write(
    board: Board, output: Path, *, within: float, drawn: Board, extra: Sequence[str]
) -> CollectionReport:
    output.mkdir(parents=True, exist_ok=True)
    tables = collection_tables(board)
    files = tuple(_write_csv(one, output / TABLES) for one in tables)
    pictures = _draw(drawn, output)
    sections = [
        f"# {board.name}",
        "\n".join(f"- {remark}" for remark in board.remarks),
        *extra,
        "## Tables",
        *(one.document() for one in tables),
        "## Figure 1. Score against speed-up",
        "\n\n".join(f"![{axis.name}]({path.name})" for axis, path in pictures)
        or "No model has both a score and a speed-up yet.",
        "## The balance of speed and quality",
        *_balance(board, within=within),
    ]
    write_text(output / REPORT, "\n\n".join(filter(None, sections)) + "\n")
    return CollectionReport(
        report=output / REPORT,
        tables=files,
        pictures=tuple(path for _, path in pictures),
        board=board,
    )


def _write_csv(made: CollectionTable, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / made.filename
    write_text(target, made.csv())
    return target


def _points(board: Board, axis: _Axis, *, published_ones: bool) -> list[tuple[Entry, Point, Cell]]:
    """Models that have both a score and a speed-up."""
    found = []
    for entry in board.entries:
        size, score = board.sizes.get(entry.model), board.score(entry)
        speedup = axis.of(size) if size else None
        if bool(entry.source) != published_ones or not speedup or score.value is None:
            continue
        name = f"{entry.title}, {STAGES[entry.stage, entry.role]}"
        parameters = (size.parameters or 0) if size else 0
        found.append((entry, Point(speedup, score.value, name, parameters), score))
    return found


def _draw(board: Board, output: Path) -> list[tuple[_Axis, Path]]:
    drawn = []
    for axis in _AXES:
        target = output / axis.picture
        marks = []
        for elsewhere in (False, True):
            found = _points(board, axis, published_ones=elsewhere)
            front = set(pareto_front(point for _, point, _ in found))
            for entry, point, score in found:
                both = elsewhere and any(not one.source for one in board.entries)
                marks.append(
                    ScorePoint(
                        label=entry.title.removesuffix(" (published)"),
                        group=STAGES[entry.stage, entry.role],
                        speedup=point.speedup,
                        score=point.score,
                        half_width=_half_width(score),
                        published=both,
                        on_front=point in front,
                    )
                )
        if not marks:
            target.unlink(missing_ok=True)  # never an old picture beside a new text
            continue
        plot_score_speed(
            marks,
            target,
            axis=f"{axis.name}, relative to {title(board.reference)}",
            title=f"{board.name}: score against speed-up",
            remark=published.SOURCE
            if all(one.source for one in board.entries)
            else f"mean of the main metric over {len(board.datasets)} data sets",
        )
        drawn.append((axis, target))
    return drawn


def _half_width(cell: Cell) -> float:
    if cell.deviation is not None:
        return cell.deviation
    return 0.0 if cell.low is None or cell.high is None else (cell.high - cell.low) / 2


def _balance(board: Board, *, within: float) -> list[str]:
    elsewhere = all(entry.source for entry in board.entries)
    parts = []
    for axis in _AXES[1:]:
        found = _points(board, axis, published_ones=elsewhere)
        if found:
            parts += _balance_by(board, axis, [point for _, point, _ in found])
    if not parts:
        return ["No model has both a score and a speed-up yet."]
    return [*parts, *_smallest(board, within=within, elsewhere=elsewhere)]


def _balance_by(board: Board, axis: _Axis, found: list[Point]) -> list[str]:
    front = pareto_front(found)
    entry = board.find("finetune", board.reference, "teacher")
    own = board.score(entry).value if entry else None
    floor = Floor(speedup=1.0, score=0.5 * (own or 0.0))
    total = hypervolume(found, floor)
    body = []
    for point in front:
        rest = [other for other in found if other != point]
        body.append(
            [
                point.name,
                ratio(point.speedup),
                points(point.score),
                f"{total - hypervolume(rest, floor):.2f}",
            ]
        )
    origin = f"half of {title(board.reference)}'s score" if own else "no score of the reference"
    return [
        f"### By {axis.name.removeprefix('speed-up by ')}",
        table(["on the Pareto front", "speed-up", "score", "what it alone covers"], body),
        f"Hypervolume: **{total:.2f}** points × doublings, above {floor} ({origin}).",
    ]


def _smallest(board: Board, *, within: float, elsewhere: bool) -> list[str]:
    """The smallest model that is good enough, over all data sets and on each."""
    axis = _AXES[1]
    header = ["data set", "teacher's score", "smallest model", "its score", "parameters, M"]
    header.append("speed-up by MACs")
    body = []
    for dataset in (None, *board.datasets):
        target = _target(board, dataset)
        best = None
        if target is not None:
            found = _candidates(board, axis, dataset, elsewhere=elsewhere)
            best = smallest_within(found, target=target, percent=within)
        none = "none" if target is not None else "–"
        body.append(
            [
                dataset or "all: the mean",
                points(target),
                best.name if best else none,
                points(best.score) if best else "–",
                f"{best.parameters / 1e6:.3g}" if best else "–",
                ratio(best.speedup) if best else "–",
            ]
        )
    return [
        f"### The smallest model within {within:g}% of the teacher",
        table(header, body),
        _SMALLEST,
    ]


_SMALLEST = (
    "The teacher is the selected one of each data set. Of equal parameters (ALBERT's layers share "
    "theirs) the model of fewest multiply-accumulates is the smaller."
)


def _target(board: Board, dataset: str | None) -> float | None:
    if dataset is None:
        return board.teacher_score().value
    model = board.teachers.get(dataset)
    entry = board.find("finetune", model, "teacher") if model else None
    return board.dataset_cell(entry, dataset).value if entry else None


def _candidates(board: Board, axis: _Axis, dataset: str | None, *, elsewhere: bool) -> list[Point]:
    found = []
    for entry in board.entries:
        cell = board.score(entry) if dataset is None else board.dataset_cell(entry, dataset)
        size = board.sizes.get(entry.model)
        speedup = axis.of(size) if size else None
        if bool(entry.source) == elsewhere and cell.value is not None and size and speedup:
            name = f"{entry.title}, {STAGES[entry.stage, entry.role]}"
            found.append(Point(speedup, cell.value, name, size.parameters or 0))
    return found


def _agreement(board: Board) -> str:
    """Say where what is computed here differs from the printed Table 3."""
    different = []
    for row in published.summary():
        entry = next(
            one for one in board.entries if (one.stage, one.model) == (row.stage, row.model)
        )
        size, score = board.sizes[row.model], board.score(entry)
        found = (
            round((size.parameters or 0) / 1e6),
            size.by_modules,
            cut(100 * (score.value or 0.0)),
        )
        printed = (row.parameters_millions, row.speedup, row.score)
        if found != printed:
            different.append(f"{entry.title} ({row.stage}): {found} against {printed}")
    n_rows = len(published.summary())
    if not different:
        return (
            f"All {n_rows} rows of the printed Table 3 (parameters, speed-up, score) follow from "
            "Table 2 and from the configurations. The paper cuts where others round, and its "
            "speed-up is a ratio of billions of MACs cut to two decimals."
        )
    listed = "\n".join(f"- {one}" for one in different)
    return f"{len(different)} of {n_rows} rows differ from the printed Table 3:\n\n{listed}"
