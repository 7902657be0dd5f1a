"""The stages of a run, in order, each skipped when it is finished under the same key."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from pathlib import Path

from destilo.errors import InputError, suggest
from destilo.pipeline.experiment import Experiment
from destilo.pipeline.inputs import read_inputs
from destilo.pipeline.measuring import evaluate, profile
from destilo.pipeline.renewal import (
    MEASURED,
    TRAINED,
    describe_run,
    drop_results,
    drop_what_holds_no_longer,
    refuse_other_task,
    start_over,
)
from destilo.pipeline.results import RunResult, read_result
from destilo.pipeline.training import train_student, train_teachers
from destilo.profiling import require_device
from destilo.progress import Progress, Silent
from destilo.recipe.check import require_valid
from destilo.recipe.schema import Recipe
from destilo.report import build_report
from destilo.runs import Run, reported_io, stopwatch, write_json
from destilo.training.checkpoint import clear_checkpoints, drop_weights
from destilo.training.processes import join_processes


def run(
    recipe: Recipe,
    *,
    output: str | Path,
    force: bool = False,
    until: str = "report",
    progress: Progress | None = None,
    bounds: Mapping[int, float] | None = None,
) -> RunResult:
    """Do every stage of a recipe that is not done yet.

    Args:
        recipe: The experiment.
        output: The Run folder; made if needed. A killed run goes on where it was. What was
            measured for another recipe is removed at once; models stay until they are replaced.
        force: Do finished stages again, also in the folder of another task.
        until: The last stage to do, one of ``STAGES``.
        progress: Who is told how it goes.
        bounds: By the number of the validation (from 1): what the student's selection metric must
            have reached by then, else its training is given up.

    Returns:
        Records of what was measured, and where everything is.

    Raises:
        InputError: If the recipe, the data, a model or the folder cannot be used.
        TrainingError: If training breaks down.
        TrialPruned: If the student is given up.
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
                start_over(folder)
            else:
                refuse_other_task(folder, recipe)
            processes.wait_for_everyone()
            inputs = read_inputs(recipe, progress)
            experiment = Experiment(recipe, inputs, folder, processes, progress, bounds or {})
            stages = STAGES[: STAGES.index(until) + 1]
            if "profile" in stages and not folder.finished(
                "profile", experiment.keys.of("profile")
            ):
                require_device(recipe.profile.device)  # now, not when all training is done
            processes.wait_for_everyone()
            drop_what_holds_no_longer(experiment)
            describe_run(experiment, STAGES)
            processes.wait_for_everyone()
            for stage in stages:
                if experiment.includes(stage):
                    _do(experiment, stage)
        return read_result(path)


def _do(experiment: Experiment, stage: str) -> None:
    """Do a stage and note it as finished, unless it is."""
    folder, processes, progress = experiment.folder, experiment.processes, experiment.progress
    key = experiment.keys.of(stage)
    why = folder.unfinished(stage, key)
    processes.wait_for_everyone()
    if why is None and stage != "report":
        progress.note(f"{stage}: already done, skipped (--force redoes it)", level="skip")
        return
    again = f" again ({why})" if why and stage != "report" else ""
    progress.note(f"{stage}{again}", level="stage")
    if stage in TRAINED:  # itself forgotten later, when the new model is there
        for other in (*MEASURED, "report"):
            drop_results(folder, other, why="its inputs have changed")
    elif stage == "report":
        folder.forget(stage)
    else:
        drop_results(folder, stage)
    with stopwatch() as seconds:
        outputs = _ACTIONS[stage](experiment)
        processes.wait_for_everyone()
    folder.finish(stage, key, outputs=outputs, seconds=seconds[0])
    if stage in TRAINED and experiment.writes:
        for output in outputs:
            clear_checkpoints(experiment.path / "training" / output / "checkpoints")
        for earlier in (experiment.path / "training").glob("student-stage-*"):
            drop_weights(earlier)
    processes.wait_for_everyone()
    gc.collect()


def _describe_data(experiment: Experiment) -> list[str]:
    if experiment.writes:
        write_json(experiment.path / "data.json", experiment.inputs.describe())
    return ["data.json"]


def _report(experiment: Experiment) -> list[str]:
    if experiment.writes:
        build_report(experiment.path)
    return []  # written anew each time: it is no result to be checked


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
