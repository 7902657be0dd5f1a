"""What there is to choose from: shipped recipes, tasks and loss terms. Literal tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from destilo.errors import InputError, suggest
from destilo.recipe.paths import is_folder
from destilo.recipe.yaml_text import read_yaml

_SHIPPED = Path(__file__).parent / "shipped"


@dataclass(frozen=True, slots=True)
class TaskEntry:
    """One line about a task.

    Attributes:
        heads: The named outputs of its models, with shape.
        formats: The data formats that hold its rows.
        columns: The canonical columns of its rows; ``columns:`` maps them to a file's own.
        metrics: What it is scored by, the main one first.
        architecture: The ending of the transformers class that solves it.
    """

    name: str
    summary: str
    heads: tuple[str, ...]
    formats: tuple[str, ...]
    columns: tuple[str, ...]
    metrics: tuple[str, ...]
    architecture: str


TASKS: dict[str, TaskEntry] = {
    entry.name: entry
    for entry in (
        TaskEntry(
            name="text-classification",
            summary="a class for a text, or for a pair of texts",
            heads=("label [classes]",),
            formats=("jsonl", "csv", "tsv", "parquet", "text", "hub"),
            columns=("id", "text", "text_pair", "label"),
            metrics=("accuracy", "macro_f1"),
            architecture="ForSequenceClassification",
        ),
        TaskEntry(
            name="token-classification",
            summary="a tag for each word: named entities, parts of speech",
            heads=("label [length, tags]",),
            formats=("conll", "conllu", "jsonl", "parquet", "text", "hub"),
            columns=("id", "tokens", "tags"),
            metrics=("f1", "precision", "recall", "accuracy", "macro_f1", "paper_f1"),
            architecture="ForTokenClassification",
        ),
        TaskEntry(
            name="question-answering",
            summary="the span of a context that answers a question, or none",
            heads=("start [length]", "end [length]"),
            formats=("squad", "jsonl", "csv", "tsv", "parquet", "hub", "synthetic"),
            columns=("id", "question", "context", "answers", "answer", "answer_start"),
            metrics=("f1", "em", "squad_f1", "squad_em"),
            architecture="ForQuestionAnswering",
        ),
    )
}

TERMS: dict[str, str] = {
    "labels": "cross-entropy with the gold labels; needs no teacher",
    "kl": "KL(teacher || student): the student covers all that the teacher finds likely",
    "reverse-kl": "KL(student || teacher): the student keeps to what the teacher finds likely",
    "jsd": "Jensen-Shannon divergence: symmetric and bounded, between the two",
    "soft-ce": "cross-entropy with the teacher's distribution: kl plus the teacher's entropy",
    "mse": "squared difference of the logits; no temperature",
    "hidden-mse": "squared difference of hidden states, layer by layer, through a projection",
    "hidden-cosine": "one minus the cosine of hidden states, layer by layer",
    "embedding-mse": "squared difference of what the first layers read",
    "attention-mse": "squared difference of attention scores (or probabilities), head by head",
    "attention-relations": "MiniLM: KL of query, key and value relations; heads may differ",
}


def list_tasks() -> list[TaskEntry]:
    """List the tasks."""
    return list(TASKS.values())


def list_terms() -> dict[str, str]:
    """List the terms of the objective with one line each."""
    return dict(TERMS)


def shipped_names() -> list[str]:
    """List the names of the shipped recipes, ``demo`` first."""
    names = sorted(path.stem for path in _SHIPPED.glob("*.yaml"))
    return sorted(names, key=lambda name: name != "demo")


def sweep_names() -> list[str]:
    """List the names of the shipped sweeps."""
    return sorted(path.stem for path in (_SHIPPED / "sweeps").glob("*.yaml"))


def shipped_sweeps() -> dict[str, str]:
    """List the shipped sweeps with their descriptions."""
    return {name: _description(shipped_path(name)) for name in sweep_names()}


def shipped_path(name: str) -> Path:
    """Return the file of a shipped recipe or sweep."""
    sweep = _SHIPPED / "sweeps" / f"{name}.yaml"
    return sweep if sweep.exists() else _SHIPPED / f"{name}.yaml"


def shipped_recipes() -> dict[str, str]:
    """List the shipped recipes with their descriptions."""
    return {name: _description(shipped_path(name)) for name in shipped_names()}


def _description(path: Path) -> str:
    value: Any = read_yaml(path.read_text(encoding="utf-8"), name=str(path)).value
    return str(value["description"])


def copy_recipe(name: str, target: str | Path) -> Path:
    """Copy a shipped recipe or sweep, comments and all, to start one's own from.

    Args:
        name: Of what is shipped.
        target: A new file, or a folder to write ``NAME.yaml`` in.

    Returns:
        The file written.

    Raises:
        InputError: If there is no such recipe, or the file exists or cannot be written.
    """
    known = [*shipped_names(), *sweep_names()]
    if name not in known:
        raise InputError(suggest(name, known, kind="recipe"))
    path = Path(target)
    if is_folder(path):
        path /= f"{name}.yaml"
    try:
        with path.open("xb") as file:
            file.write(shipped_path(name).read_bytes())
    except FileExistsError:
        raise InputError(f"{path}: exists already. Name another file, or remove it.") from None
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}). Name another file."
        ) from None
    return path
