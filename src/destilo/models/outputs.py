"""What a model says about a batch, in its own positions and in comparable units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Outputs:
    """One model's results for a batch, in that model's own positions.

    Attributes:
        heads: Logits by head name: [batch, classes], [batch, length, classes] or [batch, length].
        attention_mask: [batch, length], 1 at real positions.
    """

    heads: Mapping[str, Tensor]
    attention_mask: Tensor


@dataclass(frozen=True, slots=True)
class UnitLogits:
    """The distributions of one head, one row per supervised unit, ready for any logits term.

    Attributes:
        logits: [units, classes]. Entries outside ``mask`` are arbitrary but finite.
        mask: [units, classes], true where a class takes part; ``None``: all do.
    """

    logits: Tensor
    mask: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Student and teacher in the same units: row ``i`` of one stands for row ``i`` of the other."""

    student: Mapping[str, UnitLogits]
    teacher: Mapping[str, UnitLogits]
