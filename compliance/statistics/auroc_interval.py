"""Intervals and p values for AUROCs, from a value and the variance of its estimate.

Where the variance comes from (resampled groups, DeLong's components) is the caller's matter. What
is done with it is one recipe, chosen by simulation (``benchmarks/coverage.py``):

- the interval of one AUROC is a t interval on the logit scale, which is short towards the end of
  the scale and long towards its middle, as the estimate's distribution is;
- tied pairs add to the variance: a latent that has been silent so far may fire on the next item;
- within half a pair of 0 or 1 the interval is extended by bounds that look at no variance;
- the interval of a difference is put together from the arms of its two, less what they share, and
  the p value is read off the same curve. So the two cannot contradict each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import betainccinv, betaincinv, expit, logit, stdtr, stdtrit

from compliance.errors import StatisticsError
from compliance.statistics.estimate import Difference, Estimate, Interval
from compliance.statistics.inputs import count, inside_unit

WIDENED = ", widened by the binomial bound"

PSEUDO_TIES = 2.0
"""Units whose ties are taken to have been broken, if all pairs were tied.

Without them, the interval of a latent that fires on a small share of positives alone covers as
little as 0.87 at 25 groups and 0.88 at 168, with them at least 0.95 and 0.94.
"""

NEAR_THE_END = 0.5
"""Pairs won, or lost, below which a variance is not believed.

Where 2 % of positives fall below all negatives, none does so in two samples of 45 groups out of
five, and the variance then knows nothing of them: without this, the interval covers 0.81.
"""

POINTS = 512
"""How finely the curve from which a p value is read is computed."""

NEAREST = 1e-9
"""How near to the peak of that curve one looks; the curve is flat there."""

FARTHEST = 37.0
"""The largest t on that curve: smaller tails are not numbers in double precision for large n."""


@dataclass(frozen=True, slots=True)
class Spread:
    """An AUROC and how far it may lie from the truth."""

    value: float

    variance: float
    """Of the estimate, from 0."""

    tied: float
    """Share of the pairs of a positive and a negative whose scores are equal."""

    units: int
    """Independent units on the smaller side."""

    def __post_init__(self) -> None:
        _check_value(self.value)

    @property
    def error(self) -> float:
        """The standard error, with what ties hide."""
        share = self.value * (1.0 - self.value)
        return float(np.sqrt(self.variance + PSEUDO_TIES * self.tied * share / self.units**2))

    @property
    def widened(self) -> bool:
        """Whether the variance alone is not believed."""
        end = min(self.value, 1.0 - self.value)
        return self.units < 2 or self.error == 0.0 or self.units * end < NEAR_THE_END

    def arms(self, deviates: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """How far the interval reaches below and above the value.

        Args:
            deviates: Quantiles of t, at least 0, of any shape.

        Returns:
            Two arrays of that shape, neither negative.
        """
        q, value = np.asarray(deviates, dtype=np.float64), self.value
        low = high = np.full(q.shape, value)
        if self.error > 0.0 and 0.0 < value < 1.0:
            reach = q * self.error / (value * (1.0 - value))
            low, high = expit(logit(value) - reach), expit(logit(value) + reach)
        if self.widened:
            least, most = _binomial(value, self.units, stdtr(_freedom(self.units), -q))
            low, high = np.minimum(low, least), np.maximum(high, most)
        return np.maximum(value - low, 0.0), np.maximum(high - value, 0.0)


def auroc_bounds(value: float, n_pos: int, n_neg: int, *, level: float = 0.95) -> Interval:
    """Bound an AUROC from below and above without looking at how the scores lie.

    With k = min(n_pos, n_neg), k pairs can be formed that share no item, and the AUROC over all
    pairs varies no more than a proportion of those k pairs would: its variance is at most
    A(1 - A)/k. The bounds are those of Clopper and Pearson for ``value * k`` successes in k
    trials, continued to fractions by the beta distribution. At 0 and 1 they are exact: complete
    separation has a probability of at most A**k. Elsewhere they are wide, often by half.

    Args:
        value: The AUROC.
        n_pos: Independent positives; where several items share a group, count groups.
        n_neg: Independent negatives, counted likewise.
        level: Two-sided coverage.

    Returns:
        An interval of positive width that holds ``value``.

    Raises:
        StatisticsError: If the value lies outside 0 to 1 or a side is empty.

    Source:
        Variance bound: Birnbaum, Z. and Klose, O. (1957), Annals of Mathematical Statistics 28,
        933-945. Bounds: Clopper, C. and Pearson, E. (1934), Biometrika 26, 404-413.
    """
    _check_value(value)
    pairs = min(count("n_pos", n_pos, least=1), count("n_neg", n_neg, least=1))
    tail = (1.0 - inside_unit("level", level)) / 2.0
    low, high = _binomial(value, pairs, np.array(tail))
    # The inverse has an absolute error, which shows where less than a pair is won or lost.
    return Interval(min(float(low), value), max(float(high), value))


def estimate_from(spread: Spread, *, method: str, level: float) -> Estimate:
    """Give an AUROC its interval.

    Args:
        spread: The value and its variance.
        method: Where the variance comes from, as printed.
        level: Two-sided coverage.

    Returns:
        The estimate; ``method`` says whether the interval was widened.

    Raises:
        StatisticsError: If the level is not between 0 and 1.

    Source:
        Logit scale: Pepe, M. (2003), The Statistical Evaluation of Medical Tests, section 5.2.
        One unit on the smaller side, or no variance at all: `auroc_bounds`.
    """
    below, above = spread.arms(_quantile(level, spread.units))
    return Estimate(
        value=spread.value,
        low=max(0.0, spread.value - float(below)),
        high=min(1.0, spread.value + float(above)),
        n=spread.units,
        method=method + WIDENED if spread.widened else method,
        level=level,
    )


def difference_from(
    a: Spread, b: Spread, covariance: float, *, method: str, level: float
) -> Difference:
    """Compare two AUROCs of the same items, a minus b.

    The lower limit is d - D with D**2 = x**2 + y**2 - 2 r x y, where x is the arm of a's interval
    below a, y that of b's interval above b, and r the correlation of the two estimates; r is 0
    where an arm was widened. A wider interval must hold a narrower one, so D is the largest of
    those at lower levels. The p value belongs to the level whose limit is exactly 0. It is never
    below 0.5**units, the probability that a scorer without signal separates that many disjoint
    pairs and so the least they can show, nor above 1 less that; but for these bounds p < tail if
    and only if the interval lies above 0.

    Args:
        a: The first scorer's value and variance.
        b: The second's, with the same units.
        covariance: Of the two estimates.
        method: Where the variances come from, as printed.
        level: Two-sided coverage.

    Returns:
        The difference; ``method`` says whether one of the two intervals was widened.

    Raises:
        StatisticsError: If the level is not between 0 and 1.

    Source:
        Zou, G. and Donner, A. (2008), Statistics in Medicine 27, 1693-1702, who build on Newcombe,
        R. (1998), Statistics in Medicine 17, 873-890; with a correlation: Zou, G. (2007),
        Psychological Methods 12, 399-413.
    """
    widened = a.widened or b.widened
    r = 0.0 if widened else float(np.clip(covariance / (a.error * b.error), -1.0, 1.0))
    freedom, floor = _freedom(a.units), 0.5**a.units
    asked = _quantile(level, a.units)
    last = max(asked, min(FARTHEST, -float(stdtrit(freedom, floor)))) if floor else FARTHEST

    def curves(deviates: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        (below_a, above_a), (below_b, above_b) = a.arms(deviates), b.arms(deviates)
        return _apart(below_a, above_b, r), _apart(above_a, below_b, r)

    deviates = np.union1d(np.linspace(0.0, last, POINTS), asked)
    deviates = np.union1d(deviates, _peaks(curves, deviates))
    down, up = (np.maximum.accumulate(curve) for curve in curves(deviates))
    value, at = a.value - b.value, int(np.searchsorted(deviates, asked))
    if value >= 0.0:
        p = stdtr(freedom, -np.interp(value, down, deviates))
    else:
        p = stdtr(freedom, np.interp(-value, up, deviates))
    return Difference(
        value=value,
        low=max(-1.0, value - float(down[at])),
        high=min(1.0, value + float(up[at])),
        p_greater=float(np.clip(p, floor, 1.0 - floor)),
        n=a.units,
        method=method + WIDENED if widened else method,
        level=level,
    )


def _apart(x: NDArray[np.float64], y: NDArray[np.float64], r: float) -> NDArray[np.float64]:
    """The arm of a difference at each deviate."""
    squared = x * x + y * y - 2.0 * r * x * y
    return np.sqrt(np.maximum(squared, 0.0))


def _peaks(
    curves: Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], ...]],
    deviates: NDArray[np.float64],
) -> list[float]:
    """Deviates at which an arm is longer than at those around it.

    An arm must be as long as at its peak from there on; a grid that another level is part of would
    see another part of the peak.
    """
    found = []
    for number, curve in enumerate(curves(deviates)):
        inner = curve[1:-1]
        for k in np.flatnonzero((inner > curve[:-2]) & (inner > curve[2:])) + 1:
            peak = minimize_scalar(
                lambda t, number=number: -float(curves(np.array([t]))[number][0]),
                bounds=(deviates[k - 1], deviates[k + 1]),
                method="bounded",
                options={"xatol": NEAREST},
            )
            found.append(float(peak.x))
    return found


def _binomial(
    value: float, pairs: int, tail: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The bounds of Clopper and Pearson for ``value * pairs`` successes, for each tail."""
    hits, misses = value * pairs, (1.0 - value) * pairs
    low = betaincinv(hits, misses + 1.0, tail) if hits > 0.0 else np.zeros_like(tail)
    high = betainccinv(hits + 1.0, misses, tail) if misses > 0.0 else np.ones_like(tail)
    return low, high


def _freedom(units: int) -> int:
    return max(units - 1, 1)


def _quantile(level: float, units: int) -> float:
    tail = (1.0 - inside_unit("level", level)) / 2.0
    return -float(stdtrit(_freedom(units), tail))


def _check_value(value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise StatisticsError(f"value: found {value}, expected an AUROC from 0 to 1")
