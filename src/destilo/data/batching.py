"""Which examples go together in a step: length buckets, shuffled from the seed.

The plan is made of *global* batches, one per optimiser step, and depends only on the lengths,
the batch size and the seed. How many processes and micro-batches share a global batch changes
nothing in it, so any split of the same global batch gives the same gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

_BUCKET_BATCHES = 50
"""Global batches sorted by length together; larger pads less and shuffles less."""


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """The order in which examples are seen.

    Attributes:
        lengths: [examples], the cost of each example (its longest encoding), in pieces.
        batch_size: Examples per optimiser step, over all processes and micro-batches.
        seed: Shuffles; each epoch has its own order.
        group_by_length: Put examples of similar length together.
    """

    lengths: Indices
    batch_size: int
    seed: int
    group_by_length: bool = True

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(len(self.lengths) / self.batch_size)

    def epoch(self, number: int) -> list[Indices]:
        """The global batches of one epoch (from 0), each sorted from long to short."""
        random = np.random.default_rng([self.seed, number])
        order = random.permutation(len(self.lengths))
        if not self.group_by_length:
            return [self._sorted(chunk) for chunk in _chunks(order, self.batch_size)]
        batches: list[Indices] = []
        for bucket in _chunks(order, self.batch_size * _BUCKET_BATCHES):
            batches.extend(_chunks(self._sorted(bucket), self.batch_size))
        return [batches[position] for position in random.permutation(len(batches))]

    def _sorted(self, indices: Indices) -> Indices:
        return indices[np.argsort(-self.lengths[indices], kind="stable")]


def _chunks(indices: Indices, size: int) -> list[Indices]:
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def share(batch: Indices, *, micro_batches: int, processes: int, process: int) -> list[Indices]:
    """One process's micro-batches of a global batch; some may be empty in a small last batch.

    Args:
        batch: A global batch, sorted by length (so that neighbours pad little).
        micro_batches: Micro-batches per process and step (gradient accumulation).
        processes: How many processes share the batch.
        process: Which of them asks.
    """
    pieces = np.array_split(batch, micro_batches * processes)
    return [pieces[number * processes + process] for number in range(micro_batches)]


def evaluation_batches(lengths: Indices, batch_size: int) -> list[Indices]:
    """Every example once, long ones first, so that little is padded and memory peaks early."""
    return _chunks(np.argsort(-lengths, kind="stable"), batch_size)


def pad(arrays: Sequence[NDArray[np.int64]], *, value: int) -> NDArray[np.int64]:
    """Stack ragged rows to [rows, longest], filled up with ``value`` on the right."""
    longest = max((len(array) for array in arrays), default=0)
    padded = np.full((len(arrays), longest), value, dtype=np.int64)
    for row, array in enumerate(arrays):
        padded[row, : len(array)] = array
    return padded
