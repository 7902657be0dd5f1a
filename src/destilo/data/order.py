"""The order of any number of examples, shuffled from a seed without ever being written down.

A shuffled list of a billion numbers is 8 GB. A *permutation* that is computed place by place needs
none of it: a Feistel network maps the numbers below a power of two onto themselves, and a result
that is too large goes through it again until it is not (cycle walking), which keeps it one to one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from destilo.tasks.chance import Words, scramble

Indices = NDArray[np.int64]

_ROUNDS = 8
_WINDOW_BATCHES = 50
"""Batches sorted by length together; larger pads less and shuffles less."""


class Permutation:
    """A shuffled order of ``range(size)``, in a few bytes.

    Args:
        size: How many numbers.
        seed: One or several; other ones give another order.
    """

    def __init__(self, size: int, seed: int | tuple[int, ...]) -> None:
        self.size = size
        bits = max(2, (size - 1).bit_length())
        self._low_bits = np.uint64(bits // 2)
        self._low = np.uint64((1 << (bits // 2)) - 1)
        self._high = np.uint64((1 << (bits - bits // 2)) - 1)
        self._keys = np.random.SeedSequence(seed).generate_state(_ROUNDS, np.uint64)

    def __len__(self) -> int:
        return self.size

    def __call__(self, places: Indices) -> Indices:
        """[places], the numbers that stand at these places of the order."""
        found = self._once(places.astype(np.uint64))
        size = np.uint64(self.size)
        while len(beyond := np.flatnonzero(found >= size)):
            found[beyond] = self._once(found[beyond])
        return found.astype(np.int64)

    def _once(self, numbers: Words) -> Words:
        high, low = numbers >> self._low_bits, numbers & self._low
        for first, second in zip(self._keys[::2], self._keys[1::2], strict=True):
            high = high ^ (scramble(low ^ first) & self._high)
            low = low ^ (scramble(high ^ second) & self._low)
        result: Words = (high << self._low_bits) | low
        return result


@dataclass(frozen=True)
class BlockPlan:
    """The order in which blocks are seen: ``BatchPlan`` for more of them than lie in memory.

    Batches are *global*, one an optimiser step, and depend on nothing but the lengths, the batch
    size, the seed and the epoch, so that any number of processes and a resumed training see the
    same. Where similar lengths go together, it is within windows of 50 batches, in an order of
    their own; so only the lengths of one window are read at a time.

    Attributes:
        size: How many blocks there are.
        lengths: Gives the lengths of some of them.
        batch_size: Blocks an optimiser step, over all processes and micro-batches.
        seed: Shuffles; each epoch has its own order.
        group_by_length: Put blocks of similar length together.
    """

    size: int
    lengths: Callable[[Indices], Indices]
    batch_size: int
    seed: int
    group_by_length: bool = True

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.size / self.batch_size)

    def epoch(self, number: int) -> Epoch:
        """The global batches of one epoch (from 0), each sorted from long to short."""
        return Epoch(self, number)


@dataclass(frozen=True)
class Epoch:
    """The batches of one epoch, made when they are asked for.

    ``epoch[k:]`` are those from step ``k`` on, without making the ones before.

    Attributes:
        plan: Whose epoch it is.
        number: Of the epoch, from 0.
        first: The step that it begins with.
    """

    plan: BlockPlan
    number: int
    first: int = 0

    def __len__(self) -> int:
        return max(0, self.plan.steps_per_epoch - self.first)

    def __getitem__(self, steps: slice) -> Epoch:
        start, stop, stride = steps.indices(len(self))
        if stop != len(self) or stride != 1:
            raise ValueError("An epoch can be cut at its beginning only: epoch[k:].")
        return Epoch(self.plan, self.number, self.first + start)

    def __iter__(self) -> Iterator[Indices]:
        order = Permutation(self.plan.size, (self.plan.seed, self.number))
        window, skipped = divmod(self.first, _WINDOW_BATCHES)
        for begin in range(window * _WINDOW_BATCHES, self.plan.steps_per_epoch, _WINDOW_BATCHES):
            yield from self._window(order, begin)[skipped:]
            skipped = 0

    def _window(self, order: Permutation, first: int) -> list[Indices]:
        size, plan = self.plan.batch_size, self.plan
        stop = min(plan.size, (first + _WINDOW_BATCHES) * size)
        blocks = order(np.arange(first * size, stop, dtype=np.int64))
        lengths = plan.lengths(blocks)
        if plan.group_by_length:
            by_length = np.argsort(-lengths, kind="stable")
            blocks, lengths = blocks[by_length], lengths[by_length]
        batches = []
        for start in range(0, len(blocks), size):
            mine = slice(start, start + size)
            batches.append(blocks[mine][np.argsort(-lengths[mine], kind="stable")])
        if not plan.group_by_length:
            return batches
        random = Permutation(len(batches), (plan.seed, self.number, first))
        return [batches[place] for place in random(np.arange(len(batches)))]
