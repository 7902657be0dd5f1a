"""What a plan counts, and that it is what is then done."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from destilo.errors import RecipeError
from destilo.sweep.plan import Plan, plan_sweep
from destilo.sweep.storage import Storage
from tests.sweep.parts import NARROW, TOKENIZER, Pretended, do_sweep, tiny_sweep


def counted(plan: Plan) -> Counter[tuple[str, str]]:
    counts: Counter[tuple[str, str]] = Counter()
    for phase in plan.phases:
        counts[phase.verb, phase.role] += phase.tasks
    return counts


def test_a_plan_counted_by_hand(tmp_path: Path) -> None:
    """Of each of two data sets.

    Teachers: 2 candidates x 2 learning rates; 2 measured. Caches: 2, one for each tokenizer.
    Students: 2, each 2 learning rates x 2 temperatures and 1 more seed, 2 measured; without
    distillation 2 learning rates and 1 more seed, 2 measured.
    """
    plan = plan_sweep(tiny_sweep(tmp_path, "ner", "classes"))
    assert counted(plan) == {
        ("train", "teacher"): 2 * 4,
        ("measure", "teacher"): 2 * 2,
        ("cache", "student"): 2 * 2,
        ("train", "student"): 2 * 2 * (4 + 1 + 2 + 1),
        ("measure", "student"): 2 * 2 * (2 + 2),
    }
    assert plan.done == 0
    assert plan.tasks == 8 + 4 + 4 + 32 + 16


@pytest.mark.parametrize(
    ("changes", "trainings"),
    [
        ({"seeds": [1]}, 4 + 2 * 4 + 2 * 2),
        ({"seeds": [1, 2, 3]}, 4 + 2 * 6 + 2 * 4),
        ({"distil__without_distillation": False}, 4 + 2 * 5),
        ({"finetune__grid": None, "distil__grid": None}, 2 + 2 * 2 + 2 * 2),
        ({"teachers__wide__grid": {}}, 3 + 2 * 5 + 2 * 3),
        ({"students__small__grid": {}}, 4 + (5 + 3) + (2 + 2)),
        (
            {"distil__grid": None, "distil__search": {"n_trials": 7, "space": {"alpha": [0, 0.5]}}},
            4 + 2 * (2 + 1) + 2 * 2,  # two values of alpha, whatever is asked for
        ),
    ],
)
def test_trainings_of_one_data_set(tmp_path: Path, changes: dict[str, Any], trainings: int) -> None:
    if "distil__search" in changes:
        pytest.importorskip("optuna")
    plan = plan_sweep(tiny_sweep(tmp_path, "ner", **changes))
    assert sum(phase.tasks for phase in plan.phases if phase.verb == "train") == trainings


@pytest.mark.parametrize("keep", ["selected", "all"])
def test_a_plan_is_what_is_done(tmp_path: Path, pretended: Pretended, keep: str) -> None:
    sweep = tiny_sweep(tmp_path, "ner", "classes", keep=keep)
    before = plan_sweep(sweep)
    _, watching = do_sweep(sweep, tmp_path / "out")
    done = Counter((task.verb, task.result.dataset, task.result.model) for task in watching.began)
    planned: Counter[tuple[str, str, str]] = Counter()
    for phase in before.phases:
        planned[phase.verb, phase.dataset, phase.model] += phase.tasks
    assert done == planned
    after = plan_sweep(sweep, storage=Storage(str(tmp_path / "out")))
    assert after.done == after.tasks == before.tasks
    assert after.macs == 0
    assert after.assumed == watching.teachers
    assert len(pretended.runs) == before.tasks


def test_what_is_done_is_counted(tmp_path: Path, pretended: Pretended) -> None:
    small = tiny_sweep(tmp_path, "ner", finetune__grid={"learning_rate": [1e-3]})
    done, _ = do_sweep(small, tmp_path / "out")
    assert done.failed == ()
    plan = plan_sweep(tiny_sweep(tmp_path, "ner"), storage=Storage(str(tmp_path / "out")))
    tried = [phase for phase in plan.phases if phase.role == "teacher" and phase.verb == "train"]
    assert [(phase.tasks, phase.done) for phase in tried] == [(2, 1), (2, 1)]
    del pretended


def test_the_most_expensive_candidate_is_assumed(tmp_path: Path) -> None:
    for select_by in ("metric", "validation_loss"):
        sweep = tiny_sweep(tmp_path, "ner", finetune__select_by=select_by)
        assert plan_sweep(sweep).assumed == {"ner": "wide"}


def test_a_cache_is_planned_once_for_each_way_of_cutting_texts(tmp_path: Path) -> None:
    students = {f"of-{count}": {"from": "layers", "layers": count} for count in (1, 2)}
    caches = [
        phase
        for phase in plan_sweep(tiny_sweep(tmp_path, "ner", students=students)).phases
        if phase.verb == "cache"
    ]
    assert [phase.tasks for phase in caches] == [1]
    none = plan_sweep(tiny_sweep(tmp_path, "ner", students=students, distil__cache=False))
    assert all(phase.verb != "cache" for phase in none.phases)


def test_an_impossible_recipe_is_an_error_of_the_plan(tmp_path: Path) -> None:
    sweep = tiny_sweep(tmp_path, "ner", distil__grid={"learning_rate": [-1.0]})
    with pytest.raises(RecipeError, match="learning_rate"):
        plan_sweep(sweep)


def test_everything_with_a_known_configuration_has_a_cost(tmp_path: Path) -> None:
    plan = plan_sweep(tiny_sweep(tmp_path, "ner"))
    costly = [phase for phase in plan.phases if phase.verb != "measure"]
    assert all(phase.macs > 0 and phase.unknown == 0 for phase in costly)


def test_a_shallower_candidate_costs_less(tmp_path: Path) -> None:
    def macs(candidate: str) -> dict[str, float]:
        narrow = {"config": NARROW, "tokenizer": TOKENIZER}
        teachers = {"narrow": narrow if candidate == "deep" else narrow | {"layers": 1}}
        plan = plan_sweep(tiny_sweep(tmp_path, "ner", teachers=teachers))
        return {f"{one.verb} {one.stage} {one.model}": one.macs for one in plan.phases}

    deep, shallow = macs("deep"), macs("shallow")
    for what in ("train finetune narrow", "cache distil small"):
        assert 0 < shallow[what] < deep[what]
    assert shallow["train distil small"] == deep["train distil small"]
