"""Percentile bootstrap intervals over rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from destilo.records import Score

Doubles = NDArray[np.float64]
Statistic = Callable[[Doubles], Doubles]
"""From sums over rows [samples, counts] to one value per sample [samples]."""

_SEED = 13
_SAMPLES_AT_ONCE = 64


def bootstrap(
    counts: NDArray[np.integer] | Doubles,
    statistics: Mapping[str, Statistic],
    *,
    samples: int,
    seed: int = _SEED,
) -> dict[str, Score]:
    """Score a set of rows and say how sure that is.

    Rows are drawn with replacement, the same draws for every statistic; the interval is from
    the 2.5th to the 97.5th percentile. Rows are sorted by their counts before drawing, so the
    order in which they come changes nothing.

    Args:
        counts: [rows, counts], what each row adds to the sums that statistics are made of.
        statistics: By name.
        samples: How many times to draw; with 0 the interval is the value itself.
        seed: Draws.

    Returns:
        A score per statistic; none for no rows.

    Reference:
        Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.
    """
    rows = np.asarray(counts, dtype=np.float64)
    n_rows = len(rows)
    if not n_rows:
        return {}
    rows = rows[np.lexsort(rows.T[::-1])]
    total = rows.sum(axis=0, keepdims=True)
    sums = _resampled_sums(rows, samples=samples, seed=seed) if samples else total
    scores = {}
    for name, statistic in statistics.items():
        low, high = np.percentile(statistic(sums), [2.5, 97.5])
        value = float(statistic(total)[0])
        scores[name] = Score(value=value, low=float(low), high=float(high), n=n_rows)
    return scores


def _resampled_sums(rows: Doubles, *, samples: int, seed: int) -> Doubles:
    """Sums over rows drawn with replacement, [samples, counts]."""
    random = np.random.default_rng(seed)
    n_rows = len(rows)
    sums = np.empty((samples, rows.shape[1]))
    for start in range(0, samples, _SAMPLES_AT_ONCE):
        block = min(_SAMPLES_AT_ONCE, samples - start)
        drawn = random.integers(0, n_rows, size=(block, n_rows))
        drawn += np.arange(block)[:, None] * n_rows
        times = np.bincount(drawn.ravel(), minlength=block * n_rows).reshape(block, n_rows)
        sums[start : start + block] = times @ rows
    return sums


def ratio(numerator: Doubles, denominator: Doubles) -> Doubles:
    """Divide, with 0 where the denominator is 0."""
    return np.divide(
        numerator,
        denominator,
        out=np.zeros_like(numerator, dtype=np.float64),
        where=denominator > 0,
    )
