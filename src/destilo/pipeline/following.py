"""How a student follows its teachers: in which windows, unit for unit how, weighted how."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from destilo.errors import InputError
from destilo.layer_map import layers_above
from destilo.models.capture import Capture, check_wanted
from destilo.models.folder import LoadedModel
from destilo.models.layers import layer_count, model_shape
from destilo.models.outputs import Wanted
from destilo.objective.base import Objective, Weighted
from destilo.objective.layers import make_layer_terms
from destilo.objective.logits import make_term
from destilo.pipeline.experiment import Experiment
from destilo.recipe.layer_pairs import layer_pairs, origin_of_layers
from destilo.recipe.schema import Recipe, TermSpec
from destilo.tasks import Task
from destilo.tasks.base import Example, HeadKind
from destilo.tasks.tokenization import TextTokenizer
from destilo.teacher.alignment import AlignmentMode
from destilo.teacher.source import CachedTeacher, LiveTeacher, Teacher


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


def encode_examples(
    experiment: Experiment, student: LoadedModel, teachers: Sequence[LoadedModel]
) -> tuple[list[Example], list[int]]:
    """Every window that a student learns from, cut so that it fits all the tokenizers.

    Returns:
        The examples, and which of their encodings is each teacher's.
    """
    tokenizers, places = distinct_tokenizers([student, *teachers])
    rows = list(experiment.rows("train"))
    if "unlabelled" in experiment.inputs.splits:
        rows += experiment.rows("unlabelled")
    return experiment.task.encode(rows, tokenizers), places[1:]


def teacher_sources(
    experiment: Experiment,
    teachers: Sequence[LoadedModel],
    places: Sequence[int],
    *,
    objective: Objective,
    cached: Sequence[CachedTeacher | None],
) -> list[Teacher]:
    """The teachers as sources of what the student follows.

    Args:
        experiment: Its recipe decides alignment and precision.
        teachers: Loaded, in the recipe's order.
        places: Which of the distinct tokenizers is each teacher's own.
        objective: Says which of their layers are read.
        cached: What stands in the place of each teacher that is not run.
    """
    sources: list[Teacher] = []
    for number, (teacher, place, instead) in enumerate(zip(teachers, places, cached, strict=True)):
        if instead is not None:
            sources.append(instead)
            continue
        wanted = objective.wanted(number)
        require_units(experiment.task, alignment_mode(experiment.recipe, place), wanted)
        sources.append(live_teacher(experiment, teacher, place, wanted=wanted))
    return sources


def live_teacher(
    experiment: Experiment, teacher: LoadedModel, place: int, *, wanted: Wanted | None = None
) -> LiveTeacher:
    """A teacher that runs beside the student, or fills a cache.

    Args:
        experiment: Its recipe decides alignment and precision.
        teacher: Loaded.
        place: Which of the distinct tokenizers is its own.
        wanted: The layers that are read.
    """
    return LiveTeacher(
        model=teacher.model.eval(),
        heads=tuple(experiment.task.heads),
        encoding=place,
        alignment=alignment_mode(experiment.recipe, place),
        pad_id=teacher.text.pad_id,
        bf16=experiment.recipe.training.bf16,
        capture=Capture(teacher.model, wanted) if wanted else None,
    )


def distillation_objective(
    recipe: Recipe,
    terms: Sequence[TermSpec],
    *,
    student: PreTrainedModel,
    teachers: Sequence[PreTrainedModel],
) -> Objective:
    """The terms of one stage, with the weights of the recipe's teachers.

    Args:
        recipe: Says where the student's layers come from.
        terms: Of the stage.
        student: Decides with the teachers which layers and widths are compared.
        teachers: In the recipe's order.
    """
    torch.manual_seed(recipe.training.seed)  # of the projections
    weighted: list[Weighted] = []
    for spec in terms:
        if spec.weight == 0:
            continue
        if not spec.on_layers:
            weighted.append(make_term(spec.term, weight=spec.weight, temperature=spec.temperature))
            continue
        for number, teacher in enumerate(teachers):
            if recipe.teachers[number].weight > 0:
                weighted += _layer_terms(recipe, spec, student, teacher, number)
    return Objective(weighted, [spec.weight for spec in recipe.teachers])


def require_comparable(
    experiment: Experiment, student: LoadedModel, teachers: Sequence[LoadedModel]
) -> None:
    """Refuse terms on layers that models of these shapes and tokenizers cannot have.

    Raises:
        InputError: Saying what, as the training itself would.
    """
    recipe = experiment.recipe
    _, places = distinct_tokenizers([student, *teachers])
    for stage in recipe.lessons:
        objective = distillation_objective(
            recipe,
            stage.objective,
            student=student.model,
            teachers=[teacher.model for teacher in teachers],
        )
        check_wanted(student.model.config, objective.wanted())
        for number, teacher in enumerate(teachers):
            wanted = objective.wanted(number)
            check_wanted(teacher.model.config, wanted)
            mode = alignment_mode(recipe, places[number + 1])
            require_units(experiment.task, mode, wanted)


def require_units(task: Task, mode: AlignmentMode, wanted: Wanted) -> None:
    """Refuse to compare attention where there is one unit to attend to.

    Raises:
        InputError: If whole rows are classified in different tokenizers.
    """
    whole_rows = all(kind is HeadKind.ROW for kind in task.heads.values())
    if whole_rows and mode is AlignmentMode.WORD and wanted.attention:
        raise InputError(
            "The student has another tokenizer than its teacher, and a classified text is then one "
            "unit (its first position), among which there is no attention. Leave out attention-mse "
            "and attention-relations, or give the student the teacher's tokenizer."
        )


def unfollowed(objective: Objective, teachers: Sequence[PreTrainedModel]) -> list[str]:
    """One sentence for each teacher whose topmost layers no term on layers looks at."""
    sentences = []
    for number, teacher in enumerate(teachers):
        wanted, available = objective.wanted(number), layer_count(teacher.config)
        top = max(wanted.hidden | wanted.attention, default=0)
        above = layers_above(top, available)
        if top > 0 and above is not None:
            name = "the teacher" if len(teachers) == 1 else f"teacher {number + 1}"
            sentences.append(
                f"no layer of the student follows {above} of {name}, above the layer map. "
                "`layer_map: uniform` ends at the last one."
            )
    return sentences


def _layer_terms(
    recipe: Recipe,
    spec: TermSpec,
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    number: int,
) -> list[Weighted]:
    mine, theirs = model_shape(student.config), model_shape(teacher.config)
    return make_layer_terms(
        spec.term,
        weight=spec.weight,
        pairs=layer_pairs(
            spec,
            student=mine.layers,
            teacher=theirs.layers,
            origin=origin_of_layers(recipe, number),
        ),
        widths=(mine.width, theirs.width),
        heads=(mine.heads, theirs.heads),
        projection=spec.projection,
        compare=spec.compare,
        average_heads=spec.average_heads,
        relation_heads=spec.relation_heads,
        teacher=number,
    )
