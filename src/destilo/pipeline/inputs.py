"""From a recipe's `data` to checked splits, a label set and a task."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from destilo.data.labels import label_set
from destilo.data.leaks import Conflict, Leak, find_conflict, find_leaks
from destilo.data.sources import read_source
from destilo.data.splitting import carve_validation
from destilo.errors import DataError
from destilo.progress import Progress
from destilo.recipe.schema import Recipe, ValidationSplit
from destilo.rows import QuestionRow, Row, Split, TaggingRow, TextRow
from destilo.runs import digest
from destilo.tasks import Task, make_task


@dataclass(frozen=True)
class Inputs:
    """Everything read and checked before a model is touched.

    Attributes:
        splits: By name; ``train`` and ``validation`` always, tests and ``unlabelled`` if any.
        task: Encodes, decodes and scores, with the data's labels in their fixed order.
        leaks: Rows that stand in two splits.
        conflict: Training rows with the same text and different labels.
        digest: Of the rows, the labels and the encoding.
        learning_digest: The same without the test splits: what decides a training.
    """

    splits: Mapping[str, Split]
    task: Task
    leaks: tuple[Leak, ...]
    conflict: Conflict | None
    digest: str
    learning_digest: str

    @property
    def tests(self) -> tuple[str, ...]:
        return tuple(name for name in self.splits if name.startswith("test"))

    def describe(self) -> dict[str, Any]:
        """What ``data.json`` of a run says."""
        return {
            "splits": {
                name: {"rows": len(split), "notes": list(split.notes)}
                for name, split in self.splits.items()
            },
            "labels": list(self.task.labels),
            "leaks": [asdict(leak) for leak in self.leaks],
            "conflict": asdict(self.conflict) if self.conflict else None,
            "digest": self.digest,
        }


def read_inputs(recipe: Recipe, progress: Progress) -> Inputs:
    """Read every split of a recipe, find the labels, look for leaks, make the task.

    Raises:
        DataError: If a file cannot be read or a split does not fit, with file and line.
    """
    splits = _read_splits(recipe)
    for split in splits.values():
        for note in split.notes:
            progress.note(f"{split.name}: {note}", level="info")
    labels = label_set(recipe.task, splits, declared=recipe.data.labels)
    leaks = find_leaks(splits) if recipe.data.leak_check != "off" else ()
    conflict = find_conflict(splits["train"]) if recipe.data.leak_check != "off" else None
    _report_leaks(recipe, leaks, progress)
    task = _make_task(recipe, splits, labels)
    rows = {name: rows_digest(split) for name, split in splits.items()}
    settings = {key: value for key, value in task.settings().items() if "threshold" not in key}
    learning = {name: value for name, value in rows.items() if not name.startswith("test")}
    return Inputs(
        splits,
        task,
        leaks,
        conflict,
        digest=digest([rows, settings]),
        learning_digest=digest([learning, settings]),
    )


def _read_splits(recipe: Recipe) -> dict[str, Split]:
    data = recipe.data
    train = read_source("train", data.train, recipe.task)
    # A file alone cannot always tell its tag scheme; all splits are read as the first one.
    scheme = train.scheme
    splits = {"train": train}
    if isinstance(data.validation, ValidationSplit):
        rest, carved = carve_validation(
            train, fraction=data.validation.fraction, seed=data.validation.seed
        )
        splits = {"train": rest, "validation": carved}
    else:
        splits["validation"] = read_source(
            "validation", data.validation, recipe.task, scheme=scheme
        )
    for name, source in data.tests.items():
        splits[name] = read_source(name, source, recipe.task, scheme=scheme)
    if data.unlabelled is not None:
        splits["unlabelled"] = strip_labels(
            read_source("unlabelled", data.unlabelled, recipe.task, scheme=scheme)
        )
    return splits


def strip_labels(split: Split) -> Split:
    """The same rows without their gold labels, for the teacher alone to label."""
    return replace(split, rows=tuple(_without_label(row) for row in split.rows))


def _without_label(row: Row) -> Row:
    if isinstance(row, TextRow):
        return replace(row, label=None)
    if isinstance(row, TaggingRow):
        return replace(row, tags=None)
    return replace(row, answers=None)


def texts(splits: Mapping[str, Split]) -> Iterator[str]:
    """The training and unlabelled texts, each distinct context once, for a tokenizer."""
    seen: set[str] = set()
    for name in ("train", "unlabelled"):
        if name not in splits:
            continue
        for row in splits[name].rows:
            for text in _row_texts(row):
                if text not in seen:
                    seen.add(text)
                    yield text


def _row_texts(row: Row) -> tuple[str, ...]:
    if isinstance(row, TextRow):
        return (row.text, row.text_pair) if row.text_pair is not None else (row.text,)
    if isinstance(row, TaggingRow):
        return (" ".join(row.tokens),)
    return (row.question, row.context)


def rows_digest(split: Split) -> str:
    """A digest of a split's rows: their content, not where they came from."""
    hasher = hashlib.sha256()
    for row in split.rows:
        values = [getattr(row, name) for name in row.__dataclass_fields__ if name != "where"]
        hasher.update(repr(values).encode("utf-8", "surrogatepass"))
    return hasher.hexdigest()[:16]


def _report_leaks(recipe: Recipe, leaks: tuple[Leak, ...], progress: Progress) -> None:
    for leak in leaks:
        progress.note(f"leak: {leak}", level="warning")
    if recipe.data.leak_check == "error" and leaks:
        raise DataError(
            "Rows stand in two splits: "
            + " ".join(map(str, leaks))
            + " Remove them, or set data.leak_check to warn."
        )


def _make_task(recipe: Recipe, splits: Mapping[str, Split], labels: tuple[str, ...]) -> Task:
    settings: dict[str, Any] = {"max_length": recipe.max_length, "language": recipe.language}
    if recipe.task == "question-answering":
        choice = recipe.evaluation.no_answer
        unanswerable = any(
            isinstance(row, QuestionRow) and row.answers == ()
            for split in splits.values()
            for row in split.rows
        )
        settings |= {
            "doc_stride": recipe.encoding.doc_stride,
            "max_question_length": recipe.encoding.max_question_length,
            "max_answer_length": recipe.evaluation.max_answer_length,
            "n_best": recipe.evaluation.n_best,
            "no_answer": choice == "always" or (choice == "auto" and unanswerable),
        }
    elif recipe.task == "text-classification":
        rows = splits["train"].rows
        settings["pair"] = all(
            isinstance(row, TextRow) and row.text_pair is not None for row in rows
        )
    elif recipe.task == "token-classification":
        chunks = any(label.startswith(("B-", "I-")) for label in labels)
        settings["scheme"] = "iob2" if chunks else "raw"
    return make_task(recipe.task, labels=labels, **settings)
