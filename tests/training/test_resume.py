"""Killed at any moment, the same command again ends with the same weights and the same log."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import destilo
from destilo.errors import CheckpointError
from tests import tiny
from tests.training.killing import run_recipe

Damage = Callable[[Path], None]


def long_enough(folder: Path, **changes: Any) -> dict[str, Any]:
    """Dropout, accumulation, a short last batch, several evaluations and checkpoints."""
    keys: dict[str, Any] = {
        "n": 42,
        "student__dropout": 0.2,
        "training__num_train_epochs": 3,
        "training__per_device_train_batch_size": 4,
        "training__gradient_accumulation_steps": 2,
        "training__save_steps": 2,
        "training__eval_steps": 5,
        "evaluation__select_by": "validation_loss",
    }
    return tiny.recipe(folder, "ner", **(keys | changes))


def trace(run: Path) -> dict[str, bytes]:
    files = [f"{model}/model.safetensors" for model in ("teacher", "student")]
    files += [f"training/{model}/log.jsonl" for model in ("teacher", "student")]
    return {name: (run / name).read_bytes() for name in files}


def steps(run: Path, model: str = "student") -> list[int]:
    lines = (run / "training" / model / "log.jsonl").read_text().splitlines()
    return [record["step"] for record in map(json.loads, lines) if "loss" in record]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return long_enough(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(recipe: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("whole") / "run"
    assert run_recipe(recipe, output) == 0
    return output


def test_an_uninterrupted_run_logs_every_step_once_and_leaves_no_checkpoint(whole: Path) -> None:
    # 42 rows in batches of 2 x 4: 6 steps an epoch (the last has 2 rows), 3 epochs
    assert steps(whole) == list(range(1, 19))
    assert not list(whole.glob("training/*/checkpoints"))


@pytest.mark.parametrize(
    ("moment", "call"),
    [
        ("step", 10),  # in the student; the teacher has 6 steps
        pytest.param("saved", 5, marks=pytest.mark.slow),
        pytest.param("step", 1, marks=pytest.mark.slow),
        pytest.param("step", 24, marks=pytest.mark.slow),
        pytest.param("evaluation", 3, marks=pytest.mark.slow),
        pytest.param("evaluation", 5, marks=pytest.mark.slow),
        pytest.param("saving", 2, marks=pytest.mark.slow),
        pytest.param("saving", 30, marks=pytest.mark.slow),
        pytest.param("best", 3, marks=pytest.mark.slow),
        pytest.param("model", 1, marks=pytest.mark.slow),
        pytest.param("model", 2, marks=pytest.mark.slow),
    ],
)
def test_killed_and_run_again_equals_uninterrupted(
    moment: str, call: int, recipe: Mapping[str, Any], whole: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    assert run_recipe(recipe, output, moment=moment, call=call) == -signal.SIGKILL
    assert run_recipe(recipe, output) == 0
    assert trace(output) == trace(whole)


@pytest.mark.slow
def test_killed_again_and_again_still_ends_with_the_same_weights(
    recipe: Mapping[str, Any], whole: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    attempts = 0
    while run_recipe(recipe, output, moment="step", call=3) != 0:
        attempts += 1
        assert attempts < 30
    assert attempts > 8
    assert trace(output) == trace(whole)


@pytest.mark.slow
def test_early_stopping_remembers_its_patience_over_a_kill(tmp_path: Path) -> None:
    recipe = long_enough(
        tmp_path / "data",
        training__early_stopping_patience=2,
        training__num_train_epochs=9,
        training__learning_rate=0.05,  # so high that it soon gets worse
        training__eval_steps=3,
    )
    assert run_recipe(recipe, tmp_path / "whole") == 0
    stopped = steps(tmp_path / "whole")[-1]
    assert stopped < 54
    while run_recipe(recipe, tmp_path / "cut", moment="step", call=7) != 0:
        pass
    assert trace(tmp_path / "cut") == trace(tmp_path / "whole")


@pytest.mark.slow
def test_the_real_command_killed_at_random_moments(tmp_path: Path) -> None:
    file = tiny.write_recipe(
        tmp_path, "classes", n=64, training__save_steps=1, student__dropout=0.1
    )

    def command(name: str) -> list[str]:
        return [sys.executable, "-m", "destilo", "train", str(file), "-o", str(tmp_path / name)]

    subprocess.run(command("whole"), check=True, capture_output=True)
    chance = random.Random(5)
    cut = tmp_path / "cut"
    for _ in range(4):
        process = subprocess.Popen(command("cut"), stderr=subprocess.DEVNULL)
        while process.poll() is None and not list(cut.glob("training/*/log.jsonl")):
            time.sleep(0.02)
        time.sleep(3 * chance.random())
        process.kill()
        process.wait()
    subprocess.run(command("cut"), check=True, capture_output=True)
    assert trace(cut) == trace(tmp_path / "whole")


# -- damaged checkpoints -----------------------------------------------------------------


def _weights(checkpoint: Path) -> Path:
    return checkpoint / "model.safetensors"


def truncated(checkpoint: Path) -> None:
    path = _weights(checkpoint)
    path.write_bytes(path.read_bytes()[:-100])


def flipped(checkpoint: Path) -> None:
    path = _weights(checkpoint)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def missing(checkpoint: Path) -> None:
    _weights(checkpoint).unlink()


def garbage(checkpoint: Path) -> None:
    (checkpoint / "manifest.json").write_text("{", encoding="utf-8")


def strange(checkpoint: Path) -> None:
    (checkpoint / "manifest.json").write_text('{"state": {"step": 4}}', encoding="utf-8")


def bad_best(checkpoint: Path) -> None:
    for path in checkpoint.parent.glob("best-*.safetensors"):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(bytes(content))


@pytest.fixture(scope="module")
def interrupted(recipe: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("interrupted") / "run"
    assert run_recipe(recipe, output, moment="step", call=14) == -signal.SIGKILL
    return output


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (truncated, "model.safetensors"),
        (flipped, "model.safetensors"),
        (missing, "model.safetensors"),
        (garbage, "manifest.json"),
        (strange, "manifest.json"),
        (bad_best, "best-"),
    ],
)
@pytest.mark.parametrize("remedy", ["force", pytest.param("delete", marks=pytest.mark.slow)])
def test_a_damaged_checkpoint_is_named_with_a_remedy_that_works(
    damage: Damage,
    named: str,
    remedy: str,
    interrupted: Path,
    whole: Path,
    recipe: Mapping[str, Any],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    output = tmp_path / "run"
    shutil.copytree(interrupted, output)
    [checkpoint] = output.glob("training/student/checkpoints/step-*")
    damage(checkpoint)
    loaded = destilo.load_recipe(recipe)
    with pytest.raises(CheckpointError, match=named) as caught:
        destilo.run(loaded, output=output, until="student")
    assert caught.value.exit_code == 2
    assert str(checkpoint) in str(caught.value)
    assert "Delete that folder" in str(caught.value)
    assert "--force" in str(caught.value)
    if damage is not bad_best:  # the remedies are the same for all
        return
    if remedy == "delete":
        shutil.rmtree(checkpoint)
    destilo.run(loaded, output=output, until="student", force=remedy == "force")
    assert trace(output) == trace(whole)


@pytest.mark.slow
def test_a_checkpoint_of_other_settings_is_not_gone_on_from(
    interrupted: Path, recipe: Mapping[str, Any], tmp_path: Path
) -> None:
    output = tmp_path / "run"
    shutil.copytree(interrupted, output)
    other = destilo.load_recipe(recipe, overrides=["training.seed=14"])
    destilo.run(other, output=output, until="student")
    destilo.run(other, output=tmp_path / "new", until="student")
    assert trace(output) == trace(tmp_path / "new")


@pytest.mark.parametrize(
    "override", ["training.save_steps=3", "training.logging_steps=1", "description=otra"]
)
def test_what_does_not_change_the_result_does_not_lose_the_checkpoint(
    override: str, interrupted: Path, whole: Path, recipe: Mapping[str, Any], tmp_path: Path
) -> None:
    output = tmp_path / "run"
    shutil.copytree(interrupted, output)
    destilo.run(destilo.load_recipe(recipe, overrides=[override]), output=output, until="student")
    assert trace(output) == trace(whole)


@pytest.mark.slow
def test_ctrl_c_says_one_line_and_can_be_taken_up(tmp_path: Path) -> None:
    file = tiny.write_recipe(tmp_path, "classes", n=400, training__num_train_epochs=50)
    command = [
        sys.executable,
        "-m",
        "destilo",
        "train",
        str(file),
        "-o",
        str(tmp_path / "run"),
        "-q",
    ]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # a shell that starts the tests in the background may have switched the signal off
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not list((tmp_path / "run").glob("training/*/log.jsonl")):
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out == ""
    assert err.strip().splitlines() == ["interrupted; the same command goes on where this stopped"]
