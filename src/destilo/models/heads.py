"""From a transformers model's outputs to named heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from destilo.models.capture import Capture
from destilo.models.outputs import LayerStates, Outputs

_FIELDS = {"label": "logits", "start": "start_logits", "end": "end_logits"}


def run_model(
    model: torch.nn.Module,
    inputs: Mapping[str, Tensor],
    heads: Sequence[str],
    *,
    capture: Capture | None = None,
) -> Outputs:
    """Run a model and name its heads.

    Args:
        model: A transformers model (or a wrapper of one) that returns a ``ModelOutput``.
        inputs: Padded model inputs, each [batch, length].
        heads: ``label``, or ``start`` and ``end``.
        capture: Reads the layers' states of the same model, where they are needed.

    Returns:
        Logits by head, in the model's own positions, and what ``capture`` read.
    """
    layers: LayerStates | None = None
    if capture is None:
        result: Any = model(**inputs)
    else:
        with capture.recording() as states:
            result = model(**inputs)
            layers = states()
    return Outputs(
        heads={name: getattr(result, _FIELDS[name]) for name in heads},
        attention_mask=inputs["attention_mask"],
        layers=layers,
    )


def model_inputs(
    input_ids: Sequence[NDArray[np.int64]],
    token_type_ids: Sequence[NDArray[np.int64] | None],
    *,
    pad_id: int,
    device: torch.device,
) -> dict[str, Tensor]:
    """Pad ragged encodings to a batch of model inputs on a device."""
    longest = max(len(ids) for ids in input_ids)
    ids = np.full((len(input_ids), longest), pad_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    segments = np.zeros_like(ids)
    for row, (pieces, types) in enumerate(zip(input_ids, token_type_ids, strict=True)):
        ids[row, : len(pieces)] = pieces
        mask[row, : len(pieces)] = 1
        if types is not None:
            segments[row, : len(types)] = types
    arrays = {"input_ids": ids, "attention_mask": mask}
    if any(types is not None for types in token_type_ids):
        arrays["token_type_ids"] = segments
    return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
