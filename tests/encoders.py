"""Tiny real models of every architecture, with random weights."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from destilo.models.student import model_from_config

_SHAPE: Mapping[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 66,
}
CONFIGS: dict[str, Mapping[str, Any]] = {
    "bert": _SHAPE,
    "roberta": {**_SHAPE, "type_vocab_size": 1},
    "electra": {**_SHAPE, "embedding_size": 8},
    "distilbert": {
        "dim": 16,
        "n_layers": 4,
        "n_heads": 2,
        "hidden_dim": 24,
        "max_position_embeddings": 66,
    },
    "albert": {**_SHAPE, "embedding_size": 8},
    "modernbert": {
        **_SHAPE,
        # A window of two pieces to either side: shorter than the tests' inputs.
        "local_attention": 4,
        "cls_token_id": 2,
        "sep_token_id": 3,
        "bos_token_id": None,
        "eos_token_id": None,
    },
    "deberta-v2": {
        **_SHAPE,
        "relative_attention": True,
        "position_buckets": 8,
        "pos_att_type": ["p2c", "c2p"],
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
    },
}
ARCHITECTURE_NAMES = tuple(CONFIGS)
MORE: dict[str, Mapping[str, Any]] = {"roformer": {**_SHAPE, "embedding_size": 16}}
TASKS = ("text-classification", "token-classification", "question-answering")
LABELS = ("O", "B-LOC", "B-PER")


def labels_of(task: str) -> tuple[str, ...]:
    return () if task == "question-answering" else LABELS


def tiny_model(
    model_type: str = "bert",
    task: str = "token-classification",
    *,
    vocab_size: int = 60,
    pad_id: int | None = None,
    seed: int = 0,
    labels: tuple[str, ...] | None = None,
    **changes: Any,
) -> PreTrainedModel:
    """A model with random weights, all of them (norms and biases too) away from their defaults."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = model_from_config(
        {"model_type": model_type, **(CONFIGS | MORE)[model_type], **changes},
        task,
        labels=labels_of(task) if labels is None else labels,
        vocab_size=vocab_size,
        pad_id=(1 if model_type == "roberta" else 0) if pad_id is None else pad_id,
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.eval()
    return model


def some_inputs(*, vocab_size: int = 60, batch: int = 3, length: int = 14) -> dict[str, Tensor]:
    """Pieces without padding or special ones."""
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(5, vocab_size, (batch, length), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def heads_of(model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> list[Tensor]:
    """The logits of every head, without gradients or dropout."""
    model.eval()
    with torch.inference_mode():
        result = model(**inputs)
    names = ("logits", "start_logits", "end_logits")
    return [result[name] for name in names if name in result]


def same_heads(
    one: PreTrainedModel, other: PreTrainedModel, inputs: Mapping[str, Tensor], *, atol: float = 0.0
) -> bool:
    """Whether two models say the same, to the bit or to a tolerance."""
    pairs = zip(heads_of(one, inputs), heads_of(other, inputs), strict=True)
    return all(torch.allclose(mine, theirs, rtol=0.0, atol=atol) for mine, theirs in pairs)
