"""A training step as one would write it by hand in PyTorch, with nothing around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from destilo.tasks.base import Example


@dataclass(frozen=True)
class Batch:
    """A padded batch, ready before the clock starts.

    Attributes:
        inputs: Of the model, each [batch, length].
        labels: [batch, length]; -100 where nothing is supervised.
    """

    inputs: Mapping[str, Tensor]
    labels: Tensor

    @property
    def padding_share(self) -> float:
        return 1.0 - float(self.inputs["attention_mask"].float().mean())


def prepare(examples: Sequence[Example], *, length: int | None = None) -> Batch:
    """Pad a batch to its longest row, or to ``length``."""
    encodings = [example.encodings[0] for example in examples]
    longest = length or max(map(len, encodings))
    shape = (len(encodings), longest)
    ids, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    labels = np.full(shape, -100, dtype=np.int64)
    for row, encoding in enumerate(encodings):
        ids[row, : len(encoding)] = encoding.input_ids
        mask[row, : len(encoding)] = 1
        labels[row, : len(encoding)] = encoding.labels["label"]
    inputs = {
        "input_ids": torch.from_numpy(ids),
        "attention_mask": torch.from_numpy(mask),
        "token_type_ids": torch.zeros(shape, dtype=torch.long),
    }
    return Batch(inputs, torch.from_numpy(labels))


class BareTraining:
    """Student, frozen teacher, AdamW, clipping: 0.5 labels + 0.5 KL at temperature 2."""

    def __init__(self, student: nn.Module, teacher: nn.Module, *, learning_rate: float) -> None:
        self.student, self.teacher = student.train(), teacher.eval()
        weights = list(student.parameters())
        groups = [
            {"params": [w for w in weights if w.ndim >= 2], "weight_decay": 0.01},
            {"params": [w for w in weights if w.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=learning_rate, fused=True)

    def step(self, batch: Batch) -> None:
        """Make one optimiser step."""
        chosen = batch.labels != -100
        with torch.no_grad():
            theirs = self.teacher(**batch.inputs).logits[chosen] / 2.0
        mine = self.student(**batch.inputs).logits[chosen]
        labels = functional.cross_entropy(mine, batch.labels[chosen])
        divergence = functional.kl_div(
            functional.log_softmax(mine / 2.0, dim=-1),
            functional.log_softmax(theirs, dim=-1),
            log_target=True,
            reduction="batchmean",
        )
        (0.5 * labels + 0.5 * 4.0 * divergence).backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
