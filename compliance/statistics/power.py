"""What a number of items can show, before or after looking.

Three questions: which proportion, and which AUROC, would a test of this size find most of the
time; and could "supported" be reached at all, even if everything went perfectly (`attainable`)?
Answers are ``None`` where no outcome would be significant.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy.special import betaincinv, ndtri

from compliance.errors import StatisticsError
from compliance.statistics.inputs import count, inside_unit
from compliance.statistics.proportion import (
    binomial_p_greater,
    binomial_p_less,
    tango_p_noninferior,
)


@dataclass(frozen=True, slots=True)
class BestCase:
    """One condition of a verdict under the most favourable outcome its size allows."""

    condition: str
    """One of ``sensitivity``, ``false-positive rate``, ``hard false-positive rate``,
    ``non-inferiority``."""

    n: int
    """Items or pairs at hand."""

    p: float
    """The smallest p value that ``n`` can give."""

    needed: int
    """The smallest n that can reach the level."""

    attainable: bool
    """Whether ``p`` is at most the level."""


@dataclass(frozen=True, slots=True)
class Attainability:
    """Whether a cell of this size can be supported, and which condition forbids it."""

    alpha: float
    """The level each condition must reach."""

    conditions: tuple[BestCase, ...]

    @property
    def attainable(self) -> bool:
        """True if every condition can be shown."""
        return all(case.attainable for case in self.conditions)


def minimum_detectable_greater(
    n: int, p0: float, *, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """Find the proportion above ``p0`` that the exact test finds with probability ``power``.

    Args:
        n: Trials.
        p0: The largest proportion under the null.
        alpha: One-sided level of the test, after any adjustment.
        power: Probability of a significant outcome.

    Returns:
        The smallest such proportion, or None if not even n successes are significant.

    Raises:
        StatisticsError: If an argument is impossible.
    """
    n, alpha, power = _design(n, alpha, power)
    hits = _fewest_hits(n, p0, alpha)
    return None if hits is None else float(betaincinv(hits, n - hits + 1, power))


def minimum_detectable_less(
    n: int, p0: float, *, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """Find the proportion below ``p0`` that the exact test finds with probability ``power``.

    Args:
        n: Trials.
        p0: The smallest proportion under the null.
        alpha: One-sided level of the test, after any adjustment.
        power: Probability of a significant outcome.

    Returns:
        The largest such proportion, or None if not even 0 successes are significant.

    Raises:
        StatisticsError: If an argument is impossible.
    """
    n, alpha, power = _design(n, alpha, power)
    misses = _fewest_hits(n, 1.0 - inside_unit("p0", p0), alpha)
    return None if misses is None else 1.0 - float(betaincinv(misses, n - misses + 1, power))


def minimum_detectable_auroc(
    n_pos: int, n_neg: int, *, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """Find the AUROC that a one-sided test against 0.5 finds with probability ``power``.

    Positives and negatives count as independent, so for paired groups this is on the safe side.

    Args:
        n_pos: Independent positives (groups, where several share one).
        n_neg: Independent negatives, counted likewise.
        alpha: One-sided level, below 0.5.
        power: Probability of a significant outcome.

    Returns:
        The smallest such AUROC, or None if even 1.0 is not found.

    Raises:
        StatisticsError: If an argument is impossible.

    Source:
        Hanley, J. and McNeil, B. (1982), Radiology 143, 29-36, equations 1 and 2 (variance under
        negative-exponential scores); the normal approximation is theirs too.
    """
    n_pos, alpha, power = _design(n_pos, alpha, power)
    n_neg = count("n_neg", n_neg, least=1)
    if alpha >= 0.5:
        raise StatisticsError(f"alpha: found {alpha}, expected less than 0.5")
    critical = 0.5 - ndtri(alpha) * _hanley_mcneil(0.5, n_pos, n_neg)
    if critical >= 1.0:
        return None
    low, high = 0.5, 1.0
    for _ in range(60):
        middle = (low + high) / 2.0
        found = middle - ndtri(power) * _hanley_mcneil(middle, n_pos, n_neg) >= critical
        low, high = (low, middle) if found else (middle, high)
    return high


def attainable(
    *,
    n_pos: int,
    n_benign: int,
    n_hard: int,
    n_pairs: int | None,
    alpha: float,
    min_sensitivity: float = 0.5,
    max_fpr: float = 0.05,
    max_hard_fpr: float = 0.20,
    margin: float = 0.15,
) -> Attainability:
    """Ask whether these sizes can show every condition of "supported" at the level ``alpha``.

    The best case is: every positive hit, no false alarm. For non-inferiority it is every positive
    hit in this language, and in the reference as few as still show its sensitivity; if not even
    that reaches the level, no outcome does. "Attainable" says nothing about how likely it is.

    Args:
        n_pos: Positives.
        n_benign: Benign negatives on confirm.
        n_hard: Hard negatives.
        n_pairs: Groups shared with the reference language; None in the reference cell itself.
        alpha: The level a p value must reach, such as 0.05 over the cells of the family.
        min_sensitivity: Sensitivity must be shown to be greater.
        max_fpr: The benign false-positive rate must be shown to be less.
        max_hard_fpr: The hard false-positive rate must be shown to be less.
        margin: Of non-inferiority.

    Returns:
        Each condition with its best p value and the n it would need.

    Raises:
        StatisticsError: If an argument is impossible.
    """
    alpha = inside_unit("alpha", alpha)
    found = [
        _best("sensitivity", n_pos, alpha, lambda n: binomial_p_greater(n, n, min_sensitivity)),
        _best("false-positive rate", n_benign, alpha, lambda n: binomial_p_less(0, n, max_fpr)),
        _best("hard false-positive rate", n_hard, alpha,
              lambda n: binomial_p_less(0, n, max_hard_fpr)),
    ]  # fmt: skip
    if n_pairs is not None:
        found.append(
            _best("non-inferiority", n_pairs, alpha,
                  lambda n: _best_noninferiority(n, min_sensitivity, margin, alpha))
        )  # fmt: skip
    return Attainability(alpha, tuple(found))


def _best(condition: str, n: int, alpha: float, best_p: Callable[[int], float]) -> BestCase:
    n = count(condition, n)
    needed = next(size for size in itertools.count(1) if best_p(size) <= alpha)
    p = best_p(n) if n else 1.0
    return BestCase(condition, n, p, needed, attainable=p <= alpha)


def _best_noninferiority(n: int, min_sensitivity: float, margin: float, alpha: float) -> float:
    """The smallest p value with a reference whose own sensitivity can be shown, if it can."""
    hits = _fewest_hits(n, min_sensitivity, alpha)
    return tango_p_noninferior(0 if hits is None else n - hits, 0, n, margin)


def _fewest_hits(n: int, p0: float, alpha: float) -> int | None:
    """The fewest successes with a p value of at most alpha, or None if n are too few."""
    if binomial_p_greater(n, n, p0) > alpha:
        return None
    low, high = 0, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if binomial_p_greater(middle, n, p0) <= alpha else (middle, high)
    return high


def _hanley_mcneil(area: float, n_pos: int, n_neg: int) -> float:
    """Standard error of an AUROC of ``area``."""
    two_positives = area / (2.0 - area) - area**2
    two_negatives = 2.0 * area**2 / (1.0 + area) - area**2
    spread = area * (1.0 - area) + (n_pos - 1) * two_positives + (n_neg - 1) * two_negatives
    return math.sqrt(max(0.0, spread) / (n_pos * n_neg))


def _design(n: int, alpha: float, power: float) -> tuple[int, float, float]:
    return count("n", n, least=1), inside_unit("alpha", alpha), inside_unit("power", power)
