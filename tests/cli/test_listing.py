"""The lists of the catalogue: readable in a terminal, complete as JSON, without torch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from destilo.catalogue.datasets import list_datasets
from destilo.catalogue.models import list_models
from destilo.cli import _main
from destilo.cli.listing import KINDS


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("what", ["models", "teachers", "students", "datasets"])
def test_lists_fit_the_terminal_and_break_no_name(
    what: str,
    columns: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert _main(["list", what], debug=False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line.rstrip()) <= columns for line in lines)
    words = {line.split()[0] for line in lines if line.strip()}
    entries = list_datasets() if what == "datasets" else list_models()
    shown = {entry.name for entry in entries} & words
    assert len(shown) >= 9
    hubs = {entry.hub for entry in list_models() if entry.name in shown} - {None}
    text = "\n".join(lines)
    assert what == "datasets" or all(str(hub) in text for hub in hubs)


def test_models_as_json_have_exact_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(["list", "students", "--json"], debug=False) == 0
    entries = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert entries["albeto-base-4"]["sizes"]["macs_of_modules"] == 14_559_283_456
    assert entries["albeto-base-4"]["config"]["num_hidden_layers"] == 4
    assert entries["dbert-tiny"]["hub"] is None


def test_datasets_as_json_have_their_splits(capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(["list", "datasets", "--json"], debug=False) == 0
    entries = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert entries["conll2002-es"]["local"]["train"]["path"] == "train.txt"
    assert entries["xnli-es"]["hub"]["test"]["split"] == "test"


def test_no_list_loads_anything_heavy() -> None:
    program = f"""
import sys
from destilo.cli import _main
for what in {KINDS!r}:
    assert _main(["list", what], debug=False) == 0
heavy = {{"torch", "transformers", "datasets", "numpy"}} & set(sys.modules)
sys.exit(f"imported {{heavy}}" if heavy else 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_an_unknown_kind_is_the_users_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(["list", "techers"], debug=False) == 2
    assert "Did you mean 'teachers'" in capsys.readouterr().err
