"""Which groups a bootstrap draw takes, from a stream that stays the same.

The group is the independent unit: a draw takes whole groups, so the positives and the negatives
of one meaning come and go together. A draw is written as counts, how often each group was taken,
and every statistic of the draw is then a weighted sum.

The numbers come from ``numpy.random.RandomState``, whose stream numpy has frozen (NEP 19), read
as 64-bit integers on every platform. Groups are put in sorted order first. So one seed gives the
same draws in any year, on any machine, and for any order of the items.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compliance.errors import StatisticsError
from compliance.statistics.inputs import count

LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True, eq=False, slots=True)
class GroupDraws:
    """Bootstrap draws over the groups of positives and of negatives.

    A group that holds both is one unit: its two counts are equal in every draw.
    """

    positive: NDArray[np.intp]
    """For each positive item the column of its group in ``positive_counts``, shape [n_pos]."""

    negative: NDArray[np.intp]
    """For each negative item the column of its group in ``negative_counts``, shape [n_neg]."""

    positive_counts: NDArray[np.int64]
    """How often each draw took each group with positives, shape [draws, groups]."""

    negative_counts: NDArray[np.int64]
    """How often each draw took each group with negatives, shape [draws, groups]."""

    @property
    def smaller_side(self) -> int:
        """Groups with positives or groups with negatives, whichever are fewer."""
        return min(self.positive_counts.shape[1], self.negative_counts.shape[1])


def seed_of(seed: int, name: str) -> int:
    """Derive the seed of one stream from the seed of all and the stream's name.

    Streams of different names share nothing, so a result added or left out moves no other.

    Args:
        seed: The one that was declared.
        name: Such as ``search/deception``, or a result's id.

    Returns:
        From 0 to 2**32 - 1: the first four bytes of the sha256 of ``seed/name``.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:4], "big")


def draw_counts(groups: int, *, random: np.random.RandomState, draws: int) -> NDArray[np.int64]:
    """Draw ``groups`` groups with replacement, ``draws`` times.

    Args:
        groups: How many groups there are; 0 gives a matrix without columns.
        random: The stream, which moves on.
        draws: How many draws to make.

    Returns:
        How often each draw took each group, shape [draws, groups]. Rows sum to ``groups``.
    """
    if groups == 0:
        return np.zeros((draws, 0), dtype=np.int64)
    taken = random.randint(0, groups, size=(draws, groups), dtype=np.int64)
    cells = taken + groups * np.arange(draws, dtype=np.int64)[:, np.newaxis]
    return np.bincount(cells.ravel(), minlength=draws * groups).reshape(draws, groups)


def group_draws(
    pos_groups: ArrayLike, neg_groups: ArrayLike, *, seed: int, draws: int
) -> GroupDraws:
    """Draw groups for a comparison of positives with negatives.

    Groups fall into three strata that are drawn apart, in this order from one stream: those with
    positives and negatives, those with positives only, those with negatives only. Paired data
    have only the first, benign negatives only the other two. Every draw therefore has as many
    groups of each kind as the data, and never lacks a class. A stratum of a single group does not
    vary between draws.

    Args:
        pos_groups: The group of each positive item, shape [n_pos].
        neg_groups: The group of each negative item, shape [n_neg].
        seed: From 0 to 2**32 - 1.
        draws: How many draws to make.

    Returns:
        The draws.

    Raises:
        StatisticsError: If a side is empty or its groups are not labels of one type, or the seed
            or the number of draws is impossible.

    Source:
        Efron, B. and Tibshirani, R. (1993), An Introduction to the Bootstrap, chapters 8 and 13.
    """
    draws = count("draws", draws, least=1)
    random = random_stream(seed)
    positives, positive = label_places("pos_groups", pos_groups)
    negatives, negative = label_places("neg_groups", neg_groups)
    if positives.dtype.kind != negatives.dtype.kind:
        raise StatisticsError("pos_groups and neg_groups: one has text labels, the other numbers")
    pos_shared = np.isin(positives, negatives)
    neg_shared = np.isin(negatives, positives)

    shared = draw_counts(int(pos_shared.sum()), random=random, draws=draws)
    pos_counts = np.empty((draws, positives.size), dtype=np.int64)
    neg_counts = np.empty((draws, negatives.size), dtype=np.int64)
    pos_counts[:, pos_shared] = shared
    neg_counts[:, neg_shared] = shared
    pos_counts[:, ~pos_shared] = draw_counts(int((~pos_shared).sum()), random=random, draws=draws)
    neg_counts[:, ~neg_shared] = draw_counts(int((~neg_shared).sum()), random=random, draws=draws)
    return GroupDraws(positive, negative, pos_counts, neg_counts)


def random_stream(seed: int) -> np.random.RandomState:
    """Open the stream that numpy has frozen.

    Args:
        seed: From 0 to 2**32 - 1.

    Returns:
        The stream at its beginning.

    Raises:
        StatisticsError: If the seed is not such a number.
    """
    number = count("seed", seed)
    if number > LARGEST_SEED:
        raise StatisticsError(f"seed: found {number}, expected at most {LARGEST_SEED}")
    return np.random.RandomState(number)


def label_places(name: str, groups: ArrayLike) -> tuple[np.ndarray, NDArray[np.intp]]:
    """Find the distinct groups in sorted order, and for each item the place of its own.

    Args:
        name: What the message calls the argument.
        groups: The group of each item, text or whole numbers, shape [n].

    Returns:
        Distinct labels, shape [groups], and places among them, shape [n].

    Raises:
        StatisticsError: If there are no labels, or they are of another kind.
    """
    labels = np.asarray(groups)
    if labels.ndim != 1 or labels.size == 0:
        raise StatisticsError(f"{name}: shape is {labels.shape}, expected one label per item")
    if labels.dtype.kind == "u":
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iU":
        raise StatisticsError(f"{name}: labels are {labels.dtype}, expected text or whole numbers")
    distinct, places = np.unique(labels, return_inverse=True)
    return distinct, places
