import types
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from destilo.recipe.schema import Recipe, StudentSpec, TermSpec, TrainingOverrides, TrainingSpec


def test_a_whole_number_may_stand_for_a_fraction_and_nothing_else_is_coerced() -> None:
    assert TrainingSpec.model_validate({"learning_rate": 1}).learning_rate == 1.0
    for key, value in (
        ("seed", "3"),
        ("seed", 3.0),
        ("seed", True),
        ("learning_rate", "1e-3"),
        ("learning_rate", True),
        ("learning_rate", float("nan")),
        ("bf16", 1),
        ("bf16", "true"),
        ("seed", None),
    ):
        with pytest.raises(ValidationError):
            TrainingSpec.model_validate({key: value})


def test_a_recipe_is_frozen(minimal: dict[str, Any]) -> None:
    recipe = Recipe.model_validate(minimal)
    with pytest.raises(ValidationError):
        recipe.task = "text-classification"  # type: ignore[misc]  # the point of the test


def test_overrides_have_the_keys_of_training_and_replace_only_what_is_given() -> None:
    fields, overriding = TrainingSpec.model_fields, TrainingOverrides.model_fields
    assert list(overriding) == list(fields)
    for name, field in overriding.items():
        assert field.default is None, name
        assert types.NoneType in get_args(field.annotation), name
    training = TrainingSpec(seed=5, learning_rate=1e-3)
    changed = TrainingOverrides(learning_rate=1e-4).over(training)
    assert changed == TrainingSpec(seed=5, learning_rate=1e-4)
    assert TrainingOverrides().over(training) == training


def test_the_students_tokenizer_depends_on_where_it_comes_from() -> None:
    assert StudentSpec(from_="layers").tokenizer == "teacher"
    assert StudentSpec(from_="config").tokenizer == "teacher"
    assert StudentSpec(from_="checkpoint").tokenizer == "own"


@pytest.mark.parametrize("term", ["labels", "mse"])
def test_terms_without_temperature_refuse_one(term: str) -> None:
    TermSpec.model_validate({"term": term, "temperature": 1})
    with pytest.raises(ValidationError, match="no temperature"):
        TermSpec.model_validate({"term": term, "temperature": 2})


def test_a_teacher_has_one_origin(minimal: dict[str, Any]) -> None:
    for teacher in ({}, {"model": "x", "config": {}}, {"config": {"model_type": "bert"}}):
        with pytest.raises(ValidationError):
            Recipe.model_validate(minimal | {"teacher": teacher})


def test_one_teacher_several_or_none(minimal: dict[str, Any]) -> None:
    assert len(Recipe.model_validate(minimal).teachers) == 1
    two = minimal | {"teacher": [{"model": "a"}, {"model": "b", "weight": 2}]}
    assert [teacher.weight for teacher in Recipe.model_validate(two).teachers] == [1.0, 2.0]
    assert Recipe.model_validate(minimal | {"teacher": None}).teachers == ()


def test_test_sets_by_name(minimal: dict[str, Any]) -> None:
    assert Recipe.model_validate(minimal).data.tests == {}
    source = {"format": "synthetic", "split": "test"}
    one = minimal | {"data": minimal["data"] | {"test": source}}
    assert list(Recipe.model_validate(one).data.tests) == ["test"]
    several = minimal | {"data": minimal["data"] | {"test": {"a": source, "b": source}}}
    assert list(Recipe.model_validate(several).data.tests) == ["test-a", "test-b"]


def test_digest_is_of_the_experiment_and_of_nothing_else(minimal: dict[str, Any]) -> None:
    digest = Recipe.model_validate(minimal).digest
    assert len(digest) == 64
    reordered = dict(reversed(minimal.items()))
    defaults = {"training": {"seed": 13}, "language": "es", "encoding": {"max_length": None}}
    named = {"name": "x", "description": "y"}
    listed = {"teacher": [minimal["teacher"]]}
    for same in (reordered, minimal | defaults, minimal | named, minimal | listed):
        assert Recipe.model_validate(same).digest == digest
    for other in (
        {"training": {"seed": 14}},
        {"language": "tl"},
        {"encoding": {"max_length": 100}},
        {"student": {"from": "layers", "layers": [1, 2]}},
        {"objective": list(reversed(minimal["objective"]))},
    ):
        assert Recipe.model_validate(minimal | other).digest != digest


def test_default_window_depends_on_the_task(minimal: dict[str, Any]) -> None:
    assert Recipe.model_validate(minimal).max_length == 384
    tagging = minimal | {"task": "token-classification"}
    assert Recipe.model_validate(tagging).max_length == 128
    given = tagging | {"encoding": {"max_length": 64}}
    assert Recipe.model_validate(given).max_length == 64
