"""Where each value of a recipe was written, so that an error can name file and line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

Key: TypeAlias = tuple[str | int, ...]
"""Where a value stands in a recipe: ``("objective", 0, "weight")``."""


def dotted(key: Key) -> str:
    """Write a key as ``--set`` takes it: ``objective.0.weight``."""
    return ".".join(map(str, key))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value was written.

    Attributes:
        text: ``file:line`` or ``--set a.b=c``; empty for a recipe that was never text.
        folder: What relative paths in the value are seen from.
    """

    text: str
    folder: Path = Path()


@dataclass(frozen=True, slots=True)
class Places:
    """The place of each key. Any two are equal: places are no part of the experiment."""

    by_key: Mapping[Key, Place] = field(default_factory=dict, compare=False)

    def find(self, key: Key) -> Place | None:
        """Find the place of a key, or else of the nearest section around it."""
        for end in range(len(key), -1, -1):
            if key[:end] in self.by_key:
                return self.by_key[key[:end]]
        return None
