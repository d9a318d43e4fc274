"""What an alarm is worth where the thing sought is rare."""

from __future__ import annotations

from compliance.errors import StatisticsError
from compliance.statistics.estimate import Estimate
from compliance.statistics.inputs import inside_unit


def positive_predictive_value(sensitivity: Estimate, fpr: Estimate, prevalence: float) -> Estimate:
    """Estimate the share of alarms that are right, at a declared prevalence.

    Rises with sensitivity and falls with the false-positive rate, so the interval goes from the
    one's low and the other's high to the reverse. It holds the truth whenever both intervals do:
    two at 95 % give at least 90 % in the worst case, and in practice more than 95 %.

    Args:
        sensitivity: With its interval, such as Wilson's.
        fpr: The false-positive rate with its interval, on items like those met in use.
        prevalence: The share of positives in use, between 0 and 1; declared, never estimated.

    Returns:
        The value and its interval. A bound or the value is None where it is zero over zero, no
        alarm at all. ``n`` is the smaller of the two, ``level`` the lower.

    Raises:
        StatisticsError: If a share is missing or outside 0 to 1, or the prevalence is impossible.

    Source:
        Bayes' rule; Altman, D. and Bland, J. (1994), British Medical Journal 309, 102.
    """
    prevalence = inside_unit("prevalence", prevalence)
    hit, hit_low, hit_high = _shares("sensitivity", sensitivity)
    false, false_low, false_high = _shares("fpr", fpr)
    return Estimate(
        value=_share_right(hit, false, prevalence),
        low=_share_right(hit_low, false_high, prevalence),
        high=_share_right(hit_high, false_low, prevalence),
        n=min(sensitivity.n, fpr.n),
        method=f"from {sensitivity.method} and {fpr.method}, worst corners",
        level=min(sensitivity.level, fpr.level),
    )


def _share_right(hit: float, false: float, prevalence: float) -> float | None:
    right, wrong = hit * prevalence, false * (1.0 - prevalence)
    return right / (right + wrong) if right + wrong > 0.0 else None


def _shares(name: str, estimate: Estimate) -> tuple[float, float, float]:
    shares = (estimate.value, estimate.low, estimate.high)
    if not all(share is not None and 0.0 <= share <= 1.0 for share in shares):
        raise StatisticsError(f"{name}: found {shares}, expected shares from 0 to 1")
    return shares
