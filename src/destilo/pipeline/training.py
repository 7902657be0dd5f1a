"""From an untrained model to a folder with the trained one: teachers, student, baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from destilo.errors import InputError, ModelError
from destilo.figures import plot_training
from destilo.models.folder import LoadedModel, load_model, move_to, save_model
from destilo.objective.base import Objective
from destilo.objective.logits import make_term
from destilo.pipeline.experiment import Experiment
from destilo.pipeline.following import (
    distillation_objective,
    distinct_tokenizers,
    live_teachers,
)
from destilo.pipeline.keys import finetune_settings
from destilo.pipeline.models import (
    load_teachers,
    positions,
    teacher_name,
    untrained_student,
    untrained_teacher,
)
from destilo.pipeline.preflight import preflight
from destilo.pipeline.validation import tuned_task, validator
from destilo.recipe.schema import TrainingSpec
from destilo.runs import digest, write_json
from destilo.tasks.base import Encoding, Example
from destilo.teacher.source import LiveTeacher
from destilo.training.loop import TrainingJob, planned_steps, train


@dataclass(frozen=True, slots=True)
class _Lesson:
    """What a model learns from, and how.

    Attributes:
        examples: Encoded windows; the model's own encoding is the first of each.
        objective: The weighted terms.
        settings: Learning rate, batch size, ...
        teachers: Those it follows; none where it learns from labels alone.
    """

    examples: Sequence[Example]
    objective: Objective
    settings: TrainingSpec
    teachers: Sequence[LiveTeacher] = ()


def train_teachers(experiment: Experiment) -> list[str]:
    """Fine-tune every teacher that the recipe says to, and name their folders."""
    outputs = []
    for number, spec in enumerate(experiment.recipe.teachers):
        settings = finetune_settings(spec, experiment.recipe.training)
        if settings is None:
            continue
        name = teacher_name(number)
        made = untrained_teacher(experiment, spec)
        _check_length(experiment, name, made)
        examples = experiment.task.encode(experiment.rows("train"), [made.text])
        lesson = _Lesson(examples, Objective([make_term("labels")]), settings)
        _train(experiment, name, made, lesson=lesson, stage="teacher")
        outputs.append(name)
    return outputs


def train_student(experiment: Experiment, name: str) -> list[str]:
    """Train the ``student`` as the recipe says, or the ``baseline`` on the labels alone."""
    student = untrained_student(experiment, name)
    _check_length(experiment, name, student)
    teachers = load_teachers(experiment)
    tokenizers, places = distinct_tokenizers([student, *teachers])
    rows = list(experiment.rows("train"))
    if "unlabelled" in experiment.inputs.splits:
        rows += experiment.rows("unlabelled")
    examples = experiment.task.encode(rows, tokenizers)
    if name == "student" and experiment.recipe.distils:
        lesson = _Lesson(
            examples,
            distillation_objective(experiment.recipe),
            experiment.recipe.training,
            live_teachers(experiment, teachers, places[1:]),
        )
        if experiment.writes:
            _preflight(experiment, student, teachers, lesson)
    else:
        lesson = _labels_alone(experiment, examples)
    _train(experiment, name, student, lesson=lesson, stage=name)
    return [name]


def _labels_alone(experiment: Experiment, examples: Sequence[Example]) -> _Lesson:
    """The same number of steps and evaluations as the student, on the labelled rows alone."""
    settings, processes = experiment.recipe.training, experiment.processes.num_processes
    n_labelled = len(experiment.rows("train"))
    one_epoch = settings.model_copy(update={"max_steps": -1, "num_train_epochs": 1.0})
    every = settings.eval_steps or planned_steps(len(examples), one_epoch, processes=processes)
    steps = planned_steps(len(examples), settings, processes=processes)
    return _Lesson(
        [example for example in examples if example.row < n_labelled],
        Objective([make_term("labels")]),
        settings.model_copy(update={"max_steps": steps, "eval_steps": every}),
    )


def _check_length(experiment: Experiment, name: str, made: LoadedModel) -> None:
    available = positions(made.model)
    if experiment.recipe.max_length > available:
        raise InputError(
            f"encoding.max_length is {experiment.recipe.max_length}, but the {name} model has "
            f"{available} positions. Set encoding.max_length to {available} or less."
        )


def _preflight(
    experiment: Experiment,
    student: LoadedModel,
    teachers: Sequence[LoadedModel],
    lesson: _Lesson,
) -> None:
    for loaded in (student, *teachers):
        move_to(loaded.model, experiment.processes.device)
    findings = preflight(
        student=student,
        teachers=teachers,
        live=lesson.teachers,
        objective=lesson.objective,
        examples=lesson.examples,
        task=experiment.task,
        inputs=experiment.inputs,
        settings=experiment.recipe.training,
    )
    write_json(experiment.path / "preflight.json", findings.describe())
    for level, sentence in findings.sentences():
        experiment.progress.note(sentence, level=level)


def _train(
    experiment: Experiment, name: str, made: LoadedModel, *, lesson: _Lesson, stage: str
) -> None:
    folder = experiment.path / "training" / name
    key, processes = experiment.keys.of(stage), experiment.processes
    job = TrainingJob(
        name=name,
        model=made.model,
        examples=lesson.examples,
        kinds=experiment.task.heads,
        pad_id=made.text.pad_id,
        objective=lesson.objective,
        settings=lesson.settings,
        folder=folder,
        identity=digest([key, name, processes.num_processes]),
        teachers=lesson.teachers,
        validate=validator(experiment, made),
        select_by=experiment.recipe.evaluation.select_by or experiment.task.main_metric,
    )
    train(job, experiment.progress)
    if experiment.writes:
        _save(experiment, name, made, stage=stage)
        plot_training(folder / "log.jsonl", folder / "curve.png")
    processes.wait_for_everyone()


def _save(experiment: Experiment, name: str, made: LoadedModel, *, stage: str) -> None:
    """Replace the model of an earlier stage; from here on that stage is no longer finished."""
    task = tuned_task(experiment, made)
    experiment.folder.forget(stage)
    folder = experiment.path / name
    save_model(folder, model=made.model, tokenizer=made.tokenizer, settings=task.settings())
    _compare_reloaded(experiment, folder, made)


def _compare_reloaded(experiment: Experiment, folder: Path, made: LoadedModel) -> None:
    """What was saved must be what was trained: layers, labels, vocabulary and weights."""
    task, rows = experiment.task, experiment.rows("validation")[:2]
    again = load_model(str(folder), task.name, labels=task.labels)
    move_to(again.model, made.model.device)
    batch = task.encode(rows, [made.text])[:2]
    mirrored = task.encode(rows, [again.text])[:2]
    for one, two in zip(batch, mirrored, strict=True):
        mine, theirs = one.encodings[0], two.encodings[0]
        same_pieces = mine.input_ids.tolist() == theirs.input_ids.tolist()
        if not (same_pieces and _answer_alike(made, again, mine)):
            raise ModelError(
                f"{folder} does not reload as the model that was trained "
                f"({'weights' if same_pieces else 'tokenizer'} differ). This is a bug in "
                "destilo; please report it with the recipe."
            )


def _answer_alike(made: LoadedModel, again: LoadedModel, encoding: Encoding) -> bool:
    with torch.inference_mode():
        ids = torch.from_numpy(encoding.input_ids)[None].to(made.model.device)
        left, right = made.model(input_ids=ids), again.model(input_ids=ids)
    return all(
        torch.allclose(a, b, atol=1e-4)
        for a, b in zip(left.to_tuple(), right.to_tuple(), strict=True)
        if isinstance(a, torch.Tensor)
    )
