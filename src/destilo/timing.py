"""The timing protocol of Speedy Gonzales, for comparison with its Table 1.

It deletes slow and fast calls alike: about 45% of samples that scatter normally. destilo's own
figures are the percentiles of every sample; these stand beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_MODIFIED_Z = 0.75
_NORMAL_QUARTILE = 0.6745  # of a standard normal: makes MAD / 0.6745 its standard deviation


@dataclass(frozen=True, slots=True)
class FilteredTiming:
    """What is left of timed passes.

    Attributes:
        mean_ms: Of the samples kept.
        n_kept: How many those are.
    """

    mean_ms: float
    n_kept: int

    @property
    def inferences_per_s(self) -> float:
        """Passes per second at the mean time."""
        return 1000 / self.mean_ms


def modified_z_scores(samples: Sequence[float]) -> NDArray[np.float64]:
    """Say how far each sample is from the median, in robust standard deviations.

    ``0.6745 (x - median) / MAD``, MAD being the median distance to the median. Where more than
    half of the samples are equal, MAD is 0: those score 0 and all others are infinitely far.

    Args:
        samples: At least one value.

    Returns:
        A signed score for each [samples].

    Reference:
        Iglewicz and Hoaglin (1993), How to detect and handle outliers.
    """
    values = np.asarray(samples, dtype=np.float64)
    distances = values - np.median(values)
    spread = float(np.median(np.abs(distances)))
    if spread == 0:
        return np.where(distances == 0, 0.0, np.copysign(np.inf, distances))
    scores: NDArray[np.float64] = _NORMAL_QUARTILE * distances / spread
    return scores


def filter_timing(samples_ms: Sequence[float], limit: float = MAX_MODIFIED_Z) -> FilteredTiming:
    """Average the samples whose modified z-score is at most ``limit`` on either side.

    Args:
        samples_ms: Times of single passes, at least one.
        limit: The paper's is 0.75.

    Returns:
        Their mean and number. From a ``limit`` of 0.6745 on at least half of the samples stay.
    """
    values = np.asarray(samples_ms, dtype=np.float64)
    kept = values[np.abs(modified_z_scores(samples_ms)) <= limit]
    return FilteredTiming(mean_ms=float(kept.mean()), n_kept=int(kept.size))
