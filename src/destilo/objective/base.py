"""The contract of a loss term and the weighted sum of several.

A term returns a **sum** over units and says, from masks alone, how many units there are. Who
trains divides once per optimiser step by the count over all micro-batches and processes, so
accumulation, ragged lengths and several devices give the gradient of one big batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import torch
from torch import Tensor

from destilo.errors import TrainingError
from destilo.models.outputs import Pair, UnitLogits

IGNORED = -100


class Signal(StrEnum):
    """What a term needs beside the student's own logits."""

    LABELS = "labels"
    HEADS = "heads"


@dataclass(frozen=True, slots=True)
class Targets:
    """What supervises one batch, known before any model has run.

    Attributes:
        labels: Gold class per head, [units]; ``IGNORED`` where there is none.
        paired: Per teacher, per head: how many units have a teacher value.
    """

    labels: Mapping[str, Tensor]
    paired: Sequence[Mapping[str, int]] = ()


class LabelTerm(Protocol):
    """A term that compares the student with gold labels."""

    @property
    def name(self) -> str: ...

    def total(self, student: Mapping[str, UnitLogits], labels: Mapping[str, Tensor]) -> Tensor:
        """Return the scalar sum over labelled units, in nats."""
        ...


class TeacherTerm(Protocol):
    """A term that compares the student with one teacher, unit by unit."""

    @property
    def name(self) -> str: ...

    def total(self, pair: Pair) -> Tensor:
        """Return the scalar sum over paired units, in nats or squared units."""
        ...


@dataclass(frozen=True, slots=True)
class Weighted:
    """A term and its weight in the objective."""

    term: LabelTerm | TeacherTerm
    weight: float
    signal: Signal


@dataclass(frozen=True, slots=True)
class _Entry:
    """One sum that the objective keeps: a term against the labels, or against one teacher."""

    name: str
    weight: float
    term: LabelTerm | TeacherTerm
    teacher: int | None


class Objective:
    """Weighted terms over one or several weighted teachers.

    A term against teachers is computed with each teacher in that teacher's own units and the
    results are added with the teachers' normalised weights. For ``kl`` and ``soft-ce`` this has
    the gradient of the weighted mixture of the teachers' distributions.

    Args:
        terms: The terms with their weights.
        teacher_weights: One per teacher; normalised to a sum of one.
    """

    def __init__(self, terms: Sequence[Weighted], teacher_weights: Sequence[float] = ()) -> None:
        if not terms:
            raise ValueError("an objective needs at least one term")
        total = sum(teacher_weights)
        shares = [w / total for w in teacher_weights] if total else []
        entries: list[_Entry] = []
        for item in terms:
            if item.signal is Signal.LABELS:
                entries.append(_Entry(item.term.name, item.weight, item.term, None))
                continue
            if not shares:
                raise ValueError(f"the term '{item.term.name}' needs a teacher of some weight")
            for number, share in enumerate(shares):
                name = item.term.name if len(shares) == 1 else f"{item.term.name}@{number + 1}"
                entries.append(_Entry(name, item.weight * share, item.term, number))
        self._entries = tuple(entries)

    @property
    def names(self) -> tuple[str, ...]:
        """One name per sum, in the order of ``counts`` and ``sums``."""
        return tuple(entry.name for entry in self._entries)

    @property
    def uses_teacher(self) -> bool:
        return any(entry.teacher is not None for entry in self._entries)

    def counts(self, targets: Targets) -> list[int]:
        """Count supervised units per entry, from masks alone."""
        labelled = sum(int((labels != IGNORED).sum()) for labels in targets.labels.values())
        return [
            labelled if entry.teacher is None else sum(targets.paired[entry.teacher].values())
            for entry in self._entries
        ]

    def sums(
        self,
        student: Mapping[str, UnitLogits],
        labels: Mapping[str, Tensor],
        pairs: Sequence[Pair],
    ) -> list[Tensor | None]:
        """Compute each entry's unweighted sum; ``None`` where no unit is supervised."""
        result: list[Tensor | None] = []
        for entry in self._entries:
            if entry.teacher is None:
                has_units = any(bool((value != IGNORED).any()) for value in labels.values())
                total = entry.term.total(student, labels) if has_units else None  # type: ignore[call-arg,arg-type]  # a label term by construction
            else:
                pair = pairs[entry.teacher]
                has_units = any(head.logits.shape[0] for head in pair.student.values())
                total = entry.term.total(pair) if has_units else None  # type: ignore[call-arg,arg-type]  # a teacher term by construction
            result.append(total)
        return result

    def loss(self, sums: Sequence[Tensor | None], counts: Sequence[float]) -> Tensor | None:
        """Weight and divide: the contribution of these sums to the mean over ``counts`` units.

        Returns:
            A scalar, or ``None`` when no term has a supervised unit.
        """
        parts = [
            entry.weight * value / count
            for entry, value, count in zip(self._entries, sums, counts, strict=True)
            if value is not None and count > 0
        ]
        return torch.stack(parts).sum() if parts else None

    def weigh(self, means: Mapping[str, float]) -> float:
        """The objective's value from each entry's mean per unit."""
        return sum(
            entry.weight * means[entry.name] for entry in self._entries if entry.name in means
        )

    def require_finite(self, sums: Sequence[Tensor | None], *, step: int) -> None:
        """Raise ``TrainingError`` naming the term that is not finite and the step."""
        for entry, value in zip(self._entries, sums, strict=True):
            if value is not None and not bool(torch.isfinite(value)):
                raise TrainingError(
                    f"The term '{entry.name}' became {value.item()} at step {step}. "
                    "Lower training.learning_rate or training.max_grad_norm, raise the "
                    "temperature, or switch training.bf16 off."
                )
