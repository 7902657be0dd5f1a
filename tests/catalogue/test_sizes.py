"""Formulas and real models agree to the digit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForSequenceClassification

from destilo.catalogue.models import list_models, model_entry
from destilo.catalogue.sizes import COUNTED, Sizes, count_from_config
from destilo.counting import count_embedding_parameters, count_macs, count_parameters


def _built(config: dict[str, Any], n_labels: int) -> Any:
    keys = dict(config)
    made = AutoConfig.for_model(keys.pop("model_type"), num_labels=n_labels, **keys)
    with torch.device("meta"):
        return AutoModelForSequenceClassification.from_config(made)


def _agrees(config: dict[str, Any], sizes: Sizes | None, *, length: int, n_labels: int) -> None:
    assert sizes is not None
    model = _built(config, n_labels)
    assert sizes.parameters == count_parameters(model)
    assert sizes.embedding_parameters == count_embedding_parameters(model)
    macs = count_macs(model, length)
    assert sizes.macs == macs.total
    assert sizes.macs_without_attention == macs.total - macs.attention


@settings(max_examples=6, deadline=None)
@pytest.mark.parametrize("model_type", COUNTED)
@given(
    heads=st.integers(1, 3),
    layers=st.integers(1, 3),
    inner=st.integers(1, 40),
    n_labels=st.integers(2, 5),
    length=st.integers(2, 30),
)
def test_small_models(
    model_type: str, heads: int, layers: int, inner: int, n_labels: int, length: int
) -> None:
    general = model_type != "distilbert"
    config = {
        "model_type": model_type,
        "vocab_size": 101,
        "hidden_size" if general else "dim": 8 * heads,
        "num_hidden_layers" if general else "n_layers": layers,
        "num_attention_heads" if general else "n_heads": heads,
        "intermediate_size" if general else "hidden_dim": inner,
        "max_position_embeddings": 40,
    }
    if model_type == "modernbert":  # its own special pieces lie above a small vocabulary
        config |= {f"{piece}_token_id": 0 for piece in ("pad", "bos", "eos", "cls", "sep")}
    if model_type in ("albert", "electra"):
        config["embedding_size"] = 16
    sizes = count_from_config(config, sequence_length=length, n_labels=n_labels)
    _agrees(config, sizes, length=length, n_labels=n_labels)


@pytest.mark.parametrize("model_type", COUNTED)
def test_what_a_configuration_leaves_out_has_the_default_of_the_library(model_type: str) -> None:
    config = {"model_type": model_type}
    sizes = count_from_config(config, sequence_length=16)
    _agrees(config, sizes, length=16, n_labels=3)


def test_albert_with_several_groups_of_several_layers() -> None:
    config = {
        "model_type": "albert",
        "vocab_size": 50,
        "hidden_size": 16,
        "num_hidden_layers": 4,
        "num_hidden_groups": 2,
        "inner_group_num": 3,
        "num_attention_heads": 2,
        "intermediate_size": 24,
    }
    _agrees(config, count_from_config(config, sequence_length=9), length=9, n_labels=3)


def test_distilbert_by_the_general_names_of_its_keys() -> None:
    own = {"model_type": "distilbert", "dim": 24, "n_layers": 2, "n_heads": 2, "hidden_dim": 8}
    general = {
        "model_type": "distilbert",
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "hidden_dim": 8,
    }
    assert count_from_config(general) == count_from_config(own)


@pytest.mark.parametrize("entry", list_models(), ids=lambda entry: entry.name)
def test_every_model_of_the_catalogue(entry: Any) -> None:
    sizes = count_from_config(entry.config, sequence_length=512)
    _agrees(entry.config, sizes, length=512, n_labels=3)


# Published counts of the THOP package: three classes, one row of 512 pieces.
@pytest.mark.parametrize(
    ("name", "macs"),
    [
        ("beto-cased", 43_526_457_600),
        ("albeto-base-2", 7_305_234_688),
        ("albeto-base-4", 14_559_283_456),
        ("albeto-base-6", 21_813_332_224),
        ("albeto-base", 43_575_478_528),
        ("albeto-tiny", 2_418_245_608),
        ("distilbeto", 21_764_311_296),
    ],
)
def test_what_a_counter_of_modules_sees(name: str, macs: int) -> None:
    sizes = count_from_config(model_entry(name).config, sequence_length=512, n_labels=3)
    assert sizes is not None
    assert sizes.macs_of_modules == macs


def test_an_architecture_without_a_formula_has_no_sizes() -> None:
    assert count_from_config({"model_type": "gpt2"}) is None
    assert count_from_config({}) is None
