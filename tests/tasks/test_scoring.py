import warnings
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities

from destilo.tasks.bootstrap import bootstrap, ratio
from destilo.tasks.scoring import entities, score_answers, score_classes, score_entities

UPOS = ("ADJ", "ADP", "DET", "NOUN", "VERB", "PUNCT", "X", "INTJ", "PROPN", "SCONJ", "SYM", "_")
IOB = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "I-MISC", "B-A-B", "I-A-B")
ODD = ("O", "B", "I", "E-PER", "S-PER", "I-PER", "B-LOC", ".", "B-", "XYZ", "I-LOC", "E", "-")


def tagged(tags: tuple[str, ...]) -> st.SearchStrategy[list[list[tuple[str, str]]]]:
    word = st.tuples(st.sampled_from(tags), st.sampled_from(tags))
    return st.lists(st.lists(word, min_size=1, max_size=8), min_size=1, max_size=6)


def sides(sentences: list[list[tuple[str, str]]]) -> tuple[list[list[str]], list[list[str]]]:
    gold = [[word[0] for word in sentence] for sentence in sentences]
    return gold, [[word[1] for word in sentence] for sentence in sentences]


@pytest.mark.parametrize("tags", [IOB, UPOS, ODD])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_entity_scores_equal_seqeval(tags: tuple[str, ...], data: st.DataObject) -> None:
    gold, predicted = sides(data.draw(tagged(tags)))
    scores = score_entities(gold, predicted, bootstrap_samples=0)
    classes = score_classes(gold, predicted, bootstrap_samples=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # seqeval warns of tags that are no entities
        flat = [
            (kind, first, last, n)
            for n, own in enumerate(map(list, entities(gold)))
            for kind, first, last in own
        ]
        offsets = np.cumsum([0, *(len(row) + 1 for row in gold)])
        moved = [(kind, first + offsets[n], last + offsets[n]) for kind, first, last, n in flat]
        assert moved == get_entities(gold)
        assert scores["f1"].value == pytest.approx(f1_score(gold, predicted), abs=1e-12)
        assert scores["precision"].value == pytest.approx(precision_score(gold, predicted))
        assert scores["recall"].value == pytest.approx(recall_score(gold, predicted))
        assert classes["accuracy"].value == pytest.approx(accuracy_score(gold, predicted))


def test_a_broken_sequence_is_repaired_as_conlleval_does() -> None:
    tags = ["I-PER", "I-PER", "O", "B-LOC", "I-PER", "B-PER", "B-PER", "I-PER"]
    assert entities([tags]) == [
        [("PER", 0, 1), ("LOC", 3, 3), ("PER", 4, 4), ("PER", 5, 5), ("PER", 6, 7)]
    ]
    assert entities([["B-PER"], ["I-PER"], []]) == [[("PER", 0, 0)], [("PER", 0, 0)], []]


def test_macro_f1_worked_by_hand() -> None:
    # F1 = 2 tp / (gold + predicted). a: 2*2 / (2+3); b: 2*1 / (3+1); c, only predicted: 0.
    gold = [("a",), ("a",), ("b",), ("b",), ("b",)]
    predicted = [("a",), ("a",), ("b",), ("a",), ("c",)]
    scores = score_classes(gold, predicted, bootstrap_samples=0)
    assert scores["macro_f1"].value == pytest.approx((4 / 5 + 2 / 4 + 0) / 3)
    assert scores["accuracy"].value == pytest.approx(3 / 5)
    assert scores["accuracy"].n == 5


def test_no_rows_have_no_score() -> None:
    assert score_classes([], [], bootstrap_samples=5) == {}
    assert score_entities([], [], bootstrap_samples=5) == {}
    assert score_answers([], [], language="es", bootstrap_samples=5) == {}


def test_answers_worked_by_hand() -> None:
    gold: Sequence[Sequence[str]] = [["el río Ebro", "Ebro"], [], [], ["the cat sat"]]
    predicted = ["un río", "", "nada", "cat sat down"]
    scores = score_answers(gold, predicted, language="es", bootstrap_samples=0)
    # Row 1: 'río' and 'río ebro' share 1 of 1 and of 2 words, 2/3. Row 2 is right, row 3 wrong.
    # Row 4: 'the' is a word in Spanish: 2 shared of 3 and 3, 2/3.
    assert scores["f1"].value == pytest.approx((2 / 3 + 1 + 0 + 2 / 3) / 4)
    assert scores["em"].value == pytest.approx(1 / 4)
    # English: 'un río', 'el río ebro': 1 shared of 2 and 3, 2/5. 'cat sat', 'cat sat down': 4/5.
    assert scores["squad_f1"].value == pytest.approx((2 / 5 + 1 + 0 + 4 / 5) / 4)
    assert scores["squad_em"].value == pytest.approx(1 / 4)


def test_intervals_hold_the_value_and_narrow_with_rows() -> None:
    random = np.random.default_rng(1)
    statistics = {"mean": lambda sums: ratio(sums[:, 0], sums[:, 1])}
    widths = []
    for n_rows in (50, 5000):
        right = random.random(n_rows) < 0.7
        counts = np.stack([right, np.ones(n_rows)], axis=1)
        score = bootstrap(counts, statistics, samples=500)["mean"]
        assert score.low < score.value < score.high
        assert score.value == pytest.approx(right.mean())
        # The normal approximation of a proportion, 1.96 sqrt(p (1 - p) / n).
        p = right.mean()
        assert score.half_width == pytest.approx(1.96 * np.sqrt(p * (1 - p) / n_rows), rel=0.15)
        widths.append(score.half_width)
    assert widths[1] < widths[0] / 5


@given(seed=st.integers(0, 50))
def test_the_order_of_rows_changes_nothing(seed: int) -> None:
    random = np.random.default_rng(seed)
    counts = random.integers(0, 4, size=(30, 3)).astype(float) / 3
    statistics = {"f1": lambda sums: ratio(2 * sums[:, 0], sums[:, 1] + sums[:, 2])}
    shuffled = counts[random.permutation(30)]
    assert bootstrap(counts, statistics, samples=50) == bootstrap(shuffled, statistics, samples=50)


def test_without_samples_the_interval_is_the_value() -> None:
    score = score_classes([("a",), ("b",)], [("a",), ("a",)], bootstrap_samples=0)["accuracy"]
    assert (score.low, score.value, score.high) == (0.5, 0.5, 0.5)
