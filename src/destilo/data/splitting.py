"""Cut a validation split out of the training data without letting the same text on both sides.

Rows with the same text (after normalisation) move together; in question answering all questions
on one context do. Which groups move is decided by a hash of their text and the seed, not by their
place: shuffling the file changes nothing, and adding rows moves few others.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from destilo.data.labels import row_labels
from destilo.data.leaks import normalise_text
from destilo.errors import DataError
from destilo.rows import QuestionRow, Row, Split, TaggingRow, TextRow

VALIDATION = "validation"


@dataclass(frozen=True, slots=True)
class _Group:
    """Rows that must stay together."""

    order: bytes
    stratum: str
    rows: tuple[int, ...]


def carve_validation(train: Split, *, fraction: float, seed: int) -> tuple[Split, Split]:
    """Cut a validation split out of a training split.

    In classification every class gives its share, as far as its groups permit. No label leaves
    training altogether: its last row stays.

    Args:
        train: The rows to divide.
        fraction: Share of the rows for validation, between 0 and 1 (exclusive).
        seed: Decides which groups move.

    Returns:
        What is left of ``train``, and the validation split, both in file order.

    Raises:
        DataError: The fraction is out of range, or leaves one side empty.
    """
    if not 0 < fraction < 1:
        raise DataError(
            f"data.validation.fraction: {fraction} must lie between 0 and 1 (exclusive)."
        )
    groups = _groups(train.rows, seed)
    chosen = _choose(train.rows, groups, fraction)
    if not chosen or len(chosen) == len(train):
        raise DataError(
            f"data.validation.fraction: {fraction} of {len(train)} rows in {len(groups)} groups "
            f"with the same text (questions: the same context) leaves one side empty. Take "
            f"another fraction, or a validation file."
        )
    kept = tuple(row for i, row in enumerate(train.rows) if i not in chosen)
    moved = tuple(row for i, row in enumerate(train.rows) if i in chosen)
    note = f"{len(moved)} of {len(train)} training rows carved out for validation (seed {seed})."
    rest = replace(train, rows=kept, notes=(*train.notes, note))
    return rest, replace(train, name=VALIDATION, rows=moved, notes=(note,))


def _texts(row: Row) -> tuple[str, ...]:
    """Return what must not stand on both sides."""
    if isinstance(row, QuestionRow):
        return (row.context,)
    if isinstance(row, TaggingRow):
        return ("".join(row.tokens),)
    return (row.text,) if row.text_pair is None else (row.text, row.text_pair)


def _groups(rows: Sequence[Row], seed: int) -> list[_Group]:
    """Return the groups in the order of their hash."""
    members: dict[str, list[int]] = {}
    keys: dict[tuple[str, ...], str] = {}
    for index, row in enumerate(rows):
        texts = _texts(row)
        if texts not in keys:
            # A text of nothing but punctuation stays itself; a pair has no order.
            keys[texts] = "\0".join(sorted(normalise_text(text) or text for text in texts))
        members.setdefault(keys[texts], []).append(index)
    groups = []
    for key, indices in members.items():
        order = hashlib.blake2b(f"{seed}\0{key}".encode(), digest_size=16).digest()
        labels = sorted(
            label for i in indices if isinstance(rows[i], TextRow) for label in row_labels(rows[i])
        )
        groups.append(_Group(order, labels[0] if labels else "", tuple(indices)))
    return sorted(groups, key=lambda group: group.order)


def _choose(rows: Sequence[Row], groups: Sequence[_Group], fraction: float) -> set[int]:
    """Return the indices of the rows that move."""
    quotas = _quotas(groups, fraction)
    left = Counter(label for row in rows for label in set(row_labels(row)))
    chosen: set[int] = set()
    taken: Counter[str] = Counter()
    for group in groups:
        # Half of a group may stand over: the nearest size to the quota is wanted.
        if taken[group.stratum] + len(group.rows) / 2 > quotas[group.stratum]:
            continue
        lost = Counter(label for i in group.rows for label in set(row_labels(rows[i])))
        if any(left[label] <= n for label, n in lost.items()):
            continue
        left.subtract(lost)
        taken[group.stratum] += len(group.rows)
        chosen.update(group.rows)
    return chosen


def _quotas(groups: Sequence[_Group], fraction: float) -> dict[str, int]:
    """Share out the rows wanted over the strata by largest remainder."""
    sizes: Counter[str] = Counter()
    for group in groups:
        sizes[group.stratum] += len(group.rows)
    quotas = {stratum: int(size * fraction) for stratum, size in sizes.items()}
    wanted = max(1, round(sum(sizes.values()) * fraction))
    by_remainder = sorted(sizes, key=lambda s: (quotas[s] - sizes[s] * fraction, s))
    for stratum in by_remainder[: wanted - sum(quotas.values())]:
        quotas[stratum] += 1
    return quotas
