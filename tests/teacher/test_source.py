"""A live teacher: frozen, without dropout, and the same in any batch."""

import pytest
import torch

from destilo.teacher.alignment import AlignmentMode
from destilo.teacher.source import LiveTeacher
from tests.encoders import heads_of, some_inputs, tiny_model


def live(*, bf16: bool = False) -> LiveTeacher:
    return LiveTeacher(
        model=tiny_model(),
        heads=("label",),
        encoding=0,
        alignment=AlignmentMode.IDENTITY,
        pad_id=0,
        bf16=bf16,
    )


def test_a_teacher_is_never_trained() -> None:
    teacher, inputs = live(), some_inputs()
    teacher.model.train()
    heads = [teacher.outputs(inputs).heads["label"] for _ in range(2)]
    assert torch.equal(*heads)  # no dropout, whatever mode it was in
    assert not heads[0].requires_grad
    assert torch.equal(heads[0], heads_of(teacher.model, inputs)[0])  # type: ignore[arg-type]  # a transformers model


def test_a_teachers_outputs_may_enter_a_students_graph() -> None:
    """Inference-mode tensors could not be saved for the backward pass."""
    target = live().outputs(some_inputs()).heads["label"]
    weight = torch.ones((), requires_grad=True)
    (slope,) = torch.autograd.grad((weight * target).square().sum(), weight)
    assert torch.isfinite(slope)


@pytest.mark.parametrize("bf16", [False, True])
def test_reduced_precision_is_only_where_asked(bf16: bool) -> None:
    exact, inputs = live().outputs(some_inputs()).heads["label"], some_inputs()
    head = live(bf16=bf16).outputs(inputs).heads["label"]
    assert head.dtype == (torch.bfloat16 if bf16 else torch.float32)
    assert torch.allclose(head.float(), exact, atol=0.1 if bf16 else 0.0)
