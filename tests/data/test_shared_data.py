"""Every real data set beside the project is read whole, as its README counts it."""

import re
from pathlib import Path

import pytest

from destilo.data.labels import is_labelled, label_set
from destilo.data.leaks import find_leaks
from destilo.data.readers import read_split
from destilo.data.splitting import carve_validation
from destilo.rows import QuestionRow, Split, TaggingRow

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data beside the project")

CLASSIFICATION, TAGGING, QA = "text-classification", "token-classification", "question-answering"
PAIRS: dict[str, str | int] = {"text": "sentence1", "text_pair": "sentence2"}
FORMATS = {CLASSIFICATION: "jsonl", TAGGING: "conll", QA: "squad"}

# Folder, task, columns; training file, then the files that are measured on.
SETS: list[tuple[str, str, dict[str, str | int], list[str]]] = [
    ("conll2002-es", TAGGING, {}, ["train.txt", "dev.txt", "test.txt"]),
    ("conll2002-es", TAGGING, {"tags": 1}, ["train.txt"]),
    ("pos-es-ud", TAGGING, {}, ["train.txt", "dev.txt", "test.txt"]),
    ("pos-es-ud", TAGGING, {}, ["train_plus_cess.txt", "dev.txt", "test.txt"]),
    ("panx-tl", TAGGING, {}, ["train_dedup.txt", "dev_dedup.txt"]),
    ("panx-tl", TAGGING, {}, ["train.txt", "dev.txt"]),
    ("tlunified-ner-part", TAGGING, {}, ["train.txt", "dev.txt", "test.txt"]),
    ("ud-tl-newscrawl", TAGGING, {}, ["train_from_dev.pos.txt", "test.pos.txt"]),
    ("qa-es", QA, {}, ["train.json", "dev_mlqa.json"]),
    ("qa-es", QA, {}, ["train_with_unanswerable.json", "dev_mlqa.json"]),
    ("xquad-es", QA, {}, ["xquad.es.json"]),
    ("parmex2022", CLASSIFICATION, PAIRS, ["train.jsonl", "dev.jsonl", "test.jsonl"]),
    ("pawsx-es", CLASSIFICATION, PAIRS, ["dev.jsonl", "test.jsonl"]),
    ("esxnli", CLASSIFICATION, PAIRS, ["all.jsonl"]),
    ("xnli-es", CLASSIFICATION, PAIRS, ["dev.jsonl", "test.jsonl"]),
    ("muchocine", CLASSIFICATION, {}, ["train.jsonl", "dev.jsonl", "test.jsonl"]),
    ("tass2019", CLASSIFICATION, {}, ["train.jsonl", "dev.jsonl"]),
    ("hatespeech-filipino", CLASSIFICATION, {}, ["train.jsonl", "dev.jsonl", "test.jsonl"]),
]
UNLABELLED: list[tuple[str, str, dict[str, str | int], str]] = [
    ("panx-tl", TAGGING, {}, "test_unlabelled.txt"),
    ("parmex2022", CLASSIFICATION, PAIRS, "official_test_unlabelled.jsonl"),
    ("qa-es", QA, {}, "unlabelled.json"),
]


def read(folder: str, task: str, columns: dict[str, str | int], file: str, *, name: str) -> Split:
    path = SHARED / folder / file
    return read_split(name, task=task, format=FORMATS[task], path=[path], columns=columns)


def counted(folder: str, file: str) -> int | None:
    """Return the rows that a folder's README promises for a file."""
    readme = (SHARED / folder / "README.md").read_text(encoding="utf-8")
    line = next((line for line in readme.split("\n") if line.startswith(f"| {file} |")), "")
    match = re.search(r"([\d,]+) (?:sentences|examples|questions)", line)
    return int(match[1].replace(",", "")) if match else None


@pytest.mark.parametrize(("folder", "task", "columns", "files"), SETS)
def test_labelled_sets(
    folder: str, task: str, columns: dict[str, str | int], files: list[str]
) -> None:
    names = ["train", "validation", "test"]
    splits = {
        name: read(folder, task, columns, file, name=name)
        for name, file in zip(names, files, strict=False)
    }
    for file, split in zip(files, splits.values(), strict=True):
        assert len(split) == counted(folder, file)
        assert all(is_labelled(row) for row in split.rows)
    labels = label_set(task, splits, declared=None)
    assert (len(labels) > 1) == (task != QA)
    assert all(leak.count <= len(splits[leak.second]) for leak in find_leaks(splits))
    rest, carved = carve_validation(splits["train"], fraction=0.1, seed=13)
    assert find_leaks({"train": rest, "validation": carved}) == ()
    assert abs(len(carved) - 0.1 * len(splits["train"])) < 10
    label_set(task, {"train": rest, "validation": carved}, declared=None)


@pytest.mark.parametrize(("folder", "task", "columns", "file"), UNLABELLED)
def test_unlabelled_sets(folder: str, task: str, columns: dict[str, str | int], file: str) -> None:
    split = read(folder, task, columns, file, name="unlabelled")
    assert len(split) == (counted(folder, file) or len(split))
    assert not any(is_labelled(row) for row in split.rows)


def test_answers_stand_where_they_say() -> None:
    split = read("qa-es", QA, {}, "train_with_unanswerable.json", name="train")
    rows = [row for row in split.rows if isinstance(row, QuestionRow)]
    for row in rows:
        assert row.answers is not None
        assert all(row.context.startswith(a.text, a.start) and a.text for a in row.answers)
    assert sum(row.answers == () for row in rows) == 2781  # its README's count of unanswerable


def test_tags_are_iob2_once_read() -> None:
    split = read("conll2002-es", TAGGING, {}, "train.txt", name="train")
    for row in split.rows:
        assert isinstance(row, TaggingRow)
        assert row.tags is not None
        for before, tag in zip(("O", *row.tags), row.tags, strict=False):
            assert not tag.startswith("I-") or before[2:] == tag[2:]
