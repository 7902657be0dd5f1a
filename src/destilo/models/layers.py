"""Where each architecture keeps its layers. What is not listed here is refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from destilo.errors import ModelError, suggest


@dataclass(frozen=True, slots=True)
class AttentionLayout:
    """Where a layer keeps its attention's projections, as module paths below the layer.

    Attributes:
        query: The query projection.
        key: The key projection; the same path as ``query`` where one matrix makes all three.
        value: The value projection.
        positions: The argument of the attention module that holds rotary position angles.
        comparable: Whether query times key is the whole score. DeBERTa adds terms of its own.
    """

    query: str
    key: str
    value: str
    positions: str | None = None
    comparable: bool = True

    @property
    def module(self) -> str:
        """The attention module: the parent of its projections."""
        return self.query.rpartition(".")[0]

    @property
    def fused(self) -> bool:
        return self.query == self.key


@dataclass(frozen=True, slots=True)
class Architecture:
    """How one family of encoders is laid out.

    Attributes:
        layers: Module path of the layer list below the base model; ``None``: one layer that is
            run several times (ALBERT).
        count_key: The configuration key that says how many layers there are.
        per_layer_keys: Configuration lists with one entry a layer.
        entry_norm: A norm that the first layer lacks, since the embeddings are normed already,
            and the projection that reads it.
        attention: Where a layer keeps query, key and value.
        heads_key: The configuration key that says how many attention heads there are.
        width_key: That of the hidden states' width.
    """

    layers: str | None
    count_key: str = "num_hidden_layers"
    per_layer_keys: tuple[str, ...] = ()
    entry_norm: tuple[str, str] | None = None
    attention: AttentionLayout = AttentionLayout(
        "attention.self.query", "attention.self.key", "attention.self.value"
    )
    heads_key: str = "num_attention_heads"
    width_key: str = "hidden_size"


_BERT_LIKE = Architecture("encoder.layer")

ARCHITECTURES: dict[str, Architecture] = {
    "bert": _BERT_LIKE,
    "roberta": _BERT_LIKE,
    "xlm-roberta": _BERT_LIKE,
    "camembert": _BERT_LIKE,
    "electra": _BERT_LIKE,
    "roformer": Architecture(
        "encoder.layer", attention=replace(_BERT_LIKE.attention, positions="sinusoidal_pos")
    ),
    "deberta-v2": Architecture(
        "encoder.layer",
        attention=AttentionLayout(
            "attention.self.query_proj",
            "attention.self.key_proj",
            "attention.self.value_proj",
            comparable=False,
        ),
    ),
    "distilbert": Architecture(
        "transformer.layer",
        count_key="n_layers",
        attention=AttentionLayout("attention.q_lin", "attention.k_lin", "attention.v_lin"),
        heads_key="n_heads",
        width_key="dim",
    ),
    "albert": Architecture(
        None, attention=AttentionLayout("attention.query", "attention.key", "attention.value")
    ),
    "modernbert": Architecture(
        "layers",
        per_layer_keys=("layer_types",),
        entry_norm=("attn_norm", "attn.Wqkv"),
        attention=AttentionLayout(
            "attn.Wqkv", "attn.Wqkv", "attn.Wqkv", positions="position_embeddings"
        ),
    ),
}


def architecture_of(model_type: str) -> Architecture:
    """Look an architecture up.

    Raises:
        ModelError: If destilo does not know where it keeps its layers.
    """
    if model_type not in ARCHITECTURES:
        raise ModelError(suggest(model_type, ARCHITECTURES, kind="architecture"))
    return ARCHITECTURES[model_type]


def layer_count(config: Any) -> int:
    """How many layers (ALBERT: turns of its layer) a transformers configuration has."""
    return int(getattr(config, architecture_of(config.model_type).count_key))


def choose_layers(available: int, *, wanted: int, layer_map: str = "uniform") -> tuple[int, ...]:
    """Pick teacher layers for a student, numbered from 1.

    Args:
        available: Layers of the teacher.
        wanted: Layers of the student.
        layer_map: ``uniform`` spreads them so that the last is the teacher's last (12 -> 4:
            3, 6, 9, 12); ``last`` and ``first`` take one end; ``every:K`` takes K, 2K, 3K, ...

    Raises:
        ModelError: If the map does not fit.

    Example:
        >>> choose_layers(12, wanted=4)
        (3, 6, 9, 12)
        >>> choose_layers(24, wanted=6, layer_map="every:3")
        (3, 6, 9, 12, 15, 18)
    """
    if not 1 <= wanted <= available:
        raise ModelError(
            f"A student of {wanted} layers cannot be cut from a teacher of {available}. "
            f"Set student.layers to a number from 1 to {available}."
        )
    if layer_map == "uniform":
        return tuple(-(-available * number // wanted) for number in range(1, wanted + 1))
    if layer_map == "first":
        return tuple(range(1, wanted + 1))
    if layer_map == "last":
        return tuple(range(available - wanted + 1, available + 1))
    step = layer_map.removeprefix("every:")
    if not layer_map.startswith("every:") or not step.isdigit() or int(step) < 1:
        raise ModelError(suggest(layer_map, ("uniform", "first", "last", "every:K"), kind="map"))
    if int(step) * wanted > available:
        raise ModelError(
            f"'{layer_map}' for {wanted} layers reaches layer {int(step) * wanted}, but the "
            f"teacher has {available}. Use every:{available // wanted} or uniform."
        )
    return tuple(int(step) * number for number in range(1, wanted + 1))


def check_layers(numbers: Sequence[int], *, available: int) -> tuple[int, ...]:
    """Check explicit layer numbers (from 1, ascending, no repeats)."""
    wrong = [number for number in numbers if not 1 <= number <= available]
    if wrong or list(numbers) != sorted(set(numbers)) or not numbers:
        raise ModelError(
            f"student.layers {list(numbers)} must be ascending numbers from 1 to {available}, "
            "each once."
        )
    return tuple(numbers)
