"""The head of a masked language model on chosen positions equals the model's own logits there."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForMaskedLM, BertConfig, BertModel

from destilo.errors import ModelError
from destilo.models.token_head import masked_states, token_head
from tests.encoders import CONFIGS, MORE, some_inputs

torch.set_num_threads(1)
POSITIONS = torch.tensor([0, 3, 15, 41])


def masked_lm(model_type: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    settings = {**(CONFIGS | MORE)[model_type], "vocab_size": 60, **changes}
    if model_type != "modernbert":
        settings["pad_token_id"] = 1 if model_type == "roberta" else 0
    else:
        settings |= {"pad_token_id": 0}
    config = AutoConfig.for_model(model_type, **settings)
    return AutoModelForMaskedLM.from_config(config).eval()


@pytest.mark.parametrize("model_type", [*CONFIGS, *MORE])
def test_chosen_positions_have_the_models_own_logits(model_type: str) -> None:
    model, inputs = masked_lm(model_type), some_inputs()
    with torch.no_grad():
        logits = model(**inputs).logits
        states = masked_states(model, inputs, POSITIONS, plain=model)
        found = token_head(model)(states)
        again = model(**inputs).logits
    torch.testing.assert_close(found, logits.reshape(-1, logits.shape[-1])[POSITIONS])
    assert torch.equal(again, logits)  # nothing stays behind


def test_the_newer_head_of_deberta() -> None:
    model, inputs = masked_lm("deberta-v2", legacy=False), some_inputs()
    with torch.no_grad():
        logits = model(**inputs).logits
        found = token_head(model)(masked_states(model, inputs, POSITIONS, plain=model))
    torch.testing.assert_close(found, logits.reshape(-1, logits.shape[-1])[POSITIONS])


def test_gradients_reach_encoder_and_head() -> None:
    model, inputs = masked_lm("bert"), some_inputs()
    states = masked_states(model, inputs, POSITIONS, plain=model)
    token_head(model)(states).square().sum().backward()  # type: ignore[no-untyped-call]  # torch's
    assert all(weight.grad is not None for weight in model.parameters())


def test_an_unknown_architecture_is_refused_by_name() -> None:
    model = BertModel(BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2))
    model.config = SimpleNamespace(model_type="gpt9")  # type: ignore[assignment]  # stands in
    with pytest.raises(ModelError, match=r"gpt9.*Known: albert, bert"):
        token_head(model)
