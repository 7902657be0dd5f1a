"""What of a model's layers can be compared with another's, from its configuration alone.

One set of rules for who reads JSON before anything is loaded and for who hooks a loaded model.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

_SCORES_OF_THEIR_OWN = ("deberta-v2",)
"""Architectures that add terms to query times key."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why states of some layers cannot be compared.

    Attributes:
        reason: A sentence about the model.
        remedy: What to do instead.
    """

    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.reason} {self.remedy}"


def attention_kinds(config: Mapping[str, Any], layers: int) -> tuple[str, ...]:
    """Say of each layer whether it sees the whole text.

    Args:
        config: A model's configuration, in transformers' keys.
        layers: How many it has.

    Returns:
        ``full_attention`` or ``sliding_attention`` for each; ModernBERT's early configurations
        say it by a period, or leave it at every third.
    """
    kinds = config.get("layer_types")
    if isinstance(kinds, list | tuple) and kinds:
        return tuple(str(kind) for kind in kinds)
    if config.get("model_type") != "modernbert":
        return ("full_attention",) * layers
    given = config.get("global_attn_every_n_layers")
    period = given if isinstance(given, int) and given > 0 else 3
    return tuple(
        "sliding_attention" if number % period else "full_attention" for number in range(layers)
    )


def why_not_read(
    config: Mapping[str, Any], *, layers: int, scores: Collection[int], name: str
) -> Refusal | None:
    """Say what stands against reading a model layer by layer.

    Args:
        config: Its configuration, in transformers' keys.
        layers: How many it has.
        scores: Layers, from 1, whose attention scores are wanted.
        name: As the model is to be called.
    """
    inner = config.get("inner_group_num", 1)
    if inner != 1:
        return Refusal(
            f"{name} takes several layers in one turn (inner_group_num {inner}), which cannot be "
            "read layer by layer.",
            "Leave out the terms on layers.",
        )
    model_type = config.get("model_type")
    if scores and model_type in _SCORES_OF_THEIR_OWN:
        return Refusal(
            f"the attention scores of {name} ({model_type}) are more than query times key and "
            "cannot be compared.",
            "Use attention-relations or hidden-mse.",
        )
    kinds = attention_kinds(config, layers)
    local = [number for number in scores if "sliding_attention" in kinds[number - 1 : number]]
    if local:
        return Refusal(
            f"layer {min(local)} of {name} looks at its neighbours only: it has no attention "
            "scores over the whole text.",
            "Pair layers that see all of it, or use attention-relations.",
        )
    return None
