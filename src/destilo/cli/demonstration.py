"""The demo: a whole run on embedded data, then the student answers and says what to type next."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape

from destilo.cli.options import ForceOption, JsonOption, OutputOption, QuietOption, SetOption
from destilo.cli.results import show_result
from destilo.cli.running import run_recipe
from destilo.terminal import is_helper, output_console


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
    result = run_recipe("demo", output, overrides, force=force, until="report", quiet=quiet)
    show_result(result, as_json=as_json)
    if not (as_json or is_helper()):
        _answer_live(output)
        _next_steps(output)


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
