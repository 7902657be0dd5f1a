import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from destilo.data.piece_spans import piece_spans
from tests.factories import KINDS, SENTENCES, Kind, text_tokenizer

NASTY = [
    "",
    "  \t ",
    "año  nuevo\n\n¿sí?",
    "\u0301e\u0301",
    "👩‍🌾 y 🌲",
    "½ ﬁn",
    "\ud800 x",
    "中文 字",
    "a" * 300,
]


def spans_of(kind: Kind, texts: list[str]) -> tuple[list[list[int]], list[list[bool]]]:
    flat = text_tokenizer(kind).flat(texts)
    spans = piece_spans(texts, flat.ends, flat.counts)
    cuts = np.cumsum(flat.counts)[:-1]
    return (
        [part.tolist() for part in np.split(spans.characters, cuts)],
        [part.tolist() for part in np.split(spans.begins_word, cuts)],
    )


@pytest.mark.parametrize("kind", KINDS)
@given(st.lists(st.one_of(st.text(max_size=30), st.sampled_from([*NASTY, *SENTENCES])), max_size=5))
def test_every_character_belongs_to_one_piece(kind: Kind, texts: list[str]) -> None:
    characters, begins = spans_of(kind, texts) if texts else ([], [])
    for text, lengths, first in zip(texts, characters, begins, strict=True):
        assert all(length >= 0 for length in lengths)
        assert sum(lengths) == (len(text) if lengths else 0)
        assert first[:1] in ([], [True])


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_reads_the_same_whatever_stands_beside_it(kind: Kind) -> None:
    texts = [*NASTY, *SENTENCES, *NASTY]
    together = spans_of(kind, texts)
    alone = [spans_of(kind, [text]) for text in texts]
    assert together == ([one[0][0] for one in alone], [one[1][0] for one in alone])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("La niña de Ávila", 4),
        ("así, terminó.", 4),
        ("«No volveré» dijo", 5),
        ("cami\u00adón", 1),
        ("1987", 1),
        ("a  b\nc", 3),
    ],
)
def test_words_are_the_same_in_every_vocabulary(kind: Kind, text: str, words: int) -> None:
    characters, begins = spans_of(kind, [text])
    assert sum(begins[0]) == words
    starts = np.cumsum([0, *characters[0][:-1]])
    for start, begin in zip(starts, begins[0], strict=True):
        if begin:  # no word is cut in two
            before, after = text[:start][-1:], text[start:].lstrip()[:1]
            assert not (before.isalnum() and text[start] == after and after.isalnum())


def test_by_hand() -> None:
    # "¡Hola , mundo" as ¡ | Ho | la | " ," | " " | mun | do
    text = "¡Hola , mundo"
    ends = np.array([1, 3, 5, 7, 8, 11, 13])
    spans = piece_spans([text], ends, np.array([7]))
    assert spans.characters.tolist() == [1, 2, 2, 2, 1, 3, 2]
    # The space alone begins the word that follows it.
    assert spans.begins_word.tolist() == [True, True, False, True, True, False, False]


def test_chinese_characters_are_words() -> None:
    spans = piece_spans(["中文字"], np.array([1, 2, 3]), np.array([3]))
    assert spans.begins_word.tolist() == [True, True, True]
