"""Parameters and multiply-accumulates of a model from its configuration alone, by formula.

The numbers are those of its ``ForSequenceClassification`` model, exact to the digit; nothing is
built and nothing heavy is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a configuration alone says of a model's size.

    Attributes:
        embedding_parameters: Of look-up tables (words, positions, segments), part of
            ``parameters``.
        macs: Multiply-accumulates of all matrix products of one row, QK^T and AV included.
        macs_without_attention: The same without QK^T and AV.
        macs_of_modules: What THOP, a counter of modules, reports for the same row: products with
            weights, and four operations per element of a layer norm; it sees no QK^T and no AV.
            The speed-ups of the published tables are ratios of these.
    """

    parameters: int
    embedding_parameters: int
    macs: int
    macs_without_attention: int
    macs_of_modules: int


_NORM_OPERATIONS = 4  # THOP: 2 an element, doubled where scale and shift are learnt


@dataclass(slots=True)
class _Tally:
    """Adds up the parts of a model as they are listed."""

    length: int
    parameters: int = 0
    tables: int = 0
    products: int = 0
    attention: int = 0
    norms: int = 0

    def table(self, rows: int, width: int) -> None:
        self.parameters += rows * width
        self.tables += rows * width

    def linear(
        self,
        inputs: int,
        outputs: int,
        *,
        copies: int = 1,
        runs: int | None = None,
        positions: int | None = None,
        bias: bool = True,
    ) -> None:
        """Add ``copies`` of a layer that are run ``runs`` times, by default once each."""
        times = (copies if runs is None else runs) * (self.length if positions is None else 1)
        self.parameters += copies * (inputs + bias) * outputs
        self.products += times * (positions or 1) * inputs * outputs

    def norm(
        self,
        width: int,
        *,
        copies: int = 1,
        runs: int | None = None,
        positions: int | None = None,
        bias: bool = True,
    ) -> None:
        self.parameters += copies * (1 + bias) * width
        times = copies if runs is None else runs
        self.norms += times * (self.length if positions is None else positions) * width

    def attend(self, width: int, *, runs: int) -> None:
        self.attention += runs * 2 * self.length**2 * width  # QK^T and AV, over all the heads

    def block(self, width: int, inner: int, *, copies: int, runs: int) -> None:
        """Add transformer layers: four projections, two of the feed-forward net, two norms."""
        self.linear(width, width, copies=4 * copies, runs=4 * runs)
        self.linear(width, inner, copies=copies, runs=runs)
        self.linear(inner, width, copies=copies, runs=runs)
        self.norm(width, copies=2 * copies, runs=2 * runs)
        self.attend(width, runs=runs)

    def head(self, width: int, n_labels: int, *, bias: bool = True) -> None:
        """Add what every kind has at the end, once a row: a dense layer, and the classes."""
        self.linear(width, width, positions=1, bias=bias)
        self.linear(width, n_labels, positions=1)

    def sizes(self) -> Sizes:
        return Sizes(
            parameters=self.parameters,
            embedding_parameters=self.tables,
            macs=self.products + self.attention,
            macs_without_attention=self.products,
            macs_of_modules=self.products + _NORM_OPERATIONS * self.norms,
        )


_BERT = {
    "vocab_size": 30_522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
}
_ROBERTA = _BERT | {"vocab_size": 50_265}
_ELECTRA = _BERT | {
    "embedding_size": 128,
    "hidden_size": 256,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
}
_ALBERT = _BERT | {
    "vocab_size": 30_000,
    "embedding_size": 128,
    "hidden_size": 4096,
    "num_attention_heads": 64,
    "intermediate_size": 16_384,
    "num_hidden_groups": 1,
    "inner_group_num": 1,
}
_DISTILBERT = {
    "vocab_size": 30_522,
    "dim": 768,
    "n_layers": 6,
    "n_heads": 12,
    "hidden_dim": 3072,
    "max_position_embeddings": 512,
}
_MODERNBERT = {
    "vocab_size": 50_368,
    "hidden_size": 768,
    "num_hidden_layers": 22,
    "intermediate_size": 1152,
    "norm_bias": False,
    "attention_bias": False,
    "mlp_bias": False,
    "classifier_bias": False,
}
_COMMON_NAMES = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
}
"""The general names that a DistilBERT configuration takes as well."""


def _count_bert(tally: _Tally, keys: Mapping[str, Any]) -> None:
    """BERT and RoBERTa; the latter has its dense layer in the head instead of the encoder."""
    width, layers = keys["hidden_size"], keys["num_hidden_layers"]
    for rows in ("vocab_size", "max_position_embeddings", "type_vocab_size"):
        tally.table(keys[rows], width)
    tally.norm(width)
    tally.block(width, keys["intermediate_size"], copies=layers, runs=layers)


def _count_electra(tally: _Tally, keys: Mapping[str, Any]) -> None:
    width, layers = keys["hidden_size"], keys["num_hidden_layers"]
    embedding = keys["embedding_size"]
    for rows in ("vocab_size", "max_position_embeddings", "type_vocab_size"):
        tally.table(keys[rows], embedding)
    tally.norm(embedding)
    if embedding != width:
        tally.linear(embedding, width)
    tally.block(width, keys["intermediate_size"], copies=layers, runs=layers)


def _count_albert(tally: _Tally, keys: Mapping[str, Any]) -> None:
    width, embedding = keys["hidden_size"], keys["embedding_size"]
    for rows in ("vocab_size", "max_position_embeddings", "type_vocab_size"):
        tally.table(keys[rows], embedding)
    tally.norm(embedding)
    tally.linear(embedding, width)
    inner = keys["inner_group_num"]
    tally.block(
        width,
        keys["intermediate_size"],
        copies=keys["num_hidden_groups"] * inner,
        runs=keys["num_hidden_layers"] * inner,
    )


def _count_distilbert(tally: _Tally, keys: Mapping[str, Any]) -> None:
    width, layers = keys["dim"], keys["n_layers"]
    tally.table(keys["vocab_size"], width)
    tally.table(keys["max_position_embeddings"], width)
    tally.norm(width)
    tally.block(width, keys["hidden_dim"], copies=layers, runs=layers)


def _count_modernbert(tally: _Tally, keys: Mapping[str, Any]) -> None:
    """Gated feed-forward nets, norms before each part (none before the first), no biases."""
    width, layers, inner = keys["hidden_size"], keys["num_hidden_layers"], keys["intermediate_size"]
    tally.table(keys["vocab_size"], width)
    tally.norm(width, copies=2 * layers + 1, bias=keys["norm_bias"])
    tally.linear(width, width, copies=4 * layers, bias=keys["attention_bias"])
    tally.linear(width, 2 * inner, copies=layers, bias=keys["mlp_bias"])
    tally.linear(inner, width, copies=layers, bias=keys["mlp_bias"])
    tally.attend(width, runs=layers)
    tally.norm(width, positions=1, bias=keys["norm_bias"])  # of the head


_Count = Callable[[_Tally, Mapping[str, Any]], None]
_KINDS: dict[str, tuple[_Count, Mapping[str, Any], str]] = {
    "bert": (_count_bert, _BERT, "hidden_size"),
    "roberta": (_count_bert, _ROBERTA, "hidden_size"),
    "xlm-roberta": (_count_bert, _BERT, "hidden_size"),
    "camembert": (_count_bert, _BERT, "hidden_size"),
    "electra": (_count_electra, _ELECTRA, "hidden_size"),
    "albert": (_count_albert, _ALBERT, "hidden_size"),
    "distilbert": (_count_distilbert, _DISTILBERT, "dim"),
    "modernbert": (_count_modernbert, _MODERNBERT, "hidden_size"),
}
"""Per architecture: its formula, the defaults of its configuration, the name of its width."""

COUNTED = tuple(_KINDS)
"""The architectures that have a formula."""


def count_from_config(
    config: Mapping[str, Any], *, sequence_length: int = 512, n_labels: int = 3
) -> Sizes | None:
    """Count a classifier's parameters and its multiply-accumulates for one row.

    Args:
        config: ``model_type`` and the keys of its transformers configuration; what is left out
            has the library's default.
        sequence_length: Pieces in the row.
        n_labels: Classes of the head.

    Returns:
        The sizes; ``None`` for an architecture without a formula here.
    """
    kind = _KINDS.get(str(config.get("model_type")))
    if kind is None:
        return None
    count, defaults, width = kind
    names = _COMMON_NAMES if width == "dim" else {}
    keys = {**defaults, **{names.get(key, key): value for key, value in config.items()}}
    tally = _Tally(sequence_length)
    count(tally, keys)
    tally.head(keys[width], n_labels, bias=bool(keys.get("classifier_bias", True)))
    return tally.sizes()
