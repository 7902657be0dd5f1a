"""The validation split while models are made: it chooses weights and the no-answer threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from transformers import PreTrainedModel

from destilo.evaluation import Evaluated, evaluate_model
from destilo.models.folder import LoadedModel
from destilo.pipeline.experiment import Experiment
from destilo.tasks import Task
from destilo.tasks.base import Example
from destilo.tasks.question_answering import QuestionAnswering
from destilo.tasks.tokenization import TextTokenizer
from destilo.training.loop import Validate


def validator(experiment: Experiment, made: LoadedModel) -> Validate:
    """What a training calls to measure its model; the rows are encoded once."""
    examples = experiment.task.encode(experiment.rows("validation"), [made.text])

    def validate(model: PreTrainedModel) -> Mapping[str, float]:
        evaluated = _on_validation(experiment, model, made.text, examples=examples)
        scores = {key: score.value for key, score in evaluated.result.scores.items()}
        return {"validation_loss": evaluated.loss, **scores}

    return validate


def tuned_task(experiment: Experiment, made: LoadedModel) -> Task:
    """The task as this model shall decode: with its own no-answer threshold."""
    task = experiment.task
    if not (isinstance(task, QuestionAnswering) and task.no_answer):
        return task
    evaluated = _on_validation(experiment, made.model, made.text)
    return task.tune_no_answer_threshold(experiment.rows("validation"), evaluated.predictions)


def _on_validation(
    experiment: Experiment,
    model: PreTrainedModel,
    tokenizer: TextTokenizer,
    *,
    examples: Sequence[Example] | None = None,
) -> Evaluated:
    return evaluate_model(
        model,
        name="",
        split="validation",
        task=experiment.task,
        rows=experiment.rows("validation"),
        tokenizer=tokenizer,
        batch_size=experiment.recipe.training.per_device_eval_batch_size,
        bootstrap_samples=0,
        examples=examples,
    )
