"""Extractive question answering: the answer is a span of the context, or there is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from destilo.records import Score
from destilo.rows import Answer, QuestionRow, Row
from destilo.tasks.base import Encoding, Example, HeadArrays, HeadKind, Ints, Prediction
from destilo.tasks.classes import rows_of
from destilo.tasks.contexts import Pieces, read_contexts, word_spans
from destilo.tasks.scoring import score_answers
from destilo.tasks.spans import best_threshold, decode_answers
from destilo.tasks.tokenization import TextTokenizer
from destilo.tasks.windows import cut_windows, room_for


@dataclass(frozen=True)
class QuestionAnswering:
    """Extractive question answering over windows of the context.

    Windows are cut once, on words, so that they fit in every tokenizer; the pieces of one
    window in one tokenizer are those that encoding the whole context gives. Unit 0, the first
    position, is "no answer in this window".

    Attributes:
        max_length: Longest input, in pieces, question and special tokens included.
        doc_stride: Pieces that a window shares with the one before (at most half of the room).
        max_question_length: Longest question, in pieces; never more than half of the input.
        max_answer_length: Longest answer, in whitespace words.
        n_best: How many spans a prediction lists.
        no_answer: Whether a prediction may be that there is no answer.
        no_answer_threshold: A row has no answer when ``no_answer_score`` is above this.
        language: ISO 639-1 code of the texts; it decides what scoring normalises.
    """

    max_length: int = 384
    doc_stride: int = 128
    max_question_length: int = 64
    max_answer_length: int = 30
    n_best: int = 5
    no_answer: bool = False
    no_answer_threshold: float = 0.0
    language: str = "es"

    @property
    def name(self) -> str:
        return "question-answering"

    @property
    def heads(self) -> Mapping[str, HeadKind]:
        return {"start": HeadKind.SPAN, "end": HeadKind.SPAN}

    @property
    def labels(self) -> tuple[str, ...]:
        return ()

    @property
    def main_metric(self) -> str:
        return "f1"

    @property
    def metrics(self) -> tuple[str, ...]:
        return ("f1", "em", "squad_f1", "squad_em")

    def settings(self) -> dict[str, Any]:
        return {
            "task": self.name,
            "max_length": self.max_length,
            "doc_stride": self.doc_stride,
            "max_question_length": self.max_question_length,
            "max_answer_length": self.max_answer_length,
            "n_best": self.n_best,
            "no_answer": self.no_answer,
            "no_answer_threshold": self.no_answer_threshold,
            "language": self.language,
        }

    def encode(self, rows: Sequence[Row], tokenizers: Sequence[TextTokenizer]) -> list[Example]:
        """Encode each row as one window of its context or more, one after the other."""
        asked = rows_of(rows, QuestionRow, self.name)
        questions = [tokenizer.pieces([row.question for row in asked]) for tokenizer in tokenizers]
        contexts = list(dict.fromkeys(row.context for row in asked))
        places = {context: place for place, context in enumerate(contexts)}
        spans = [word_spans(context) for context in contexts]
        read = [read_contexts(contexts, spans, tokenizer) for tokenizer in tokenizers]
        examples: list[Example] = []
        for number, row in enumerate(asked):
            place = places[row.context]
            sides = [
                _Side(tokenizer, self._question(tokenizer, own[number]), pieces[place])
                for tokenizer, own, pieces in zip(tokenizers, questions, read, strict=True)
            ]
            examples.extend(self._windows(number, row, spans[place], sides))
        return examples

    def _question(self, tokenizer: TextTokenizer, pieces: Ints) -> Ints:
        room = room_for(max_length=self.max_length, n_special=tokenizer.pair.n_special)
        return pieces[: min(self.max_question_length, room // 2)]

    def _windows(
        self, number: int, row: QuestionRow, spans: Ints, sides: Sequence[_Side]
    ) -> Iterator[Example]:
        rooms = [
            room_for(
                max_length=self.max_length,
                n_special=side.tokenizer.pair.n_special,
                taken=len(side.question),
            )
            for side in sides
        ]
        ends = [side.context.ends for side in sides]
        for start, stop in cut_windows(ends, rooms=rooms, overlap=self.doc_stride):
            window = spans[start:stop]
            gold = _answer_in(row.answers, window)
            encodings = tuple(
                side.encode(start, stop, room=room, labelled=row.answers is not None, gold=gold)
                for side, room in zip(sides, rooms, strict=True)
            )
            unit_spans = np.concatenate([np.zeros((1, 2), dtype=np.int64), window])
            yield Example(number, row.id, encodings, unit_spans)

    def decode(
        self, rows: Sequence[Row], examples: Sequence[Example], heads: Sequence[HeadArrays]
    ) -> list[Prediction]:
        """Take the best span of all windows of a row; see ``spans.decode_answers``.

        Returns:
            Per row ``id``; ``answer``, exactly as it stands in the context, ``start`` and
            ``end`` (``""``, ``None``, ``None`` for no answer); ``score``, the start logit plus
            the end logit; ``no_answer_score``, how much the logits prefer "no answer" to the
            best span; and ``n_best``, a list of ``answer``, ``start``, ``end``, ``score`` and
            ``probability`` (softmax over the list), best first, "no answer" in its place where
            it is allowed. The threshold may choose another answer than the first of the list.
        """
        return decode_answers(
            rows_of(rows, QuestionRow, self.name),
            examples,
            heads,
            max_answer_length=self.max_answer_length,
            n_best=self.n_best,
            no_answer_threshold=self.no_answer_threshold if self.no_answer else None,
        )

    def tune_no_answer_threshold(
        self, rows: Sequence[Row], predictions: Sequence[Prediction]
    ) -> QuestionAnswering:
        """Choose the threshold that gives the best F1, and switch ``no_answer`` on.

        Args:
            rows: Labelled rows, of the validation split.
            predictions: What ``decode`` gave for them, with any threshold.
        """
        threshold = best_threshold(
            rows_of(rows, QuestionRow, self.name), predictions, language=self.language
        )
        return replace(self, no_answer=True, no_answer_threshold=threshold)

    def score(
        self, rows: Sequence[Row], predictions: Sequence[Prediction], *, bootstrap_samples: int
    ) -> dict[str, Score]:
        """F1 and exact match, normalised for the language and by SQuAD's English rule."""
        pairs = [
            (row.answers, prediction["answer"])
            for row, prediction in zip(
                rows_of(rows, QuestionRow, self.name), predictions, strict=True
            )
            if row.answers is not None
        ]
        return score_answers(
            [[answer.text for answer in answers] for answers, _ in pairs],
            [predicted for _, predicted in pairs],
            language=self.language,
            bootstrap_samples=bootstrap_samples,
        )


@dataclass(frozen=True, slots=True)
class _Side:
    """One row as one tokenizer reads it."""

    tokenizer: TextTokenizer
    question: Ints
    context: Pieces

    def encode(
        self, start: int, stop: int, *, room: int, labelled: bool, gold: tuple[int, int] | None
    ) -> Encoding:
        """Encode the words from ``start`` to before ``stop``."""
        first = int(self.context.ends[start])
        chosen = slice(first, min(int(self.context.ends[stop]), first + room))
        spans = self.context.offsets[chosen]
        if gold is not None and chosen.stop < int(self.context.ends[stop]):
            # A word is cut to what fits: an answer that reaches behind the cut is not whole.
            gold = gold if gold[1] <= self.context.offsets[chosen.stop, 0] else None
        joined = self.tokenizer.join(self.question, self.context.ids[chosen])
        inside = slice(joined.second, joined.second + len(spans))
        units = np.full(len(joined.input_ids), -1, dtype=np.int64)
        units[0] = 0
        units[inside] = self.context.words[chosen] - start + 1
        offsets = np.zeros((len(units), 2), dtype=np.int64)
        offsets[inside] = spans
        labels: dict[str, Ints] = {}
        if labelled:
            places = (0, 0) if gold is None else _positions(spans, gold, joined.second)
            labels = {
                name: np.array(place, dtype=np.int64)
                for name, place in zip(("start", "end"), places, strict=True)
            }
        return Encoding(joined.input_ids, units, joined.token_type_ids, labels, offsets)


def _answer_in(answers: Sequence[Answer] | None, window: Ints) -> tuple[int, int] | None:
    """The character span of the first gold answer that lies in the window whole."""
    if not answers or not len(window):
        return None
    for answer in answers:
        start = answer.start + len(answer.text) - len(answer.text.lstrip())
        end = answer.start + len(answer.text.rstrip())
        if window[0, 0] <= start < end <= window[-1, 1]:
            return start, end
    return None


def _positions(spans: Ints, gold: tuple[int, int], first: int) -> tuple[int, int]:
    """First and last piece that overlaps the gold span; the first position if none does."""
    overlapping = np.flatnonzero((spans[:, 0] < gold[1]) & (spans[:, 1] > gold[0]))
    if not len(overlapping):
        return 0, 0
    return first + int(overlapping[0]), first + int(overlapping[-1])
