import time
import unicodedata

import pytest

from destilo.data.leaks import find_conflict, find_leaks, normalise_text
from destilo.rows import Answer, QuestionRow, Row, Split, TaggingRow, TextRow


def split(name: str, *rows: Row) -> Split:
    return Split(name, rows)


def text(value: str, *, pair: str | None = None, label: str | None = None) -> TextRow:
    return TextRow("1", value, pair, label, f"at {value}")


def found(*splits: Split) -> list[tuple[str, str, str, str, int, int, float]]:
    leaks = find_leaks({s.name: s for s in splits})
    return [
        (x.first, x.second, x.unit, x.kind, x.count, x.long_count, x.share_of_second) for x in leaks
    ]


@pytest.mark.parametrize(
    "same",
    [
        "¡La Señora Peña, en Ávila!",
        "la senora pena en avila",
        "LA SEÑORA PEÑA EN ÁVILA",
        unicodedata.normalize("NFD", "La señora Peña en Ávila"),
        "La\u200bseñora  Peña\u00a0en\tÁvila",
        "La señora Peña en Ávila",
    ],
)
def test_normalised_texts(same: str) -> None:
    assert normalise_text(same) == "lasenorapenaenavila"


def test_exact_and_normalised_duplicates_are_counted() -> None:
    train = split("train", text("Qué bien"), text("Otra cosa distinta, y bastante larga"))
    test = split(
        "test",
        text("Qué bien"),
        text("que bien!"),
        text("nada"),
        text("Otra cosa distinta, y bastante larga"),
    )
    assert found(train, test) == [
        ("train", "test", "text", "exact", 2, 1, 0.5),
        ("train", "test", "text", "normalised", 3, 1, 0.75),
    ]
    (exact, _) = find_leaks({"train": train, "test": test})
    assert exact.examples == ("at Otra cosa distinta, y bastante larga",)
    assert "2 rows of test (50.0%" in str(exact)


def test_a_normalised_leak_is_named_only_where_it_adds_rows() -> None:
    assert [leak[3] for leak in found(split("train", text("a")), split("test", text("a")))] == [
        "exact"
    ]


def test_texts_of_punctuation_alone_are_not_all_the_same() -> None:
    assert found(split("train", text("?")), split("test", text("!"))) == []


def test_pairs_have_no_order_and_both_texts_count() -> None:
    train = split("train", text("a", pair="b"))
    assert found(train, split("test", text("b", pair="a")))[0][2:5] == ("pair", "exact", 1)
    assert found(train, split("test", text("a", pair="c"), text("a"))) == []


def test_sentences_are_compared_by_their_words() -> None:
    train = split("train", TaggingRow("1", ("El", "río"), ("O", "O")))
    same = TaggingRow("2", ("El", "río"), ("O", "B-LOC"))
    cut_otherwise = TaggingRow("3", ("Elrío", "."))
    assert [leak[3:5] for leak in found(train, split("test", same, cut_otherwise))] == [
        ("exact", 1),
        ("normalised", 2),
    ]


def test_contexts_and_questions_are_units_of_their_own() -> None:
    train = split("train", QuestionRow("1", "¿Dónde?", "El Tajo"))
    test = split(
        "test", QuestionRow("2", "¿Cuándo?", "El Tajo"), QuestionRow("3", "¿Dónde?", "tajo")
    )
    assert [leak[2:5] for leak in found(train, test)] == [("context", "exact", 1)]


def test_which_splits_are_compared() -> None:
    names = ["test-b", "validation", "unlabelled", "train", "test-a"]
    pairs = {leak[:2] for leak in found(*(split(name, text("a")) for name in names))}
    tests = {"test-a", "test-b"}
    assert pairs == {
        (first, second)
        for first in ("train", "unlabelled", "validation")
        for second in {"validation", *tests} - {first}
    }


def test_conflicts_within_a_split() -> None:
    train = split(
        "train",
        text("a", label="x"),
        text("a", label="y"),
        text("b", label="x"),
        text("b", label="x"),
        text("c", label="x"),
        text("a"),
    )
    conflict = find_conflict(train)
    assert conflict is not None
    assert (conflict.count, conflict.texts, conflict.duplicates) == (2, 1, 2)
    assert conflict.examples == ("at a", "at a")
    assert find_conflict(split("train", text("b", label="x"), text("b", label="x"))) is None


def test_questions_conflict_by_their_answers() -> None:
    one = QuestionRow("1", "q", "a b", (Answer("a", 0),))
    two = QuestionRow("2", "q", "a b", (Answer("b", 2),))
    assert find_conflict(split("train", one, two)) is not None
    assert find_conflict(split("train", one, QuestionRow("3", "q", "a b", one.answers))) is None


def test_a_hundred_thousand_rows_are_quick() -> None:
    train = split("train", *(text(f"La frase número {i} de muchas más.") for i in range(100_000)))
    test = split("test", *(text(f"la frase numero {i}, de muchas mas") for i in range(0, 9_000, 3)))
    started = time.perf_counter()
    assert found(train, test)[0][3:5] == ("normalised", 3_000)
    assert time.perf_counter() - started < 10
