from pathlib import Path
from typing import get_args

import pytest

from destilo.errors import InputError
from destilo.recipe.catalogue import (
    copy_recipe,
    list_tasks,
    list_terms,
    shipped_names,
    shipped_path,
    shipped_recipes,
)
from destilo.recipe.check import check_recipe
from destilo.recipe.data_spec import FormatName
from destilo.recipe.load import load_recipe
from destilo.recipe.model_facts import MODEL_TYPES
from destilo.recipe.schema import TaskName, TermName

COMMENTED = 5


def test_the_shipped_recipes() -> None:
    assert set(shipped_recipes()) == {
        "demo",
        "ner-es",
        "pos-es",
        "paraphrase-es",
        "classification-es",
        "qa-es",
        "spanish-tinyroberta",
        "spanish-tinyroberta-uniform",
        "spanish-tinyroberta-two-stage",
    }
    assert shipped_names()[0] == "demo"
    assert all(shipped_recipes().values())


@pytest.mark.parametrize("name", shipped_names())
def test_each_shipped_recipe_lacks_nothing_but_its_data(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description
    findings = [finding for finding in check_recipe(recipe) if finding.level == "error"]
    assert all(finding.key.endswith(".path") for finding in findings), findings
    needs_files = name != "demo" and not name.startswith("spanish-")  # those read the hub
    assert needs_files == bool(findings)


@pytest.mark.parametrize("name", shipped_names())
def test_each_shipped_recipe_is_teaching_material(name: str) -> None:
    lines = shipped_path(name).read_text(encoding="utf-8").splitlines()
    assert sum(line.lstrip().startswith("#") for line in lines) >= COMMENTED
    assert any(f"destilo run {name}" in line for line in lines)
    assert all(len(line) <= 100 for line in lines)


def test_copies_keep_the_comments_and_never_overwrite(tmp_path: Path) -> None:
    copied = copy_recipe("ner-es", tmp_path / "mine.yaml")
    assert copied.read_bytes() == shipped_path("ner-es").read_bytes()
    assert copy_recipe("demo", tmp_path) == tmp_path / "demo.yaml"
    copied.write_text("my work", encoding="utf-8")
    with pytest.raises(InputError, match="exists already"):
        copy_recipe("demo", copied)
    assert copied.read_text(encoding="utf-8") == "my work"
    with pytest.raises(InputError, match="Did you mean 'demo'"):
        copy_recipe("dmo", tmp_path / "x.yaml")
    with pytest.raises(InputError, match="cannot be written"):
        copy_recipe("demo", tmp_path / "no" / "such" / "folder.yaml")


def test_tables_name_what_the_schema_allows() -> None:
    assert [task.name for task in list_tasks()] == list(get_args(TaskName))
    assert list(list_terms()) == list(get_args(TermName))
    assert {name for task in list_tasks() for name in task.formats} == set(get_args(FormatName))


def test_tables_agree_with_the_readers() -> None:
    from destilo.data.canonical import CANONICAL
    from destilo.data.readers import FORMATS

    for task in list_tasks():
        assert set(task.formats) == {name for name, tasks in FORMATS.items() if task.name in tasks}
        assert task.columns == CANONICAL[task.name]


def test_tables_agree_with_the_models() -> None:
    from destilo.models.layers import ARCHITECTURES

    assert set(MODEL_TYPES) == set(ARCHITECTURES)
    for name, architecture in ARCHITECTURES.items():
        assert architecture.count_key == MODEL_TYPES[name].layers[0]
