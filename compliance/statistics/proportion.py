"""Proportions, alone and paired.

Wilson's interval is to look at; verdicts use the one-sided exact tests::

    wilson(9, 10)                        # 0.9, from 0.596 to 0.982
    binomial_p_greater(9, 10, 0.5)       # 11/1024

Paired proportions compare one language with the reference on the same groups. Four counts
describe them, and only the two discordant ones carry the difference:

====================  =================  =================
..                    reference hit      reference miss
language hit          both               ``b``
language miss         ``c``              neither
====================  =================  =================

So ``b`` counts pairs that only the language hits, ``c`` pairs that only the reference hits, and
the difference p_language - p_reference is (b - c)/n, with n all pairs, concordant ones included.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy.special import betainc, betaincinv, ndtr, ndtri

from compliance.errors import StatisticsError
from compliance.statistics.estimate import Estimate
from compliance.statistics.inputs import count, inside_unit, successes_of

HALVINGS = 200
"""More than double precision needs to close any interval."""


def wilson(successes: int, n: int, level: float = 0.95) -> Estimate:
    """Estimate a proportion with Wilson's score interval.

    Its coverage is right on average over proportions, not at each: 0.91 at n = 50 and p = 0.01,
    0.88 at n = 25 and p = 0.005.

    Args:
        successes: How many of the trials succeeded.
        n: How many trials, at least 1.
        level: Two-sided coverage.

    Returns:
        The share of successes with its interval.

    Raises:
        StatisticsError: If the counts or the level are impossible.

    Source:
        Wilson, E. (1927), Journal of the American Statistical Association 22, 209-212.
    """
    successes, n = successes_of(successes, n)
    z = _two_sided_z(level)
    share = successes / n
    centre = (successes + z * z / 2.0) / (n + z * z)
    half = z * math.sqrt(share * (1.0 - share) * n + z * z / 4.0) / (n + z * z)
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Estimate(share, low, high, n, "Wilson", level)


def clopper_pearson(successes: int, n: int, level: float = 0.95) -> Estimate:
    """Estimate a proportion with the exact interval, which covers at least at its level.

    Args:
        successes: How many of the trials succeeded.
        n: How many trials, at least 1.
        level: Two-sided coverage, at the least.

    Returns:
        The share of successes with its interval.

    Raises:
        StatisticsError: If the counts or the level are impossible.

    Source:
        Clopper, C. and Pearson, E. (1934), Biometrika 26, 404-413.
    """
    successes, n = successes_of(successes, n)
    tail = (1.0 - inside_unit("level", level)) / 2.0
    low = 0.0 if successes == 0 else betaincinv(successes, n - successes + 1, tail)
    high = 1.0 if successes == n else betaincinv(successes + 1, n - successes, 1.0 - tail)
    return Estimate(successes / n, float(low), float(high), n, "Clopper-Pearson", level)


def binomial_p_greater(successes: int, n: int, p0: float) -> float:
    """Test that a proportion is greater than ``p0``, exactly.

    Args:
        successes: How many of the trials succeeded.
        n: How many trials, at least 1.
        p0: The largest proportion under the null, between 0 and 1.

    Returns:
        P(X >= successes) for X binomial(n, p0).

    Raises:
        StatisticsError: If the counts or ``p0`` are impossible.
    """
    successes, n = successes_of(successes, n)
    p0 = inside_unit("p0", p0)
    return 1.0 if successes == 0 else float(betainc(successes, n - successes + 1, p0))


def binomial_p_less(successes: int, n: int, p0: float) -> float:
    """Test that a proportion is less than ``p0``, exactly.

    Args:
        successes: How many of the trials succeeded.
        n: How many trials, at least 1.
        p0: The smallest proportion under the null, between 0 and 1.

    Returns:
        P(X <= successes) for X binomial(n, p0).

    Raises:
        StatisticsError: If the counts or ``p0`` are impossible.
    """
    successes, n = successes_of(successes, n)
    p0 = inside_unit("p0", p0)
    return 1.0 if successes == n else float(betainc(n - successes, successes + 1, 1.0 - p0))


def mcnemar_exact(b: int, c: int) -> float:
    """Test two-sided that two paired proportions differ. Described only, never a verdict.

    Args:
        b: Pairs that only the language hits.
        c: Pairs that only the reference hits.

    Returns:
        Twice the smaller binomial(b + c, 1/2) tail, at most 1; 1 without discordant pairs.

    Raises:
        StatisticsError: If a count is negative.

    Source:
        McNemar, Q. (1947), Psychometrika 12, 153-157, in its exact form.
    """
    b, c = count("b", b), count("c", c)
    if b + c == 0:
        return 1.0
    return min(1.0, 2.0 * binomial_p_less(min(b, c), b + c, 0.5))


def tango_interval(b: int, c: int, n: int, level: float = 0.95) -> Estimate:
    """Estimate p_language - p_reference with Tango's score interval.

    Args:
        b: Pairs that only the language hits.
        c: Pairs that only the reference hits.
        n: All pairs, concordant ones included.
        level: Two-sided coverage.

    Returns:
        (b - c)/n with its interval, inside -1 to 1 and of positive width.

    Raises:
        StatisticsError: If the counts or the level are impossible.

    Source:
        Tango, T. (1998), Statistics in Medicine 17, 891-908.
    """
    b, c, n = _pairs(b, c, n)
    z = _two_sided_z(level)
    value = (b - c) / n
    low = _crossing(lambda gap: _tango_score(b, c, n, gap) >= z, -1.0, value)
    high = _crossing(lambda gap: _tango_score(b, c, n, gap) > -z, value, 1.0)
    return Estimate(value, low, high, n, "Tango score", level)


def tango_p_noninferior(b: int, c: int, n: int, margin: float) -> float:
    """Test that p_language - p_reference is greater than ``-margin``.

    Swapping ``b`` and ``c`` tests the reference against the language: look at the table above.

    Args:
        b: Pairs that only the language hits.
        c: Pairs that only the reference hits.
        n: All pairs, concordant ones included.
        margin: The loss that is still accepted, between 0 and 1.

    Returns:
        The one-sided p value of the score test, asymptotic in n. By enumeration it errs in up to
        7.2 % of cases at a nominal 5 % with n = 25, and in at most 5.8 % from n = 45 on.

    Raises:
        StatisticsError: If the counts or the margin are impossible.

    Source:
        Tango, T. (1998), Statistics in Medicine 17, 891-908.
    """
    b, c, n = _pairs(b, c, n)
    return float(ndtr(-_tango_score(b, c, n, -inside_unit("margin", margin))))


def _tango_score(b: int, c: int, n: int, gap: float) -> float:
    """How far (b - c)/n lies above ``gap``, in standard errors under a true difference ``gap``.

    ``only_ref`` is the maximum-likelihood probability of cell c given that difference: the larger
    root of 2n q^2 + linear q + constant = 0, taken in the form that does not cancel.
    """
    linear = -b - c + (2 * n - b + c) * gap
    constant = -c * gap * (1.0 - gap)
    root = math.sqrt(max(0.0, linear * linear - 8.0 * n * constant))
    only_ref = -2.0 * constant / (linear + root) if linear > 0.0 else (root - linear) / (4.0 * n)
    variance = n * (2.0 * max(only_ref, -gap, 0.0) + gap * (1.0 - gap))
    excess = b - c - n * gap
    if variance <= 0.0:
        return math.copysign(math.inf, excess) if excess else 0.0
    return excess / math.sqrt(variance)


def _crossing(still: Callable[[float], bool], low: float, high: float) -> float:
    """Where ``still`` turns from true to false between ``low`` and ``high``, by halving."""
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if still(middle) else (low, middle)
    return (low + high) / 2.0


def _two_sided_z(level: float) -> float:
    return float(-ndtri((1.0 - inside_unit("level", level)) / 2.0))


def _pairs(b: int, c: int, n: int) -> tuple[int, int, int]:
    b, c, n = count("b", b), count("c", c), count("n", n, least=1)
    if b + c > n:
        raise StatisticsError(f"b and c: found {b} and {c} in {n} pairs, expected at most n")
    return b, c, n
