"""Sources of teacher outputs: a frozen model that runs beside the student, or a cache of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from destilo.models.capture import Capture
from destilo.models.heads import model_inputs, run_model
from destilo.models.outputs import Outputs
from destilo.tasks.base import Encoding, Example
from destilo.teacher.alignment import AlignmentMode
from destilo.teacher.cache import TeacherCache, example_key, teacher_encoding


class Teacher(Protocol):
    """A source of outputs for the student to follow."""

    @property
    def encoding(self) -> int:
        """Which of an example's encodings this teacher reads."""
        ...

    @property
    def alignment(self) -> AlignmentMode: ...

    def encodings(self, examples: Sequence[Example]) -> Sequence[Encoding]:
        """What the teacher's outputs belong to, example by example."""
        ...

    def inputs(self, examples: Sequence[Example], device: torch.device) -> Mapping[str, Tensor]:
        """What ``outputs`` takes for these examples."""
        ...

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

    def encodings(self, examples: Sequence[Example]) -> list[Encoding]:
        """The examples in this teacher's tokenizer."""
        return [example.encodings[self.encoding] for example in examples]

    def inputs(self, examples: Sequence[Example], device: torch.device) -> dict[str, Tensor]:
        """The examples as a padded batch."""
        theirs = self.encodings(examples)
        return model_inputs(
            [encoding.input_ids for encoding in theirs],
            [encoding.token_type_ids for encoding in theirs],
            pad_id=self.pad_id,
            device=device,
        )

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


@dataclass(frozen=True, slots=True)
class CachedTeacher:
    """A teacher whose outputs were computed beforehand.

    Attributes:
        cache: Holds every example that the student will see.
        encoding: Which of an example's encodings the teacher read.
    """

    cache: TeacherCache
    encoding: int
    _keys: dict[int, tuple[Encoding, bytes]] = field(default_factory=dict, repr=False)

    @property
    def alignment(self) -> AlignmentMode:
        """By unit: a cache knows no positions."""
        return AlignmentMode.WORD

    @property
    def capture(self) -> None:
        """Layers are not cached."""
        return

    def encodings(self, examples: Sequence[Example]) -> list[Encoding]:
        return [teacher_encoding(self.cache.row(self._key(example))) for example in examples]

    def inputs(self, examples: Sequence[Example], device: torch.device) -> dict[str, Tensor]:
        """The logits as a padded batch: per head [batch, units] or [batch, units, classes]."""
        batch = self.cache.batch([self._key(example) for example in examples])
        return {name: value.to(device) for name, value in batch.items()}

    def outputs(self, inputs: Mapping[str, Tensor]) -> Outputs:
        """The batch as it was read."""
        heads = {name: inputs[name] for name in self.cache.kinds}
        return Outputs(heads=heads, attention_mask=inputs["attention_mask"])

    def _key(self, example: Example) -> bytes:
        """An example's key; hashed once, for every epoch asks again."""
        encoding = example.encodings[self.encoding]
        known = self._keys.get(id(encoding))
        if known is None:  # the encoding is kept beside its key, so that its id stays its own
            known = self._keys[id(encoding)] = (encoding, example_key(encoding))
        return known[1]
