"""Means of groups, held against scipy and statsmodels."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW

from compliance.errors import StatisticsError
from compliance.statistics.means import mean_interval, mean_p

numbers = st.lists(st.floats(-1e6, 1e6).map(lambda x: round(x, 3)), min_size=2, max_size=40)


@given(numbers)
def test_interval_and_p_are_those_of_scipy_and_statsmodels(values):
    if np.std(values) < 1e-9 * (1 + np.abs(values).max()):
        return
    found = mean_interval(values, level=0.9)
    low, high = DescrStatsW(values).tconfint_mean(alpha=0.1)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9, abs=1e-9)
    assert found.value == pytest.approx(np.mean(values))
    assert mean_p(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=1e-7)


def test_one_group_has_no_interval_and_shows_nothing():
    found = mean_interval([3.0])
    assert (found.value, found.low, found.high, found.n) == (3.0, None, None, 1)
    assert mean_p([3.0]) == 1


def test_numbers_that_do_not_vary_show_nothing():
    assert mean_p([0.5, 0.5, 0.5]) == 1
    assert mean_p([0.0, 0.0]) == 1


def test_a_p_value_is_never_zero():
    assert 0 < mean_p(1e9 + np.arange(50) * 1e-3) < 1e-300


@pytest.mark.parametrize("values", [[], [[1.0]], [math.nan, 1.0], [math.inf, 1.0]])
def test_what_is_no_number_of_groups_is_refused(values):
    with pytest.raises(StatisticsError):
        mean_interval(values)


@pytest.mark.parametrize("n", [3, 8, 20])
def test_coverage_is_nominal_on_normal_numbers(n):
    draws = np.random.default_rng(n).normal(1.0, 2.0, size=(4000, n))
    held = [f.low <= 1.0 <= f.high for f in map(mean_interval, draws)]
    assert abs(np.mean(held) - 0.95) < 0.015
