"""Several p values that must be read together.

Two directions. A family of cells errs if *any* of its claims is false, so its p values are raised
(`holm`). A verdict needs *all* of its conditions, so it is as weak as its weakest
(`intersection_union`), and nothing is raised.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compliance.statistics.inputs import probabilities


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjust p values so that a family's error stays at the level they are compared with.

    Valid under any dependence. A planned cell that was dropped stays in with p = 1.

    Args:
        p_values: One per hypothesis of the family, shape [m].

    Returns:
        Adjusted p values in the order given, shape [m]; at most 1.

    Raises:
        StatisticsError: If there are none, or one is not a number from 0 to 1.

    Source:
        Holm, S. (1979), Scandinavian Journal of Statistics 6, 65-70.
    """
    p = probabilities("p_values", p_values)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def intersection_union(p_values: ArrayLike) -> float:
    """Combine the conditions of one verdict, all of which must hold: the largest p counts.

    Args:
        p_values: One per condition, shape [m].

    Returns:
        The largest.

    Raises:
        StatisticsError: If there are none, or one is not a number from 0 to 1.

    Source:
        Berger, R. (1982), Technometrics 24, 295-300.
    """
    return float(probabilities("p_values", p_values).max())
