"""A run with a cached teacher ends where a run with a live one ends, and runs the teacher once."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import destilo
from destilo.progress import Silent
from destilo.recipe.check import check_recipe
from tests import tiny

torch.set_num_threads(1)


class Counting(Silent):
    """Remembers how many examples the teacher was run on, and what was said."""

    def __init__(self) -> None:
        self.filled: list[int] = []
        self.notes: list[str] = []

    def begin(self, name: str, total: int, *, done: int = 0) -> None:
        if name == "teacher's outputs":
            self.filled.append(total)

    def note(self, message: str, *, level: str = "info") -> None:
        self.notes.append(f"{level}: {message}")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DESTILO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def recipe(folder: Path, kind: str, **changes: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "n": 24,
        "training__num_train_epochs": 1,
        "training__per_device_eval_batch_size": 1,  # padding changes the last bit of a product
        "training__per_device_train_batch_size": 1,
        "training__max_steps": 12,
    }
    return tiny.recipe(folder, kind, **(defaults | changes))


def train(value: dict[str, Any], output: Path, *overrides: str) -> Counting:
    progress = Counting()
    loaded = destilo.load_recipe(value, overrides=overrides)
    destilo.run(loaded, output=output, until="student", progress=progress)
    return progress


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "student" / "model.safetensors")


CACHED = ("teacher.cache=logits", "teacher.cache_precision=fp32")


@pytest.mark.parametrize(
    "kind", ["ner", *(pytest.param(k, marks=pytest.mark.slow) for k in ("questions", "pairs"))]
)
def test_in_full_precision_the_same_weights_to_the_bit(kind: str, tmp_path: Path) -> None:
    value = recipe(tmp_path / "data", kind, alignment="word")
    train(value, tmp_path / "live")
    told = train(value, tmp_path / "cached", *CACHED)
    assert len(told.filled) == 1
    one, other = weights(tmp_path / "live"), weights(tmp_path / "cached")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_one_cache_serves_students_of_any_kind(tmp_path: Path, own_cache: Path) -> None:
    value = recipe(tmp_path / "data", "ner")
    first = train(value, tmp_path / "one", "teacher.cache=logits")
    assert first.filled[0] > 0
    teacher = f"teacher={{model: {tmp_path / 'one' / 'teacher'}, cache: logits}}"
    for number, change in enumerate(
        ["training.seed=5", "student.layers=2", "training.per_device_train_batch_size=5"]
    ):
        told = train(value, tmp_path / f"run{number}", teacher, change)
        assert not told.filled, change
    own = "student.tokenizer={algorithm: byte-level-bpe, vocab_size: 330}"
    assert not train(value, tmp_path / "bpe", teacher, own).filled
    assert len(list(own_cache.iterdir())) == 1
    other = train(value, tmp_path / "other", "teacher.cache=logits", "training.seed=6")
    assert other.filled  # another teacher
    assert len(list(own_cache.iterdir())) == 2


def test_what_a_cache_cannot_hold_is_refused(tmp_path: Path) -> None:
    value = recipe(tmp_path / "data", "questions")
    for override, message in (
        ("objective=[{term: kl}, {term: hidden-mse}]", "a cache holds its logits"),
        ("alignment=identity", "by word"),
    ):
        loaded = destilo.load_recipe(value, overrides=["teacher.cache=logits", override])
        assert any(message in str(one) for one in check_recipe(loaded)), override
