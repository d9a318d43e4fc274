"""Whether two samples have one distribution: Kolmogorov and Smirnov's test, exact with ties.

    found = two_samples(traffic, calibration)
    found.distance, found.p                  # largest gap of the distribution functions

Scores of a probe are often 0 for most items. The usual tables hold for samples without ties and
are wrong there; here chance is that of all ways to deal the very numbers found to two samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import kolmogorov

from compliance.statistics.inputs import finite_vector

EXACT = 20_000
"""Numbers of both samples together up to which every way to deal them is counted."""

SMALLEST = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, slots=True)
class TwoSamples:
    """How far two samples are apart, and how often chance alone is as far."""

    distance: float
    """Largest gap between the two distribution functions, from 0 to 1."""

    at: float
    """The smallest number at which the gap is that large."""

    below_first: float
    """Share of the first sample at or below ``at``."""

    below_second: float
    p: float
    """Two-sided, above 0."""

    method: Literal["exact", "asymptotic"]


def two_samples(first: ArrayLike, second: ArrayLike, *, exact: int = EXACT) -> TwoSamples:
    """Test that two samples of independent numbers have one distribution.

    Args:
        first: Shape [n].
        second: Shape [m].
        exact: Numbers of both together up to which the p value is exact. Beyond, it is the limit of
            large samples, which with ties is too large rather than too small.

    Returns:
        The largest gap, where it is, and the p value.

    Raises:
        StatisticsError: If a sample is empty, or a number is not finite.

    Source:
        Schröer, G. and Trenkler, D. (1995), Computational Statistics & Data Analysis 20, 185-202,
        for the exact distribution with ties; Smirnov, N. (1948), Annals of Mathematical Statistics
        19, 279-281, for the limit.
    """
    x, y = finite_vector("first", first), finite_vector("second", second)
    values, counts = np.unique(np.concatenate([x, y]), return_counts=True)
    below = np.searchsorted(np.sort(x), values, side="right")
    ends = np.cumsum(counts)
    gaps = np.abs(_gap(below, ends - below, x.size, y.size))
    place = int(np.argmax(gaps))
    distance = float(gaps[place]) / (x.size * y.size)
    if x.size + y.size <= exact:
        p = _chance(ends, int(gaps[place]), x.size, y.size)
    else:
        p = float(kolmogorov(distance * np.sqrt(x.size * y.size / (x.size + y.size))))
    return TwoSamples(
        distance=distance,
        at=float(values[place]),
        below_first=float(below[place]) / x.size,
        below_second=float(ends[place] - below[place]) / y.size,
        p=min(max(p, SMALLEST), 1.0),
        method="exact" if x.size + y.size <= exact else "asymptotic",
    )


def _gap(i: NDArray[np.int64], j: NDArray[np.int64], n: int, m: int) -> NDArray[np.int64]:
    """The gap of the distribution functions times n m: a whole number, so that none is rounded."""
    return i * np.int64(m) - j * np.int64(n)


def _chance(ends: NDArray[np.int64], gap: int, n: int, m: int) -> float:
    """Share of all ways to deal n + m numbers that reach the gap at the end of a run of equals.

    ``reached[i]`` is that share of the ways in which i of the numbers dealt so far went to the
    smaller sample. Sums of positive terms alone, so that small shares are right as well.
    """
    small, large = min(n, m), max(n, m)
    last = set(ends.tolist())
    taken = np.arange(small + 1, dtype=np.int64)
    reached = np.zeros(small + 1)
    reached[0] = float(gap == 0)
    for dealt in range(1, n + m + 1):
        before = reached.copy()
        reached *= (dealt - taken) / dealt
        reached[1:] += before[:-1] * (taken[1:] / dealt)
        if dealt in last:
            far = np.abs(_gap(taken, dealt - taken, small, large)) >= gap
            possible = (taken <= dealt) & (dealt - taken <= large)
            reached[far & possible] = 1.0
    return float(reached[small])
