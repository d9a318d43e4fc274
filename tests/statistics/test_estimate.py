import dataclasses
import math

import pytest

from compliance.errors import StatisticsError
from compliance.statistics.estimate import Difference, Estimate, Interval


def test_bounds_the_wrong_way_round_are_refused():
    with pytest.raises(StatisticsError, match="low is 0.6 and high is 0.4"):
        Interval(0.6, 0.4)


@pytest.mark.parametrize("bounds", [(math.nan, 1.0), (0.0, math.nan)])
def test_an_interval_never_holds_nan(bounds):
    with pytest.raises(StatisticsError):
        Interval(*bounds)


@pytest.mark.parametrize("field", ["value", "low", "high"])
def test_an_estimate_never_holds_nan(field):
    numbers = {"value": 0.5, "low": 0.4, "high": 0.6} | {field: math.nan}

    with pytest.raises(StatisticsError, match=f"{field}: found NaN"):
        Estimate(**numbers, n=10, method="by hand")


def test_an_absent_number_is_none():
    assert Estimate(None, None, 1.0, 3, "by hand").value is None


def test_a_difference_checks_its_bounds():
    with pytest.raises(StatisticsError):
        Difference(0.0, 0.1, -0.1, p_greater=0.5, n=3, method="by hand")


def test_estimates_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Estimate(0.5, 0.4, 0.6, 10, "by hand").value = 0.9
