import unicodedata

import pytest

from destilo.tasks.answer_text import best_match, normalize, normalize_squad


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("es", "«Los  Andes»", "andes"),
        ("es", "¿En el año 1492?", "en año 1492"),
        ("es", "lo mejor del mundo", "lo mejor del mundo"),
        ("es", "Las", "las"),
        ("es", "¡!", "¡!"),
        ("es", "3.500 €", "3500 €"),
        ("es", "Mérida\u200b", "mérida"),
        ("en", "The  end", "end"),
        ("pt", "o rio e a foz", "rio e foz"),
        ("fr", "L'homme et l’eau", "homme et eau"),
        ("it", "l'acqua e un'ora", "acqua e ora"),
        ("ca", "l'aigua dels rius", "aigua dels rius"),
        ("de", "der große Fluss", "große fluss"),
        ("tl", "ang mga bata", "bata"),
        ("ja", "「東京」", "東京"),
    ],
)
def test_normalisation_by_language(language: str, text: str, expected: str) -> None:
    assert normalize(text, language) == expected


def test_composed_and_decomposed_accents_are_equal() -> None:
    assert normalize(unicodedata.normalize("NFD", "Año"), "es") == normalize("año", "es")


def test_squad_rule() -> None:
    assert normalize_squad("The Cat's  hat, an (old) one.") == "cats hat old one"
    assert normalize_squad("«el» año") == "«el» año"


def test_an_answer_that_normalises_to_nothing() -> None:
    assert best_match(["The"], "", normalize=normalize_squad) == (1.0, 1.0)  # as evaluate-v2.0
    assert best_match(["", "oro"], "", normalize=normalize_squad) == (0.0, 0.0)
    assert best_match([], "the", normalize=normalize_squad) == (1.0, 1.0)
    assert best_match([], "las", normalize=lambda text: normalize(text, "es")) == (0.0, 0.0)
    assert best_match(["Las"], "las", normalize=lambda text: normalize(text, "es")) == (1.0, 1.0)


def test_best_over_several_answers() -> None:
    # 'a b' against 'a b c d': 2 * 2 / (2 + 4); against 'b': 2 * 1 / (2 + 1).
    assert best_match(["w x y z", "x"], "w x", normalize=normalize_squad) == (2 / 3, 0.0)
    assert best_match(["w x y z", "w x"], "w x", normalize=normalize_squad) == (1.0, 1.0)
    # A repeated word is shared as often as both have it.
    assert best_match(["x x y"], "x x x", normalize=normalize_squad)[0] == pytest.approx(4 / 6)
