"""What a sweep would do: every trial by number, what it costs, and what is wrong with its recipes.

The flows themselves are asked, with outcomes made up where there are none on file, so that a plan
cannot differ from what is done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from destilo.errors import RecipeError
from destilo.recipe.check import check_recipe
from destilo.sweep.cost import Costs
from destilo.sweep.flow import Flow, Flows, Selection
from destilo.sweep.load import Sweep
from destilo.sweep.storage import Storage
from destilo.sweep.trial import Recipes, Settings, Trial, one_at_a_time, without_losses
from destilo.sweep.work import Outcome, Task, finished


@dataclass(slots=True)
class Phase:
    """Tasks of a plan that are alike.

    Attributes:
        tasks: In all.
        done: Of these, on file already.
        macs: Of those that are not.
        unknown: Tasks whose cost is not known.
    """

    dataset: str
    verb: str
    stage: str
    role: str
    model: str
    tasks: int = 0
    done: int = 0
    macs: float = 0.0
    unknown: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """A sweep before it is done.

    Attributes:
        phases: In the order in which they begin.
        assumed: By data set, the teacher that was taken for the selected one: what is on file, else
            the most expensive candidate, so that the cost is an upper bound.
    """

    phases: tuple[Phase, ...]
    assumed: dict[str, str] = field(default_factory=dict)

    @property
    def tasks(self) -> int:
        return sum(phase.tasks for phase in self.phases)

    @property
    def done(self) -> int:
        return sum(phase.done for phase in self.phases)

    @property
    def macs(self) -> float:
        return sum(phase.macs for phase in self.phases)


def plan_sweep(sweep: Sweep, *, storage: Storage | None = None) -> Plan:
    """Enumerate everything that a sweep would do.

    Args:
        sweep: As loaded.
        storage: Where finished trials lie, if any.

    Raises:
        RecipeError: If a recipe cannot be made.
    """
    selection, phases = Selection(), dict[tuple[str, ...], Phase]()
    seen: set[tuple[str, str]] = set()
    for task in _simulated(Flows(Recipes(sweep), Costs(), selection).start(), storage):
        one, outcome = task
        if one.key in seen:
            continue
        seen.add(one.key)
        result = one.result
        key = (result.dataset, one.verb, result.stage, result.role, result.model)
        phase = phases.setdefault(key, Phase(*key))
        phase.tasks += 1
        if outcome is not None:
            phase.done += 1
            continue
        phase.macs += one.cost
        phase.unknown += one.cost == 0 and one.verb == "train"
    return Plan(tuple(phases.values()), dict(selection.teachers))


def _simulated(flows: list[Flow], storage: Storage | None) -> Iterator[tuple[Task, Outcome | None]]:
    """Walk through flows; each task comes with its outcome where that is on file."""
    waiting: deque[tuple[Flow, list[Outcome] | None]] = deque((flow, None) for flow in flows)
    while waiting:
        flow, outcomes = waiting.popleft()
        try:
            tasks = next(flow) if outcomes is None else flow.send(outcomes)
        except StopIteration as end:
            waiting.extend((follower, None) for follower in end.value or [])
            continue
        answers = []
        for task in tasks:
            found = finished(task, storage) if storage is not None else None
            yield task, found
            answers.append(found or _made_up(task))
        waiting.appendleft((flow, answers))


def _made_up(task: Task) -> Outcome:
    """The most expensive is taken for the best."""
    rank = task.cost if task.result.select_by != "validation_loss" else -task.cost
    known = {task.result.select_by: rank}
    result = task.result.model_copy(update={"state": "finished", "validation": known})
    return Outcome(task, result)


def check_sweep(sweep: Sweep) -> None:
    """Check recipes of every model on every data set, with every value that is tried.

    Raises:
        RecipeError: With all errors, each with the file and line that it comes from.
    """
    recipes = Recipes(sweep)
    problems: dict[str, list[str]] = {}
    for base, varied in _representatives(sweep, Flows(recipes, Costs(), Selection())):
        for number, settings in enumerate(varied):
            trial = replace(base, settings=settings)
            try:
                recipe = recipes.recipe(trial)
                found = check_recipe(recipe) if number == 0 else ()
                errors = [str(one) for one in found if one.level == "error"]
            except RecipeError as error:
                errors = str(error).splitlines()
            for told in errors:
                where = f"{trial.model} on {trial.dataset}"
                if where not in problems.setdefault(told, []):
                    problems[told].append(where)
    if problems:
        raise RecipeError("\n".join(f"{told} ({_some(at)})" for told, at in problems.items()))


def _representatives(sweep: Sweep, flows: Flows) -> Iterator[tuple[Trial, list[Settings]]]:
    """A trial of every kind, and the settings to look at it with."""
    spec, seed = sweep.spec, sweep.spec.seeds[0]
    first, search = next(iter(spec.teachers)), spec.distil.search
    for dataset in spec.datasets:
        for name in spec.teachers:
            grid = flows.grid_of_teacher(name)
            yield Trial("finetune", dataset, name, "teacher", (), seed), one_at_a_time(grid)
        for name in spec.students:
            grid = flows.grid_of_student(name)
            yield (
                Trial("distil", dataset, name, "student", (), seed, ((first, "of-the-teacher"),)),
                one_at_a_time(grid if search is None else search.space),
            )
            if spec.distil.without_distillation and not flows.needs_teacher(name):
                alone = Trial("finetune", dataset, name, "student", (), seed)
                yield alone, one_at_a_time(without_losses(grid))


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
