"""Random numbers by place: a hash in place of a generator, so that any of them is had by itself.

They are the same on every machine and in every version of numpy, whoever asks and in what order.

Reference: Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators (2014).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Words = NDArray[np.uint64]

STREAMS = 4
"""Numbers that each place has of its own."""

_STEP = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_ALL_BITS = (1 << 64) - 1


def chance_key(*parts: int) -> int:
    """Hash numbers, in their order, to the key of a series."""
    key = 0
    for part in parts:
        key = (key ^ (part & _ALL_BITS)) + _STEP & _ALL_BITS
        key = (key ^ key >> 30) * _FIRST & _ALL_BITS
        key = (key ^ key >> 27) * _SECOND & _ALL_BITS
        key ^= key >> 31
    return key


def chance_words(key: int, places: Ints, *, stream: int) -> Words:
    """[places], 64 random bits each; ``stream`` (below ``STREAMS``) gives others for each place."""
    steps = (STREAMS * places + stream + 1).astype(np.uint64)
    return scramble(steps * np.uint64(_STEP) + np.uint64(key))


def scramble(words: Words) -> Words:
    """[words], each mapped to another one so that every bit depends on all of its bits."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(_FIRST)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(_SECOND)
    scrambled: Words = words ^ (words >> np.uint64(31))
    return scrambled


def uniform(words: Words) -> NDArray[np.float64]:
    """[words], evenly in [0, 1)."""
    numbers: NDArray[np.float64] = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return numbers
