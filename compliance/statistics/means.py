"""The mean of a number that each group gives once, with Student's interval and test.

    found = mean_interval([0.2, 0.5, 0.1], level=0.95)
    mean_p([0.2, 0.5, 0.1])                  # two-sided, of the null that the mean is 0

Groups are independent and few, and their numbers are sums over many tokens; so Student's interval
is taken and not percentiles of a bootstrap, which are too short for few groups.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from compliance.errors import StatisticsError
from compliance.statistics.estimate import Estimate
from compliance.statistics.inputs import inside_unit

SMALLEST = float(np.finfo(np.float64).tiny)


def mean_interval(values: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Estimate the mean of independent numbers.

    Args:
        values: One number for each group, shape [groups].
        level: Two-sided coverage.

    Returns:
        The mean and Student's interval; of a single group there is no interval.

    Raises:
        StatisticsError: If there are no groups, or a number is not finite.

    Source:
        Student (1908), Biometrika 6, 1-25.
    """
    found = _numbers(values)
    value, n = float(found.mean()), found.size
    if n < 2:
        return Estimate(value, None, None, n, "student", level)
    reach = _error(found) * float(stdtrit(n - 1, 0.5 + inside_unit("level", level) / 2))
    return Estimate(value, value - reach, value + reach, n, "student", level)


def mean_p(values: ArrayLike) -> float:
    """Test two-sided that the mean of independent numbers is 0.

    Args:
        values: One number for each group, shape [groups].

    Returns:
        The p value, above 0; 1 where there is one group alone, or all are 0. Where all are the
        same number and not 0 the test says as little as one group does, and gives 1.

    Raises:
        StatisticsError: If there are no groups, or a number is not finite.

    Source:
        Student (1908), Biometrika 6, 1-25.
    """
    found = _numbers(values)
    error = _error(found) if found.size > 1 else 0.0
    if not error > 0:
        return 1.0
    p = 2.0 * float(stdtr(found.size - 1, -abs(float(found.mean())) / error))
    return min(max(p, SMALLEST), 1.0)


def _error(found: NDArray[np.float64]) -> float:
    return float(found.std(ddof=1)) / math.sqrt(found.size)


def _numbers(values: ArrayLike) -> NDArray[np.float64]:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or not found.size:
        raise StatisticsError("values: expected one number for each group")
    if not np.isfinite(found).all():
        raise StatisticsError("values: a number is not finite")
    return found
