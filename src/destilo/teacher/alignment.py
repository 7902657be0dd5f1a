"""Where each student unit finds its teacher value.

Within one tokenizer positions are compared as they stand (``identity``). Across tokenizers
the common unit is the **word**: in tagging a word's first piece stands for it; in question
answering the start and end logits of a word's pieces are pooled by logsumexp, which is the
logit of "the answer starts (ends) somewhere in this word", and unit 0 is "no answer".

Nothing is guessed: both encodings come from one window, and a unit that has no piece in one
of the tokenizers (a zero-width character, a truncated end) is left out on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from destilo.data.batching import pad
from destilo.errors import AlignmentError
from destilo.models.outputs import LayerPair, LayerStates, Outputs, Pair, UnitLogits
from destilo.tasks.base import Encoding, Example, HeadKind


class AlignmentMode(StrEnum):
    """How units are paired."""

    IDENTITY = "identity"
    WORD = "word"


def first_pieces(encoding: Encoding) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The units of an encoding that have a piece, and the position of each one's first piece."""
    positions = np.flatnonzero(encoding.units >= 0)
    units, where = np.unique(encoding.units[positions], return_index=True)
    return units, positions[where]


@dataclass(frozen=True, slots=True)
class UnitIndex:
    """How to read units out of one model's outputs for one batch.

    Attributes:
        rows: [units], the batch row of each UNIT-head unit.
        positions: [units], its position.
        spans: [batch, length], the SPAN-head unit of each position, -1 outside; dense, so
            that its columns mean the same on both sides of a pair.
        n_columns: Columns of a pooled SPAN head; 0 where positions themselves are the units.
        keep: [batch, columns] of a SPAN head, true where a unit takes part.
    """

    rows: Tensor
    positions: Tensor
    spans: Tensor
    n_columns: int
    keep: Tensor

    def to(self, device: torch.device) -> UnitIndex:
        """The same index on another device."""
        return UnitIndex(
            self.rows.to(device),
            self.positions.to(device),
            self.spans.to(device),
            self.n_columns,
            self.keep.to(device),
        )


def own_units(encodings: Sequence[Encoding]) -> UnitIndex:
    """Index a model's outputs in its own finest units, for gold labels and for evaluation."""
    rows: list[NDArray[np.int64]] = []
    positions: list[NDArray[np.int64]] = []
    for row, encoding in enumerate(encodings):
        _, where = first_pieces(encoding)
        rows.append(np.full(len(where), row, dtype=np.int64))
        positions.append(where)
    spans = pad([encoding.units for encoding in encodings], value=-1)
    return UnitIndex(
        rows=torch.from_numpy(np.concatenate(rows)),
        positions=torch.from_numpy(np.concatenate(positions)),
        spans=torch.from_numpy(spans),
        n_columns=0,
        keep=torch.from_numpy(spans >= 0),
    )


def read_units(
    outputs: Outputs, index: UnitIndex, kinds: Mapping[str, HeadKind]
) -> dict[str, UnitLogits]:
    """Turn head outputs into one distribution per unit.

    Returns:
        Per head [units, classes]: ROW rows x classes, UNIT words x classes, SPAN rows x units.
    """
    result: dict[str, UnitLogits] = {}
    for name, logits in outputs.heads.items():
        if kinds[name] is HeadKind.ROW:
            result[name] = UnitLogits(logits)
        elif kinds[name] is HeadKind.UNIT:
            result[name] = UnitLogits(logits[index.rows, index.positions])
        elif index.n_columns:
            result[name] = UnitLogits(pool_to_units(logits, index), index.keep)
        else:
            result[name] = UnitLogits(logits, index.keep)
    return result


def pool_to_units(logits: Tensor, index: UnitIndex) -> Tensor:
    """Pool position logits to units by logsumexp.

    Args:
        logits: [batch, length].
        index: Its ``spans`` say the unit of each position.

    Returns:
        [batch, units]; 0 where a unit has no position (it is outside ``keep``).
    """
    values = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
    spare = index.n_columns
    target = torch.where(index.spans >= 0, index.spans, spare)
    shape = (values.shape[0], spare + 1)
    lowest = torch.finfo(values.dtype).min
    peak = torch.full(shape, lowest, dtype=values.dtype, device=values.device)
    peak = peak.scatter_reduce(1, target, values.detach(), reduce="amax")
    scaled = (values - peak.gather(1, target)).exp()
    total = torch.zeros(shape, dtype=values.dtype, device=values.device)
    total = total.scatter_add(1, target, scaled)
    present = total > 0
    pooled = torch.where(present, total, 1.0).log() + torch.where(present, peak, 0.0)
    return pooled[:, :spare]


def pool_states(states: LayerStates, index: UnitIndex) -> LayerStates:
    """Average every state over the pieces of each unit.

    The product of two such means is the mean of the products, so scores of averaged queries and
    keys are the average scores between the pieces of two words.
    """
    pooled = {
        name: {layer: pool_means(state, index) for layer, state in getattr(states, name).items()}
        for name in ("hidden", "query", "key", "value")
    }
    return LayerStates(**pooled)


def pool_means(states: Tensor, index: UnitIndex) -> Tensor:
    """Average states over the pieces of each unit.

    Args:
        states: [batch, length, width] or [batch, heads, length, width].
        index: Its ``spans`` say the unit of each position.

    Returns:
        [batch, units, width] or [batch, heads, units, width]; 0 where a unit has no position.
    """
    values = states.float() if states.dtype in (torch.bfloat16, torch.float16) else states
    spare = index.n_columns
    target = torch.where(index.spans >= 0, index.spans, spare)  # [batch, length]
    counts = torch.zeros(target.shape[0], spare + 1, dtype=values.dtype, device=values.device)
    counts = counts.scatter_add(1, target, torch.ones_like(target, dtype=values.dtype))
    if values.ndim == 4:
        target, counts = target[:, None], counts[:, None]
    shape = (*values.shape[:-2], spare + 1, values.shape[-1])
    total = torch.zeros(shape, dtype=values.dtype, device=values.device)
    total = total.scatter_add(-2, target[..., None].expand_as(values), values)
    return (total / counts.clamp(min=1)[..., None])[..., :spare, :]


@dataclass(frozen=True, slots=True)
class Pairing:
    """The two indices that make one batch of student and teacher outputs comparable.

    Attributes:
        n_units: Paired units per head, known before any model has run.
        row_units: Units of each row in which layers are compared: positions, or words.
    """

    student: UnitIndex
    teacher: UnitIndex
    n_units: Mapping[str, int]
    row_units: tuple[int, ...]

    def to(self, device: torch.device) -> Pairing:
        """The same pairing on another device."""
        return replace(self, student=self.student.to(device), teacher=self.teacher.to(device))

    def pair(self, student: Outputs, teacher: Outputs, kinds: Mapping[str, HeadKind]) -> Pair:
        """Read both models' outputs in the common units."""
        return Pair(
            read_units(student, self.student, kinds),
            read_units(teacher, self.teacher, kinds),
            self._layers(student, teacher),
        )

    def _layers(self, student: Outputs, teacher: Outputs) -> LayerPair | None:
        if student.layers is None or teacher.layers is None:
            return None
        if not self.student.n_columns:  # position by position
            return LayerPair(student.layers, teacher.layers, student.attention_mask.bool())
        return LayerPair(
            pool_states(student.layers, self.student),
            pool_states(teacher.layers, self.teacher),
            self.student.keep,
        )


def pair_batch(
    examples: Sequence[Example],
    *,
    teacher: int | Sequence[Encoding],
    mode: AlignmentMode,
    kinds: Mapping[str, HeadKind],
    student: int = 0,
) -> Pairing:
    """Pair the units of student and teacher for one batch.

    Args:
        examples: The windows, each with an encoding per tokenizer.
        teacher: Which encoding is the teacher's, or the encodings themselves.
        mode: ``identity`` needs equal encodings; ``word`` pools to words.
        kinds: The task's heads.
        student: Which encoding is the student's.

    Raises:
        AlignmentError: If the two sides do not read the same text, with the example's id.
    """
    if isinstance(teacher, int):
        teacher = [example.encodings[teacher] for example in examples]
    sides = [
        (example.encodings[student], theirs)
        for example, theirs in zip(examples, teacher, strict=True)
    ]
    for example, (mine, theirs) in zip(examples, sides, strict=True):
        _verify(example, mine, theirs, mode)
    if mode is AlignmentMode.IDENTITY:
        index = own_units([mine for mine, _ in sides])
        lengths = tuple(len(mine) for mine, _ in sides)
        return Pairing(index, index, _count(index, len(examples), kinds), lengths)
    return _pair_words(sides, kinds)


def _pair_words(
    sides: Sequence[tuple[Encoding, Encoding]], kinds: Mapping[str, HeadKind]
) -> Pairing:
    rows, mine_at, theirs_at = [], [], []
    columns = 1 + max(int(max(a.units.max(), b.units.max())) for a, b in sides)
    keep = np.zeros((len(sides), max(columns, 1)), dtype=bool)
    # Where a row is classified as a whole, its first position stands for it.
    whole_rows = all(kind is HeadKind.ROW for kind in kinds.values())
    keep[:, 0] = whole_rows
    for row, (mine, theirs) in enumerate(sides):
        my_units, my_positions = first_pieces(mine)
        their_units, their_positions = first_pieces(theirs)
        common, in_mine, in_theirs = np.intersect1d(
            my_units, their_units, assume_unique=True, return_indices=True
        )
        rows.append(np.full(len(common), row, dtype=np.int64))
        mine_at.append(my_positions[in_mine])
        theirs_at.append(their_positions[in_theirs])
        keep[row, common] = True
    indices = []
    for side, at in ((0, mine_at), (1, theirs_at)):
        spans = pad([pair[side].units for pair in sides], value=-1)
        if whole_rows:
            spans[:, 0] = 0
        indices.append(
            UnitIndex(
                rows=torch.from_numpy(np.concatenate(rows)),
                positions=torch.from_numpy(np.concatenate(at)),
                spans=torch.from_numpy(spans),
                n_columns=max(columns, 1),
                keep=torch.from_numpy(keep),
            )
        )
    row_units = tuple(keep.sum(axis=1).tolist())
    return Pairing(indices[0], indices[1], _count(indices[0], len(sides), kinds), row_units)


def _count(index: UnitIndex, batch: int, kinds: Mapping[str, HeadKind]) -> dict[str, int]:
    return {
        name: len(index.rows) if kind is HeadKind.UNIT else batch for name, kind in kinds.items()
    }


def _verify(example: Example, mine: Encoding, theirs: Encoding, mode: AlignmentMode) -> None:
    if mode is AlignmentMode.IDENTITY:
        same = np.array_equal(mine.input_ids, theirs.input_ids)
        if not (same and np.array_equal(mine.units, theirs.units)):
            raise AlignmentError(
                f"Example '{example.id}': teacher and student read different pieces, so they "
                "cannot be compared position by position. Set 'alignment: word'."
            )
        return
    n_units = len(example.unit_spans)
    for side, encoding in (("student", mine), ("teacher", theirs)):
        if n_units and int(encoding.units.max(initial=-1)) >= n_units:
            raise AlignmentError(
                f"Example '{example.id}': the {side}'s encoding speaks of word "
                f"{int(encoding.units.max())}, but the window has {n_units} words."
            )
        if encoding.offsets is not None and n_units:
            _verify_spans(example, encoding, side)


def _verify_spans(example: Example, encoding: Encoding, side: str) -> None:
    assert encoding.offsets is not None
    inside = encoding.units > 0
    units = encoding.units[inside]
    ends, spans = encoding.offsets[inside][:, 1], example.unit_spans[units]
    # A piece may start with the whitespace before its word, never end before the word begins.
    apart = (ends < spans[:, 0]) | (encoding.offsets[inside][:, 0] > spans[:, 1])
    if bool(apart.any()):
        unit = int(units[int(np.argmax(apart))])
        raise AlignmentError(
            f"Example '{example.id}': a piece of the {side}'s tokenizer lies outside word "
            f"{unit} of the window that it is assigned to; the two tokenizers read different "
            "texts."
        )
