"""The classes of a task in one fixed order, learnt from the training split alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from destilo.data.canonical import QA
from destilo.data.tags import OUTSIDE
from destilo.errors import DataError
from destilo.rows import QuestionRow, Row, Split, TaggingRow

TRAIN = "train"
UNLABELLED = "unlabelled"
SHOWN_UNKNOWN = 5
SHOWN_KNOWN = 10
_LONGEST_SHOWN = 40
_MANY = 20
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
_IOB2 = re.compile(r"[BI]-(.+)", re.DOTALL)


def label_set(
    task: str, splits: Mapping[str, Split], *, declared: Sequence[str] | None
) -> tuple[str, ...]:
    """Return the labels in their fixed order, after checking all splits against them.

    Without a declaration the labels are those of ``train``, sorted: numbers by value, ``O`` before
    chunk tags. Chunk tags are closed: where ``B-X`` is a label ``I-X`` is one too, so that
    decoding can continue any chunk that it starts.

    Args:
        task: The task's name.
        splits: The splits by name; ``unlabelled`` takes no part.
        declared: The labels in the wanted order, if the recipe gives one.

    Returns:
        The labels; none for question answering, which has no classes.

    Raises:
        DataError: A training row has no label, another split has none at all, training has a
            single class, or a split holds a label that training has not.
    """
    for name, split in splits.items():
        if name != UNLABELLED:
            _check_labelled(name, split)
    if task == QA:
        return ()
    counts = _counts(splits[TRAIN].rows)
    if len(counts) < 2:
        raise DataError(
            f"data.{TRAIN}: only one class, '{next(iter(counts))}', in {len(splits[TRAIN])} rows: "
            f"there is nothing to learn."
        )
    if declared is None:
        labels = _ordered(_closed(counts))
    else:
        labels = tuple(declared)
        twice = [label for label, n in Counter(labels).items() if n > 1]
        if twice:
            raise DataError(f"data.labels: declared twice: {', '.join(map(repr, twice))}.")
    for name, split in splits.items():
        if name != UNLABELLED:
            _check_known(name, split, labels, train=splits[TRAIN], declared=declared is not None)
    return labels


def row_labels(row: Row) -> tuple[str, ...]:
    """Return the labels of a row: its class, or its tags; none for questions."""
    if isinstance(row, QuestionRow):
        return ()
    if isinstance(row, TaggingRow):
        return row.tags or ()
    return () if row.label is None else (row.label,)


def is_labelled(row: Row) -> bool:
    """Tell whether a row says what is to be learnt."""
    if isinstance(row, QuestionRow):
        return row.answers is not None
    if isinstance(row, TaggingRow):
        return row.tags is not None
    return row.label is not None


def _counts(rows: Sequence[Row]) -> Counter[str]:
    return Counter(label for row in rows for label in row_labels(row))


def _check_labelled(name: str, split: Split) -> None:
    bare = [row for row in split.rows if not is_labelled(row)]
    if not bare or (name != TRAIN and len(bare) < len(split)):
        return
    what = "answers" if isinstance(bare[0], QuestionRow) else "a label"
    remedy = (
        f"Rows without belong under `data.{UNLABELLED}`; if they have one, name its column in "
        f"`columns`."
        if name == TRAIN
        else "Nothing can be measured on them; if they have one, name its column in `columns`."
    )
    notes = "".join(f" {note}" for note in split.notes if note.startswith("No column"))
    raise DataError(
        f"data.{name}: {len(bare)} of {len(split)} rows have not {what} "
        f"({bare[0].where}).{notes} {remedy}"
    )


def _closed(labels: Mapping[str, int]) -> set[str]:
    """Add the missing one of each B-X, I-X pair, if all the labels are chunk tags."""
    kinds = [_IOB2.fullmatch(label) for label in labels if label != OUTSIDE]
    if not all(kinds):
        return set(labels)
    return {OUTSIDE, *(f"{p}-{match[1]}" for match in kinds if match for p in "BI")}


def _ordered(labels: set[str]) -> tuple[str, ...]:
    if all(_NUMBER.fullmatch(label) for label in labels):
        return tuple(sorted(labels, key=lambda label: (float(label), label)))
    chunked = all(label == OUTSIDE or _IOB2.fullmatch(label) for label in labels)
    return tuple(sorted(labels, key=lambda label: (chunked and label != OUTSIDE, label)))


def _check_known(
    name: str, split: Split, labels: Sequence[str], *, train: Split, declared: bool
) -> None:
    known = frozenset(labels)
    unknown = Counter({k: n for k, n in _counts(split.rows).items() if k not in known})
    if not unknown:
        return
    shown = [
        f"'{_clipped(label)}' ({n}x, first at {_first(split.rows, label)})"
        for label, n in unknown.most_common(SHOWN_UNKNOWN)
    ]
    more = f" and {len(unknown) - SHOWN_UNKNOWN:,} more" if len(unknown) > SHOWN_UNKNOWN else ""
    source = "`data.labels`" if declared else f"data.{TRAIN}"
    if _looks_like_another_column(train):
        remedy = (
            f"Nearly every row of data.{TRAIN} has a label of its own: is it the right column? "
            f"Name the column of the classes in `columns`."
        )
    elif declared:
        remedy = "Add it there, or correct the rows."
    else:
        remedy = (
            "A model cannot learn what it never sees. Correct the rows, or give the full list "
            "as `data.labels` to go on without examples of it."
        )
    raise DataError(
        f"data.{name}: label {', '.join(shown)}{more} is not in {source} "
        f"({_listed(labels)}). {remedy}"
    )


def _looks_like_another_column(train: Split) -> bool:
    """Whether there are about as many classes as rows, as in a column of ids or of texts."""
    counts = _counts(train.rows)
    return len(counts) > _MANY and 2 * len(counts) > counts.total()


def _listed(labels: Sequence[str]) -> str:
    shown = ", ".join(map(_clipped, labels[:SHOWN_KNOWN]))
    rest = len(labels) - SHOWN_KNOWN
    return f"{shown} and {rest:,} more" if rest > 0 else shown


def _clipped(label: str) -> str:
    return label if len(label) <= _LONGEST_SHOWN else label[: _LONGEST_SHOWN - 1] + "…"


def _first(rows: Sequence[Row], label: str) -> str:
    return next(_places(rows, label))


def _places(rows: Sequence[Row], label: str) -> Iterator[str]:
    for row in rows:
        labels = row_labels(row)
        if label in labels:
            word = f", word {labels.index(label) + 1}" if isinstance(row, TaggingRow) else ""
            yield f"{row.where}{word}"
