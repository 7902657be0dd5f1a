"""What a sweep file may say, and what is said of one that is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from destilo.cli import app
from destilo.errors import RecipeError
from destilo.recipe.load import load_recipe
from destilo.sweep import load_sweep
from destilo.sweep.plan import check_sweep
from tests import tiny
from tests.sweep.parts import sweep_value, tiny_sweep, write_sweep

SEARCH = {"n_trials": 3, "space": {"alpha": {"low": 0.0, "high": 1.0}}}


def refused(folder: Path, **changes: Any) -> str:
    """What is said of a sweep file with these keys, found by loading it or checking it."""
    path = write_sweep(folder, "ner", **changes)
    with pytest.raises(RecipeError) as caught:
        check_sweep(load_sweep(str(path)))
    return str(caught.value)


def line_of(folder: Path, text: str) -> str:
    lines = (folder / "sweep.yaml").read_text(encoding="utf-8").splitlines()
    number = next(number for number, line in enumerate(lines, start=1) if text in line)
    return f"{folder / 'sweep.yaml'}:{number}: "


def test_names_of_the_catalogue_may_stand_alone() -> None:
    sweep = load_sweep(
        {
            "datasets": ["conll2002-es", "sqac"],
            "teachers": ["beto-cased", "albeto-tiny"],
            "students": ["albeto-base-2", "distilbeto"],
        }
    )
    assert list(sweep.spec.datasets) == ["conll2002-es", "sqac"]
    assert sweep.spec.teachers["beto-cased"].section == {"model": "beto-cased"}
    student = sweep.spec.students["albeto-base-2"].section
    assert student == {"model": "albeto-base-2", "from": "checkpoint"}
    assert sweep.reference == "beto-cased"  # the first candidate


@pytest.mark.parametrize(
    ("changes", "line", "message"),
    [
        ({"finetun": {}}, '"finetun"', "Unknown key 'finetun'. Did you mean 'finetune'?"),
        ({"distil__aplha": 0.5}, '"aplha"', "Did you mean 'alpha'?"),
        ({"distil__training": {"learnin_rate": 1}}, '"learnin_rate"', "'learning_rate'"),
        ({"distil__grid": {"temprature": [1]}}, '"temprature"', "Did you mean 'temperature'?"),
        ({"finetune__grid": {"alpha": [1]}}, '"alpha"', "Unknown axis 'alpha'"),
        ({"distil__grid": {"seed": [1]}}, '"seed"', "seeds are no axis"),
        ({"finetune__grid": {"training.seed": [1]}}, '"training.seed"', "seeds are no axis"),
        ({"distil__grid": {"alpha": [0.5, 2.0]}}, '"alpha"', "less than or equal to 1"),
        ({"distil__grid": {"term": ["kll"]}}, '"term"', "Did you mean 'kl'?"),
        ({"students__small__grid": {"temperature": [0]}}, '"temperature": [', "greater than 0"),
        ({"distil__grid": {"learning_rate": []}}, '"learning_rate": []', "is an empty list"),
        ({"distil__grid": {"objective.0.weight": [1]}}, '"objective.0', "no `distil.objective`"),
        ({"reference": "wid"}, '"reference"', "Did you mean 'wide'?"),
        ({"teachers": ["beto-casd"]}, '"beto-casd"', "Did you mean 'beto-cased'?"),
        ({"students": ["albeto-bas-4"]}, '"albeto-bas-4"', "Did you mean 'albeto-base-4'?"),
        ({"datasets": ["conll2002"]}, '"conll2002"', "Did you mean 'conll2002-es'?"),
        ({"datasets__ner__dataset": "sqca"}, '"sqca"', "Did you mean 'sqac'?"),
        ({"datasets__ner__data": {"dataset": "sqca"}}, '"sqca"', "Did you mean 'sqac'?"),
        ({"base__data": {"dataset": "sqca"}}, '"sqca"', "Did you mean 'sqac'?"),
        ({"datasets__a b": {}}, '"a b"', "'a b' names folders"),
        ({"seeds": [1, 1]}, '"seeds"', "repeats one"),
        ({"distil__n_teachers": 3}, '"n_teachers"', "the best 3 of 2"),
        ({"base__student": {"from": "layers"}}, '"student"', "makes it of `students`"),
        ({"datasets__ner__objective": []}, '"objective"', "makes it of `distil`"),
        (
            {"finetune__grid": {"learning_rate": [1e-3], "training.learning_rate": [2e-3]}},
            '"training.learning_rate"',
            "the same key as `learning_rate`",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(
    tmp_path: Path, changes: dict[str, Any], line: str, message: str
) -> None:
    told = refused(tmp_path, **changes)
    assert message in told
    assert told.startswith(line_of(tmp_path, line)), told


@pytest.mark.parametrize(
    ("changes", "line", "message"),
    [
        ({"students__small__layes": 2}, '"layes"', "Did you mean 'layers'?"),
        ({"teachers__wide__finetune": {}}, '"finetune": {}', "Unknown key 'finetune'"),
        ({"base__training__learnin_rate": 1}, '"learnin_rate"', "Did you mean 'learning_rate'?"),
        (
            {"distil__grid": {"weight_decay": [0.1, -1]}},
            '"weight_decay": [',
            "not the number -1",
        ),
        ({"finetune__grid": {"student.dropuot": [0.1]}}, '"student.dropuot"', "'dropout'"),
        ({"distil__grid": {"student.config.x": [1]}}, '"student.config', "student.config: means"),
        ({"datasets__ner__data__train__path": "no.txt"}, '"no.txt"', "does not exist"),
        (
            {
                "distil__objective": [{"term": "labels"}],
                "distil__grid": {"objective.9.weight": [1]},
            },
            '"objective.9.weight"',
            "has no entry 9",
        ),
        (
            {"distil__grid": None, "distil__search": SEARCH | {"space": {"max_steps": [0]}}},
            '"max_steps"',
            "max_steps",
        ),
    ],
)
def test_recipes_that_cannot_be_are_found_before_anything_trains(
    tmp_path: Path, changes: dict[str, Any], line: str, message: str
) -> None:
    told = refused(tmp_path, **changes)
    assert message in told
    assert told.startswith(line_of(tmp_path, line)), told


def test_one_mistake_is_told_once_for_all_data_sets(tmp_path: Path) -> None:
    sweep = tiny_sweep(tmp_path, "ner", "classes", students__small__layes=2)
    with pytest.raises(RecipeError) as caught:
        check_sweep(sweep)
    assert str(caught.value).count("layes'") == 1
    assert "small on ner, small on classes" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"distil__search": SEARCH}, "`grid` or `search`, not both"),
        (
            {"distil__objective": [{"term": "labels"}], "distil__grid": {"alpha": [0.5]}},
            "`objective` is fixed, so alpha cannot vary",
        ),
        ({"seeds": [13, 13]}, "seeds: repeats one"),
        ({"distil__grid": {}, "distil__search": SEARCH | {"space": {}}}, "distil.search.space"),
        (
            {
                "distil__grid": {},
                "distil__search": SEARCH | {"space": {"alpha": {"low": 1, "high": 0}}},
            },
            "`low` must be below `high`",
        ),
        (
            {
                "distil__grid": {},
                "distil__search": SEARCH | {"space": {"alpha": {"low": 0, "higj": 1}}},
            },
            "distil.search.space.alpha.higj: Unknown key 'higj'. Did you mean 'high'?",
        ),
        ({"students__wide": {"from": "checkpoint", "model": "x"}}, "is also a teacher"),
        ({"students": {}}, "students: is an empty list"),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    assert message in refused(tmp_path, **changes)


def test_a_model_may_be_teacher_and_student() -> None:
    sweep = load_sweep(
        {"datasets": ["sqac"], "teachers": ["distilbeto"], "students": ["distilbeto"]}
    )
    assert sweep.reference == "distilbeto"


def test_data_sets_can_be_left_out(tmp_path: Path) -> None:
    value = sweep_value(tmp_path, "ner", "classes", "questions")
    kept = load_sweep(value, datasets=["questions", "ner"])
    assert list(kept.spec.datasets) == ["ner", "questions"]  # in the order of the file
    with pytest.raises(RecipeError, match="Did you mean 'classes'"):
        load_sweep(value, datasets=["clases"])


def test_a_sweep_extends_another_and_is_overridden(tmp_path: Path) -> None:
    write_sweep(tmp_path, "ner")
    over = tmp_path / "over.yaml"
    over.write_text(
        "extends: sweep.yaml\nseeds: [7]\ndistil:\n  grid:\n    temperature: [4.0]\n",
        encoding="utf-8",
    )
    sweep = load_sweep(over, overrides=["distil.alpha=0", "finetune.grid.learning_rate=[0.001]"])
    assert sweep.spec.seeds == (7,)
    assert sweep.spec.distil.grid == {"learning_rate": (2e-3, 5e-3), "temperature": (4.0,)}
    assert sweep.spec.distil.alpha == 0
    assert sweep.spec.finetune.grid == {"learning_rate": (1e-3,)}
    with pytest.raises(RecipeError, match=r"--set distil\.alpha=2: distil\.alpha"):
        load_sweep(over, overrides=["distil.alpha=2"])


def test_a_sweep_is_no_recipe_and_a_recipe_no_sweep(tmp_path: Path) -> None:
    sweep, recipe = write_sweep(tmp_path, "ner"), tiny.write_recipe(tmp_path, "ner")
    with pytest.raises(RecipeError, match=r"is a sweep, not a recipe. Use `destilo sweep`"):
        load_recipe(sweep)
    with pytest.raises(RecipeError, match="has no `datasets`, so it is no sweep"):
        load_sweep(recipe)


@pytest.mark.parametrize(
    "arguments",
    [
        ["sweep", "recipe.yaml", "-o", "out"],
        ["sweep", "recipe.yaml", "-o", "out", "--dry-run"],
        ["sweep", "no-such.yaml", "-o", "out"],
        ["sweep", "sweep.yaml", "-o", "out", "--dataset", "nerr"],
        ["sweep", "sweep.yaml", "-o", "out", "--dry-run", "--set", "distil.alpha=3"],
        ["sweep", "sweep.yaml", "-o", "out", "--workers", "0"],
        ["sweep", "sweep.yaml", "-o", "out", "--address", "auto"],
        ["sweep", "sweep.yaml", "-o", "out", "--gpus", "1"],
        ["sweep", "sweep.yaml", "-o", "out", "--executor", "ray", "--workers", "2"],
        ["run", "sweep.yaml", "-o", "out"],
        ["check", "sweep.yaml"],
    ],
)
def test_the_user_s_mistakes_leave_with_2_and_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    from destilo.cli import _main

    write_sweep(tmp_path, "ner")
    tiny.write_recipe(tmp_path, "ner")
    monkeypatch.chdir(tmp_path)
    assert _main(arguments, debug=False) == 2
    assert not (tmp_path / "out").exists()


def test_a_plan_for_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sweep(tmp_path, "ner")
    monkeypatch.chdir(tmp_path)
    ran = CliRunner().invoke(app, ["sweep", "sweep.yaml", "-o", "out", "--dry-run", "--json"])
    plan = json.loads(ran.stdout)
    assert plan["tasks"] == sum(phase["tasks"] for phase in plan["phases"])
    assert plan["done"] == 0
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("axis", "values", "message"),
    [
        ("alpha", {"low": 0, "high": 1, "step": 0}, "step: must be greater than 0"),
        ("alpha", {"low": 0, "high": 1, "step": -0.1}, "step: must be greater than 0"),
        ("per_device_train_batch_size", {"low": 4, "high": 8, "step": 0.5}, "whole numbers"),
        ("training.eval_steps", {"low": 0.5, "high": 8}, "whole numbers"),
    ],
)
def test_an_impossible_range_is_refused(
    tmp_path: Path, axis: str, values: dict[str, float], message: str
) -> None:
    search = {"n_trials": 3, "space": {axis: values}}
    told = refused(tmp_path, distil__grid=None, distil__search=search)
    assert message in told
    assert f"{tmp_path / 'sweep.yaml'}:" in told
