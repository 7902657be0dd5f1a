"""What a reader repaired or left out, counted, with the first places."""

from __future__ import annotations

SHOWN_PLACES = 3


class Tally:
    """Collect remarks while reading; ``notes`` gives one sentence for each kind."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._places: dict[str, list[str]] = {}
        self._sentences: list[str] = []

    def add(self, what: str, where: str) -> None:
        """Count one more occurrence of ``what``, at ``where``."""
        self._counts[what] = self._counts.get(what, 0) + 1
        places = self._places.setdefault(what, [])
        if len(places) < SHOWN_PLACES:
            places.append(where)

    def say(self, sentence: str) -> None:
        """Add a remark that is not counted."""
        if sentence not in self._sentences:
            self._sentences.append(sentence)

    def notes(self) -> tuple[str, ...]:
        """Return one sentence a remark: ``Empty texts left out: 2 (a:1, a:7)``, for instance."""
        counted = [f"{what}: {n} ({self._shown(what, n)})." for what, n in self._counts.items()]
        return (*self._sentences, *counted)

    def _shown(self, what: str, count: int) -> str:
        more = ", ..." if count > SHOWN_PLACES else ""
        return ", ".join(self._places[what]) + more
