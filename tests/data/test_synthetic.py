"""The synthetic set: laws of the data, and the Spanish that a machine can check."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path

import pytest

from destilo.data.synthetic import DIFFICULTY, SIZES, Difficulty, synthetic_rows, write_squad
from destilo.data.synthetic_facts import TOPICS
from destilo.data.synthetic_names import (
    MEN,
    TITLE_HEADS,
    TITLE_TAILS,
    WOMEN,
)
from destilo.data.synthetic_values import COLLECTED_GOODS, FIRM_GOODS, MONTHS, TOWN_GOODS
from destilo.errors import DataError
from destilo.rows import Answer, QuestionRow

SPLITS = ("train", "validation", "test", "unlabelled")
SIZE = 900
_MAN = rf"(?:{'|'.join(MEN)})\b"
_WOMAN = rf"(?:{'|'.join(WOMEN)})\b"
_FEMININE = (
    "(?:villa|ciudad|localidad|empresa|compañía|firma|sociedad|marca|pintora|médica|librera|"
    "escultora|ingeniera)"
)
_MASCULINE = "(?:municipio|pueblo|grupo|consorcio|pintor|médico|librero|escultor|ingeniero)"


@pytest.fixture(scope="module")
def rows() -> dict[str, tuple[QuestionRow, ...]]:
    return {split: synthetic_rows(split, size=SIZE) for split in SPLITS}


@pytest.fixture(scope="module")
def texts(rows: dict[str, tuple[QuestionRow, ...]]) -> list[str]:
    return [
        text for split in rows.values() for row in split for text in (row.context, row.question)
    ]


def test_the_same_arguments_give_the_same_rows() -> None:
    assert synthetic_rows("test", size=50) == synthetic_rows("test", size=50)
    assert synthetic_rows("test", size=50) != synthetic_rows("test", size=50, seed=8)


@pytest.mark.parametrize("size", [0, 1, 7, 60])
def test_a_smaller_set_begins_a_bigger_one(
    rows: dict[str, tuple[QuestionRow, ...]], size: int
) -> None:
    for split in SPLITS:
        assert synthetic_rows(split, size=size) == rows[split][:size]


def test_sizes_by_default() -> None:
    assert len(synthetic_rows("validation")) == SIZES["validation"]
    assert len({row.id for row in synthetic_rows("test")}) == SIZES["test"]


def _proper_names(rows: tuple[QuestionRow, ...]) -> set[str]:
    """Invented words: what begins with a capital and is neither a first name nor plain Spanish."""
    known = {*MEN, *WOMEN}
    for topic in TOPICS:
        for relation in topic.relations.values():
            known |= _capitals(" ".join(relation.questions))
        for sentence in topic.sentences:
            bare = re.sub(r"\{[^}|]*\}", "", f"{sentence.full}. {sentence.short}")
            known |= {word.capitalize() for word in re.findall(r"\w+", bare)}
    known |= _capitals("Por su parte") | {word for title in TITLE_HEADS for word in title.split()}
    known |= {"El", "La", "En", "Las", "Cada", "Desde"}
    found: set[str] = set()
    for row in rows:
        found |= _capitals(row.context)
    return found - known


def _capitals(text: str) -> set[str]:
    return set(re.findall(r"\b[A-ZÁÉÍÓÚÑ]\w+", text))


def test_splits_share_no_invented_name(rows: dict[str, tuple[QuestionRow, ...]]) -> None:
    names = {split: _proper_names(rows[split]) for split in SPLITS}
    titles = {
        split: {t for row in rows[split] for t in re.findall("«([^»]+)»", row.context)}
        for split in SPLITS
    }
    assert all(len(found) > 200 for found in names.values())
    for one, two in combinations(SPLITS, 2):
        assert not names[one] & names[two]
        assert not titles[one] & titles[two]


def test_another_seed_keeps_the_splits_apart(rows: dict[str, tuple[QuestionRow, ...]]) -> None:
    other = _proper_names(synthetic_rows("test", seed=99, size=SIZE))
    assert not other & _proper_names(rows["train"])


def test_answers_are_exact_spans(rows: dict[str, tuple[QuestionRow, ...]]) -> None:
    for split in ("train", "validation", "test"):
        for row in rows[split]:
            assert row.answers is not None
            (answer,) = row.answers
            end = answer.start + len(answer.text)
            assert row.context[answer.start : end] == answer.text
            assert answer.text == answer.text.strip()
            around = f" {row.context}"[answer.start : end + 2]
            assert not (around[0] + around[-1]).strip(" .,»«"), "an answer is whole words"


def test_unlabelled_rows_have_no_answers(rows: dict[str, tuple[QuestionRow, ...]]) -> None:
    assert all(row.answers is None for row in rows["unlabelled"])


def test_answers_stand_once_in_the_text(rows: dict[str, tuple[QuestionRow, ...]]) -> None:
    """So one place alone is right, and the question does not give it away."""
    for row in rows["train"]:
        assert row.answers
        text = row.answers[0].text
        assert len(re.findall(rf"\b{re.escape(text)}\b", row.context)) == 1, row
        assert text not in row.question


def _kind_pattern(answer: str) -> str:
    goods = "|".join((*TOWN_GOODS, *FIRM_GOODS, *COLLECTED_GOODS))
    patterns = (
        rf"\d+ de (?:{'|'.join(MONTHS)})(?: de \d{{4}})?|\b(?:1[789]|20)\d\d\b",
        r"\b\d+(?:\.\d{3})?\b",
        rf"\b(?:{goods})\b",
        rf"\b(?:{'|'.join((*MEN, *WOMEN))}) [A-Z]\w+",
        rf"\b(?:{'|'.join(TITLE_HEADS)}) (?:{'|'.join(TITLE_TAILS)})\b",
        r"\b[A-Z]\w+",
    )
    return next(pattern for pattern in patterns if re.fullmatch(pattern, answer))


def test_every_question_has_two_candidates(rows: dict[str, tuple[QuestionRow, ...]]) -> None:
    for row in rows["train"]:
        assert row.answers
        found = set(re.findall(_kind_pattern(row.answers[0].text), row.context))
        assert len(found - {row.question}) >= 2, row


def test_questions_name_their_subject_and_differ(
    rows: dict[str, tuple[QuestionRow, ...]],
) -> None:
    by_context: dict[str, list[str]] = {}
    for row in rows["train"]:
        by_context.setdefault(row.context, []).append(row.question)
        assert any(name in row.context for name in _capitals(row.question[2:])), row
    assert all(len(set(asked)) == len(asked) for asked in by_context.values())
    assert max(map(len, by_context.values())) == DIFFICULTY.questions


def test_there_are_questions_of_several_kinds(texts: list[str]) -> None:
    openings = {text[1:].split()[0] for text in texts if text.startswith("¿")}
    assert {"Quién", "Cuándo", "Dónde", "En", "Con", "A", "Desde"} <= openings


def test_shared_relations_bring_the_other_kinds() -> None:
    hard = Difficulty(shared_relations=2, paraphrases=3)
    asked = synthetic_rows("train", size=SIZE, difficulty=hard)
    openings = {row.question[1:].split()[0] for row in asked}
    assert {"Quién", "Cuándo", "Dónde", "Qué", "Cuántos", "Cuál", "En", "Con"} <= openings


def test_questions_and_sentences_are_punctuated(texts: list[str]) -> None:
    for text in texts:
        if text.startswith("¿"):
            assert re.fullmatch(r"¿[A-ZÁÉÍÓÚ][^¿?]+\?", text), text
        else:
            assert text.endswith(".")
            sentences = text[:-1].split(". ")
            assert all(re.match("[A-ZÁÉÍÓÚÑ]", sentence) for sentence in sentences), text
        assert text.count("«") == text.count("»")


@pytest.mark.parametrize(
    "slip",
    [
        r"  |\s[.,?»]|[«¿]\s|\.\.|,,",
        r"\b(?:de|a) el\b",  # del, al
        r"\by h?i(?!e)|\bo h?o",  # e Inés, u otro
        r"\b(?:la|una) (?:agua|área|alma|águila|hambre)\b",
        r"[{}|]",
        r"(?i)m[^aeiouáéíóúbpn\W]|n[bp]",  # Lamtecedo
        r"Por su parte,[^.]*\. Por su parte,",
        r"A qué fabricación",
        r"\bpor su (?:\w+s|\w+s de \w+|\w+s de \w+ \w+)\b(?<!por su parte)",
        rf"\b(?:el|del|al) {_FEMININE}\b|\bla {_MASCULINE}\b",
        rf"\b{_FEMININE} (?:de )?(?:[A-Z]\w+ )*(?:fue \w+do|es conocido|es el autor)\b",
        rf"\b{_MASCULINE} (?:de )?(?:[A-Z]\w+ )*(?:fue \w+da|es conocida|es la autora)\b",
        rf"\b(?:alcalde|fundador|director|dueño|maestro) (?:de[l\w ]+ )?(?:es|fue) {_WOMAN}",
        rf"\b(?:alcaldesa|fundadora|directora|dueña|maestra) (?:de[l\w ]+ )?(?:es|fue) {_MAN}",
        rf"{_WOMAN} \w+ fue discípulo|{_MAN} \w+ fue discípula",
        r"\b\d{5,}\b|\b\d\.\d{3}\b",  # 12.400, but 8400
    ],
)
def test_no_slip_of_grammar(texts: list[str], slip: str) -> None:
    found = [text for text in texts if re.search(slip, text)]
    assert not found, found[:3]


def test_every_template_can_be_filled() -> None:
    for topic in TOPICS:
        for sentence in topic.sentences:
            assert sentence.relations <= set(topic.relations), sentence
            assert not set(re.findall(r"\{(\w+)", sentence.short)) - {"S", *sentence.relations}
        for name, relation in topic.relations.items():
            alone = [s for s in topic.sentences if s.relations == {name}]
            assert len(alone) >= 2, name
            assert len(relation.questions) >= 3, name


def test_unanswerable_questions_ask_for_what_is_not_said() -> None:
    some = synthetic_rows("train", size=600, unanswerable=0.3)
    without = [row for row in some if row.answers == ()]
    assert 0.2 < len(without) / len(some) < 0.4
    assert [row.context for row in some] == [
        row.context for row in synthetic_rows("train", size=600)
    ]
    every = synthetic_rows("validation", size=90, unanswerable=1.0)
    assert all(row.answers == () for row in every)


def test_difficulty_changes_the_texts() -> None:
    short = synthetic_rows("train", size=60, difficulty=Difficulty(facts=3, other_facts=2))
    long = synthetic_rows("train", size=60, difficulty=Difficulty(facts=5, other_facts=4))
    assert sum(len(row.context) for row in short) < sum(len(row.context) for row in long)


def test_squad_file_holds_the_rows(tmp_path: Path) -> None:
    some = synthetic_rows("test", size=10, unanswerable=0.4)
    rows = (*some, *synthetic_rows("unlabelled", size=4))
    write_squad(rows, tmp_path / "set.json")
    (article,) = json.loads((tmp_path / "set.json").read_text(encoding="utf-8"))["data"]
    read = [(p["context"], qa) for p in article["paragraphs"] for qa in p["qas"]]
    assert len(article["paragraphs"]) < len(read) == len(rows)
    for (context, qa), row in zip(read, rows, strict=True):
        assert (context, qa["id"], qa["question"]) == (row.context, row.id, row.question)
        answers = [Answer(a["text"], a["answer_start"]) for a in qa.get("answers", [])]
        assert answers == list(row.answers or ())
        assert ("answers" in qa) is (row.answers is not None)
        assert qa.get("is_impossible", False) is (row.answers == ())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "tset"}, "Did you mean 'test'"),
        ({"split": "test", "size": -1}, "size -1"),
        ({"split": "test", "unanswerable": 1.5}, "from 0 to 1"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        synthetic_rows(**arguments)  # type: ignore[arg-type]
