"""One class per text or pair of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from destilo.records import Score
from destilo.rows import Row, TextRow
from destilo.tasks.base import (
    Encoding,
    Example,
    HeadArrays,
    HeadKind,
    Ints,
    Prediction,
)
from destilo.tasks.classes import class_finder, probabilities, require_classes, rows_of
from destilo.tasks.scoring import score_classes
from destilo.tasks.tokenization import TextTokenizer
from destilo.tasks.windows import longest_first, room_for


@dataclass(frozen=True)
class TextClassification:
    """Text and sentence-pair classification.

    Texts that are too long are cut at the end; of a pair, the longer text gives way first.

    Attributes:
        labels: The classes in their fixed order.
        max_length: Longest input, in pieces, special tokens included.
        language: ISO 639-1 code of the texts.
        pair: Whether it was trained on pairs of texts.
    """

    labels: tuple[str, ...]
    max_length: int = 128
    language: str = "es"
    pair: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", require_classes(self.labels, self.name))

    @property
    def name(self) -> str:
        return "text-classification"

    @property
    def heads(self) -> Mapping[str, HeadKind]:
        return {"label": HeadKind.ROW}

    @property
    def main_metric(self) -> str:
        return "accuracy"

    @property
    def metrics(self) -> tuple[str, ...]:
        return ("accuracy", "macro_f1")

    def settings(self) -> dict[str, Any]:
        return {
            "task": self.name,
            "labels": list(self.labels),
            "max_length": self.max_length,
            "language": self.language,
            "pair": self.pair,
        }

    def encode(self, rows: Sequence[Row], tokenizers: Sequence[TextTokenizer]) -> list[Example]:
        """Encode each row as one example."""
        texts = rows_of(rows, TextRow, self.name)
        per_tokenizer = [self._inputs(texts, tokenizer) for tokenizer in tokenizers]
        no_spans = np.zeros((0, 2), dtype=np.int64)
        return [
            Example(row=number, id=row.id, encodings=tuple(encodings), unit_spans=no_spans)
            for number, (row, *encodings) in enumerate(zip(texts, *per_tokenizer, strict=True))
        ]

    def _inputs(self, rows: Sequence[TextRow], tokenizer: TextTokenizer) -> list[Encoding]:
        first = tokenizer.pieces([row.text for row in rows])
        paired = [number for number, row in enumerate(rows) if row.text_pair is not None]
        pieces = tokenizer.pieces([rows[number].text_pair or "" for number in paired])
        second: dict[int, Ints] = dict(zip(paired, pieces, strict=True))
        index = class_finder(self.labels, kind="label")
        encodings = []
        for number, row in enumerate(rows):
            a, b = first[number], second.get(number)
            layout = tokenizer.single if b is None else tokenizer.pair
            room = room_for(max_length=self.max_length, n_special=layout.n_special)
            keep_a, keep_b = longest_first(len(a), 0 if b is None else len(b), room=room)
            joined = tokenizer.join(a[:keep_a], None if b is None else b[:keep_b])
            labels: dict[str, Ints] = {}
            if row.label is not None:
                labels["label"] = np.array(index(row.label, row), dtype=np.int64)
            encodings.append(
                Encoding(
                    input_ids=joined.input_ids,
                    units=np.full(len(joined.input_ids), -1, dtype=np.int64),
                    token_type_ids=joined.token_type_ids,
                    labels=labels,
                )
            )
        return encodings

    def decode(
        self, rows: Sequence[Row], examples: Sequence[Example], heads: Sequence[HeadArrays]
    ) -> list[Prediction]:
        """Take the most probable class.

        Returns:
            Per row ``id``, ``label``, ``score`` (its probability) and ``scores`` (all of them).
        """
        predictions: list[Prediction] = [{} for _ in rows]
        for example, head in zip(examples, heads, strict=True):
            shares = probabilities(head["label"])
            best = int(shares.argmax())
            predictions[example.row] = {
                "id": rows[example.row].id,
                "label": self.labels[best],
                "score": float(shares[best]),
                "scores": dict(zip(self.labels, shares.tolist(), strict=True)),
            }
        return predictions

    def score(
        self, rows: Sequence[Row], predictions: Sequence[Prediction], *, bootstrap_samples: int
    ) -> dict[str, Score]:
        """Accuracy and macro-F1 (mean over the classes that occur in gold or prediction)."""
        pairs = [
            (row.label, prediction["label"])
            for row, prediction in zip(rows_of(rows, TextRow, self.name), predictions, strict=True)
            if row.label is not None
        ]
        return score_classes(
            [(gold,) for gold, _ in pairs],
            [(predicted,) for _, predicted in pairs],
            bootstrap_samples=bootstrap_samples,
        )
