"""A sweep from its file to its folder: what is done, what is not done twice, what is chosen."""

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from destilo.errors import InputError
from destilo.recipe.schema import Recipe
from destilo.records import Collection, TrialResult
from destilo.runs import Run
from destilo.sweep import run
from destilo.sweep.load import Sweep
from destilo.sweep.storage import Storage
from destilo.sweep.work import Outcome, Task
from tests.sweep.parts import (
    NARROW,
    TOKENIZER,
    Pretended,
    Watching,
    broken,
    do_sweep,
    sweep_value,
    tiny_sweep,
)


def stamps(folder: Path) -> dict[str, int]:
    """When each file and folder of the trials was last changed."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_mtime_ns
        for path in sorted((folder / "trials").rglob("*"))
    }


def timeless(value: Any) -> Any:
    """Without times, latencies and memory, which differ from run to run."""
    if isinstance(value, dict):
        measured = re.compile(r"seconds|latency|throughput|peak_memory|n_kept|inferences|machine")
        return {key: timeless(inner) for key, inner in value.items() if not measured.search(key)}
    if isinstance(value, list):
        return [timeless(inner) for inner in value]
    return value


def results(folder: Path) -> Any:
    return timeless(json.loads((folder / "results.json").read_text(encoding="utf-8")))


def selected(collection: Collection) -> list[TrialResult]:
    return [one for one in collection.trials if one.selected]


def rates(trials: Iterable[TrialResult]) -> set[Any]:
    return {one.settings["learning_rate"] for one in trials}


def test_the_best_of_each_kind_is_selected(tmp_path: Path, pretended: Pretended) -> None:
    del pretended  # the faster, the better
    result, watching = do_sweep(tiny_sweep(tmp_path, "ner", "classes"), tmp_path / "out")
    assert result.failed == ()
    assert rates(selected(result.collection)) == {5e-3}
    kinds = [(one.dataset, one.stage, one.role, one.model) for one in selected(result.collection)]
    for dataset in ("ner", "classes"):
        for model in ("wide", "narrow"):
            assert kinds.count((dataset, "finetune", "teacher", model)) == 1
        for model in ("one-layer", "small"):
            for stage in ("finetune", "distil"):
                assert kinds.count((dataset, stage, "student", model)) == 2  # seeds
    assert watching.teachers == result.collection.selected_teachers
    assert (tmp_path / "out" / "report.md").is_file()


def test_by_loss_others_are_selected(tmp_path: Path, pretended: Pretended) -> None:
    del pretended  # the slower, the lower the loss
    by_loss = {"finetune__select_by": "validation_loss", "distil__select_by": "validation_loss"}
    result, _ = do_sweep(tiny_sweep(tmp_path, "ner", **by_loss), tmp_path / "out")
    teachers = [one for one in selected(result.collection) if one.role == "teacher"]
    students = [one for one in selected(result.collection) if one.role == "student"]
    assert rates(teachers) == {1e-3}
    assert rates(students) == {2e-3}


def test_students_follow_the_best_teacher(tmp_path: Path, pretended: Pretended) -> None:
    def scores(recipe: Recipe) -> list[dict[str, float]]:
        good = "narrow" in str(recipe.name) and "ner" in str(recipe.name)
        return [
            {"f1": 0.9 if good else 0.5, "accuracy": 0.9 if "wide" in str(recipe.name) else 0.1}
        ]

    pretended.scores = scores
    result, _ = do_sweep(tiny_sweep(tmp_path, "ner", "classes"), tmp_path / "out")
    assert result.collection.selected_teachers == {"ner": "narrow", "classes": "wide"}
    for one in result.collection.trials:
        if one.stage == "distil":
            assert one.teacher == result.collection.selected_teachers[one.dataset]


def test_the_best_of_the_candidates_are_followed_together(
    tmp_path: Path, pretended: Pretended
) -> None:
    del pretended
    result, _ = do_sweep(tiny_sweep(tmp_path, "ner", distil__n_teachers=2), tmp_path / "out")
    best = result.collection.selected_teachers["ner"]
    other = next(name for name in ("wide", "narrow") if name != best)
    followed = {one.teacher for one in result.collection.trials if one.stage == "distil"}
    assert followed == {f"{best} + {other}"}


def test_weights_of_losers_are_freed_as_soon_as_they_have_lost(
    tmp_path: Path, pretended: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    del pretended
    left: list[int] = []
    kept = run._Work._free_weights

    def counting(work: run._Work) -> None:
        kept(work)
        left.append(len(list((tmp_path / "out" / "trials").glob("*/student"))))

    monkeypatch.setattr(run._Work, "_free_weights", counting)
    result, _ = do_sweep(tiny_sweep(tmp_path, "ner"), tmp_path / "out")
    chosen = {one.trial for one in result.collection.trials if one.selected}
    assert left[-1] == len(chosen)
    assert max(left) < len({one.trial for one in result.collection.trials})


def test_a_search_is_as_long_without_distillation(tmp_path: Path, pretended: Pretended) -> None:
    del pretended
    space = {"alpha": {"low": 0.0, "high": 1.0}, "learning_rate": {"low": 1e-3, "high": 5e-3}}
    search = {"n_trials": 5, "space": space, "prune": False}
    sweep = tiny_sweep(tmp_path, "ner", distil__grid=None, distil__search=search, seeds=[13])
    result, _ = do_sweep(sweep, tmp_path / "out")
    for stage, axes in (("finetune", {"learning_rate"}), ("distil", set(space))):
        mine = [
            one
            for one in result.collection.trials
            if one.role == "student" and one.stage == stage and one.model == "small"
        ]
        assert len(mine) == 5
        assert {axis for one in mine for axis in one.settings} == axes


def test_of_equals_the_first_is_selected(tmp_path: Path, pretended: Pretended) -> None:
    pretended.scores = lambda _: [{"f1": 0.5}]
    result, _ = do_sweep(tiny_sweep(tmp_path, "ner"), tmp_path / "out")
    assert result.collection.selected_teachers == {"ner": "wide"}
    chosen = [one.settings for one in selected(result.collection) if one.stage == "distil"]
    assert chosen == [{"learning_rate": 2e-3, "temperature": 1.0}] * 4


def test_what_is_no_number_is_never_the_best(tmp_path: Path, pretended: Pretended) -> None:
    def scores(recipe: Recipe) -> list[dict[str, float]]:
        return [{"f1": float("nan") if recipe.training.learning_rate == 5e-3 else 0.1}]

    pretended.scores = scores
    result, _ = do_sweep(tiny_sweep(tmp_path, "ner"), tmp_path / "out")
    assert rates(selected(result.collection)) == {1e-3, 2e-3}


@pytest.mark.parametrize("keep", ["selected", "all"])
def test_a_second_call_does_nothing(tmp_path: Path, pretended: Pretended, keep: str) -> None:
    sweep, output = tiny_sweep(tmp_path, "ner", "classes", keep=keep), tmp_path / "out"
    first, _ = do_sweep(sweep, output)
    before = stamps(output)
    pretended.runs.clear()
    second, watching = do_sweep(sweep, output)
    assert (watching.began, pretended.runs) == ([], [])
    assert stamps(output) == before
    assert second.collection == first.collection


def redone(pretended: Pretended, sweep: Sweep, output: Path) -> set[tuple[str | None, str]]:
    """What a sweep does that is done: names of recipes and last stages."""
    pretended.runs.clear()
    do_sweep(sweep, output)
    return {(name, until) for name, _, until in pretended.runs}


def test_a_changed_student_redoes_that_student(tmp_path: Path, pretended: Pretended) -> None:
    do_sweep(tiny_sweep(tmp_path, "ner"), tmp_path / "out")
    config = NARROW | {"num_hidden_layers": 1, "intermediate_size": 32}
    changed = tiny_sweep(tmp_path, "ner", students__small__config=config)
    again = redone(pretended, changed, tmp_path / "out")
    assert {name for name, _ in again} == {"ner-small-distil", "ner-small-finetune"}


def test_a_new_value_in_a_teacher_s_grid_trains_that(tmp_path: Path, pretended: Pretended) -> None:
    do_sweep(tiny_sweep(tmp_path, "ner", "classes"), tmp_path / "out")
    worse = tiny_sweep(
        tmp_path, "ner", "classes", finetune__grid={"learning_rate": [1e-3, 2e-3, 5e-3]}
    )
    again = redone(pretended, worse, tmp_path / "out")
    assert again == {
        (f"{dataset}-{model}-finetune", "student")
        for dataset in ("ner", "classes")
        for model in ("wide", "narrow")
    }
    better = tiny_sweep(
        tmp_path, "ner", "classes", finetune__grid={"learning_rate": [1e-3, 5e-3, 9e-3]}
    )
    names = {name for name, _ in redone(pretended, better, tmp_path / "out")}
    assert "ner-small-distil" in names  # it follows another teacher
    assert "ner-small-finetune" not in names  # and here nobody


def test_a_changed_profile_or_test_only_measures(tmp_path: Path, pretended: Pretended) -> None:
    do_sweep(tiny_sweep(tmp_path, "ner"), tmp_path / "out")
    profile = {"sequence_length": 8, "samples": 5, "warmup": 1}
    again = redone(pretended, tiny_sweep(tmp_path, "ner", base__profile=profile), tmp_path / "out")
    assert {until for _, until in again} == {"report"}
    without = tiny_sweep(tmp_path, "ner", base__profile=profile, datasets__ner__data__test=None)
    assert {until for _, until in redone(pretended, without, tmp_path / "out")} == {"report"}


def test_another_seed_or_data_set_leaves_the_rest_alone(
    tmp_path: Path, pretended: Pretended
) -> None:
    do_sweep(tiny_sweep(tmp_path, "ner"), tmp_path / "out")
    seeds = redone(pretended, tiny_sweep(tmp_path, "ner", seeds=[13, 14, 15]), tmp_path / "out")
    assert all("wide" not in str(name) and "narrow" not in str(name) for name, _ in seeds)
    assert len(pretended.runs) == 2 * 2 * 2  # students, stages; train and measure
    more = redone(
        pretended, tiny_sweep(tmp_path, "ner", "classes", seeds=[13, 14, 15]), tmp_path / "out"
    )
    assert all(str(name).startswith("classes-") for name, _ in more)


def test_what_fails_is_told_and_tried_again(tmp_path: Path, pretended: Pretended) -> None:
    def fails(recipe: Recipe) -> Exception | None:
        wrong = recipe.name == "ner-small-distil" and recipe.training.learning_rate == 5e-3
        return broken(recipe) if wrong else None

    pretended.fails = fails
    sweep = tiny_sweep(tmp_path, "ner")
    result, _ = do_sweep(sweep, tmp_path / "out")
    assert {one.settings["temperature"] for one in result.failed} == {1.0, 2.0}
    assert all("not finite [NaN]" in str(one.error) for one in result.failed)
    assert rates(one for one in selected(result.collection) if one.model == "small") == {
        2e-3,
        5e-3,  # without distillation
    }
    pretended.fails = lambda _: None
    again, _ = do_sweep(sweep, tmp_path / "out")
    assert again.failed == ()
    assert rates(one for one in selected(again.collection) if one.model == "small") == {5e-3}


def test_what_nobody_foresaw_costs_one_trial(tmp_path: Path, pretended: Pretended) -> None:
    def fails(recipe: Recipe) -> Exception | None:
        wrong = recipe.name == "ner-wide-finetune" and recipe.training.learning_rate == 5e-3
        return RuntimeError("CUDA out of memory") if wrong else None

    pretended.fails = fails
    result, _ = do_sweep(tiny_sweep(tmp_path, "ner"), tmp_path / "out")
    (failed,) = result.failed
    assert "RuntimeError: CUDA out of memory" in str(failed.error)
    traceback = tmp_path / "out" / "trials" / failed.trial / "error.txt"
    assert "Traceback" in traceback.read_text(encoding="utf-8")
    assert result.collection.selected_teachers == {"ner": "narrow"}


def test_without_any_teacher_the_others_go_on(tmp_path: Path, pretended: Pretended) -> None:
    def fails(recipe: Recipe) -> Exception | None:
        name = str(recipe.name)
        return broken(recipe) if name in ("ner-wide-finetune", "ner-narrow-finetune") else None

    pretended.fails = fails
    result, _ = do_sweep(tiny_sweep(tmp_path, "ner", "classes"), tmp_path / "out")
    assert list(result.collection.selected_teachers) == ["classes"]
    done = {
        (one.stage, one.model)
        for one in result.collection.trials
        if one.dataset == "ner" and one.state == "finished"
    }
    assert done == {("finetune", "small")}


def test_everything_fails(tmp_path: Path, pretended: Pretended) -> None:
    pretended.fails = broken
    result, _ = do_sweep(tiny_sweep(tmp_path, "ner"), tmp_path / "out")
    assert len(result.failed) == len(result.collection.trials) == 4 + 2
    assert (tmp_path / "out" / "report.md").is_file()


def weights(output: Path) -> set[str]:
    return {path.parent.name for path in (output / "trials").glob("*/student")}


def test_only_selected_weights_are_kept(tmp_path: Path, pretended: Pretended) -> None:
    output = tmp_path / "out"
    result, _ = do_sweep(tiny_sweep(tmp_path, "ner"), output)
    assert weights(output) == {one.trial for one in selected(result.collection)}
    by_loss = {"finetune__select_by": "validation_loss", "distil__select_by": "validation_loss"}
    other, _ = do_sweep(tiny_sweep(tmp_path, "ner", **by_loss), output)
    assert weights(output) >= {one.trial for one in selected(other.collection)}
    back = redone(pretended, tiny_sweep(tmp_path, "ner"), output)
    assert back == set()  # what was selected before has its weights still


def test_a_changed_selection_makes_forgotten_weights_again(
    tmp_path: Path, pretended: Pretended
) -> None:
    output = tmp_path / "out"
    do_sweep(tiny_sweep(tmp_path, "ner"), output)
    slow = tiny_sweep(
        tmp_path,
        "ner",
        finetune__grid={"learning_rate": [1e-3]},
        distil__grid={"learning_rate": [2e-3], "temperature": [2.0]},
    )
    pretended.runs.clear()
    result, watching = do_sweep(slow, output)
    chosen = {one.trial for one in selected(result.collection)}
    assert chosen <= weights(output)
    known = [
        task.label
        for task in watching.began
        if task.verb == "train" and task.result.role == "teacher"
    ]
    assert known == []  # the figures of the candidates were on file
    assert ("ner-wide-finetune", 1e-3, "report") in pretended.runs  # its weights were not


def test_models_are_exported_and_follow_the_selection(tmp_path: Path, pretended: Pretended) -> None:
    output = tmp_path / "out"
    result, _ = do_sweep(tiny_sweep(tmp_path, "ner"), output)
    (first, *_) = [
        one
        for one in selected(result.collection)
        if (one.model, one.stage, one.seed) == ("small", "distil", 13)
    ]
    exported = output / "models" / "ner" / "small"
    origin = output / "trials" / first.trial / "student" / "model.safetensors"
    assert (exported / "model.safetensors").read_text() == origin.read_text()
    written = exported.stat().st_mtime_ns
    do_sweep(tiny_sweep(tmp_path, "ner"), output)
    assert exported.stat().st_mtime_ns == written
    do_sweep(tiny_sweep(tmp_path, "ner", distil__select_by="validation_loss"), output)
    assert (exported / "model.safetensors").read_text() != origin.read_text()
    del pretended


def test_one_model_in_two_roles_is_trained_once(tmp_path: Path, pretended: Pretended) -> None:
    section = {"config": NARROW, "tokenizer": TOKENIZER}
    twice = tiny_sweep(
        tmp_path,
        "ner",
        teachers={"narrow": section},
        students={"same": {"from": "config", **section}},
        finetune__grid={"learning_rate": [1e-3]},
        distil__grid={"learning_rate": [1e-3]},
        seeds=[13],
    )
    result, _ = do_sweep(twice, tmp_path / "out")
    trainings = [name for name, _, until in pretended.runs if until == "student"]
    assert sorted(map(str, trainings)) == ["ner-narrow-finetune", "ner-same-distil"]
    found = [(one.role, one.model) for one in result.collection.trials if one.stage == "finetune"]
    assert found == [("teacher", "narrow"), ("student", "same")]
    assert {one.trial for one in result.collection.trials if one.stage == "finetune"} == {
        one.trial for one in selected(result.collection) if one.stage == "finetune"
    }
    pretended.runs.clear()
    do_sweep(twice, tmp_path / "out")
    assert pretended.runs == []


def test_damaged_figures_are_made_again(tmp_path: Path, pretended: Pretended) -> None:
    output = tmp_path / "out"
    sweep = tiny_sweep(tmp_path, "ner")
    result, _ = do_sweep(sweep, output)
    one = selected(result.collection)[0]
    (output / "trials" / one.trial / "trial.json").write_text('{"result": ', encoding="utf-8")
    assert redone(pretended, sweep, output) == {
        ("ner-wide-finetune", "student"),
        ("ner-wide-finetune", "report"),
    }


def test_moved_folders_stay_done(tmp_path: Path, pretended: Pretended) -> None:
    value = sweep_value(tmp_path / "data", "ner")
    from destilo.sweep import load_sweep

    do_sweep(load_sweep(value), tmp_path / "out")
    (tmp_path / "data").rename(tmp_path / "moved")
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    text = json.dumps(value).replace(str(tmp_path / "data"), str(tmp_path / "moved"))
    again = redone(pretended, load_sweep(json.loads(text)), tmp_path / "elsewhere")
    assert all(until != "student" for _, until in again)


def test_a_folder_in_use_or_of_a_run_is_refused(tmp_path: Path, pretended: Pretended) -> None:
    sweep, output = tiny_sweep(tmp_path, "ner"), tmp_path / "out"
    with Run(output).locked(), pytest.raises(InputError, match="another destilo process"):
        do_sweep(sweep, output)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="a single run's folder"):
        do_sweep(sweep, tmp_path / "run")
    assert pretended.runs == []


def test_caches_lie_beside_the_trials_and_leave_nothing_behind(
    tmp_path: Path, pretended: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()

    def scores(recipe: Recipe) -> list[dict[str, float]]:
        del recipe
        seen.add(os.environ["DESTILO_CACHE"])
        return [{"f1": 0.5}]

    monkeypatch.delenv("DESTILO_CACHE", raising=False)
    pretended.scores = scores
    do_sweep(tiny_sweep(tmp_path, "ner"), tmp_path / "out")
    assert seen == {str(tmp_path / "out" / "cache")}
    assert "DESTILO_CACHE" not in os.environ


def test_trials_come_in_the_order_of_the_file_whoever_is_first(
    tmp_path: Path, pretended: Pretended
) -> None:
    del pretended
    sweep = tiny_sweep(tmp_path, "ner", "classes")
    one, _ = do_sweep(sweep, tmp_path / "one")
    two, _ = do_sweep(sweep, tmp_path / "two", make=LastFirst)
    assert [trial.trial for trial in two.collection.trials] == [
        trial.trial for trial in one.collection.trials
    ]


class LastFirst:
    """Takes five tasks and does the last of them first."""

    def __init__(self, storage: Storage, watching: Watching) -> None:
        self._storage, self._watching, self._tasks = storage, watching, list[Task]()

    def capacity(self) -> int:
        return 5

    def submit(self, task: Task) -> None:
        self._watching.begun(task)
        self._tasks.append(task)

    def next(self) -> Outcome:
        from destilo.sweep.work import perform

        return perform(self._tasks.pop(), self._storage)

    def close(self) -> None:
        self._tasks.clear()
