"""What trials cost, in multiply-accumulates: for the plan of a sweep and its time left."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from destilo.catalogue.datasets import list_datasets
from destilo.catalogue.models import list_models
from destilo.catalogue.sizes import count_from_config
from destilo.data.sources import read_source
from destilo.errors import DestiloError
from destilo.recipe.model_facts import MODEL_TYPES
from destilo.recipe.schema import Recipe, Source, ValidationSplit
from destilo.runs import digest

FORWARD_AND_BACKWARD = 3
"""A training step costs about three forward passes."""


@dataclass
class Costs:
    """Counts what training takes, windows at their full length: an upper bound.

    A model or data set that is not on this machine has no cost that is known: 0.
    """

    of_measuring: float = 0.0
    _rows: dict[str, int] = field(default_factory=dict)
    _macs: dict[str, int] = field(default_factory=dict)

    def of(
        self, verb: str, recipe: Recipe, teachers: Sequence[Mapping[str, Any] | None] = ()
    ) -> float:
        """The multiply-accumulates of a task.

        Args:
            verb: Of the task.
            recipe: Of its trial.
            teachers: The configuration of each of its teachers, where known.
        """
        rows = self.rows(recipe)
        teacher = sum(self._forward(config, recipe) for config in teachers)
        if verb == "cache":
            return float(rows * teacher)
        training = recipe.training
        batch = training.per_device_train_batch_size * training.gradient_accumulation_steps
        seen = (
            training.max_steps * batch
            if training.max_steps > 0
            else rows * training.num_train_epochs
        )
        follows = recipe.distils and any(one.cache == "off" for one in recipe.teachers)
        config = config_of_student(recipe, next(iter(teachers), None))
        own = FORWARD_AND_BACKWARD * self._forward(config, recipe)
        return float(seen * (own + (teacher if follows else 0)))

    def rows(self, recipe: Recipe) -> int:
        """How many training rows a recipe has; 0 where they are not here."""
        source = recipe.data.train
        key = digest(source.model_dump(mode="json"))
        if key not in self._rows:
            count = _rows_here(source, recipe.task)
            if isinstance(recipe.data.validation, ValidationSplit):
                count = round(count * (1 - recipe.data.validation.fraction))
            self._rows[key] = count
        return self._rows[key]

    def _forward(self, config: Mapping[str, Any] | None, recipe: Recipe) -> int:
        if config is None:
            return 0
        key = digest([dict(config), recipe.max_length])
        if key not in self._macs:
            known = {"vocab_size": 30_000, **config}  # no product of matrices depends on it
            sizes = count_from_config(known, sequence_length=recipe.max_length)
            self._macs[key] = 0 if sizes is None else sizes.macs
        return self._macs[key]


def _rows_here(source: Source, task: str) -> int:
    """The rows of a split; of one on the hub what the catalogue says."""
    if source.format == "hub":
        entries = (one for one in list_datasets() if one.hub)
        named = (one.train_rows for one in entries if one.hub["train"]["name"] == source.name)
        return min(next(named, 0), source.limit or 10**12)
    try:
        return len(read_source("train", source, task))
    except (DestiloError, OSError):
        return 0


def config_of_student(
    recipe: Recipe, teacher: Mapping[str, Any] | None = None
) -> Mapping[str, Any] | None:
    """The configuration of a recipe's student, which may be made from its teacher's."""
    student = recipe.student
    if student.from_ == "config":
        config = student.config if isinstance(student.config, dict) else _config_of(student.config)
    elif student.from_ == "checkpoint":
        config = _config_of(student.model)
    else:
        config = teacher
    if config is None or student.layers is None:
        return config
    count = student.layers if isinstance(student.layers, int) else len(student.layers)
    kind = MODEL_TYPES.get(str(config.get("model_type")))
    return config if kind is None else {**config, kind.layers[0]: count}


def _config_of(source: str | None) -> Mapping[str, Any] | None:
    """A model's configuration from its folder or the catalogue."""
    if source is None:
        return None
    path = Path(source)
    file = path / "config.json" if path.is_dir() else path
    if file.is_file():
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None
    found = (entry.config for entry in list_models() if source in (entry.hub, entry.name))
    return next(found, None)


def macs_per_second() -> float:
    """The speed of a plain matrix product here: what no training of this machine exceeds."""
    left = np.ones((768, 768), dtype=np.float32)
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        left @ left
        best = max(best, left.size * 768 / (time.perf_counter() - start))
    return best
