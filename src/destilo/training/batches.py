"""From encoded examples to what one micro-batch needs: inputs, units, labels, pairings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from destilo.models.heads import model_inputs
from destilo.objective.base import IGNORED, Targets
from destilo.tasks.base import Encoding, Example, HeadKind
from destilo.teacher.alignment import Pairing, UnitIndex, first_pieces, own_units, pair_batch
from destilo.teacher.source import LiveTeacher, Teacher


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Everything that one forward and backward pass needs, on its device.

    Attributes:
        student: The student's padded inputs.
        units: Its own finest units, which gold labels refer to.
        labels: Gold class per head and unit; ``IGNORED`` where there is none.
        teachers: Each teacher's padded inputs.
        pairings: How each teacher's units are found.
        counted: False for a stand-in that keeps processes in step and adds nothing.
    """

    student: Mapping[str, Tensor]
    units: UnitIndex
    labels: Mapping[str, Tensor]
    teachers: Sequence[Mapping[str, Tensor]]
    pairings: Sequence[Pairing]
    counted: bool = True

    @property
    def targets(self) -> Targets:
        return Targets(
            self.labels,
            [pairing.n_units for pairing in self.pairings],
            [pairing.row_units for pairing in self.pairings],
        )


def collate(
    examples: Sequence[Example],
    *,
    kinds: Mapping[str, HeadKind],
    pad_id: int,
    teachers: Sequence[Teacher],
    device: torch.device,
    counted: bool = True,
) -> MicroBatch:
    """Pad, index and pair one micro-batch."""
    mine = [example.encodings[0] for example in examples]
    student = _inputs(mine, pad_id=pad_id, device=device)
    sides: list[Mapping[str, Tensor]] = []
    pairings = []
    for teacher in teachers:
        shares_inputs = isinstance(teacher, LiveTeacher) and teacher.encoding == 0
        sides.append(student if shares_inputs else teacher.inputs(examples, device))
        theirs = teacher.encodings(examples)
        pairing = pair_batch(examples, teacher=theirs, mode=teacher.alignment, kinds=kinds)
        pairings.append(pairing.to(device))
    labels = {name: head_labels(mine, name, kind).to(device) for name, kind in kinds.items()}
    return MicroBatch(student, own_units(mine).to(device), labels, sides, pairings, counted)


def head_labels(encodings: Sequence[Encoding], name: str, kind: HeadKind) -> Tensor:
    """Gold classes of a batch, one per own unit.

    Returns:
        [rows] for ROW and SPAN heads; [words] for UNIT heads, in the order of ``own_units``.
    """
    if kind is not HeadKind.UNIT:
        values = [int(encoding.labels.get(name, IGNORED)) for encoding in encodings]
        return torch.tensor(values, dtype=torch.long)
    parts = []
    for encoding in encodings:
        _, positions = first_pieces(encoding)
        gold = encoding.labels.get(name)
        parts.append(
            np.full(len(positions), IGNORED, dtype=np.int64) if gold is None else gold[positions]
        )
    return torch.from_numpy(np.concatenate(parts).astype(np.int64))


def _inputs(
    encodings: Sequence[Encoding], *, pad_id: int, device: torch.device
) -> dict[str, Tensor]:
    return model_inputs(
        [encoding.input_ids for encoding in encodings],
        [encoding.token_type_ids for encoding in encodings],
        pad_id=pad_id,
        device=device,
    )
