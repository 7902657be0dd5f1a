import json
from pathlib import Path
from typing import Any

import pytest

from destilo.data.readers import read_split
from destilo.errors import DataError
from destilo.rows import Answer, QuestionRow, Split

CONTEXT = "El río Tajo\u2028nace\x85 en la sierra\x0b de Albarracín.\u200b"


def document(*questions: dict[str, Any], context: str = CONTEXT) -> dict[str, Any]:
    return {"data": [{"title": "t", "paragraphs": [{"context": context, "qas": list(questions)}]}]}


def question(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "question": "¿Dónde nace?", **more}


def gold(text: str, start: int) -> dict[str, Any]:
    return {"text": text, "answer_start": start}


def read(tmp_path: Path, value: object, *, indent: int | None = 1) -> Split:
    path = tmp_path / "a.json"
    text = value if isinstance(value, str) else json.dumps(value, indent=indent, ensure_ascii=False)
    path.write_text(text, encoding="utf-8")
    return read_split("train", task="question-answering", format="squad", path=[path])


def test_answers_unanswerable_and_unlabelled(tmp_path: Path) -> None:
    start = CONTEXT.index("Albarracín")
    split = read(
        tmp_path,
        document(
            question("a", answers=[gold("Albarracín", start), gold("Albarracín", start)]),
            question("b", answers=[], is_impossible=True, plausible_answers=[gold("x", 0)]),
            question("c", answers=[]),
            question("d"),
        ),
    )
    expected = [(Answer("Albarracín", start),), (), (), None]
    rows = [row for row in split.rows if isinstance(row, QuestionRow)]
    assert [row.answers for row in rows] == expected
    assert {row.context for row in rows} == {CONTEXT}
    assert split.notes == ()


def test_questions_are_placed_by_line(tmp_path: Path) -> None:
    value = document(question("7", answers=[gold("7", 0)]), question("b"), context="7 7")
    split = read(tmp_path, value)
    lines = (tmp_path / "a.json").read_text(encoding="utf-8").split("\n")
    for row in split.rows:
        number = int(row.where.rpartition(":")[2])
        assert f'"id": "{row.id}"' in lines[number - 1]


def test_questions_of_a_file_on_one_line_are_placed_by_structure(tmp_path: Path) -> None:
    split = read(tmp_path, document(question("a"), question("b")), indent=None)
    assert split.rows[1].where.endswith("a.json:1 data[0].paragraphs[0].qas[1]")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('{"data": [\n {"paragraphs": [', r"a\.json:2:18: not valid JSON.*cut short"),
        ('{"data": [\n {"title": "uno', r"a\.json:2:12: not valid JSON: Unterminated.*cut short"),
        ('{"data": [\n {"title": "uno\n"}]}', r"a\.json:2:16: not valid JSON: Invalid control"),
        ('{"data": [],}', r"a\.json:1:13: not valid JSON"),
        ({"date": []}, r"a\.json: no 'data' \(keys there: date\)"),
        ([], r"a\.json: an object with 'data' is expected, not a list"),
        ({"data": [{"paragraphs": [{"qas": []}]}]}, r"data\[0\]\.paragraphs\[0\]: 'context' must"),
        (document({"id": "a", "question": 5}), r"'question' must be a text, not 5"),
        (document(question("a", answers=5)), r"answers must be a list or an object, not 5"),
        (document(question("a", answers=[gold("Tajo", "x")])), "answer_start must be a whole"),  # type: ignore[arg-type] # the fault on trial
        (document(question("a"), context=" "), r"question 'a' has an empty context"),
        (document({"id": "a", "question": ""}), r"question 'a' has an empty question"),
        (document(question("a"), question("a")), r"a\.json:\d+: question id 'a' is taken by .*:\d"),
        (
            document(question("a", answers=[gold("Tajo", 7)], is_impossible=True)),
            "question 'a' is marked is_impossible and has answers",
        ),
        (document(), "no rows in"),
    ],
)
def test_faults_are_named(tmp_path: Path, value: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, value)


def test_control_characters_in_a_string_are_kept(tmp_path: Path) -> None:
    text = json.dumps(document(question("a", answers=[gold("b", 2)]), context="a@b"))
    split = read(tmp_path, text.replace("@", "\t"))
    assert split.rows[0] == QuestionRow("a", "¿Dónde nace?", "a\tb", (Answer("b", 2),))


def test_escaped_half_characters_are_refused(tmp_path: Path) -> None:
    text = json.dumps(document(question("a"), context="a@b")).replace("@", "\\ud83d")
    with pytest.raises(DataError, match="half a character"):
        read(tmp_path, text)
