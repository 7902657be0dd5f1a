import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from destilo.data.labels import label_set, row_labels
from destilo.data.leaks import find_leaks
from destilo.data.splitting import carve_validation
from destilo.errors import DataError
from destilo.rows import Answer, QuestionRow, Row, Split, TaggingRow, TextRow


def train(*rows: Row) -> Split:
    return Split("train", tuple(replace(row, id=str(i)) for i, row in enumerate(rows)))


def classes(size: int, *, seed: int = 0) -> Split:
    rng = random.Random(seed)
    drawn = rng.choices(["a", "b", "c"], weights=[6, 3, 1], k=size)
    return train(*(TextRow("", f"texto {i}", None, label) for i, label in enumerate(drawn)))


def questions(contexts: int) -> Split:
    rows = [
        QuestionRow("", f"¿{q}?", f"contexto {c}", (Answer("contexto", 0),))
        for c in range(contexts)
        for q in range(1 + c % 5)
    ]
    return train(*rows)


ROW_SETS = st.lists(
    st.tuples(st.sampled_from("abcdefghij"), st.sampled_from("xyz")), min_size=8, max_size=60
)


@settings(max_examples=60)
@given(ROW_SETS, st.floats(0.05, 0.6), st.integers(0, 5))
def test_every_row_goes_to_one_side_and_no_text_to_both(
    drawn: list[tuple[str, str]], fraction: float, seed: int
) -> None:
    whole = train(*(TextRow("", text, None, label) for text, label in drawn))
    try:
        rest, carved = carve_validation(whole, fraction=fraction, seed=seed)
    except DataError:
        return
    both = [*rest.rows, *carved.rows]
    assert sorted(both, key=lambda row: int(row.id)) == list(whole.rows)
    assert find_leaks({"train": rest, "validation": carved}) == ()
    known = {label for row in rest.rows for label in row_labels(row)}
    assert known == {label for row in whole.rows for label in row_labels(row)}


def test_classes_keep_their_shares() -> None:
    whole = classes(1000)
    rest, carved = carve_validation(whole, fraction=0.2, seed=1)
    assert (len(rest), len(carved)) == (800, 200)
    everywhere = Counter(label for row in whole.rows for label in row_labels(row))
    moved = Counter(label for row in carved.rows for label in row_labels(row))
    assert all(abs(moved[label] - 0.2 * n) <= 1 for label, n in everywhere.items())


def test_whole_contexts_move() -> None:
    whole = questions(200)
    rest, carved = carve_validation(whole, fraction=0.1, seed=13)
    assert find_leaks({"train": rest, "validation": carved}) == ()
    assert abs(len(carved) - 0.1 * len(whole)) <= 3
    assert (rest.name, carved.name) == ("train", "validation")


@pytest.mark.parametrize("whole", [classes(300), questions(60)])
def test_the_choice_depends_on_the_seed_and_not_on_the_order(whole: Split) -> None:
    def chosen(split: Split, seed: int) -> set[str]:
        return {row.id for row in carve_validation(split, fraction=0.2, seed=seed)[1].rows}

    shuffled = list(whole.rows)
    random.Random(1).shuffle(shuffled)
    assert chosen(whole, 13) == chosen(replace(whole, rows=tuple(shuffled)), 13)
    assert chosen(whole, 13) != chosen(whole, 14)


def test_the_last_of_a_label_stays_in_training() -> None:
    rows = [TaggingRow("", (f"palabra{i}",), ("O",)) for i in range(20)]
    rows.append(TaggingRow("", ("Tajo",), ("B-LOC",)))
    whole = train(*rows)
    for seed in range(10):
        rest, carved = carve_validation(whole, fraction=0.5, seed=seed)
        label_set("token-classification", {"train": rest, "validation": carved}, declared=None)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5])
def test_fractions_out_of_range_are_refused(fraction: float) -> None:
    with pytest.raises(DataError, match="between 0 and 1"):
        carve_validation(classes(10), fraction=fraction, seed=1)


def test_a_single_context_cannot_be_divided() -> None:
    with pytest.raises(DataError, match="leaves one side empty"):
        carve_validation(questions(1), fraction=0.5, seed=1)
