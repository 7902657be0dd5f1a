"""The command line: the only module that prints.

Positional input, ``-o`` output, ``--set`` overrides, ``--json`` for machines; exit code 2 for
what the user can mend, 1 for what failed on our side.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from destilo import __version__
from destilo.errors import DestiloError, InputError, suggest
from destilo.terminal import TerminalProgress, error_console, output_console, table

if TYPE_CHECKING:
    from rich.table import Table

    from destilo.records import Score
    from destilo.report import SummaryRow

app = typer.Typer(
    name="destilo",
    help="Distil a large transformer encoder into a small, fast model for one task, and prove "
    "that it is good.\n\n"
    "[bold]destilo demo[/]                          see it work: minutes, no network\n"
    "[bold]destilo copy ner-es mine.yaml[/]         start a recipe of your own, then edit it\n"
    "[bold]destilo check mine.yaml[/]               find mistakes before anything is loaded\n"
    "[bold]destilo run mine.yaml -o runs/mine[/]    train, distil, measure, report\n"
    "[bold]destilo predict runs/mine --text ...[/]  use the model",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A recipe file, or a shipped recipe's name.")
]
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", metavar="RUN", help="The run folder; made if needed.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a key, e.g. training.seed=7. Repeatable."
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Do finished stages again.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Results as JSON on standard output.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Say only warnings.")]


def _version(wanted: bool) -> None:
    if wanted:
        output_console().print(f"destilo {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Hold the options that every command has."""


# -- running ---------------------------------------------------------------------------------


@app.command()
def demo(
    output: OutputOption = Path("runs/demo"),
    overrides: SetOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """See the whole pipeline work: embedded Spanish data, minutes, no network.

    Trains a small question-answering teacher from nothing on an invented
    encyclopaedia, distils a student, trains the same student without distillation,
    and compares all three.
    """
    result = _run("demo", output, overrides, force=force, until="report", quiet=quiet)
    _show(result, as_json=as_json)
    if not as_json:
        _answer_live(output)
        _next_steps(output)


@app.command()
def run(
    recipe: RecipeArgument,
    output: OutputOption,
    overrides: SetOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run a recipe from start to finish into a run folder.

    Stages: data, teacher, student, baseline, evaluate, profile, report.
    A finished stage is skipped; after Ctrl-C or a crash the same command goes on.

    destilo run demo -o runs/demo
    destilo run mine.yaml -o runs/mine --set training.seed=7

    Several processes, on GPUs or on a CPU (--multi_gpu is for both):

    accelerate launch --multi_gpu --num_processes 2 -m destilo run ...
    """
    result = _run(recipe, output, overrides, force=force, until="report", quiet=quiet)
    _show(result, as_json=as_json)


@app.command()
def train(
    recipe: RecipeArgument,
    output: OutputOption,
    overrides: SetOption = None,
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train the models of a recipe, without measuring them."""
    _run(recipe, output, overrides, force=force, until="baseline", quiet=quiet)


@app.command()
def evaluate(
    recipe: RecipeArgument,
    output: OutputOption,
    overrides: SetOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run up to the evaluation: scores with intervals, every prediction on file."""
    result = _run(recipe, output, overrides, force=force, until="evaluate", quiet=quiet)
    _show(result, as_json=as_json)


@app.command()
def profile(
    recipe: RecipeArgument,
    output: OutputOption,
    overrides: SetOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run up to the profile: parameters, MACs, size, latency, memory."""
    result = _run(recipe, output, overrides, force=force, until="profile", quiet=quiet)
    _show(result, as_json=as_json)


@app.command()
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
        _say(f"wrote {files.report}")
        return
    text = combine_runs(runs)
    if output is None:
        sys.stdout.write(text)
        return
    with reported_io(output):
        write_text(output, text)
    _say(f"wrote {output}")


# -- recipes ---------------------------------------------------------------------------------


@app.command("list")
def list_things(
    what: Annotated[
        str, typer.Argument(help="tasks, recipes or terms.", metavar="[tasks|recipes|terms]")
    ] = "recipes",
    as_json: JsonOption = False,
) -> None:
    """List shipped recipes, tasks or loss terms."""
    from destilo.recipe.catalogue import list_tasks, list_terms, shipped_recipes

    if what == "tasks":
        entries: Any = [asdict(entry) for entry in list_tasks()]
        columns = ["name", "summary", "formats", "metrics"]
        rows = [[_joined(entry[column]) for column in columns] for entry in entries]
    elif what in ("recipes", "terms"):
        entries = shipped_recipes() if what == "recipes" else list_terms()
        columns, rows = ["name", "what it does"], [[name, text] for name, text in entries.items()]
    else:
        raise InputError(suggest(what, ("tasks", "recipes", "terms"), kind="list"))
    if as_json:
        _json(entries)
        return
    output_console().print(table(what, columns, rows))


def _joined(value: str | Sequence[str]) -> str:
    return value if isinstance(value, str) else ", ".join(value)


@app.command()
def copy(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe's name.", metavar="RECIPE")],
    target: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")],
) -> None:
    """Copy a shipped recipe, comments and all, to a file of your own.

    destilo copy ner-es mine.yaml
    """
    from destilo.recipe.catalogue import copy_recipe
    from destilo.runs import reported_io

    with reported_io(target):
        path = copy_recipe(recipe, target)
    _say(f"wrote {path}; edit it, then: destilo check {path}")


@app.command()
def check(
    recipe: RecipeArgument,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a recipe before anything is loaded.

    Looks at keys, values, files and combinations that cannot work; each problem
    comes with its file, line and remedy. Leaves with 2 if there is an error.
    """
    from destilo.recipe.check import check_recipe
    from destilo.recipe.load import load_recipe

    loaded = load_recipe(recipe, overrides=overrides or ())
    findings = check_recipe(loaded)
    errors = [finding for finding in findings if finding.level == "error"]
    if as_json:
        _json(
            {
                "digest": loaded.digest,
                "findings": [
                    {
                        "level": one.level,
                        "where": one.where,
                        "message": one.message,
                        "remedy": one.remedy,
                    }
                    for one in findings
                ],
            }
        )
    else:
        for finding in findings:
            _complain(finding.level, str(finding))
        if not errors:
            _say(f"{recipe}: no errors, {len(findings)} warnings. Digest {loaded.digest[:16]}")
    if errors:
        raise typer.Exit(2)


# -- predicting ------------------------------------------------------------------------------


@app.command()
def predict(
    model: Annotated[
        Path, typer.Argument(help="A run (its student answers) or a model folder.", metavar="MODEL")
    ],
    question: Annotated[str | None, typer.Option(help="Question answering: the question.")] = None,
    context: Annotated[str | None, typer.Option(help="Question answering: the context.")] = None,
    text: Annotated[str | None, typer.Option(help="Classification or tagging: the text.")] = None,
    text_pair: Annotated[str | None, typer.Option(help="Pairs: the second text.")] = None,
    file: Annotated[
        Path | None,
        typer.Option("--input", "-i", help="JSON lines with the task's keys; - reads stdin."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write JSON lines here, not to stdout.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows at a time.")] = 32,
) -> None:
    """Predict with a trained model; JSON lines come out.

    destilo predict runs/qa --question "¿Dónde nació?" --context "Nació en Jaca."
    destilo predict runs/ner --text "Inés vive en Jaca."
    destilo predict runs/pairs --text "Llueve." --text-pair "Está lloviendo."
    destilo predict runs/ner --input rows.jsonl --output tags.jsonl
    cat rows.jsonl | destilo predict runs/ner

    A file, or standard input, holds one JSON object a line with the same keys:
    question and context; text, or tokens (a list); text and text_pair.
    An id is passed on.
    """
    from destilo.predict import Predictor
    from destilo.runs import reported_io

    arguments = {
        key: value
        for key, value in (
            ("question", question),
            ("context", context),
            ("text", text),
            ("text_pair", text_pair),
        )
        if value is not None
    }
    if arguments and file is not None:
        raise InputError("Give either texts as arguments or --input, not both.")
    if not arguments and file is None and sys.stdin.isatty():
        raise InputError(
            "There is nothing to predict: give --text (or --question and --context), "
            "--input FILE, or JSON lines on standard input."
        )
    _quiet_libraries()
    predictor = Predictor.load(model)
    inputs: Iterator[tuple[str, Mapping[str, Any]]] = (
        iter([("", arguments)]) if arguments else _json_lines(file)
    )
    rows = (
        _row(predictor, values, where=where, number=number)
        for number, (where, values) in enumerate(inputs)
    )
    lines = (
        json.dumps(one, ensure_ascii=False) + "\n"
        for one in predictor.stream(rows, batch_size=batch_size)
    )
    if output is None:
        for line in lines:
            sys.stdout.write(line)
            sys.stdout.flush()
        return
    partial = output.with_name(f".{output.name}.partial")
    with reported_io(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("w", encoding="utf-8") as stream:
                stream.writelines(lines)
            partial.replace(output)
        finally:
            partial.unlink(missing_ok=True)


def _row(predictor: Any, values: Mapping[str, Any], *, where: str, number: int) -> Any:
    try:
        return predictor.row(values, number=number)
    except InputError as error:
        raise InputError(f"{where}: {error}" if where else str(error)) from error


def _json_lines(path: Path | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    name = "standard input" if path is None or str(path) == "-" else str(path)
    with _opened(path) as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except ValueError as error:
                raise InputError(f"{name}:{number}: not JSON: {error}.") from error
            if not isinstance(values, dict):
                raise InputError(f"{name}:{number}: a line must hold a JSON object.")
            yield f"{name}:{number}", values


@contextmanager
def _opened(path: Path | None) -> Iterator[Iterator[str]]:
    standard = path is None or str(path) == "-"
    name = "standard input" if standard else str(path)
    try:
        if path is None or standard:
            yield TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig")
            return
        with path.open(encoding="utf-8-sig") as stream:
            yield iter(stream)
    except FileNotFoundError:
        raise InputError(f"{name} does not exist.") from None
    except (IsADirectoryError, PermissionError, UnicodeDecodeError) as error:
        raise InputError(f"{name} is not a text file in UTF-8: {error}.") from error


# -- shared ----------------------------------------------------------------------------------


def _run(
    source: str,
    output: Path,
    overrides: Sequence[str] | None,
    *,
    force: bool,
    until: str,
    quiet: bool,
) -> Any:
    from destilo.recipe.check import require_valid
    from destilo.recipe.load import load_recipe

    recipe = load_recipe(source, overrides=overrides or ())
    require_valid(recipe)  # before torch is imported, so that a typo costs no time
    _quiet_libraries()
    from destilo.pipeline import run as run_recipe

    helper = int(os.environ.get("RANK", "0")) > 0
    progress = TerminalProgress(error_console(), quiet=quiet or helper)
    return run_recipe(recipe, output=output, force=force, until=until, progress=progress)


def _quiet_libraries() -> None:
    """Keep the libraries' own bars and load reports off the terminal; ours say what matters."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        from transformers.utils import logging
    except ImportError:
        raise InputError(
            'This command needs torch and transformers: pip install "destilo[train]"'
        ) from None
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _show(result: Any, *, as_json: bool) -> None:
    if int(os.environ.get("RANK", "0")) > 0:
        return
    if as_json:
        _json(
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
        console.print(_summary_table(split, [row for row in rows if row.split == split]))
    if (result.path / "report.md").exists():
        console.print(f"Report: {result.path / 'report.md'}", highlight=False)


def _summary_table(split: str, rows: Sequence[SummaryRow]) -> Table:
    metrics = list(rows[0].scores)[:2]
    columns = ["model", *(f"{name} ± 95%" for name in metrics)]
    profiled = any(row.profile for row in rows)
    if profiled:
        columns += ["params", "MACs", "ms p50", "speed"]
    cells = []
    for row in rows:
        line = [row.label, *(_percent(row.scores[name]) for name in metrics)]
        if profiled:
            line += _speed(row)
        cells.append(line)
    title = f"{split} (n = {rows[0].n_rows})"
    gain = next((row for row in rows if row.gain is not None), None)
    result = table(title, columns, cells)
    if gain is not None and gain.gain is not None:
        more = "more" if gain.gain_exceeds_interval else "not more"
        result.caption = (
            f"distillation: {100 * gain.gain:+.2f} points of {gain.main_metric}, {more} than "
            "the 95% interval's half-width"
        )
    return result


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


def _answer_live(output: Path) -> None:
    from destilo.data.synthetic import synthetic_rows
    from destilo.predict import Predictor

    console = output_console()
    predictor = Predictor.load(output)
    console.print("\n[bold]Two questions, answered now by the student[/]")
    rows = synthetic_rows("test", size=40)
    first, second = rows[0], next(row for row in rows if row.context != rows[0].context)
    for row in (first, second):
        answer = predictor(question=row.question, context=row.context)
        gold = row.answers[0].text if row.answers else ""
        console.print(f"\n  {escape(row.context)}", style="dim", highlight=False)
        console.print(f"  [bold]{escape(row.question)}[/]", highlight=False)
        console.print(
            f"  -> [green]{escape(answer['answer'])}[/]  (score {answer['score']:.2f}; "
            f"in the text: {escape(gold)})",
            highlight=False,
        )


def _next_steps(output: Path) -> None:
    console = output_console()
    console.print("\n[bold]What is where[/]")
    for name, text in (
        ("student/", "the distilled model, loads with transformers too"),
        ("teacher/, baseline/", "the teacher, and the same student without distillation"),
        ("report.md", "the whole comparison, with quality_speed.png"),
        ("training/*/curve.png", "how each training went"),
        ("predictions/", "every single prediction"),
    ):
        console.print(f"  {output}/{name}  [dim]{text}[/]", highlight=False)
    console.print("\n[bold]What to type next[/]")
    for line in (
        f'destilo predict {output} --question "¿...?" --context "..."',
        "destilo list recipes",
        "destilo copy qa-es mine.yaml   # then edit it, and: destilo check mine.yaml",
        "destilo run mine.yaml -o runs/mine",
    ):
        console.print(f"  {line}", highlight=False, markup=False)


def _json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def _say(message: str) -> None:
    output_console().print(message, highlight=False, markup=False, soft_wrap=True)


def _complain(level: str, message: str) -> None:
    colour = "red" if level == "error" else "yellow"
    error_console().print(f"[{colour}]{level}:[/] {escape(message)}", highlight=False)


def main() -> NoReturn:
    """Run the command line and leave with its exit code."""
    debug = "--debug" in sys.argv[1:]
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    sys.exit(_main(arguments, debug=debug))


def _main(arguments: Sequence[str], *, debug: bool) -> int:
    console = error_console()
    try:
        code = int(app(args=list(arguments), prog_name="destilo", standalone_mode=False) or 0)
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        return code
    except typer.Exit as leave:
        return int(leave.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        console.print("interrupted; the same command goes on where this stopped", highlight=False)
        return 1
    except (BrokenPipeError, SystemExit):  # the reader went away; the parser exits on that
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except DestiloError as error:
        _fail(console, error, debug=debug)
        return error.exit_code
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        message = f"{'the disk is full: ' if full else ''}{error}"
        _fail(console, DestiloError(message), debug=debug)
        return 1
    except Exception as error:
        if hasattr(error, "show") and hasattr(error, "exit_code"):  # usage errors of the parser
            error.show()
            return 2
        kind = type(error).__name__
        message = f"{kind}: {error} (a bug in destilo; --debug shows where)"
        _fail(console, DestiloError(message), debug=debug)
        return 1


_INTERRUPTED = 130
"""What the parser returns when Ctrl-C stops a command."""


def _fail(console: Console, error: DestiloError, *, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    console.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
