"""How a student follows its teachers: in which windows, unit for unit how, weighted how."""

from __future__ import annotations

from collections.abc import Sequence

from destilo.errors import InputError
from destilo.models.folder import LoadedModel
from destilo.objective.base import Objective
from destilo.objective.logits import make_term
from destilo.pipeline.experiment import Experiment
from destilo.recipe.schema import Recipe
from destilo.tasks.tokenization import TextTokenizer
from destilo.teacher.alignment import AlignmentMode
from destilo.teacher.source import LiveTeacher


def distinct_tokenizers(models: Sequence[LoadedModel]) -> tuple[list[TextTokenizer], list[int]]:
    """The tokenizers that differ, and for every model which of them (from 0) is its own."""
    kept: list[TextTokenizer] = []
    places: list[int] = []
    for model in models:
        digests = [tokenizer.digest for tokenizer in kept]
        if model.text.digest not in digests:
            kept.append(model.text)
            digests.append(model.text.digest)
        places.append(digests.index(model.text.digest))
    return kept, places


def alignment_mode(recipe: Recipe, place: int) -> AlignmentMode:
    """How a student's units find their teacher's values.

    Args:
        recipe: It may leave the choice open.
        place: Which of the distinct tokenizers is the teacher's; the student's is 0.

    Raises:
        InputError: If the recipe asks for what different tokenizers cannot give.
    """
    if recipe.alignment == "auto":
        return AlignmentMode.IDENTITY if place == 0 else AlignmentMode.WORD
    mode = AlignmentMode(recipe.alignment)
    if mode is AlignmentMode.IDENTITY and place != 0:
        raise InputError(
            "alignment is 'identity', but teacher and student have different tokenizers. "
            "Set it to auto or word."
        )
    return mode


def live_teachers(
    experiment: Experiment, teachers: Sequence[LoadedModel], places: Sequence[int]
) -> list[LiveTeacher]:
    """The teachers as sources of what the student follows.

    Args:
        experiment: Its recipe decides alignment and precision.
        teachers: Loaded, in the recipe's order.
        places: Which of the distinct tokenizers is each teacher's own.
    """
    recipe = experiment.recipe
    return [
        LiveTeacher(
            model=teacher.model.eval(),
            heads=tuple(experiment.task.heads),
            encoding=place,
            alignment=alignment_mode(recipe, place),
            pad_id=teacher.text.pad_id,
            bf16=recipe.training.bf16,
        )
        for teacher, place in zip(teachers, places, strict=True)
    ]


def distillation_objective(recipe: Recipe) -> Objective:
    """The recipe's terms, with the weights of its teachers."""
    terms = [
        make_term(spec.term, weight=spec.weight, temperature=spec.temperature)
        for spec in recipe.objective
        if spec.weight > 0
    ]
    return Objective(terms, [spec.weight for spec in recipe.teachers])
