"""The labels of a classification head: their maps, their order and the layer that says them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from destilo.errors import ModelError


def label_maps(labels: Sequence[str]) -> dict[str, Any]:
    """The label keys of a transformers configuration; empty without labels."""
    if not labels:
        return {}
    return {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: number for number, label in enumerate(labels)},
    }


def set_labels(config: Any, labels: Sequence[str]) -> None:
    """Put labels into a transformers configuration, in their order."""
    for key, value in label_maps(labels).items():
        setattr(config, key, value)


def label_names(id2label: Mapping[int, str]) -> list[str]:
    """A model's labels in the order of its head."""
    return [str(id2label[index]) for index in sorted(id2label)]


def label_order(
    id2label: Mapping[int, str], labels: Sequence[str], source: str
) -> tuple[int, ...] | None:
    """Where each of the task's labels stands in a model's head.

    Returns:
        Head index per task label; ``None`` where the order is already the same.

    Raises:
        ModelError: If the two label sets differ.
    """
    theirs = label_names(id2label)
    if theirs == list(labels):
        return None
    if sorted(theirs) != sorted(labels):
        unknown = sorted(set(labels) - set(theirs))
        extra = sorted(set(theirs) - set(labels))
        unnamed = all(name == f"LABEL_{number}" for number, name in enumerate(theirs))
        raise ModelError(
            f"The labels of {source} are not those of the data: "
            f"{'unknown to the model: ' + ', '.join(unknown) + '. ' if unknown else ''}"
            f"{'not in the data: ' + ', '.join(extra) + '. ' if extra else ''}"
            f"{_UNNAMED if unnamed else ''}"
            "Use a model for this label set, give `data.labels` with exactly the model's labels, "
            "or add `finetune:` to train a new head."
        )
    return tuple(theirs.index(label) for label in labels)


_UNNAMED = (
    "The model's labels have no names; if its head is trained, write them into id2label of its "
    "config.json. "
)


def output_layer(model: PreTrainedModel, n_labels: int) -> torch.nn.Linear:
    """The layer that gives one logit a label: the last one of that width.

    Raises:
        ModelError: If there is none.
    """
    candidates = [
        module
        for module in model.modules()
        if isinstance(module, torch.nn.Linear) and module.out_features == n_labels
    ]
    if not candidates:
        raise ModelError(f"{type(model).__name__} has no output layer of {n_labels} labels.")
    return candidates[-1]


def permute_labels(model: PreTrainedModel, *, order: Sequence[int], labels: Sequence[str]) -> None:
    """Reorder the rows of a model's classification layer in place, and its label maps."""
    layer, index = output_layer(model, len(order)), torch.tensor(list(order))
    with torch.no_grad():
        layer.weight.copy_(layer.weight[index].clone())
        if layer.bias is not None:
            layer.bias.copy_(layer.bias[index].clone())
    set_labels(model.config, labels)


def renew_output(model: PreTrainedModel, n_labels: int) -> None:
    """Forget what a head has learnt about other labels (torch's global seed)."""
    layer = output_layer(model, n_labels)
    torch.nn.init.normal_(layer.weight, std=getattr(model.config, "initializer_range", 0.02))
    if layer.bias is not None:
        torch.nn.init.zeros_(layer.bias)
