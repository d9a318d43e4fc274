"""How good the best of many latents looks by luck alone.

The best of 16,384 latents reaches an AUROC of about 0.73 on 50 pairs of pure noise. So the AUROC of
a latent that was chosen for it says little. What does is how often the best of *all* latents gets
as far when the labels are exchanged as they might have fallen (Westfall and Young)::

    found = max_statistic(scores, is_positive, groups, flips=1000, seed=7)
    found.best, found.auroc, found.p_adjusted

The exchange keeps what the items share: a pair of a positive and its hard negative swaps its
labels as a whole. The scores are never touched, so whatever latents have in common stays too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compliance.errors import StatisticsError
from compliance.statistics.inputs import count, finite_matrix, two_classes
from compliance.statistics.resampling import label_places, random_stream

if TYPE_CHECKING:
    from scipy.sparse import csc_array, sparray, spmatrix

COLUMNS_AT_ONCE = 1_024
"""Latents whose ranks are held in memory at a time, at most."""

SCORES_AT_ONCE = 2**21
"""Scores of them at most, where there are many items."""

FLIPS_AT_ONCE = 64
"""Exchanges whose labels are held as numbers, and their rank sums, at a time."""

EXACT_IN_FLOAT32 = 2**24
"""Whole numbers up to here are exact, and so is any sum of them that stays below."""


@dataclass(frozen=True, slots=True)
class MaxStatistic:
    """The best of many latents, judged against the best of as many under exchanged labels."""

    best: int
    """The column with the highest AUROC, the first of those that tie."""

    auroc: float

    searched: int
    """All columns."""

    active: int
    """Columns that are not zero throughout."""

    ties: int
    """Columns that reach this AUROC, the best included."""

    p_adjusted: float
    """(1 + exchanges whose best is at least as good) / (flips + 1): never 0."""

    null_p95: float
    """AUROC that the best column exceeds in 5 % of the exchanges."""

    flips: int


def max_statistic(
    scores: ArrayLike | sparray | spmatrix,
    is_positive: ArrayLike,
    groups: ArrayLike,
    *,
    flips: int,
    seed: int,
) -> MaxStatistic:
    """Find the column with the highest AUROC, and how often luck does as well.

    Under the null that labels have nothing to do with scores, these are exchangeable: the two
    label sets of a group with as many positives as negatives; the labels within a group of unequal
    numbers; and, among groups with one label only, the labels of groups of equal size. Each
    exchange keeps the number of positives. A group without a counterpart keeps its labels.

    Exchanges are evaluated by products of labels [flips, n] and doubled midranks [n, columns], for
    blocks of both. Doubled midranks are whole numbers and the product is exact, so what ties with
    the observed maximum is counted as a tie, and no block changes a number. Columns that are zero
    throughout are never looked at.

    Args:
        scores: Shape [n, k], a row per item and a column per latent: an array or a scipy sparse
            matrix of finite numbers, of any sign.
        is_positive: True for the positive items, shape [n].
        groups: The group of each item, text or whole numbers, shape [n].
        flips: How many exchanges, at least 1.
        seed: From 0 to 2**32 - 1.

    Returns:
        The best column, what was searched, and the adjusted p value of the whole search.

    Raises:
        StatisticsError: If shapes differ, a class is missing or a score is not finite.

    Source:
        Westfall, P. and Young, S. (1993), Resampling-Based Multiple Testing, section 2.6.
    """
    flips = count("flips", flips, least=1)
    random = random_stream(seed)
    columns = _Columns(scores)
    labels = two_classes("is_positive", is_positive, columns.n)
    distinct, places = label_places("groups", groups)
    if places.shape != labels.shape:
        raise StatisticsError(f"groups: {places.size} labels for {columns.n} items")
    exchanged = _exchanges(labels, places, distinct.size, flips, random)

    observed = np.full(columns.k, _sum_of_equals(labels), dtype=np.int64)
    null = np.full(flips, _sum_of_equals(labels) if columns.silent else 0, dtype=np.int64)
    kind = np.float32 if 2 * columns.n**2 < EXACT_IN_FLOAT32 else np.float64
    for which, block in columns.active_blocks():
        ranks = _doubled_midranks(block).astype(kind)
        observed[which] = (labels.astype(kind) @ ranks).astype(np.int64)
        for i in range(0, flips, FLIPS_AT_ONCE):
            best_sums = (exchanged[i : i + FLIPS_AT_ONCE].astype(kind) @ ranks).max(axis=1)
            some = null[i : i + FLIPS_AT_ONCE]
            np.maximum(some, best_sums.astype(np.int64), out=some)
    best = int(np.argmax(observed))
    return MaxStatistic(
        best=best,
        auroc=_auroc_of(float(observed[best]), labels),
        searched=columns.k,
        active=columns.k - columns.silent,
        ties=int((observed == observed[best]).sum()),
        p_adjusted=(1 + int((null >= observed[best]).sum())) / (flips + 1),
        null_p95=_auroc_of(float(np.quantile(null, 0.95)), labels),
        flips=flips,
    )


class _Columns:
    """Scores by column, dense or sparse, of which some may be zero throughout."""

    def __init__(self, scores: ArrayLike | sparray | spmatrix) -> None:
        self._sparse: csc_array | None = None
        if hasattr(scores, "tocsc"):
            self._sparse = scores.tocsc(copy=True)
            self._sparse.sum_duplicates()
            self._sparse.eliminate_zeros()
            if not np.isfinite(self._sparse.data).all():
                raise StatisticsError("scores: a stored value is not finite, expected a number")
            self.n, self.k = self._sparse.shape
            self._active = np.flatnonzero(np.diff(self._sparse.indptr))
        else:
            self._dense = finite_matrix("scores", scores)
            self.n, self.k = self._dense.shape
            self._active = np.flatnonzero(self._dense.any(axis=0))
        if self.k == 0:
            raise StatisticsError("scores: there are no columns, expected at least one")

    @property
    def silent(self) -> int:
        return self.k - self._active.size

    def active_blocks(self) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64]]]:
        """The columns that are not zero throughout, with their numbers, some at a time."""
        at_once = min(COLUMNS_AT_ONCE, max(1, SCORES_AT_ONCE // max(1, self.n)))
        for i in range(0, self._active.size, at_once):
            which = self._active[i : i + at_once]
            if self._sparse is None:
                yield which, self._dense[:, which]
            else:
                yield which, self._sparse[:, which].toarray()


def _doubled_midranks(block: NDArray[np.float64]) -> NDArray[np.int64]:
    """The first and the last rank of each value's ties in its column, added; ranks from 1."""
    n = block.shape[0]
    order = np.argsort(block, axis=0, kind="stable")
    ordered = np.take_along_axis(block, order, axis=0)
    rank = np.arange(1, n + 1)[:, np.newaxis]
    new = np.ones(block.shape, dtype=np.bool_)
    new[1:] = ordered[1:] != ordered[:-1]
    first = np.maximum.accumulate(np.where(new, rank, 1), axis=0)
    closes = np.ones(block.shape, dtype=np.bool_)
    closes[:-1] = new[1:]
    last = np.minimum.accumulate(np.where(closes, rank, n)[::-1], axis=0)[::-1]
    doubled = np.empty(block.shape, dtype=np.int64)
    np.put_along_axis(doubled, order, first + last, axis=0)
    return doubled


def _exchanges(
    labels: NDArray[np.bool_],
    places: NDArray[np.intp],
    groups: int,
    flips: int,
    random: np.random.RandomState,
) -> NDArray[np.bool_]:
    """Labels as they might have fallen, shape [flips, n].

    The stream is read in this order: a bit for every group that swaps as a whole, then for each
    group of unequal numbers, then for each size of the groups with one label, smallest first.
    """
    exchanged = np.tile(labels, (flips, 1))
    size = np.bincount(places, minlength=groups)
    positives = np.bincount(places[labels], minlength=groups)
    swaps = 2 * positives == size
    bits = np.zeros((flips, groups), dtype=np.bool_)
    bits[:, swaps] = random.randint(0, 2, size=(flips, int(swaps.sum())), dtype=np.int64)
    exchanged ^= bits[:, places]

    single = (positives == 0) | (positives == size)
    for group in np.flatnonzero(~swaps & ~single):
        items = np.flatnonzero(places == group)
        exchanged[:, items] = labels[items][_orders(flips, items.size, random)]
    for of_size in np.unique(size[single]):
        units = np.flatnonzero(single & (size == of_size))
        members = np.argsort(places, kind="stable")[np.isin(np.sort(places), units)]
        shuffled = (positives[units] > 0)[_orders(flips, units.size, random)]
        exchanged[:, members] = np.repeat(shuffled, of_size, axis=1)
    return exchanged


def _orders(flips: int, n: SupportsIndex, random: np.random.RandomState) -> NDArray[np.intp]:
    """Random orders of n things, shape [flips, n]."""
    return np.argsort(random.random_sample((flips, int(n))), axis=1, kind="stable")


def _sum_of_equals(labels: NDArray[np.bool_]) -> int:
    """The positives' doubled rank sum where all scores are equal."""
    return int(labels.sum()) * (labels.size + 1)


def _auroc_of(doubled_rank_sum: float, labels: NDArray[np.bool_]) -> float:
    n_pos = int(labels.sum())
    return (doubled_rank_sum - n_pos * (n_pos + 1)) / (2.0 * n_pos * (labels.size - n_pos))
