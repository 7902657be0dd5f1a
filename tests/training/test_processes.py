"""Two processes, each with half of the batch, train the very model that one process trains."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests import tiny

NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def logged(run: Path, model: str) -> list[dict[str, Any]]:
    lines = (run / "training" / model / "log.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("patience", ["null", "1"])
def test_two_processes_equal_one(patience: str, tmp_path: Path) -> None:
    tiny.write_conll(tmp_path / "more.txt", 20, seed=9)
    unlabelled = {
        "format": "conll",
        "path": str(tmp_path / "more.txt"),
        "columns": {"tokens": 0, "tags": 1},
    }
    file = tiny.write_recipe(
        tmp_path,
        "ner",
        n=45,  # with 20 unlabelled: 8 batches of 8 and one of 1, less than 2 processes x 2
        data__unlabelled=unlabelled,
        teacher__config=tiny.CONFIG | NO_DROPOUT,
        training__early_stopping_patience=None,
        training__num_train_epochs=3,
        training__gradient_accumulation_steps=2,
        training__eval_steps=2,
        training__save_steps=3,
        evaluation__select_by="validation_loss",
    )
    common = ["-m", "destilo", "train", str(file), "--quiet", "--set"]
    common += [f"training.early_stopping_patience={patience}", "--set"]
    size = "training.per_device_train_batch_size"
    two = ["--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"]
    two += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    launch = [sys.executable, "-m", "accelerate.commands.launch", *two]
    commands = {
        "one": [sys.executable, *common, f"{size}=4"],
        "two": [*launch, *common, f"{size}=2"],
    }
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    for name, command in commands.items():
        subprocess.run([*command, "-o", str(tmp_path / name)], check=True, env=environment)
    for model in ("teacher", "student"):
        one, two_ = (load_file(tmp_path / name / model / "model.safetensors") for name in commands)
        for key, value in one.items():
            torch.testing.assert_close(two_[key], value, atol=2e-4, rtol=1e-3, msg=key)
        left, right = (logged(tmp_path / name, model) for name in commands)
        assert [record["step"] for record in left] == [record["step"] for record in right]
        for before, after in zip(left, right, strict=True):
            if "loss" in before:
                assert before["loss"] == pytest.approx(after["loss"], abs=1e-4)
                assert before["grad_norm"] == pytest.approx(after["grad_norm"], rel=1e-2)
                assert before["terms"].keys() == after["terms"].keys()
