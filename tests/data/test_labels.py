from collections.abc import Sequence

import pytest

from destilo.data.labels import label_set
from destilo.errors import DataError
from destilo.rows import Answer, QuestionRow, Split, TaggingRow, TextRow

CLASSIFICATION, TAGGING, QA = "text-classification", "token-classification", "question-answering"


def texts(name: str, *labels: str | None) -> Split:
    rows = [TextRow(str(i), "a", None, label, f"{name}:{i}") for i, label in enumerate(labels, 1)]
    return Split(name, tuple(rows))


def tags(name: str, *sentences: str) -> Split:
    rows = [
        TaggingRow(str(i), tuple("abcdefgh"[: len(s.split())]), tuple(s.split()), f"{name}:{i}")
        for i, s in enumerate(sentences, 1)
    ]
    return Split(name, tuple(rows))


def labels(task: str, *splits: Split, declared: Sequence[str] | None = None) -> tuple[str, ...]:
    return label_set(task, {split.name: split for split in splits}, declared=declared)


@pytest.mark.parametrize(
    ("found", "ordered"),
    [
        (["b", "a", "b"], ("a", "b")),
        (["10", "9", "1"], ("1", "9", "10")),
        (["1", "-1", "0.5"], ("-1", "0.5", "1")),
        (["10", "9", "x"], ("10", "9", "x")),
        (["Z", "O", "B"], ("B", "O", "Z")),
    ],
)
def test_the_order_is_that_of_values_not_of_rows(
    found: list[str], ordered: tuple[str, ...]
) -> None:
    assert labels(CLASSIFICATION, texts("train", *found)) == ordered
    assert labels(CLASSIFICATION, texts("train", *reversed(found))) == ordered


def test_a_declared_order_is_kept_and_may_name_more() -> None:
    train = texts("train", "a", "b")
    assert labels(CLASSIFICATION, train, declared=["b", "c", "a"]) == ("b", "c", "a")


def test_chunk_tags_start_with_o_and_are_closed() -> None:
    train = tags("train", "B-PER O", "B-LOC I-LOC")
    assert labels(TAGGING, train) == ("O", "B-LOC", "B-PER", "I-LOC", "I-PER")


def test_a_chunk_continued_in_test_only_is_no_surprise() -> None:
    labels(TAGGING, tags("train", "B-PER O"), tags("test", "B-PER I-PER"))


def test_parts_of_speech_are_not_closed() -> None:
    assert labels(TAGGING, tags("train", "NOUN ADJ O")) == ("ADJ", "NOUN", "O")


def test_a_label_in_test_only_is_refused_with_place_count_and_remedy() -> None:
    message = (
        r"data\.test: label 'c' \(2x, first at test:2\) is not in data\.train \(a, b\).*labels"
    )
    with pytest.raises(DataError, match=message):
        labels(CLASSIFICATION, texts("train", "a", "b"), texts("test", "a", "c", "c"))
    declared = labels(
        CLASSIFICATION, texts("train", "a", "b"), texts("test", "c"), declared=["a", "b", "c"]
    )
    assert declared == ("a", "b", "c")


def test_a_tag_in_test_only_is_refused_with_its_word() -> None:
    with pytest.raises(DataError, match=r"'B-MISC' \(1x, first at test-x:1, word 2\)"):
        labels(TAGGING, tags("train", "O B-PER"), tags("test-x", "O B-MISC"))


def test_a_label_that_is_not_declared_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"data\.train: label 'b' .* is not in `data\.labels` \(a, c"
    ):
        labels(CLASSIFICATION, texts("train", "a", "b"), declared=["a", "c"])
    with pytest.raises(DataError, match="declared twice: 'a'"):
        labels(CLASSIFICATION, texts("train", "a", "b"), declared=["a", "b", "a"])


def test_a_wrong_label_column_is_told_in_a_few_lines() -> None:
    train = texts("train", *(f"una frase larga, la {n:04d}, que no es clase" for n in range(5_000)))
    with pytest.raises(DataError) as caught:
        labels(CLASSIFICATION, train, texts("test", *(f"otra {n}" for n in range(900))))
    said = str(caught.value)
    assert len(said) < 1_500
    assert "and 895 more is not in data.train" in said
    assert "and 4,990 more)" in said
    assert "Nearly every row of data.train has a label of its own" in said
    assert "`columns`" in said


def test_many_labels_that_recur_are_no_wrong_column() -> None:
    train = texts("train", *(f"clase-{n % 50}" for n in range(200)))
    with pytest.raises(DataError, match=r"and 40 more\)\. A model cannot learn"):
        labels(CLASSIFICATION, train, texts("test", "otra"))


def test_training_rows_need_labels() -> None:
    with pytest.raises(DataError, match=r"data\.train: 1 of 2 rows .*train:2.*data\.unlabelled"):
        labels(CLASSIFICATION, texts("train", "a", None))


def test_measured_splits_need_some_labels_and_unlabelled_needs_none() -> None:
    train = texts("train", "a", "b")
    labels(CLASSIFICATION, train, texts("test", "a", None), texts("unlabelled", None))
    with pytest.raises(DataError, match=r"data\.test: 1 of 1 rows .*Nothing can be measured"):
        labels(CLASSIFICATION, train, texts("test", None))


def test_the_readers_note_on_a_missing_column_comes_along() -> None:
    split = Split("train", (TextRow("1", "a"),), ("No column 'label' (columns: text, x): ...",))
    with pytest.raises(DataError, match=r"columns: text, x"):
        labels(CLASSIFICATION, split)


def test_a_single_class_is_refused() -> None:
    with pytest.raises(DataError, match="only one class, 'a', in 2 rows"):
        labels(CLASSIFICATION, texts("train", "a", "a"))


def test_questions_have_no_labels_but_need_answers() -> None:
    answered = QuestionRow("1", "q", "c", (Answer("c", 0),), "train:1")
    impossible = QuestionRow("2", "q", "c", (), "train:2")
    assert labels(QA, Split("train", (answered, impossible))) == ()
    with pytest.raises(DataError, match=r"data\.train: 1 of 2 rows have not answers"):
        labels(QA, Split("train", (answered, QuestionRow("3", "q", "c"))))
