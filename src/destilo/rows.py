"""Canonical rows: what every reader yields and every task encodes.

One frozen record per kind of problem. ``where`` is the file and line (or record number) that
the row came from, for messages; it takes no part in equality.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class TextRow:
    """A text, or a pair of texts, with its class (``None``: unlabelled)."""

    id: str
    text: str
    text_pair: str | None = None
    label: str | None = None
    where: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class TaggingRow:
    """The words of a sentence with one tag each (``None``: unlabelled)."""

    id: str
    tokens: tuple[str, ...]
    tags: tuple[str, ...] | None = None
    where: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """A gold answer: ``context[start : start + len(text)] == text``, in code points."""

    text: str
    start: int


@dataclass(frozen=True, slots=True)
class QuestionRow:
    """A question on a context. ``answers``: ``None`` is unlabelled, ``()`` has no answer."""

    id: str
    question: str
    context: str
    answers: tuple[Answer, ...] | None = None
    where: str = field(default="", compare=False)


Row: TypeAlias = TextRow | TaggingRow | QuestionRow


@dataclass(frozen=True, slots=True)
class Split:
    """The rows of one split and what the reader had to say about them.

    Attributes:
        name: ``train``, ``validation``, ``test`` or ``test-NAME``, ``unlabelled``.
        rows: The rows, in file order.
        notes: What was repaired or left out, one sentence each, with counts and places.
        scheme: Tagging: what the file's tags were read as (``raw``, ``iob1``, ``iob2`` or
            ``iobes``); unless ``raw``, the rows are in IOB2. ``None`` for other tasks.
    """

    name: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    scheme: str | None = None

    def __len__(self) -> int:
        return len(self.rows)
