"""Summing over a vocabulary in chunks is summing at once, without the memory."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from destilo.models.outputs import Pair, TokenStates, UnitLogits
from destilo.objective.base import IGNORED
from destilo.objective.logits import Divergence, Labels
from destilo.objective.vocabulary import HEAD, sum_in_chunks

UNITS, WIDTH, VOCABULARY = 37, 6, 50
KL, LABELS = Divergence("kl", 2.0), Labels()


class Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's
    """Remembers the largest tensor that any operation made."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for one in result if isinstance(result, tuple | list) else [result]:
            if isinstance(one, Tensor):
                self.numel = max(self.numel, one.numel())
        return result


def sums(mine: UnitLogits, labels: Tensor, pairs: Sequence[Pair]) -> list[Tensor]:
    return [
        LABELS.total({HEAD: mine}, {HEAD: labels}),
        *(KL.total(pair) for pair in pairs),
    ]


def setting() -> tuple[nn.Linear, Tensor, Tensor, list[TokenStates]]:
    torch.manual_seed(0)
    head = nn.Linear(WIDTH, VOCABULARY).double()
    hidden = torch.randn(UNITS, WIDTH, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(VOCABULARY, (UNITS,))
    labels[3] = IGNORED
    teachers = [
        TokenStates(
            torch.randn(UNITS, width, dtype=torch.float64),
            nn.Linear(width, VOCABULARY).double(),
        )
        for width in (9, 4)
    ]
    return head, hidden, labels, teachers


def at_once(
    head: nn.Linear, hidden: Tensor, labels: Tensor, teachers: list[TokenStates]
) -> list[Tensor]:
    mine = UnitLogits(head(hidden))
    pairs = [
        Pair({HEAD: mine}, {HEAD: UnitLogits(one.logits().logits.detach())}) for one in teachers
    ]
    return sums(mine, labels, pairs)


@pytest.mark.parametrize("chunk_units", [1, 8, 36, 37, 100])
def test_chunks_sum_to_the_whole_with_its_gradients(chunk_units: int) -> None:
    head, hidden, labels, teachers = setting()
    found = sum_in_chunks(
        sums, TokenStates(hidden, head), labels, teachers, chunk_units=chunk_units
    )
    wanted = at_once(head, hidden, labels, teachers)
    weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    inputs = [hidden, head.weight, head.bias]
    mine = torch.autograd.grad(torch.stack(found) @ weights.float(), inputs)
    theirs = torch.autograd.grad(torch.stack(wanted) @ weights, inputs)
    for one, two in zip(found, wanted, strict=True):
        assert one.item() == pytest.approx(two.item(), rel=1e-5)
    for one, two in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-7)


def test_no_tensor_of_all_units_and_words_is_made() -> None:
    head, hidden, labels, teachers = setting()
    with Largest() as largest:
        found = sum_in_chunks(sums, TokenStates(hidden, head), labels, teachers, chunk_units=5)
        torch.stack(found).sum().backward()  # type: ignore[no-untyped-call]  # torch's
    assert largest.numel <= max(5 * VOCABULARY, VOCABULARY * 9)
    assert largest.numel < UNITS * VOCABULARY


def test_teachers_get_no_gradient() -> None:
    head, hidden, labels, teachers = setting()
    torch.stack(sum_in_chunks(sums, TokenStates(hidden, head), labels, teachers)).sum().backward()  # type: ignore[no-untyped-call]  # torch's
    for teacher in teachers:
        assert all(one.grad is None for one in teacher.head.parameters())  # type: ignore[attr-defined]  # a layer


def test_no_units_no_sums() -> None:
    head, hidden, labels, teachers = setting()
    empty = TokenStates(hidden[:0], head)
    assert sum_in_chunks(sums, empty, labels[:0], teachers) == []
