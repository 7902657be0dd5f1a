"""What a model's shapes alone say: parameters, multiply-accumulates, how long a row may be.

Nothing here is measured: the same model gives the same numbers on any machine.
"""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

Inputs: TypeAlias = dict[str, Tensor]

# Products of two computed tensors are attention's own (QK^T, AV); products with a weight are not.
_ATTENTION_OPERATORS = ("bmm", "baddbmm", "attention")
_INPUT_SEED = 13


def count_parameters(model: nn.Module) -> int:
    """Count parameters; tied or shared weights count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_embedding_parameters(model: nn.Module) -> int:
    """Count parameters of look-up tables (words, positions, segments), each table once."""
    tables = {
        id(module.weight): module.weight.numel()
        for module in model.modules()
        if isinstance(module, nn.Embedding)
    }
    return sum(tables.values())


@dataclass(frozen=True, slots=True)
class Macs:
    """Multiply-accumulates of the matrix products of one row.

    Attributes:
        total: All of them.
        attention: QK^T and AV alone (both operands computed), part of ``total``.
    """

    total: int
    attention: int


def count_macs(model: nn.Module, sequence_length: int) -> Macs:
    """Count the multiply-accumulates of one row of ``sequence_length`` positions.

    A copy made from the configuration runs on the meta device: no memory, no arithmetic. It uses
    eager attention, whose products are plain matrix products. Layers that mask most of their
    scores (local attention) count in full, since that is what is computed.
    """
    try:
        operators = _count_flops(model, sequence_length, device="meta")
    except (RuntimeError, NotImplementedError):
        # Some architectures look at their input's values, which meta tensors do not have.
        operators = _count_flops(model, sequence_length, device="cpu")
    attention = sum(
        flops
        for operator, flops in operators.items()
        if any(part in operator for part in _ATTENTION_OPERATORS)
    )
    return Macs(total=sum(operators.values()) // 2, attention=attention // 2)


def count_module_macs(model: nn.Module, sequence_length: int) -> int:
    """Count what a counter that looks at modules finds in one row, as the THOP package does.

    Published speed-ups are often ratios of this count. It is no count of multiply-accumulates:
    a linear layer counts its products, without the bias; a layer norm two operations for each
    value, and four where it has weights; attention's own products (QK^T, AV), embeddings and
    activations count nothing. A module that is shared counts each time it runs.

    Reference:
        https://github.com/Lyken17/pytorch-OpCounter, ``count_linear`` and ``count_normalization``.
    """
    try:
        return _count_in_modules(model, sequence_length, device="meta")
    except (RuntimeError, NotImplementedError):
        return _count_in_modules(model, sequence_length, device="cpu")


def _count_in_modules(model: nn.Module, sequence_length: int, *, device: str) -> int:
    twin, inputs = _twin(model, sequence_length, device=device)
    counts: list[int] = []

    def count(module: nn.Module, _: Any, output: Tensor) -> None:
        if isinstance(module, nn.Linear):
            counts.append(output.numel() * module.in_features)
        elif isinstance(module, nn.LayerNorm):
            counts.append(output.numel() * (4 if module.elementwise_affine else 2))

    for module in twin.modules():
        if isinstance(module, nn.Linear | nn.LayerNorm):
            module.register_forward_hook(count)
    with torch.no_grad():
        twin(**inputs)
    return sum(counts)


def _count_flops(model: nn.Module, sequence_length: int, *, device: str) -> dict[str, int]:
    twin, inputs = _twin(model, sequence_length, device=device)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        twin(**inputs)
    counts: dict[Any, int] = counter.get_flop_counts()["Global"]
    return {str(operator): flops for operator, flops in counts.items()}


def _twin(model: nn.Module, sequence_length: int, *, device: str) -> tuple[Any, Inputs]:
    """A model of the same shapes on the device, and one row for it."""
    config = copy.deepcopy(_config(model))
    model_class: Any = type(model)
    with torch.device(device):
        twin = model_class._from_config(config, attn_implementation="eager")
        twin.eval().requires_grad_(False)
        inputs = build_inputs(twin, 1, sequence_length)
    if device == "meta":
        # With a mask the library asks whether it hides anything, a question of values. The
        # products are the same without it.
        inputs = {key: value.to("meta") for key, value in inputs.items() if "mask" not in key}
    return twin, inputs


def build_inputs(model: nn.Module, batch_size: int, sequence_length: int) -> Inputs:
    """Build a full batch of ordinary word ids that the model's own configuration admits.

    Returns:
        Tensors [batch, length] on the CPU: ``input_ids`` without special symbols (padding would
        shorten the row), ``attention_mask`` of ones, ``token_type_ids`` where there are segments.
    """
    config = _config(model)
    special = {
        value
        for key, value in config.to_dict().items()
        if key.endswith("_token_id") and isinstance(value, int)
    }
    words = [index for index in range(config.vocab_size) if index not in special]
    choice = np.random.default_rng(_INPUT_SEED).choice(
        words or [0], size=(batch_size, sequence_length)
    )
    shape = (batch_size, sequence_length)
    inputs = {
        "input_ids": torch.tensor(choice, dtype=torch.long, device="cpu"),
        "attention_mask": torch.ones(shape, dtype=torch.long, device="cpu"),
    }
    has_segments = (getattr(config, "type_vocab_size", None) or 0) > 1
    if has_segments and "token_type_ids" in inspect.signature(model.forward).parameters:
        inputs["token_type_ids"] = torch.zeros(shape, dtype=torch.long, device="cpu")
    return inputs


def max_sequence_length(model: nn.Module) -> int | None:
    """Say how many positions a row may have; ``None`` where there is no limit."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa's kin number positions from the padding index plus one.
            reserved = 0 if module.padding_idx is None else module.padding_idx + 1
            return int(module.num_embeddings - reserved)
    limit = getattr(_config(model), "max_position_embeddings", None)
    return None if limit is None else int(limit)


def _config(model: nn.Module) -> Any:
    return model.config
