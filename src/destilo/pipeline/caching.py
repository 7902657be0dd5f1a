"""Teachers whose outputs are on disk: which cache is theirs, and filling it before any training."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers

from destilo.errors import InputError
from destilo.models.folder import LoadedModel, move_to
from destilo.models.layers import layer_count
from destilo.pipeline.experiment import Experiment
from destilo.pipeline.following import encode_examples, live_teacher
from destilo.pipeline.inputs import read_inputs
from destilo.pipeline.models import load_teachers, untrained_student
from destilo.progress import Progress, Silent
from destilo.recipe.check import require_valid
from destilo.recipe.schema import Recipe, TeacherSpec, TokenizerSpec
from destilo.runs import MANIFEST, Run, digest, reported_io, stopwatch
from destilo.tasks.base import Example
from destilo.teacher.cache import TeacherCache, example_key, open_cache, weights_digest
from destilo.teacher.filling import fill_cache
from destilo.teacher.source import CachedTeacher
from destilo.teacher.store import cache_folder, fingerprint, summarise
from destilo.training.processes import join_processes

_NOT_COMPUTED_WITH = (
    "_name_or_path",
    "architectures",
    "dtype",
    "id2label",
    "label2id",
    "torch_dtype",
    "transformers_version",
)
"""Keys of a model's configuration that say nothing about its outputs; labels have a field."""


_MAKE_IT = "Make its teacher with `destilo train RECIPE -o RUN`"


@dataclass(frozen=True)
class CacheReport:
    """A cache that is full for the examples of a recipe.

    Attributes:
        teacher: The model's name in the recipe.
        folder: Where the cache lies; its name is the cache's id.
        examples: Distinct examples of the recipe.
        computed: How many of them the teacher was run on now.
        precision: Of the stored logits.
        size_bytes: Of the whole cache, which may hold examples of other recipes.
        bytes_per_example: Its mean.
        seconds: That opening and filling took.
    """

    teacher: str
    folder: Path
    examples: int
    computed: int
    precision: str
    size_bytes: int
    bytes_per_example: float
    seconds: float


def build_caches(
    recipe: Recipe, *, output: str | Path | None = None, progress: Progress | None = None
) -> tuple[CacheReport, ...]:
    """Fill the cache of every teacher with all that its student will see, and train nothing.

    A run of the same recipe then runs no teacher over its training examples. ``cache: off`` is
    read as ``logits`` here.

    Args:
        recipe: The experiment.
        output: Its Run folder, which holds the teachers that were fine-tuned in it.
        progress: Who is told how it goes.

    Raises:
        InputError: If the recipe has no teacher, or one that is yet to be fine-tuned.
    """
    require_valid(recipe)
    if not recipe.teachers:
        raise InputError("The recipe has no `teacher`, so there are no outputs to cache.")
    progress = progress or Silent()
    with _experiment(recipe, output, progress) as experiment:
        _require_teachers(experiment)
        if output is None and isinstance(recipe.student.tokenizer, TokenizerSpec):
            progress.note(
                "the student's tokenizer is trained anew here, and by chance its windows may be "
                "cut elsewhere than the run's; -o RUN keeps the tokenizer for the run",
                level="warning",
            )
        teachers = load_teachers(experiment)
        student = untrained_student(experiment, "student")
        examples, places = encode_examples(experiment, student, teachers)
        return tuple(
            _build(experiment, spec, teacher, place, examples)
            for spec, teacher, place in zip(recipe.teachers, teachers, places, strict=True)
        )


@contextmanager
def _experiment(
    recipe: Recipe, output: str | Path | None, progress: Progress
) -> Iterator[Experiment]:
    """The recipe in its Run folder, or in one that is thrown away."""
    with tempfile.TemporaryDirectory() as spare:
        path = Path(spare if output is None else output)
        _require_folder(recipe, output)
        with reported_io(path):
            processes = join_processes()
            folder = Run(path, writable=processes.is_main_process)
            with folder.locked():
                inputs = read_inputs(recipe, progress)
                yield Experiment(recipe, inputs, folder, processes, progress)


def _require_folder(recipe: Recipe, output: str | Path | None) -> None:
    if all(spec.finetune is None for spec in recipe.teachers):
        return
    if output is None:
        raise InputError(
            "The recipe fine-tunes its teacher, and only a ready teacher has outputs to cache. "
            "Train it first (`destilo train RECIPE -o RUN`) and name that folder with -o RUN, or "
            "let `teacher.model` name a fine-tuned model, without `finetune`."
        )
    if not (Path(output) / MANIFEST).exists():
        raise InputError(
            f"{output} is not a run: it holds no {MANIFEST}. {_MAKE_IT}, then build the cache."
        )


def _require_teachers(experiment: Experiment) -> None:
    if experiment.includes("teacher"):
        why = experiment.folder.unfinished("teacher", experiment.keys.of("teacher"))
        if why is not None:
            raise InputError(
                f"{experiment.path} holds no teacher of this recipe{f' ({why})' if why else ''}. "
                f"{_MAKE_IT}, then build the cache."
            )


def _build(
    experiment: Experiment,
    spec: TeacherSpec,
    teacher: LoadedModel,
    place: int,
    examples: Sequence[Example],
) -> CacheReport:
    with stopwatch() as seconds:
        folder, facts = _place(experiment, spec, teacher)
        before = {example_key(example.encodings[place]) for example in examples}
        held_before = open_cache(folder, kinds=experiment.task.heads)
        computed = sum(key not in held_before for key in before)
        _filled(experiment, spec, teacher, place, examples, folder=folder, facts=facts)
    summary = summarise(folder)
    return CacheReport(
        teacher=summary.teacher,
        folder=folder,
        examples=len(before),
        computed=computed,
        precision=spec.cache_precision,
        size_bytes=summary.size_bytes,
        bytes_per_example=summary.bytes_per_example,
        seconds=seconds[0],
    )


def cached_teachers(
    experiment: Experiment,
    teachers: Sequence[LoadedModel],
    places: Sequence[int],
    examples: Sequence[Example],
) -> list[CachedTeacher | None]:
    """A full cache in the place of each teacher that the recipe wants cached.

    Args:
        experiment: Says which, and reports how the filling goes.
        teachers: Loaded, in the recipe's order.
        places: Which of an example's encodings is each teacher's.
        examples: All that the student will see.
    """
    sources: list[CachedTeacher | None] = []
    for spec, teacher, place in zip(experiment.recipe.teachers, teachers, places, strict=True):
        if spec.cache == "off":
            sources.append(None)
            continue
        folder, facts = _place(experiment, spec, teacher)
        cache = _filled(experiment, spec, teacher, place, examples, folder=folder, facts=facts)
        sources.append(CachedTeacher(cache, place))
    return sources


def _place(
    experiment: Experiment, spec: TeacherSpec, teacher: LoadedModel
) -> tuple[Path, dict[str, Any]]:
    """The folder of a teacher's cache, and what is written in it for people."""
    decisive = deciding_facts(
        teacher,
        task=experiment.task.name,
        labels=experiment.task.labels,
        bf16=experiment.recipe.training.bf16,
        precision=spec.cache_precision,
    )
    named = {"teacher": teacher_title(spec, teacher), "recipe": experiment.recipe.name}
    return cache_folder() / fingerprint(**decisive), named | decisive


def deciding_facts(
    teacher: LoadedModel, *, task: str, labels: Sequence[str], bf16: bool, precision: str
) -> dict[str, Any]:
    """Everything that decides a teacher's outputs for given pieces and units.

    What is encoded how (``max_length``, ``doc_stride``, ...) acts through the pieces, by which an
    example is found. The version of transformers is among the facts, since it brings the
    architecture's code; torch and the device are not: they change last bits, as padding does.

    Args:
        teacher: Its weights, configuration and tokenizer count by content.
        task: Decides the heads.
        labels: Decide what the classes stand for.
        bf16: Whether it runs in bfloat16.
        precision: Of the stored logits.
    """
    config = teacher.model.config.to_diff_dict()
    return {
        "weights": weights_digest(teacher.model),
        "config": digest({k: v for k, v in config.items() if k not in _NOT_COMPUTED_WITH}),
        "tokenizer": teacher.text.digest,
        "task": task,
        "labels": list(labels),
        "bf16": bf16,
        "precision": precision,
        "transformers": transformers.__version__,
    }


def teacher_title(spec: TeacherSpec, teacher: LoadedModel) -> str:
    """A teacher's name for people."""
    if spec.model is not None:
        return spec.model if spec.finetune is None else f"{spec.model}, fine-tuned"
    config = teacher.model.config
    return f"{config.model_type} of {layer_count(config)} layers, made in a run"


def _filled(
    experiment: Experiment,
    spec: TeacherSpec,
    teacher: LoadedModel,
    place: int,
    examples: Sequence[Example],
    *,
    folder: Path,
    facts: dict[str, Any],
) -> TeacherCache:
    kinds = experiment.task.heads
    cache: TeacherCache | None = None
    if experiment.writes:
        move_to(teacher.model, experiment.processes.device)
        cache = fill_cache(
            folder,
            examples,
            teacher=live_teacher(experiment, teacher, place),
            facts=facts,
            precision=spec.cache_precision,
            batch_size=experiment.recipe.training.per_device_eval_batch_size,
            progress=experiment.progress,
            kinds=kinds,
        )
    experiment.processes.wait_for_everyone()
    if cache is None:  # the main process has filled it
        cache = open_cache(folder, kinds=kinds)
    experiment.progress.note(
        f"teacher's outputs: {len(cache):,} examples in {folder}", level="info"
    )
    return cache
