"""The command line: what is said, where it is said, and the exit codes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from destilo.cli import _main
from tests import tiny

COMMANDS = (
    "demo",
    "run",
    "train",
    "evaluate",
    "profile",
    "report",
    "list",
    "copy",
    "check",
    "predict",
    "cache",
)


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return tiny.write_recipe(tmp_path, "ner", n=24, training__num_train_epochs=1)


def call(*arguments: str | Path, debug: bool = False) -> int:
    return _main([str(argument) for argument in arguments], debug=debug)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 2) -> str:
    """What is said when a command leaves with ``code``: errors alone, and no traceback."""
    assert call(*arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err


# -- help and lists ----------------------------------------------------------------------


def test_help_and_lists_start_no_machinery() -> None:
    program = f"""
import sys
from destilo.cli import _main
for command in {COMMANDS!r}:
    assert _main([command, "--help"], debug=False) == 0
assert _main(["--help"], debug=False) == _main(["--version"], debug=False) == 0
for what in ("tasks", "recipes", "terms"):
    assert _main(["list", what], debug=False) == 0
assert _main(["check", "demo"], debug=False) == 0
heavy = {{"torch", "transformers", "accelerate", "datasets", "matplotlib"}} & set(sys.modules)
sys.exit(f"imported {{heavy}}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Usage: destilo run" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_terminal_and_says_more_than_a_line(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(command, "--help") == 0
    text = capsys.readouterr().out
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "Usage: destilo" in text


@pytest.mark.parametrize("what", ["tasks", "recipes", "terms"])
def test_lists_are_json_for_machines(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list", what, "--json") == 0
    assert json.loads(capsys.readouterr().out)


# -- what a user gets wrong --------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rum"], "No such command 'rum'"),
        (["run", "demo", "-o", "x", "--frobnicate"], "No such option: --frobnicate"),
        (["run", "demo"], "Missing option '--output' / '-o'"),
        (["list", "taks"], "Did you mean 'tasks'?"),
        (["check", "dmo"], "Did you mean 'demo'?"),
        (["copy", "nerr", "x.yaml"], "Did you mean 'ner-es'?"),
        (["run", "demo", "-o", "x", "--set", "training.sed=7"], "'seed'"),
        (["run", "demo", "-o", "x", "--set", "training.seed=x"], "whole number"),
        (["run", "demo", "-o", "x", "--set", "nonsense"], "key.path=value"),
        (["run", "demo", "-o", "x", "--set", "student.layers=9"], "Use at most 4"),
        (["report", "nowhere"], "nowhere"),
        (["predict", "nowhere", "--text", "a"], "nowhere is neither a model folder"),
        (["predict", "nowhere", "--text", "a", "-i", "f"], "not both"),
    ],
)
def test_a_wrong_word_is_told_with_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capsys, *arguments)


def test_a_misspelt_key_is_told_with_its_line(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = recipe.read_text(encoding="utf-8").replace('"learning_rate"', '"learnig_rate"')
    recipe.write_text(text, encoding="utf-8")
    line = text[: text.index("learnig_rate")].count("\n") + 1
    said = refused(capsys, "run", recipe, "-o", recipe.parent / "run")
    assert f"{recipe}:{line}: training.learnig_rate" in said
    assert "Did you mean 'learning_rate'?" in said
    assert not (recipe.parent / "run").exists()


def test_what_is_wrong_with_data_is_told_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipes = {}
    for kind in ("ner", "classes", "questions"):
        (tmp_path / kind).mkdir()
        recipes[kind] = tiny.write_recipe(tmp_path / kind, kind, n=24)
    bad = tmp_path / "bad"
    cut = (tmp_path / "questions/data/train.json").read_text(encoding="utf-8")[:300]
    quoted = 'text,label\nbien,buena\n"abierta y no cerrada,buena\notra,mala\n'
    tags = (tmp_path / "ner/data/test.txt").read_text(encoding="utf-8").replace("B-LOC", "B-XYZ")
    train, test = "data.train.", "data.test."
    cases: list[tuple[str, str, list[str], list[str]]] = [
        ("ner", "", [f"{train}path=nowhere.txt"], ["data.train.path", "nowhere.txt"]),
        ("questions", cut, [f"{train}path={bad}"], [f"{bad}:1:", "cut short"]),
        ("classes", quoted, [f"{train}format=csv", f"{train}path={bad}"], [f"{bad}:3", "quote"]),
        ("classes", "", [f"data.validation.path={bad}"], ["data.validation", "no rows"]),
        ("classes", "", [f"{train}path={bad}"], ["data.train", "no rows"]),
        ("ner", tags, [f"{test}path={bad}"], ["data.test", "B-XYZ", f"{bad}:1", "data.labels"]),
    ]
    for kind, content, overrides, words in cases:
        bad.write_text(content, encoding="utf-8")
        flags = [word for override in overrides for word in ("--set", override)]
        said = refused(capsys, "run", recipes[kind], "-o", tmp_path / "run", *flags)
        assert all(word in said.replace("\n", "") for word in words), said
    assert not (tmp_path / "run" / "data.json").exists()


@pytest.mark.parametrize("place", ["plain/run", "plain", "/proc/nowhere/run"])
def test_a_folder_that_cannot_be_written_is_told(
    place: str, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (recipe.parent / "plain").write_text("")
    said = refused(capsys, "run", recipe, "-o", recipe.parent / place)
    assert "cannot be written" in said
    assert "-o" in said


def test_our_own_failure_is_1_and_debug_shows_where(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("destilo.pipeline.stages.read_inputs", broken)
    arguments = ("run", recipe, "-o", recipe.parent / "run")
    assert "a bug in destilo; --debug shows where" in refused(capsys, *arguments, code=1)
    assert call(*arguments, debug=True) == 1
    assert "Traceback" in capsys.readouterr().err


# -- what a user gets right --------------------------------------------------------------


@pytest.mark.slow
def test_a_run_prints_its_table_and_again_skips(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = recipe.parent / "run"
    assert call("run", recipe, "-o", run) == 0
    first = capsys.readouterr()
    assert "test (n = 12)" in first.out
    assert "teacher" in first.out
    assert "==> student" in first.err
    assert call("run", recipe, "-o", run, "--json", "--quiet") == 0
    second = capsys.readouterr()
    values = json.loads(second.out)
    assert {one["model"] for one in values["profiles"]} == {"teacher", "student"}
    assert second.err == ""
    assert call("report", run) == 0
    assert call("report", run, run, "-o", run.parent / "both.md") == 0
    assert (run.parent / "both.md").stat().st_size > 0


@pytest.mark.slow
def test_each_verb_stops_after_its_stage(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = recipe.parent / "run"
    assert call("train", recipe, "-o", run, "-q") == 0
    assert (run / "student").is_dir()
    assert not (run / "evaluation.json").exists()
    assert call("evaluate", recipe, "-o", run, "-q", "--json") == 0
    assert json.loads(capsys.readouterr().out)["profiles"] == []
    assert call("profile", recipe, "-o", run, "-q") == 0
    assert not (run / "report.md").exists()


def test_copy_then_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "mine.yaml"
    assert call("copy", "demo", target) == 0
    assert call("check", target) == 0
    assert "no errors" in capsys.readouterr().out
    assert "exists" in refused(capsys, "copy", "demo", target)


def test_check_tells_every_problem_and_leaves_with_2(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = ("--set", "student.layers=5", "--set", "data.test.path=nowhere")
    said = refused(capsys, "check", recipe, *changes)
    assert said.count("error:") == 2
    assert call("check", recipe, "--json", *changes) == 2
    found = json.loads(capsys.readouterr().out)["findings"]
    assert [one["level"] for one in found] == ["error", "error"]
    assert all(one["remedy"] for one in found)
