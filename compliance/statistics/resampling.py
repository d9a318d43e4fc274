"""Which groups a bootstrap draw takes, from a stream that stays the same.

The group is the independent unit: a draw takes whole groups, so the positives and the negatives
of one meaning come and go together. A draw is written as counts, how often each group was taken,
and every statistic of the draw is then a weighted sum.

Draws are made and used a block at a time, so that memory does not grow with draws times groups. The
blocks are read from the stream in the order in which one matrix would be, so where a block ends
changes no number.

The numbers come from ``numpy.random.RandomState``, whose stream numpy has frozen (NEP 19), read
as 64-bit integers on every platform. Groups are put in sorted order first. So one seed gives the
same draws in any year, on any machine, and for any order of the items.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compliance.errors import StatisticsError
from compliance.statistics.inputs import count

LARGEST_SEED = 2**32 - 1


AT_ONCE = 1 << 18
"""Counts, or items of all draws, that are in memory at a time."""

Counts = NDArray[np.int64]
"""How often each draw took each group, shape [draws, groups]."""


@dataclass(frozen=True, eq=False, slots=True)
class GroupDraws:
    """Bootstrap draws over the groups of positives and of negatives.

    A group that holds both is one unit: its two counts are equal in every draw.
    """

    positive: NDArray[np.intp]
    """For each positive item the column of its group among those with positives, shape [n_pos]."""

    negative: NDArray[np.intp]
    """For each negative item the column of its group among those with negatives, shape [n_neg]."""

    with_both: tuple[NDArray[np.bool_], NDArray[np.bool_]]
    """Which groups with positives hold negatives too, and the reverse."""

    seed: int
    draws: int

    @property
    def smaller_side(self) -> int:
        """Groups with positives or groups with negatives, whichever are fewer."""
        return min(both.size for both in self.with_both)

    def blocks(self) -> Iterator[tuple[Counts, Counts]]:
        """The counts of groups with positives and of those with negatives, some draws at a time."""
        pos_both, neg_both = self.with_both
        rows = max(1, AT_ONCE // (self.positive.size + self.negative.size))
        sizes = int(pos_both.sum()), int((~pos_both).sum()), int((~neg_both).sum())
        streams = _streams(self.seed, sizes, self.draws, whole=rows >= self.draws)
        for first in range(0, self.draws, rows):
            number = min(rows, self.draws - first)
            shared, pos_only, neg_only = (
                draw_counts(size, random=stream, draws=number)
                for size, stream in zip(sizes, streams, strict=True)
            )
            positive = np.empty((number, pos_both.size), dtype=np.int64)
            negative = np.empty((number, neg_both.size), dtype=np.int64)
            positive[:, pos_both], positive[:, ~pos_both] = shared, pos_only
            negative[:, neg_both], negative[:, ~neg_both] = shared, neg_only
            yield positive, negative


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


def count_blocks(
    groups: int, *, random: np.random.RandomState, draws: int, at_once: int = AT_ONCE
) -> Iterator[Counts]:
    """The draws of `draw_counts` in their order, at most ``at_once`` counts at a time."""
    rows = max(1, at_once // max(groups, 1))
    for first in range(0, draws, rows):
        yield draw_counts(groups, random=random, draws=min(rows, draws - first))


def _streams(
    seed: int, sizes: tuple[int, ...], draws: int, *, whole: bool
) -> list[np.random.RandomState]:
    """For each stratum the stream at its first draw.

    One stratum is drawn to its end before the next. Where all draws are made at once they can share
    one stream; else each has its own, which was moved past the strata before.
    """
    stream = random_stream(seed)
    if whole:
        return [stream] * len(sizes)
    found = []
    for place, size in enumerate(sizes):
        own = np.random.RandomState()
        own.set_state(stream.get_state())
        found.append(own)
        if any(sizes[place + 1 :]):
            for _ in count_blocks(size, random=stream, draws=draws):
                pass
    return found


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
    random_stream(seed)
    positives, positive = label_places("pos_groups", pos_groups)
    negatives, negative = label_places("neg_groups", neg_groups)
    if positives.dtype.kind != negatives.dtype.kind:
        raise StatisticsError("pos_groups and neg_groups: one has text labels, the other numbers")
    both = np.isin(positives, negatives), np.isin(negatives, positives)
    return GroupDraws(positive, negative, both, seed, draws)


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
