"""A folder used again: which of its results hold for the recipe, and taking back the others.

What was measured says nothing about another recipe, so it goes at once. A trained model is worth
hours: it stays until the new one takes its place, and only the report stops speaking of it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence

from destilo import __version__
from destilo.errors import InputError
from destilo.pipeline.experiment import Experiment
from destilo.pipeline.models import lesson_names, teacher_name
from destilo.recipe.load import dump_recipe
from destilo.recipe.schema import Recipe
from destilo.recipe.yaml_text import read_yaml
from destilo.runs import Run, write_text

TRAINED = ("teacher", "student", "baseline")
"""The stages that make models."""

MEASURED = ("evaluate", "profile")
"""The stages that say how good the models are."""

_RESULTS: Mapping[str, Sequence[str]] = {
    "data": ("data.json",),
    "evaluate": ("evaluation.json", "predictions/*.jsonl"),
    "profile": ("profile.json",),
    "report": ("report.md", "quality_speed.png"),
}
"""What the stages that make no model write."""


def refuse_other_task(folder: Run, recipe: Recipe) -> None:
    """Keep the models of another task from being replaced by a slip of the folder's name.

    Raises:
        InputError: If the folder holds a run of another task.
    """
    task = folder.facts.get("task")
    if task in (None, recipe.task) or not any(map(folder.known, ("data", *TRAINED))):
        return
    name = _recipe_name(folder)
    raise InputError(
        f"{folder.path} holds {f'the run {name!r}' if name else 'a run'} of another task, {task}; "
        f"this recipe's task is {recipe.task}. Choose another folder with -o, or give --force to "
        "replace what is there."
    )


def _recipe_name(folder: Run) -> str | None:
    try:
        text = (folder.path / "recipe.yaml").read_text(encoding="utf-8")
        name = read_yaml(text, name="recipe.yaml").value.get("name")
    except (OSError, ValueError, AttributeError, InputError):  # a name is a courtesy
        return None
    return name if isinstance(name, str) else None


def start_over(folder: Run) -> None:
    """Forget what is finished, and all that trainings left for going on: nothing is reused."""
    folder.reopen()
    if folder.writable and (folder.path / "training").is_dir():
        for left in (folder.path / "training").iterdir():
            shutil.rmtree(left, ignore_errors=True)


def describe_run(experiment: Experiment, stages: Sequence[str]) -> None:
    """Note the recipe that the folder is for from here on, and under which keys it is done."""
    if not experiment.writes:
        return
    recipe = experiment.recipe
    write_text(experiment.path / "recipe.yaml", dump_recipe(recipe))
    plan = {
        stage: {"key": experiment.keys.of(stage), "trainings": _trainings(recipe, stage)}
        for stage in stages
        if experiment.includes(stage)
    }
    experiment.folder.describe(
        {
            "destilo": __version__,
            "recipe": recipe.digest,
            "task": experiment.task.name,
            "plan": plan,
        }
    )


def _trainings(recipe: Recipe, stage: str) -> list[str]:
    """The folders in ``training`` that a stage fills."""
    if stage == "teacher":
        specs = enumerate(recipe.teachers)
        return [teacher_name(number) for number, spec in specs if spec.finetune is not None]
    if stage == "student" and recipe.distils:
        return lesson_names(recipe)
    return [stage] if stage in TRAINED else []


def drop_what_holds_no_longer(experiment: Experiment) -> None:
    """Remove what was measured for other models, other data or another recipe."""
    if not experiment.writes:
        return
    folder, keys = experiment.folder, experiment.keys
    for stage in _RESULTS:
        why = folder.unfinished(stage, keys.of(stage))
        if why is not None:
            drop_results(folder, stage, why=why)
    if not (experiment.recipe.distils and folder.finished("student", keys.of("student"))):
        (experiment.path / "preflight.json").unlink(missing_ok=True)


def drop_results(folder: Run, stage: str, *, why: str = "") -> None:
    """Remove what a stage has measured or written; ``why`` is told when it is done again."""
    folder.forget(stage, why=why)
    if folder.writable:
        for pattern in _RESULTS[stage]:
            for file in folder.path.glob(pattern):
                file.unlink()
