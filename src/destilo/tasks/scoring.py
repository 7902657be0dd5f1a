"""Metrics of the tasks, each with a bootstrap interval over rows.

Tagging and classification count per row and add up, so corpus-level figures (micro and macro
F1) get intervals as well. Answers are compared in ``answer_text``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from destilo.records import Score
from destilo.tasks.answer_text import best_match, normalize, normalize_squad
from destilo.tasks.bootstrap import Doubles, Statistic, bootstrap, ratio

Entity: TypeAlias = tuple[str, int, int]
"""Type, first word and last word."""


def score_classes(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], *, bootstrap_samples: int
) -> dict[str, Score]:
    """Accuracy and macro-F1 of classes.

    Macro-F1 is the mean over the classes that occur in gold or prediction, in a resample too.

    Args:
        gold: Per row its classes: one for a text, one per word for a sentence.
        predicted: Likewise.
        bootstrap_samples: Resamples of rows.
    """
    rows = [
        np.repeat(np.arange(len(side)), [len(row) for row in side]) for side in (gold, predicted)
    ]
    assert np.array_equal(rows[0], rows[1]), "gold and prediction differ in length"
    names = sorted({label for side in (gold, predicted) for row in side for label in row})
    numbers = {name: number for number, name in enumerate(names)}
    true, guess = (
        np.array([numbers[label] for row in side for label in row], dtype=np.int64)
        for side in (gold, predicted)
    )
    shape = (len(gold), len(names))
    hits, in_gold, in_guess = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    right = true == guess
    np.add.at(hits, (rows[0][right], true[right]), 1)
    np.add.at(in_gold, (rows[0], true), 1)
    np.add.at(in_guess, (rows[0], guess), 1)
    n = len(names)

    def accuracy(sums: Doubles) -> Doubles:
        return ratio(sums[:, :n].sum(axis=1), sums[:, n : 2 * n].sum(axis=1))

    def macro_f1(sums: Doubles) -> Doubles:
        both = sums[:, n : 2 * n] + sums[:, 2 * n :]
        return ratio(ratio(2 * sums[:, :n], both).sum(axis=1), (both > 0).sum(axis=1))

    counts = np.concatenate([hits, in_gold, in_guess], axis=1)
    return bootstrap(
        counts, {"accuracy": accuracy, "macro_f1": macro_f1}, samples=bootstrap_samples
    )


def score_entities(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], *, bootstrap_samples: int
) -> dict[str, Score]:
    """Micro F1, precision and recall of entities, equal to the seqeval package's.

    Args:
        gold: Tags per sentence.
        predicted: Likewise.
        bootstrap_samples: Resamples of sentences.
    """
    counts = [
        (len(set(true) & set(guess)), len(guess), len(true))
        for true, guess in zip(entities(gold), entities(predicted), strict=True)
    ]
    statistics: Mapping[str, Statistic] = {
        "f1": lambda sums: ratio(2 * sums[:, 0], sums[:, 1] + sums[:, 2]),
        "precision": lambda sums: ratio(sums[:, 0], sums[:, 1]),
        "recall": lambda sums: ratio(sums[:, 0], sums[:, 2]),
    }
    return bootstrap(np.array(counts).reshape(-1, 3), statistics, samples=bootstrap_samples)


def entities(sentences: Sequence[Sequence[str]]) -> list[list[Entity]]:
    """Read entities off tags as conlleval and seqeval's default mode do.

    An ``I-`` that continues nothing opens an entity, and so does a change of type. Tags of
    other schemes are read as seqeval reads them: the first character is the prefix, the rest is
    the type. Such tags may open an entity in one sentence and end it in a later one, exactly as
    there; it counts for the sentence that it ends in, and its first word is then negative.

    Returns:
        Per sentence its entities, in order.

    Reference:
        Ramshaw and Marcus (1995); conlleval (Tjong Kim Sang, 2000); seqeval ``get_entities``.
    """
    found: list[list[Entity]] = []
    offset = begin = 0
    prefix, kind = "O", ""
    for tags in sentences:
        own: list[Entity] = []
        for place, tag in enumerate([*tags, "O"], start=offset):
            new_prefix, new_kind = tag[:1], tag[1:].split("-", maxsplit=1)[-1] or "_"
            if _ends(prefix, new_prefix, changed=kind != new_kind):
                own.append((kind, begin - offset, place - 1 - offset))
            if _begins(prefix, new_prefix, changed=kind != new_kind):
                begin = place
            prefix, kind = new_prefix, new_kind
        offset += len(tags) + 1
        found.append(own)
    return found


_AFTER_LAST = frozenset({("B", "B"), ("B", "S"), ("B", "O"), ("I", "B"), ("I", "S"), ("I", "O")})
_BEFORE_FIRST = frozenset({("E", "E"), ("E", "I"), ("S", "E"), ("S", "I"), ("O", "E"), ("O", "I")})


def _ends(prefix: str, new: str, *, changed: bool) -> bool:
    return (
        prefix in ("E", "S")
        or (prefix, new) in _AFTER_LAST
        or (prefix not in ("O", ".") and changed)
    )


def _begins(prefix: str, new: str, *, changed: bool) -> bool:
    return (
        new in ("B", "S") or (prefix, new) in _BEFORE_FIRST or (new not in ("O", ".") and changed)
    )


def score_answers(
    gold: Sequence[Sequence[str]],
    predicted: Sequence[str],
    *,
    language: str,
    bootstrap_samples: int,
) -> dict[str, Score]:
    """F1 and exact match of answers, each the best over the gold answers of a row.

    Args:
        gold: Per row its answers; none where there is no answer.
        predicted: Per row; ``""`` for no answer.
        language: Whose articles ``f1`` and ``em`` drop; ``squad_f1`` and ``squad_em`` follow the
            official English rule.
        bootstrap_samples: Resamples of rows.
    """
    counts = []
    for answers, answer in zip(gold, predicted, strict=True):
        own = best_match(answers, answer, normalize=lambda text: normalize(text, language))
        counts.append((1.0, *own, *best_match(answers, answer, normalize=normalize_squad)))

    def mean(column: int) -> Statistic:
        return lambda sums: ratio(sums[:, column], sums[:, 0])

    names = ("f1", "em", "squad_f1", "squad_em")
    statistics = {name: mean(column) for column, name in enumerate(names, start=1)}
    return bootstrap(np.array(counts).reshape(-1, 5), statistics, samples=bootstrap_samples)
