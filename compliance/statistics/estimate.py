"""What an estimator returns: a number, the interval round it, and what it rests on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from compliance.errors import StatisticsError


@dataclass(frozen=True, slots=True)
class Interval:
    """A closed interval; ``low`` is never above ``high``.

    Raises:
        StatisticsError: If a bound is NaN or the bounds are the wrong way round.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise StatisticsError(f"interval: low is {self.low} and high is {self.high}")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its two-sided interval.

    A percentile interval need not hold ``value``, so nothing here says that it does.

    Raises:
        StatisticsError: If a number is NaN, or the bounds are the wrong way round.
    """

    value: float | None
    """None where the data leave the number undefined, such as a ratio of zero to zero."""

    low: float | None
    high: float | None

    n: int
    """Independent units behind the number: trials, pairs or groups, as the method counts them."""

    method: str
    """How the interval was made, as printed beside it."""

    level: float = 0.95
    """Nominal two-sided coverage."""

    def __post_init__(self) -> None:
        _refuse_nan(self.value, self.low, self.high)


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference a - b with its two-sided interval and a one-sided p value.

    Raises:
        StatisticsError: If a number is NaN, or the bounds are the wrong way round.
    """

    value: float
    low: float
    high: float

    p_greater: float
    """Of the null that a is at most b. Never 0."""

    n: int
    """Independent units behind the number."""

    method: str
    level: float = 0.95

    def __post_init__(self) -> None:
        _refuse_nan(self.value, self.low, self.high)


def _refuse_nan(value: float | None, low: float | None, high: float | None) -> None:
    for name, number in (("value", value), ("low", low), ("high", high)):
        if number is not None and math.isnan(number):
            raise StatisticsError(f"{name}: found NaN, expected a number or None")
    if low is not None and high is not None:
        Interval(low, high)
