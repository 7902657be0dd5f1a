"""What a user sees of a sweep: on a terminal, without one, for machines, and when it goes wrong."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from destilo.cli import _main
from destilo.cli.sweep_board import SweepBoard
from destilo.recipe.schema import Recipe
from destilo.records import TrialResult
from destilo.sweep.work import Outcome, Task
from tests.sweep.parts import Pretended, broken, pretended, write_sweep

__all__ = ["pretended"]


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command for a tiny sweep in an empty folder."""
    path = write_sweep(tmp_path, "ner")
    monkeypatch.chdir(tmp_path)
    return ["sweep", path.name, "-o", "out"]


def fails_once(recipe: Recipe) -> Exception | None:
    wrong = recipe.name == "ner-small-distil" and recipe.training.learning_rate == 5e-3
    return broken(recipe) if wrong else None


def test_a_line_for_each_task_and_where_everything_is(
    sweep: list[str], pretended: Pretended, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(sweep, debug=False) == 0
    told = capsys.readouterr()
    assert told.out == "wrote out/report.md, models in out/models\n"
    assert "==> ner: wide (learning_rate 0.001, seed 13)\n" in told.err
    assert "    ner: wide (learning_rate 0.001, seed 13): f1 0.5100" in told.err
    assert "ner: students follow wide\n" in told.err
    assert "cache for ner: small <- wide" in told.err
    assert told.err.count("==> ") == len(pretended.runs)


def test_a_failure_is_told_whole_and_leaves_with_1(
    sweep: list[str], pretended: Pretended, capsys: pytest.CaptureFixture[str]
) -> None:
    pretended.fails = fails_once
    assert _main([*sweep, "--quiet"], debug=False) == 1
    told = capsys.readouterr().err
    assert told.count("failed: ner: small <- wide (learning_rate 0.005") == 2
    assert "the loss is not finite [NaN]" in told
    assert "2 trials failed" in told
    assert "==>" not in told
    pretended.fails = lambda _: None
    assert _main([*sweep, "--quiet"], debug=False) == 0
    assert capsys.readouterr().err == ""


def test_for_machines_there_is_json_alone(
    sweep: list[str], pretended: Pretended, capsys: pytest.CaptureFixture[str]
) -> None:
    pretended.fails = fails_once
    assert _main([*sweep, "--json"], debug=False) == 1
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads(Path("out/results.json").read_text(encoding="utf-8"))
    assert [one["state"] for one in told["trials"]].count("failed") == 2


def test_ctrl_c_leaves_with_a_sentence_and_goes_on(
    sweep: list[str], pretended: Pretended, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(recipe: Recipe) -> Exception | None:
        del recipe
        if len(pretended.runs) == 3:
            raise KeyboardInterrupt
        return None

    pretended.fails = interrupted
    assert _main(sweep, debug=False) == 1
    assert "interrupted; the same command goes on where this stopped" in capsys.readouterr().err
    done = json.loads(Path("out/results.json").read_text(encoding="utf-8"))["trials"]
    assert [one["state"] for one in done] == ["finished", "finished"]
    pretended.fails = lambda _: None
    pretended.runs.clear()
    assert _main([*sweep, "--quiet"], debug=False) == 0
    assert ("ner-wide-finetune", 1e-3, "student") not in pretended.runs


def test_the_plan_says_what_is_done(
    sweep: list[str], pretended: Pretended, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main([*sweep, "--dry-run"], debug=False) == 0
    assert "0 of them done" in capsys.readouterr().out
    assert pretended.runs == []
    assert not Path("out").exists()
    _main([*sweep, "--quiet"], debug=False)
    capsys.readouterr()
    _main([*sweep, "--dry-run", "--json"], debug=False)
    plan = json.loads(capsys.readouterr().out)
    assert plan["done"] == plan["tasks"]


def outcome(cost: float, seconds: float, *, verb: str = "train") -> Outcome:
    result = TrialResult(
        trial=f"{cost}", stage="distil", dataset="ner", model="m", role="student", seed=1,
        state="finished",
    )  # fmt: skip
    task = Task(verb, result, {}, measured_by="", label="m", cost=cost)  # type: ignore[arg-type]  # a literal
    return Outcome(task, result, seconds=seconds)


def test_time_left_goes_by_cost_and_where_it_is_unknown_by_number() -> None:
    board = SweepBoard(Console(file=io.StringIO()), quiet=True)
    known, unknown = outcome(1e12, 10.0), outcome(0.0, 4.0)
    board.planned([known.task] * 3 + [unknown.task] * 2)
    board.ended(unknown, again=False)
    assert board._seconds_left() == pytest.approx(4.0)  # nothing is known of the others yet
    board.ended(known, again=False)
    assert board._seconds_left() == pytest.approx(2 * 10.0 + 4.0)
    board.ended(known, again=True)  # had been done: says nothing of speed
    assert board._seconds_left() == pytest.approx(10.0 + 4.0)
    board.workers = 2
    assert board._seconds_left() == pytest.approx(7.0)


def test_on_a_terminal_there_is_a_table_and_an_error_leaves_it_whole() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    board = SweepBoard(console)
    one = outcome(1e12, 10.0)
    with pytest.raises(RuntimeError):
        _show_and_break(board, one)
    text = screen.getvalue()
    assert "distilled" in text
    assert "1/2" in text
    assert "student [1/2]: 3/7" in text
    assert "students follow wide" in text
    assert text.endswith("\x1b[?25h")  # the cursor is back


def _show_and_break(board: SweepBoard, one: Outcome) -> None:
    with board:
        board.planned([one.task] * 2)
        board.begun(one.task)
        board.begin("student [1/2]", 7)
        board.advance(3, figures={"loss": 0.25})
        board.ended(one, again=False)
        board.selected("ner", "wide")
        raise RuntimeError
