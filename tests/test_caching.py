"""A run with a cached teacher ends where a run with a live one ends, and runs the teacher once."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerBase

import destilo
from destilo.errors import InputError
from destilo.models.folder import LoadedModel
from destilo.pipeline import caching
from destilo.pipeline.caching import build_caches, deciding_facts
from destilo.progress import Silent
from destilo.recipe.check import check_recipe
from destilo.teacher.source import LiveTeacher
from destilo.teacher.store import fingerprint
from tests import tiny
from tests.encoders import tiny_model
from tests.factories import Kind, text_tokenizer

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


def count_calls(monkeypatch: pytest.MonkeyPatch, holder: Any, name: str) -> list[str]:
    """Gets an entry whenever a function or method is called from here on."""
    calls: list[str] = []
    original = getattr(holder, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        return original(*args, **kwargs)

    monkeypatch.setattr(holder, name, counted)
    return calls


OWN_BPE = "student.tokenizer={algorithm: byte-level-bpe, vocab_size: 330}"


@pytest.mark.parametrize(
    "kind", ["questions", *(pytest.param(k, marks=pytest.mark.slow) for k in ("ner", "pairs"))]
)
def test_a_run_finds_full_what_was_built_for_it(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = recipe(tmp_path / "data", kind)
    value["teacher"]["cache"] = "off"  # taken as logits by the building alone
    value["student"] |= {"from": "config", "config": tiny.CONFIG | {"num_hidden_layers": 1}}
    loaded = destilo.load_recipe(value, overrides=[OWN_BPE])
    run = tmp_path / "run"
    destilo.run(loaded, output=run, until="teacher")
    calls = count_calls(monkeypatch, LiveTeacher, "outputs")
    (report,) = build_caches(loaded, output=run)
    assert calls
    assert report.computed == report.examples > 0
    assert not (run / "student").exists()
    (again,) = build_caches(loaded, output=run)
    assert (again.computed, again.examples) == (0, report.examples)
    calls.clear()
    told = train(value, run, OWN_BPE, "teacher.cache=logits")
    assert not calls
    assert not told.filled
    assert (run / "student").exists()
    assert "teacher: already done, skipped (--force redoes it)" in "".join(told.notes)


def test_a_ready_teacher_needs_no_run_folder(tmp_path: Path, own_cache: Path) -> None:
    value = recipe(tmp_path / "data", "classes")
    destilo.run(destilo.load_recipe(value), output=tmp_path / "made", until="teacher")
    value["teacher"] = {"model": str(tmp_path / "made" / "teacher"), "cache": "logits"}
    (report,) = build_caches(destilo.load_recipe(value))
    assert report.folder.parent == own_cache
    assert (report.teacher, report.precision) == (value["teacher"]["model"], "fp16")
    assert report.size_bytes / report.bytes_per_example == pytest.approx(report.examples)
    assert not train(value, tmp_path / "run").filled


def test_a_teacher_that_is_not_ready_is_asked_for(tmp_path: Path) -> None:
    loaded = destilo.load_recipe(recipe(tmp_path / "data", "ner"))
    with pytest.raises(InputError, match="fine-tunes its teacher"):
        build_caches(loaded)
    with pytest.raises(InputError, match="not a run"):
        build_caches(loaded, output=tmp_path / "none")
    assert not (tmp_path / "none").exists()
    destilo.run(loaded, output=tmp_path / "run", until="data")
    with pytest.raises(InputError, match="holds no teacher of this recipe"):
        build_caches(loaded, output=tmp_path / "run")
    alone = recipe(tmp_path / "data", "ner", teacher=None, student__from="config")
    alone["student"] = {
        "from": "config",
        "config": tiny.CONFIG,
        "tokenizer": {"algorithm": "wordpiece", "vocab_size": 200},
    }
    alone["objective"] = [{"term": "labels"}]
    with pytest.raises(InputError, match="no `teacher`"):
        build_caches(destilo.load_recipe(alone))


def test_two_teachers_with_tokenizers_of_their_own(tmp_path: Path, own_cache: Path) -> None:
    value = recipe(tmp_path / "data", "ner", alignment="word")
    first = value["teacher"]
    second = first | {
        "tokenizer": {"algorithm": "unigram", "vocab_size": 150},
        "config": first["config"] | {"hidden_size": 16},
        "weight": 3.0,
    }
    value["teacher"] = [first | {"weight": 1.0}, second]
    train(value, tmp_path / "live")
    settings = {"cache": "logits", "cache_precision": "fp32"}
    for number, folder in enumerate(("teacher", "teacher-2")):  # the same ones, not made again
        value["teacher"][number] = {
            "model": str(tmp_path / "live" / folder),
            "weight": value["teacher"][number]["weight"],
        }
    live = train(value, tmp_path / "ready")
    assert not live.filled
    value["teacher"] = [one | settings for one in value["teacher"]]
    told = train(value, tmp_path / "cached")
    assert len(told.filled) == len(list(own_cache.iterdir())) == 2
    one, other = weights(tmp_path / "ready"), weights(tmp_path / "cached")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_several_stages_open_a_cache_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value = recipe(tmp_path / "data", "classes")
    value["stages"] = [
        {"objective": [{"term": "kl"}], "training": {"max_steps": 2}},
        {"objective": [{"term": "kl"}, {"term": "labels"}], "training": {"max_steps": 2}},
    ]
    del value["objective"]
    hashed = count_calls(monkeypatch, caching, "weights_digest")
    filled = count_calls(monkeypatch, caching, "fill_cache")
    train(value, tmp_path / "run", "teacher.cache=logits")
    assert len(hashed) == len(filled) == 1


def facts_of(loaded: LoadedModel, **changes: Any) -> str:
    chosen: dict[str, Any] = {
        "task": "token-classification",
        "labels": ["O", "B-X", "I-X"],
        "bf16": False,
        "precision": "fp16",
    }
    return fingerprint(**deciding_facts(loaded, **(chosen | changes)))


def loaded_teacher(kind: Kind = "wordpiece") -> LoadedModel:
    model = tiny_model("bert", "token-classification", vocab_size=500, pad_id=0)
    unused = cast("PreTrainedTokenizerBase", None)
    return LoadedModel(model, unused, text_tokenizer(kind))


@pytest.mark.parametrize(
    "change",
    [
        {"task": "text-classification"},
        {"labels": ["O", "I-X", "B-X"]},
        {"bf16": True},
        {"precision": "fp32"},
    ],
    ids=str,
)
def test_another_setting_misses_a_cache(change: dict[str, Any]) -> None:
    teacher = loaded_teacher()
    assert facts_of(teacher) == facts_of(teacher)
    assert facts_of(teacher, **change) != facts_of(teacher)


@pytest.mark.parametrize("change", ["weight", "dtype", "config", "tokenizer", "version"])
def test_another_teacher_misses_a_cache(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = loaded_teacher()
    before = facts_of(teacher)
    if change == "weight":
        with torch.no_grad():
            next(teacher.model.parameters()).view(-1)[-1] += 1e-6
    elif change == "dtype":
        teacher.model.half()
    elif change == "config":  # the same weights in another architecture
        teacher.model.config.hidden_act = "relu"
    elif change == "tokenizer":
        teacher = replace(teacher, text=loaded_teacher("byte-level-bpe").text)
    else:
        monkeypatch.setattr("transformers.__version__", "0")
    assert facts_of(teacher) != before


def test_names_for_people_are_no_part_of_a_fingerprint() -> None:
    teacher = loaded_teacher()
    before = facts_of(teacher)
    teacher.model.config._name_or_path = "elsewhere"
    assert facts_of(teacher) == before


def test_what_a_cache_cannot_hold_is_refused(tmp_path: Path) -> None:
    value = recipe(tmp_path / "data", "questions")
    for override, message in (
        ("objective=[{term: kl}, {term: hidden-mse}]", "a cache holds its logits"),
        ("alignment=identity", "by word"),
    ):
        loaded = destilo.load_recipe(value, overrides=["teacher.cache=logits", override])
        assert any(message in str(one) for one in check_recipe(loaded)), override
