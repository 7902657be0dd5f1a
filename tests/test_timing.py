"""The paper's filter on cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from destilo.recipe.schema import ProfileSpec
from destilo.timing import filter_timing, modified_z_scores

TIMES = st.lists(st.floats(min_value=0.1, max_value=1e4), min_size=1, max_size=60)


def test_a_case_worked_by_hand() -> None:
    """Median 12; distances 2, 1, 0, 1, 88, whose median is 1; z = 0.6745 (x - 12)."""
    samples = [10.0, 11.0, 12.0, 13.0, 100.0]
    assert modified_z_scores(samples) == pytest.approx([-1.349, -0.6745, 0, 0.6745, 59.356])
    kept = filter_timing(samples)  # 10 and 100 are beyond 0.75
    assert kept.n_kept == 3
    assert kept.mean_ms == pytest.approx(12)
    assert kept.inferences_per_s == pytest.approx(1000 / 12)


def test_the_limit_itself_stays() -> None:
    assert filter_timing([10.0, 11.0, 12.0], 0.6745).n_kept == 3


def test_equal_samples_have_no_spread() -> None:
    """MAD 0: what differs is infinitely far, whichever side it is on."""
    scores = modified_z_scores([5.0, 5.0, 5.0, 6.0, 4.0])
    assert scores.tolist() == [0, 0, 0, np.inf, -np.inf]
    assert filter_timing([5.0, 5.0, 5.0, 6.0, 4.0]).mean_ms == 5
    assert filter_timing([7.0]).n_kept == 1


@given(TIMES)
def test_at_least_half_stay_and_order_does_not_matter(samples: list[float]) -> None:
    kept = filter_timing(samples)
    assert 2 * kept.n_kept >= len(samples)
    assert min(samples) * 0.999 <= kept.mean_ms <= max(samples) * 1.001
    assert filter_timing(samples[::-1]).n_kept == kept.n_kept


@given(TIMES, st.sampled_from([0.25, 2.0, 1024.0]))
def test_the_unit_of_time_does_not_matter(samples: list[float], unit: float) -> None:
    scaled = filter_timing([unit * value for value in samples])
    assert scaled.n_kept == filter_timing(samples).n_kept


def test_the_protocol_brings_its_own_shape_unless_it_is_written() -> None:
    paper = ProfileSpec.model_validate({"protocol": "speedy-gonzales"})
    assert (paper.warmup, paper.samples, paper.batch_size, paper.sequence_length) == (
        10,
        100,
        1,
        512,
    )
    written = {"protocol": "speedy-gonzales", "sequence_length": 64, "samples": 7}
    assert ProfileSpec.model_validate(written).sequence_length == 64
    assert ProfileSpec.model_validate(paper.model_dump()) == paper
    assert (ProfileSpec().sequence_length, ProfileSpec().samples) == (128, 50)
