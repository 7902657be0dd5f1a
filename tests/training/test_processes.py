"""Two processes, each with half of the batch, train the very model that one process trains."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
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


def train_both(file: Path, tmp_path: Path, *overrides: str) -> None:
    """Train a recipe in ``one`` and in ``two`` processes, with global batches of 8."""
    common = ["-m", "destilo", "train", str(file), "--quiet"]
    for override in overrides:
        common += ["--set", override]
    size = "training.per_device_train_batch_size"
    two = ["--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"]
    two += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    launch = [sys.executable, "-m", "accelerate.commands.launch", *two]
    commands = {
        "one": [sys.executable, *common, "--set", f"{size}=4"],
        "two": [*launch, *common, "--set", f"{size}=2"],
    }
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    for name, command in commands.items():
        subprocess.run([*command, "-o", str(tmp_path / name)], check=True, env=environment)


def require_equal(tmp_path: Path, *, models: Sequence[str], trainings: Sequence[str]) -> None:
    """Compare the weights of both, and what both logged at every step."""
    for model in models:
        one, two = (
            load_file(tmp_path / name / model / "model.safetensors") for name in ("one", "two")
        )
        assert one.keys() == two.keys()
        for key, value in one.items():
            torch.testing.assert_close(two[key], value, atol=2e-4, rtol=1e-3, msg=key)
    for training in trainings:
        left, right = (logged(tmp_path / name, training) for name in ("one", "two"))
        assert [record["step"] for record in left] == [record["step"] for record in right]
        for before, after in zip(left, right, strict=True):
            if "loss" in before:
                assert before["loss"] == pytest.approx(after["loss"], abs=1e-4)
                assert before["grad_norm"] == pytest.approx(after["grad_norm"], rel=1e-2)
                assert before["terms"] == pytest.approx(after["terms"], abs=1e-4, rel=1e-3)


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
    train_both(file, tmp_path, f"training.early_stopping_patience={patience}")
    models = ("teacher", "student")
    require_equal(tmp_path, models=models, trainings=models)


@pytest.mark.slow
@pytest.mark.parametrize("alignment", ["auto", "word"])
def test_two_processes_train_the_same_projections(alignment: str, tmp_path: Path) -> None:
    """Which are no part of the model that is trained in parallel: a first stage has nothing else.

    One projection for each pair, then a shared one beside the labels.
    """
    narrow = {**tiny.CONFIG, "hidden_size": 16, "num_hidden_layers": 2}
    layers = [{"term": "hidden-mse"}, {"term": "embedding-mse"}, {"term": "attention-relations"}]
    shared = {"term": "hidden-cosine", "projection": "shared", "weight": 0.5}
    recipe = tiny.recipe(
        tmp_path / "data",
        "ner",
        n=41,  # the last batch is of 1: three of four micro-batches have nothing
        alignment=alignment,
        teacher__config=tiny.CONFIG | NO_DROPOUT,
        student={"from": "config", "config": narrow | NO_DROPOUT, "init": "svd"},
        stages=[
            {"objective": layers},
            {"objective": [{"term": "labels"}, shared, {"term": "attention-mse"}]},
        ],
        training__num_train_epochs=3,
        training__gradient_accumulation_steps=2,
        training__max_grad_norm=0.5,
        evaluation__select_by="validation_loss",
    )
    del recipe["objective"]
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(recipe), encoding="utf-8")
    train_both(file, tmp_path)
    require_equal(tmp_path, models=("teacher", "student"), trainings=("student-stage-1", "student"))
    last = logged(tmp_path / "two", "student-stage-1")[-1]["terms"]
    first = logged(tmp_path / "two", "student-stage-1")[0]["terms"]
    assert last["embedding-mse"] < 0.9 * first["embedding-mse"]
