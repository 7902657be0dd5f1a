"""Names of the catalogue in a recipe stand for what a user would have written instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from destilo.catalogue.datasets import DATASETS, dataset_entry, list_datasets
from destilo.catalogue.models import model_entry
from destilo.errors import InputError, RecipeError
from destilo.recipe.catalogue import TASKS
from destilo.recipe.check import check_recipe
from destilo.recipe.load import dump_recipe, load_recipe
from destilo.recipe.yaml_text import read_yaml

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
STUDENT = {"from": "checkpoint", "model": "some/model"}


def _recipe(data: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {"data": data, "student": STUDENT, **keys}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with CoNLL-2002 in a folder of its own, train and test only."""
    own = tmp_path / "sets" / "conll2002-es"
    own.mkdir(parents=True)
    for name in ("train", "test"):
        (own / f"{name}.txt").write_text("Ana\tB-PER\n\n", encoding="utf-8")
    return own.parent


def test_entries_agree_with_the_tasks() -> None:
    for name, entry in DATASETS.items():
        task = TASKS[entry.task]
        assert entry.name == name
        assert entry.metric in task.metrics
        assert entry.paper_metric in ("", *task.metrics)
        assert entry.hub or entry.local
        for source in (*entry.hub.values(), *entry.local.values()):
            assert "fraction" in source or source["format"] in task.formats
            assert set(source.get("columns", {})) <= set(task.columns)
    assert len({entry.title for entry in list_datasets()}) == len(DATASETS)


@pytest.mark.parametrize("name", [entry.name for entry in list_datasets() if entry.hub])
def test_a_name_alone_reads_from_the_hub(name: str) -> None:
    recipe = load_recipe(_recipe({"dataset": name}))
    entry = dataset_entry(name)
    assert (recipe.task, recipe.language) == (entry.task, entry.language)
    assert recipe.data.train.format == "hub"
    assert recipe.data.train.name == entry.hub_name
    assert recipe.data.tests
    assert not [one for one in check_recipe(recipe) if one.key.startswith("data")]


def test_a_folder_holds_the_data_sets_own_folder_or_its_files(folder: Path) -> None:
    beside = {"dataset": "conll2002-es", "validation": {"fraction": 0.5}}
    around = load_recipe(_recipe({**beside, "folder": str(folder)}))
    inside = load_recipe(_recipe({**beside, "folder": str(folder / "conll2002-es")}))
    assert around.digest == inside.digest
    assert around.data.train.paths == (str(folder / "conll2002-es" / "train.txt"),)


def test_the_digest_is_that_of_what_the_name_stands_for(folder: Path) -> None:
    named = load_recipe(
        _recipe({"dataset": "conll2002-es", "folder": str(folder), "validation": {"fraction": 0.5}})
    )
    source = {"format": "conll", "columns": {"tokens": 0, "tags": -1}}
    written = load_recipe(
        _recipe(
            {
                "train": {**source, "path": str(folder / "conll2002-es" / "train.txt")},
                "validation": {"fraction": 0.5},
                "test": {**source, "path": str(folder / "conll2002-es" / "test.txt")},
            },
            task="token-classification",
        )
    )
    assert named == written
    assert named.digest == written.digest
    again = read_yaml(dump_recipe(named), name="dumped").value
    assert load_recipe(again).digest == named.digest


def test_keys_beside_the_name_win(folder: Path) -> None:
    data = {
        "dataset": "conll2002-es",
        "folder": str(folder),
        "train": {"limit": 3},
        "validation": {"fraction": 0.1},
        "test": {"format": "text", "path": "other.txt"},
        "labels": ["O", "B-PER"],
    }
    recipe = load_recipe(_recipe(data))
    assert recipe.data.train.limit == 3
    assert recipe.data.train.format == "conll"
    assert recipe.data.tests["test"].path == "other.txt"
    assert recipe.data.labels == ("O", "B-PER")


def test_a_folder_is_seen_from_the_recipe(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder.parent / "recipe.yaml"
    path.write_text(
        "data: {dataset: conll2002-es, folder: sets, validation: {fraction: 0.1}}\n"
        "student: {from: checkpoint, model: some/model}\n",
        encoding="utf-8",
    )
    monkeypatch.chdir("/")
    assert load_recipe(path).data.train.paths[0].startswith(str(folder))


def test_a_name_replaces_the_splits_of_what_is_extended_or_overridden(folder: Path) -> None:
    base = folder.parent / "base.yaml"
    base.write_text(
        "task: token-classification\n"
        "data:\n  train: {format: conll, path: a.txt}\n  validation: {fraction: 0.2}\n"
        "  labels: [A, B]\n  leak_check: error\n"
        "student: {from: checkpoint, model: some/model}\n",
        encoding="utf-8",
    )
    extended = load_recipe({"extends": str(base), "data": {"dataset": "conll2002-es"}})
    overridden = load_recipe(
        base, overrides=["data.train.limit=5", "data.dataset=conll2002-es", "teacher=null"]
    )
    assert extended.data.train.format == overridden.data.train.format == "hub"
    assert extended.data.labels is None
    assert extended.data.leak_check == "error"
    assert overridden.data.train.limit == 5


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"dataset": "conll2002"}, "Did you mean 'conll2002-es'"),
        ({"dataset": 3}, "must be the name"),
        ({"dataset": "mldoc-es"}, "not on the hub.*folder: DIR.*spanish.dev"),
        ({"dataset": "mlqa-es", "folder": "."}, "no known layout"),
        ({"dataset": "xquad-es", "folder": "nowhere"}, "is not a folder"),
        ({"dataset": "conll2002-es", "folder": "."}, "none of the files"),
        ({"folder": "."}, "none is named"),
    ],
)
def test_what_cannot_be_had_is_said(
    data: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match=message):
        load_recipe(_recipe(data))


def test_a_missing_split_and_another_task_are_said_with_the_line(folder: Path) -> None:
    path = folder.parent / "recipe.yaml"
    path.write_text(
        "student: {from: layers}\ndata:\n  dataset: conll2002-es\n  folder: sets\n",
        encoding="utf-8",
    )
    with pytest.raises(RecipeError, match=r"recipe.yaml:3: .*no validation rows.*fraction"):
        load_recipe(path)
    with pytest.raises(RecipeError, match="is for token-classification"):
        load_recipe(_recipe({"dataset": "conll2002-es"}, task="question-answering"))


def test_models_become_hub_names_and_layers() -> None:
    recipe = load_recipe(
        _recipe(
            {"dataset": "xnli-es"},
            teacher=[{"model": "beto-cased", "finetune": {}}, {"model": "own", "encoder": "mbert"}],
            student={"from": "checkpoint", "model": "albeto-base-4"},
        )
    )
    first, second = recipe.teachers
    assert first.model == "dccuchile/bert-base-spanish-wwm-cased"
    assert second.encoder == "google-bert/bert-base-multilingual-cased"
    assert (recipe.student.model, recipe.student.layers) == ("dccuchile/albert-base-spanish", 4)


def test_a_folder_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mbert").mkdir()
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(_recipe({"dataset": "xnli-es"}, teacher={"model": "mbert"}))
    assert recipe.teachers[0].model == str(tmp_path / "mbert")


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [
        ("beto-cased", "wordpiece"),
        ("albeto-base-4", "unigram"),
        ("bertin", "byte-level-bpe"),
        ("dbert-tiny", "wordpiece"),
    ],
)
def test_random_weights_leave_the_configuration(name: str, algorithm: str) -> None:
    recipe = load_recipe(
        _recipe(
            {"dataset": "xnli-es"},
            teacher={"model": name, "weights": "random", "finetune": {}},
            student={"from": "checkpoint", "model": name, "weights": "random"},
        )
    )
    entry = model_entry(name)
    for made in (recipe.teachers[0], recipe.student):
        assert made.model is None
        assert made.config == entry.config
        assert made.tokenizer.algorithm == algorithm  # type: ignore[union-attr]  # a section
        assert made.tokenizer.vocab_size == entry.config["vocab_size"]  # type: ignore[union-attr]
    assert recipe.student.from_ == "config"


def test_a_given_tokenizer_and_a_named_configuration_stay() -> None:
    small = {"algorithm": "wordpiece", "vocab_size": 500}
    recipe = load_recipe(
        _recipe(
            {"dataset": "xnli-es"},
            teacher={"model": "mbert", "weights": "random", "tokenizer": small, "finetune": {}},
            student={"from": "config", "config": "dbert-base"},
        )
    )
    assert recipe.teachers[0].tokenizer.vocab_size == 500  # type: ignore[union-attr]  # a section
    assert recipe.student.config == model_entry("dbert-base").config
    assert recipe.student.tokenizer == "teacher"


def test_the_architecture_of_a_folder_with_its_tokenizer(tmp_path: Path) -> None:
    config = {"model_type": "bert", "hidden_size": 24, "vocab_size": 99, "id2label": {"0": "A"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    student = {"from": "checkpoint", "model": str(tmp_path), "weights": "random"}
    made = load_recipe(_recipe({"dataset": "xnli-es"}, student=student)).student
    assert made.config == {"model_type": "bert", "hidden_size": 24}
    assert made.tokenizer.vocab_size == 99  # type: ignore[union-attr]  # a section
    (tmp_path / "tokenizer.json").write_text("{}")
    made = load_recipe(_recipe({"dataset": "xnli-es"}, student=student)).student
    assert made.tokenizer == str(tmp_path)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"teacher": {"model": "albeto-base-4"}}, "is a student"),
        ({"teacher": {"model": "x", "weights": "randon"}}, "Did you mean 'random'"),
        ({"teacher": {"weights": "random"}}, "Name one"),
        ({"teacher": {"model": "beto", "weights": "random"}}, "Unknown model of the catalogue"),
        ({"student": {"from": "checkpoint", "model": "dbert-tiny"}}, "weights: random"),
        ({"student": {"from": "layers", "weights": "random"}}, "are not random"),
    ],
)
def test_impossible_models_are_said(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe({**_recipe({"dataset": "xnli-es"}), **keys})


def test_a_published_encoder_is_known_to_need_training_and_to_have_so_many_layers() -> None:
    keys: dict[str, Any] = {
        "teacher": {"model": "beto-cased"},
        "student": {"from": "layers", "layers": 13},
        "objective": [{"term": "kl"}],
    }
    findings = check_recipe(load_recipe({**_recipe({"dataset": "xnli-es"}), **keys}))
    said = " ".join(str(one) for one in findings if one.level == "error")
    assert "never trained for text-classification" in said
    assert "12" in said


def test_misspelt_shorthand_gets_suggestions() -> None:
    recipe = {**_recipe({"datset": "xnli-es"}), "teacher": {"model": "x", "wights": "random"}}
    with pytest.raises(RecipeError) as told:
        load_recipe(recipe)
    assert "Did you mean 'dataset'" in str(told.value)
    assert "Did you mean 'weights'" in str(told.value)


def test_an_unknown_data_set_gets_suggestions() -> None:
    with pytest.raises(InputError, match="Did you mean 'tass2019'"):
        dataset_entry("tass2091")


_FOLDERS = (
    sorted(path.name for path in SHARED.iterdir() if path.is_dir()) if SHARED.is_dir() else []
)


@pytest.mark.skipif(not _FOLDERS, reason="no ../shared/data beside the project")
@pytest.mark.parametrize("name", [name for name in _FOLDERS if name in DATASETS])
def test_local_layouts_are_those_of_the_files(name: str) -> None:
    entry = dataset_entry(name)
    there = {
        role
        for role, source in entry.local.items()
        if "path" not in source or (SHARED / name / source["path"]).is_file()
    }
    assert there
    missing = set(entry.local) - there
    assert missing <= ({"train"} if name in ("pawsx-es", "xnli-es") else set())
    data: dict[str, Any] = {"dataset": name, "folder": str(SHARED)}
    if "train" not in there:
        data["train"] = {**entry.local["test"], "path": str(SHARED / name / "dev.jsonl")}
        if name == "xquad-es":
            data["train"]["path"] = str(SHARED / name / "xquad.es.json")
    if "validation" not in there:
        data["validation"] = {"fraction": 0.1}
    recipe = load_recipe(_recipe(data))
    assert not [one for one in check_recipe(recipe) if one.key.startswith("data")]
