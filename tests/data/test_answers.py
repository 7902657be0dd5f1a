import time
import unicodedata
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from destilo.data.answers import AnswerPlacer
from destilo.data.tally import Tally
from destilo.errors import DataError
from destilo.rows import Answer

CONTEXT = "La señora Peña nació en Ávila en 1901. Murió en Ávila en 1980."
FORMS: tuple[Literal["NFC"], Literal["NFD"]] = ("NFC", "NFD")
NFD = unicodedata.normalize("NFD", CONTEXT)


def place(
    context: str, *given_answers: tuple[str, int | None]
) -> tuple[tuple[Answer, ...], tuple[str, ...]]:
    placer = AnswerPlacer(tally := Tally())
    answers = placer.place(context, list(given_answers), row="q1", where="a.json:3")
    placer.finish()
    return answers, tally.notes()


@given(st.text(alphabet="ab áé\u0301ñ\u200b\U0001f600\x00", min_size=1, max_size=30), st.data())
def test_placed_answers_stand_in_their_context(context: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(context) - 1))
    end = data.draw(st.integers(start + 1, len(context)))
    off = data.draw(st.integers(-2, 2))
    text = context[start:end]
    composed, decomposed = (unicodedata.normalize(form, text) for form in FORMS)
    text = data.draw(st.sampled_from([text, composed, decomposed]))
    try:
        answers, notes = place(context, (text, start + off))
    except DataError:
        return
    (answer,) = answers
    assert context[answer.start :].startswith(answer.text)
    same = unicodedata.normalize("NFD", answer.text).strip()
    assert same == unicodedata.normalize("NFD", text).strip()
    assert bool(notes) == (answer != Answer(text, start + off))


def test_right_offsets_are_left_alone() -> None:
    assert place(CONTEXT, ("Ávila", 48)) == ((Answer("Ávila", 48),), ())


def test_duplicates_are_merged_in_order() -> None:
    answers, _ = place(CONTEXT, ("1980", 57), ("1901", 33), ("1980", 57))
    assert answers == (Answer("1980", 57), Answer("1901", 33))


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("1901", 35),  # counted in bytes: two letters before it take two
        ("1901", None),
        ("1901", -1),
        (" 1901 ", 30),
        ("1901\n", 33),
    ],
)
def test_a_text_that_stands_once_is_repaired(text: str, start: int | None) -> None:
    answers, notes = place(CONTEXT, (text, start))
    assert answers[0].text.strip() == "1901"
    assert CONTEXT.startswith(answers[0].text, answers[0].start)
    assert "repaired" in notes[0]
    assert "1 (q1)" in notes[0]


@pytest.mark.parametrize(
    ("context", "text", "wanted"),
    [
        ("Dio la vuelta al mundo y a otros mundos.", "mundo", 17),
        ("Es universal. Lleva sal.", "sal", 20),
        ("De 1901 a 19012.", "1901", 3),
        (unicodedata.normalize("NFD", "Él no es Élida."), "Él", 0),
        ("«Sal» universal", "Sal", 1),
        ("Salió (de Jaca).", "(de", 6),
    ],
)
def test_a_repair_takes_whole_words(context: str, text: str, wanted: int) -> None:
    answers, notes = place(context, (text, 2))
    assert answers[0].start == wanted
    assert notes


@pytest.mark.parametrize(
    ("context", "text"),
    [("Hay otros mundos.", "mundo"), ("Es universal.", "sal"), ("En 1901.", "901")],
)
def test_a_text_inside_longer_words_is_refused(context: str, text: str) -> None:
    with pytest.raises(DataError, match="stands inside longer words only"):
        place(context, (text, 0))
    start = context.index(text)
    assert place(context, (text, start)) == ((Answer(text, start),), ())


def test_an_answer_takes_the_form_of_its_context() -> None:
    composed, _ = place(CONTEXT, (unicodedata.normalize("NFD", "Peña"), 0))
    assert composed == (Answer("Peña", 10),)
    decomposed, _ = place(NFD, ("Peña", 0))
    assert decomposed == (Answer(unicodedata.normalize("NFD", "Peña"), NFD.index("Pen")),)


def test_a_right_offset_need_not_be_unique_when_only_the_form_differs() -> None:
    start = NFD.rindex("A")
    answers, notes = place(NFD, ("Ávila", start))
    assert answers == (Answer(NFD[start : start + 6], start),)
    assert notes


def test_a_letter_is_not_found_inside_an_accented_one() -> None:
    with pytest.raises(DataError, match="does not stand"):
        place(unicodedata.normalize("NFD", "Ahí está José"), ("Jose", 3))


@pytest.mark.parametrize(
    ("text", "why"),
    [("Ávila", "stands several times"), ("Madrid", "does not stand"), ("", "an empty text")],
)
def test_what_cannot_be_placed_is_refused_with_its_id(text: str, why: str) -> None:
    with pytest.raises(DataError, match=rf"a\.json:3: question 'q1': '{text}' .*{why}"):
        place(CONTEXT, (text, 3))


def test_many_failures_are_counted_and_five_are_shown() -> None:
    placer = AnswerPlacer(Tally())
    for number in range(8):
        placer.place(CONTEXT, [("Madrid", 0)], row=f"q{number}", where="a.json:1")
    with pytest.raises(DataError, match=r"^8 answer") as caught:
        placer.finish()
    assert "'q4'" in str(caught.value)
    assert "'q5'" not in str(caught.value)
    assert "3 more" in str(caught.value)


def test_empty_answers_beside_real_ones_are_left_out() -> None:
    answers, notes = place(CONTEXT, ("", -1), ("1901", 33), ("", -1))
    assert answers == (Answer("1901", 33),)
    assert "left out" in notes[0]


def test_long_contexts_are_quick() -> None:
    context = "Él dijo que sí. " * 6_500 + "Nació en Alcañiz."
    placer = AnswerPlacer(Tally())
    wanted = [(unicodedata.normalize("NFD", "Alcañiz"), 5), ("Nació", 3)]
    started = time.perf_counter()
    for number in range(50):
        assert len(placer.place(context, wanted, row=str(number), where="a")) == 2
    assert time.perf_counter() - started < 5
