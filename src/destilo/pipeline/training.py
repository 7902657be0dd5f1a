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
from destilo.pipeline.caching import cached_teachers
from destilo.pipeline.experiment import Experiment
from destilo.pipeline.following import (
    distillation_objective,
    encode_examples,
    require_comparable,
    teacher_sources,
    unfollowed,
)
from destilo.pipeline.keys import finetune_settings
from destilo.pipeline.models import (
    lesson_names,
    load_teachers,
    models_before,
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
from destilo.teacher.source import LiveTeacher, Teacher
from destilo.training.checkpoint import clear_checkpoints, keep_weights, read_weights
from destilo.training.loop import TrainingJob, train
from destilo.training.optimisation import planned_steps


@dataclass(frozen=True, slots=True)
class _Lesson:
    """What a model learns from, and how.

    Attributes:
        name: As it is shown, and the folder of its files.
        examples: Encoded windows; the model's own encoding is the first of each.
        objective: The weighted terms.
        settings: Learning rate, batch size, ...
        teachers: Those it follows; none where it learns from labels alone.
    """

    name: str
    examples: Sequence[Example]
    objective: Objective
    settings: TrainingSpec
    teachers: Sequence[Teacher] = ()


def train_teachers(experiment: Experiment) -> list[str]:
    """Fine-tune every teacher that the recipe says to, and name their folders."""
    if any(term.on_layers for term in experiment.recipe.terms):
        # What `check` cannot know of models of the hub is better known now than hours later.
        require_comparable(experiment, *models_before(experiment))
    outputs = []
    for number, spec in enumerate(experiment.recipe.teachers):
        settings = finetune_settings(spec, experiment.recipe.training)
        if settings is None:
            continue
        name = teacher_name(number)
        made = untrained_teacher(experiment, spec)
        _check_length(experiment, name, made)
        examples = experiment.task.encode(experiment.rows("train"), [made.text])
        lesson = _Lesson(name, examples, Objective([make_term("labels")]), settings)
        _train(experiment, name, made, lessons=[lesson], stage="teacher")
        outputs.append(name)
    return outputs


def train_student(experiment: Experiment, name: str) -> list[str]:
    """Train the ``student`` as the recipe says, or the ``baseline`` on the labels alone."""
    student = untrained_student(experiment, name)
    _check_length(experiment, name, student)
    teachers = load_teachers(experiment)
    examples, places = encode_examples(experiment, student, teachers)
    if name == "student" and experiment.recipe.distils:
        lessons = _distillation(experiment, student, teachers, places, examples)
        if experiment.writes:
            _preflight(experiment, student, teachers, lessons)
    else:
        lessons = [_labels_alone(experiment, name, examples)]
    _train(experiment, name, student, lessons=lessons, stage=name)
    return [name]


def _distillation(
    experiment: Experiment,
    student: LoadedModel,
    teachers: Sequence[LoadedModel],
    places: Sequence[int],
    examples: Sequence[Example],
) -> list[_Lesson]:
    """One lesson for each stage of the recipe; the last has the student's name."""
    recipe, lessons = experiment.recipe, []
    cached = cached_teachers(experiment, teachers, places, examples)
    for name, stage in zip(lesson_names(recipe), recipe.lessons, strict=True):
        objective = distillation_objective(
            recipe,
            stage.objective,
            student=student.model,
            teachers=[teacher.model for teacher in teachers],
        )
        for sentence in unfollowed(objective, [teacher.model for teacher in teachers]):
            experiment.progress.note(sentence, level="warning")
        lessons.append(
            _Lesson(
                name,
                examples,
                objective,
                stage.training.over(recipe.training),
                teacher_sources(experiment, teachers, places, objective=objective, cached=cached),
            )
        )
    return lessons


def _labels_alone(experiment: Experiment, name: str, examples: Sequence[Example]) -> _Lesson:
    """The same number of steps and evaluations as the student, on the labelled rows alone."""
    recipe, processes = experiment.recipe, experiment.processes.num_processes
    stages = [stage.training.over(recipe.training) for stage in recipe.lessons]
    settings = stages[-1]
    n_labelled = len(experiment.rows("train"))
    one_epoch = settings.model_copy(update={"max_steps": -1, "num_train_epochs": 1.0})
    every = settings.eval_steps or planned_steps(len(examples), one_epoch, processes=processes)
    steps = sum(planned_steps(len(examples), one, processes=processes) for one in stages)
    return _Lesson(
        name,
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
    lessons: Sequence[_Lesson],
) -> None:
    for loaded in (student, *teachers):
        move_to(loaded.model, experiment.processes.device)
    findings = preflight(
        student=student,
        teachers=teachers if experiment.recipe.evaluation.teacher else (),
        lessons=[(lesson.objective, lesson.teachers) for lesson in lessons],
        examples=lessons[0].examples,
        task=experiment.task,
        inputs=experiment.inputs,
        settings=experiment.recipe.training,
    )
    write_json(experiment.path / "preflight.json", findings.describe())
    for level, sentence in findings.sentences():
        experiment.progress.note(sentence, level=level)


def _train(
    experiment: Experiment, name: str, made: LoadedModel, *, lessons: Sequence[_Lesson], stage: str
) -> None:
    for lesson in lessons[:-1]:
        _learn_before(experiment, made, lesson, stage=stage)
    _learn(experiment, made, lessons[-1], stage=stage)
    if experiment.writes:
        _save(experiment, name, made, stage=stage)
    experiment.processes.wait_for_everyone()


def _learn(experiment: Experiment, made: LoadedModel, lesson: _Lesson, *, stage: str) -> None:
    folder = experiment.path / "training" / lesson.name
    learns_heads = lesson.objective.uses_heads  # else no metric of the task can choose the weights
    job = TrainingJob(
        name=lesson.name,
        model=made.model,
        examples=lesson.examples,
        kinds=experiment.task.heads,
        pad_id=made.text.pad_id,
        objective=lesson.objective,
        settings=lesson.settings,
        folder=folder,
        identity=_identity(experiment, lesson, stage=stage),
        teachers=lesson.teachers,
        validate=validator(experiment, made) if learns_heads else None,
        select_by=experiment.recipe.evaluation.select_by or experiment.task.main_metric,
        bounds=experiment.bounds if lesson.name == "student" else {},
    )
    train(job, experiment.progress)
    for teacher in lesson.teachers:
        if isinstance(teacher, LiveTeacher) and teacher.capture is not None:
            teacher.capture.close()
    if experiment.writes:
        plot_training(folder / "log.jsonl", folder / "curve.png")


def _learn_before(
    experiment: Experiment, made: LoadedModel, lesson: _Lesson, *, stage: str
) -> None:
    """Do a stage that others follow, unless a killed run has finished it already."""
    folder = experiment.path / "training" / lesson.name
    identity = _identity(experiment, lesson, stage=stage)
    finished = read_weights(folder, identity=identity)
    experiment.processes.wait_for_everyone()
    if finished is None:
        _learn(experiment, made, lesson, stage=stage)
        if experiment.writes:
            keep_weights(made.model, folder=folder, identity=identity)
            clear_checkpoints(folder / "checkpoints")
        experiment.processes.wait_for_everyone()
        return
    if experiment.writes:
        clear_checkpoints(folder / "checkpoints")  # a kill may have come between the two
    experiment.progress.note(f"{lesson.name}: already done, skipped", level="skip")
    made.model.load_state_dict(finished, strict=False)


def _identity(experiment: Experiment, lesson: _Lesson, *, stage: str) -> str:
    key = experiment.keys.of(stage)
    return digest([key, lesson.name, experiment.processes.num_processes])


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
