"""Sources of teacher outputs. A live teacher is a frozen model that runs beside the student."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from destilo.models.capture import Capture
from destilo.models.heads import run_model
from destilo.models.outputs import Outputs
from destilo.teacher.alignment import AlignmentMode


class Teacher(Protocol):
    """A source of outputs for the student to follow."""

    @property
    def encoding(self) -> int:
        """Which of an example's encodings this teacher reads."""
        ...

    @property
    def alignment(self) -> AlignmentMode: ...

    @property
    def pad_id(self) -> int: ...

    def outputs(self, inputs: Mapping[str, Tensor]) -> Outputs: ...


@dataclass(frozen=True, slots=True)
class LiveTeacher:
    """A frozen model, run in inference mode, never a submodule of what is trained.

    Attributes:
        model: A transformers model with the task's head.
        heads: The task's head names.
        encoding: Which of an example's encodings it reads.
        alignment: How its units are found from the student's.
        pad_id: Its tokenizer's padding piece.
        bf16: Run its matrix products in bfloat16.
        capture: Reads its layers' states, where a term needs them.
    """

    model: torch.nn.Module
    heads: tuple[str, ...]
    encoding: int
    alignment: AlignmentMode
    pad_id: int
    bf16: bool = False
    capture: Capture | None = None

    def outputs(self, inputs: Mapping[str, Tensor]) -> Outputs:
        """Run the teacher on a padded batch.

        Args:
            inputs: ``input_ids``, ``attention_mask`` and, where it has segments,
                ``token_type_ids``, each [batch, length].
        """
        self.model.eval()
        device = inputs["input_ids"].device
        with (
            torch.no_grad(),
            torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.bf16),
        ):
            return run_model(self.model, inputs, self.heads, capture=self.capture)
