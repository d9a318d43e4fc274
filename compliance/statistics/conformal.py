"""A cut-off that keeps false alarms at a declared share, whatever the scores look like.

Split-conformal, on benign scores only: with n of them, the cut-off is the r-th smallest with
r = ceil((n + 1)(1 - alpha)). An item raises an alarm if and only if its score is strictly
greater. For a new benign item that is exchangeable with these, the probability of an alarm is
then at most alpha, ties or not. That is an average over cut-offs; one cut-off's own rate varies.

The rank is computed in fractions: 100 * 0.99 is 99, not 98.99999999999999 or 99.00000000000001.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compliance.errors import StatisticsError
from compliance.statistics.inputs import finite_vector


@dataclass(frozen=True, slots=True)
class CutOff:
    """The score above which an item raises an alarm, and where it stood among the benign."""

    value: float

    rank: int
    """Its place among the benign scores, 1 for the smallest."""

    n: int
    """How many benign scores it was set on."""

    def alarms(self, scores: ArrayLike) -> NDArray[np.bool_]:
        """Say which scores raise an alarm: those strictly greater.

        Args:
            scores: Shape [n].

        Returns:
            Booleans, shape [n].

        Raises:
            StatisticsError: If there are no scores or one is not finite.
        """
        return finite_vector("scores", scores) > self.value


def cut_off(benign_scores: ArrayLike, alpha: str | Fraction | float) -> CutOff:
    """Set the cut-off that a benign score exceeds with probability at most ``alpha``.

    Args:
        benign_scores: Scores of benign items, shape [n].
        alpha: The declared share of false alarms. A float is read by its shortest decimal form,
            so 0.01 means 1/100; text may be a decimal or a fraction.

    Returns:
        The cut-off with its rank.

    Raises:
        StatisticsError: If there are too few benign scores for this alpha, a score is not
            finite, or alpha is not between 0 and 1.

    Source:
        Papadopoulos, H. et al. (2002), Inductive confidence machines for regression, ECML;
        Vovk, V., Gammerman, A. and Shafer, G. (2005), Algorithmic Learning in a Random World.
    """
    share = _fraction(alpha)
    scores = np.sort(finite_vector("benign_scores", benign_scores))
    rank = math.ceil((scores.size + 1) * (1 - share))
    if rank > scores.size:
        needed = benign_needed(share)
        raise StatisticsError(
            f"cut-off: cannot be set at alpha {share} on {scores.size} benign scores, "
            f"expected at least {needed}",
            hint=f"add benign items until {needed} are in the calibrate split, or raise alpha",
        )
    return CutOff(value=float(scores[rank - 1]), rank=rank, n=int(scores.size))


def benign_needed(alpha: str | Fraction | float) -> int:
    """Count the benign scores without which no cut-off can be set at ``alpha``.

    Args:
        alpha: As in `cut_off`.

    Returns:
        The smallest n with ceil((n + 1)(1 - alpha)) <= n, such as 99 for 1/100.

    Raises:
        StatisticsError: If alpha is not between 0 and 1.
    """
    share = _fraction(alpha)
    return math.ceil((1 - share) / share)


def _fraction(alpha: str | Fraction | float) -> Fraction:
    try:
        share = alpha if isinstance(alpha, Fraction) else Fraction(str(alpha))
    except (ValueError, ZeroDivisionError) as error:
        raise StatisticsError(f"alpha: found {alpha!r}, expected a share such as 0.01") from error
    if not 0 < share < 1:
        raise StatisticsError(f"alpha: found {alpha}, expected a number between 0 and 1")
    return share
