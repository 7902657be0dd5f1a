"""Terms over a vocabulary, a chunk of units at a time.

Student and teacher logits of all masked positions are [units, vocabulary] each, and a backward pass
would keep several of them. Here a chunk's logits are made, every term is summed over it, and they
are dropped; the backward pass makes them again. The result is that of all units at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from destilo.models.outputs import Pair, TokenStates, UnitLogits

HEAD = "token"
CHUNK_UNITS = 512

ChunkSums = Callable[[UnitLogits, Tensor, Sequence[Pair]], Sequence[Tensor]]
"""From a chunk's own logits, labels and pairs to one sum for each term."""


def sum_in_chunks(
    sums: ChunkSums,
    student: TokenStates,
    labels: Tensor,
    teachers: Sequence[TokenStates],
    *,
    chunk_units: int = CHUNK_UNITS,
) -> list[Tensor]:
    """Sum terms over all units without ever holding the logits of more than a chunk.

    Args:
        sums: Computes every term on a chunk.
        student: What the student's head reads, [units, width], and the head.
        labels: [units].
        teachers: The same of each teacher, for the same units.
        chunk_units: Units at a time; a chunk holds so many rows of the vocabulary per model.

    Returns:
        One scalar for each term.
    """

    def of_chunk(hidden: Tensor, start: int) -> Tensor:
        part = slice(start, start + len(hidden))
        mine = UnitLogits(student.head(hidden))
        pairs = []
        for teacher in teachers:
            with torch.no_grad():
                theirs = teacher.logits(part)
            pairs.append(Pair({HEAD: mine}, {HEAD: theirs}))
        return torch.stack([value.float() for value in sums(mine, labels[part], pairs)])

    total: Tensor | None = None
    for start in range(0, len(student.hidden), chunk_units):
        hidden = student.hidden[start : start + chunk_units]
        value: Tensor = checkpoint(of_chunk, hidden, start, use_reentrant=False)
        total = value if total is None else total + value
    return [] if total is None else list(total.unbind())
