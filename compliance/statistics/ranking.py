"""How well scores put positives above negatives.

The AUROC is P(s+ > s-) + P(s+ = s-)/2 over all pairs of a positive and a negative item. Wins and
ties are counted in whole numbers, so a value does not depend on the order of the items, on the
machine or on the number of threads::

    auroc([3.0, 1.0], [1.0, 0.0])                            # 0.875
    bootstrap_auroc(pos, neg, pos_groups, neg_groups, seed=7)   # with its interval

Resampled groups give the variance, and `auroc_interval` makes the interval and the p value of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compliance.errors import StatisticsError
from compliance.statistics.auroc_interval import Spread, difference_from, estimate_from
from compliance.statistics.estimate import Difference, Estimate
from compliance.statistics.inputs import (
    count,
    finite_matrix,
    finite_vector,
    inside_unit,
    two_classes,
)
from compliance.statistics.resampling import Counts, GroupDraws, group_draws

if TYPE_CHECKING:
    from scipy.sparse import sparray, spmatrix

BOOTSTRAP = "group bootstrap variance, t on the logit scale"

COLUMNS_AT_ONCE = 1_024
"""Latents whose ranks are held in memory at a time."""


def auroc(positive: ArrayLike, negative: ArrayLike) -> float:
    """Estimate P(s+ > s-) + P(s+ = s-)/2.

    Args:
        positive: Scores of the positive items, shape [n_pos].
        negative: Scores of the negative items, shape [n_neg].

    Returns:
        A number from 0 to 1; exactly 0.5 where all scores are equal.

    Raises:
        StatisticsError: If a side is empty or a score is not finite.

    Source:
        Mann, H. and Whitney, D. (1947), Annals of Mathematical Statistics 18, 50-60;
        Bamber, D. (1975), Journal of Mathematical Psychology 12, 387-415 (ties).
    """
    wins, ties, pairs = _won_and_tied(positive, negative)
    return float(2 * wins + ties) / (2.0 * pairs)


def tied_share(positive: ArrayLike, negative: ArrayLike) -> float:
    """Count the pairs that an AUROC takes as half won, P(s+ = s-); arguments as in `auroc`."""
    _, ties, pairs = _won_and_tied(positive, negative)
    return float(ties) / pairs


def auroc_matrix(
    scores: ArrayLike | sparray | spmatrix, is_positive: ArrayLike
) -> NDArray[np.float64]:
    """Compute the AUROC of every latent at once.

    A sparse matrix stays sparse: only stored values are sorted, and the zeros of a column are
    one tie, above its negative and below its positive values. The cost is that of sorting the
    stored values.

    Args:
        scores: Shape [n, k], a row per item and a column per latent: an array or a scipy sparse
            matrix of finite numbers.
        is_positive: True for the positive items, shape [n].

    Returns:
        One AUROC per column, shape [k], equal to `auroc` of that column.

    Raises:
        StatisticsError: If shapes differ, a class is missing or a score is not finite.

    Source:
        As `auroc`; the rank-sum form is Wilcoxon's (1945), Biometrics Bulletin 1, 80-83.
    """
    if hasattr(scores, "tocsc"):
        return _auroc_sparse(scores, is_positive)
    matrix = finite_matrix("scores", scores)
    labels = two_classes("is_positive", is_positive, matrix.shape[0])
    columns = range(0, matrix.shape[1], COLUMNS_AT_ONCE)
    return np.concatenate([_auroc_dense(matrix[:, i : i + COLUMNS_AT_ONCE], labels)
                           for i in columns])  # fmt: skip


def average_precision(positive: ArrayLike, negative: ArrayLike) -> float:
    """Compute the area under the precision-recall steps. Described only, never a verdict.

    Items with one score enter together. The value depends on the share of positives among the
    items, which a test set chooses.

    Args:
        positive: Scores of the positive items, shape [n_pos].
        negative: Scores of the negative items, shape [n_neg].

    Returns:
        The mean over positives of the precision at their score, above 0 and at most 1.

    Raises:
        StatisticsError: If a side is empty or a score is not finite.

    Source:
        Davis, J. and Goadrich, M. (2006), ICML, 233-240; stepwise, as scikit-learn's
        ``average_precision_score``.
    """
    hits, alarms = _curve(positive, negative)
    gained = np.diff(hits)
    return float((gained * (hits / np.maximum(hits + alarms, 1))[1:]).sum() / hits[-1])


def partial_auroc(positive: ArrayLike, negative: ArrayLike, *, max_fpr: float) -> float:
    """Compute the AUROC of the part with few false alarms. Described only, never a verdict.

    The area left of ``max_fpr`` is put on the scale of an AUROC: 0.5 for a scorer without signal,
    1 for a perfect one.

    Args:
        positive: Scores of the positive items, shape [n_pos].
        negative: Scores of the negative items, shape [n_neg].
        max_fpr: The largest false-positive rate looked at, between 0 and 1.

    Returns:
        McClish's standardised partial area; below 0.5 where the scorer does worse than none.

    Raises:
        StatisticsError: If a side is empty, a score is not finite or the rate is impossible.

    Source:
        McClish, D. (1989), Medical Decision Making 9, 190-195, as scikit-learn's
        ``roc_auc_score(max_fpr=...)``.
    """
    limit = inside_unit("max_fpr", max_fpr)
    hits, alarms = _curve(positive, negative)
    rate, recall = alarms / alarms[-1], hits / hits[-1]
    inside = rate <= limit
    x = np.append(rate[inside], limit)
    y = np.append(recall[inside], np.interp(limit, rate, recall))
    least = limit * limit / 2.0
    return float(0.5 * (1.0 + (np.trapezoid(y, x) - least) / (limit - least)))


def bootstrap_auroc(
    positive: ArrayLike,
    negative: ArrayLike,
    pos_groups: ArrayLike,
    neg_groups: ArrayLike,
    *,
    seed: int,
    draws: int = 2000,
    level: float = 0.95,
) -> Estimate:
    """Estimate an AUROC with an interval from resampled groups.

    A group's positives and negatives are drawn together; groups that hold only one class are
    drawn apart from the others (see `resampling.group_draws`). The draws give the variance, and
    `auroc_interval.estimate_from` the interval: t on the logit scale, with one degree of freedom
    less than the smaller side has groups.

    At 95 % it covered 0.967 on average over the 96 points of ``benchmarks/coverage.py`` (25 to 168
    groups, AUROCs to 0.995, latents that are nearly always silent), and 0.945 at the worst.

    Args:
        positive: Scores of the positive items, shape [n_pos].
        negative: Scores of the negative items, shape [n_neg].
        pos_groups: The group of each positive item, shape [n_pos].
        neg_groups: The group of each negative item, shape [n_neg].
        seed: From 0 to 2**32 - 1; the same seed gives the same interval.
        draws: How many resamples, at least 2.
        level: Two-sided coverage.

    Returns:
        The AUROC; ``n`` is the smaller of the numbers of groups with positives and negatives.

    Raises:
        StatisticsError: If a side is empty, a score is not finite, or a shape differs.

    Source:
        Bootstrap variance: Efron, B. (1979), Annals of Statistics 7, 1-26. Clusters: Field, C.
        and Welsh, A. (2007), Journal of the Royal Statistical Society B 69, 369-390.
    """
    inside_unit("level", level)
    pair = _scores(positive, negative, pos_groups, neg_groups, "positive", "negative")
    resamples = group_draws(pos_groups, neg_groups, seed=seed, draws=count("draws", draws, least=2))
    variance = float(_covariance(resamples, pair)[0, 0])
    return estimate_from(_spread(pair, variance, resamples), method=BOOTSTRAP, level=level)


def paired_auroc_difference(
    pos_a: ArrayLike,
    neg_a: ArrayLike,
    pos_b: ArrayLike,
    neg_b: ArrayLike,
    pos_groups: ArrayLike,
    neg_groups: ArrayLike,
    *,
    seed: int,
    draws: int = 2000,
    level: float = 0.95,
) -> Difference:
    """Compare two scorers on the same items, a minus b.

    Both are evaluated on the same draws, which give the two variances and what they share;
    `auroc_interval.difference_from` makes the interval and the p value of them.

    The p value is that of a t distribution, not a count of draws. A count is a multiple of
    1/(draws + 1) and is itself noise: at 0.05/12, the first step of Holm over twelve cells, 2,000
    draws leave eight to count. A standard error from as many draws is good to 1.6 %. At the worst
    point of ``benchmarks/coverage.py`` it erred in 5.4 % of cases at 0.05, in 0.46 % at 0.05/12.

    Args:
        pos_a: Scores of the positive items by a, shape [n_pos].
        neg_a: Scores of the negative items by a, shape [n_neg].
        pos_b: Scores of the same positive items by b, in the same order.
        neg_b: Scores of the same negative items by b, in the same order.
        pos_groups: The group of each positive item, shape [n_pos].
        neg_groups: The group of each negative item, shape [n_neg].
        seed: From 0 to 2**32 - 1.
        draws: How many resamples, at least 2.
        level: Two-sided coverage.

    Returns:
        AUROC of a minus AUROC of b; ``n`` is as in `bootstrap_auroc`.

    Raises:
        StatisticsError: If a side is empty, a score is not finite, or a shape differs.

    Source:
        As `bootstrap_auroc` and `auroc_interval.difference_from`.
    """
    inside_unit("level", level)
    a = _scores(pos_a, neg_a, pos_groups, neg_groups, "pos_a", "neg_a")
    b = _scores(pos_b, neg_b, pos_groups, neg_groups, "pos_b", "neg_b")
    resamples = group_draws(pos_groups, neg_groups, seed=seed, draws=count("draws", draws, least=2))
    both = _covariance(resamples, a, b)
    return difference_from(
        _spread(a, float(both[0, 0]), resamples),
        _spread(b, float(both[1, 1]), resamples),
        float(both[0, 1]),
        method=BOOTSTRAP,
        level=level,
    )


def _won_and_tied(positive: ArrayLike, negative: ArrayLike) -> tuple[int, int, int]:
    """Pairs won, pairs tied, and all pairs."""
    above = finite_vector("positive", positive)
    below = np.sort(finite_vector("negative", negative))
    wins = int(np.searchsorted(below, above, "left").sum(dtype=np.int64))
    ties = int(np.searchsorted(below, above, "right").sum(dtype=np.int64)) - wins
    return wins, ties, above.size * below.size


def _curve(positive: ArrayLike, negative: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positives and negatives at or above each distinct score, from none to all."""
    above, below = finite_vector("positive", positive), finite_vector("negative", negative)
    scores = np.unique(np.concatenate([above, below]))[::-1]
    hits = above.size - np.searchsorted(np.sort(above), scores, "left")
    alarms = below.size - np.searchsorted(np.sort(below), scores, "left")
    return np.insert(hits, 0, 0), np.insert(alarms, 0, 0)


def _auroc_dense(block: NDArray[np.float64], labels: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The AUROC of each column of an array."""
    n, k = block.shape
    order = np.argsort(block, axis=0, kind="stable")
    values = np.take_along_axis(block, order, axis=0).T.ravel()
    columns = np.repeat(np.arange(k), n)
    none = np.zeros(k, dtype=np.int64)
    return _auroc_sorted(values, columns, labels[order].T.ravel(), none, none, labels)


def _auroc_sparse(scores: sparray | spmatrix, is_positive: ArrayLike) -> NDArray[np.float64]:
    """The AUROC of each column of a sparse matrix."""
    matrix = scores.tocsc(copy=True)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    n, k = matrix.shape
    labels = two_classes("is_positive", is_positive, n)
    if k == 0:
        raise StatisticsError("scores: there are no columns, expected at least one")
    if not np.isfinite(matrix.data).all():
        raise StatisticsError("scores: a stored value is not finite, expected a number")
    stored = np.diff(matrix.indptr)
    active = np.flatnonzero(stored)
    columns = np.repeat(np.arange(active.size), stored[active])
    order = np.lexsort((matrix.data, columns))
    is_pos = labels[matrix.indices[order]]
    zero_pos = labels.sum() - np.bincount(columns[is_pos], minlength=active.size)
    zero_neg = (~labels).sum() - np.bincount(columns[~is_pos], minlength=active.size)
    areas = np.full(k, 0.5)
    areas[active] = _auroc_sorted(matrix.data[order], columns, is_pos, zero_pos, zero_neg, labels)
    return areas


def _auroc_sorted(
    values: NDArray[np.floating],
    columns: NDArray[np.intp],
    is_pos: NDArray[np.bool_],
    zero_pos: NDArray[np.int64],
    zero_neg: NDArray[np.int64],
    labels: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Count wins and ties in values sorted by column and size, and in ``zero_*`` tied zeros."""
    n_pos = int(labels.sum())
    below_zero = np.bincount(columns[(values < 0) & ~is_pos], minlength=zero_pos.size)
    doubled = zero_pos * (2 * below_zero + zero_neg)
    if values.size:
        new_column = np.diff(columns, prepend=-1) != 0
        new_value = np.append(True, values[1:] != values[:-1])
        starts = np.flatnonzero(new_column | new_value)
        run_pos = np.add.reduceat(is_pos.astype(np.int64), starts)
        run_neg = np.add.reduceat((~is_pos).astype(np.int64), starts)
        run_column = columns[starts]
        before = np.cumsum(run_neg) - run_neg
        first = np.flatnonzero(new_column[starts])
        before -= np.repeat(before[first], np.diff(first, append=starts.size))
        before += np.where(values[starts] > 0, zero_neg[run_column], 0)
        won = np.zeros(zero_pos.size, dtype=np.int64)
        np.add.at(won, run_column, run_pos * (2 * before + run_neg))
        doubled = doubled + won
    return doubled / (2.0 * n_pos * (labels.size - n_pos))


def _scores(
    positive: ArrayLike,
    negative: ArrayLike,
    pos_groups: ArrayLike,
    neg_groups: ArrayLike,
    pos_name: str,
    neg_name: str,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both sides as checked vectors that have one group for each score."""
    above, below = finite_vector(pos_name, positive), finite_vector(neg_name, negative)
    for name, scores, groups in ((pos_name, above, pos_groups), (neg_name, below, neg_groups)):
        if np.shape(groups) != scores.shape:
            raise StatisticsError(
                f"{name}: {scores.size} scores and groups of shape {np.shape(groups)}, "
                "expected one group for each score"
            )
    return above, below


def _covariance(
    draws: GroupDraws, *pairs: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """The covariance of the scorers' AUROCs over the draws, shape [scorers, scorers].

    Draws that all agree are equal to the last bit, but their mean need not be; so differences from
    the first draw are taken, and no variance is 0.
    """
    ranked = [_Ranked.of(*pair, draws) for pair in pairs]
    blocks = [np.array([one.areas(*block) for one in ranked]) for block in draws.blocks()]
    values = np.concatenate(blocks, axis=1)
    return np.atleast_2d(np.cov(values - values[:, :1]))


def _spread(
    pair: tuple[NDArray[np.float64], NDArray[np.float64]], variance: float, draws: GroupDraws
) -> Spread:
    return Spread(auroc(*pair), variance, tied_share(*pair), draws.smaller_side)


@dataclass(frozen=True, eq=False, slots=True)
class _Ranked:
    """A scorer's items in order of their scores, so that each draw is ranked by adding up."""

    positive: NDArray[np.intp]
    """Column of each positive item's group, in order of the scores, shape [n_pos]."""

    negative: NDArray[np.intp]
    """The same of the negative items, shape [n_neg]."""

    below: NDArray[np.intp]
    """How many negative items lie below each positive one, shape [n_pos]."""

    not_above: NDArray[np.intp]
    """How many lie below it or are tied with it, shape [n_pos]."""

    @classmethod
    def of(
        cls, above: NDArray[np.float64], below: NDArray[np.float64], draws: GroupDraws
    ) -> _Ranked:
        high, low = np.argsort(above, kind="stable"), np.argsort(below, kind="stable")
        scores, others = above[high], below[low]
        places = (np.searchsorted(others, scores, side) for side in ("left", "right"))
        return cls(draws.positive[high], draws.negative[low], *places)

    def areas(self, positive: Counts, negative: Counts) -> NDArray[np.float64]:
        """The AUROC of each draw, shape [draws].

        With p and q how often a draw took each item, twice the wins plus the ties of a positive
        item are the q of the negatives below it and of those not above it. All terms are whole
        numbers below 2**53, so sums are exact in whatever order they are made.
        """
        p = np.take(positive, self.positive, axis=1).astype(np.float64)
        q = np.zeros((len(negative), self.negative.size + 1))
        np.cumsum(np.take(negative, self.negative, axis=1), axis=1, out=q[:, 1:])
        doubled = np.einsum("ij,ij->i", p, np.take(q, self.below, axis=1))
        doubled += np.einsum("ij,ij->i", p, np.take(q, self.not_above, axis=1))
        return doubled / (2.0 * p.sum(axis=1) * q[:, -1])
