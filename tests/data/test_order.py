import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from destilo.data.order import BlockPlan, Permutation


@given(st.integers(1, 3000), st.integers(0, 2**40))
def test_a_permutation_gives_every_number_once(size: int, seed: int) -> None:
    assert sorted(Permutation(size, seed)(np.arange(size)).tolist()) == list(range(size))


def test_a_place_is_had_by_itself() -> None:
    order = Permutation(1000, (13, 2))
    whole = order(np.arange(1000))
    for place in (0, 7, 999):
        assert order(np.array([place])).tolist() == [whole[place]]
    big = Permutation(10**12, 1)(np.arange(1000))
    assert len(set(big.tolist())) == 1000
    assert 0 <= big.min() <= big.max() < 10**12


def test_orders_are_unlike_each_other_and_the_numbers_themselves() -> None:
    size = 10_000
    one, two = (Permutation(size, (13, epoch))(np.arange(size)) for epoch in (0, 1))
    # The number of places that two random orders share is Poisson with mean 1.
    assert (one == two).sum() < 10
    assert (one == np.arange(size)).sum() < 10
    assert (np.diff(one) == 1).sum() < 10
    # Rank correlation of two random orders has standard deviation 1/sqrt(n).
    assert abs(np.corrcoef(one, np.arange(size))[0, 1]) < 5 / 100
    assert abs(np.corrcoef(one, two)[0, 1]) < 5 / 100


def test_where_a_number_lands_is_even() -> None:
    # Over 2,400 seeds, number 0 of 6 lands on each place 400 times, give or take.
    landed = [int(np.flatnonzero(Permutation(6, s)(np.arange(6)) == 0)[0]) for s in range(2400)]
    counts = np.bincount(landed, minlength=6)
    assert ((counts - 400) ** 2 / 400).sum() < 25.7  # chi-squared, 5 degrees, p = 0.0001


LENGTHS = np.random.default_rng(0).integers(1, 500, 2345)


def plan(batch_size: int = 7, *, seed: int = 13, group_by_length: bool = True) -> BlockPlan:
    return BlockPlan(
        size=len(LENGTHS),
        lengths=lambda indices: LENGTHS[indices],
        batch_size=batch_size,
        seed=seed,
        group_by_length=group_by_length,
    )


def batches(of: BlockPlan, epoch: int, first: int = 0) -> list[list[int]]:
    return [batch.tolist() for batch in of.epoch(epoch)[first:]]


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("batch_size", [1, 7, 2345, 9999])
def test_an_epoch_gives_every_block_once(batch_size: int, grouped: bool) -> None:
    made = plan(batch_size, group_by_length=grouped)
    found = batches(made, 0)
    assert len(found) == len(made.epoch(0)) == made.steps_per_epoch
    assert sorted(index for batch in found for index in batch) == list(range(len(LENGTHS)))
    assert all((np.diff(LENGTHS[batch]) <= 0).all() for batch in found)


@pytest.mark.parametrize("grouped", [False, True])
def test_an_epoch_goes_on_from_any_step(grouped: bool) -> None:
    made = plan(group_by_length=grouped)
    whole = batches(made, 3)
    for first in (0, 1, 49, 50, 51, 123, len(whole) - 1, len(whole), len(whole) + 5):
        assert batches(made, 3, first) == whole[first:]
    assert [batch.tolist() for batch in made.epoch(3)[20:][30:]] == whole[50:]
    with pytest.raises(ValueError, match="at its beginning only"):
        made.epoch(3)[:5]


def test_going_on_reads_the_lengths_of_what_is_left_only() -> None:
    asked: list[int] = []

    def lengths(indices: np.ndarray) -> np.ndarray:
        asked.append(len(indices))
        return np.take(LENGTHS, indices)

    made = BlockPlan(size=len(LENGTHS), lengths=lengths, batch_size=7, seed=13)
    next(iter(made.epoch(0)[120:]))
    assert asked == [350]


def test_seed_and_epoch_change_the_order() -> None:
    assert batches(plan(), 0) == batches(plan(), 0)
    assert batches(plan(), 0) != batches(plan(), 1)
    assert batches(plan(), 0) != batches(plan(seed=14), 0)


def test_similar_lengths_go_together() -> None:
    def padded(grouped: bool) -> int:
        made = plan(group_by_length=grouped)
        return sum(int(LENGTHS[batch].max()) * len(batch) for batch in made.epoch(0))

    assert padded(True) < 1.05 * LENGTHS.sum() < 1.4 * LENGTHS.sum() < padded(False)


def test_long_batches_are_spread_over_a_window() -> None:
    firsts = [int(LENGTHS[batch[0]]) for batch in plan().epoch(0)][:50]
    assert firsts != sorted(firsts, reverse=True)
