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
        list[Path], typer.Argument(metavar="RUN...", help="Run folders; several are compared.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where a comparison of several runs is written."),
    ] = None,
) -> None:
    """Write the report of a run, or one table over several runs.

    It reads a run's files alone: no model is loaded. Seeds of the same recipe
    become a mean and its spread.

    destilo report runs/mine
    destilo report runs/seed-1 runs/seed-2 runs/seed-3 -o comparison.md
    """
    from destilo.report import build_report, combine_runs
    from destilo.runs import reported_io, write_text

    for folder in runs:
        if not (folder / "manifest.json").exists():
            raise InputError(f"{folder} is not a run: it holds no manifest.json.")
    if len(runs) == 1 and output is None:
        with reported_io(runs[0]):
            files = build_report(runs[0])
        say(f"wrote {files.report}")
        return
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
