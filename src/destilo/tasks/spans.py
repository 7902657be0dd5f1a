"""From start and end logits to answers: one span per row out of all windows of its context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from destilo.rows import QuestionRow
from destilo.tasks.answer_text import best_match, normalize
from destilo.tasks.base import Encoding, Example, HeadArrays, Prediction
from destilo.tasks.classes import probabilities

_SPARE = 4
"""Candidates looked at per span wanted: pieces of one character make the same span twice."""


@dataclass(slots=True)
class _Found:
    """What the windows of one row have given so far."""

    scores: dict[tuple[int, int], float]
    no_answer: float = np.inf


def decode_answers(
    rows: Sequence[QuestionRow],
    examples: Sequence[Example],
    heads: Sequence[HeadArrays],
    *,
    max_answer_length: int,
    n_best: int,
    no_answer_threshold: float | None,
) -> list[Prediction]:
    """Find the best spans of each row.

    A span's score is its start logit plus its end logit. All spans of a window that end after
    they start and cover at most ``max_answer_length`` words are compared, not only those of the
    best starts and ends. A row's best span is the best of all its windows; its score for "no
    answer" is the lowest that a window gives to its first position (every window has to agree).
    ``no_answer_score`` is the latter minus the former.

    Args:
        rows: The rows.
        examples: Their windows.
        heads: ``start`` and ``end`` [length] per window.
        max_answer_length: In words.
        n_best: Spans to list per row, all different.
        no_answer_threshold: The answer is ``""`` where ``no_answer_score`` is above this;
            ``None``: there is always an answer, unless the context has no word.

    Reference:
        Rajpurkar et al. (2018); the null score difference of BERT's ``run_squad.py``.
    """
    found = [_Found({}) for _ in rows]
    for example, head in zip(examples, heads, strict=True):
        encoding, own = example.encodings[0], found[example.row]
        start, end = (np.asarray(head[name], dtype=np.float64) for name in ("start", "end"))
        own.no_answer = min(own.no_answer, float(start[0] + end[0]))
        context = rows[example.row].context
        for span, score in _best_spans(
            encoding, start, end, context, max_words=max_answer_length, n_best=n_best
        ):
            if score > own.scores.get(span, -np.inf):
                own.scores[span] = score
    return [
        _prediction(row, own, n_best=n_best, threshold=no_answer_threshold)
        for row, own in zip(rows, found, strict=True)
    ]


def _best_spans(
    encoding: Encoding, start: Any, end: Any, context: str, *, max_words: int, n_best: int
) -> list[tuple[tuple[int, int], float]]:
    """The best different spans of one window with their scores, best first."""
    assert encoding.offsets is not None, "question answering needs offsets"
    inside = np.flatnonzero(encoding.units > 0)
    if not len(inside):
        return []
    units, offsets = encoding.units[inside], encoding.offsets[inside]
    # [pieces], how many pieces from each on may end its span; the band holds every allowed pair.
    reach = np.searchsorted(units, units + max_words, side="left") - np.arange(len(inside))
    width = int(reach.max())
    ends = np.concatenate([end[inside], np.full(width - 1, -np.inf)])
    band = start[inside][:, None] + np.lib.stride_tricks.sliding_window_view(ends, width)
    band[np.arange(width)[None, :] >= reach[:, None]] = -np.inf
    flat = band.ravel()
    wanted = min(len(flat), n_best * _SPARE)
    chosen = np.argpartition(-flat, wanted - 1)[:wanted]
    # Equal scores are taken in reading order, so that the result does not depend on the machine.
    chosen = chosen[np.lexsort((chosen, -flat[chosen]))]
    spans: dict[tuple[int, int], float] = {}
    for place in chosen.tolist():
        score = float(flat[place])
        if score == -np.inf:  # from here on only pairs that are not allowed
            break
        first, step = divmod(place, width)
        span = _trimmed(context, int(offsets[first, 0]), int(offsets[first + step, 1]))
        if span is not None:
            spans.setdefault(span, score)
    return list(spans.items())[:n_best]


def _trimmed(context: str, start: int, end: int) -> tuple[int, int] | None:
    """Leave out whitespace around a span; ``None`` if nothing else is in it."""
    text = context[start:end]
    start += len(text) - len(text.lstrip())
    end -= len(text) - len(text.rstrip())
    return (start, end) if start < end else None


def _prediction(
    row: QuestionRow, found: _Found, *, n_best: int, threshold: float | None
) -> Prediction:
    """Put one row's answer and its runners-up together."""
    best = sorted(found.scores.items(), key=lambda item: (-item[1], item[0]))[:n_best]
    empty = {"answer": "", "start": None, "end": None, "score": _finite(found.no_answer)}
    listed: list[dict[str, Any]] = [
        {"answer": row.context[start:end], "start": start, "end": end, "score": score}
        for (start, end), score in best
    ]
    difference = _finite(found.no_answer - best[0][1]) if best else 0.0
    answers = not best or (threshold is not None and difference > threshold)
    answer = empty if answers else listed[0]
    if threshold is not None or not best:
        listed.append(empty)
        listed.sort(key=lambda entry: -entry["score"])  # stable: a span goes before "no answer"
    shares = probabilities(np.array([entry["score"] for entry in listed], dtype=np.float32))
    return {
        "id": row.id,
        **answer,
        "no_answer_score": difference,
        "n_best": [
            {**entry, "probability": float(share)}
            for entry, share in zip(listed, shares, strict=True)
        ],
    }


def _finite(score: float) -> float:
    return float(score) if np.isfinite(score) else 0.0


def best_threshold(
    rows: Sequence[QuestionRow], predictions: Sequence[Mapping[str, Any]], *, language: str
) -> float:
    """The ``no_answer_score`` above which "no answer" gives the best F1 on labelled rows.

    Every score that occurs is tried, and one below all of them. Of equally good thresholds the
    lowest is taken, as in the official script.

    Returns:
        The threshold; 0 without labelled rows.

    Reference:
        Rajpurkar et al. (2018), ``find_best_thresh`` of the official ``evaluate-v2.0.py``.
    """
    gains: list[tuple[float, float]] = []
    for row, prediction in zip(rows, predictions, strict=True):
        if row.answers is None:
            continue
        span = next((entry["answer"] for entry in prediction["n_best"] if entry["answer"]), "")
        gold = [answer.text for answer in row.answers]
        with_span, _ = best_match(gold, span, normalize=lambda text: normalize(text, language))
        without, _ = best_match(gold, "", normalize=lambda text: normalize(text, language))
        gains.append((float(prediction["no_answer_score"]), with_span - without))
    if not gains:
        return 0.0
    scores = np.array([score for score, _ in gains])
    gain = np.array([value for _, value in gains])
    candidates = np.unique(scores)
    total = np.zeros(len(candidates))
    np.add.at(total, np.searchsorted(candidates, scores), gain)
    running = np.concatenate([[0.0], np.cumsum(total)])
    lowest = float(candidates[0]) - 1.0
    best = int(np.argmax(np.round(running, 9)))
    return lowest if best == 0 else float(candidates[best - 1])
