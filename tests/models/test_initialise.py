"""What a student of another width begins with, and that the report says so."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from destilo.models.initialise import initialise_from
from destilo.models.student import cut_layers
from tests.encoders import ARCHITECTURE_NAMES, same_heads, some_inputs, tiny_model

TASK = "token-classification"


def narrow(model_type: str) -> PreTrainedModel:
    """Half the width of ``tiny_model``, other weights."""
    changes: dict[str, Any] = {"dim" if model_type == "distilbert" else "hidden_size": 8}
    return tiny_model(model_type, TASK, seed=1, **changes)


def table(model: PreTrainedModel, name: str = "word_embeddings") -> Tensor:
    values: Tensor = model.state_dict()[f"bert.embeddings.{name}.weight"]
    return values


@pytest.mark.parametrize("method", ["svd", "slice"])
@pytest.mark.parametrize("model_type", ARCHITECTURE_NAMES)
def test_at_equal_widths_it_is_the_teacher_cut(model_type: str, method: str) -> None:
    teacher = tiny_model(model_type, TASK)
    expected = cut_layers(teacher, (2, 4))
    student = type(teacher)._from_config(expected.config).eval()
    report = initialise_from(student, teacher, method=method, layers=(2, 4))
    assert set(report.origins.values()) == {"copied"}
    assert same_heads(student, expected, some_inputs())


@pytest.mark.parametrize("model_type", ARCHITECTURE_NAMES)
def test_the_report_says_of_every_tensor_what_it_is(model_type: str) -> None:
    teacher = tiny_model(model_type, TASK)
    for method in ("svd", "slice"):
        student = narrow(model_type)
        before = {name: value.clone() for name, value in student.state_dict().items()}
        report = initialise_from(student, teacher, method=method, layers=(1, 2, 3, 4))
        theirs = teacher.state_dict()
        assert set(report.origins) == set(before)
        for name, value in student.state_dict().items():
            origin = report.origins[name]
            if origin == "random":
                assert torch.equal(value, before[name]), name
            elif origin == "copied":
                assert torch.equal(value, theirs[name]), name
            elif origin == "sliced":
                corner = theirs[name][tuple(slice(size) for size in value.shape)]
                assert torch.equal(value, corner), name
            else:
                assert origin == "svd"
                assert value.shape[1] == 8 < theirs[name].shape[1]


def test_the_reduced_words_keep_the_largest_singular_values() -> None:
    teacher, student = tiny_model("bert", TASK), narrow("bert")
    report = initialise_from(student, teacher, method="svd", layers=(1, 2, 3, 4))
    reduced = table(student)  # [words, 8]
    left, values, _ = torch.linalg.svd(table(teacher), full_matrices=False)
    # Equal up to signs, so their inner products are.
    best = left[:, :8] * values[:8]
    assert torch.allclose(reduced @ reduced.T, best @ best.T, atol=1e-4)
    share = values[:8].square().sum() / values.square().sum()
    assert report.kept_variance == pytest.approx(float(share), rel=1e-4)
    assert "% of their variance" in report.summary()


def test_words_and_positions_turn_together() -> None:
    """So that the sum of both, which the model reads, still is the sum of both."""
    teacher, student = tiny_model("bert", TASK), narrow("bert")
    initialise_from(student, teacher, method="svd", layers=(1, 2, 3, 4))
    tables = "word_embeddings", "position_embeddings"
    old, new = ([table(one, name) for name in tables] for one in (teacher, student))
    basis = torch.linalg.lstsq(old[0], new[0]).solution  # [16, 8]
    assert torch.allclose(basis.T @ basis, torch.eye(8), atol=1e-3)
    assert torch.allclose(old[1] @ basis, new[1], atol=1e-3)
