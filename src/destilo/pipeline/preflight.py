"""Before hours of training: is the teacher any good, and does distillation start sanely?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from destilo.evaluation import evaluate_model
from destilo.models.capture import Capture
from destilo.models.folder import LoadedModel
from destilo.models.heads import run_model
from destilo.objective.base import Objective
from destilo.pipeline.inputs import Inputs
from destilo.recipe.schema import TrainingSpec
from destilo.rows import TaggingRow, TextRow
from destilo.tasks.base import Example, HeadArrays, HeadKind, Task
from destilo.teacher.alignment import read_units
from destilo.teacher.source import Teacher
from destilo.training.batches import collate

_PROBE_EXAMPLES = 64


@dataclass(frozen=True, slots=True)
class Preflight:
    """What was found before training.

    Attributes:
        metric: The task's main metric.
        teacher_scores: Of each teacher on validation, from 0 to 1.
        chance: What a trivial predictor scores there (the most frequent class, or random spans).
        start: Each term's mean per unit before the first step.
        notes: What could not be measured, and why.
    """

    metric: str
    teacher_scores: tuple[float, ...]
    chance: float
    start: dict[str, float]

    def describe(self) -> dict[str, Any]:
        """JSON-ready, for ``preflight.json``."""
        return {
            "metric": self.metric,
            "teacher_scores": list(self.teacher_scores),
            "chance": self.chance,
            "start": self.start,
            "warnings": [text for level, text in self.sentences() if level == "warning"],
        }

    def sentences(self) -> Iterator[tuple[str, str]]:
        """What to tell the user: level and sentence."""
        for number, score in enumerate(self.teacher_scores, start=1):
            name = "teacher" if len(self.teacher_scores) == 1 else f"teacher {number}"
            figures = f"{self.metric} {100 * score:.2f} on validation"
            yield "info", f"{name}: {figures} (trivial predictor: {100 * self.chance:.2f})"
            if score <= self.chance:
                advice = (
                    f"The {name} is no better than a trivial predictor on this data "
                    f"({self.metric} {100 * score:.2f} against {100 * self.chance:.2f}); a "
                    "student can only copy that. Is it fine-tuned for this task, language and "
                    "label set? Train it longer, or name another model."
                )
                yield "warning", advice
        if self.start:
            terms = ", ".join(f"{name} {value:.4f}" for name, value in self.start.items())
            yield "info", f"loss at step 0, per unit: {terms}"


def preflight(
    *,
    student: LoadedModel,
    teachers: Sequence[LoadedModel],
    lessons: Sequence[tuple[Objective, Sequence[Teacher]]],
    examples: Sequence[Example],
    task: Task,
    inputs: Inputs,
    settings: TrainingSpec,
) -> Preflight:
    """Score the teachers on validation and the objective before the first step."""
    rows = inputs.splits["validation"].rows
    scores = []
    for teacher in teachers:
        evaluated = evaluate_model(
            teacher.model,
            name="teacher",
            split="validation",
            task=task,
            rows=rows,
            tokenizer=teacher.text,
            batch_size=settings.per_device_eval_batch_size,
            bootstrap_samples=0,
        )
        scores.append(evaluated.result.main.value)
    return Preflight(
        metric=task.main_metric,
        teacher_scores=tuple(scores),
        chance=trivial_score(task, inputs, student),
        start={
            f"{name} (stage {number})" if len(lessons) > 1 else name: value
            for number, (objective, live) in enumerate(lessons, start=1)
            for name, value in _start(student, live, objective, examples, task).items()
        },
    )


def trivial_score(task: Task, inputs: Inputs, student: LoadedModel) -> float:
    """The validation score of a predictor that has read no input.

    It gives the most frequent class of the training split, or random spans (the seed is fixed).
    """
    rows = inputs.splits["validation"].rows
    examples = task.encode(rows, [student.text])
    random = np.random.default_rng(0)
    frequent = _most_frequent(inputs)
    heads: list[HeadArrays] = []
    for example in examples:
        length = len(example.encodings[0])
        arrays: dict[str, Any] = {}
        for name, kind in task.heads.items():
            if kind is HeadKind.SPAN:
                arrays[name] = random.standard_normal(length).astype(np.float32)
                continue
            shape = (length, len(task.labels)) if kind is HeadKind.UNIT else (len(task.labels),)
            arrays[name] = np.zeros(shape, dtype=np.float32)
            arrays[name][..., task.labels.index(frequent)] = 1.0
        heads.append(arrays)
    predictions = task.decode(rows, examples, heads)
    return task.score(rows, predictions, bootstrap_samples=0)[task.main_metric].value


def _most_frequent(inputs: Inputs) -> str:
    counts: Counter[str] = Counter()
    for row in inputs.splits["train"].rows:
        if isinstance(row, TextRow) and row.label is not None:
            counts[row.label] += 1
        elif isinstance(row, TaggingRow) and row.tags is not None:
            counts.update(row.tags)
    return counts.most_common(1)[0][0] if counts else ""


def _start(
    student: LoadedModel,
    sources: Sequence[Teacher],
    objective: Objective,
    examples: Sequence[Example],
    task: Task,
) -> dict[str, float]:
    step = max(1, len(examples) // _PROBE_EXAMPLES)
    micro = collate(
        examples[::step][:_PROBE_EXAMPLES],
        kinds=task.heads,
        pad_id=student.text.pad_id,
        teachers=sources,
        device=student.model.device,
    )
    student.model.eval()
    wanted = objective.wanted()
    capture = Capture(student.model, wanted) if wanted else None
    objective.projections.to(student.model.device)
    with torch.no_grad():
        outputs = run_model(student.model, micro.student, tuple(task.heads), capture=capture)
        pairs = [
            pairing.pair(outputs, teacher.outputs(inputs), task.heads)
            for teacher, inputs, pairing in zip(
                sources, micro.teachers, micro.pairings, strict=True
            )
        ]
        own = read_units(outputs, micro.units, task.heads)
        sums = objective.sums(own, micro.labels, pairs)
    if capture is not None:
        capture.close()
    counts = objective.counts(micro.targets)
    return {
        name: float(value) / count
        for name, value, count in zip(objective.names, sums, counts, strict=True)
        if value is not None and count
    }
