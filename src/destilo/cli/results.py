"""What runs have measured: the table at a run's end, and reports of one run or several."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from destilo.errors import InputError
from destilo.terminal import is_helper, output_console, say, say_json, table

if TYPE_CHECKING:
    from rich.table import Table

    from destilo.pipeline import RunResult
    from destilo.records import Score
    from destilo.report import SummaryRow


def report(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FOLDER...]", help="A run, several to compare, or the folder of a sweep."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Where a comparison of several runs is written; with --paper alone, a folder.",
        ),
    ] = None,
    paper: Annotated[
        bool,
        typer.Option(
            "--paper", help="The published figures of Speedy Gonzales: alone, or below a sweep's."
        ),
    ] = False,
    within: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=100.0,
            metavar="PERCENT",
            help="Of a sweep: the smallest model that loses at most so much of the score.",
        ),
    ] = 3.0,
) -> None:
    """Write the report of a run or of a sweep, or one table over several runs.

    It reads files alone: no model is loaded. Seeds of the same recipe become a
    mean and its spread.

    destilo report runs/mine
    destilo report runs/seed-1 runs/seed-2 runs/seed-3 -o comparison.md
    destilo report sweeps/mine --paper
    destilo report --paper -o speedy-gonzales
    """
    from destilo.report import build_collection_report, build_paper_report, build_report
    from destilo.runs import reported_io

    folders = runs or []
    if not folders:
        if not paper or output is None:
            raise InputError(
                "Name a run, a sweep's folder, or several runs; or write --paper -o FOLDER for "
                "the published figures."
            )
        with reported_io(output):
            say(f"wrote {build_paper_report(output, within=within).report}")
        return
    if len(folders) == 1 and (folders[0] / "results.json").exists():
        if output is not None:
            raise InputError(
                f"The report of a sweep is written into its folder, {folders[0]}: take --output "
                "away. Its tables/ are CSV."
            )
        with reported_io(folders[0]):
            made = build_collection_report(folders[0], paper=paper, within=within)
        say(f"wrote {made.report}")
        return
    if paper:
        raise InputError(
            "--paper puts published figures below those of a sweep: name one folder that holds "
            "results.json, or none."
        )
    for folder in folders:
        if not (folder / "manifest.json").exists():
            raise InputError(f"{folder} is not a run: it holds no manifest.json.")
    if len(folders) == 1 and output is None:
        with reported_io(folders[0]):
            say(f"wrote {build_report(folders[0]).report}")
        return
    _compare(folders, output)


def _compare(runs: Sequence[Path], output: Path | None) -> None:
    """Print or write one table over several runs."""
    from destilo.report import combine_runs
    from destilo.runs import reported_io, write_text

    text = combine_runs(runs)
    if output is None:
        sys.stdout.write(text)
        return
    with reported_io(output):
        write_text(output, text)
    say(f"wrote {output}")


def show_result(result: RunResult, *, as_json: bool) -> None:
    """Show what a run measured: one table a split, or JSON."""
    if is_helper():
        return
    if as_json:
        say_json(
            {
                "path": str(result.path),
                "evaluations": [one.model_dump(mode="json") for one in result.evaluations],
                "profiles": [one.model_dump(mode="json") for one in result.profiles],
            }
        )
        return
    from destilo.report import summary_rows

    console = output_console()
    rows = summary_rows(result.path)
    splits = dict.fromkeys(row.split for row in rows)
    for split in splits:
        own = [row for row in rows if row.split == split]
        console.print(_summary_table(split, own))
        for line in _remarks(own):
            console.print(line, highlight=False, markup=False)
        console.print()
    if (result.path / "report.md").exists():
        console.print(f"Report: {result.path / 'report.md'}", highlight=False)


def _summary_table(split: str, rows: Sequence[SummaryRow]) -> Table:
    """The models of one split, in columns that three models need 70 characters for."""
    metrics = list(rows[0].scores)[:2]
    columns = ["model", *metrics]
    profiled = any(row.profile for row in rows)
    if profiled:
        columns += ["params", "MACs", "ms p50", "speed"]
    cells = []
    for row in rows:
        line = [row.model.replace("-", " "), *(_percent(row.scores[name]) for name in metrics)]
        if profiled:
            line += _speed(row)
        cells.append(line)
    return table(f"{split} (n = {rows[0].n_rows})", columns, cells)


def _remarks(rows: Sequence[SummaryRow]) -> list[str]:
    """What the columns mean, and what distillation has gained."""
    lines = ["±: half the 95% interval"]
    if any(row.model == "baseline" for row in rows):
        lines[0] += f"; baseline: the {next(r.label for r in rows if r.model == 'baseline')}"
    for row in rows:
        if row.gain is not None:
            points = round(100 * row.gain, 2) + 0.0  # without a minus before zero
            more = "more" if row.gain_exceeds_interval else "not more"
            lines.append(
                f"distillation: {points:+.2f} points of {row.main_metric}, {more} than half "
                "the 95% interval"
            )
    return lines


def _percent(score: Score) -> str:
    """A score with half the width of its 95% interval."""
    return f"{100 * score.value:.1f} ± {100 * score.half_width:.1f}"


def _speed(row: SummaryRow) -> list[str]:
    if row.profile is None:
        return ["", "", "", ""]
    times = "" if row.speedup_by_time is None else f"{row.speedup_by_time:.1f}x"
    return [
        f"{row.profile.parameters / 1e6:.2f} M",
        f"{row.profile.macs / 1e6:.1f} M",
        f"{row.profile.latency_p50_ms:.2f}",
        times,
    ]
