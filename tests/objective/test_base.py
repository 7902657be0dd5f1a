"""The weighted sum of terms: counts from masks alone, and one gradient however work is split."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from destilo.errors import TrainingError
from destilo.models.outputs import Pair, UnitLogits
from destilo.objective.base import IGNORED, Objective, Targets
from destilo.objective.logits import Labels, make_term

torch.set_num_threads(1)

N, C = 8, 4


def draw(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(*shape, generator=generator, dtype=torch.float64)


def heads(logits: Tensor) -> dict[str, UnitLogits]:
    return {"label": UnitLogits(logits)}


def value(
    objective: Objective, student: Tensor, gold: Tensor, teachers: Sequence[Tensor]
) -> Tensor:
    """The objective on one batch, divided by its own counts."""
    labels = {"label": gold}
    paired = [{"label": len(teacher)} for teacher in teachers]
    sums = objective.sums(
        heads(student), labels, [Pair(heads(student), heads(one)) for one in teachers]
    )
    loss = objective.loss(sums, objective.counts(Targets(labels, paired)))
    assert loss is not None
    return loss


def gradient(loss: Tensor, at: Tensor) -> Tensor:
    (result,) = torch.autograd.grad(loss, at)
    return result


def test_the_weighted_mean_by_hand() -> None:
    student, teacher = draw(1, N, C), draw(2, N, C)
    gold = torch.tensor([0, 1, IGNORED, 3, IGNORED, IGNORED, 2, 2])
    terms = [make_term("labels", weight=0.3), make_term("kl", weight=0.7, temperature=2.0)]
    labels = Labels().total(heads(student), {"label": gold}) / 5
    kl = terms[1].term.total(Pair(heads(student), heads(teacher))) / N  # type: ignore[call-arg,arg-type]  # a teacher term
    objective = Objective(terms, [1.0])
    assert torch.allclose(value(objective, student, gold, [teacher]), 0.3 * labels + 0.7 * kl)
    means = {"labels": float(labels), "kl": float(kl)}
    assert objective.weigh(means) == pytest.approx(float(0.3 * labels + 0.7 * kl))


def test_the_same_term_twice_is_logged_twice_and_the_logged_terms_make_the_loss() -> None:
    student, teacher = draw(1, N, C), draw(2, N, C)
    gold = torch.zeros(N, dtype=torch.long)
    terms = [make_term("kl", weight=0.3, temperature=4.0), make_term("kl", weight=0.7)]
    objective = Objective(terms, [1.0])
    assert objective.names == ("kl", "kl (2)")
    sums = objective.sums(heads(student), {"label": gold}, [Pair(heads(student), heads(teacher))])
    means = {
        name: float(total) / N
        for name, total in zip(objective.names, sums, strict=True)
        if total is not None
    }
    loss = value(objective, student, gold, [teacher])
    assert objective.weigh(means) == pytest.approx(float(loss))


def test_counts_come_from_masks_alone() -> None:
    objective = Objective([make_term("labels"), make_term("kl"), make_term("mse")], [1.0, 2.0])
    assert objective.names == ("labels", "kl@1", "kl@2", "mse@1", "mse@2")
    gold = {
        "start": torch.tensor([3, IGNORED, 0]),
        "end": torch.tensor([4, IGNORED, 0]),
    }
    paired = [{"start": 3, "end": 3}, {"start": 2, "end": 2}]
    assert objective.counts(Targets(gold, paired)) == [4, 6, 4, 6, 4]


@pytest.mark.parametrize("split", [[8], [1, 7], [3, 3, 2], [0, 8], [2, 0, 6]])
def test_any_split_of_a_batch_gives_the_gradient_of_the_whole(split: list[int]) -> None:
    """Sums of micro-batches over the counts of all, also where labels are ragged or absent."""
    objective = Objective([make_term("labels", weight=0.4), make_term("kl", weight=0.6)], [1.0])
    teacher, gold = draw(2, N, C), torch.tensor([0, IGNORED, IGNORED, 3, IGNORED, IGNORED, 2, 2])
    student = draw(1, N, C).requires_grad_()
    whole = gradient(value(objective, student, gold, [teacher]), student)
    counts = objective.counts(Targets({"label": gold}, [{"label": N}]))
    total = torch.zeros_like(whole)
    start = 0
    for size in split:
        part = slice(start, start + size)
        start += size
        mine = heads(student[part])
        sums = objective.sums(mine, {"label": gold[part]}, [Pair(mine, heads(teacher[part]))])
        loss = objective.loss(sums, counts)
        if loss is not None:
            total += gradient(loss, student)
    assert torch.allclose(total, whole)


def test_a_term_without_units_takes_no_part() -> None:
    """Unlabelled rows: the teacher alone teaches; the sum of the labels is absent, not NaN."""
    objective = Objective([make_term("labels", weight=0.5), make_term("kl", weight=0.5)], [1.0])
    student, teacher = draw(1, N, C).requires_grad_(), draw(2, N, C)
    unlabelled = torch.full((N,), IGNORED)
    mine = heads(student)
    sums = objective.sums(mine, {"label": unlabelled}, [Pair(mine, heads(teacher))])
    assert sums[0] is None
    counts = objective.counts(Targets({"label": unlabelled}, [{"label": N}]))
    assert counts == [0, N]
    loss = objective.loss(sums, counts)
    assert loss is not None
    assert sums[1] is not None
    assert torch.allclose(loss, 0.5 * sums[1] / N)
    objective.require_finite(sums, step=1)


def test_a_batch_without_any_unit_has_no_loss() -> None:
    objective = Objective([make_term("labels"), make_term("kl")], [1.0])
    nothing = heads(draw(1, 0, C))
    sums = objective.sums(
        nothing, {"label": torch.zeros(0, dtype=torch.long)}, [Pair(nothing, nothing)]
    )
    assert sums == [None, None]
    assert objective.loss(sums, [0, 0]) is None


def test_units_elsewhere_do_not_bring_a_term_back() -> None:
    """The count is over all processes; a process without units still adds nothing."""
    objective = Objective([make_term("labels")])
    gold = {"label": torch.full((N,), IGNORED)}
    sums = objective.sums(heads(draw(1, N, C)), gold, [])
    assert objective.loss(sums, [5]) is None


@pytest.mark.parametrize("weights", [(1.0, 1.0), (3.0, 1.0), (0.2, 0.5, 0.3)])
@pytest.mark.parametrize("name", ["kl", "soft-ce"])
def test_several_teachers_have_the_gradient_of_their_mixture(
    name: str, weights: tuple[float, ...]
) -> None:
    student = draw(1, N, C).requires_grad_()
    teachers = [draw(10 + number, N, C) for number in range(len(weights))]
    unlabelled = torch.full((N,), IGNORED)
    several = value(Objective([make_term(name)], weights), student, unlabelled, teachers)
    shares = [weight / sum(weights) for weight in weights]
    mixture = sum(
        (share * one.softmax(-1) for share, one in zip(shares, teachers, strict=True)),
        start=torch.zeros(N, C, dtype=torch.float64),
    )
    one = value(Objective([make_term(name)], [1.0]), student, unlabelled, [mixture.log()])
    assert torch.allclose(gradient(several, student), gradient(one, student))


def test_a_term_against_teachers_needs_a_teacher() -> None:
    for weights in ((), (0.0, 0.0)):
        with pytest.raises(ValueError, match="'kl' needs a teacher"):
            Objective([make_term("labels"), make_term("kl")], weights)
    with pytest.raises(ValueError, match="at least one term"):
        Objective([])
    assert not Objective([make_term("labels")]).uses_teacher
    assert Objective([make_term("kl")], [1.0]).uses_teacher


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_the_term_that_went_bad_is_named_with_the_step(bad: float) -> None:
    objective = Objective([make_term("labels"), make_term("kl")], [1.0, 1.0])
    sums = [torch.tensor(1.0), torch.tensor(1.0), torch.tensor(bad)]
    with pytest.raises(TrainingError, match=r"'kl@2' became (nan|inf) at step 17"):
        objective.require_finite(sums, step=17)
