"""SQuAD JSON, v1.1 and v2.0, to rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from destilo.data.answers import AnswerPlacer
from destilo.data.canonical import check_question, check_text, raw_answers
from destilo.data.files import read_text
from destilo.data.tables import kind, parse_json
from destilo.errors import DataError
from destilo.rows import QuestionRow

_ID = re.compile(r'"id"\s*:\s*(?:"([^"\\]*)"|(-?\d+))')


def squad_rows(path: Path, placer: AnswerPlacer) -> Iterator[QuestionRow]:
    """Yield the questions of a SQuAD file in file order.

    A question marked ``is_impossible`` has no answer, whatever ``plausible_answers`` says; one
    with neither ``answers`` nor that mark is unlabelled.

    Args:
        path: A JSON file.
        placer: Verifies the answers; call its ``finish`` afterwards.

    Raises:
        DataError: The file is no JSON, or is not built as SQuAD is.
    """
    text = read_text(path)
    document = parse_json(text, path)
    lines = _Lines(text, path)
    for a, article in enumerate(_items(document, "data", str(path))):
        at = f"data[{a}]"
        for p, paragraph in enumerate(_items(article, "paragraphs", f"{path} {at}")):
            inside = f"{at}.paragraphs[{p}]"
            context = _string(paragraph, "context", f"{path} {inside}")
            for q, item in enumerate(_items(paragraph, "qas", f"{path} {inside}")):
                place = f"{inside}.qas[{q}]"
                yield _row(item, context, lines.where(item, place), placer)


def _row(item: Any, context: str, where: str, placer: AnswerPlacer) -> QuestionRow:
    question = _string(item, "question", where)
    row = _identifier(item)
    check_question(row, question, context, where)
    impossible = item.get("is_impossible", False)
    if not isinstance(impossible, bool):
        raise DataError(f"{where}: is_impossible must be true or false, not {kind(impossible)}.")
    answers = item.get("answers")
    if impossible:
        given = [] if answers is None else raw_answers(answers, where)
        if any(text.strip() for text, _ in given):
            raise DataError(
                f"{where}: question {row!r} is marked is_impossible and has answers; "
                f"remove one of the two."
            )
        return QuestionRow(row, question, context, (), where)
    if answers is None:
        return QuestionRow(row, question, context, None, where)
    placed = placer.place(context, raw_answers(answers, where), row=row, where=where)
    return QuestionRow(row, question, context, placed, where)


def _identifier(item: Any) -> str:
    value = item.get("id")
    return "" if value is None else str(value)


def _items(parent: Any, key: str, where: str) -> list[Any]:
    if not isinstance(parent, dict):
        raise DataError(f"{where}: an object with '{key}' is expected, not {kind(parent)}.")
    if key not in parent:
        there = ", ".join(parent) or "none"
        raise DataError(
            f"{where}: no '{key}' (keys there: {there}). SQuAD is "
            f"`data[].paragraphs[].{{context, qas[].{{id, question, answers}}}}`."
        )
    value = parent[key]
    if not isinstance(value, list):
        raise DataError(f"{where}: '{key}' must be a list, not {kind(value)}.")
    return value


def _string(parent: Any, key: str, where: str) -> str:
    return check_text(parent.get(key) if isinstance(parent, dict) else None, f"'{key}'", where)


class _Lines:
    """Find the line of each question by its id, going through the file once."""

    def __init__(self, text: str, path: Path) -> None:
        self._text = text
        self._path = path
        self._ids = list(_ID.finditer(text))
        self._next = 0
        self._line = 1
        self._counted = 0
        self._end = "\n" if "\n" in text else "\r"
        self._single = self._end not in text.strip()

    def where(self, item: Any, place: str) -> str:
        """Return file:line, with the place in the structure if that says more."""
        wanted = str(item.get("id")) if isinstance(item, dict) else None
        for index in range(self._next, len(self._ids)):
            match = self._ids[index]
            if (match[1] or match[2]) == wanted:
                self._next = index + 1
                self._line += self._text.count(self._end, self._counted, match.start())
                self._counted = match.start()
                return f"{self._path}:{self._line}" + (f" {place}" if self._single else "")
        # No id, or one written with escapes: the structure is all there is to point at.
        return f"{self._path} {place}"
