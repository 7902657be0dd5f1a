"""An experiment under way: a recipe with its data read, in its folder, on its processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from accelerate import PartialState

from destilo.pipeline.inputs import Inputs, texts
from destilo.pipeline.keys import StageKeys
from destilo.pipeline.tokenizers import TokenizerStore
from destilo.progress import Progress
from destilo.recipe.schema import Recipe
from destilo.rows import Row
from destilo.runs import Run
from destilo.tasks import Task

TOKENIZERS = "training/tokenizers"
"""Where a run keeps the tokenizers that it trained."""


@dataclass(frozen=True)
class Experiment:
    """What every stage of a run works with.

    Attributes:
        recipe: The description of it all.
        inputs: The recipe's data, read and checked, and its task.
        folder: The Run that files go to and finished stages are noted in.
        processes: Those that share the work; the main one writes.
        progress: Who is told how it goes.
        bounds: What the student must have reached at each evaluation, else it is given up.
    """

    recipe: Recipe
    inputs: Inputs
    folder: Run
    processes: PartialState
    progress: Progress
    bounds: Mapping[int, float] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.folder.path

    @property
    def task(self) -> Task:
        return self.inputs.task

    @property
    def writes(self) -> bool:
        """Whether this process is the one that measures and writes."""
        return bool(self.processes.is_main_process)

    @cached_property
    def keys(self) -> StageKeys:
        """What decides each stage's result."""
        return StageKeys(self.recipe, self.inputs)

    @cached_property
    def tokenizers(self) -> TokenizerStore:
        """Loads the recipe's tokenizers, or trains them on its texts."""
        return TokenizerStore(
            self.path / TOKENIZERS,
            texts=lambda: texts(self.inputs.splits),
            texts_digest=self.inputs.learning_digest,
            max_length=self.recipe.max_length,
            processes=self.processes,
        )

    def rows(self, split: str) -> Sequence[Row]:
        """The rows of a split."""
        return self.inputs.splits[split].rows

    def includes(self, stage: str) -> bool:
        """Whether the recipe asks for a stage."""
        if stage == "teacher":
            return any(spec.finetune is not None for spec in self.recipe.teachers)
        if stage == "baseline":
            return self.recipe.evaluation.baseline and self.recipe.distils
        return True
