"""Rows and models for what is measured about caches, of every task and shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from bench.workload import MAX_LENGTH, VOCABULARY, synthetic_examples
from destilo.counting import count_macs
from destilo.data.synthetic import synthetic_rows
from destilo.models.folder import text_tokenizer
from destilo.models.student import model_from_config
from destilo.models.vocabulary import train_tokenizer
from destilo.pipeline.inputs import read_inputs, texts
from destilo.progress import Silent
from destilo.recipe.load import load_recipe
from destilo.rows import Row, Split, TextRow
from destilo.tasks import Task, make_task
from destilo.tasks.base import Example

VOCABULARY_OF_ROWS = 8_000


@dataclass(frozen=True)
class Material:
    """A task with encoded rows, and what a model for it must know.

    Attributes:
        name: For people.
        task: With its labels.
        examples: In the one tokenizer of teacher and student.
        vocab_size: Of that tokenizer.
        pad_id: Its padding piece.
    """

    name: str
    task: Task
    examples: Sequence[Example]
    vocab_size: int
    pad_id: int

    @property
    def mean_pieces(self) -> float:
        return sum(len(one.encodings[0]) for one in self.examples) / len(self.examples)


def embedded_material(count: int) -> list[Material]:
    """The embedded questions, articles and pairs of both, and sentences as long as CoNLL's."""
    questions = synthetic_rows("train", size=3 * count)
    articles = [row.context for row in questions[::3]]  # each has three questions
    topics = ("affirmed", "denied", "neither")
    classes = [TextRow(str(n), text, label=topics[n % 3]) for n, text in enumerate(articles)]
    pairs = [
        TextRow(row.id, row.question, row.context.split(". ")[0], topics[n % 2])
        for n, row in enumerate(questions[:count])
    ]
    tags = ("O", *(f"{mark}-{kind}" for kind in ("LOC", "PER", "ORG", "MISC") for mark in "BI"))
    tagging = make_task("token-classification", labels=tags, max_length=MAX_LENGTH, scheme="iob2")
    settings: dict[str, dict[str, Any]] = {
        "text-classification": {"labels": topics, "max_length": 128},
        "question-answering": {"max_length": 384, "doc_stride": 128},
    }

    def made(name: str, task: str, rows: Sequence[Row], **changes: Any) -> Material:
        return encoded(name, make_task(task, **(settings[task] | changes)), rows)

    return [
        made("classification", "text-classification", classes),
        made("pairs", "text-classification", pairs, labels=topics[:2], pair=True),
        Material("tagging", tagging, synthetic_examples(count), VOCABULARY, 0),
        made("questions", "question-answering", questions[:count]),
    ]


def real_material(name: str, settings: dict[str, Any], *, count: int) -> Material:
    """The first training rows of a problem as a recipe describes it."""
    recipe = load_recipe(settings)
    inputs = read_inputs(recipe, Silent())
    return encoded(name, inputs.task, inputs.splits["train"].rows[:count])


def encoded(name: str, task: Task, rows: Sequence[Row]) -> Material:
    """Train a tokenizer on the rows and encode them."""
    made = train_tokenizer(
        texts({"train": Split("train", tuple(rows))}),
        algorithm="wordpiece",
        vocab_size=VOCABULARY_OF_ROWS,
    )
    config = model_from_config(
        {"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1},
        task.name,
        labels=task.labels,
        vocab_size=len(made),
        pad_id=int(made.pad_token_id),
    ).config
    tokenizer = text_tokenizer(made, config)
    return Material(name, task, task.encode(rows, [tokenizer]), len(made), tokenizer.pad_id)


def bert(material: Material, *, layers: int, width: int, seed: int = 0) -> PreTrainedModel:
    """A BERT with random weights for a task."""
    torch.manual_seed(seed)
    settings = {
        "model_type": "bert",
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, width // 64),
        "intermediate_size": 4 * width,
    }
    return model_from_config(
        settings,
        material.task.name,
        labels=material.task.labels,
        vocab_size=material.vocab_size,
        pad_id=material.pad_id,
    )


def macs_per_row(model: PreTrainedModel, material: Material) -> int:
    """At the mean length of the rows."""
    return count_macs(model, round(material.mean_pieces)).total
