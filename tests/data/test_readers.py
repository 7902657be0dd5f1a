import json
from pathlib import Path
from typing import Any

import pytest

from destilo.data.readers import FORMATS, read_split
from destilo.errors import DataError
from destilo.rows import Answer, QuestionRow, Split, TaggingRow, TextRow

CLASSIFICATION, TAGGING, QA = "text-classification", "token-classification", "question-answering"


def write(path: Path, *lines: object) -> Path:
    held = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(held) + "\n", encoding="utf-8")
    return path


def read(path: Path, task: str, **options: Any) -> Split:
    chosen = options.pop("format", path.suffix[1:])
    return read_split("train", task=task, format=chosen, path=[path], **options)


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv"])
def test_tables_give_the_same_rows(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "jsonl":
        write(path, {"t": "Qué bien", "l": "pos"}, {"t": "Qué mal", "l": "neg"})
    else:
        s = {"csv": ",", "tsv": "\t"}[suffix]
        write(path, f"t{s}l", f"Qué bien{s}pos", f"Qué mal{s}neg")
    split = read(path, CLASSIFICATION, columns={"text": "t", "label": "l"})
    assert split.rows == (
        TextRow("1", "Qué bien", None, "pos"),
        TextRow("2", "Qué mal", None, "neg"),
    )
    first = 1 if suffix == "jsonl" else 2
    assert [row.where for row in split.rows] == [f"{path}:{first}", f"{path}:{first + 1}"]


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("pos", "pos"),
        (" pos ", "pos"),
        (1, "1"),
        (1.0, "1"),
        (True, "true"),
        (None, None),
        ("", None),
    ],
)
def test_labels_become_texts(tmp_path: Path, value: object, label: str | None) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "a", "label": value})
    assert read(path, CLASSIFICATION).rows == (TextRow("1", "a", None, label),)


@pytest.mark.parametrize("value", [0.5, ["a"], {"a": 1}])
def test_labels_that_are_no_class_are_refused(tmp_path: Path, value: object) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "a", "label": value})
    with pytest.raises(DataError, match=r"a\.jsonl:1: a label is one class"):
        read(path, CLASSIFICATION)


def test_a_missing_gold_column_makes_unlabelled_rows_and_a_note(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "a", "etiqueta": "x"})
    split = read(path, CLASSIFICATION)
    assert split.rows == (TextRow("1", "a"),)
    assert split.notes == ("No column 'label' (columns: text, etiqueta): the rows are unlabelled.",)
    with pytest.raises(DataError, match=r"a\.jsonl:1: Unknown column 'etiquet'. Did you mean 'eti"):
        read(path, CLASSIFICATION, columns={"label": "etiquet"})


def test_empty_texts_are_left_out_and_half_empty_pairs_stay(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        {"text": " ", "label": "x"},
        {"text": "", "text_pair": "b", "label": "x"},
        {"text": "", "text_pair": "", "label": "x"},
    )
    split = read(path, CLASSIFICATION)
    assert split.rows == (TextRow("1", "", "b", "x"),)
    assert split.notes == (f"Rows with an empty text left out: 2 ({path}:1, {path}:3).",)


def test_texts_are_kept_as_they_are(tmp_path: Path) -> None:
    text = " n\u0303\u200b\u2028a\x00\x85 "
    path = write(tmp_path / "a.jsonl", json.dumps({"text": text}, ensure_ascii=False))
    assert read(path, CLASSIFICATION).rows == (TextRow("1", text),)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "a', r"a\.jsonl:2:10: not valid JSON: Unterminated.*cut short"),
        ("[1]", r"a\.jsonl:2: a JSON object is expected, not a list"),
        ('"a"', r"a\.jsonl:2: a JSON object is expected, not the text 'a'"),
        ('{"text": 5}', r"a\.jsonl:2: text must be a text, not 5"),
        ('{"text": null}', r"a\.jsonl:2: text must be a text, not null"),
        ('{"texto": "a"}', r"a\.jsonl:2: Unknown column 'text'\. Did you mean 'texto'"),
        ('{"text": "\\ud800"}', r"a\.jsonl:2: text holds half a character \(\\ud800"),
        ('{"text": "a", "id": [1]}', r"a\.jsonl:2: id must be a text or a number"),
        ("[" * 100_000, r"a\.jsonl:2.*not valid JSON|a\.jsonl:2: JSON that cannot be read"),
        ('{"text": "a", "n": ' + "1" * 5000 + "}", r"a\.jsonl:2: JSON that cannot be read"),
    ],
)
def test_faults_of_json_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "a"}, line)
    with pytest.raises(DataError, match=message):
        read(path, CLASSIFICATION)


def test_a_json_array_is_no_json_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"text": "a"}])
    with pytest.raises(DataError, match="one object a line, not one array"):
        read(path, CLASSIFICATION)


def test_files_are_read_in_turn_and_ids_are_unique(tmp_path: Path) -> None:
    one = write(tmp_path / "1.jsonl", {"text": "a", "id": 1}, {"text": "b"})
    two = write(tmp_path / "2.jsonl", {"text": "c", "id": 1}, {"text": "d"})
    split = read_split("train", task=CLASSIFICATION, format="jsonl", path=[one, two])
    assert [row.id for row in split.rows] == ["1", "2", "1#3", "4"]
    assert any("Ids that occur twice" in note and f"{two}:1" in note for note in split.notes)


def test_limit_keeps_the_first_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "a"}, {"text": "b"}, "not reached")
    assert [row.id for row in read(path, CLASSIFICATION, limit=2).rows] == ["1", "2"]


def test_tokens_and_tags_are_lists(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        {"tokens": ["La", "UE"], "tags": ["O", "S-ORG"]},
        {"tokens": [], "tags": []},
        {"tokens": ["B", "C"], "tags": ["B-X", "E-X"]},
    )
    split = read(path, TAGGING)
    assert split.rows == (
        TaggingRow("1", ("La", "UE"), ("O", "B-ORG")),
        TaggingRow("2", ("B", "C"), ("B-X", "I-X")),
    )
    assert split.scheme == "iobes"
    assert len(split.notes) == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tokens": ["a"], "tags": ["O", "O"]}, r"a\.jsonl:1: 1 tokens but 2 tags"),
        ({"tokens": ["a", ""], "tags": ["O", "O"]}, r"a\.jsonl:1: word 2 of tokens is empty"),
        ({"tokens": "a b", "tags": ["O", "O"]}, r"tokens must be a list of words, not the text"),
        ({"tokens": ["a", 5], "tags": ["O", "O"]}, r"word 2 of tokens must be a text, not 5"),
        ({"tokens": ["a", "b"], "tags": ["O", None]}, r"a\.jsonl:1: word 2 has no tag"),
        ({"tokens": ["a", "b"], "tags": ["B-X", "B-"]}, r"a\.jsonl:1 \(word 2\): tag 'B-' is not"),
    ],
)
def test_faults_of_tagging_tables_are_named(
    tmp_path: Path, row: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / "a.jsonl", row), TAGGING)


@pytest.mark.parametrize(
    "answers",
    [
        {"answers": {"text": ["Tajo", "Tajo"], "answer_start": [3, 3]}},
        {"answers": {"text": "Tajo", "answer_start": 3}},
        {"answers": {"text": ["Tajo"]}},
        {"answers": [{"text": "Tajo", "answer_start": 3}]},
        {"answers": ["Tajo"]},
        {"answers": '[{"text": "Tajo", "answer_start": 3}]'},
        {"answer": "Tajo", "answer_start": "3"},
        {"answer": "Tajo", "answer_start": 3.0},
        {"answer": "Tajo"},
    ],
)
def test_answers_in_tables(tmp_path: Path, answers: dict[str, Any]) -> None:
    row = {"id": 7, "question": "¿Qué?", "context": "El Tajo", **answers}
    split = read(write(tmp_path / "a.jsonl", row), QA)
    assert split.rows == (QuestionRow("7", "¿Qué?", "El Tajo", (Answer("Tajo", 3),)),)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({}, None),
        ({"answers": None}, None),
        ({"answers": []}, ()),
        ({"answers": {"text": [], "answer_start": []}}, ()),
        ({"answer": ""}, ()),
        ({"answer": None, "answer_start": -1}, ()),
    ],
)
def test_no_answer_is_not_unlabelled(
    tmp_path: Path, answers: dict[str, Any], expected: object
) -> None:
    row = {"question": "¿Qué?", "context": "El Tajo", **answers}
    split = read(write(tmp_path / "a.jsonl", row), QA)
    assert split.rows == (QuestionRow("1", "¿Qué?", "El Tajo", expected),)  # type: ignore[arg-type] # None or ()


def test_questions_in_csv(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv", "question,context,answer,answer_start", '¿Qué?,"El, Tajo",Tajo,4'
    )
    assert read(path, QA).rows == (QuestionRow("1", "¿Qué?", "El, Tajo", (Answer("Tajo", 4),)),)


def test_csv_without_header_goes_by_number(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "x,uno,pos", "y,dos,neg")
    split = read(path, CLASSIFICATION, columns={"text": 1, "label": -1})
    assert split.rows == (TextRow("1", "uno", None, "pos"), TextRow("2", "dos", None, "neg"))


def test_plain_lines_are_unlabelled(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "¿Qué dijo?", "", "Nacio\u0301 el 3,5 de U\u200bE...")
    texts = read(path, CLASSIFICATION, format="text")
    assert [row.where for row in texts.rows] == [f"{path}:1", f"{path}:3"]
    assert texts.notes == (f"Empty lines left out: 1 ({path}:2).",)
    assert read(path, TAGGING, format="text").rows == (
        TaggingRow("1", ("¿", "Qué", "dijo", "?")),
        TaggingRow("2", ("Nacio\u0301", "el", "3,5", "de", "U\u200bE", ".", ".", ".")),
    )


def test_every_pair_of_format_and_task_works_or_says_why_not(tmp_path: Path) -> None:
    path = write(tmp_path / "a", "")
    for chosen, tasks in FORMATS.items():
        for task in {CLASSIFICATION, TAGGING, QA} - set(tasks):
            with pytest.raises(DataError, match=f"format {chosen} cannot serve {task}: .*Formats"):
                read(path, task, format=chosen)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "masked-lm"}, "Unknown task"),
        ({"format": "json"}, "Unknown format 'json'. Did you mean 'jsonl'"),
        ({"columns": {"txt": "a"}}, r"Unknown key in `columns` for text-cl.*Did you mean 'text'"),
        ({"columns": {"text": 0}}, "Columns of jsonl have names; 0 is a number"),
        ({"format": "csv", "columns": {"text": 0, "label": "b"}}, "use one kind"),
        ({"format": "text", "columns": {"text": "a"}}, "`columns` means nothing for format text"),
        ({"scheme": "bio"}, "Unknown tag scheme 'bio'"),
        ({"format": "hub"}, "needs the data set's name"),
        ({"path": []}, "needs a `path`"),
        ({}, r"data\.train: no rows in .*a\.jsonl"),
    ],
)
def test_impossible_requests_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    asked = {"task": CLASSIFICATION, "format": "jsonl", "path": [write(tmp_path / "a.jsonl", "")]}
    with pytest.raises(DataError, match=message):
        read_split("train", **{**asked, **options})


def test_a_header_without_rows_is_an_empty_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no rows"):
        read(write(tmp_path / "a.csv", "text,label"), CLASSIFICATION)


def test_only_empty_texts_are_an_empty_split_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no rows in .*empty text left out: 1"):
        read(write(tmp_path / "a.jsonl", {"text": ""}), CLASSIFICATION)


def test_synthetic_rows_come_from_a_seed() -> None:
    pytest.importorskip("destilo.data.synthetic")
    asked: dict[str, Any] = {"task": QA, "format": "synthetic"}
    options = {"split": "train", "seed": 7, "size": 5}
    split = read_split("train", **asked, synthetic=options)
    assert split == read_split("train", **asked, synthetic=options)
    assert len(split) == 5
    assert read_split("train", **asked, synthetic={"size": 5}) == split
    with pytest.raises(DataError, match="`seed` and `size` must be whole numbers"):
        read_split("train", **asked, synthetic={"seed": "7"})
