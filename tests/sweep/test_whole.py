"""Whole sweeps that train: in one process, in several, and killed on the way."""

import subprocess
import sys
from pathlib import Path

import pytest

from destilo.pipeline import read_result
from destilo.sweep.executors import Processes
from destilo.sweep.load import load_sweep
from tests.sweep.parts import do_sweep, sweep_value, tiny_sweep, write_sweep
from tests.sweep.test_run import results, selected, stamps

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

FEW = {
    "seeds": [13],
    "finetune__grid": {"learning_rate": [5e-3]},
    "distil__grid": {"temperature": [1.0, 2.0]},
}


def test_a_sweep_of_two_data_sets_end_to_end(tmp_path: Path) -> None:
    sweep, output = tiny_sweep(tmp_path, "ner", "classes", **FEW), tmp_path / "out"
    result, _ = do_sweep(sweep, output)
    assert result.failed == ()
    for one in selected(result.collection):
        assert one.profile is not None
        assert one.tests["test"]
        assert read_result(output / "trials" / one.trial).profile == one.profile
    for dataset in ("ner", "classes"):
        for student in ("one-layer", "small"):
            assert (output / "models" / dataset / student / "model.safetensors").is_file()
    text = (output / "report.md").read_text(encoding="utf-8")
    assert "one-layer" in text
    assert len(list((output / "tables").glob("*.csv"))) == 8

    before = stamps(output)
    again, watching = do_sweep(sweep, output)
    assert watching.began == []
    assert stamps(output) == before
    assert again.collection == result.collection

    profile = sweep_value(tmp_path, "ner")["base"]["profile"] | {"sequence_length": 8}
    measured, watching = do_sweep(
        tiny_sweep(tmp_path, "ner", "classes", base__profile=profile, **FEW), output
    )
    assert {task.verb for task in watching.began} == {"measure"}
    weights = {name for name in before if name.endswith("student/model.safetensors")}
    assert {name: stamps(output)[name] for name in weights} == {
        name: before[name] for name in weights
    }
    shapes = {one.profile.sequence_length for one in selected(measured.collection) if one.profile}
    assert shapes == {8}


def test_several_processes_do_the_same(tmp_path: Path) -> None:
    sweep = tiny_sweep(tmp_path, "classes", **FEW)
    do_sweep(sweep, tmp_path / "one")
    do_sweep(
        sweep,
        tmp_path / "two",
        make=lambda storage, watching: Processes(storage, 2, begun=watching.begun),
    )
    assert results(tmp_path / "two") == results(tmp_path / "one")


def test_a_killed_sweep_ends_as_one_that_was_not(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    sweep = write_sweep(tmp_path, "classes", **FEW)
    ran = subprocess.run(
        [
            *(sys.executable, root / "benchmarks" / "killed_sweep.py"),
            *("--sweep", sweep, "--output", tmp_path / "out", "--kills", "2"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " 0 differ" in ran.stdout


def test_candidates_may_be_the_first_layers_of_an_encoder(tmp_path: Path) -> None:
    made, _ = do_sweep(tiny_sweep(tmp_path, "ner", **FEW), tmp_path / "first")
    wide = next(one.trial for one in selected(made.collection) if one.model == "wide")
    encoder = str(tmp_path / "first" / "trials" / wide / "student")
    value = sweep_value(tmp_path, "ner", **FEW)
    value["teachers"] = {"whole": {"model": encoder}, "half": {"model": encoder, "layers": 1}}
    value["students"] = {"one-layer": {"from": "layers", "layers": 1}}
    for _ in range(2):  # with either of them as the teacher
        result, _ = do_sweep(load_sweep(value), tmp_path / "second")
        assert result.failed == ()
        value["teachers"].pop("whole", None)
