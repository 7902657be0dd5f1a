"""The stages of a run, in order, each skipped when it is finished under the same key."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from accelerate import PartialState

from destilo import __version__
from destilo.errors import InputError, suggest
from destilo.pipeline.experiment import TOKENIZERS, Experiment
from destilo.pipeline.inputs import read_inputs
from destilo.pipeline.measuring import evaluate, profile
from destilo.pipeline.results import RunResult, read_result
from destilo.pipeline.training import train_student, train_teachers
from destilo.progress import Progress, Silent
from destilo.recipe.check import require_valid
from destilo.recipe.load import dump_recipe
from destilo.recipe.schema import Recipe
from destilo.report import build_report
from destilo.runs import Run, reported_io, stopwatch, write_json, write_text
from destilo.training.checkpoint import clear_checkpoints
from destilo.training.processes import join_processes


def run(
    recipe: Recipe,
    *,
    output: str | Path,
    force: bool = False,
    until: str = "report",
    progress: Progress | None = None,
) -> RunResult:
    """Do every stage of a recipe that is not done yet.

    Args:
        recipe: The experiment.
        output: The Run folder; made if needed. A killed run goes on where it was.
        force: Do finished stages again.
        until: The last stage to do, one of ``STAGES``.
        progress: Who is told how it goes.

    Returns:
        Records of what was measured, and where everything is.

    Raises:
        InputError: If the recipe, the data, a model or the folder cannot be used.
        TrainingError: If training breaks down.
    """
    if until not in STAGES:
        raise InputError(suggest(until, STAGES, kind="stage"))
    require_valid(recipe)
    path, progress = Path(output), progress or Silent()
    with reported_io(path):
        processes = join_processes()
        folder = Run(path, writable=processes.is_main_process)
        with folder.locked():
            if force:
                _start_over(folder, processes)
            processes.wait_for_everyone()
            inputs = read_inputs(recipe, progress)
            experiment = Experiment(recipe, inputs, folder, processes, progress)
            _write_recipe(experiment)
            for stage in STAGES[: STAGES.index(until) + 1]:
                if experiment.includes(stage):
                    _do(experiment, stage)
        return read_result(path)


def _start_over(folder: Run, processes: PartialState) -> None:
    """Forget what is finished, the checkpoints of what is not, and trained tokenizers."""
    folder.reopen()
    if processes.is_main_process:
        for checkpoints in (folder.path / "training").glob("*/checkpoints"):
            clear_checkpoints(checkpoints)
        shutil.rmtree(folder.path / TOKENIZERS, ignore_errors=True)


def _write_recipe(experiment: Experiment) -> None:
    """Keep the recipe that the folder's results are, or are about to be, made from."""
    if experiment.writes:
        recipe = experiment.recipe
        write_text(experiment.path / "recipe.yaml", dump_recipe(recipe))
        experiment.folder.describe(
            {"destilo": __version__, "recipe": recipe.digest, "task": experiment.task.name}
        )


def _do(experiment: Experiment, stage: str) -> None:
    """Do a stage and note it as finished, unless it is."""
    folder, processes, progress = experiment.folder, experiment.processes, experiment.progress
    key = experiment.keys.of(stage)
    finished, known = folder.finished(stage, key), folder.known(stage)
    processes.wait_for_everyone()
    if finished and stage != "report":
        progress.note(f"{stage}: already done, skipped (--force redoes it)", level="skip")
        return
    why = " again (its inputs have changed)" if known and stage != "report" else ""
    progress.note(f"{stage}{why}", level="stage")
    if stage not in _TRAINED:  # those are forgotten later, when the new model is there
        folder.forget(stage)
    with stopwatch() as seconds:
        outputs = _ACTIONS[stage](experiment)
        processes.wait_for_everyone()
    folder.finish(stage, key, outputs=outputs, seconds=seconds[0])
    if stage in _TRAINED and experiment.writes:
        for output in outputs:
            clear_checkpoints(experiment.path / "training" / output / "checkpoints")
    processes.wait_for_everyone()
    gc.collect()


def _describe_data(experiment: Experiment) -> list[str]:
    if experiment.writes:
        write_json(experiment.path / "data.json", experiment.inputs.describe())
    return ["data.json"]


def _report(experiment: Experiment) -> list[str]:
    if experiment.writes:
        build_report(experiment.path)
    return ["report.md"]


_ACTIONS: Mapping[str, Callable[[Experiment], list[str]]] = {
    "data": _describe_data,
    "teacher": train_teachers,
    "student": lambda experiment: train_student(experiment, "student"),
    "baseline": lambda experiment: train_student(experiment, "baseline"),
    "evaluate": evaluate,
    "profile": profile,
    "report": _report,
}
"""What each stage does, in order; it names the files or folders that it made."""

STAGES = tuple(_ACTIONS)
_TRAINED = ("teacher", "student", "baseline")
