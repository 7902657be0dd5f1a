"""The batch plan: every example once an epoch, in an order that only the seed decides."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from destilo.data.batching import BatchPlan, evaluation_batches, pad, share

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=300).map(np.array)


@settings(deadline=None, max_examples=60)
@given(LENGTHS, st.integers(1, 40), st.integers(0, 99), st.integers(0, 3), st.booleans())
def test_every_example_once_an_epoch(
    lengths: np.ndarray, batch_size: int, seed: int, epoch: int, group: bool
) -> None:
    plan = BatchPlan(lengths, batch_size, seed, group_by_length=group)
    batches = plan.epoch(epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert len(batches) == plan.steps_per_epoch
    sizes = sorted(map(len, batches), reverse=True)
    assert sizes[:-1] == [batch_size] * (len(batches) - 1)
    for batch in batches:
        assert (np.diff(lengths[batch]) <= 0).all()


@pytest.mark.parametrize("group", [False, True])
def test_the_order_depends_on_seed_and_epoch_only(group: bool) -> None:
    lengths = np.random.default_rng(0).integers(1, 50, 200)

    def order(seed: int, epoch: int) -> list[int]:
        plan = BatchPlan(lengths, 8, seed, group_by_length=group)
        return [int(index) for batch in plan.epoch(epoch) for index in batch]

    np.random.seed(3)  # the global generator must not matter
    first = order(13, 0)
    np.random.seed(4)  # likewise
    assert order(13, 0) == first
    # A resumed run asks for a later epoch straight away.
    plan = BatchPlan(lengths, 8, 13, group_by_length=group)
    for epoch in (0, 1):
        plan.epoch(epoch)
    again = [int(index) for batch in plan.epoch(2) for index in batch]
    assert again == order(13, 2)
    assert len({tuple(one) for one in (first, order(13, 1), order(14, 0))}) == 3


def test_buckets_pad_less_and_still_shuffle() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 4000)

    def padded(group: bool) -> int:
        batches = BatchPlan(lengths, 16, 13, group_by_length=group).epoch(0)
        return sum(int(lengths[batch].max()) * len(batch) for batch in batches)

    assert padded(True) < 1.1 * lengths.sum() < padded(False)
    plan = BatchPlan(lengths, 16, 13)
    longest = [int(lengths[batch].max()) for batch in plan.epoch(0)]
    assert longest != sorted(longest, reverse=True)
    together = [{frozenset(batch.tolist()) for batch in plan.epoch(epoch)} for epoch in (0, 1)]
    assert not together[0] & together[1]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 70), st.integers(1, 5), st.integers(1, 4))
def test_a_global_batch_is_shared_whole(size: int, micro_batches: int, processes: int) -> None:
    batch = np.random.default_rng(size).permutation(size)
    shares = [
        share(batch, micro_batches=micro_batches, processes=processes, process=process)
        for process in range(processes)
    ]
    assert all(len(own) == micro_batches for own in shares)
    everything = np.concatenate([part for own in shares for part in own])
    assert sorted(everything.tolist()) == list(range(size))
    # Processes step together: at each micro-batch their parts are neighbours in length.
    in_step = np.concatenate([own[step] for step in range(micro_batches) for own in shares])
    assert in_step.tolist() == batch.tolist()
    sizes = [len(part) for own in shares for part in own]
    assert max(sizes) - min(sizes) <= 1


def test_evaluation_reads_everything_once_long_ones_first() -> None:
    lengths = np.array([3, 9, 1, 9, 5])
    batches = evaluation_batches(lengths, 2)
    assert [batch.tolist() for batch in batches] == [[1, 3], [4, 0], [2]]
    assert evaluation_batches(np.array([], dtype=np.int64), 2) == []


def test_padding_fills_up_on_the_right() -> None:
    rows = [np.array([1, 2, 3]), np.array([], dtype=np.int64), np.array([4])]
    assert pad(rows, value=-1).tolist() == [[1, 2, 3], [-1, -1, -1], [4, -1, -1]]
    assert pad([], value=0).shape == (0, 0)
