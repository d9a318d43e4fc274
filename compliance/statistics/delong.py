"""AUROCs of independent items, whose variance has a closed form.

For data in which no group holds both a positive and a negative and every item is a unit of its
own; where pairs share a group, `ranking.bootstrap_auroc` is the estimator. No seed is needed::

    delong_auroc(positive, negative).low
    delong_difference(pos_a, neg_a, pos_b, neg_b).p_greater

Every item has a component: the share of the other side that it stands above (a positive) or below
(a negative), ties counted half. The variance of an AUROC is that of the mean of the positives'
components plus that of the negatives'.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compliance.errors import StatisticsError
from compliance.statistics.auroc_interval import Spread, difference_from, estimate_from
from compliance.statistics.estimate import Difference, Estimate
from compliance.statistics.inputs import finite_vector, inside_unit
from compliance.statistics.ranking import auroc, tied_share

DELONG = "DeLong variance, t on the logit scale"


def delong_auroc(positive: ArrayLike, negative: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Estimate an AUROC of independent items.

    The interval is made as for `ranking.bootstrap_auroc`, on the smaller side's degrees of
    freedom; without that scale, DeLong's own interval has no width at complete separation.
    At 95 % it covered 0.967 on average over the 72 points of ``benchmarks/coverage.py``, and 0.936
    at the worst (168 positives, AUROC 0.99).

    Args:
        positive: Scores of the positive items, shape [n_pos].
        negative: Scores of the negative items, shape [n_neg].
        level: Two-sided coverage.

    Returns:
        The AUROC; ``n`` is the smaller of n_pos and n_neg.

    Raises:
        StatisticsError: If a side is empty, a score is not finite, or the level is impossible.

    Source:
        DeLong, E., DeLong, D. and Clarke-Pearson, D. (1988), Biometrics 44, 837-845; by sorting
        instead of comparing all pairs, as Sun, X. and Xu, W. (2014), IEEE Signal Processing
        Letters 21, 1389-1393.
    """
    inside_unit("level", level)
    above, below = finite_vector("positive", positive), finite_vector("negative", negative)
    variance = float(_covariance([_components(above, below)])[0, 0])
    return estimate_from(_spread(above, below, variance), method=DELONG, level=level)


def delong_difference(
    pos_a: ArrayLike,
    neg_a: ArrayLike,
    pos_b: ArrayLike,
    neg_b: ArrayLike,
    *,
    level: float = 0.95,
) -> Difference:
    """Compare two scorers on the same independent items, a minus b.

    Args:
        pos_a: Scores of the positive items by a, shape [n_pos].
        neg_a: Scores of the negative items by a, shape [n_neg].
        pos_b: Scores of the same positive items by b, in the same order.
        neg_b: Scores of the same negative items by b, in the same order.
        level: Two-sided coverage.

    Returns:
        AUROC of a minus AUROC of b, with interval and p value as
        `auroc_interval.difference_from` makes them; ``n`` is as in `delong_auroc`.

    Raises:
        StatisticsError: If a side is empty, a score is not finite, or the items differ in number.

    Source:
        As `delong_auroc`.
    """
    inside_unit("level", level)
    a = finite_vector("pos_a", pos_a), finite_vector("neg_a", neg_a)
    b = finite_vector("pos_b", pos_b), finite_vector("neg_b", neg_b)
    for name, one, other in (("pos_b", a[0], b[0]), ("neg_b", a[1], b[1])):
        if one.size != other.size:
            raise StatisticsError(f"{name}: {other.size} scores, expected {one.size} as of a")
    both = _covariance([_components(*a), _components(*b)])
    return difference_from(
        _spread(*a, float(both[0, 0])),
        _spread(*b, float(both[1, 1])),
        float(both[0, 1]),
        method=DELONG,
        level=level,
    )


def _components(
    above: NDArray[np.float64], below: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The share of the other side each item is right about, shapes [n_pos] and [n_neg]."""
    up, down = np.sort(above), np.sort(below)
    doubled = np.searchsorted(down, above, "left") + np.searchsorted(down, above, "right")
    missed = np.searchsorted(up, below, "left") + np.searchsorted(up, below, "right")
    return doubled / (2.0 * below.size), 1.0 - missed / (2.0 * above.size)


def _covariance(
    scorers: list[tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> NDArray[np.float64]:
    """The covariance of the AUROCs, shape [scorers, scorers]; a side of one item adds nothing."""
    total = np.zeros((len(scorers), len(scorers)))
    for side in zip(*scorers, strict=True):
        n = side[0].size
        total += np.atleast_2d(np.cov(side)) / n if n > 1 else 0.0
    return total


def _spread(above: NDArray[np.float64], below: NDArray[np.float64], variance: float) -> Spread:
    units = min(above.size, below.size)
    return Spread(auroc(above, below), variance, tied_share(above, below), units)
