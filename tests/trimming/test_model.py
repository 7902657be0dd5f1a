"""Embeddings and heads of fewer pieces, in every architecture."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    DebertaV2Config,
    DebertaV2ForMaskedLM,
    ElectraConfig,
    ElectraForPreTraining,
    PreTrainedModel,
)

from destilo.catalogue.models import model_entry
from destilo.errors import ModelError
from destilo.trimming.model import renumbered, trim_embeddings
from destilo.trimming.run import model_size
from tests.encoders import ARCHITECTURE_NAMES, CONFIGS, TASKS, heads_of, tiny_model

KEEP = (0, 1, 2, 3, 4, 7, 8, 11, 19, 20, 33, 40, 41, 55, 58)
NEW = {old: number for number, old in enumerate(KEEP)}


def masked_lm(model_type: str, *, pad: int = 1, **changes: Any) -> PreTrainedModel:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    keys = {**CONFIGS[model_type], "vocab_size": 60, "pad_token_id": pad, **changes}
    config = AutoConfig.for_model(model_type, **keys)
    model = cast("PreTrainedModel", AutoModelForMaskedLM.from_config(config))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.eval()
    return model


def inputs(pad: int = 1) -> tuple[Tensor, Tensor]:
    """Kept pieces, the second row padded: [2, 9] and the mask."""
    generator = torch.Generator().manual_seed(3)
    kept = torch.tensor(KEEP)
    ids = kept[torch.randint(5, len(kept), (2, 9), generator=generator)]
    mask = torch.ones_like(ids)
    ids[1, 6:], mask[1, 6:] = pad, 0
    return ids, mask


def renumber(ids: Tensor) -> Tensor:
    return torch.tensor([[NEW[int(one)] for one in row] for row in ids])


def assert_same(model: PreTrainedModel, trimmed: PreTrainedModel, *, pad: int = 1) -> None:
    ids, mask = inputs(pad)
    with torch.inference_mode():
        before = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        after = trimmed(input_ids=renumber(ids), attention_mask=mask, output_hidden_states=True)
    for one, other in zip(before.hidden_states, after.hidden_states, strict=True):
        assert torch.equal(one, other)
    # A product with fewer columns may add up in another order.
    kept = before.logits[..., list(KEEP)]
    assert torch.allclose(kept, after.logits, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("model_type", ARCHITECTURE_NAMES)
def test_hidden_states_and_logits_of_kept_pieces_are_unchanged(model_type: str, tied: bool) -> None:
    model = masked_lm(model_type, tie_word_embeddings=tied)
    trimmed = trim_embeddings(model, keep=KEEP)
    assert_same(model, trimmed)
    assert type(trimmed) is type(model)
    assert trimmed.config.vocab_size == len(KEEP)
    output: Any = trimmed.get_output_embeddings()
    words: Any = trimmed.get_input_embeddings()
    assert (output.weight is words.weight) is tied
    assert not any(60 in tensor.shape for tensor in trimmed.state_dict().values())


@pytest.mark.parametrize("model_type", ARCHITECTURE_NAMES)
def test_with_every_piece_kept_a_model_is_itself(model_type: str) -> None:
    model = masked_lm(model_type)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trimmed = trim_embeddings(model, keep=range(60))
    state = trimmed.state_dict()
    assert state.keys() == before.keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in before.items())
    assert trimmed.config.to_dict() == model.config.to_dict()


@pytest.mark.parametrize("model_type", ARCHITECTURE_NAMES)
@pytest.mark.parametrize("task", TASKS)
def test_a_fine_tuned_head_stays_as_it_is(model_type: str, task: str) -> None:
    model = tiny_model(model_type, task, pad_id=1)
    trimmed = trim_embeddings(model, keep=KEEP)
    ids, mask = inputs()
    before = heads_of(model, {"input_ids": ids, "attention_mask": mask})
    after = heads_of(trimmed, {"input_ids": renumber(ids), "attention_mask": mask})
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert trimmed.config.id2label == model.config.id2label
    words: Any = model.get_input_embeddings()
    assert len(words.weight) == 60  # is not changed


@pytest.mark.parametrize("model_type", ARCHITECTURE_NAMES)
@pytest.mark.parametrize("pad", [7, 58])
def test_padding_may_move(model_type: str, pad: int) -> None:
    """RoBERTa counts positions from the padding piece's number."""
    model = masked_lm(model_type, pad=pad, max_position_embeddings=90)
    trimmed = trim_embeddings(model, keep=KEEP)
    assert trimmed.config.pad_token_id == NEW[pad]
    assert_same(model, trimmed, pad=pad)


def test_other_heads_of_pretraining() -> None:
    deberta = DebertaV2Config(**CONFIGS["deberta-v2"], vocab_size=60, legacy=False)
    model = DebertaV2ForMaskedLM(deberta)
    model.eval()
    assert_same(model, trim_embeddings(model, keep=KEEP))
    discriminator = ElectraForPreTraining(ElectraConfig(**CONFIGS["electra"], vocab_size=60))
    assert trim_embeddings(discriminator, keep=KEEP).config.vocab_size == len(KEEP)


def test_half_precision_and_the_random_generator_are_left_alone() -> None:
    model = masked_lm("bert").bfloat16()
    model.config.dtype = torch.bfloat16
    state = torch.random.get_rng_state()
    trimmed = trim_embeddings(model, keep=KEEP)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert {one.dtype for one in trimmed.parameters()} == {torch.bfloat16}


def test_numbers_in_the_configuration_follow() -> None:
    settings = {"pad_token_id": 58, "bos_token_id": None, "eos_token_id": [7, 9], "hidden_size": 8}
    assert renumbered({**settings, "cls_token_id": 9}, NEW) == {
        "pad_token_id": 14,
        "bos_token_id": None,
        "eos_token_id": [5],
        "cls_token_id": None,
    }


def test_a_tokenizer_of_another_model_is_refused() -> None:
    with pytest.raises(ModelError, match="embeddings for 60 pieces only"):
        trim_embeddings(masked_lm("bert"), keep=(0, 1, 60))


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [("dbert-base", 135.3e6, 66.6e6), ("dbert-tiny", 42.1e6, 14.2e6)],
)
def test_a_full_size_multilingual_student(name: str, before: float, after: float) -> None:
    """119,547 pieces to 30,000 in the published shapes, without values."""
    keys = dict(model_entry(name).config)
    config = AutoConfig.for_model(keys.pop("model_type"), **keys)
    for auto, bias in ((AutoModel, 0), (AutoModelForMaskedLM, 1)):
        with torch.device("meta"):
            model: PreTrainedModel = cast(Any, auto).from_config(config)
            trimmed = trim_embeddings(model, keep=range(30_000))
        sizes = model_size(model), model_size(trimmed)
        if auto is AutoModel:
            assert sizes[0].parameters == pytest.approx(before, abs=0.05e6)
            assert sizes[1].parameters == pytest.approx(after, abs=0.05e6)
        dropped = 119_547 - 30_000
        assert sizes[0].parameters - sizes[1].parameters == dropped * (config.hidden_size + bias)
