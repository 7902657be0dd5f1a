"""What hooks read is what the model computes, for every architecture, and costs others nothing."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from destilo.errors import ModelError
from destilo.models.capture import Capture
from destilo.models.heads import run_model
from destilo.models.layers import architecture_of
from destilo.models.outputs import LayerStates, Wanted
from tests.encoders import ARCHITECTURE_NAMES, some_inputs, tiny_model

TASK = "token-classification"
HEADS = ("label",)
ALL = frozenset({1, 2, 3, 4})
GLOBAL = {"modernbert": frozenset({1, 4})}
"""Layers whose attention sees the whole text, where not all of them do."""


def ragged() -> dict[str, Tensor]:
    """Rows of three lengths, padded."""
    inputs = some_inputs()
    for row, length in enumerate((14, 9, 5)):
        inputs["attention_mask"][row, length:] = 0
    return inputs


def read(model: PreTrainedModel, wanted: Wanted) -> LayerStates:
    capture = Capture(model, wanted)
    with torch.no_grad():
        outputs = run_model(model, ragged(), HEADS, capture=capture)
    capture.close()
    assert outputs.layers is not None
    return outputs.layers


def in_full(model: PreTrainedModel) -> tuple[list[Tensor], list[Tensor]]:
    """Hidden states (first: what layer 1 reads) and attention probabilities, from transformers."""
    if model.config.model_type not in ("deberta-v2", "roformer"):
        model.set_attn_implementation("eager")
    with torch.no_grad():
        result = model(**ragged(), output_hidden_states=True, output_attentions=True)
    return list(result.hidden_states), list(result.attentions)


@pytest.mark.parametrize("model_type", [*ARCHITECTURE_NAMES, "roformer"])
def test_hidden_states_are_those_of_transformers(model_type: str) -> None:
    model = tiny_model(model_type, TASK).eval()
    states = read(model, Wanted(hidden=ALL | {0}))
    expected, _ = in_full(model)
    compared = range(4 if model_type == "modernbert" else 5)  # its last one is normed once more
    real = ragged()["attention_mask"].bool()
    for number in compared:
        mine, theirs = states.hidden[number][real], expected[number][real]
        assert torch.allclose(mine, theirs, atol=1e-5), number
    assert not states.query


def test_what_the_second_layer_reads_is_the_first_ones_hidden_state() -> None:
    """Large DeBERTa models have a convolution between the two."""
    model = tiny_model("deberta-v2", TASK, conv_kernel_size=3).eval()
    states = read(model, Wanted(hidden=ALL))
    expected, _ = in_full(model)
    real = ragged()["attention_mask"].bool()
    for number in ALL:
        mine, theirs = states.hidden[number][real], expected[number][real]
        assert torch.allclose(mine, theirs, atol=1e-5), number


@pytest.mark.parametrize(
    "model_type", [name for name in (*ARCHITECTURE_NAMES, "roformer") if name != "deberta-v2"]
)
def test_queries_and_keys_give_the_eager_attention(model_type: str) -> None:
    model = tiny_model(model_type, TASK).eval()
    layers = GLOBAL.get(model_type, ALL)
    states = read(model, Wanted(scores=layers))
    _, expected = in_full(model)
    real = ragged()["attention_mask"].bool()
    for number in layers:
        query, key = states.query[number], states.key[number]
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        scores = scores.masked_fill(~real[:, None, None], -math.inf)
        mine, theirs = scores.softmax(-1), expected[number - 1]
        for row, length in enumerate(real.sum(-1).tolist()):
            assert torch.allclose(mine[row, :, :length], theirs[row, :, :length], atol=1e-5), number
    assert not states.value
    assert not states.hidden


@pytest.mark.parametrize("model_type", [*ARCHITECTURE_NAMES, "roformer"])
def test_relations_read_queries_keys_and_values_of_the_layers_asked_for(model_type: str) -> None:
    model = tiny_model(model_type, TASK).eval()
    states = read(model, Wanted(relations=frozenset({2, 4})))
    for kind in (states.query, states.key, states.value):
        assert set(kind) == {2, 4}
        assert kind[2].shape[:2] == (ragged()["input_ids"].shape[0], 2)
        assert kind[2].shape[-1] == 8
        assert not torch.equal(kind[2], kind[4])


def test_a_value_is_what_attention_mixes() -> None:
    model = tiny_model("bert", TASK).eval()
    states = read(model, Wanted(hidden=frozenset({0}), relations=frozenset({1})))
    attention = model.base_model.get_submodule("encoder.layer.0.attention.self")
    expected = attention.get_submodule("value")(states.hidden[0])
    assert torch.allclose(states.value[1].transpose(1, 2).flatten(2), expected, atol=1e-6)


@pytest.mark.parametrize("model_type", ["bert", "albert", "modernbert"])
def test_capture_changes_nothing_and_leaves_nothing(model_type: str) -> None:
    model = tiny_model(model_type, TASK).eval()
    before = run_model(model, ragged(), HEADS)
    capture = Capture(model, Wanted(hidden=ALL, relations=frozenset({4})))
    during = run_model(model, ragged(), HEADS, capture=capture)
    assert all(torch.equal(during.heads[name], before.heads[name]) for name in HEADS)
    assert before.layers is None
    run_model(model, ragged(), HEADS)  # hooks without a recording keep nothing
    assert capture._buffer is None
    capture.close()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_gradients_flow_through_what_was_read() -> None:
    model = tiny_model("albert", TASK).train()
    capture = Capture(model, Wanted(hidden=frozenset({2})))
    outputs = run_model(model, ragged(), HEADS, capture=capture)
    assert outputs.layers is not None
    torch.autograd.backward(outputs.layers.hidden[2].sum())
    assert any(weight.grad is not None for weight in model.base_model.parameters())


@pytest.mark.parametrize(
    ("model_type", "changes", "wanted", "message"),
    [
        ("bert", {}, Wanted(hidden=frozenset({5})), "Layer 5 is wanted of a bert model of 4"),
        ("deberta-v2", {}, Wanted(scores=frozenset({1})), "Use attention-relations"),
        ("modernbert", {}, Wanted(scores=frozenset({2, 4})), "Layer 2 .* neighbours"),
        ("albert", {"inner_group_num": 2}, Wanted(hidden=frozenset({1})), "inner_group_num 2"),
    ],
)
def test_what_a_model_cannot_give_is_refused(
    model_type: str, changes: dict[str, Any], wanted: Wanted, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        Capture(tiny_model(model_type, TASK, **changes), wanted)


def test_an_unknown_architecture_is_refused_with_the_list() -> None:
    with pytest.raises(ModelError, match=r"bart.*bert.*modernbert|Available"):
        architecture_of("bart")
