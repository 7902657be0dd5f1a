"""What a model says about a batch, in its own positions and in comparable units."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which layers are read, numbered from 1.

    Attributes:
        hidden: Hidden states; 0 is what the first layer reads.
        scores: Queries and keys.
        relations: Queries, keys and values.
    """

    hidden: frozenset[int] = frozenset()
    scores: frozenset[int] = frozenset()
    relations: frozenset[int] = frozenset()

    def __or__(self, other: Wanted) -> Wanted:
        return Wanted(
            self.hidden | other.hidden,
            self.scores | other.scores,
            self.relations | other.relations,
        )

    @property
    def attention(self) -> frozenset[int]:
        """Layers whose queries and keys are read."""
        return self.scores | self.relations

    def __bool__(self) -> bool:
        return bool(self.hidden | self.attention)


@dataclass(frozen=True, slots=True)
class LayerStates:
    """What the layers of one model held for a batch, of the layers that were asked for.

    Attributes:
        hidden: [batch, length, width] by layer number; 0 is what the first layer reads.
        query: [batch, heads, length, head width] by layer number from 1, after any rotation by
            position, so that query times key over the root of the head width is the score.
        key: Likewise.
        value: Likewise.
    """

    hidden: Mapping[int, Tensor] = field(default_factory=dict)
    query: Mapping[int, Tensor] = field(default_factory=dict)
    key: Mapping[int, Tensor] = field(default_factory=dict)
    value: Mapping[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outputs:
    """One model's results for a batch, in that model's own positions.

    Attributes:
        heads: Logits by head name: [batch, classes], [batch, length, classes] or [batch, length].
        attention_mask: [batch, length], 1 at real positions.
        layers: What its layers held, where that was asked for.
    """

    heads: Mapping[str, Tensor]
    attention_mask: Tensor
    layers: LayerStates | None = None


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
class TokenStates:
    """The same of a head over a vocabulary, before its logits are made: those do not fit at once.

    Attributes:
        hidden: [units, width], what the head reads.
        head: From [n, width] to logits [n, vocabulary].
    """

    hidden: Tensor
    head: Callable[[Tensor], Tensor]

    def logits(self, units: slice = slice(None)) -> UnitLogits:
        """The logits of some units."""
        return UnitLogits(self.head(self.hidden[units]))


@dataclass(frozen=True, slots=True)
class LayerPair:
    """The layers of student and teacher in the same units.

    Attributes:
        student: Its states; second to last axis: units (positions, or words) in place of positions.
        teacher: The teacher's.
        mask: [batch, units], true where a unit is on both sides.
    """

    student: LayerStates
    teacher: LayerStates
    mask: Tensor


@dataclass(frozen=True, slots=True)
class Pair:
    """Student and teacher in the same units: row ``i`` of one stands for row ``i`` of the other."""

    student: Mapping[str, UnitLogits]
    teacher: Mapping[str, UnitLogits]
    layers: LayerPair | None = None
