"""Where each architecture keeps its layers. What is not listed here is refused by name."""

from __future__ import annotations

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
    """

    query: str
    key: str
    value: str
    positions: str | None = None

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
        behind_first: Module path, below the base model, of what some of its models have behind
            the first layer: the second one reads that.
        attention: Where a layer keeps query, key and value.
        heads_key: The configuration key that says how many attention heads there are.
        width_key: That of the hidden states' width.
    """

    layers: str | None
    count_key: str = "num_hidden_layers"
    per_layer_keys: tuple[str, ...] = ()
    entry_norm: tuple[str, str] | None = None
    behind_first: str | None = None
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
        behind_first="encoder.conv",
        attention=AttentionLayout(
            "attention.self.query_proj",
            "attention.self.key_proj",
            "attention.self.value_proj",
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


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes that decide how two models' layers can be compared."""

    layers: int
    width: int
    heads: int


def model_shape(config: Any) -> ModelShape:
    """Read the sizes of a transformers configuration.

    Raises:
        ModelError: If the architecture is unknown.
    """
    architecture = architecture_of(config.model_type)
    return ModelShape(
        layer_count(config),
        int(getattr(config, architecture.width_key)),
        int(getattr(config, architecture.heads_key)),
    )


def layer_count(config: Any) -> int:
    """How many layers (ALBERT: turns of its layer) a transformers configuration has."""
    return int(getattr(config, architecture_of(config.model_type).count_key))
