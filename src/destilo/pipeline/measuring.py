"""Measuring the models of a run: scores, fidelity to the teacher, size and speed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from transformers import PreTrainedModel

from destilo.errors import InputError
from destilo.evaluation import Evaluated, evaluate_model, measure_fidelity, predict_heads
from destilo.models.folder import LoadedModel, read_settings
from destilo.pipeline.experiment import Experiment
from destilo.pipeline.following import alignment_mode, distinct_tokenizers
from destilo.pipeline.models import load_all, positions, teacher_name
from destilo.pipeline.validation import tuned_task
from destilo.profiling import profile_models
from destilo.records import EvalResult, Fidelity
from destilo.runs import write_json, write_text
from destilo.tasks import Task
from destilo.tasks.base import Example, HeadArrays
from destilo.tasks.question_answering import QuestionAnswering


def evaluate(experiment: Experiment) -> list[str]:
    """Score every model on every split, keep every prediction, and name the files."""
    if not experiment.writes:
        return []
    results: list[EvalResult] = []
    outputs = ["evaluation.json"]
    models = [
        (name, loaded, _decoding_task(experiment, name, loaded))
        for name, loaded in load_all(experiment)
    ]
    for split in _evaluated_splits(experiment):
        reference: tuple[LoadedModel, Evaluated] | None = None
        for name, loaded, task in models:
            evaluated = _evaluate_one(experiment, name, loaded, task=task, split=split)
            result = evaluated.result
            if name == "teacher":
                reference = (loaded, evaluated)
            elif reference and not name.startswith("teacher"):
                fidelity = _fidelity(experiment, split, (loaded, evaluated), reference)
                result = result.model_copy(update={"fidelity": fidelity})
            results.append(result)
            path = f"predictions/{name}-{split}.jsonl"
            lines = (json.dumps(one, ensure_ascii=False) for one in evaluated.predictions)
            write_text(experiment.path / path, "".join(f"{line}\n" for line in lines))
            outputs.append(path)
            experiment.progress.note(_sentence(result), level="step")
    write_json(
        experiment.path / "evaluation.json",
        {"results": [result.model_dump(mode="json") for result in results]},
    )
    return outputs


def profile(experiment: Experiment) -> list[str]:
    """Measure the size and speed of every model, and name the file."""
    if not experiment.writes:
        return []
    spec = experiment.recipe.profile
    models: dict[str, PreTrainedModel] = {
        name: loaded.model for name, loaded in load_all(experiment)
    }
    limit = min(positions(model) for model in models.values())
    length = min(spec.sequence_length, limit)
    if length < spec.sequence_length:
        experiment.progress.note(
            f"profile.sequence_length {spec.sequence_length} is more than the models' "
            f"{limit} positions; measured at {length}",
            level="warning",
        )
    results = profile_models(
        models,
        batch_size=spec.batch_size,
        sequence_length=length,
        threads=spec.threads,
        samples=spec.samples,
        warmup=spec.warmup,
        device=spec.device,
        protocol=spec.protocol,
    )
    write_json(
        experiment.path / "profile.json",
        {"results": [result.model_dump(mode="json") for result in results]},
    )
    return ["profile.json"]


def _evaluated_splits(experiment: Experiment) -> tuple[str, ...]:
    there = ("validation", *experiment.inputs.tests)
    wanted = experiment.recipe.evaluation.splits
    if wanted is None:
        return there
    chosen = [name for name in there if name in wanted or name.split("-")[0] in wanted]
    if not chosen:
        raise InputError(
            f"evaluation.splits {list(wanted)} names no split of this recipe: "
            f"there are {', '.join(there)}."
        )
    return tuple(chosen)


def _decoding_task(experiment: Experiment, name: str, loaded: LoadedModel) -> Task:
    """The task with the model's own no-answer threshold: saved with it, or tuned now."""
    task = experiment.task
    if not (isinstance(task, QuestionAnswering) and task.no_answer):
        return task
    specs = enumerate(experiment.recipe.teachers)
    as_they_are = [teacher_name(number) for number, spec in specs if spec.finetune is None]
    if name in as_they_are:
        return tuned_task(experiment, loaded)
    threshold = read_settings(experiment.path / name)["no_answer_threshold"]
    return replace(task, no_answer_threshold=threshold)


def _evaluate_one(
    experiment: Experiment, name: str, loaded: LoadedModel, *, task: Task, split: str
) -> Evaluated:
    rows, recipe = experiment.rows(split), experiment.recipe
    experiment.progress.begin(f"{name} on {split}", len(rows))
    try:
        return evaluate_model(
            loaded.model,
            name=name,
            split=split,
            task=task,
            rows=rows,
            tokenizer=loaded.text,
            batch_size=recipe.training.per_device_eval_batch_size,
            bootstrap_samples=recipe.evaluation.bootstrap_samples,
            progress=experiment.progress,
        )
    finally:
        experiment.progress.end()


def _fidelity(
    experiment: Experiment,
    split: str,
    follower: tuple[LoadedModel, Evaluated],
    reference: tuple[LoadedModel, Evaluated],
) -> Fidelity:
    """How closely a model follows the first teacher on a split."""
    (student, by_student), (teacher, by_teacher) = follower, reference
    tokenizers, places = distinct_tokenizers([student, teacher])
    examples = experiment.task.encode(experiment.rows(split), tokenizers)
    mine, theirs = by_student.heads, by_teacher.heads
    if places[1] != 0:  # other tokenizers cut other windows: both read the common ones
        mine, theirs = (
            tuple(_heads(experiment, model, examples, place=place))
            for model, place in ((student, 0), (teacher, 1))
        )
    return measure_fidelity(
        mine,
        theirs,
        task=experiment.task,
        examples=examples,
        teacher_encoding=places[1],
        alignment=alignment_mode(experiment.recipe, places[1]),
    )


def _heads(
    experiment: Experiment, loaded: LoadedModel, examples: Sequence[Example], *, place: int
) -> list[HeadArrays]:
    heads, _ = predict_heads(
        loaded.model,
        [example.encodings[place] for example in examples],
        kinds=experiment.task.heads,
        pad_id=loaded.text.pad_id,
        batch_size=experiment.recipe.training.per_device_eval_batch_size,
    )
    return heads


def _sentence(result: EvalResult) -> str:
    score = result.main
    return (
        f"{result.model} on {result.split}: {result.main_metric} {100 * score.value:.2f} "
        f"[{100 * score.low:.2f}, {100 * score.high:.2f}], n = {score.n}"
    )
