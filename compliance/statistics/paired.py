"""A number of the same groups, before and after: how much it changed, and whether that is chance.

Each group has the sum of its items' changes and how many items those are. A group's items come and
go together. ::

    change_of([0, -1, 0, -1], [1, 1, 1, 1], seed=7)     # -0.5, with interval and p value

The interval is a bootstrap over groups. The p value is exact: it asks in how many of all ways to
exchange before and after within groups the change would be as large. A bootstrap cannot give it
where few groups change: three changes of one kind among a hundred groups have p = 0.25, and the
share of draws without them says 0.10.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compliance.errors import StatisticsError
from compliance.statistics.estimate import Interval
from compliance.statistics.inputs import count, inside_unit
from compliance.statistics.resampling import count_blocks, random_stream

SMALLEST = float(np.finfo(np.float64).tiny)


def sign_flip_p(changes: ArrayLike) -> float:
    """Test two-sided that the sum of changes is not chance, exactly.

    Under the null before and after can be exchanged within a group, so each change has either
    sign with probability 1/2. With changes of -1, 0 and 1 alone this is McNemar's exact test.

    Args:
        changes: Of each group, whole numbers, shape [groups].

    Returns:
        P(|sum of randomly signed changes| >= |the sum|), above 0; 1 where nothing changed.

    Raises:
        StatisticsError: If there are no groups, or a change is not a whole number.

    Source:
        Fisher, R. (1935), The Design of Experiments, section 21; McNemar, Q. (1947),
        Psychometrika 12, 153-157.
    """
    found = _whole("changes", changes)
    sizes = np.abs(found[found != 0])
    reach = int(sizes.sum())
    chances = np.zeros(2 * reach + 1)
    chances[reach] = 1.0
    for size in sizes:
        chances = (np.roll(chances, size) + np.roll(chances, -size)) / 2.0
    sums = np.arange(-reach, reach + 1)
    p = chances[np.abs(sums) >= abs(int(found.sum()))].sum()
    return float(np.clip(p, SMALLEST, 1.0))


def change_interval(
    changes: ArrayLike, sizes: ArrayLike, *, seed: int, draws: int = 2000, level: float = 0.95
) -> Interval:
    """Bound the mean change of an item by a bootstrap over groups.

    Two groups of one item are added, one with a change of 1 and one of -1, so that groups which
    happen not to have changed do not give an interval without width. Where every group has one
    item this is the bootstrap of Bonett and Price's interval.

    Args:
        changes: Sum of the changes of each group's items, whole numbers, shape [groups].
        sizes: Items of each group, at least 1, shape [groups].
        seed: From 0 to 2**32 - 1; the same seed gives the same interval.
        draws: How many resamples.
        level: Two-sided coverage.

    Returns:
        Percentiles of the draws, extended to hold the mean change.

    Raises:
        StatisticsError: If there are no groups or shapes differ.

    Source:
        Efron, B. and Tibshirani, R. (1993), An Introduction to the Bootstrap, chapter 13; the two
        groups: Bonett, D. and Price, R. (2012), Journal of Educational and Behavioral Statistics
        37, 479-488.
    """
    found, items = _whole("changes", changes), _whole("sizes", sizes)
    if items.shape != found.shape or (items < 1).any():
        raise StatisticsError("sizes: expected a number of items, at least 1, for each group")
    tail = (1.0 - inside_unit("level", level)) / 2.0
    sums, numbers = np.append(found, (1, -1)), np.append(items, (1, 1))
    draws = count("draws", draws, least=2)
    blocks = count_blocks(sums.size, random=random_stream(seed), draws=draws)
    means = np.concatenate([(taken @ sums) / (taken @ numbers) for taken in blocks])
    low, high = np.quantile(means, (tail, 1.0 - tail))
    value = float(found.sum() / items.sum())
    return Interval(min(float(low), value), max(float(high), value))


def _whole(name: str, values: ArrayLike) -> NDArray[np.int64]:
    found = np.asarray(values)
    if found.ndim != 1 or not found.size or found.dtype.kind not in "iu":
        raise StatisticsError(f"{name}: expected one whole number for each group")
    return found.astype(np.int64)
