"""How a student follows its teachers: in which windows, unit for unit how, weighted how."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from destilo.errors import InputError
from destilo.models.capture import Capture
from destilo.models.folder import LoadedModel, move_to
from destilo.models.layers import layer_count, model_shape
from destilo.models.outputs import Wanted
from destilo.objective.base import Objective, Weighted
from destilo.objective.layers import make_layer_terms
from destilo.objective.logits import make_term
from destilo.pipeline.experiment import Experiment
from destilo.recipe.layer_pairs import layer_pairs, origin_of_layers
from destilo.recipe.schema import Recipe, TeacherSpec, TermSpec
from destilo.tasks import Task
from destilo.tasks.base import Example, HeadKind
from destilo.tasks.tokenization import TextTokenizer
from destilo.teacher.alignment import AlignmentMode
from destilo.teacher.cache import (
    TeacherCache,
    cache_folder,
    fingerprint,
    open_cache,
    weights_digest,
)
from destilo.teacher.filling import fill_cache
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


def live_teachers(
    experiment: Experiment,
    teachers: Sequence[LoadedModel],
    places: Sequence[int],
    *,
    objective: Objective,
) -> list[LiveTeacher]:
    """The teachers as sources of what the student follows.

    Args:
        experiment: Its recipe decides alignment and precision.
        teachers: Loaded, in the recipe's order.
        places: Which of the distinct tokenizers is each teacher's own.
        objective: Says which of their layers are read.
    """
    recipe = experiment.recipe
    live = []
    for number, (teacher, place) in enumerate(zip(teachers, places, strict=True)):
        wanted = objective.wanted(number)
        require_units(experiment.task, alignment_mode(recipe, place), wanted)
        live.append(
            LiveTeacher(
                model=teacher.model.eval(),
                heads=tuple(experiment.task.heads),
                encoding=place,
                alignment=alignment_mode(recipe, place),
                pad_id=teacher.text.pad_id,
                bf16=recipe.training.bf16,
                capture=Capture(teacher.model, wanted) if wanted else None,
            )
        )
    return live


def cached_teachers(
    experiment: Experiment,
    teachers: Sequence[LoadedModel],
    live: Sequence[LiveTeacher],
    examples: Sequence[Example],
) -> list[Teacher]:
    """Put a cache in the place of each teacher that the recipe wants cached, filled first.

    Args:
        experiment: Says which, and reports how the filling goes.
        teachers: Loaded, in the recipe's order.
        live: The same as sources.
        examples: All that the student will see.
    """
    sources: list[Teacher] = []
    for spec, loaded, source in zip(experiment.recipe.teachers, teachers, live, strict=True):
        if spec.cache == "off":
            sources.append(source)
            continue
        cache = _filled_cache(experiment, spec, loaded, source, examples)
        sources.append(CachedTeacher(cache, source.encoding))
    return sources


def _filled_cache(
    experiment: Experiment,
    spec: TeacherSpec,
    loaded: LoadedModel,
    source: LiveTeacher,
    examples: Sequence[Example],
) -> TeacherCache:
    task, settings = experiment.task, experiment.recipe.training
    facts = {
        "weights": weights_digest(loaded.model),
        "tokenizer": loaded.text.digest,
        "task": task.name,
        "labels": list(task.labels),
        "bf16": settings.bf16,
        "precision": spec.cache_precision,
    }
    folder = cache_folder() / fingerprint(**facts)[:32]
    n_classes = len(task.labels)
    cache: TeacherCache | None = None
    if experiment.writes:
        move_to(loaded.model, experiment.processes.device)
        cache = fill_cache(
            folder,
            examples,
            teacher=source,
            facts={"model": spec.model or "made in a run", **facts},
            precision=spec.cache_precision,
            batch_size=settings.per_device_eval_batch_size,
            progress=experiment.progress,
            kinds=task.heads,
            n_classes=n_classes,
        )
    experiment.processes.wait_for_everyone()
    if cache is None:  # another process has filled it
        cache = open_cache(folder, kinds=task.heads, n_classes=n_classes)
    experiment.progress.note(
        f"teacher's outputs: {len(cache):,} examples in {folder}", level="info"
    )
    return cache


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
        if 0 < top < available:
            name = "the teacher" if len(teachers) == 1 else f"teacher {number + 1}"
            above = str(available) if top + 1 == available else f"{top + 1} to {available}"
            sentences.append(
                f"layers {above} of {name} are above the layer map: no layer of the student "
                "follows them. `layer_map: uniform` ends at the last one."
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
