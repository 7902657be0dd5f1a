"""Do a sweep: give tasks to an executor as flows ask for them, and write down what came of them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from destilo.errors import InputError
from destilo.records import Collection, CollectionDataset, Role, TrialResult
from destilo.runs import Run, reported_io, write_json
from destilo.sweep.cost import Costs
from destilo.sweep.executors import Executor
from destilo.sweep.exporting import export_students
from destilo.sweep.flow import Flow, Flows, Selection
from destilo.sweep.load import Sweep
from destilo.sweep.storage import Storage
from destilo.sweep.trial import Recipes, Trial
from destilo.sweep.work import Outcome, Task, Verb, finished, forget_weights, seen_as

RESULTS = "results.json"
_WRITE_EVERY_SECONDS = 5.0


class Watcher(Protocol):
    """Who is told how a sweep goes; the command line draws a table of it."""

    def planned(self, tasks: list[Task]) -> None:
        """Tasks that are to be done, or found done."""
        ...

    def begun(self, task: Task) -> None:
        """A task that a worker has taken."""
        ...

    def ended(self, outcome: Outcome, *, again: bool) -> None:
        """A task that is done; ``again``: it had been before."""
        ...

    def selected(self, dataset: str, teacher: str) -> None:
        """The teacher that the students of a data set follow."""
        ...


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What a sweep made.

    Attributes:
        path: Its folder: ``results.json``, ``trials/``, ``models/``, ``report.md``.
        collection: The same as ``results.json``.
    """

    path: Path
    collection: Collection

    @property
    def failed(self) -> tuple[TrialResult, ...]:
        """Trials that could not be done."""
        return tuple(one for one in self.collection.trials if one.state == "failed")


@dataclass
class _Open:
    """A flow that waits for tasks.

    Attributes:
        tasks: What it wants.
        outcomes: In the same order; ``None`` where one is not done yet.
    """

    flow: Flow
    tasks: list[Task]
    outcomes: list[Outcome | None]

    @property
    def waits(self) -> bool:
        return any(outcome is None for outcome in self.outcomes)


@dataclass
class _Work:
    """A sweep in progress."""

    recipes: Recipes
    selection: Selection
    storage: Storage
    executor: Executor
    watcher: Watcher
    output: Path
    results: dict[tuple[Any, ...], TrialResult | None] = field(default_factory=dict)
    wanted: deque[Task] = field(default_factory=deque)
    waiting: dict[tuple[Verb, str], list[tuple[_Open, int]]] = field(default_factory=dict)
    done: dict[tuple[Verb, str], Outcome] = field(default_factory=dict)
    roles: dict[str, set[Role]] = field(default_factory=dict)
    freed: set[str] = field(default_factory=set)
    written: float = 0.0

    def run(self, flows: list[Flow]) -> None:
        for flow in flows:
            self._advance(flow, None)
        running = 0
        while self.wanted or running:
            while self.wanted and running < self.executor.capacity():
                task = self.wanted.popleft()
                found = finished(task, self.storage)
                if found is not None:
                    self._ended(found, again=True)
                    continue
                self.executor.submit(task)
                running += 1
            if running:
                outcome = self.executor.next()
                running -= 1
                self._ended(outcome, again=False)

    def _advance(self, flow: Flow, outcomes: list[Outcome] | None) -> None:
        """Ask a flow what it wants next, and note who waits for it."""
        while True:
            try:
                tasks = next(flow) if outcomes is None else flow.send(outcomes)
            except StopIteration as end:
                for follower in end.value or []:
                    self._advance(follower, None)
                return
            opened = _Open(flow, tasks, [None] * len(tasks))
            new = []
            for number, task in enumerate(tasks):
                if task.verb != "cache":
                    self.roles.setdefault(task.result.trial, set()).add(task.result.role)
                    self.results.setdefault(_place_of(task.result), None)
                if (outcome := self.done.get(task.key)) is not None:
                    self._give(opened, number, outcome)
                    continue
                if task.key not in self.waiting:
                    new.append(task)
                self.waiting.setdefault(task.key, []).append((opened, number))
            self.wanted.extend(new)
            self.watcher.planned(new)
            if opened.waits:
                return
            outcomes = [outcome for outcome in opened.outcomes if outcome is not None]

    def _ended(self, outcome: Outcome, *, again: bool) -> None:
        key = outcome.task.key
        self.done[key] = outcome
        self.watcher.ended(outcome, again=again)
        known = dict(self.selection.teachers)
        ready = []
        for opened, number in self.waiting.pop(key, []):
            self._give(opened, number, outcome)
            if not opened.waits:
                ready.append(opened)
        for opened in ready:
            self._advance(opened.flow, [one for one in opened.outcomes if one is not None])
        for dataset, teacher in self.selection.teachers.items():
            if dataset not in known:
                self.watcher.selected(dataset, teacher)
        self._free_weights()
        if time.monotonic() - self.written > _WRITE_EVERY_SECONDS:
            self.write()

    def _free_weights(self) -> None:
        """Remove those of trials that have lost in every role that they were tried in."""
        if self.recipes.sweep.spec.keep == "all":
            return
        chosen, others = self.selection.trials, self.selection.others
        for trial in {trial for _, trial in others} - self.freed:
            roles = self.roles[trial]
            if all((role, trial) in others and (role, trial) not in chosen for role in roles):
                forget_weights(trial, self.storage)
                self.freed.add(trial)

    def _give(self, opened: _Open, number: int, outcome: Outcome) -> None:
        """Give a flow one of the outcomes it waits for, under the names that it asked by."""
        mine = seen_as(opened.tasks[number], outcome)
        opened.outcomes[number] = mine
        if mine.task.verb != "cache":
            self.results[_place_of(mine.result)] = mine.result

    def collection(self) -> Collection:
        """What has been done so far."""
        spec = self.recipes.sweep.spec
        first, chosen = next(iter(spec.teachers)), self.selection.trials
        datasets = []
        for name in spec.datasets:
            trial = Trial("finetune", name, first, "teacher", (), spec.seeds[0])
            made = self.recipes.recipe(trial)
            datasets.append(
                CollectionDataset(
                    name=name,
                    task=made.task,
                    main_metric=self.recipes.metric(name, "metric"),
                    tests=tuple(made.data.tests) or ("validation",),
                )
            )
        return Collection(
            name=self.recipes.sweep.name,
            reference=self.recipes.sweep.reference,
            datasets=tuple(datasets),
            teachers=tuple(spec.teachers),
            students=tuple(spec.students),
            selected_teachers=dict(self.selection.teachers),
            trials=tuple(
                one.model_copy(update={"selected": (one.role, one.trial) in chosen})
                for one in self._in_order()
            ),
        )

    def _in_order(self) -> list[TrialResult]:
        """By data set, stage and model; those of one model as asked for, whoever was first done."""
        spec = self.recipes.sweep.spec
        datasets, models = list(spec.datasets), [*spec.teachers, *spec.students]
        return sorted(
            (one for one in self.results.values() if one is not None),
            key=lambda one: (
                datasets.index(one.dataset),
                one.role == "student",
                one.stage == "distil",
                models.index(one.model),
            ),
        )

    def write(self) -> Collection:
        collection = self.collection()
        write_json(self.output / RESULTS, collection.model_dump(mode="json"))
        self.written = time.monotonic()
        return collection


def _place_of(result: TrialResult) -> tuple[Any, ...]:
    return result.trial, result.stage, result.dataset, result.role, result.model


def run_sweep(
    sweep: Sweep,
    *,
    output: str | Path,
    make_executor: Callable[[Storage], AbstractContextManager[Executor]],
    watcher: Watcher,
    storage: str | None = None,
) -> SweepResult:
    """Do everything of a sweep that is not done yet.

    Args:
        sweep: What to do.
        output: Its folder. A killed sweep goes on where it was; what a changed key does not
            concern is not done again.
        make_executor: Opens who does the tasks.
        watcher: Who is told how it goes.
        storage: Where trials lie, if not in ``output``: a folder or URL that every worker sees.

    Raises:
        InputError: If the sweep or the folder cannot be used.
    """
    path = Path(output)
    with reported_io(path):
        if (path / "manifest.json").exists():
            raise InputError(f"{path} is a single run's folder. Choose another output folder.")
        place = Storage(storage or str(path.resolve()))
        with Run(path).locked():
            recipes, selection = Recipes(sweep), Selection()
            flows = Flows(recipes, Costs(), selection).start()
            with make_executor(place) as executor:
                work = _Work(recipes, selection, place, executor, watcher, path)
                try:
                    work.run(flows)
                finally:
                    collection = work.write()
            export_students(collection, place, path / "models")
            _report(path)
    return SweepResult(path, collection)


def _report(path: Path) -> None:
    from destilo.report import build_collection_report

    build_collection_report(path)
