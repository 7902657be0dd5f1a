"""Terms on layers: hidden states, attention scores, MiniLM's relations.

A term compares one layer of the student with one layer of a teacher; a layer map makes several of
them, whose sums and counts are kept, and logged, apart. Their weights add up: as in the papers,
the loss is a sum over layers. Units outside the mask (padding; across tokenizers, words that one
side lacks) enter neither a sum nor a softmax.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from destilo.errors import RecipeError, suggest
from destilo.models.outputs import LayerPair, LayerStates, Pair, Wanted
from destilo.objective.base import LayerTerm, Signal, Weighted

LAYER_TERM_NAMES = (
    "hidden-mse",
    "hidden-cosine",
    "embedding-mse",
    "attention-mse",
    "attention-relations",
)

# Far below any score, yet finite: probabilities underflow to exactly 0 and 0 * log stays 0.
_OUTSIDE = -1e9


@dataclass(frozen=True, slots=True)
class Hidden:
    """Distance of hidden states: ``||s W - t||^2 / width``, or ``1 - cos(s W, t)``, per unit.

    Attributes:
        name: As it is logged.
        student_layer: From 1; 0 is what the first layer reads (the embeddings).
        teacher_layer: Likewise.
        projection: W, from the student's width to the teacher's, without bias; ``None`` where the
            widths agree and nothing is learnt.
        cosine: The angle instead of the squared difference.

    Reference:
        TinyBERT (Jiao et al. 2020), equations 7 and 8; DistilBERT (Sanh et al. 2019) for cosine.
    """

    name: str
    student_layer: int
    teacher_layer: int
    projection: torch.nn.Linear | None = None
    cosine: bool = False

    @property
    def needs(self) -> tuple[Wanted, Wanted]:
        return (
            Wanted(hidden=frozenset({self.student_layer})),
            Wanted(hidden=frozenset({self.teacher_layer})),
        )

    def count(self, row_units: Sequence[int]) -> int:
        return sum(row_units)

    def total(self, pair: Pair) -> Tensor:
        layers = _layers(pair)
        student = _exact(layers.student.hidden[self.student_layer])[layers.mask]  # [units, width]
        teacher = _exact(layers.teacher.hidden[self.teacher_layer])[layers.mask]
        if self.projection is not None:
            student = functional.linear(student, self.projection.weight.to(student.dtype))
        if self.cosine:
            return (1.0 - functional.cosine_similarity(student, teacher, dim=-1)).sum()
        return (student - teacher).square().mean(dim=-1).sum()


@dataclass(frozen=True, slots=True)
class Attention:
    """Distance of attention between units, averaged over heads.

    Attributes:
        name: As it is logged.
        student_layer: From 1.
        teacher_layer: From 1.
        compare: ``scores``: squared difference before the softmax; ``probabilities``: after it;
            ``probabilities-kl``: KL(teacher || student) of each unit's distribution, in nats.
        average_heads: Compare the mean over heads, which lets their numbers differ.

    Reference:
        SpanishTinyRoBERTa (Bazaga et al. 2023), the attention loss; TinyBERT, equation 6.
    """

    name: str
    student_layer: int
    teacher_layer: int
    compare: str = "scores"
    average_heads: bool = False

    @property
    def projection(self) -> torch.nn.Linear | None:
        return None

    @property
    def needs(self) -> tuple[Wanted, Wanted]:
        return (
            Wanted(scores=frozenset({self.student_layer})),
            Wanted(scores=frozenset({self.teacher_layer})),
        )

    def count(self, row_units: Sequence[int]) -> int:
        if self.compare == "probabilities-kl":
            return sum(row_units)
        return sum(number * number for number in row_units)

    def total(self, pair: Pair) -> Tensor:
        layers = _layers(pair)
        student = self._read(layers.student, self.student_layer)
        teacher = self._read(layers.teacher, self.teacher_layer)
        if self.compare == "scores":
            return _squared_distance(student, teacher, layers.mask) / student[0].shape[1]
        mine, theirs = (_log_attention(*side, layers.mask) for side in (student, teacher))
        if self.compare == "probabilities-kl":
            if self.average_heads:
                mine, theirs = (part.exp().mean(dim=1, keepdim=True) for part in (mine, theirs))
                mine, theirs = (part.clamp(min=1e-30).log() for part in (mine, theirs))
            return _kl_per_unit(mine, theirs, layers.mask)
        difference = mine.exp() - theirs.exp()
        if self.average_heads:
            difference = difference.mean(dim=1, keepdim=True)
        squares = difference.square().sum(dim=-1)  # no probability falls on what is padded
        return torch.where(layers.mask[:, None], squares, 0.0).sum() / difference.shape[1]

    def _read(self, states: LayerStates, layer: int) -> tuple[Tensor, Tensor]:
        """Queries, divided by the root of the head width, and keys; [batch, heads, units, width].

        The mean of scores over heads is one product of all heads side by side.
        """
        query, key = _exact(states.query[layer]), _exact(states.key[layer])
        heads, width = query.shape[1], query.shape[-1]
        if self.average_heads and self.compare == "scores":
            query, key = (part.transpose(1, 2).flatten(2)[:, None] for part in (query, key))
            query = query / heads
        return query / math.sqrt(width), key


@dataclass(frozen=True, slots=True)
class Relations:
    """MiniLM's relations: for each unit, how alike the others are to it.

    Queries, keys and values of all heads are put together and split into relation heads, so
    neither widths nor head counts have to agree. Each relation is a distribution over units,
    softmax(x x' / sqrt(d)); the value is KL(teacher || student), averaged over relation heads and
    added over query-query, key-key and value-value, in nats per unit.

    Attributes:
        name: As it is logged.
        student_layer: From 1.
        teacher_layer: From 1.
        heads: Relation heads; divides both models' widths.

    Reference:
        MiniLMv2 (Wang et al. 2021), equations 2 to 5.
    """

    name: str
    student_layer: int
    teacher_layer: int
    heads: int

    @property
    def projection(self) -> torch.nn.Linear | None:
        return None

    @property
    def needs(self) -> tuple[Wanted, Wanted]:
        return (
            Wanted(relations=frozenset({self.student_layer})),
            Wanted(relations=frozenset({self.teacher_layer})),
        )

    def count(self, row_units: Sequence[int]) -> int:
        return sum(row_units)

    def total(self, pair: Pair) -> Tensor:
        layers = _layers(pair)
        parts = []
        for kind in ("query", "key", "value"):
            mine = self._relation(getattr(layers.student, kind)[self.student_layer], layers.mask)
            theirs = self._relation(getattr(layers.teacher, kind)[self.teacher_layer], layers.mask)
            parts.append(_kl_per_unit(mine, theirs, layers.mask))
        return torch.stack(parts).sum()

    def _relation(self, states: Tensor, mask: Tensor) -> Tensor:
        joined = _exact(states).transpose(1, 2).flatten(2)  # [batch, units, width]
        split = joined.reshape(*joined.shape[:2], self.heads, -1).transpose(1, 2)
        return _log_attention(split / math.sqrt(split.shape[-1]), split, mask)


def make_layer_terms(
    name: str,
    *,
    pairs: Sequence[tuple[int, int]],
    widths: tuple[int, int],
    heads: tuple[int, int],
    weight: float = 1.0,
    projection: str = "auto",
    compare: str = "scores",
    average_heads: bool = False,
    relation_heads: int | None = None,
    teacher: int = 0,
) -> list[Weighted]:
    """Build one term for every pair of layers.

    Args:
        name: One of ``LAYER_TERM_NAMES``.
        pairs: (student layer, teacher layer), from 1; ``embedding-mse`` has its own, (0, 0).
        widths: Of the hidden states of student and teacher.
        heads: Attention heads of student and teacher.
        weight: Of every one of them.
        projection: ``each`` layer its own, one ``shared``, ``none``, or ``auto``: none where the
            widths agree, else each. New ones are drawn from torch's global seed.
        compare: Of ``attention-mse``.
        average_heads: Of ``attention-mse``.
        relation_heads: Of ``attention-relations``; by default ``default_relation_heads``.
        teacher: The teacher they concern.

    Raises:
        RecipeError: If widths, heads and options do not go together.
    """
    if name == "embedding-mse":
        pairs = ((0, 0),)
    if name in ("hidden-mse", "hidden-cosine", "embedding-mse"):
        terms: list[LayerTerm] = _hidden_terms(name, pairs, widths, projection)
    elif name == "attention-mse":
        if heads[0] != heads[1] and not average_heads:
            raise RecipeError(
                f"The student has {heads[0]} attention heads, teacher {teacher + 1} has "
                f"{heads[1]}: attention-mse cannot compare them head by head. Set its "
                "average_heads to true, or use attention-relations."
            )
        terms = [Attention(_label(name, pair), *pair, compare, average_heads) for pair in pairs]
    elif name == "attention-relations":
        number = relation_heads or default_relation_heads(widths, heads)
        if widths[0] % number or widths[1] % number:
            raise RecipeError(
                f"relation_heads {number} does not divide the widths {widths[0]} and {widths[1]}."
            )
        terms = [Relations(_label(name, pair), *pair, number) for pair in pairs]
    else:
        raise RecipeError(suggest(name, LAYER_TERM_NAMES, kind="term on layers"))
    return [Weighted(term, weight, Signal.LAYERS, teacher) for term in terms]


def default_relation_heads(widths: tuple[int, int], heads: tuple[int, int]) -> int:
    """The student's heads where they divide the teacher's width, else what divides both widths."""
    mine = heads[0]
    return mine if widths[1] % mine == 0 else math.gcd(mine, math.gcd(*widths))


def _hidden_terms(
    name: str, pairs: Sequence[tuple[int, int]], widths: tuple[int, int], projection: str
) -> list[LayerTerm]:
    if projection == "auto":
        projection = "none" if widths[0] == widths[1] else "each"
    if projection == "none" and widths[0] != widths[1]:
        raise RecipeError(
            f"The student is {widths[0]} wide, the teacher {widths[1]}: {name} needs a projection. "
            "Set it to each or shared."
        )
    shared = _projection(widths) if projection == "shared" else None
    return [
        Hidden(
            _label(name, pair),
            *pair,
            projection=_projection(widths) if projection == "each" else shared,
            cosine=name == "hidden-cosine",
        )
        for pair in pairs
    ]


def _projection(widths: tuple[int, int]) -> torch.nn.Linear:
    """Begin as the identity between equal widths, else as a rotation into the wider space."""
    made = torch.nn.Linear(*widths, bias=False)
    if widths[0] == widths[1]:
        torch.nn.init.eye_(made.weight)
    else:
        torch.nn.init.orthogonal_(made.weight)
    return made


def _label(name: str, pair: tuple[int, int]) -> str:
    return name if name == "embedding-mse" else f"{name} {pair[0]}:{pair[1]}"


def _layers(pair: Pair) -> LayerPair:
    assert pair.layers is not None  # whoever runs the models asks the objective what it needs
    return pair.layers


def _exact(states: Tensor) -> Tensor:
    return states.float() if states.dtype in (torch.bfloat16, torch.float16) else states


def _squared_distance(
    student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], mask: Tensor
) -> Tensor:
    """Sum (q k' - p r')^2 over heads and pairs of units, without making the scores.

    With rows outside the mask set to zero, the sum over all pairs of (q_i k_j)(p_i r_j) is the sum
    over the entries of (Q'P) * (K'R): matrices of the head's width, not of the text's length.
    """
    keep = mask[:, None, :, None]
    (q, k), (p, r) = (
        (torch.where(keep, side[0], 0.0), torch.where(keep, side[1], 0.0))
        for side in (student, teacher)
    )

    def product(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
        return ((a.transpose(-1, -2) @ b) * (c.transpose(-1, -2) @ d)).sum()

    return product(q, q, k, k) - 2.0 * product(q, p, k, r) + product(p, p, r, r)


def _log_attention(query: Tensor, key: Tensor, mask: Tensor) -> Tensor:
    """Log-softmax of the products over the units in the mask, [batch, heads, units, units]."""
    outside = torch.where(mask, 0.0, _OUTSIDE).to(query.dtype)
    batch, heads, units, _ = query.shape
    bias = outside[:, None, None].expand(batch, heads, 1, units).reshape(-1, 1, units)
    scores = torch.baddbmm(bias, query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2))
    return functional.log_softmax(scores, dim=-1).view(batch, heads, units, units)


def _kl_per_unit(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Sum KL(teacher || student) over units, averaged over heads; both log-probabilities."""
    parts = functional.kl_div(student, teacher, reduction="none", log_target=True)
    divergence = parts.sum(dim=-1)  # [batch, heads, units]
    return torch.where(mask[:, None], divergence, 0.0).sum() / divergence.shape[1]
