"""The classes of a task: their fixed order, and the numbers that stand for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np

from destilo.errors import DataError, RecipeError, suggest
from destilo.rows import Row
from destilo.tasks.base import Floats

RowType = TypeVar("RowType")


def require_classes(labels: Iterable[str], task: str) -> tuple[str, ...]:
    """Check the classes of a task and freeze them.

    Raises:
        RecipeError: If there are none, or one stands there twice.
    """
    classes = tuple(labels)
    if not classes:
        raise RecipeError(f"{task} needs labels: name them under data.labels.")
    twice = sorted({label for label in classes if classes.count(label) > 1})
    if twice:
        raise RecipeError(f"data.labels names {', '.join(twice)} more than once.")
    return classes


def class_finder(classes: Sequence[str], *, kind: str) -> Callable[[str, Row], int]:
    """A function from a label, and the row that has it, to the label's number."""
    numbers = {label: number for number, label in enumerate(classes)}

    def find(label: str, row: Row) -> int:
        number = numbers.get(label)
        if number is None:
            raise DataError(f"{row.where or f'Row {row.id}'}: {suggest(label, classes, kind=kind)}")
        return number

    return find


def rows_of(rows: Sequence[Row], row_type: type[RowType], task: str) -> list[RowType]:
    """The rows of one kind.

    Raises:
        DataError: If a row is of another kind, so that the data are for another task.
    """
    right: list[RowType] = [row for row in rows if isinstance(row, row_type)]
    if len(right) != len(rows):
        wrong = next(row for row in rows if not isinstance(row, row_type))
        raise DataError(
            f"{wrong.where or f'Row {wrong.id}'}: {task} needs {row_type.__name__} records, but "
            f"this is a {type(wrong).__name__}. Check data.*.format against task."
        )
    return right


def probabilities(logits: Floats) -> Floats:
    """Softmax over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), dtype=np.float32)
