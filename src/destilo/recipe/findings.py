"""What a check found, and the list it is collected in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from destilo.recipe.places import Key, dotted
from destilo.recipe.schema import Recipe


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a recipe, or looks wrong.

    Attributes:
        level: An ``error`` stops a run; a ``warning`` does not.
        where: ``file:line`` or ``--set a.b=c`` where known, else the key.
        key: The key, as ``--set`` takes it.
        message: What is wrong.
        remedy: What to do.
    """

    level: Literal["error", "warning"]
    where: str
    key: str
    message: str
    remedy: str

    def __str__(self) -> str:
        place = self.key if self.where == self.key else f"{self.where}: {self.key}"
        return f"{place}: {self.message} {self.remedy}"


@dataclass(slots=True)
class Findings:
    """Collects findings about one recipe.

    Attributes:
        found: So far, in the order of the checks.
    """

    recipe: Recipe
    found: list[Finding] = field(default_factory=list)

    def error(self, key: Key, message: str, remedy: str) -> None:
        """Note something that makes the recipe impossible."""
        self._add("error", key, message, remedy)

    def warn(self, key: Key, message: str, remedy: str) -> None:
        """Note something that is possible, but probably not meant."""
        self._add("warning", key, message, remedy)

    def _add(self, level: Literal["error", "warning"], key: Key, message: str, remedy: str) -> None:
        where = self.recipe.place_of(*key)
        self.found.append(Finding(level, where, dotted(key), message, remedy))
