"""One tag per word: named entities (IOB2) or any other tags (raw)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Literal

import numpy as np

from destilo.errors import DataError, RecipeError, suggest
from destilo.records import Score
from destilo.rows import Row, TaggingRow
from destilo.tasks.base import (
    IGNORED,
    Encoding,
    Example,
    HeadArrays,
    HeadKind,
    Ints,
    Prediction,
)
from destilo.tasks.classes import class_finder, probabilities, require_classes, rows_of
from destilo.tasks.scoring import entities, score_classes, score_entities
from destilo.tasks.tokenization import TextTokenizer
from destilo.tasks.windows import cut_windows, room_for

Scheme = Literal["iob2", "raw"]
_SCHEMES = ("iob2", "raw")


@dataclass(frozen=True)
class TokenClassification:
    """Tagging of words.

    A word is tagged at its first piece. A sentence that is too long becomes several examples,
    one after the other and without overlap, cut between words so that all tokenizers read the
    same words; a word with more pieces than fit is cut to what fits.

    Attributes:
        labels: The tags in their fixed order.
        max_length: Longest input, in pieces, special tokens included.
        language: ISO 639-1 code of the texts.
        scheme: ``iob2``: entities as ``B-``, ``I-`` and ``O``; ``raw``: tags as they are (POS).
    """

    labels: tuple[str, ...]
    max_length: int = 128
    language: str = "es"
    scheme: Scheme = "iob2"

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", require_classes(self.labels, self.name))
        if self.scheme not in _SCHEMES:
            raise RecipeError(suggest(self.scheme, _SCHEMES, kind="tag scheme"))

    @property
    def name(self) -> str:
        return "token-classification"

    @property
    def heads(self) -> Mapping[str, HeadKind]:
        return {"label": HeadKind.UNIT}

    @property
    def main_metric(self) -> str:
        return "f1" if self.scheme == "iob2" else "accuracy"

    @property
    def metrics(self) -> tuple[str, ...]:
        if self.scheme == "iob2":
            return ("f1", "precision", "recall", "accuracy")
        return ("accuracy", "macro_f1", "paper_f1")

    @property
    def fallback(self) -> str:
        """The tag of a word that has no piece: ``O``; else UD's ``X``; else the first tag."""
        return next((tag for tag in ("O", "X") if tag in self.labels), self.labels[0])

    def settings(self) -> dict[str, Any]:
        return {
            "task": self.name,
            "labels": list(self.labels),
            "max_length": self.max_length,
            "language": self.language,
            "scheme": self.scheme,
        }

    def encode(self, rows: Sequence[Row], tokenizers: Sequence[TextTokenizer]) -> list[Example]:
        """Encode each sentence as one example or more; a sentence without words as none."""
        sentences = rows_of(rows, TaggingRow, self.name)
        rooms = [
            room_for(max_length=self.max_length, n_special=tokenizer.single.n_special)
            for tokenizer in tokenizers
        ]
        every_word = list(chain.from_iterable(row.tokens for row in sentences))
        pieces = [iter(tokenizer.words(every_word)) for tokenizer in tokenizers]
        find = class_finder(self.labels, kind="tag")
        examples: list[Example] = []
        for number, row in enumerate(sentences):
            words = [
                [word[:room] for word in islice(rest, len(row.tokens))]
                for rest, room in zip(pieces, rooms, strict=True)
            ]
            classes = _classes(row, find)
            if not row.tokens:
                continue
            ends = [np.cumsum([0, *map(len, own)]) for own in words]
            for start, stop in cut_windows(ends, rooms=rooms):
                encodings = tuple(
                    _encode(tokenizer, own[start:stop], classes and classes[start:stop])
                    for tokenizer, own in zip(tokenizers, words, strict=True)
                )
                spans = np.arange(start, stop, dtype=np.int64)
                unit_spans = np.stack([spans, spans + 1], axis=1)
                examples.append(Example(number, row.id, encodings, unit_spans))
        return examples

    def decode(
        self, rows: Sequence[Row], examples: Sequence[Example], heads: Sequence[HeadArrays]
    ) -> list[Prediction]:
        """Take the most probable tag of each word.

        A word that the tokenizer has no piece for gets ``fallback`` with score 0.

        Returns:
            Per row ``id``, ``tags`` and ``scores`` (the tag's probability), one per word; with
            ``iob2`` also ``entities``: dictionaries of ``type``, ``start_word``, ``end_word``
            (the word after the last) and ``text``, where an ``I-`` without its ``B-`` opens an
            entity, as in conlleval.
        """
        sentences = rows_of(rows, TaggingRow, self.name)
        tags = [[self.fallback] * len(row.tokens) for row in sentences]
        scores = [[0.0] * len(row.tokens) for row in sentences]
        for example, head in zip(examples, heads, strict=True):
            units, positions = first_pieces(example.encodings[0].units)
            shares = probabilities(head["label"][positions])  # [words, labels]
            best = shares.argmax(axis=-1)
            words = example.unit_spans[units, 0]
            for word, label, share in zip(
                words.tolist(), best.tolist(), shares.max(axis=-1).tolist(), strict=True
            ):
                tags[example.row][word] = self.labels[label]
                scores[example.row][word] = share
        return [
            self._prediction(row, own_tags, own_scores)
            for row, own_tags, own_scores in zip(sentences, tags, scores, strict=True)
        ]

    def _prediction(self, row: TaggingRow, tags: list[str], scores: list[float]) -> Prediction:
        prediction: Prediction = {"id": row.id, "tags": tags, "scores": scores}
        if self.scheme == "iob2":
            prediction["entities"] = [
                {
                    "type": kind,
                    "start_word": first,
                    "end_word": last + 1,
                    "text": " ".join(row.tokens[first : last + 1]),
                }
                for kind, first, last in entities([tags])[0]
            ]
        return prediction

    def score(
        self, rows: Sequence[Row], predictions: Sequence[Prediction], *, bootstrap_samples: int
    ) -> dict[str, Score]:
        """Seqeval's micro F1, precision and recall for entities; accuracy of tags for both.

        ``raw`` adds ``macro_f1`` over tags and ``paper_f1``: seqeval's F1 over tags that are no
        entities, as Speedy Gonzales reports POS (its first letter is read as a prefix).
        """
        pairs = [
            (row.tags, tuple(prediction["tags"]))
            for row, prediction in zip(
                rows_of(rows, TaggingRow, self.name), predictions, strict=True
            )
            if row.tags is not None
        ]
        gold, predicted = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        classes = score_classes(gold, predicted, bootstrap_samples=bootstrap_samples)
        scored = score_entities(gold, predicted, bootstrap_samples=bootstrap_samples)
        if not pairs:
            return {}
        if self.scheme == "iob2":
            return {**scored, "accuracy": classes["accuracy"]}
        return {**classes, "paper_f1": scored["f1"]}


def first_pieces(units: Ints) -> tuple[Ints, Ints]:
    """The words that have a piece, and the position of each one's first piece."""
    positions = np.flatnonzero(units >= 0)
    found, where = np.unique(units[positions], return_index=True)
    return found, positions[where]


def _classes(row: TaggingRow, find: Callable[[str, Row], int]) -> list[int] | None:
    if row.tags is None:
        return None
    if len(row.tags) != len(row.tokens):
        raise DataError(
            f"{row.where or f'Row {row.id}'}: {len(row.tokens)} words but {len(row.tags)} tags."
        )
    return [find(tag, row) for tag in row.tags]


def _encode(
    tokenizer: TextTokenizer, words: list[list[int]], classes: list[int] | None
) -> Encoding:
    """Encode the words of one window."""
    lengths = np.array([len(word) for word in words], dtype=np.int64)
    joined = tokenizer.join(np.array(list(chain.from_iterable(words)), dtype=np.int64))
    inside = slice(joined.first, joined.first + int(lengths.sum()))
    units = np.full(len(joined.input_ids), -1, dtype=np.int64)
    units[inside] = np.repeat(np.arange(len(words)), lengths)
    labels: dict[str, Ints] = {}
    if classes is not None:
        gold = np.full(len(units), IGNORED, dtype=np.int64)
        found, positions = first_pieces(units)
        gold[positions] = np.array(classes, dtype=np.int64)[found]
        labels["label"] = gold
    return Encoding(joined.input_ids, units, joined.token_type_ids, labels)
