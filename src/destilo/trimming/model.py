"""A model with the embeddings and the output head of fewer pieces; all else is as it was."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from destilo.errors import ModelError

# DeBERTa-v3 multiplies by the word embeddings themselves and adds a bias of its own.
_HEADS_WITHOUT_A_TABLE = ("lm_predictions.lm_head.bias",)


def trim_embeddings(model: PreTrainedModel, *, keep: Sequence[int]) -> PreTrainedModel:
    """Copy a model with the rows of some pieces only.

    Hidden states and the logits of kept pieces stay what they were. A head that does not end in
    the vocabulary (classes, tags, spans) is copied as it is.

    Args:
        model: Is not changed.
        keep: Old ids in ascending order; the position is the new id.

    Returns:
        A model of the same class, in evaluation mode. Ids in its configuration
        (``pad_token_id`` ...) are renumbered; one that is not kept becomes ``None``.

    Raises:
        ModelError: If the model has no row for a piece, or its layout is not understood.
    """
    rows = torch.tensor(list(keep))
    words = model.get_input_embeddings()
    assert isinstance(words, torch.nn.Embedding)
    if keep[-1] >= words.num_embeddings:
        raise ModelError(
            f"The tokenizer has a piece number {keep[-1]}, but the model has embeddings for "
            f"{words.num_embeddings} pieces only: they do not belong together."
        )
    new = {old: number for number, old in enumerate(keep)}
    config = copy.deepcopy(model.config)
    state: dict[str, Tensor] = dict(model.state_dict())
    for name in _vocabulary_tensors(model):
        state[name] = state[name][rows]
    config.vocab_size = len(keep)
    for key, value in renumbered(vars(config), new).items():
        setattr(config, key, value)
    _shift_positions(model, state, config)
    with torch.random.fork_rng(devices=[]):  # the weights it draws are overwritten
        trimmed: PreTrainedModel = type(model)._from_config(config)
    try:
        trimmed.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ModelError(
            f"{type(model).__name__} keeps a table of the vocabulary that is not known here: "
            f"{' '.join(str(error).split())}"
        ) from error
    trimmed.eval()
    return trimmed


def tables_of(model: PreTrainedModel) -> tuple[Tensor, Any]:
    """The word embeddings, and the layer that ends in the vocabulary, if there is one."""
    words: Any = model.get_input_embeddings()
    output: Any = model.get_output_embeddings()
    fits = output is not None and len(output.weight) == words.num_embeddings
    return words.weight, output if fits else None


def renumbered(settings: Mapping[str, Any], new: Mapping[int, int]) -> dict[str, Any]:
    """The ``*_token_id`` keys of a configuration with the ids of a trimmed vocabulary."""

    def one(value: Any) -> Any:
        if isinstance(value, list):
            return [new[old] for old in value if old in new] or None
        return new.get(value) if isinstance(value, int) else value

    return {key: one(value) for key, value in settings.items() if key.endswith("_token_id")}


def _vocabulary_tensors(model: PreTrainedModel) -> list[str]:
    """Names of all tensors with a row a piece: embeddings, the output head and what is tied."""
    words, output = tables_of(model)
    whole = [words]
    if output is not None:
        whole += [output.weight, *([] if output.bias is None else [output.bias])]
    named = model.state_dict(keep_vars=True)
    names = {name for name, value in named.items() if any(value is one for one in whole)}
    names |= {name for name in _HEADS_WITHOUT_A_TABLE if name in named}
    # Where nothing is tied, the head still has its bias twice.
    tied: Any = getattr(model, "_tied_weights_keys", None) or {}
    pairs = tied.items() if isinstance(tied, Mapping) else ()
    names |= {source for target, source in pairs if target in names and source in named}
    return sorted(names)


def _shift_positions(model: PreTrainedModel, state: dict[str, Tensor], config: Any) -> None:
    """Move position embeddings that are counted from the padding piece's number (RoBERTa)."""
    for name, module in model.named_modules():
        table = getattr(module, "position_embeddings", None)
        before, after = getattr(module, "padding_idx", None), config.pad_token_id
        if not isinstance(table, torch.nn.Embedding) or before in (None, after):
            continue
        key = f"{name}.position_embeddings.weight"
        moved = state[key][before:]  # the first of these is that of padding itself
        state[key] = torch.cat([moved.new_zeros(after, moved.shape[1]), moved])
        config.max_position_embeddings = len(state[key])
