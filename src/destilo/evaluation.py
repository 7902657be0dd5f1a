"""Measure a model on a split, and how closely a student follows its teacher.

Predictions are decoded and scored by the task, in numpy: the same code that an exported model
uses. A model always reads windows cut by its own tokenizer, as it will when it is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from destilo.data.batching import evaluation_batches
from destilo.models.heads import model_inputs, run_model
from destilo.models.outputs import Outputs, UnitLogits
from destilo.objective.base import IGNORED
from destilo.objective.logits import Labels, masked_log_softmax
from destilo.progress import Progress, Silent
from destilo.records import EvalResult, Fidelity
from destilo.rows import Row
from destilo.tasks.base import Encoding, Example, HeadArrays, HeadKind, Prediction, Task
from destilo.tasks.tokenization import TextTokenizer
from destilo.teacher.alignment import AlignmentMode, own_units, pair_batch, read_units
from destilo.training.batches import head_labels


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A measured model.

    Attributes:
        result: The record.
        predictions: One per row.
        heads: What the model said about every window, unpadded.
        loss: Mean cross-entropy with the gold labels, in nats per unit.
    """

    result: EvalResult
    predictions: tuple[Prediction, ...]
    heads: tuple[HeadArrays, ...]
    loss: float


def run_encodings(
    model: PreTrainedModel,
    encodings: Sequence[Encoding],
    *,
    heads: Sequence[str],
    pad_id: int,
) -> Outputs:
    """Run a model on some encodings as one padded batch, without gradients."""
    inputs = model_inputs(
        [encoding.input_ids for encoding in encodings],
        [encoding.token_type_ids for encoding in encodings],
        pad_id=pad_id,
        device=model.device,
    )
    model.eval()
    with torch.inference_mode():
        return run_model(model, inputs, heads)


def predict_heads(
    model: PreTrainedModel,
    encodings: Sequence[Encoding],
    *,
    kinds: Mapping[str, HeadKind],
    pad_id: int,
    batch_size: int,
    progress: Progress | None = None,
) -> tuple[list[HeadArrays], float]:
    """Run a model over encodings, longest first.

    Returns:
        Unpadded head arrays per encoding, in the order given, and the mean cross-entropy with
        the gold labels in nats per unit (NaN where nothing is labelled).
    """
    progress = progress or Silent()
    lengths = np.array([len(encoding) for encoding in encodings])
    results: list[HeadArrays] = [{} for _ in encodings]
    total, count = 0.0, 0
    for batch in evaluation_batches(lengths, batch_size):
        chosen = [encodings[index] for index in batch]
        outputs = run_encodings(model, chosen, heads=tuple(kinds), pad_id=pad_id)
        loss, units = _cross_entropy(outputs, chosen, kinds)
        total, count = total + loss, count + units
        arrays = {name: logits.float().cpu().numpy() for name, logits in outputs.heads.items()}
        for row, index in enumerate(batch):
            results[index] = {
                name: _unpadded(array[row], kinds[name], int(lengths[index]))
                for name, array in arrays.items()
            }
        progress.advance(len(batch))
    return results, total / count if count else float("nan")


def _unpadded(array: NDArray[np.float32], kind: HeadKind, length: int) -> NDArray[np.float32]:
    return array if kind is HeadKind.ROW else array[:length]


def _cross_entropy(
    outputs: Outputs, encodings: Sequence[Encoding], kinds: Mapping[str, HeadKind]
) -> tuple[float, int]:
    device = outputs.attention_mask.device
    labels = {name: head_labels(encodings, name, kind).to(device) for name, kind in kinds.items()}
    units = sum(int((gold != IGNORED).sum()) for gold in labels.values())
    if not units:
        return 0.0, 0
    own = read_units(outputs, own_units(encodings).to(device), kinds)
    return float(Labels().total(own, labels)), units


def evaluate_model(
    model: PreTrainedModel,
    *,
    name: str,
    split: str,
    task: Task,
    rows: Sequence[Row],
    tokenizer: TextTokenizer,
    batch_size: int = 64,
    bootstrap_samples: int = 1000,
    progress: Progress | None = None,
    examples: Sequence[Example] | None = None,
) -> Evaluated:
    """Encode, run, decode and score one split.

    Args:
        model: A transformers model with the task's head.
        name: What the model is called in the record.
        split: The split's name.
        task: Encodes, decodes and scores.
        rows: Labelled rows.
        tokenizer: The model's own.
        batch_size: Windows per forward pass.
        bootstrap_samples: For the 95% intervals.
        progress: Told of every batch.
        examples: The rows already encoded, to save time in training.

    Returns:
        The measurement.
    """
    windows = list(examples) if examples is not None else task.encode(rows, [tokenizer])
    heads, loss = predict_heads(
        model,
        [window.encodings[0] for window in windows],
        kinds=task.heads,
        pad_id=tokenizer.pad_id,
        batch_size=batch_size,
        progress=progress,
    )
    predictions = task.decode(rows, windows, heads)
    result = EvalResult(
        model=name,
        split=split,
        main_metric=task.main_metric,
        scores=task.score(rows, predictions, bootstrap_samples=bootstrap_samples),
        n_rows=len(rows),
        settings=task.settings(),
    )
    return Evaluated(result, tuple(predictions), tuple(heads), loss)


def measure_fidelity(
    student: Sequence[HeadArrays],
    teacher: Sequence[HeadArrays],
    *,
    task: Task,
    examples: Sequence[Example],
    teacher_encoding: int,
    alignment: AlignmentMode,
    batch_size: int = 64,
) -> Fidelity:
    """Compare what two models said, unit by unit, on the same windows.

    Args:
        student: The follower's unpadded heads per window, from ``predict_heads``.
        teacher: The same of the one followed.
        task: For its heads.
        examples: The windows, encoded for both; the student's encoding is the first.
        teacher_encoding: Which encoding is the teacher's.
        alignment: How units are paired.
        batch_size: Windows that are compared at a time.

    Returns:
        Agreement of the highest class and mean KL(teacher || student) per unit.
    """
    lengths = np.array([max(map(len, example.encodings)) for example in examples])
    agree, divergence, units = 0, 0.0, 0
    for batch in evaluation_batches(lengths, batch_size):
        pairing = pair_batch(
            [examples[index] for index in batch],
            teacher=teacher_encoding,
            mode=alignment,
            kinds=task.heads,
        )
        pair = pairing.pair(
            _stacked([student[index] for index in batch]),
            _stacked([teacher[index] for index in batch]),
            task.heads,
        )
        for head, mine in pair.student.items():
            same, kl = _compare(mine, pair.teacher[head])
            agree, divergence, units = agree + same, divergence + kl, units + len(mine.logits)
    return Fidelity(
        agreement=agree / units if units else float("nan"),
        mean_kl_nats=divergence / units if units else float("nan"),
        n_units=units,
    )


def _stacked(heads: Sequence[HeadArrays]) -> Outputs:
    """Unpadded head arrays as one batch again."""
    tensors = {
        name: pad_sequence([torch.from_numpy(one[name]) for one in heads], batch_first=True)
        for name in heads[0]
    }
    return Outputs(tensors, attention_mask=torch.empty(0))


def _compare(student: UnitLogits, teacher: UnitLogits) -> tuple[int, float]:
    mine, theirs = masked_log_softmax(student), masked_log_softmax(teacher)
    same = int((mine.argmax(dim=-1) == theirs.argmax(dim=-1)).sum())
    return same, float((theirs.exp() * (theirs - mine)).sum())
