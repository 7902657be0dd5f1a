"""The laws of the terms on logits."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from destilo.errors import RecipeError
from destilo.models.outputs import Pair, UnitLogits
from destilo.objective.base import IGNORED
from destilo.objective.logits import (
    TERM_NAMES,
    Divergence,
    Labels,
    SquaredError,
    make_term,
    masked_log_softmax,
)

torch.set_num_threads(1)

DIVERGENCES = ("kl", "reverse-kl", "jsd", "soft-ce")
TEACHER_TERMS = (*DIVERGENCES, "mse")
N, C = 7, 5


def draw(seed: int, *shape: int, scale: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


def some_mask() -> Tensor:
    """Every unit keeps one class at least; one keeps only one, one all."""
    mask = draw(9, N, C) > -1.0
    mask[0] = torch.tensor([False, False, True, False, False])
    mask[1] = True
    mask[:, 2] = True
    return mask


def pair_of(
    student: Tensor, teacher: Tensor, mask: Tensor | None = None, head: str = "label"
) -> Pair:
    return Pair({head: UnitLogits(student, mask)}, {head: UnitLogits(teacher, mask)})


def total(
    name: str,
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    temperature: float = 1.0,
) -> Tensor:
    term = make_term(name, temperature=temperature).term
    return term.total(pair_of(student, teacher, mask))  # type: ignore[call-arg,arg-type]  # a teacher term


def gradient(loss: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    point = at.clone().requires_grad_()
    (result,) = torch.autograd.grad(loss(point), point)
    return result


# -- what a divergence is ------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("name", ["kl", "reverse-kl", "jsd", "mse"])
def test_nothing_is_lost_against_oneself(name: str, temperature: float, masked: bool) -> None:
    logits, mask = draw(1, N, C), some_mask() if masked else None
    assert total(name, logits, logits, mask, temperature=temperature).abs() < 1e-12
    slope = gradient(lambda x: total(name, x, logits, mask, temperature=temperature), logits)
    assert slope.abs().max() < 1e-12


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", TEACHER_TERMS)
def test_every_term_is_positive_against_another(name: str, masked: bool) -> None:
    mask = some_mask() if masked else None
    for seed in range(20):
        assert total(name, draw(seed, N, C), draw(seed + 50, N, C), mask) > 0


@pytest.mark.parametrize("name", DIVERGENCES)
def test_only_differences_of_logits_matter(name: str) -> None:
    student, teacher, shift = draw(1, N, C), draw(2, N, C), draw(3, N, 1, scale=30.0)
    plain = total(name, student, teacher)
    assert torch.allclose(total(name, student + shift, teacher - shift), plain)


def test_kl_is_the_sum_written_out() -> None:
    p, q = draw(1, N, C).softmax(-1), draw(2, N, C).softmax(-1)
    expected = sum(
        float(p[n, c]) * math.log(float(p[n, c] / q[n, c])) for n in range(N) for c in range(C)
    )
    assert float(total("kl", q.log(), p.log())) == pytest.approx(expected)


def test_reverse_kl_is_kl_the_other_way_round() -> None:
    p, q, mask = draw(1, N, C), draw(2, N, C), some_mask()
    for temperature in (1.0, 3.0):
        there = total("reverse-kl", p, q, mask, temperature=temperature)
        back = total("kl", q, p, mask, temperature=temperature)
        assert torch.allclose(there, back)


def test_jensen_shannon_is_symmetric_and_bounded() -> None:
    for seed in range(10):
        p, q, mask = draw(seed, N, C, scale=9.0), draw(seed + 50, N, C, scale=9.0), some_mask()
        assert torch.allclose(total("jsd", p, q, mask), total("jsd", q, p, mask))
        assert total("jsd", p, q, mask) <= N * math.log(2)
    apart = torch.tensor([[80.0, 0.0]]), torch.tensor([[0.0, 80.0]])
    assert float(total("jsd", *apart)) == pytest.approx(math.log(2))


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_soft_cross_entropy_is_kl_plus_the_teachers_entropy(temperature: float) -> None:
    student, teacher, mask = draw(1, N, C), draw(2, N, C), some_mask()
    log_p = masked_log_softmax(UnitLogits(teacher, mask), temperature=temperature)
    entropy = -(log_p.exp() * log_p).sum() * temperature**2
    soft = total("soft-ce", student, teacher, mask, temperature=temperature)
    assert torch.allclose(
        soft, total("kl", student, teacher, mask, temperature=temperature) + entropy
    )
    slopes = [
        gradient(lambda x, n=name: total(n, x, teacher, mask, temperature=temperature), student)  # type: ignore[misc]  # bound now
        for name in ("soft-ce", "kl")
    ]
    assert torch.allclose(slopes[0], slopes[1])


def test_the_gradient_of_kl_is_the_difference_of_probabilities() -> None:
    student, teacher = draw(1, N, C), draw(2, N, C)
    slope = gradient(lambda x: total("kl", x, teacher, temperature=2.0), student)
    expected = 2.0 * ((student / 2).softmax(-1) - (teacher / 2).softmax(-1))  # T**2 / T
    assert torch.allclose(slope, expected)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_the_square_of_the_temperature_keeps_the_gradients_scale(name: str) -> None:
    """For small logits the softmax is linear, and T**2 takes back what T takes away."""
    student, teacher = draw(1, N, C, scale=0.01), draw(2, N, C, scale=0.01)
    cold, warm = (
        gradient(lambda x, t=t: total(name, x, teacher, temperature=t), student)  # type: ignore[misc]  # bound now
        for t in (1.0, 4.0)
    )
    assert torch.allclose(warm, cold, rtol=0.1, atol=0.02 * float(cold.abs().max()))


def test_the_mean_square_is_over_the_classes_that_take_part() -> None:
    student, teacher = torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([[0.0, 4.0, 0.0]])
    mask = torch.tensor([[True, True, False]])
    assert float(total("mse", student, teacher, mask)) == pytest.approx((1 + 4) / 2)
    assert float(total("mse", student, teacher)) == pytest.approx((1 + 4 + 81) / 3)


def test_label_loss_is_minus_the_log_probability() -> None:
    logits, mask = draw(1, N, C), some_mask()
    gold = torch.full((N,), 2)
    for own in (None, mask):
        log_p = masked_log_softmax(UnitLogits(logits, own))
        loss = Labels().total({"label": UnitLogits(logits, own)}, {"label": gold})
        assert torch.allclose(loss, -log_p[:, 2].sum())


def test_heads_are_added() -> None:
    """Question answering is two heads; each may be as wide as it likes."""
    start, end = pair_of(draw(1, N, C), draw(2, N, C)), pair_of(draw(3, 4, 9), draw(4, 4, 9))
    both = Pair(
        {"start": start.student["label"], "end": end.student["label"]},
        {"start": start.teacher["label"], "end": end.teacher["label"]},
    )
    for name in TEACHER_TERMS:
        term = SquaredError() if name == "mse" else Divergence(name, 1.0)
        assert torch.allclose(term.total(both), term.total(start) + term.total(end))


# -- gradients -----------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("name", TEACHER_TERMS)
def test_gradients_are_right(name: str, temperature: float, masked: bool) -> None:
    teacher, mask = draw(2, N, C), some_mask() if masked else None
    assert torch.autograd.gradcheck(
        lambda x: total(name, x, teacher, mask, temperature=temperature),
        draw(1, N, C).requires_grad_(),
    )


@pytest.mark.parametrize("masked", [False, True])
def test_the_gradient_of_the_labels_is_right(masked: bool) -> None:
    mask = some_mask() if masked else None
    gold = torch.tensor([2, 2, IGNORED, 2, 2, IGNORED, 2])
    assert torch.autograd.gradcheck(
        lambda x: Labels().total({"label": UnitLogits(x, mask)}, {"label": gold}),
        draw(1, N, C).requires_grad_(),
    )


def loss_of(name: str, mask: Tensor, teacher: Tensor) -> Callable[[Tensor], Tensor]:
    if name != "labels":
        return lambda x: total(name, x, teacher, mask, temperature=2.0)
    gold = {"label": torch.full((len(teacher),), 2)}
    return lambda x: Labels().total({"label": UnitLogits(x, mask)}, gold)


@pytest.mark.parametrize("name", TERM_NAMES)
@pytest.mark.parametrize("outside", [0.0, 1e4, -1e4, 1e30])
def test_classes_outside_the_mask_get_no_gradient_and_change_nothing(
    name: str, outside: float
) -> None:
    student, teacher, mask = draw(1, N, C), draw(2, N, C), some_mask()
    plain, slope = (
        loss_of(name, mask, teacher)(student),
        gradient(loss_of(name, mask, teacher), student),
    )
    assert (slope[~mask] == 0).all()
    loud = torch.where(mask, student, outside)
    loud_teacher = torch.where(mask, teacher, -outside)
    assert torch.equal(loss_of(name, mask, loud_teacher)(loud), plain)
    assert torch.equal(gradient(loss_of(name, mask, loud_teacher), loud), slope)


@pytest.mark.parametrize("name", TERM_NAMES)
def test_more_padding_changes_neither_sum_nor_gradient(name: str) -> None:
    student, teacher, mask = draw(1, N, C), draw(2, N, C), some_mask()
    wider = [torch.cat([part, draw(3, N, 4)], dim=1) for part in (student, teacher)]
    wide_mask = torch.cat([mask, torch.zeros(N, 4, dtype=torch.bool)], dim=1)
    narrow, wide = loss_of(name, mask, teacher), loss_of(name, wide_mask, wider[1])
    assert torch.allclose(narrow(student), wide(wider[0]))
    slope = gradient(wide, wider[0])
    assert torch.allclose(slope[:, :C], gradient(narrow, student))
    assert (slope[:, C:] == 0).all()


@pytest.mark.parametrize("name", TERM_NAMES)
def test_order_and_split_change_neither_sum_nor_gradient(name: str) -> None:
    student, teacher, mask = draw(1, N, C), draw(2, N, C), some_mask()
    whole = loss_of(name, mask, teacher)
    slope = gradient(whole, student)
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    for parts in ([order], [order[:1], order[1:]], [order[:2], order[2:2], order[2:5], order[5:]]):
        losses = [loss_of(name, mask[part], teacher[part]) for part in parts]
        assert torch.allclose(
            torch.stack(
                [one(student[part]) for one, part in zip(losses, parts, strict=True)]
            ).sum(),
            whole(student),
        )
        summed = gradient(
            lambda x, parts=parts, losses=losses: torch.stack(  # type: ignore[misc]  # bound now
                [one(x[part]) for one, part in zip(losses, parts, strict=True)]
            ).sum(),
            student,
        )
        assert torch.allclose(summed, slope)


@pytest.mark.parametrize("name", TERM_NAMES)
def test_a_unit_without_any_class_makes_no_nan(name: str) -> None:
    student, teacher, mask = draw(1, N, C), draw(2, N, C), some_mask()
    mask[3] = False
    gold = torch.full((N,), 2)
    gold[3] = IGNORED

    def loss(logits: Tensor) -> Tensor:
        if name != "labels":
            return loss_of(name, mask, teacher)(logits)
        return Labels().total({"label": UnitLogits(logits, mask)}, {"label": gold})

    assert torch.isfinite(loss(student))
    slope = gradient(loss, student)
    assert torch.isfinite(slope).all()
    assert (slope[3] == 0).all()


def test_ignored_labels_add_nothing() -> None:
    student = draw(1, N, C)
    gold = torch.tensor([0, 1, IGNORED, 3, IGNORED, 4, 0])
    kept = gold != IGNORED

    def loss(logits: Tensor) -> Tensor:
        return Labels().total({"label": UnitLogits(logits)}, {"label": gold})

    alone = Labels().total({"label": UnitLogits(student[kept])}, {"label": gold[kept]})
    assert torch.allclose(loss(student), alone)
    assert (gradient(loss, student)[~kept] == 0).all()


# -- precision -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", TERM_NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_full(name: str, dtype: torch.dtype) -> None:
    """The loss is that of the rounded logits, to float32's precision, and is a float32."""
    student, teacher, mask = draw(1, N, C).to(dtype), draw(2, N, C).to(dtype), some_mask()
    half = loss_of(name, mask, teacher)(student)
    assert half.dtype == torch.float32
    exact = loss_of(name, mask, teacher.double())(student.double())
    assert float(half) == pytest.approx(float(exact), rel=1e-5)
    assert gradient(loss_of(name, mask, teacher), student).dtype == dtype


@pytest.mark.parametrize("name", TEACHER_TERMS)
def test_extreme_logits_stay_finite(name: str) -> None:
    """Teachers that are certain, in float32, also at a temperature below 1."""
    student = torch.tensor([[300.0, -300.0, 0.0]])
    teacher = torch.tensor([[-300.0, 300.0, 0.0]])
    for temperature in (0.1, 1.0):
        assert torch.isfinite(total(name, student, teacher, temperature=temperature))
        slope = gradient(lambda x, t=temperature: total(name, x, teacher, temperature=t), student)  # type: ignore[misc]  # bound now
        assert torch.isfinite(slope).all()


def test_an_unknown_term_gets_a_suggestion() -> None:
    with pytest.raises(RecipeError, match=r"Unknown term 'kld'\. Did you mean 'kl'"):
        make_term("kld")
    assert [make_term(name).term.name for name in TERM_NAMES] == list(TERM_NAMES)
