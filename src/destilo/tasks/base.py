"""The contract between a task, the tokenizers that encode it and the models that solve it.

A ``Task`` says how one kind of problem is encoded, which named heads its model has, how heads
become predictions and how predictions are scored. It knows neither torch nor transformers.

**Units.** A task that looks at words numbers them: in tagging unit ``u`` is word ``u`` of the
window; in question answering unit 0 is "no answer" and unit ``u`` is the ``u``-th whitespace
word of the window. ``Encoding.units`` says for every position of one tokenizer which unit it
belongs to, so two tokenizers that read the same window can be compared unit by unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from destilo.records import Score
from destilo.rows import Row
from destilo.tasks.tokenization import TextTokenizer

IGNORED = -100
"""Label of a position that takes no part in the loss."""

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float32]
HeadArrays: TypeAlias = Mapping[str, Floats]


class HeadKind(StrEnum):
    """The shape of a head's output, and over what its softmax runs."""

    ROW = "row"
    """``[batch, classes]``: one distribution over classes per row."""
    UNIT = "unit"
    """``[batch, length, classes]``: one distribution over classes per word (first piece)."""
    SPAN = "span"
    """``[batch, length]``: one distribution over positions per row."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """One window as one tokenizer sees it, not padded.

    Attributes:
        input_ids: [length].
        token_type_ids: [length], or ``None`` where the model has no segments.
        units: [length], the unit of each position; -1 for special and question positions.
        labels: Gold label per head: a 0-d array (ROW: class; SPAN: position) or [length]
            (UNIT: class at each word's first piece). ``IGNORED`` where there is none.
            Empty for unlabelled rows.
        offsets: [length, 2] character spans in the row's text (QA: in the context), for
            decoding; zeros at special positions. ``None`` where decoding needs none.
    """

    input_ids: Ints
    units: Ints
    token_type_ids: Ints | None = None
    labels: Mapping[str, Ints] = field(default_factory=dict)
    offsets: Ints | None = None

    def __len__(self) -> int:
        return len(self.input_ids)


@dataclass(frozen=True, slots=True)
class Example:
    """One window of one row in every tokenizer that has to read it.

    Attributes:
        row: Index of the row in the split.
        id: The row's id, for messages.
        encodings: One per tokenizer, in the order given to ``Task.encode``; first the student's.
        unit_spans: [units, 2], what each unit stands for: word numbers (tagging) or
            character spans in the context (QA; unit 0 is (0, 0)). [0, 2] for whole-row tasks.
            The same for all encodings by construction.
    """

    row: int
    id: str
    encodings: tuple[Encoding, ...]
    unit_spans: Ints


Prediction: TypeAlias = dict[str, Any]
"""JSON-ready; its keys are documented by each task's ``decode``."""


class Task(Protocol):
    """How one kind of problem is encoded, decoded and scored. Implementations are frozen."""

    @property
    def name(self) -> str: ...

    @property
    def heads(self) -> Mapping[str, HeadKind]: ...

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes in their fixed order; empty for QA."""
        ...

    @property
    def main_metric(self) -> str: ...

    @property
    def metrics(self) -> tuple[str, ...]: ...

    def settings(self) -> dict[str, Any]:
        """Everything needed to build this task again (JSON-ready), for the model folder."""
        ...

    def encode(self, rows: Sequence[Row], tokenizers: Sequence[TextTokenizer]) -> list[Example]:
        """Encode rows in one or more tokenizers, all reading the same windows."""
        ...

    def decode(
        self, rows: Sequence[Row], examples: Sequence[Example], heads: Sequence[HeadArrays]
    ) -> list[Prediction]:
        """Turn head outputs into one prediction per row.

        Args:
            rows: The rows that were encoded.
            examples: As ``encode`` gave them, with the model's own encoding first.
            heads: Per example, unpadded: ROW [classes], UNIT [length, classes], SPAN [length].
        """
        ...

    def score(
        self, rows: Sequence[Row], predictions: Sequence[Prediction], *, bootstrap_samples: int
    ) -> dict[str, Score]:
        """Score the labelled rows; every score has n and a bootstrap 95% interval."""
        ...
