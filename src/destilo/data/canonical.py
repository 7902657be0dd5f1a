"""Records to canonical rows: which column is what, and what is no valid value.

======================  ==================================================================
task                    columns (those in brackets may be missing)
======================  ==================================================================
text-classification     ``text``, [``text_pair``], [``label``], [``id``]
token-classification    ``tokens``, [``tags``], [``id``]: lists of the same length
question-answering      ``question``, ``context``, [``answers``], [``id``]; instead of
                        ``answers``: ``answer`` and [``answer_start``]
======================  ==================================================================

Rows without ``label``, ``tags`` or ``answers`` are unlabelled. Texts are kept as they are: no
trimming, no Unicode normalisation.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from destilo.data.answers import AnswerPlacer
from destilo.data.tables import Record, kind
from destilo.data.tags import TaggedSentence
from destilo.data.tally import Tally
from destilo.errors import DataError, suggest
from destilo.rows import QuestionRow, TaggingRow, TextRow

CLASSIFICATION = "text-classification"
TAGGING = "token-classification"
QA = "question-answering"

CANONICAL: Mapping[str, tuple[str, ...]] = {
    CLASSIFICATION: ("id", "text", "text_pair", "label"),
    TAGGING: ("id", "tokens", "tags"),
    QA: ("id", "question", "context", "answers", "answer", "answer_start"),
}
_GOLD = {CLASSIFICATION: ("label",), TAGGING: ("tags",), QA: ("answers", "answer")}
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

RawAnswers: TypeAlias = list[tuple[str, int | None]]


class Columns:
    """Find the canonical columns of a task in records.

    Args:
        task: The task's name.
        mapping: Canonical name to the file's name, or number where there is no header.
    """

    def __init__(self, task: str, mapping: Mapping[str, str | int]) -> None:
        known = CANONICAL[task]
        for name in mapping:
            if name not in known:
                raise DataError(suggest(name, known, kind=f"key in `columns` for {task}"))
        self._mapping = dict(mapping)

    def need(self, record: Record, name: str) -> Any:
        """Return the value of a column that must be there."""
        key = self._key(record, name)
        if key in record.values:
            return record.values[key]
        unknown = suggest(key, record.values, kind="column")
        raise DataError(
            f"{record.where}: {unknown} Say which one is the {name}: `columns: {{{name}: ...}}`."
        )

    def find(self, record: Record, name: str) -> Any:
        """Return the value of a column, ``None`` without it unless ``columns`` names it."""
        if name in self._mapping:
            return self.need(record, name)
        return record.values.get(name)

    def has(self, record: Record, name: str) -> bool:
        """Tell whether a column is there, or must be because ``columns`` names it."""
        return name in self._mapping or self._key(record, name) in record.values

    def _key(self, record: Record, name: str) -> str:
        key = self._mapping.get(name, name)
        if isinstance(key, int):
            return str(key if key >= 0 else len(record.values) + key)
        return key


def note_unlabelled(task: str, columns: Columns, first: Record, tally: Tally) -> None:
    """Say that a table has no gold column, since that may be a column not mapped."""
    if not any(columns.has(first, name) for name in _GOLD[task]):
        there = ", ".join(map(str, first.values))
        tally.say(f"No column '{_GOLD[task][0]}' (columns: {there}): the rows are unlabelled.")


def text_rows(records: Iterable[Record], columns: Columns, tally: Tally) -> Iterator[TextRow]:
    """Yield classification rows; a row whose texts are all empty is left out."""
    for record in records:
        text = check_text(columns.need(record, "text"), "text", record.where)
        value = columns.find(record, "text_pair")
        pair = None if value is None else check_text(value, "text_pair", record.where)
        if not text.strip() and not (pair or "").strip():
            tally.add("Rows with an empty text left out", record.where)
            continue
        label = class_name(columns.find(record, "label"), record.where)
        yield TextRow(_id(record, columns), text, pair, label, record.where)


def tagged_sentences(
    records: Iterable[Record], columns: Columns, tally: Tally
) -> Iterator[TaggedSentence]:
    """Yield tagging rows, with the tags as they stand; rows without words are left out."""
    for record in records:
        where = record.where
        tokens = tuple(
            check_text(token, f"word {i} of tokens", where)
            for i, token in enumerate(_list(columns.need(record, "tokens"), "tokens", where), 1)
        )
        if not tokens:
            tally.add("Rows without words left out", where)
            continue
        if "" in tokens:
            raise DataError(f"{where}: word {tokens.index('') + 1} of tokens is empty.")
        tags = _tags(columns.find(record, "tags"), len(tokens), where)
        yield TaggedSentence(TaggingRow(_id(record, columns), tokens, tags, where))


def question_rows(
    records: Iterable[Record], columns: Columns, placer: AnswerPlacer
) -> Iterator[QuestionRow]:
    """Yield QA rows with verified answers."""
    for record in records:
        where = record.where
        row = _id(record, columns)
        question = check_text(columns.need(record, "question"), "question", where)
        context = check_text(columns.need(record, "context"), "context", where)
        check_question(row, question, context, where)
        given = _given_answers(record, columns)
        answers = None if given is None else placer.place(context, given, row=row, where=where)
        yield QuestionRow(row, question, context, answers, where)


def check_question(row: str, question: str, context: str, where: str) -> None:
    """Refuse a question without words, or one about nothing."""
    for name, value in (("question", question), ("context", context)):
        if not value.strip():
            raise DataError(f"{where}: question {row!r} has an empty {name}; remove it.")


def class_name(value: Any, where: str) -> str | None:
    """Return a label as text; empty and null are no label.

    Raises:
        DataError: The value is no class: a fraction, a list, an object.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return check_text(value, "label", where).strip() or None
    raise DataError(
        f"{where}: a label is one class, a text or a whole number, not {kind(value)} "
        f"(neither several labels nor scores can be learnt)."
    )


def check_text(value: Any, name: str, where: str) -> str:
    """Return a value that must be a text, and one that can be written as UTF-8."""
    if not isinstance(value, str):
        raise DataError(f"{where}: {name} must be a text, not {kind(value)}.")
    if not value.isascii() and (match := _LONE_SURROGATE.search(value)):
        raise DataError(
            f"{where}: {name} holds half a character (\\u{ord(match[0]):04x}, a surrogate "
            f"without its partner) at {match.start()}; it cannot be written as UTF-8."
        )
    return value


def _list(value: Any, name: str, where: str) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise DataError(f"{where}: {name} must be a list of words, not {kind(value)}.")
    return value


def _tags(value: Any, words: int, where: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    items = _list(value, "tags", where)
    if len(items) != words:
        raise DataError(f"{where}: {words} tokens but {len(items)} tags.")
    tags = [class_name(item, where) for item in items]
    if all(tag is None for tag in tags):
        return None
    if None in tags:
        raise DataError(f"{where}: word {tags.index(None) + 1} has no tag.")
    return tuple(tag for tag in tags if tag is not None)


def _id(record: Record, columns: Columns) -> str:
    value = columns.find(record, "id")
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DataError(f"{record.where}: id must be a text or a number, not {kind(value)}.")
    return check_text(str(value), "id", record.where)


def _given_answers(record: Record, columns: Columns) -> RawAnswers | None:
    if columns.has(record, "answers"):
        value = columns.find(record, "answers")
        return None if value is None or value == "" else raw_answers(value, record.where)
    if not columns.has(record, "answer"):
        return None
    text = columns.find(record, "answer")
    if text is None or text == "":
        return []
    start = columns.find(record, "answer_start")
    return [(check_text(text, "answer", record.where), answer_start(start, record.where))]


def raw_answers(value: Any, where: str) -> RawAnswers:
    """Read ``{text: [...], answer_start: [...]}`` or ``[{text, answer_start}, ...]``.

    Args:
        value: The answers as they stand, or as JSON text (in a CSV field).
        where: The place, for messages.

    Returns:
        Text and start of each; no entries for a question without answer.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise DataError(f"{where}: answers must be JSON, not {value[:60]!r}.") from error
    if isinstance(value, dict):
        texts, starts = value.get("text"), value.get("answer_start")
        if isinstance(texts, str):
            texts, starts = [texts], None if starts is None else [starts]
        if not isinstance(texts, list):
            raise DataError(f"{where}: answers need `text`, a list, not {kind(texts)}.")
        starts = [None] * len(texts) if starts is None else starts
        if not isinstance(starts, list) or len(starts) != len(texts):
            raise DataError(f"{where}: answers need as many `answer_start` as `text`.")
        value = [{"text": t, "answer_start": s} for t, s in zip(texts, starts, strict=True)]
    if not isinstance(value, list):
        raise DataError(f"{where}: answers must be a list or an object, not {kind(value)}.")
    return [_raw_answer(item, where) for item in value]


def _raw_answer(item: Any, where: str) -> tuple[str, int | None]:
    if isinstance(item, str):
        return check_text(item, "answer", where), None
    if not isinstance(item, dict) or "text" not in item:
        raise DataError(f"{where}: an answer is an object with `text`, not {kind(item)}.")
    start = answer_start(item.get("answer_start"), where)
    return check_text(item["text"], "answer text", where), start


def answer_start(value: Any, where: str) -> int | None:
    """Return a start as a number; ``None`` where it is missing, empty or negative."""
    if isinstance(value, str) and value.strip().lstrip("-").isdecimal():
        value = int(value)
    if value is None or value == "":
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise DataError(f"{where}: answer_start must be a whole number, not {kind(value)}.")
    return value
