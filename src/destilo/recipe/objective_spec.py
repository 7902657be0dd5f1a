"""The objective's sections of a recipe: terms of the loss, and stages with an objective each."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from destilo.recipe.fields import Count, NotNegative, Positive, Spec, Text, as_tuple, shape
from destilo.recipe.training_spec import TrainingOverrides

TermName: TypeAlias = Literal[
    "labels",
    "kl",
    "reverse-kl",
    "jsd",
    "soft-ce",
    "mse",
    "hidden-mse",
    "hidden-cosine",
    "embedding-mse",
    "attention-mse",
    "attention-relations",
]


def _as_pairs(value: Any) -> Any:
    pairs = [as_tuple(pair) for pair in value]
    for pair in pairs:
        if not (
            isinstance(pair, tuple)
            and len(pair) == 2
            and all(type(number) is int and number >= 1 for number in pair)
        ):
            raise ValueError(
                "must hold pairs [student layer, teacher layer], whole numbers from 1, such as "
                "[[2, 6], [4, 12]]"
            )
    return tuple(pairs)


LayerPairs: TypeAlias = Annotated[
    tuple[tuple[Count, Count], ...], BeforeValidator(_as_pairs), Field(min_length=1)
]

_OPTIONS: dict[str, tuple[str, ...]] = {
    "temperature": ("kl", "reverse-kl", "jsd", "soft-ce"),
    "layer_map": ("hidden-mse", "hidden-cosine", "attention-mse", "attention-relations"),
    "projection": ("hidden-mse", "hidden-cosine", "embedding-mse"),
    "compare": ("attention-mse",),
    "average_heads": ("attention-mse",),
    "relation_heads": ("attention-relations",),
}


class TermSpec(Spec):
    """One term of the loss.

    Attributes:
        temperature: Of the terms on logits, but for ``labels`` and ``mse``.
        layer_map: Of the terms on layers: ``uniform``, ``last``, ``first``, ``every:K``, or pairs
            [student layer, teacher layer] from 1. By default the layers that the student was cut
            from, else ``uniform``; for ``attention-relations`` the last layer of each.
        projection: Between the widths of hidden states: ``each`` layer its own, one ``shared``,
            ``none``; ``auto``: none where the widths agree, else each.
        compare: Attention ``scores``, ``probabilities``, or KL of ``probabilities-kl``.
        average_heads: Compare attention averaged over heads, so that their numbers may differ.
        relation_heads: Into how many heads relations are cut.
    """

    term: TermName
    weight: NotNegative = 1.0
    temperature: Positive = 1.0
    layer_map: (
        Annotated[
            Annotated[Text, Tag("<value>")] | Annotated[LayerPairs, Tag("<list>")],
            Discriminator(shape),
        ]
        | None
    ) = None
    projection: Literal["auto", "each", "shared", "none"] = "auto"
    compare: Literal["scores", "probabilities", "probabilities-kl"] = "scores"
    average_heads: bool = False
    relation_heads: Count | None = None

    @model_validator(mode="after")
    def _options_matter(self) -> TermSpec:
        for option, terms in _OPTIONS.items():
            given = getattr(self, option) != type(self).model_fields[option].default
            if given and self.term not in terms:
                raise ValueError(f"`{self.term}` has no {option}: leave it out")
        return self

    @property
    def distils(self) -> bool:
        """Whether the term needs a teacher."""
        return self.term != "labels"

    @property
    def on_layers(self) -> bool:
        """Whether the term compares layers, not logits."""
        return self.term in ("embedding-mse", *_OPTIONS["layer_map"])


class StageSpec(Spec):
    """One of several trainings of the student, in turn.

    Attributes:
        objective: Its terms.
        training: Where it differs from the recipe's ``training``.
    """

    objective: Annotated[tuple[TermSpec, ...], BeforeValidator(as_tuple), Field(min_length=1)]
    training: TrainingOverrides = TrainingOverrides()
