"""The recipe of a trial, and the digest by which it is known as done."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from destilo.errors import RecipeError
from destilo.recipe.check import check_recipe
from destilo.recipe.schema import Recipe
from destilo.sweep.load import load_sweep
from destilo.sweep.trial import Recipes, Settings, Trial, one_at_a_time, points, without_losses
from tests.sweep.parts import sweep_value, tiny_sweep, write_sweep

TEACHER = Trial("finetune", "ner", "wide", "teacher", (("learning_rate", 1e-3),), 13)
STUDENT = Trial(
    "distil",
    "ner",
    "small",
    "student",
    (("temperature", 2.0),),
    13,
    (("wide", "0123456789abcdef"),),
)


def digest_of(folder: Path, trial: Trial = TEACHER, **changes: Any) -> str:
    recipes = Recipes(tiny_sweep(folder, "ner", **changes))
    return recipes.digest(recipes.recipe(trial))


def with_settings(folder: Path, *settings: tuple[str, Any], **changes: Any) -> Recipe:
    trial = Trial("distil", "ner", "small", "student", settings, 13, (("wide", "0" * 16),))
    return Recipes(tiny_sweep(folder, "ner", **changes)).recipe(trial)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "another"},
        {"description": "for people"},
        {"base__profile": {"sequence_length": 8, "samples": 9}},
        {"base__evaluation__bootstrap_samples": 77},
        {"base__training__logging_steps": 3},
        {"base__training__save_steps": 7},
        {"datasets__ner__data__test": None},
        {"datasets__ner__data__leak_check": "error"},
        {"students__small__layers": 1},
        {"seeds": [13, 15, 16]},
        {"distil__grid": {"learning_rate": [1.0]}},
    ],
)
def test_what_only_measures_or_is_another_s_changes_no_digest(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    assert digest_of(tmp_path, **changes) == digest_of(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"base__training__per_device_train_batch_size": 4},
        {"base__training__num_train_epochs": 3},
        {"finetune__training": {"weight_decay": 0.5}},
        {"teachers__wide__training": {"weight_decay": 0.5}},
        {"teachers__wide__config__hidden_size": 64},
        {"teachers__wide__tokenizer": {"algorithm": "wordpiece", "vocab_size": 150}},
        {"datasets__ner__encoding": {"max_length": 32}},
        {"datasets__ner__data__labels": ["O", "B-PER", "B-LOC", "I-PER"]},
        {"finetune__select_by": "validation_loss"},
    ],
)
def test_what_decides_the_weights_changes_the_digest(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    assert digest_of(tmp_path, **changes) != digest_of(tmp_path)


def test_the_seed_and_what_was_chosen_change_the_digest(tmp_path: Path) -> None:
    recipes = Recipes(tiny_sweep(tmp_path, "ner"))
    others = [
        TEACHER,
        Trial("finetune", "ner", "wide", "teacher", (("learning_rate", 5e-3),), 13),
        Trial("finetune", "ner", "wide", "teacher", (("learning_rate", 1e-3),), 14),
        STUDENT,
        replace(STUDENT, teachers=(("wide", "f" * 16),)),
    ]
    assert len({recipes.digest(recipes.recipe(trial)) for trial in others}) == len(others)


def test_content_counts_and_paths_do_not(tmp_path: Path) -> None:
    value = sweep_value(tmp_path / "here", "ner")
    recipes = Recipes(load_sweep(value))
    before = recipes.digest(recipes.recipe(TEACHER))
    shutil.move(tmp_path / "here", tmp_path / "there")
    moved = json.loads(json.dumps(value).replace(str(tmp_path / "here"), str(tmp_path / "there")))
    recipes = Recipes(load_sweep(moved))
    assert recipes.digest(recipes.recipe(TEACHER)) == before
    train = tmp_path / "there" / "ner" / "train.txt"
    train.write_text(train.read_text(encoding="utf-8") + "Jaca B-LOC\n", encoding="utf-8")
    assert recipes.digest(recipes.recipe(TEACHER)) != before  # by the same, so never by its path


def test_test_data_may_change(tmp_path: Path) -> None:
    before = digest_of(tmp_path)
    recipes = Recipes(tiny_sweep(tmp_path, "ner"))
    (tmp_path / "ner" / "test.txt").write_text("Jaca B-LOC\n", encoding="utf-8")
    assert recipes.digest(recipes.recipe(TEACHER)) == before


def test_a_model_counts_by_content(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}", encoding="utf-8")
    teachers = {"wide": {"model": str(model)}}
    before = digest_of(tmp_path, teachers=teachers)
    (model / "model.safetensors").write_bytes(b"weights")
    after = digest_of(tmp_path, teachers=teachers)
    assert before != after
    shutil.copytree(model, tmp_path / "copy")
    assert digest_of(tmp_path, teachers={"wide": {"model": str(tmp_path / "copy")}}) == after


@pytest.mark.parametrize(
    ("settings", "terms"),
    [
        ((("alpha", 0),), [("kl", 1)]),
        ((("alpha", 1),), [("labels", 1)]),
        ((("alpha", 0.25),), [("labels", 0.25), ("kl", 0.75)]),
        ((("term", "mse"),), [("labels", 0.5), ("mse", 0.5)]),
    ],
)
def test_an_end_of_alpha_leaves_a_term_out(
    tmp_path: Path, settings: Settings, terms: list[tuple[str, float]]
) -> None:
    made = with_settings(tmp_path, *settings)
    assert [(term.term, term.weight) for term in made.terms] == terms


def test_without_a_term_its_temperature_trains_nothing_anew(tmp_path: Path) -> None:
    recipes = Recipes(tiny_sweep(tmp_path, "ner"))
    cold = with_settings(tmp_path, ("alpha", 1), ("temperature", 1.0))
    warm = with_settings(tmp_path, ("alpha", 1), ("temperature", 4.0))
    assert recipes.digest(cold) == recipes.digest(warm)


def test_axes_are_keys_of_training_or_of_the_recipe(tmp_path: Path) -> None:
    made = with_settings(
        tmp_path,
        ("learning_rate", 0.25),
        ("student.dropout", 0.5),
        ("encoding.max_length", 32),
        ("temperature", 4.0),
    )
    assert made.training.learning_rate == 0.25
    assert made.student.dropout == 0.5
    assert made.max_length == 32
    assert made.terms[1].temperature == 4.0


def test_a_given_objective_can_vary_by_its_entries(tmp_path: Path) -> None:
    objective = [{"term": "labels", "weight": 0.5}, {"term": "kl", "weight": 0.5}]
    distil = {"objective": objective}
    made = with_settings(tmp_path, ("objective.1.weight", 3.0), distil=distil)
    assert [term.weight for term in made.terms] == [0.5, 3.0]
    again = with_settings(tmp_path, ("objective.0.weight", 1.0), distil=distil)
    assert [term.weight for term in again.terms] == [1.0, 0.5]


def test_students_without_distillation_owe_the_teacher_nothing(tmp_path: Path) -> None:
    recipes = Recipes(tiny_sweep(tmp_path, "ner"))
    small = recipes.recipe(Trial("finetune", "ner", "small", "student", (), 13))
    assert small.teachers == ()
    assert not small.distils
    layer = recipes.recipe(
        Trial("finetune", "ner", "one-layer", "student", (), 13, (("wide", "0" * 16),))
    )
    assert not layer.distils
    assert layer.student.from_ == "config"  # the teacher began with random weights: so does it
    assert layer.student.layers == 1
    assert [term.term for term in layer.terms] in ([], ["labels"])


def test_layers_without_distillation_come_from_the_encoder(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    recipes = Recipes(tiny_sweep(tmp_path, "ner", teachers={"beto": {"model": str(model)}}))
    made = recipes.recipe(
        Trial("finetune", "ner", "one-layer", "student", (), 13, (("beto", "0" * 16),))
    )
    assert made.student.of == "encoder"
    assert made.teachers[0].encoder == str(model)
    assert not made.distils


def test_places_of_errors_are_those_of_the_sweep(tmp_path: Path) -> None:
    path = write_sweep(tmp_path, "ner", base__training__warmup_steps=0)
    lines = path.read_text(encoding="utf-8").splitlines()
    place = (
        Recipes(load_sweep(str(path))).recipe(STUDENT)._places.find(("training", "warmup_steps"))
    )
    assert place is not None
    number = int(place.text.rpartition(":")[2])
    assert "warmup_steps" in lines[number - 1]


def test_a_bad_value_of_an_axis_is_told_where_it_stands(tmp_path: Path) -> None:
    path = write_sweep(tmp_path, "ner", distil__grid={"weight_decay": [-1]})
    trial = Trial(
        "distil", "ner", "small", "student", (("weight_decay", -1),), 13, (("wide", "0" * 16),)
    )
    with pytest.raises(RecipeError, match=r"sweep\.yaml:\d+: training\.weight_decay"):
        Recipes(load_sweep(str(path))).recipe(trial)


def test_every_recipe_of_the_tiny_sweep_passes_the_check(tmp_path: Path) -> None:
    recipes = Recipes(tiny_sweep(tmp_path, "ner", "questions"))
    for trial in (TEACHER, STUDENT):
        errors = [one for one in check_recipe(recipes.recipe(trial)) if one.level == "error"]
        assert errors == []


def test_points_turn_the_last_axis_fastest() -> None:
    grid = {"a": (1, 2), "b": ("x", "y")}
    made = [dict(point) for point in points(grid)]
    assert made == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]
    assert points({}) == [()]


def test_axes_of_the_loss_mean_nothing_without_distillation() -> None:
    grid = {"term": ("kl",), "learning_rate": (1, 2), "objective.0.weight": (1,), "alpha": (0,)}
    assert list(without_losses(grid)) == ["learning_rate"]


def test_one_at_a_time_shows_every_value_in_as_few_settings_as_can_be() -> None:
    shown = one_at_a_time({"a": (1, 2, 3), "b": ("x", "y")})
    assert len(shown) == 1 + 2 + 1
    assert {value for settings in shown for value in settings} == {
        ("a", 1), ("a", 2), ("a", 3), ("b", "x"), ("b", "y"),
    }  # fmt: skip


def test_a_student_may_follow_several_teachers(tmp_path: Path) -> None:
    recipes = Recipes(tiny_sweep(tmp_path, "ner"))
    both = replace(STUDENT, teachers=(("wide", "0" * 16), ("narrow", "1" * 16)))
    made = recipes.recipe(both)
    assert [one.model for one in made.teachers] == [f"trial:{'0' * 16}", f"trial:{'1' * 16}"]
    assert {one.cache for one in made.teachers} == {"logits"}
    assert both.teacher == "wide + narrow"
    assert recipes.digest(made) != recipes.digest(recipes.recipe(STUDENT))
