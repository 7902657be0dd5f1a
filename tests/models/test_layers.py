"""Which layers are kept, and that a cut model is the teacher's own layers and nothing else."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from destilo.errors import ModelError
from destilo.layer_map import check_layers, choose_layers
from destilo.layer_reading import attention_kinds
from destilo.models.folder import AUTO_CLASSES
from destilo.models.layers import ARCHITECTURES, architecture_of, layer_count
from destilo.models.student import cut_layers, fewer_layers, model_from_config, set_dropout
from tests.encoders import (
    ARCHITECTURE_NAMES,
    CONFIGS,
    TASKS,
    heads_of,
    labels_of,
    same_heads,
    some_inputs,
    tiny_model,
)


@pytest.mark.parametrize(
    ("available", "wanted", "layer_map", "expected"),
    [
        (12, 4, "uniform", (3, 6, 9, 12)),
        (12, 5, "uniform", (3, 5, 8, 10, 12)),
        (6, 4, "uniform", (2, 3, 5, 6)),
        (12, 1, "uniform", (12,)),
        (12, 12, "uniform", tuple(range(1, 13))),
        (12, 3, "first", (1, 2, 3)),
        (12, 3, "last", (10, 11, 12)),
        (24, 6, "every:3", (3, 6, 9, 12, 15, 18)),
        (24, 6, "every:4", (4, 8, 12, 16, 20, 24)),
    ],
)
def test_layer_maps_by_example(
    available: int, wanted: int, layer_map: str, expected: tuple[int, ...]
) -> None:
    assert choose_layers(available, wanted=wanted, layer_map=layer_map) == expected


@pytest.mark.parametrize("layer_map", ["uniform", "first", "last", "every:1"])
def test_every_map_gives_layers_that_exist_in_order(layer_map: str) -> None:
    for available in range(1, 14):
        for wanted in range(1, available + 1):
            chosen = choose_layers(available, wanted=wanted, layer_map=layer_map)
            assert len(chosen) == wanted
            assert check_layers(chosen, available=available) == chosen


@pytest.mark.parametrize(
    ("wanted", "layer_map", "message"),
    [
        (13, "uniform", "from 1 to 12"),
        (0, "uniform", "from 1 to 12"),
        (4, "uniforme", "Did you mean 'uniform'"),
        (4, "every:0", "every:K"),
        (4, "every:x", "every:K"),
        (4, "every:4", "every:3 or uniform"),
    ],
)
def test_a_map_that_does_not_fit_is_refused_with_a_remedy(
    wanted: int, layer_map: str, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        choose_layers(12, wanted=wanted, layer_map=layer_map)


@pytest.mark.parametrize("numbers", [(), (0,), (7,), (2, 1), (2, 2)])
def test_explicit_layers_must_exist_and_ascend(numbers: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="from 1 to 6"):
        check_layers(numbers, available=6)


def test_an_unknown_architecture_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match=r"Unknown architecture 'robert'.*Did you mean"):
        architecture_of("robert")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("model_type", ARCHITECTURE_NAMES)
def test_all_the_layers_make_the_same_model(model_type: str, task: str) -> None:
    teacher = tiny_model(model_type, task)
    student = cut_layers(teacher, (1, 2, 3, 4))
    assert same_heads(teacher, student, some_inputs())
    # And nothing is shared: training the student leaves the teacher alone.
    theirs = {id(parameter) for parameter in teacher.parameters()}
    assert not any(id(parameter) in theirs for parameter in student.parameters())


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("model_type", ARCHITECTURE_NAMES)
def test_a_cut_model_reads_back_from_its_folder(model_type: str, task: str, tmp_path: Path) -> None:
    student = cut_layers(tiny_model(model_type, task), (2, 4), dropout=0.0)
    student.save_pretrained(tmp_path)
    again = AUTO_CLASSES[task].from_pretrained(tmp_path)
    assert layer_count(again.config) == 2
    if labels_of(task):
        assert tuple(again.config.id2label.values()) == labels_of(task)
    assert same_heads(student, again, some_inputs())


@pytest.mark.parametrize("model_type", [name for name in ARCHITECTURE_NAMES if name != "albert"])
def test_cutting_twice_is_cutting_once(model_type: str) -> None:
    """Every layer keeps its own weights and its place among the others."""
    teacher = tiny_model(model_type)
    once = cut_layers(teacher, (1, 3))
    twice = cut_layers(cut_layers(teacher, (1, 3, 4)), (1, 2))
    assert same_heads(once, twice, some_inputs())
    assert not same_heads(once, cut_layers(teacher, (1, 4)), some_inputs(), atol=1e-6)


def test_modernbert_keeps_the_kind_of_attention_of_each_layer() -> None:
    teacher = tiny_model("modernbert")
    assert teacher.config.layer_types[3] == "full_attention"
    student = cut_layers(teacher, (2, 4))
    assert student.config.layer_types == ["sliding_attention", "full_attention"]
    assert fewer_layers(teacher.config, 2)["layer_types"] == teacher.config.layer_types[:2]


@pytest.mark.parametrize("period", [None, 2, 5])
def test_the_kinds_of_attention_are_known_before_a_model_is_loaded(period: int | None) -> None:
    keys: dict[str, Any] = {"model_type": "modernbert", "num_hidden_layers": 7}
    if period is not None:
        keys["global_attn_every_n_layers"] = period
    config = AutoConfig.for_model(**keys)
    assert attention_kinds(keys, 7) == tuple(config.layer_types)
    assert attention_kinds(config.to_dict(), 7) == tuple(config.layer_types)


def test_modernbert_folds_the_norm_that_a_first_layer_lacks() -> None:
    """On inputs that are normed already, the folded layer is the layer that it was."""
    teacher = tiny_model("modernbert").double()
    student = cut_layers(teacher, (3,)).double()
    layers: Any = (
        teacher.get_submodule("model.layers.2"),
        student.get_submodule("model.layers.0"),
    )
    hidden = torch.nn.functional.layer_norm(torch.randn(2, 5, 16, dtype=torch.float64), (16,))
    old, new = (layer.attn.Wqkv(layer.attn_norm(hidden)) for layer in layers)
    assert torch.allclose(old, new, atol=1e-4)  # the norm's own epsilon


def test_albert_takes_fewer_turns_of_its_one_layer() -> None:
    """With the layer's own weights, n turns are n turns, whichever numbers were asked for."""
    teacher = tiny_model("albert")
    student = cut_layers(teacher, (2, 4))
    parameters = sum(parameter.numel() for parameter in teacher.parameters())
    assert sum(parameter.numel() for parameter in student.parameters()) == parameters
    teacher.config.num_hidden_layers = 2
    again = type(teacher)(teacher.config)
    again.load_state_dict(teacher.state_dict())
    assert same_heads(student, again, some_inputs())


def test_cutting_leaves_the_teacher_as_it_was() -> None:
    teacher = tiny_model("bert")
    before = [head.clone() for head in heads_of(teacher, some_inputs())]
    student = cut_layers(teacher, (1,), dropout=0.5)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.zero_()
    assert layer_count(teacher.config) == 4
    assert teacher.config.hidden_dropout_prob == 0.1
    assert all(map(torch.equal, before, heads_of(teacher, some_inputs())))


@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
def test_dropout_sets_every_rate_that_the_model_has(model_type: str) -> None:
    config = AutoConfig.for_model(model_type)
    set_dropout(config, 0.25)
    rates = {key: value for key, value in vars(config).items() if "dropout" in key}
    assert rates
    assert {value for value in rates.values() if not isinstance(value, bool)} == {0.25}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("model_type", ARCHITECTURE_NAMES)
def test_without_dropout_training_mode_changes_nothing(model_type: str, task: str) -> None:
    teacher = tiny_model(model_type, task)
    student = cut_layers(teacher, (1, 2, 3, 4), dropout=0.0).train()
    result = student(**some_inputs())
    found = [result[name] for name in ("logits", "start_logits", "end_logits") if name in result]
    for mine, theirs in zip(found, heads_of(teacher, some_inputs()), strict=True):
        assert torch.allclose(mine, theirs, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": 3}, "multiple"),
        ({"hidden_size": "big"}, "hidden_size"),
        ({"num_attention_heads": 0}, "bert model"),
        ({"hidden_act": "gelux"}, "gelux"),
        ({"model_type": "berd"}, "Did you mean 'bert'"),
        ({"model_type": None}, "model_type"),
    ],
)
def test_a_configuration_that_makes_no_model_is_refused(
    changes: dict[str, object], message: str
) -> None:
    settings = {"model_type": "bert", **CONFIGS["bert"], **changes}
    with pytest.raises(ModelError, match=message):
        model_from_config(
            settings, "token-classification", labels=("a", "b"), vocab_size=9, pad_id=0
        )


def test_a_checkpoint_cannot_keep_more_layers_than_it_has() -> None:
    config = tiny_model("albert").config
    assert fewer_layers(config, 3) == {"num_hidden_layers": 3}
    with pytest.raises(ModelError, match="has 4 layers"):
        fewer_layers(config, 5)
