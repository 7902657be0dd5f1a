"""What a sweep does in which order, for each data set.

A flow asks for tasks and is given their outcomes: it is a generator, so that its order reads from
top to bottom while many flows go on at a time. It starts nothing itself.

    fine-tune every candidate -> select the teacher -> cache its outputs
        -> each student: grid or search -> its best settings with the other seeds -> measure
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from destilo.errors import DestiloError
from destilo.records import Role, TrialResult, TrialStage
from destilo.sweep.cost import Costs, config_of_student
from destilo.sweep.schema import Grid, SearchSpec
from destilo.sweep.search import Search
from destilo.sweep.trial import Recipes, Settings, Trial, points, without_losses
from destilo.sweep.work import Outcome, Task, Verb

Flow: TypeAlias = Generator[list[Task], list[Outcome], "list[Flow]"]
"""Yields tasks, is sent their outcomes in the same order, and returns flows that begin then."""


@dataclass
class Selection:
    """What has been chosen so far.

    Attributes:
        teachers: By data set, the candidate that students follow.
        trials: Role and digest of the trials whose model is the best of its kind.
        others: Role and digest of those that were compared with them.
    """

    teachers: dict[str, str] = field(default_factory=dict)
    trials: set[tuple[Role, str]] = field(default_factory=set)
    others: set[tuple[Role, str]] = field(default_factory=set)


class Flows:
    """Makes the flows of a sweep.

    Args:
        recipes: Makes the recipe of each trial.
        costs: Says what each costs.
        selection: Where what is chosen is written down.
    """

    def __init__(self, recipes: Recipes, costs: Costs, selection: Selection) -> None:
        self._recipes, self._costs, self._selection = recipes, costs, selection
        self._spec = recipes.sweep.spec
        self._shapes: dict[str, Mapping[str, Any] | None] = {}

    def start(self) -> list[Flow]:
        """Everything that waits for nothing."""
        flows: list[Flow] = [self._dataset(name) for name in self._spec.datasets]
        if self._spec.distil.without_distillation:
            for dataset in self._spec.datasets:
                flows += [
                    self._student("finetune", dataset, student)
                    for student in self._spec.students
                    if not self.needs_teacher(student)
                ]
        return flows

    def needs_teacher(self, student: str) -> bool:
        """Whether a student cannot be made without the selected teacher."""
        section = self._spec.students[student].section
        tokenizer = section.get(
            "tokenizer", None if section.get("from") == "checkpoint" else "teacher"
        )
        return (
            section.get("from") == "layers"
            or tokenizer == "teacher"
            or section.get("init", "random") != "random"
        )

    def _dataset(self, dataset: str) -> Flow:
        spec, seed = self._spec, self._spec.seeds[0]
        tried: list[tuple[str, Trial]] = [
            (name, Trial("finetune", dataset, name, "teacher", settings, seed))
            for name in spec.teachers
            for settings in points(self.grid_of_teacher(name))
        ]
        outcomes = yield [self.task("train", trial) for _, trial in tried]
        best: dict[str, Outcome] = {}
        for name in spec.teachers:
            mine = [one for (model, _), one in zip(tried, outcomes, strict=True) if model == name]
            chosen = self._best(mine)
            if chosen is not None:
                best[name] = chosen
                self._selection.trials.add(("teacher", chosen.result.trial))
        self._selection.others.update(("teacher", one.result.trial) for one in outcomes)
        ranked = self._ranked(best.values())
        if not ranked:
            return []
        self._selection.teachers[dataset] = ranked[0].result.model
        followed = tuple(
            (one.result.model, one.result.trial) for one in ranked[: spec.distil.n_teachers]
        )
        yield [self._measure(one) for one in best.values()]  # makes weights that are gone again
        yield self._cache_tasks(dataset, followed)
        flows: list[Flow] = []
        for student in spec.students:
            flows.append(self._student("distil", dataset, student, followed))
            if spec.distil.without_distillation and self.needs_teacher(student):
                flows.append(self._student("finetune", dataset, student, followed[:1]))
        return flows

    def _student(
        self,
        stage: TrialStage,
        dataset: str,
        student: str,
        teachers: tuple[tuple[str, str], ...] = (),
    ) -> Flow:
        """The best settings of a student on one seed, then these on every seed."""

        def trial(settings: Settings, seed: int) -> Trial:
            return Trial(stage, dataset, student, "student", settings, seed, teachers)

        first, *others = self._spec.seeds
        search = self._search_of(stage)
        if search is not None:
            outcomes = yield from self._searched(trial, dataset, search)
        else:
            grid = self.grid_of_student(student)
            settings = points(grid if stage == "distil" else without_losses(grid))
            outcomes = yield [self.task("train", trial(one, first)) for one in settings]
        self._selection.others.update(("student", one.result.trial) for one in outcomes)
        best = self._best(outcomes)
        if best is None:
            return []
        self._selection.trials.add(("student", best.result.trial))
        chosen = tuple(best.result.settings.items())
        repeated = yield [self.task("train", trial(chosen, seed)) for seed in others]
        kept = [best, *(one for one in repeated if one.result.state == "finished")]
        self._selection.trials.update(("student", one.result.trial) for one in kept)
        yield [self._measure(one) for one in kept]
        return []

    def grid_of_teacher(self, name: str) -> Grid:
        """What is tried of a candidate."""
        own = self._spec.teachers[name].grid
        return self._spec.finetune.grid if own is None else own

    def grid_of_student(self, student: str) -> Grid:
        """What is tried of a student, unless there is a search."""
        own = self._spec.students[student].grid
        return self._spec.distil.grid if own is None else own

    def _search_of(self, stage: TrialStage) -> SearchSpec | None:
        """The search of a stage: without distillation as many trials, over what still matters."""
        spec = self._spec.distil.search
        if spec is None or stage == "distil":
            return spec
        space = without_losses(spec.space)
        return spec.model_copy(update={"space": space}) if space else None

    def _searched(
        self, trial: Callable[[Settings, int], Trial], dataset: str, spec: SearchSpec
    ) -> Generator[list[Task], list[Outcome], list[Outcome]]:
        select_by = self._select_by("student", dataset)
        search = Search(spec, minimise=select_by == "validation_loss")
        found: list[Outcome] = []
        while len(found) < spec.n_trials:
            asked = [search.ask() for _ in range(min(spec.parallel, spec.n_trials - len(found)))]
            bounds = search.bounds()
            seed = self._spec.seeds[0]
            tasks = [self.task("train", trial(one, seed), bounds) for _, one in asked]
            outcomes = yield tasks
            for (number, _), outcome in zip(asked, outcomes, strict=True):
                state = outcome.result.state
                search.tell(
                    number,
                    value=None if state == "failed" else outcome.result.validation.get(select_by),
                    history=outcome.history,
                    pruned=state == "pruned",
                )
            found += outcomes
        return found

    def _cache_tasks(self, dataset: str, teachers: tuple[tuple[str, str], ...]) -> list[Task]:
        """Fill the teachers' caches once for each way in which students cut their texts."""
        spec = self._spec
        if not spec.distil.cache or any(term.on_layers for term in spec.distil.objective or ()):
            return []
        tasks, seen = [], set()
        for student in spec.students:
            section = spec.students[student].section
            cuts = repr((section.get("from"), section.get("model"), section.get("tokenizer")))
            if cuts in seen and section.get("from") != "layers":
                continue
            if section.get("from") == "layers" and "layers" in seen:
                continue
            seen.add("layers" if section.get("from") == "layers" else cuts)
            grid = {} if spec.distil.search else self.grid_of_student(student)
            settings, seed = points(grid)[0], spec.seeds[0]
            made = Trial("distil", dataset, student, "student", settings, seed, teachers)
            tasks.append(self.task("cache", made))
        return tasks

    def task(self, verb: Verb, trial: Trial, bounds: dict[int, float] | None = None) -> Task:
        """A trial as something to do."""
        try:
            recipe = self._recipes.recipe(trial)
        except DestiloError as error:
            role = "teachers" if trial.role == "teacher" else "students"
            told = f"{error}\n(in the recipe of {trial.model} of `{role}` on {trial.dataset})"
            raise type(error)(told) from None
        digest = self._recipes.digest(recipe)
        result = TrialResult(
            trial=digest,
            stage=trial.stage,
            dataset=trial.dataset,
            model=trial.model,
            role=trial.role,
            teacher=trial.teacher if trial.stage == "distil" else None,
            settings=dict(trial.settings),
            seed=trial.seed,
            state="planned",
            select_by=self._select_by(trial.role, trial.dataset),
        )
        values = recipe.model_dump(mode="json", by_alias=True, exclude_none=True)
        return Task(
            verb,
            result,
            values,
            measured_by=recipe.digest,
            bounds=bounds or {},
            label=_label(trial),
            cost=self._costs.of(verb, recipe, [self._shape(name) for name, _ in trial.teachers]),
        )

    def _shape(self, teacher: str) -> Mapping[str, Any] | None:
        """The configuration of a candidate, where known; it is the same on every data set."""
        if teacher not in self._shapes:
            dataset, seed = next(iter(self._spec.datasets)), self._spec.seeds[0]
            trial = Trial("finetune", dataset, teacher, "teacher", (), seed)
            self._shapes[teacher] = config_of_student(self._recipes.recipe(trial))
        return self._shapes[teacher]

    def _measure(self, outcome: Outcome) -> Task:
        """Evaluate and profile a model that was selected."""
        task = outcome.task
        return Task(
            "measure",
            outcome.result,
            task.recipe,
            measured_by=task.measured_by,
            label=f"{task.label} (measure)",
            cost=self._costs.of_measuring,
        )

    def _select_by(self, role: str, dataset: str) -> str:
        stage = self._spec.finetune if role == "teacher" else self._spec.distil
        return self._recipes.metric(dataset, stage.select_by)

    def _best(self, outcomes: Iterable[Outcome]) -> Outcome | None:
        """The best finished outcome on validation; of equal ones the first."""
        return next(iter(self._ranked(outcomes)), None)

    def _ranked(self, outcomes: Iterable[Outcome]) -> list[Outcome]:
        """The finished outcomes, the best on validation first; equal ones in their order."""

        def rank(outcome: Outcome) -> float:
            value = outcome.result.validation[outcome.result.select_by]
            return value if outcome.result.select_by == "validation_loss" else -value

        def counts(outcome: Outcome) -> bool:
            value = outcome.result.validation.get(outcome.result.select_by)
            return outcome.result.state == "finished" and value is not None and value == value

        return sorted(filter(counts, outcomes), key=rank)


def _label(trial: Trial) -> str:
    settings = ", ".join(f"{axis.rpartition('.')[2]} {value}" for axis, value in trial.settings)
    how = f" <- {trial.teacher}" if trial.stage == "distil" else ""
    seed = f"seed {trial.seed}"
    return f"{trial.dataset}: {trial.model}{how} ({', '.join(filter(None, [settings, seed]))})"
