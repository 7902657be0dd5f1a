"""The contract of a loss term and the weighted sum of several.

A term returns a **sum** over units and says, from masks alone, how many units there are. Who
trains divides once per optimiser step by the count over all micro-batches and processes, so
accumulation, ragged lengths and several devices give the gradient of one big batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

import torch
from torch import Tensor

from destilo.errors import TrainingError
from destilo.models.outputs import Pair, UnitLogits, Wanted

IGNORED = -100


class Signal(StrEnum):
    """What a term needs beside the student's own logits."""

    LABELS = "labels"
    HEADS = "heads"
    LAYERS = "layers"


@dataclass(frozen=True, slots=True)
class Targets:
    """What supervises one batch, known before any model has run.

    Attributes:
        labels: Gold class per head, [units]; ``IGNORED`` where there is none.
        paired: Per teacher, per head: how many units have a teacher value.
        row_units: Per teacher, per row: in how many units layers are compared.
    """

    labels: Mapping[str, Tensor]
    paired: Sequence[Mapping[str, int]] = ()
    row_units: Sequence[Sequence[int]] = ()


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


class LayerTerm(Protocol):
    """A term that compares one layer of the student with one layer of one teacher."""

    @property
    def name(self) -> str: ...

    @property
    def needs(self) -> tuple[Wanted, Wanted]:
        """What it reads of the student and of the teacher."""
        ...

    @property
    def projection(self) -> torch.nn.Linear | None:
        """From the student's width to the teacher's; trained with the student."""
        ...

    def count(self, row_units: Sequence[int]) -> int:
        """How many units a batch has, from the units of each of its rows."""
        ...

    def total(self, pair: Pair) -> Tensor:
        """Return the scalar sum over units, in squared units or nats."""
        ...


@dataclass(frozen=True, slots=True)
class Weighted:
    """A term and its weight in the objective.

    Attributes:
        term: What is computed.
        weight: What it is multiplied by.
        signal: What it needs.
        teacher: The one teacher that it concerns; ``None``: all of them (or none).
    """

    term: LabelTerm | TeacherTerm | LayerTerm
    weight: float
    signal: Signal
    teacher: int | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    """One sum that the objective keeps: a term against the labels, or against one teacher."""

    name: str
    weight: float
    term: LabelTerm | TeacherTerm | LayerTerm
    signal: Signal
    teacher: int | None


def _told_apart(entries: Sequence[_Entry]) -> tuple[_Entry, ...]:
    """Number what has the name of an earlier entry: the same term with other options."""
    seen: Counter[str] = Counter()
    result = []
    for entry in entries:
        seen[entry.name] += 1
        again = seen[entry.name]
        name = entry.name if again == 1 else f"{entry.name} ({again})"
        result.append(replace(entry, name=name))
    return tuple(result)


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
                entries.append(_Entry(item.term.name, item.weight, item.term, item.signal, None))
                continue
            if not shares:
                raise ValueError(f"the term '{item.term.name}' needs a teacher of some weight")
            for number, share in enumerate(shares):
                if item.teacher not in (None, number):
                    continue
                name = item.term.name if len(shares) == 1 else f"{item.term.name}@{number + 1}"
                weight = item.weight * share
                entries.append(_Entry(name, weight, item.term, item.signal, number))
        self._entries = _told_apart(entries)
        self.projections = torch.nn.ModuleDict()
        for layer_entry in self._layer_entries():
            self._keep_projection(layer_entry)

    @property
    def names(self) -> tuple[str, ...]:
        """One name per sum, in the order of ``counts`` and ``sums``."""
        return tuple(entry.name for entry in self._entries)

    @property
    def uses_teacher(self) -> bool:
        return any(entry.teacher is not None for entry in self._entries)

    @property
    def uses_heads(self) -> bool:
        """Whether any term reads the student's logits."""
        return any(entry.signal is not Signal.LAYERS for entry in self._entries)

    def wanted(self, teacher: int | None = None) -> Wanted:
        """What the layer terms read of a teacher; of the student, for ``None``."""
        result = Wanted()
        for entry in self._layer_entries():
            mine, theirs = entry.term.needs  # type: ignore[union-attr]  # a layer term
            if teacher is None:
                result |= mine
            elif teacher == entry.teacher:
                result |= theirs
        return result

    def _layer_entries(self) -> list[_Entry]:
        return [entry for entry in self._entries if entry.signal is Signal.LAYERS]

    def _keep_projection(self, entry: _Entry) -> None:
        projection = entry.term.projection  # type: ignore[union-attr]  # a layer term
        known = [id(module) for module in self.projections.values()]
        if projection is not None and id(projection) not in known:  # one may serve all layers
            self.projections[str(len(known))] = projection

    def counts(self, targets: Targets) -> list[int]:
        """Count supervised units per entry, from masks alone."""
        labelled = sum(int((labels != IGNORED).sum()) for labels in targets.labels.values())
        counts = []
        for entry in self._entries:
            if entry.teacher is None:
                counts.append(labelled)
            elif entry.signal is Signal.LAYERS:
                counts.append(entry.term.count(targets.row_units[entry.teacher]))  # type: ignore[union-attr]  # a layer term
            else:
                counts.append(sum(targets.paired[entry.teacher].values()))
        return counts

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
                if entry.signal is Signal.LAYERS:
                    has_units = pair.layers is not None and bool(pair.layers.mask.any())
                else:
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
