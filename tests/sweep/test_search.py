"""The search asks for the same each time, and gives up what is behind."""

import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from destilo.errors import InputError
from destilo.recipe.schema import Recipe
from destilo.sweep.schema import SearchSpec
from destilo.sweep.search import Search, median_bounds
from destilo.sweep.trial import Settings
from tests.sweep.parts import NARROW, TOKENIZER, Pretended, do_sweep, tiny_sweep

pytest.importorskip("optuna")

SPACE = {
    "alpha": {"low": 0.0, "high": 1.0},
    "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "term": ["kl", "mse"],
    "per_device_train_batch_size": {"low": 4, "high": 16, "step": 4},
}


def spec(**changes: Any) -> SearchSpec:
    return SearchSpec.model_validate({"n_trials": 8, "space": SPACE} | changes)


def asked(search: Search, count: int, value: Callable[[Settings], float]) -> list[Settings]:
    made = []
    for _ in range(count):
        number, settings = search.ask()
        search.tell(number, value=value(settings), history={}, pruned=False)
        made.append(settings)
    return made


def alpha(settings: Settings) -> float:
    return float(dict(settings)["alpha"])


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_same_seed_asks_for_the_same_trials(sampler: str) -> None:
    one = asked(Search(spec(sampler=sampler), minimise=False), 15, alpha)
    two = asked(Search(spec(sampler=sampler), minimise=False), 15, alpha)
    other = asked(Search(spec(sampler=sampler, seed=14), minimise=False), 15, alpha)
    assert one == two
    assert one != other


@pytest.mark.parametrize(
    "axis", ["training.per_device_train_batch_size", "early_stopping_patience", "student.layers"]
)
def test_ranges_of_whole_numbers_whatever_their_spelling(axis: str) -> None:
    space = {axis: {"low": 1, "high": 6}}
    values = [dict(one)[axis] for one in asked(Search(spec(space=space), minimise=True), 5, len)]
    assert all(isinstance(value, int) for value in values)


def test_what_is_asked_for_lies_in_the_space() -> None:
    for settings in asked(Search(spec(), minimise=True), 20, alpha):
        values = dict(settings)
        assert 0 <= values["alpha"] <= 1
        assert 1e-4 <= values["learning_rate"] <= 1e-2
        assert values["term"] in ("kl", "mse")
        assert values["per_device_train_batch_size"] in (4, 8, 12, 16)
        assert isinstance(values["per_device_train_batch_size"], int)


@pytest.mark.parametrize("minimise", [True, False])
def test_a_search_goes_where_it_is_better(minimise: bool) -> None:
    tried = [alpha(one) for one in asked(Search(spec(), minimise=minimise), 40, alpha)]
    early, late = statistics.mean(tried[:10]), statistics.mean(tried[-10:])
    assert late < early if minimise else late > early


def test_bounds_are_medians_of_what_was_reached() -> None:
    histories: list[Mapping[int, float]] = [{1: 0.1, 2: 0.5}, {1: 0.3, 2: 0.4}, {1: 0.2}]
    assert median_bounds(histories, after=0) == {1: 0.2, 2: 0.45}
    assert median_bounds(histories, after=1) == {2: 0.45}
    assert median_bounds([], after=0) == {}


def test_no_bounds_before_enough_have_finished() -> None:
    search = Search(spec(startup_trials=2, warmup_evaluations=0), minimise=False)
    bounds = []
    for value, pruned in ((0.2, False), (0.1, True), (0.4, False), (0.6, False)):
        number, _ = search.ask()
        bounds.append(search.bounds())
        search.tell(number, value=value, history={1: value}, pruned=pruned)
    assert bounds == [{}, {}, {}, {1: pytest.approx(0.3)}]  # what was given up counts for nothing
    assert Search(spec(prune=False, startup_trials=1), minimise=False).bounds() == {}


def test_a_failure_is_no_value() -> None:
    search = Search(spec(startup_trials=1, warmup_evaluations=0), minimise=False)
    number, _ = search.ask()
    search.tell(number, value=None, history={}, pruned=False)
    assert search.bounds() == {}


def searching(folder: Path, **changes: Any) -> Any:
    search = {
        "n_trials": 8,
        "space": {"alpha": {"low": 0.0, "high": 1.0}},
        "startup_trials": 2,
        "warmup_evaluations": 0,
    } | changes
    return tiny_sweep(
        folder,
        "ner",
        teachers={"narrow": {"config": NARROW, "tokenizer": TOKENIZER}},
        students={"one-layer": {"from": "layers", "layers": 1}},
        distil={"search": search, "without_distillation": False},
        seeds=[13],
    )


def by_alpha(recipe: Recipe) -> list[dict[str, float]]:
    """The more of the labels, the better, and slowly so."""
    weights = {term.term: term.weight for term in recipe.terms}
    share = float(weights.get("labels", 0.0)) if recipe.distils else 1.0
    return [{"f1": share * part, "validation_loss": 2 - share * part} for part in (0.5, 1.0)]


def tried(result: Any) -> list[tuple[float, str]]:
    return [
        (one.settings["alpha"], one.state)
        for one in result.collection.trials
        if one.role == "student"
    ]


@pytest.mark.parametrize("select_by", ["metric", "validation_loss"])
def test_pruned_trials_were_behind_the_median(
    tmp_path: Path, pretended: Pretended, select_by: str
) -> None:
    pretended.scores = by_alpha
    sweep = searching(tmp_path)
    spec = sweep.spec
    distil = spec.distil.model_copy(update={"select_by": select_by})
    sweep = type(sweep)(spec.model_copy(update={"distil": distil}), sweep.places)
    result, _ = do_sweep(sweep, tmp_path / "out")
    finished: list[float] = []
    for value, state in tried(result):
        behind = len(finished) >= 2 and value < statistics.median(finished)
        assert state == ("pruned" if behind else "finished")
        finished += [value] * (not behind)
    assert any(state == "pruned" for _, state in tried(result))
    (best,) = [one for one in result.collection.trials if one.selected and one.role == "student"]
    assert best.settings["alpha"] == max(value for value, _ in tried(result))


def test_a_search_that_is_asked_again_does_nothing(tmp_path: Path, pretended: Pretended) -> None:
    pretended.scores = by_alpha
    first, _ = do_sweep(searching(tmp_path), tmp_path / "out")
    pretended.runs.clear()
    second, watching = do_sweep(searching(tmp_path), tmp_path / "out")
    assert (watching.began, pretended.runs) == ([], [])
    assert second.collection == first.collection


@pytest.mark.parametrize("after", [1, 3, 6])
def test_a_killed_search_asks_for_the_same_again(
    tmp_path: Path, pretended: Pretended, after: int
) -> None:
    pretended.scores = by_alpha
    whole, _ = do_sweep(searching(tmp_path), tmp_path / "whole")

    def killed(recipe: Recipe) -> Exception | None:
        if recipe.distils and sum(1 for one in pretended.runs if one[2] == "student") > after + 2:
            raise KeyboardInterrupt
        return None

    pretended.runs.clear()
    pretended.fails = killed
    with pytest.raises(KeyboardInterrupt):
        do_sweep(searching(tmp_path), tmp_path / "out")
    pretended.fails = lambda _: None
    again, watching = do_sweep(searching(tmp_path), tmp_path / "out")
    assert tried(again) == tried(whole)
    students = [one for one in watching.repeated if one.result.role == "student"]
    assert len([one for one in students if one.task.verb == "train"]) >= after


def test_more_trials_go_on_where_the_search_was(tmp_path: Path, pretended: Pretended) -> None:
    pretended.scores = by_alpha
    few, _ = do_sweep(searching(tmp_path, n_trials=4), tmp_path / "out")
    many, _ = do_sweep(searching(tmp_path, n_trials=8), tmp_path / "out")
    assert tried(many)[:4] == tried(few)
    assert len(tried(many)) == 8


def test_without_pruning_what_was_given_up_is_finished(
    tmp_path: Path, pretended: Pretended
) -> None:
    pretended.scores = by_alpha
    pruned, _ = do_sweep(searching(tmp_path, sampler="random"), tmp_path / "out")
    assert "pruned" in {state for _, state in tried(pruned)}
    whole, _ = do_sweep(searching(tmp_path, sampler="random", prune=False), tmp_path / "out")
    assert {state for _, state in tried(whole)} == {"finished"}
    assert [value for value, _ in tried(whole)] == [value for value, _ in tried(pruned)]


def test_several_are_asked_for_at_a_time(tmp_path: Path, pretended: Pretended) -> None:
    pretended.scores = by_alpha
    one, _ = do_sweep(searching(tmp_path, parallel=4), tmp_path / "one")
    assert len(tried(one)) == 8
    two, _ = do_sweep(searching(tmp_path, parallel=4), tmp_path / "two")
    assert tried(one) == tried(two)


def test_optuna_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r'pip install "destilo\[sweep\]"'):
        Search(spec(), minimise=False)
