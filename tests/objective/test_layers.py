"""Laws of the terms on layers: zero for equals, padding never matters, the gradient is exact."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from destilo.errors import RecipeError
from destilo.models.outputs import LayerPair, LayerStates, Pair, Wanted
from destilo.objective.base import Objective, Targets
from destilo.objective.layers import (
    LAYER_TERM_NAMES,
    Attention,
    Hidden,
    Relations,
    default_relation_heads,
    make_layer_terms,
)

torch.set_num_threads(1)

LENGTHS = (5, 3)
HEADS = 2


def draw(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def states(seed: int, *, width: int = 8, heads: int = HEADS, length: int = 5) -> LayerStates:
    rows = len(LENGTHS)
    qkv = [{1: draw(seed + n, rows, heads, length, width // heads)} for n in range(3)]
    hidden = {n: draw(seed + 10 + n, rows, length, width) for n in (0, 1)}
    return LayerStates(hidden, *qkv)


def mask(length: int = 5) -> Tensor:
    return torch.arange(length)[None] < torch.tensor(LENGTHS)[:, None]


def pair(student: LayerStates, teacher: LayerStates, keep: Tensor | None = None) -> Pair:
    return Pair({}, {}, LayerPair(student, teacher, mask() if keep is None else keep))


VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("hidden-mse", {}),
    ("hidden-cosine", {}),
    ("embedding-mse", {}),
    ("attention-mse", {}),
    ("attention-mse", {"average_heads": True}),
    ("attention-mse", {"compare": "probabilities"}),
    ("attention-mse", {"compare": "probabilities-kl"}),
    ("attention-mse", {"compare": "probabilities-kl", "average_heads": True}),
    ("attention-relations", {}),
]


def term(name: str, width: int = 8, **options: Any) -> Any:
    torch.manual_seed(0)
    (made,) = make_layer_terms(
        name, pairs=[(1, 1)], widths=(width, 8), heads=(HEADS, HEADS), **options
    )
    if made.term.projection is not None:  # type: ignore[union-attr]
        made.term.projection.double()  # type: ignore[union-attr]
    return made.term


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_equal_layers_are_at_no_distance_and_others_are(name: str, options: dict[str, Any]) -> None:
    made = term(name, **options)
    assert made.total(pair(states(1), states(1))).item() == pytest.approx(0.0, abs=1e-9)
    assert made.total(pair(states(1), states(50))).item() > 0.01


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_what_is_padded_has_neither_value_nor_gradient(name: str, options: dict[str, Any]) -> None:
    made = term(name, **options)
    student, teacher = states(1), states(50)
    leaves = [
        part
        for kind in ("hidden", "query", "key", "value")
        for part in getattr(student, kind).values()
    ]
    for leaf in leaves:
        leaf.requires_grad_()
    total = made.total(pair(student, teacher))
    torch.autograd.backward(total)
    outside = ~mask()
    for leaf in leaves:
        if leaf.grad is not None:
            at = leaf.grad if leaf.ndim == 3 else leaf.grad.transpose(1, 2)
            assert torch.all(at[outside] == 0.0)
    longer, other = (
        LayerStates(*(_extend(getattr(one, kind)) for kind in KINDS)) for one in (student, teacher)
    )
    again = made.total(pair(longer, other, keep=mask(7)))
    assert again.item() == pytest.approx(total.item(), rel=1e-12)


KINDS = ("hidden", "query", "key", "value")


def _extend(kind: Any) -> dict[int, Tensor]:
    """Two more positions of noise, as a longer row in the batch would bring."""
    result = {}
    for number, state in kind.items():
        shape = (*state.shape[:-2], 2, state.shape[-1])
        result[number] = torch.cat([state.detach(), 100 * draw(9, *shape)], dim=-2)
    return result


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_the_gradient_is_that_of_the_value(name: str, options: dict[str, Any]) -> None:
    made = term(name, **options)
    base, teacher = states(1), states(50)
    kinds = [(kind, number) for kind in KINDS for number in getattr(base, kind)]

    def value(*leaves: Tensor) -> Tensor:
        parts: dict[str, dict[int, Tensor]] = {kind: {} for kind in KINDS}
        for (kind, number), leaf in zip(kinds, leaves, strict=True):
            parts[kind][number] = leaf
        total: Tensor = made.total(pair(LayerStates(**parts), teacher))
        return total

    inputs = [getattr(base, kind)[number].clone().requires_grad_() for kind, number in kinds]
    assert torch.autograd.gradcheck(value, inputs)


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_sum_and_count_do_not_depend_on_the_split_into_batches(
    name: str, options: dict[str, Any]
) -> None:
    made = term(name, **options)
    student, teacher = states(1), states(50)

    def row(one: LayerStates, number: int) -> LayerStates:
        return LayerStates(
            *({k: v[number : number + 1] for k, v in getattr(one, kind).items()} for kind in KINDS)
        )

    parts = [
        made.total(pair(row(student, n), row(teacher, n), mask()[n : n + 1])) for n in range(2)
    ]
    assert sum(parts).item() == pytest.approx(made.total(pair(student, teacher)).item())
    assert made.count(LENGTHS) == made.count(LENGTHS[:1]) + made.count(LENGTHS[1:])


def test_the_hidden_distance_by_hand() -> None:
    student = LayerStates({1: torch.tensor([[[1.0, 2.0], [7.0, 7.0]]])})
    teacher = LayerStates({1: torch.tensor([[[4.0, 6.0], [0.0, 0.0]]])})
    keep = torch.tensor([[True, False]])
    assert Hidden("h", 1, 1).total(pair(student, teacher, keep)).item() == (9 + 16) / 2
    cosine = Hidden("h", 1, 1, cosine=True).total(pair(student, teacher, keep)).item()
    assert cosine == pytest.approx(1 - 16 / math.sqrt(5 * 52), abs=1e-6)


def test_the_attention_distance_by_hand() -> None:
    """One head of width 4, so the root is 2; two units, scores q k / 2."""
    eye = torch.eye(4)[:2][None, None]
    student = LayerStates(query={1: 2 * eye}, key={1: eye})  # scores: 1 on the diagonal
    teacher = LayerStates(query={1: eye}, key={1: 2 * torch.zeros_like(eye)})  # scores: 0
    keep = torch.ones(1, 2, dtype=torch.bool)
    made = Attention("a", 1, 1)
    assert made.total(pair(student, teacher, keep)).item() == 2.0
    assert made.count([2]) == 4
    kl = Attention("a", 1, 1, compare="probabilities-kl").total(pair(student, teacher, keep))
    high = math.e / (math.e + 1)
    expected = 2 * (0.5 * math.log(0.5 / high) + 0.5 * math.log(0.5 / (1 - high)))
    assert kl.item() == pytest.approx(expected)


def test_relations_need_neither_equal_widths_nor_equal_heads() -> None:
    heads = default_relation_heads((12, 8), (3, 2))
    assert (12 % heads, 8 % heads) == (0, 0)
    made = Relations("r", 1, 1, heads)
    total = made.total(pair(states(1, width=12, heads=3), states(50, heads=4)))
    assert total.item() > 0


def test_relation_heads_cut_the_joined_heads() -> None:
    """Two relation heads over four attention heads: heads 1 and 2 together, 3 and 4 together."""
    student, teacher = states(1, heads=4), states(50, heads=4)
    first, second = (
        LayerStates(
            one.hidden,
            *(
                {1: getattr(one, k)[1].transpose(1, 2).reshape(2, 5, 2, 4).transpose(1, 2)}
                for k in ("query", "key", "value")
            ),
        )
        for one in (student, teacher)
    )
    made = Relations("r", 1, 1, 2)
    expected = made.total(pair(student, teacher)).item()
    assert made.total(pair(first, second)).item() == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["auto", "each", "shared"])
def test_projections_are_the_objectives_and_learn(kind: str) -> None:
    terms = make_layer_terms(
        "hidden-mse", pairs=[(1, 1), (1, 1)], widths=(6, 8), heads=(2, 2), projection=kind
    )
    objective = Objective(terms, [1.0])
    assert len(objective.projections) == (1 if kind == "shared" else 2)
    objective.projections.double()
    batch = pair(states(1, width=6), states(50))
    loss = objective.loss(objective.sums({}, {}, [batch]), objective.counts(_targets()))
    assert loss is not None
    torch.autograd.backward(loss)
    for weight in objective.projections.parameters():
        assert weight.shape == (8, 6)
        assert weight.grad is not None
        assert weight.grad.abs().sum() > 0


def _targets() -> Targets:
    return Targets({}, [{}], [LENGTHS])


def test_a_projection_between_equal_widths_begins_as_the_identity() -> None:
    batch = pair(states(1), states(50))
    plain, projected = (
        term("hidden-mse", projection=kind).total(batch).item() for kind in ("none", "each")
    )
    assert plain == pytest.approx(projected)


def test_the_objective_adds_layers_and_logs_each() -> None:
    terms = [
        *make_layer_terms("hidden-mse", pairs=[(1, 1), (0, 0)], widths=(8, 8), heads=(2, 2)),
        *make_layer_terms("attention-mse", pairs=[(1, 1)], widths=(8, 8), heads=(2, 2), weight=0.5),
    ]
    objective = Objective(terms, [1.0])
    assert objective.names == ("hidden-mse 1:1", "hidden-mse 0:0", "attention-mse 1:1")
    assert not objective.uses_heads
    assert objective.uses_teacher
    wanted = objective.wanted()
    assert wanted == Wanted(frozenset({0, 1}), frozenset({1}), frozenset()) == objective.wanted(0)
    assert not objective.wanted(1)
    counts = objective.counts(_targets())
    assert counts == [8, 8, 34]
    sums = objective.sums({}, {}, [pair(states(1), states(50))])
    loss = objective.loss(sums, counts)
    assert loss is not None
    values = [
        float(value) / count for value, count in zip(sums, counts, strict=True) if value is not None
    ]
    assert loss.item() == pytest.approx(values[0] + values[1] + 0.5 * values[2])
    empty = pair(states(1), states(50), torch.zeros_like(mask()))
    assert objective.sums({}, {}, [empty]) == [None, None, None]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("attention-mse", {"heads": (2, 4)}, "average_heads"),
        ("hidden-mse", {"widths": (6, 8), "projection": "none"}, "each or shared"),
        ("attention-relations", {"relation_heads": 3}, "does not divide"),
        ("hidden-mes", {}, "hidden-mse"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    settings: dict[str, Any] = {"pairs": [(1, 1)], "widths": (8, 8), "heads": (2, 2), **options}
    with pytest.raises(RecipeError, match=message):
        make_layer_terms(name, **settings)


def test_every_name_makes_a_term() -> None:
    for name in LAYER_TERM_NAMES:
        assert make_layer_terms(name, pairs=[(1, 1)], widths=(8, 8), heads=(2, 2))
