"""What decides each stage's result, as a digest: the same key, and the stage is not done again.

A key holds everything that changes the result and nothing else: names, descriptions, trackers and
how often something is logged or saved are left out, and a local model is known by its content.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from destilo import __version__
from destilo.pipeline.inputs import Inputs
from destilo.pipeline.making import source_digest
from destilo.recipe.schema import Recipe, TeacherSpec, TokenizerSpec, TrainingSpec
from destilo.runs import digest

_WITHOUT_EFFECT = {"logging_steps", "save_steps", "report_to", "per_device_eval_batch_size"}


def finetune_settings(spec: TeacherSpec, training: TrainingSpec) -> TrainingSpec | None:
    """How a teacher is fine-tuned; ``None`` where it is used as it is."""
    return None if spec.finetune is None else spec.finetune.over(training)


class StageKeys:
    """The keys of one recipe's stages on the data it has read.

    Args:
        recipe: The experiment.
        inputs: Its rows, labels and encoding.
    """

    def __init__(self, recipe: Recipe, inputs: Inputs) -> None:
        self._recipe, self._inputs = recipe, inputs

    def of(self, stage: str) -> str:
        """The key of a stage."""
        recipe = self._recipe
        everything = [__version__, self._inputs.digest]
        learning = [__version__, self._inputs.learning_digest, recipe.evaluation.select_by]
        training = _decisive(recipe.training)
        made = [learning, self._teachers, self._student, training]
        # A cache decides who reads a teacher, not how it is made.
        finetuned = [one | {"cache": ""} for one in self._teachers if one["finetune"]]
        weights = [spec.weight for spec in recipe.teachers]
        lessons = [
            [
                [term.model_dump() for term in lesson.objective],
                _decisive(lesson.training.over(recipe.training)),
            ]
            for lesson in recipe.lessons
        ]
        objective = [lessons, recipe.alignment, weights]
        parts: dict[str, list[Any]] = {
            "data": [everything, recipe.data.leak_check],
            "teacher": [learning, finetuned],
            "student": [made, objective],
            "baseline": [
                made,
                [lesson[1] for lesson in lessons],
                recipe.evaluation.baseline_from,
                self._encoder,
            ],
            "evaluate": [
                everything,
                made,
                objective,
                recipe.evaluation.model_dump(mode="json"),
                self._encoder,
            ],
            "profile": [
                made,
                objective,
                [recipe.evaluation.baseline, recipe.evaluation.teacher],
                recipe.profile.model_dump(),
            ],
            "report": [recipe.digest],
        }
        return digest([stage, *parts[stage]])

    @cached_property
    def _teachers(self) -> list[dict[str, Any]]:
        """What each teacher is made of; hashing large folders once."""
        return [
            {
                "model": source_digest(spec.model, spec.revision),
                "config": spec.config,
                "tokenizer": _tokenizer(spec.tokenizer),
                "finetune": _decisive(finetune_settings(spec, self._recipe.training)),
                "cache": spec.cache_precision if spec.cache == "logits" else "",
            }
            for spec in self._recipe.teachers
        ]

    @cached_property
    def _encoder(self) -> str:
        """The encoder that a ready teacher came from."""
        return source_digest(self._recipe.teachers[0].encoder) if self._recipe.teachers else ""

    @cached_property
    def _student(self) -> dict[str, Any]:
        spec = self._recipe.student
        config = source_digest(spec.config) if isinstance(spec.config, str) else spec.config
        return spec.model_dump(mode="json", exclude={"revision"}) | {
            "encoder": self._encoder if spec.of == "encoder" else "",
            "model": source_digest(spec.model, spec.revision),
            "config": config,
            "tokenizer": _tokenizer(spec.tokenizer),
        }


def _tokenizer(choice: str | TokenizerSpec | None) -> Any:
    if isinstance(choice, TokenizerSpec):
        return choice.model_dump()
    return choice if choice in ("teacher", "own") else source_digest(choice)


def _decisive(settings: TrainingSpec | None) -> dict[str, Any] | None:
    return None if settings is None else settings.model_dump(exclude=_WITHOUT_EFFECT)
