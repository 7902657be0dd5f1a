"""Terms on logits: gold labels and the teacher's distribution.

Every term walks over named heads whose logits are [units, classes]; classes outside a head's
mask (padding, special positions, question pieces) never enter a softmax and get no gradient.
Terms with a temperature ``T`` are multiplied by ``T**2``, which keeps the gradient's scale
(Hinton, Vinyals and Dean 2015, section 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from destilo.errors import RecipeError, suggest
from destilo.models.outputs import Pair, UnitLogits
from destilo.objective.base import IGNORED, Signal, Weighted

# Far below any logit, yet finite: probabilities underflow to exactly 0 and 0 * log stays 0.
_OUTSIDE = -1e9


def _full_precision(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits


def masked_log_softmax(head: UnitLogits, *, temperature: float = 1.0) -> Tensor:
    """Log-probabilities over the classes that take part.

    Args:
        head: Logits [units, classes] with an optional mask.
        temperature: Divides the logits.

    Returns:
        [units, classes]; entries outside the mask are hugely negative (probability exactly 0).
    """
    logits = _full_precision(head.logits) / temperature
    if head.mask is not None:
        logits = torch.where(head.mask, logits, _OUTSIDE)
    return functional.log_softmax(logits, dim=-1)


@dataclass(frozen=True, slots=True)
class Labels:
    """Cross-entropy with the gold labels, in nats, summed over labelled units."""

    name: str = "labels"

    def total(self, student: Mapping[str, UnitLogits], labels: Mapping[str, Tensor]) -> Tensor:
        parts = [
            functional.nll_loss(
                masked_log_softmax(student[name]), gold, ignore_index=IGNORED, reduction="sum"
            )
            for name, gold in labels.items()
        ]
        return torch.stack(parts).sum()


_Divergence = Callable[[Tensor, Tensor], Tensor]


def _kl(teacher: Tensor, student: Tensor) -> Tensor:
    return (teacher.exp() * (teacher - student)).sum()


def _reverse_kl(teacher: Tensor, student: Tensor) -> Tensor:
    return _kl(student, teacher)


def _soft_cross_entropy(teacher: Tensor, student: Tensor) -> Tensor:
    return -(teacher.exp() * student).sum()


def _jensen_shannon(teacher: Tensor, student: Tensor) -> Tensor:
    middle = torch.logaddexp(teacher, student) - math.log(2.0)
    return 0.5 * (_kl(teacher, middle) + _kl(student, middle))


_DIVERGENCES: dict[str, _Divergence] = {
    "kl": _kl,
    "reverse-kl": _reverse_kl,
    "jsd": _jensen_shannon,
    "soft-ce": _soft_cross_entropy,
}


@dataclass(frozen=True, slots=True)
class Divergence:
    """A divergence between the teacher's and the student's distributions at temperature T.

    Attributes:
        name: ``kl`` (teacher || student), ``reverse-kl`` (student || teacher), ``jsd``
            (Jensen-Shannon, at most log 2) or ``soft-ce`` (cross-entropy with the teacher's
            probabilities: ``kl`` plus the teacher's entropy, so the same gradient).
        temperature: T; the sum is multiplied by T**2.
    """

    name: str
    temperature: float = 1.0

    def total(self, pair: Pair) -> Tensor:
        divergence = _DIVERGENCES[self.name]
        parts = [
            divergence(
                masked_log_softmax(pair.teacher[head], temperature=self.temperature),
                masked_log_softmax(pair.student[head], temperature=self.temperature),
            )
            for head in pair.student
        ]
        return torch.stack(parts).sum() * self.temperature**2


@dataclass(frozen=True, slots=True)
class SquaredError:
    """Squared difference of logits, averaged over a unit's classes and summed over units."""

    name: str = "mse"

    def total(self, pair: Pair) -> Tensor:
        parts = []
        for head, student in pair.student.items():
            difference = _full_precision(student.logits) - _full_precision(
                pair.teacher[head].logits
            )
            if student.mask is None:
                parts.append(difference.square().mean(dim=-1).sum())
                continue
            squares = torch.where(student.mask, difference, 0.0).square().sum(dim=-1)
            parts.append((squares / student.mask.sum(dim=-1).clamp(min=1)).sum())
        return torch.stack(parts).sum()


TERM_NAMES = ("labels", "kl", "reverse-kl", "jsd", "soft-ce", "mse")


def make_term(name: str, *, weight: float = 1.0, temperature: float = 1.0) -> Weighted:
    """Build a term by its name in a recipe.

    Raises:
        RecipeError: If there is no such term.
    """
    if name == "labels":
        return Weighted(Labels(), weight, Signal.LABELS)
    if name == "mse":
        return Weighted(SquaredError(), weight, Signal.HEADS)
    if name in _DIVERGENCES:
        return Weighted(Divergence(name, temperature), weight, Signal.HEADS)
    raise RecipeError(suggest(name, TERM_NAMES, kind="term"))
