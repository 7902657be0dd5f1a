"""How the small model is made: layers of the teacher, a checkpoint, or a configuration."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import AutoConfig, PreTrainedModel

from destilo.errors import ModelError, suggest
from destilo.layer_map import check_layers
from destilo.models.folder import AUTO_CLASSES, describe
from destilo.models.labels import label_maps
from destilo.models.layers import ARCHITECTURES, architecture_of, layer_count


def cut_layers(
    model: PreTrainedModel, numbers: Sequence[int], *, dropout: float | None = None
) -> PreTrainedModel:
    """Copy a model with only some of its layers; everything else is copied as it is.

    Args:
        model: The model to cut; it is not changed.
        numbers: Layers to keep, from 1, ascending. For ALBERT, whose layer is shared, only
            how many there are matters.
        dropout: Sets every dropout probability of the copy.

    Returns:
        A model of the same class. With all the layers it equals ``model``. Where an
        architecture's first layer has no norm of its own (ModernBERT), the layer that becomes
        the first loses it, and its scale goes into the projection behind it.

    Raises:
        ModelError: If the numbers do not fit.
    """
    architecture = architecture_of(model.config.model_type)
    kept = check_layers(numbers, available=layer_count(model.config))
    config = copy.deepcopy(model.config)
    setattr(config, architecture.count_key, len(kept))
    for key in architecture.per_layer_keys:
        values = getattr(config, key, None)
        if values is not None:
            setattr(config, key, [values[number - 1] for number in kept])
    if dropout is not None:
        set_dropout(config, dropout)
    student: PreTrainedModel = type(model)._from_config(config)
    student.load_state_dict(state_of_layers(model, kept), strict=True)
    return student


def state_of_layers(model: PreTrainedModel, numbers: Sequence[int]) -> dict[str, Any]:
    """A model's tensors under the names that they have in a model of some of its layers.

    Args:
        model: Is not changed.
        numbers: Layers to keep, from 1, ascending.
    """
    architecture = architecture_of(model.config.model_type)
    state: dict[str, Any] = model.state_dict()
    if architecture.layers is None:
        return state
    prefix = f"{model.base_model_prefix}.{architecture.layers}."
    state = _renumber(state, prefix, numbers)
    if architecture.entry_norm is not None:
        _fold_norm(state, f"{prefix}0.", *architecture.entry_norm)
    return state


def _renumber(state: Mapping[str, Any], prefix: str, kept: Sequence[int]) -> dict[str, Any]:
    place = {number - 1: position for position, number in enumerate(kept)}
    result = {}
    for name, value in state.items():
        if not name.startswith(prefix):
            result[name] = value
            continue
        number, _, rest = name.removeprefix(prefix).partition(".")
        if int(number) in place:
            result[f"{prefix}{place[int(number)]}.{rest}"] = value
    return result


def _fold_norm(state: dict[str, Any], layer: str, norm: str, projection: str) -> None:
    scale = state.pop(f"{layer}{norm}.weight", None)
    state.pop(f"{layer}{norm}.bias", None)
    if scale is not None:
        name = f"{layer}{projection}.weight"
        state[name] = state[name] * scale  # [outputs, width] * [width]


def model_from_config(
    settings: Mapping[str, Any], task: str, *, labels: Sequence[str], vocab_size: int, pad_id: int
) -> PreTrainedModel:
    """Build a model with random weights (torch's global seed) from configuration keys.

    Args:
        settings: ``model_type`` and the keys of its transformers configuration.
        task: The task's name, which decides the head.
        labels: The classes in order.
        vocab_size: Of the tokenizer that feeds it.
        pad_id: Of that tokenizer.

    Raises:
        ModelError: If the architecture or a key's value is not usable.
    """
    keys = dict(settings)
    model_type = keys.pop("model_type", None)
    if model_type is None:
        raise ModelError("A model configuration needs 'model_type', for example: bert.")
    if model_type not in ARCHITECTURES:
        raise ModelError(suggest(model_type, ARCHITECTURES, kind="architecture"))
    keys |= {"vocab_size": vocab_size, "pad_token_id": pad_id} | label_maps(labels)
    try:
        config = AutoConfig.for_model(model_type, **keys)
        model: PreTrainedModel = AUTO_CLASSES[task].from_config(config)
    except Exception as error:  # what a wrong value breaks depends on the key
        raise ModelError(
            f"The configuration of the {model_type} model: {describe(error)}"
        ) from error
    return model


def fewer_layers(config: Any, layers: int) -> dict[str, Any]:
    """Configuration changes that keep a checkpoint's first layers (ALBERT: fewer turns)."""
    architecture = architecture_of(config.model_type)
    available = layer_count(config)
    if not 1 <= layers <= available:
        raise ModelError(f"student.layers is {layers}, but the checkpoint has {available} layers.")
    changes: dict[str, Any] = {architecture.count_key: layers}
    for key in architecture.per_layer_keys:
        values = getattr(config, key, None)
        if values is not None:
            changes[key] = values[:layers]
    return changes


def set_dropout(config: Any, probability: float) -> None:
    """Set every dropout probability that a transformers configuration has."""
    for key, value in vars(config).items():
        is_rate = isinstance(value, float | int) and not isinstance(value, bool)
        if "dropout" in key and (is_rate or value is None):
            setattr(config, key, probability)
