"""How long work tells whoever is watching what it does. The library itself never prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Progress(Protocol):
    """What a watcher can be told. The command line draws it; ``Silent`` ignores it."""

    def note(self, message: str, *, level: str = "info") -> None:
        """Say one sentence; ``level`` is ``info``, ``done``, ``skip`` or ``warning``."""
        ...

    def begin(self, name: str, total: int, *, done: int = 0) -> None:
        """Start a bar of ``total`` units of which ``done`` are already there."""
        ...

    def advance(self, amount: int = 1, *, figures: Mapping[str, float] | None = None) -> None:
        """Move the bar on, with the latest figures beside it."""
        ...

    def end(self) -> None:
        """Take the bar away."""
        ...


class Silent:
    """Ignores everything: the default of the Python interface."""

    def note(self, message: str, *, level: str = "info") -> None:
        del message, level

    def begin(self, name: str, total: int, *, done: int = 0) -> None:
        del name, total, done

    def advance(self, amount: int = 1, *, figures: Mapping[str, float] | None = None) -> None:
        del amount, figures

    def end(self) -> None:
        return None
