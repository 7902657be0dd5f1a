"""Rows that stand in two splits, or twice in one with different labels.

Two texts are *exactly* the same, or the same once *normalised*: without case, accents, blanks,
punctuation, zero-width characters and compatibility forms (ligatures, full-width letters).
Normalised counts include the exact ones.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Literal, TypeAlias

from destilo.data.labels import TRAIN, UNLABELLED, is_labelled
from destilo.rows import QuestionRow, Row, Split, TaggingRow, TextRow

SHOWN_EXAMPLES = 3
LONG_CHARACTERS = 25
"""Texts up to this length come twice by chance (datelines, titles, "Sí."), longer ones rarely."""

Kind: TypeAlias = Literal["exact", "normalised"]
Key: TypeAlias = tuple[str, ...]

_NOT_A_LETTER = re.compile(r"[\W_]+")  # accents, decomposed, are no letters either


@dataclass(frozen=True, slots=True)
class Leak:
    """Rows of one split that another split holds too.

    Attributes:
        first: The split that is learnt from (or comes first).
        second: The split whose rows are no longer unseen.
        unit: What is the same: ``text``, ``pair`` (in either order), ``tokens``, ``context``, or
            ``question and context``.
        kind: ``exact`` or ``normalised`` (which includes the exact ones).
        count: Rows of ``second`` that stand in ``first``.
        long_count: Those among them with more than ``LONG_CHARACTERS`` characters.
        share_of_second: ``count`` as a fraction of all rows of ``second``.
        examples: Where the first few stand, in ``second``; long ones first.
    """

    first: str
    second: str
    unit: str
    kind: Kind
    count: int
    long_count: int
    share_of_second: float
    examples: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.count} rows of {self.second} ({self.share_of_second:.1%}; {self.long_count} "
            f"longer than {LONG_CHARACTERS} characters) have a {self.unit} that stands in "
            f"{self.first} ({self.kind}): {', '.join(self.examples)}."
        )


@dataclass(frozen=True, slots=True)
class Conflict:
    """Rows of one split with the same text and different labels.

    Attributes:
        split: The split's name.
        unit: What is the same (see ``Leak``); compared exactly.
        count: Rows concerned.
        texts: Different texts among them.
        duplicates: Rows that repeat an earlier row, label included or not.
        examples: Where the first few stand.
    """

    split: str
    unit: str
    count: int
    texts: int
    duplicates: int
    examples: tuple[str, ...]


def find_leaks(splits: Mapping[str, Split]) -> tuple[Leak, ...]:
    """Find what the evaluation splits share with the splits that are learnt from.

    ``validation`` and the tests are compared with ``train`` and ``unlabelled``, and the tests with
    ``validation``, which selects models. Two tests may overlap, as may ``train`` and
    ``unlabelled``.

    Args:
        splits: The splits by name.

    Returns:
        One record for each pair of splits, unit and kind with something in common; a normalised
        one only where it counts more rows than the exact one.
    """
    order = sorted(splits, key=_rank)
    keys = {name: _Keys(splits[name].rows) for name in order}
    leaks: list[Leak] = []
    for first, second in combinations(order, 2):
        if _rank(second) > max(_rank(first), _rank(UNLABELLED)):
            leaks.extend(_compare(first, keys[first], second, keys[second]))
    return tuple(leaks)


def find_conflict(split: Split) -> Conflict | None:
    """Find rows of one split that say different things about the same text.

    Args:
        split: A split, usually ``train``.

    Returns:
        ``None`` where no text has two labels.
    """
    groups: dict[Key, list[Row]] = {}
    for row in split.rows:
        if is_labelled(row):
            groups.setdefault(_whole(row), []).append(row)
    at_odds = [rows for rows in groups.values() if len({_gold(row) for row in rows}) > 1]
    if not at_odds:
        return None
    places = [row.where for rows in at_odds for row in rows]
    duplicates = sum(len(rows) - 1 for rows in groups.values())
    unit = next(reversed(_units(at_odds[0][0])))
    return Conflict(
        split.name, unit, len(places), len(at_odds), duplicates, tuple(places[:SHOWN_EXAMPLES])
    )


def _rank(name: str) -> int:
    return {TRAIN: 0, UNLABELLED: 1, "validation": 2}.get(name, 3)


def _units(row: Row) -> dict[str, Key]:
    """Return what a row is compared by; the last unit is the whole of it."""
    if isinstance(row, QuestionRow):
        return {"context": (row.context,), "question and context": (row.question, row.context)}
    if isinstance(row, TaggingRow):
        return {"tokens": row.tokens}
    if row.text_pair is None:
        return {"text": (row.text,)}
    return {"pair": (row.text, row.text_pair)}


def _whole(row: Row) -> Key:
    key = next(reversed(_units(row).values()))
    return _unordered(row, key)


def _unordered(row: Row, key: Key) -> Key:
    return tuple(sorted(key)) if isinstance(row, TextRow) else key


def _gold(row: Row) -> object:
    if isinstance(row, QuestionRow):
        return frozenset(row.answers or ())
    return row.tags if isinstance(row, TaggingRow) else row.label


class _Keys:
    """The comparison keys of a split: unit -> kind -> one key for each row."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.places = [row.where for row in rows]
        self.units: dict[str, dict[Kind, list[Key | None]]] = {}
        normalise = lru_cache(maxsize=4096)(normalise_text)  # contexts come many times in a row
        for index, row in enumerate(rows):
            for unit, key in _units(row).items():
                if unit not in self.units:
                    blank: list[Key | None] = [None] * len(rows)
                    self.units[unit] = {"exact": blank, "normalised": list(blank)}
                exact, plain = self.units[unit]["exact"], self.units[unit]["normalised"]
                exact[index] = _unordered(row, key)
                plain[index] = _normalised(row, key, normalise)


def _normalised(row: Row, key: Key, normalise: Callable[[str], str]) -> Key:
    """Return the normalised key; the text itself where nothing would be left of it."""
    if isinstance(row, TaggingRow):
        # Two tokenisations of the same sentence are the same sentence.
        key = ("".join(key),)
    plain = _unordered(row, tuple(map(normalise, key)))
    return plain if any(plain) else key


def normalise_text(text: str) -> str:
    """Return a text without case, accents, blanks, punctuation and compatibility forms."""
    folded = unicodedata.normalize("NFKD", text).casefold()
    return _NOT_A_LETTER.sub("", unicodedata.normalize("NFKD", folded))


def _compare(first: str, seen: _Keys, second: str, unseen: _Keys) -> Iterable[Leak]:
    for unit, kinds in unseen.units.items():
        if unit not in seen.units:
            continue
        before = 0
        for kind, keys in kinds.items():
            known = set(seen.units[unit][kind]) - {None}
            shared = [i for i, key in enumerate(keys) if key in known]
            if len(shared) > before:
                before = len(shared)
                exact = unseen.units[unit]["exact"]
                long = [i for i in shared if _length(exact[i]) > LONG_CHARACTERS]
                yield Leak(
                    first,
                    second,
                    unit,
                    kind,
                    len(shared),
                    len(long),
                    len(shared) / len(keys),
                    tuple(unseen.places[i] for i in (long or shared)[:SHOWN_EXAMPLES]),
                )


def _length(key: Key | None) -> int:
    return len(" ".join(key or ()))
