"""Tasks: how a kind of problem is encoded, decoded and scored. No torch, no transformers."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from destilo.errors import RecipeError, suggest
from destilo.tasks.base import Task
from destilo.tasks.question_answering import QuestionAnswering
from destilo.tasks.text_classification import TextClassification
from destilo.tasks.token_classification import TokenClassification
from destilo.tasks.tokenization import TextTokenizer

__all__ = [
    "TASKS",
    "QuestionAnswering",
    "Task",
    "TextClassification",
    "TextTokenizer",
    "TokenClassification",
    "make_task",
    "task_from_settings",
]

TASKS: Mapping[str, type[TextClassification | TokenClassification | QuestionAnswering]] = {
    "text-classification": TextClassification,
    "token-classification": TokenClassification,
    "question-answering": QuestionAnswering,
}
"""The tasks by name."""


def make_task(name: str, *, labels: Sequence[str] = (), **settings: Any) -> Task:
    """Make a task.

    Args:
        name: A key of ``TASKS``.
        labels: The classes in their fixed order; none for question answering.
        settings: Fields of the task's class; what is left out has the class's default.

    Raises:
        RecipeError: If there is no such task or setting, or the labels do not suit the task.
    """
    if name not in TASKS:
        raise RecipeError(suggest(name, TASKS, kind="task"))
    kind = TASKS[name]
    known = list(inspect.signature(kind).parameters)
    for setting in settings:
        if setting not in known:
            raise RecipeError(suggest(setting, known, kind=f"setting of {name}"))
    if "labels" in known:
        settings["labels"] = tuple(labels)
    elif labels:
        raise RecipeError(f"{name} has no labels; leave out data.labels.")
    return kind(**settings)


def task_from_settings(settings: Mapping[str, Any]) -> Task:
    """Make a task again from what its ``settings()`` gave.

    Raises:
        RecipeError: As ``make_task``, or if ``settings`` names no task.
    """
    rest = dict(settings)
    name = rest.pop("task", None)
    if not isinstance(name, str):
        raise RecipeError("These settings name no task: the key 'task' is missing.")
    return make_task(name, **rest)
