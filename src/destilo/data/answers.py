"""Put gold answers where they stand in their context, or refuse them.

``answer_start`` counts code points. Data counted in bytes or UTF-16 units, or written in another
Unicode form than the context, have offsets or texts that do not fit. An answer is repaired when
there is one place only that it can mean, as whole words; its text then becomes the context's own
characters.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

from destilo.data.tally import Tally
from destilo.errors import DataError
from destilo.rows import Answer

SHOWN_FAILURES = 5


class AnswerPlacer:
    """Place the answers of one split; count repairs, collect what cannot be placed.

    Args:
        tally: Gets the repairs.
    """

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._failures: list[str] = []
        self._context = ""
        self._decomposed: tuple[str, list[int]] | None = None

    def place(
        self, context: str, given: Sequence[tuple[str, int | None]], *, row: str, where: str
    ) -> tuple[Answer, ...]:
        """Return the answers with verified offsets, duplicates merged, in the given order.

        Args:
            context: The text that the answers stand in.
            given: Text and start (``None``: not given) of each answer.
            row: The id of the question.
            where: Where the question stands.
        """
        placed: dict[Answer, None] = {}
        repaired = False
        worded = [(text, start) for text, start in given if text.strip()]
        if worded and len(worded) < len(given):
            # Machine-translated golds lose some of their answers and keep others.
            self._tally.add("Empty answers beside real ones left out, in questions", row or where)
        for text, start in worded or given:
            if start is not None and _stands(context, text, start):
                placed[Answer(text, start)] = None
                continue
            found = self._find(context, text, start)
            if len(found) == 1:
                placed[found[0]] = None
                repaired = True
            else:
                self._fail(context, text, start, several=bool(found), row=row, where=where)
        if repaired:
            self._tally.add(
                "Questions with an answer whose offset or form did not fit, repaired from its text",
                row or where,
            )
        return tuple(placed)

    def finish(self) -> None:
        """Refuse the data if an answer could not be placed.

        Raises:
            DataError: Naming the first few questions, and how many there are.
        """
        if not self._failures:
            return
        shown = "\n".join(f"  {failure}" for failure in self._failures[:SHOWN_FAILURES])
        rest = len(self._failures) - SHOWN_FAILURES
        more = f"\n  ... and {rest} more" if rest > 0 else ""
        raise DataError(
            f"{len(self._failures)} answer(s) do not stand where `answer_start` says, and cannot "
            f"be placed by their text. Offsets count characters (code points) from 0, neither "
            f"bytes nor UTF-16 units. Correct or remove:\n{shown}{more}"
        )

    def _fail(
        self, context: str, text: str, start: int | None, *, several: bool, row: str, where: str
    ) -> None:
        short = text if len(text) <= 40 else text[:39] + "…"
        if not text.strip():
            why = "(an empty text; a question without answer has no answers at all) cannot stand"
        elif several:
            why = "stands several times"
        elif any(True for _ in _occurrences(context, text.strip())):
            why = "stands inside longer words only"
        else:
            why = "does not stand"
        offset = "no answer_start" if start is None else f"answer_start {start}"
        self._failures.append(
            f"{where}: question {row!r}: {short!r} {why} in its context, {offset}"
        )

    def _find(self, context: str, text: str, start: int | None) -> list[Answer]:
        """Return the places that the text can mean (one alone is a repair)."""
        stripped = text.strip()
        if not stripped:
            return []
        if text in context:
            return [Answer(text, at) for at in _occurrences(context, text, whole=True)]
        if stripped in context:
            found = [Answer(stripped, at) for at in _occurrences(context, stripped)]
            whole = [Answer(stripped, at) for at in _occurrences(context, stripped, whole=True)]
        else:
            found = self._find_decomposed(context, stripped)
            whole = self._find_decomposed(context, stripped, whole=True)
        # The offset was right and only blanks or accents differ: no need to be unique.
        lead = len(text) - len(text.lstrip())
        near = [answer for answer in found if start is not None and answer.start == start + lead]
        return near or whole

    def _find_decomposed(self, context: str, text: str, *, whole: bool = False) -> list[Answer]:
        """Compare in NFD, in which every accent is a character of its own."""
        if context != self._context or self._decomposed is None:
            self._context, self._decomposed = context, _decompose(context)
        flat, origins = self._decomposed
        needle = unicodedata.normalize("NFD", text)
        found = []
        for at in _occurrences(flat, needle, whole=whole):
            end = at + len(needle)
            if at == 0 or origins[at - 1] != origins[at]:
                last = origins[end] if end < len(flat) else len(context)
                found.append(Answer(context[origins[at] : last], origins[at]))
        return found


def _stands(context: str, text: str, start: int) -> bool:
    return start >= 0 and text.strip() != "" and context.startswith(text, start)


def _occurrences(context: str, text: str, *, whole: bool = False) -> Iterator[int]:
    """Yield where the text stands; not where its last letter carries one more accent.

    Args:
        context: Where to look.
        text: What for.
        whole: Not where a word goes on before it or after it, either.
    """
    at = context.find(text)
    while at >= 0:
        end = at + len(text)
        accented = end < len(context) and unicodedata.combining(context[end])
        if not accented and not (whole and (_in_word(context, at) or _in_word(context, end))):
            yield at
        at = context.find(text, at + 1)


def _in_word(context: str, at: int) -> bool:
    """Whether letters or digits stand on both sides of a place."""
    return 0 < at < len(context) and all(
        character.isalnum() or unicodedata.combining(character)
        for character in context[at - 1 : at + 1]
    )


def _decompose(context: str) -> tuple[str, list[int]]:
    """Return the text in NFD and, for each of its characters, the index it came from."""
    parts: list[str] = []
    origins: list[int] = []
    for index, character in enumerate(context):
        part = unicodedata.normalize("NFD", character)
        parts.append(part)
        origins.extend([index] * len(part))
    return "".join(parts), origins
