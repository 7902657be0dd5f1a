"""The check of a recipe, as a machine reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from destilo.cli import _main
from tests import tiny


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return tiny.write_recipe(tmp_path, "ner", n=24)


def _checked(
    capsys: pytest.CaptureFixture[str], recipe: str | Path, *overrides: str
) -> list[dict[str, Any]]:
    flags = [word for override in overrides for word in ("--set", override)]
    assert _main(["check", str(recipe), "--json", *flags], debug=False) == 2
    captured = capsys.readouterr()
    assert captured.err == ""
    value = json.loads(captured.out)
    assert set(value) == {"digest", "findings"}
    for finding in value["findings"]:
        assert set(finding) == {"level", "where", "key", "message", "remedy"}
        assert finding["level"] == "error"
    found: list[dict[str, Any]] = value["findings"]
    return found


def test_a_recipe_that_does_not_load_is_told_in_json(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = recipe.read_text(encoding="utf-8").replace('"learning_rate"', '"learnig_rate"')
    recipe.write_text(text, encoding="utf-8")
    line = text[: text.index("learnig_rate")].count("\n") + 1
    unknown, wrong = _checked(capsys, recipe, "profile.samples=muchas: todas")
    if unknown["key"] != "training.learnig_rate":
        unknown, wrong = wrong, unknown
    assert unknown["where"] == f"{recipe}:{line}"
    assert unknown["message"] == "Unknown key 'learnig_rate'."
    assert unknown["remedy"].startswith("Did you mean 'learning_rate'?")
    assert (wrong["where"], wrong["key"]) == (
        "--set profile.samples=muchas: todas",
        "profile.samples",
    )
    assert "whole number" in wrong["message"]


def test_what_a_check_finds_has_the_same_form(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (found,) = _checked(capsys, recipe, "student.layers=5")
    assert found["key"] == "student.layers"
    assert found["remedy"]


def test_other_reasons_not_to_load_are_findings_too(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (missing,) = _checked(capsys, "nowhere.yaml")
    assert "no such recipe file" in missing["message"]
    (unknown,) = _checked(capsys, "dmo")
    assert unknown["message"] == "Unknown recipe or file 'dmo'."
    assert "Did you mean 'demo'?" in unknown["remedy"]
    (override,) = _checked(capsys, recipe, "nonsense")
    assert (override["where"], override["message"]) == (
        "--set nonsense",
        "write it as key.path=value.",
    )
    recipe.write_text("task: [", encoding="utf-8")
    (syntax, *_) = _checked(capsys, recipe)
    assert syntax["where"].startswith(f"{recipe}:")
